"""What others may watch: the counters of a server or of pings as named figures, in the words of `statistics()` and
`Summary`.

Fields are read by their types and not by a list of names, so that a counter that is added there is here as well.
"""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from .. import ServerStatistics
from ..measure import Distribution, Summary

_FALLING: Final = frozenset(
    [
        *("handlers", "receive_buffer", "clients_held", "reply_bytes_held"),
        # What is known of a probe may change: it comes late after all, a good copy comes, the server tells which way.
        *("corrupted", "lost_upstream", "lost_downstream", "lost_unknown", "pending"),
    ]
)
"""Those that may become less; all others only grow."""
_QUANTILES: Final = {"p50_ns": "0.5", "p90_ns": "0.9", "p99_ns": "0.99", "p999_ns": "0.999"}
_PER: Final = {
    "dropped": "reason",
    "rejected": "reason",
    "refusals": "reason",
    "send_errors": "errno",
    "not_sent": "errno",
    "hints": "errno",
    "endpoints": "endpoint",
}
"""What the keys of a mapping are."""
_NO_FIGURES: Final = ("at_ns", "elapsed_ns", "limits")


class Figure(NamedTuple):
    """One number at one moment."""

    name: str
    """With `trio_udp_` and the side before it, in lower case."""
    grows: bool
    """Whether it never becomes less."""
    labels: Mapping[str, str]
    value: float


def server_figures(statistics: ServerStatistics) -> list[Figure]:
    """A server's counters, those of its endpoints by their addresses."""
    return list(_figures("trio_udp_server", statistics, {}))


def ping_figures(rows: Iterable[tuple[str, Summary]]) -> list[Figure]:
    """The sums of all runs, by host; `path` tells those apart that have one name."""
    return [
        figure
        for number, (host, found) in enumerate(rows, start=1)
        for figure in _figures("trio_udp_ping", found, {"host": host, "path": str(number)})
    ]


def summed(several: Iterable[Iterable[Figure]]) -> list[Figure]:
    """Those of one name and the same labels together, as of workers that are one server."""
    sums: dict[tuple[str, frozenset[tuple[str, str]]], Figure] = {}
    for name, grows, labels, value in itertools.chain.from_iterable(several):
        which = (name, frozenset(labels.items()))
        before = sums[which].value if which in sums else 0
        sums[which] = Figure(name, grows, labels, before + value)
    return list(sums.values())


def figures_in(value: object) -> list[Figure] | None:
    """What JSON has made of a list of figures; None for anything else."""
    if not isinstance(value, list):
        return None
    found = []
    for item in value:
        match item:
            case [str(name), bool(grows), dict(labels), int(number)] if all(
                isinstance(text, str) for text in labels.values()
            ):
                found.append(Figure(name, grows, labels, number))
            case _:
                return None
    return found


def _figures(prefix: str, thing: Any, labels: Mapping[str, str]) -> Iterator[Figure]:
    for field in dataclasses.fields(thing):
        name, value = field.name, getattr(thing, field.name)
        if name in _NO_FIGURES:
            continue
        if isinstance(value, int) and not isinstance(value, bool):
            yield Figure(f"{prefix}_{name}", name not in _FALLING, labels, value)
        elif isinstance(value, Distribution):
            yield from _quantiles(f"{prefix}_{name}_seconds", value, labels)
        elif isinstance(value, Mapping):
            label = _PER.get(name, "kind")
            for key, inner in value.items():
                yield from _inner(f"{prefix}_{name}", inner, {**labels, label: str(key)})


def _inner(name: str, value: Any, labels: Mapping[str, str]) -> Iterator[Figure]:
    if dataclasses.is_dataclass(value):
        yield from _figures(name.removesuffix("s"), value, labels)
    else:
        yield Figure(name, True, labels, value)


def _quantiles(name: str, value: Distribution, labels: Mapping[str, str]) -> Iterator[Figure]:
    for field, quantile in _QUANTILES.items():
        time = getattr(value, field)
        if time is not None:
            yield Figure(name, False, {**labels, "quantile": quantile}, time / 1e9)
