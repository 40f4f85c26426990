"""Which of several paths is best."""

from collections.abc import Hashable, Mapping
from typing import Final, TypeVar

from ._records import Summary

_Key = TypeVar("_Key", bound=Hashable)
_UNKNOWN: Final = float("inf")


def rank_paths(found: Mapping[_Key, Summary]) -> list[_Key]:
    """The keys, best path first: by loss, then by the 99th percentile of the round trip, then by the median.

    A path without any reply is worse than any with one; paths that are equal keep their order. Whether a difference
    means anything is another question: paths of a few probes each differ by chance.
    """
    return sorted(found, key=lambda name: _badness(found[name]))


def _badness(found: Summary) -> tuple[bool, float, float, float]:
    slow, middle = (_UNKNOWN if time is None else time for time in (found.rtt.p99_ns, found.rtt.p50_ns))
    return not found.received, found.loss, slow, middle
