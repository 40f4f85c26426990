"""What a worker and its parent say to each other, both ends of it.

Down the worker's standard input: a line is an order, to drain or to read the keys again, and the end is the order to
stop. The end comes also when the parent dies, in whatever way, so no worker outlives it. Up its standard output: one
JSON object a line.

What must hold: a line that has not come whole, or does not say what it should, counts as nothing; it may be what a
worker had written when it was killed, or come from another version of this package.
"""

import contextlib
import dataclasses
import json
import os
import sys
from collections.abc import AsyncIterator

import trio

from ._figures import Figures
from ._orders import STOPPING, Orders, reloading

DRAIN = b"drain\n"
RELOAD_KEYS = b"reload keys\n"


class ToParent:
    """How a worker says what the user is to hear. The methods are those of `ToUser`."""

    def listening(self, _addresses: object) -> None:
        """The socket is open."""
        _write(ready=True)

    def accepting(self, _keys: object) -> None:
        """Which keys requests may come under; the parent has read them, too."""

    def say(self, line: str) -> None:
        """One line of output."""
        _write(say=line)

    def fail(self, reason: str) -> None:
        """Why there will be no server."""
        _write(failed=reason)

    def report(self, figures: Figures) -> None:
        """What was counted, at the end."""
        _write(figures=dataclasses.asdict(figures))


def _write(**message: object) -> None:
    print(json.dumps(message), flush=True)


async def messages(stdout: trio.abc.ReceiveStream) -> AsyncIterator[dict[str, object]]:
    """The other end: what the worker says, until its output ends."""
    rest = b""
    async for chunk in stdout:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield message_of(line)


def message_of(line: bytes) -> dict[str, object]:
    """What a line says; nothing, if it is not JSON or not an object."""
    with contextlib.suppress(ValueError, RecursionError):
        message = json.loads(line)
        if isinstance(message, dict):
            return message
    return {}


@contextlib.asynccontextmanager
async def orders_from_parent(*, reloads: bool = False) -> AsyncIterator[Orders]:
    """Standard input is orders for the length of the block.

    SIGHUP, where there is something to read again, is that order. Other signals are the order to drain, however many
    come: a service manager sends them to parent and workers alike.
    """
    orders = Orders()
    with trio.open_signal_receiver(*STOPPING) as signals:
        async with (
            trio.lowlevel.FdStream(os.dup(sys.stdin.fileno())) as stdin,
            reloading(orders, on=reloads),
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(_take_from_parent, orders, stdin)
            nursery.start_soon(_take_from_signals, orders, signals)
            yield orders
            nursery.cancel_scope.cancel()


async def _take_from_parent(orders: Orders, stdin: trio.abc.ReceiveStream) -> None:
    rest = b""
    async for chunk in stdin:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line + b"\n" == RELOAD_KEYS:
                orders.reload.ring()
            elif line + b"\n" == DRAIN:
                orders.drain.set()
    orders.give_stop()


async def _take_from_signals(orders: Orders, signals: AsyncIterator[int]) -> None:
    async for _ in signals:
        orders.drain.set()
