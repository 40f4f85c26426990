"""A run's events for one who takes them with `async for`, at his own pace: `Prober.running`.

The run never waits for him. What must hold: no more than so many events wait, whoever lost some is told how many, and
who is quick enough loses none, however seldom the run lets other tasks have their turn.
"""

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

import trio

from ._records import Event, Skipped

EVENTS_KEPT: Final = 65_536
"""Events that wait for whoever takes them."""
_A_TURN: Final = 16
"""Events that are taken between two checkpoints. One would be too few: who naps lets others run once a millisecond, in
which five replies come and as many slots may be missed."""


class Events:
    """The events of a run, for one who takes them at his own pace."""

    def __init__(self) -> None:
        self._kept: deque[Event] = deque()
        self._skipped = 0
        self._left = 0
        """How many may still be taken before others have their turn."""
        self._is_over = False
        self._news = trio.Event()

    async def fill(self, run: Callable[[Callable[[Event], None]], Awaitable[object]]) -> None:
        """Run it; what it is given is to be called with each event."""
        try:
            await run(self._put)
        finally:
            self._is_over = True
            self._news.set()

    def _put(self, event: Event) -> None:
        if len(self._kept) >= EVENTS_KEPT:
            self._kept.popleft()
            self._skipped += 1
        self._kept.append(event)
        self._news.set()

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        """The next one. A checkpoint where it has to be waited for, and once in 16 events."""
        if not self._left or not self._kept:
            await trio.lowlevel.checkpoint()
            self._left = _A_TURN
        self._left -= 1
        while not self._kept:
            if self._is_over:
                raise StopAsyncIteration
            self._news = trio.Event()
            await self._news.wait()
        if self._skipped:
            skipped, self._skipped = self._skipped, 0
            return Skipped(events=skipped)
        return self._kept.popleft()
