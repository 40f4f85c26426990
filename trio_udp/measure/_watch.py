"""A run as it is at one time, out of its events, which `ping --live` draws: in bounded memory however long it is."""

import enum
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from ..proto import DropReason
from ._corrected import Correction
from ._distribution import Buckets
from ._records import Corrupted, Direction, Event, Late, Lost, Missed, Refused, Rejected, ReplyRecord, Start

KEPT: Final = 512
"""Probes whose fate is kept one by one: no screen is much wider."""
_LOSSES_KEPT: Final = 4096
"""Lost probes whose direction is kept, because they may turn out to be late."""


class Mark(enum.Enum):
    """What became of a probe that has no round-trip time. Each has its own sign, for those who see no colours."""

    UPSTREAM = "↑", "^"
    DOWNSTREAM = "↓", "v"
    UNKNOWN = "✕", "x"
    LATE = "»", ">"
    CHANGED = "≠", "#"
    REFUSED = "!", "!"
    WAITING = "·", "."


Cell: TypeAlias = int | Mark
"""A round-trip time in nanoseconds, or why there is none."""

_LOST: Final = {
    Direction.UPSTREAM: Mark.UPSTREAM,
    Direction.DOWNSTREAM: Mark.DOWNSTREAM,
    Direction.UNKNOWN: Mark.UNKNOWN,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A run as it is at one time."""

    host: str
    peer: str
    size: int
    elapsed: float
    """Seconds."""
    sent: int
    waiting: int
    received: int
    lost: Mapping[Direction, int]
    late: int
    changed: int
    """Answers, all copies counted."""
    refused: int
    missed_slots: int
    rejected: Mapping[DropReason, int]
    cells: tuple[Cell, ...]
    """The last probes, the newest one last."""
    times: Buckets
    corrected: Buckets
    """From when each probe was due, missed ones too."""

    @property
    def loss(self) -> float:
        """Percent of the probes whose fate is known."""
        known = self.sent - self.waiting
        return 100 * max(known - self.received, 0) / known if known > 0 else 0.0


class Watch:
    """Follows one run, of which it is given every event in turn."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._peer, self._size = "", 0
        self._cells: dict[int, Cell] = {}
        self._newest = 0
        self._losses: dict[int, Direction] = {}
        self._lost: Counter[Direction] = Counter()
        self._rejected: Counter[DropReason] = Counter()
        self._counts: Counter[str] = Counter()
        self._times, self._corrected = Buckets(), Buckets()
        self._correction = Correction()

    def take(self, event: Event) -> None:
        """Something happened."""
        self._correct(event)
        match event:
            case ReplyRecord():
                self._counts["received"] += 1
                self._times.add(event.rtt_ns, 1)
                self._put(event.sequence, event.rtt_ns)
            case Lost():
                self._lose(event)
            case Late():
                self._find(event.sequence)
            case Corrupted():
                self._counts["changed"] += 1
                if not isinstance(self._cells.get(event.sequence), int):
                    self._put(event.sequence, Mark.CHANGED)
            case Refused():
                self._counts["refused"] += 1
                self._put(event.sequence, Mark.REFUSED)
            case Rejected():
                self._rejected[event.reason] += 1
            case Missed():
                self._counts["missed"] += event.slots
            case Start():
                self._peer, self._size = str(event.peer), event.size
            case _:
                pass

    def view(self, *, sent: int, waiting: int, elapsed: float) -> View:
        """How it is now. Those who send know best how many were sent, and how many are waited for.

        Args:
            sent: `Prober.sent`.
            waiting: `Prober.unanswered`.
            elapsed: seconds since it began.
        """
        newest = max(sent, self._newest)
        shown = range(max(newest - KEPT, 0) + 1, newest + 1)
        get, waits = self._cells.get, Mark.WAITING  # looked up once: probes are being sent meanwhile
        return View(
            host=self._host,
            peer=self._peer,
            size=self._size,
            elapsed=elapsed,
            sent=sent,
            waiting=waiting,
            received=self._counts["received"],
            lost={direction: self._lost[direction] for direction in Direction},
            late=self._counts["late"],
            changed=self._counts["changed"],
            refused=self._counts["refused"],
            missed_slots=self._counts["missed"],
            rejected=dict(self._rejected),
            cells=tuple([get(sequence, waits) for sequence in shown]),
            times=self._times.copy(),
            corrected=self._corrected.copy(),
        )

    def _correct(self, event: Event) -> None:
        for time, count in self._correction.times_of(event):
            self._corrected.add(time, count)

    def _lose(self, event: Lost) -> None:
        self._lost[event.direction] += 1
        self._losses[event.sequence] = event.direction
        if len(self._losses) > _LOSSES_KEPT:
            del self._losses[next(iter(self._losses))]
        self._put(event.sequence, _LOST[event.direction])

    def _find(self, sequence: int) -> None:
        """An answer came for a probe that had been given up: it is lost no more."""
        self._counts["late"] += 1
        direction = self._losses.pop(sequence, None)
        if direction is not None:
            self._lost[direction] -= 1
        self._put(sequence, Mark.LATE)

    def _put(self, sequence: int, cell: Cell) -> None:
        self._newest = max(self._newest, sequence)
        if sequence > self._newest - KEPT:
            self._cells[sequence] = cell
        if len(self._cells) > 2 * KEPT:
            self._cells = {number: kept for number, kept in self._cells.items() if number > self._newest - KEPT}
