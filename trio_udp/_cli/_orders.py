"""The two things that a server is told: to drain, and to stop at once."""

import contextlib
import signal
from collections.abc import AsyncIterator
from typing import Final

import trio

STOPPING: Final = (signal.SIGINT, signal.SIGTERM)


class Orders:
    """What has been ordered so far. An order given twice is one order; to stop is to drain as well."""

    def __init__(self) -> None:
        self.drain: Final = trio.Event()
        self.stop: Final = trio.Event()

    def give_stop(self) -> None:
        """Stop at once."""
        self.drain.set()
        self.stop.set()

    async def cancel_at_stop(self, scope: trio.CancelScope) -> None:
        """Wait for that order, and cancel."""
        await self.stop.wait()
        scope.cancel()

    async def take_from_user(self, signals: AsyncIterator[int]) -> None:
        """The first signal is to drain, the second is to stop."""
        await anext(signals)
        self.drain.set()
        await anext(signals)
        self.stop.set()


@contextlib.asynccontextmanager
async def orders_from_user() -> AsyncIterator[Orders]:
    """Signals are orders for the length of the block."""
    orders = Orders()
    with trio.open_signal_receiver(*STOPPING) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(orders.take_from_user, signals)
            yield orders
            nursery.cancel_scope.cancel()
