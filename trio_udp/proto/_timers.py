"""One timer for any number of exchanges: when the next of them has something to do, and which have now.

Whoever waits for many exchanges at once waits until `earliest`, and no longer needs a timer for each. A heap with lazy
deletion: an exchange says itself, by `due`, which of its entries counts; the others are thrown away when they come to
the top, or all together when they are the greater part. So setting and clearing cost no more than the heap does, and
the heap is never more than about twice as long as there are exchanges that wait (G7).
"""

from heapq import heapify, heappop, heappush
from itertools import count
from math import inf
from typing import Final, Generic, Protocol, TypeVar

_FEW: Final = 64
"""Entries that are not worth clearing out."""


class Timed(Protocol):
    """What waits for a time."""

    due: float
    """When, in the seconds of the caller's clock; infinite while it waits for none. Written by `Timers` alone."""


Waiting = TypeVar("Waiting", bound=Timed)


class Timers(Generic[Waiting]):
    """The times at which some exchanges have something to do, each at most one."""

    __slots__ = ("_heap", "_room", "_serial")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Waiting]] = []
        self._serial = count()  # the first to wait is the first to be woken; and exchanges cannot be compared
        self._room = _FEW
        """Entries that may be added yet: two for each that waits, and a few. Below zero they are cleared out."""

    def __len__(self) -> int:
        """Entries, those that count no more among them."""
        return len(self._heap)

    def set(self, waiting: Waiting, due: float) -> None:
        """Have it wait until then, instead of until what was set before."""
        self._room += 1 if waiting.due == inf else -1  # two more, and one of them is taken
        waiting.due = due
        heappush(self._heap, (due, next(self._serial), waiting))
        if self._room < 0:
            self._clear_out()

    def clear(self, waiting: Waiting) -> None:
        """Have it wait for no time any more, if it does."""
        if waiting.due != inf:
            waiting.due = inf
            self._room -= 2
            if self._room < 0:
                self._clear_out()

    def earliest(self) -> float:
        """When the next one is due; infinite if none waits."""
        heap = self._heap
        while heap:
            due, _, waiting = heap[0]
            if waiting.due == due:
                return due
            heappop(heap)
            self._room += 1
        return inf

    def take_due(self, now: float) -> list[Waiting]:
        """Those that are due, in the order of their times. They wait no more."""
        due = []
        while self.earliest() <= now:
            waiting = heappop(self._heap)[2]
            self._room += 1
            self.clear(waiting)
            due.append(waiting)
        return due

    def _clear_out(self) -> None:
        # One for each that waits: a time that was set, left and set again has two entries that look alike.
        self._heap = list({entry[2]: entry for entry in self._heap if entry[2].due == entry[0]}.values())
        heapify(self._heap)
        self._room = len(self._heap) + _FEW
