"""The things that a server is told: to drain, to stop at once, to read its keys again, to tell what it has counted."""

import contextlib
import signal
from collections.abc import AsyncIterator
from typing import Final

import trio

from ._signals import stopping_signals

RELOADING: Final = (signal.SIGHUP,)


class Bell:
    """An order that may be given again and again. What is given twice before anybody has heard it is given once."""

    def __init__(self) -> None:
        self._rung = trio.Event()

    def ring(self) -> None:
        """Give it."""
        self._rung.set()

    async def heard(self) -> None:
        """Wait until it is given; one task at a time."""
        await self._rung.wait()
        self._rung = trio.Event()

    async def ring_at(self, signals: AsyncIterator[int]) -> None:
        """Give it at each signal."""
        async for _ in signals:
            self.ring()


class Orders:
    """What has been ordered so far. An order given twice is one order; to stop is to drain as well."""

    def __init__(self) -> None:
        self.drain: Final = trio.Event()
        self.stop: Final = trio.Event()
        self.reload: Final = Bell()
        self.tell: Final = Bell()

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
async def orders_from_user(orders: Orders) -> AsyncIterator[None]:
    """Signals that stop are orders for the length of the block."""
    with stopping_signals() as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(orders.take_from_user, signals)
            yield
            nursery.cancel_scope.cancel()


@contextlib.asynccontextmanager
async def reloading(*, on: bool) -> AsyncIterator[Orders]:
    """SIGHUP is the order to read the keys again, for the length of the block; or what it always is, if that is off.

    Opened before the keys are read for the first time, so that the order is as good before there are sockets: it waits.
    """
    orders = Orders()
    if not on:
        yield orders
        return
    with trio.open_signal_receiver(*RELOADING) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(orders.reload.ring_at, signals)
            yield orders
            nursery.cancel_scope.cancel()
