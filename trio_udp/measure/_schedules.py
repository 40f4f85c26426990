"""When probes are due: pure functions of what happened, in nanoseconds from the beginning of the run.

Slots stand on an absolute timetable: what delays one probe delays no other. Slots that passed while nothing could be
sent, because the process was stopped say, are missed and counted, and never caught up with in a burst.
"""

import math
from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

_SECOND = 1_000_000_000


class Progress(NamedTuple):
    """What a schedule may look at."""

    number: int
    """Probes sent so far."""
    last_due: int
    """When the last of them was due."""
    unanswered: int
    """Those that are waited for."""
    heard_at: int | None
    """When the last answer came; None before the first."""
    rtt: int | None
    """The last round trip."""


@runtime_checkable
class Schedule(Protocol):
    """Says when the next probe is due, and which slots are missed."""

    @property
    def slot(self) -> int:
        """Nanoseconds: a probe that is later than this is not on time."""

    @property
    def reacts(self) -> bool:
        """Whether an answer may change when the next probe is due."""

    def next_due(self, progress: Progress) -> int:
        """When the next probe is due."""

    def skip(self, due: int, now: int) -> tuple[int, int]:
        """The slot that is to be used now instead of that one, and how many were missed before it."""


class Fixed:
    """One probe an interval; `preload` of them at once, to begin with (`ping -i -l`)."""

    reacts = False

    def __init__(self, interval: float, *, preload: int = 1) -> None:
        """Make a timetable.

        Args:
            interval: seconds, at least a microsecond.
            preload: probes that are due at the beginning, at least 1.
        """
        self.slot = nanoseconds(interval)
        self._preload = _preload(preload)

    def next_due(self, progress: Progress) -> int:
        """See `Schedule.next_due`."""
        if progress.number < self._preload:
            return progress.last_due  # no earlier than those before: else each counts the slots that they have missed
        return progress.last_due + self.slot

    def skip(self, due: int, now: int) -> tuple[int, int]:
        """See `Schedule.skip`."""
        missed = max(now - due, 0) // self.slot
        return due + missed * self.slot, missed


class Poisson(Fixed):
    """Intervals at random, exponentially distributed around a mean (RFC 2330 section 11.1.1): what does not beat with
    anything that is periodic on the path."""

    def __init__(self, interval: float, draw: Callable[[], float], *, preload: int = 1) -> None:
        """Make a timetable with this mean interval in seconds; `draw` returns numbers from 0 to below 1."""
        super().__init__(interval, preload=preload)
        self._draw = draw

    def next_due(self, progress: Progress) -> int:
        """See `Schedule.next_due`."""
        if progress.number < self._preload:
            return progress.last_due
        return progress.last_due + round(-math.log(1.0 - self._draw()) * self.slot)

    def skip(self, due: int, now: int) -> tuple[int, int]:
        """Such a process has no memory: after a gap it begins anew, and the mean says how many were missed."""
        missed = max(now - due, 0) // self.slot
        return (now, missed) if missed else (due, 0)


class Adaptive:
    """The next probe when the last is answered, so that about `preload` are under way (`ping -A`)."""

    reacts = True

    def __init__(self, interval: float, *, least: float = 0.0, preload: int = 1) -> None:
        """Make a schedule.

        Args:
            interval: seconds to wait for an answer before the next probe is sent without.
            least: seconds between two probes, at least.
            preload: probes under way.
        """
        self.slot = nanoseconds(interval)
        self._least = nanoseconds(least) if least else 0
        self._preload = _preload(preload)

    def next_due(self, progress: Progress) -> int:
        """See `Schedule.next_due`."""
        if progress.number < self._preload:
            return 0
        if progress.unanswered < self._preload and progress.heard_at is not None:
            return max(progress.last_due + self._least, progress.heard_at)
        return progress.last_due + max(self.slot, self._least)

    def skip(self, due: int, now: int) -> tuple[int, int]:
        """Nothing is missed: there are no slots to miss."""
        return now, 0


def flood(*, preload: int = 1) -> Adaptive:
    """As fast as answers come, or a hundred a second, whichever is more (`ping -f`)."""
    return Adaptive(0.01, preload=preload)


def nanoseconds(seconds: float) -> int:
    """As a whole number; `ValueError` unless that is from a microsecond to a day."""
    if not 1e-6 <= seconds <= 86_400:
        raise ValueError(f"expected from a microsecond to a day, in seconds, got {seconds}")
    return round(seconds * _SECOND)


def _preload(number: int) -> int:
    if number < 1:
        raise ValueError(f"expected to preload at least 1 probe, got {number}")
    return number
