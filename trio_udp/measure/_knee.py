"""How fast a path can be asked: a search for the rate beyond which more is lost, or everybody waits.

Rates double until one is too much, and then come nearer to it from the last that was not, by halves on a logarithmic
scale. A rate that seems too much is tried again first: a hiccup is no limit. Arithmetic; `find_knee` measures.
"""

import enum
import math
from typing import Final, NamedTuple

from .._layout import milliseconds
from ._compare import proportion
from ._records import Summary

_PRECISION: Final = 1.1
"""The limit is no more than that many times the knee, when the search is over."""
_FACTOR: Final = 2.0
_ON_TIME: Final = 0.9
"""The share of slots that have to be used, or else the rate was not what it is called."""
_LONGER: Final = 2.0
_LONGER_NS: Final = 1_000_000
"""A median so many times, and so much, longer than the shortest is a queue, and no jitter of the host's."""


class Strain(enum.StrEnum):
    """What a rate is too much for, and how that shows."""

    NONE = "none"
    """For nothing."""
    LOSS = "loss"
    """For the path: more is lost than at lower rates, beyond chance; or nothing comes back at all."""
    QUEUE = "queue"
    """For the path: round trips take at least twice as long, and a millisecond longer, so something is queueing."""
    HOST = "host"
    """For this host: a tenth of the probes were not sent in time. Nothing is known about the path."""


class Step(NamedTuple):
    """One rate, tried."""

    rate: float
    """Probes a second."""
    strain: Strain
    found: Summary


class Knee(NamedTuple):
    """What a search found."""

    rate: float | None
    """Probes a second, the most that was not too much; None if the first rate was."""
    limit: Step | None
    """The least that was; None if there was none up to the end of the search."""


class KneeSearch:
    """Says which rate to try next, and in the end what came of it."""

    def __init__(self, first: float, most: float) -> None:
        """Try rates from `first` to `most`, in probes a second; `ValueError` unless 0 < first <= most."""
        if not 0 < first <= most < math.inf:
            raise ValueError(f"expected rates above 0, the first no greater than the last, got {first} and {most}")
        self._first, self._most = first, most
        self._good: float | None = None
        self._limit: Step | None = None
        self._doubted: float | None = None
        """A rate that was too much once."""
        self._sent = self._missing = 0
        """At rates that were not too much."""
        self._shortest: int | None = None
        """The least median of those, in nanoseconds."""

    @property
    def knee(self) -> Knee:
        """What is known so far."""
        return Knee(self._good, self._limit)

    @property
    def next_rate(self) -> float | None:
        """The rate to try next; None when the search is over."""
        if self._doubted is not None:
            return self._doubted
        good, limit = self._good, self._limit
        if good is None:
            return self._first if limit is None else None
        if limit is None:
            return min(_FACTOR * good, self._most) if good < self._most else None
        return math.sqrt(good * limit.rate) if limit.rate > _PRECISION * good else None

    def take(self, found: Summary) -> Step:
        """Hear what came of the rate that was to be tried; `ValueError` when the search is over."""
        rate = self.next_rate
        if rate is None:
            raise ValueError("expected no more sums: the search is over")
        step = Step(rate, self._strain_of(found), found)
        is_doubted, self._doubted = self._doubted is not None, None
        if step.strain is Strain.NONE:
            self._keep(rate, found)
        elif is_doubted:
            self._limit = step
        else:
            self._doubted = rate
        return step

    def _keep(self, rate: float, found: Summary) -> None:
        self._good = rate
        self._sent += found.sent
        self._missing += found.sent - found.received
        medians = [time for time in (self._shortest, found.rtt.p50_ns) if time is not None]
        self._shortest = min(medians, default=None)

    def _strain_of(self, found: Summary) -> Strain:
        """What is too much for the path is so even if this host was too slow as well."""
        if not found.received or self._loses(found):
            return Strain.LOSS
        if self._queues(found):
            return Strain.QUEUE
        is_punctual = found.on_time >= _ON_TIME * (found.sent + found.missed_slots)
        return Strain.NONE if is_punctual else Strain.HOST

    def _queues(self, found: Summary) -> bool:
        median, shortest = found.rtt.p50_ns, self._shortest
        if median is None or shortest is None:
            return False
        return median >= max(_LONGER * shortest, shortest + _LONGER_NS)

    def _loses(self, found: Summary) -> bool:
        """Whether more than before, by intervals that do not touch."""
        if not self._sent:
            return False
        now = proportion(found.sent - found.received, found.sent)
        return now.low > proportion(self._missing, self._sent).high


_BECAUSE: Final = {
    Strain.LOSS: "more is lost than by chance",
    Strain.QUEUE: "probes wait in a queue",
    Strain.HOST: "this host sends too late, so that nothing is known about the path",
}


def step_line(step: Step) -> str:
    """A rate that was tried: `   1000/s  1000 sent, 1000 received, 0% packet loss, p50 0.123 ms, p99 0.4 ms`."""
    found = step.found
    times = {"p50": found.rtt.p50_ns, "p99": found.rtt.p99_ns}
    shown = [f"{name} {milliseconds(time / 1e9)} ms" for name, time in times.items() if time is not None]
    missed = [f"{found.missed_slots} slots missed"] if found.missed_slots else []
    figures = [f"{found.sent} sent", f"{found.received} received", f"{found.loss:.3g}% packet loss", *shown, *missed]
    mark = "" if step.strain is Strain.NONE else f"  <- {step.strain}"
    return f"{step.rate:7.0f}/s  {', '.join(figures)}{mark}"


def knee_line(host: str, knee: Knee) -> str:
    """What a search on the way to this host found, in words."""
    rate, limit = knee
    because = "" if limit is None else f"at {limit.rate:.0f}/s {_because(limit)}"
    if rate is None:
        return f"knee of {host}: below the first rate; {because}"
    if limit is None:
        return f"knee of {host}: none up to {rate:.0f}/s"
    return f"knee of {host}: {math.floor(rate)}/s, an interval of {1e6 / rate:.0f} us; {because}"


def _because(limit: Step) -> str:
    return _BECAUSE[limit.strain] if limit.found.received else "nothing comes back"
