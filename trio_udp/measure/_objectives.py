"""Conditions on a `Summary`, as people write them: `p99>20ms`, `loss>1%`, `replies>=3`.

What must hold: a condition is met, not met, or nobody can tell, and the three are never confused. Nobody can tell a
percentile of no replies, a share of nothing sent, or a direction that the server has not told; whoever must not pass by
mistake takes "cannot tell" as bad news. Figures are compared exactly, as fractions.
"""

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType
from typing import Final, Literal, NamedTuple, TypeAlias

from ._records import Distribution, Summary

Unit: TypeAlias = Literal["time", "share", "count"]

_TIMES: Final[Mapping[str, int]] = MappingProxyType(
    {"ns": 1, "us": 1_000, "µs": 1_000, "μs": 1_000, "ms": 1_000_000, "s": 1_000_000_000}
)
"""Nanoseconds in each unit. Micro has two code points: the sign of Latin-1, and the Greek letter."""
_RELATIONS: Final[Mapping[str, Callable[[Fraction, Fraction], bool]]] = MappingProxyType(
    {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}
)
_WRITTEN: Final = re.compile(
    r"\s*(?P<metric>[a-z0-9_.]+)\s*(?P<relation>[<>]=?)\s*(?P<number>[0-9]{1,15}(?:\.[0-9]{1,15})?)\s*(?P<unit>\S*)\s*"
)
_ALL: Final = 100
"""Percent: no greater share of the probes can be lost."""
_EXPECTED: Final[Mapping[Unit, str]] = MappingProxyType(
    {
        "time": "a time with its unit, such as 20ms (ns, us, ms, s)",
        "share": "a share of the probes, such as 1%, at most 100%",
        "count": "a whole number, or a share of the probes, such as 1%",
    }
)


class _Range(NamedTuple):
    """What a figure is at least and at most, for all that is known."""

    least: Fraction
    most: Fraction


_Reader: TypeAlias = Callable[[Summary], _Range | None]

_STATISTICS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "min": "min_ns",
        "mean": "mean_ns",
        "max": "max_ns",
        "mdev": "deviation_ns",
        "p50": "p50_ns",
        "p90": "p90_ns",
        "p99": "p99_ns",
        "p99.9": "p999_ns",
        "avg": "mean_ns",  # as iputils, and so our own line, calls the mean
    }
)
_PARTS: Final = ("rtt", "rtt_corrected", "total", "client_queue", "network", "server", "wake_up")
_COUNTS: Final[Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]] = MappingProxyType(
    {
        "sent": (("sent",), ()),
        "replies": (("received",), ()),
        "lost": (("lost",), ("pending",)),
        "lost_up": (("lost_upstream",), ("lost_unknown", "pending")),
        "lost_down": (("lost_downstream",), ("lost_unknown", "pending")),
        "late": (("late",), ()),
        "corrupted": (("corrupted",), ()),
        "refused": (("refused",), ()),
        "duplicates": (("duplicated_upstream", "duplicated_downstream", "duplicated_unknown"), ()),
        "reordered": (("reordered",), ()),
        "missed": (("missed_slots",), ()),
    }
)
"""Which fields are counted, and which may have to be added: nobody knows."""


def _duration(part: str, field: str) -> _Reader:
    def read(found: Summary) -> _Range | None:
        distribution: Distribution = getattr(found, part)
        return _exactly(getattr(distribution, field))

    return read


def _jitter(found: Summary) -> _Range | None:
    return _exactly(found.round_trip.jitter_ns)


def _exactly(value: int | None) -> _Range | None:
    return None if value is None else _Range(Fraction(value), Fraction(value))


def _count(certain: tuple[str, ...], perhaps: tuple[str, ...]) -> _Reader:
    def read(found: Summary) -> _Range | None:
        least = sum(getattr(found, name) for name in certain)
        return _Range(Fraction(least), Fraction(least + sum(getattr(found, name) for name in perhaps)))

    return read


def _rejected(found: Summary) -> _Range | None:
    return _exactly(sum(found.rejected.values()))


def _missing(found: Summary) -> _Range | None:
    """What `Summary.loss` is the share of; probes under way may still be answered."""
    most = found.sent - found.received
    return _Range(Fraction(most - found.pending), Fraction(most))


def _percent(read: _Reader) -> _Reader:
    def share(found: Summary) -> _Range | None:
        value = read(found)
        if value is None or not found.sent:
            return None
        return _Range(*(100 * number / found.sent for number in value))

    return share


def _all_metrics() -> dict[str, tuple[Unit, _Reader]]:
    metrics: dict[str, tuple[Unit, _Reader]] = {}
    for part in _PARTS:
        prefix = "" if part == "rtt" else f"{part}."
        metrics |= {f"{prefix}{name}": ("time", _duration(part, field)) for name, field in _STATISTICS.items()}
    metrics["jitter"] = ("time", _jitter)
    counts = {name: _count(*fields) for name, fields in _COUNTS.items()} | {"rejected": _rejected}
    metrics["loss"] = ("share", _percent(_missing))
    metrics |= {f"loss_{way}": ("share", _percent(counts[f"lost_{way}"])) for way in ("up", "down")}
    return metrics | {name: ("count", read) for name, read in counts.items()}


_METRICS: Final = MappingProxyType(_all_metrics())
METRICS: Final[Mapping[str, Unit]] = MappingProxyType({name: unit for name, (unit, _) in _METRICS.items()})
"""What a condition may be about, and what its limit is: a time, a share of the probes sent, or a count. The
percentiles and means are of the round-trip time; `network.p99` and the like are of its parts."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A comparison of a metric with a limit. Made by `parse_condition`."""

    text: str
    """As it was written, without spaces."""
    metric: str
    """One of `METRICS`."""
    relation: str
    """`>`, `>=`, `<` or `<=`."""
    limit: Fraction
    """Nanoseconds, percent, or a number, by `unit`."""
    unit: Unit

    def holds(self, found: Summary) -> bool | None:
        """Whether it is met; None if nobody can tell."""
        value = self._value(found)
        if value is None:
            return None
        compare = _RELATIONS[self.relation]
        answers = {compare(number, self.limit) for number in value}
        return answers.pop() if len(answers) == 1 else None

    def explain(self, found: Summary) -> str:
        """What the metric is, or why nobody can tell: `p99 is 23.4 ms`."""
        value = self._value(found)
        if value is None:
            return f"{self.metric} is unknown: {'no reply' if found.sent else 'no probe was sent'}"
        if value.least == value.most:
            return f"{self.metric} is {self._shown(value.least)}"
        why = "some probes are under way" if found.pending else "the server has not told which way"
        return f"{self.metric} is from {self._shown(value.least)} to {self._shown(value.most)}: {why}"

    def _value(self, found: Summary) -> _Range | None:
        unit, read = _METRICS[self.metric]
        return _percent(read)(found) if unit == "count" and self.unit == "share" else read(found)

    def _shown(self, value: Fraction) -> str:
        if self.unit == "time":
            return _shown_time(value)
        return f"{float(value):.4g}%" if self.unit == "share" else str(value)


def parse_condition(text: str) -> Condition:
    """Read a condition such as `p99>20ms`; `ValueError` says in one line what else was expected.

    A time has a unit (`ns`, `us` or `µs`, `ms`, `s`), a share has `%`; neither is guessed. What is counted may be
    compared with a number or with a share of the probes sent: `late>3`, `late>1%`.
    """
    found = _WRITTEN.fullmatch(text)
    if found is None:
        raise ValueError(f"expected a condition such as p99>20ms, loss>1% or replies>=3, got {text!r}")
    metric, relation, number, written_unit = found.groups()
    if metric not in METRICS:
        raise ValueError(f"expected one of {_listed()} before {relation!r}, got {metric!r}")
    limit = Fraction(number)
    unit = METRICS[metric]
    match unit, written_unit:
        case "time", _ if written_unit in _TIMES:
            limit *= _TIMES[written_unit]
        case "share", "%" if limit <= _ALL:
            pass
        case "count", "%":  # of some there may be more than probes
            unit = "share"
        case "count", "" if limit.denominator == 1:
            pass
        case _:
            raise ValueError(f"expected {_EXPECTED[unit]}, behind {metric!r}, got {number + written_unit!r}")
    return Condition(f"{metric}{relation}{number}{written_unit}", metric, relation, limit, unit)


def _listed() -> str:
    """The metrics in a line: the parts' percentiles are many, and one stands for all."""
    return ", ".join(name for name in METRICS if "." not in name.removeprefix("p99.")) + ", network.p99 and the like"


def _shown_time(value: Fraction) -> str:
    unit = next((unit for unit in ("s", "ms", "us") if abs(value) >= _TIMES[unit]), "ns")
    return f"{float(value / _TIMES[unit]):.4g} {unit}"
