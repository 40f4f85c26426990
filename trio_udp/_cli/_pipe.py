"""What a worker and its parent say to each other, both ends of it.

Down the worker's standard input: a line is an order, to drain, to read the keys again or to tell what was counted, and
the end is the order to stop. The end comes also when the parent dies, in whatever way, so no worker outlives it. Up its
standard output: one JSON object a line.

What must hold: a line that has not come whole, or does not say what it should, counts as nothing; it may be what a
worker had written when it was killed, or come from another version of this package.
"""

import contextlib
import dataclasses
import json
import os
import sys
from collections.abc import AsyncIterator
from typing import Any, Final

import trio

from .. import DropReason, ServerStatistics, ServerTotals
from ._figures_out import server_figures
from ._orders import Bell, Orders
from ._signals import stopping_signals

DRAIN = b"drain\n"
RELOAD_KEYS = b"reload keys\n"
TELL = b"tell\n"
_COUNTERS: Final = frozenset(field.name for field in dataclasses.fields(ServerTotals)) - {"dropped"}


class ToParent:
    """How a worker says what the user is to hear. The methods are those of `ToUser`."""

    def listening(self, _addresses: object) -> None:
        """The socket is open."""
        _write(ready=True)

    def accepting(self, _keys: object) -> None:
        """Which keys requests may come under; the parent has read them, too."""

    def say(self, event: str, line: str, **fields: object) -> None:
        """One line of output, which the parent writes."""
        _write(say=line, event=event, fields=fields)

    def mark(self, _event: str, _line: str) -> None:
        """What the parent has ordered, and so can say itself."""

    def fail(self, reason: str) -> None:
        """Why there will be no server."""
        _write(failed=reason)

    def tell(self, statistics: ServerStatistics) -> None:
        """What was counted so far, for who watches."""
        _write(counted=server_figures(statistics), so_far=_printed(statistics))

    def report(self, statistics: ServerStatistics) -> None:
        """What was counted, at the end."""
        self.tell(statistics)
        _write(totals=_printed(statistics))


def _printed(statistics: ServerStatistics) -> dict[str, object]:
    return dataclasses.asdict(ServerTotals.of(statistics))


def _write(**message: object) -> None:
    print(json.dumps(message), flush=True)


class Post:
    """Orders on their way to one worker. What is ordered again before it has left is ordered once."""

    def __init__(self) -> None:
        self._waiting: dict[bytes, None] = {}
        self._bell = Bell()

    def put(self, order: bytes) -> None:
        """Have an order leave, behind those that wait."""
        self._waiting[order] = None
        self._bell.ring()

    async def deliver(self, stdin: trio.abc.SendStream) -> None:
        """Send whatever is ordered; one task at a time, because a pipe takes one thing at a time."""
        while True:
            await self._bell.heard()
            while self._waiting:
                order = next(iter(self._waiting))
                del self._waiting[order]
                with contextlib.suppress(trio.BrokenResourceError):  # it has just died
                    await stdin.send_all(order)


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


def totals_from_json(value: object) -> ServerTotals | None:
    """What `dataclasses.asdict` has made of them, or None for anything else."""
    match value:
        case {"dropped": dict(dropped), **rest}:
            counts: dict[Any, Any] = rest
            numbers = (*counts.values(), *dropped.values())
            if counts.keys() == _COUNTERS and all(type(number) is int for number in numbers):
                with contextlib.suppress(ValueError):  # a reason that another version has
                    return ServerTotals(dropped={DropReason(name): dropped[name] for name in dropped}, **counts)
    return None


@contextlib.asynccontextmanager
async def orders_from_parent(orders: Orders) -> AsyncIterator[None]:
    """Standard input is orders for the length of the block.

    Signals are the order to drain, however many come: a service manager sends them to parent and workers alike.
    """
    with stopping_signals() as signals:
        async with (
            trio.lowlevel.FdStream(os.dup(sys.stdin.fileno())) as stdin,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(_take_from_parent, orders, stdin)
            nursery.start_soon(_take_from_signals, orders, signals)
            yield
            nursery.cancel_scope.cancel()


async def _take_from_parent(orders: Orders, stdin: trio.abc.ReceiveStream) -> None:
    taken = {DRAIN: orders.drain.set, RELOAD_KEYS: orders.reload.ring, TELL: orders.tell.ring}
    rest = b""
    async for chunk in stdin:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            take = taken.get(line + b"\n")
            if take is not None:
                take()
    orders.give_stop()


async def _take_from_signals(orders: Orders, signals: AsyncIterator[int]) -> None:
    async for _ in signals:
        orders.drain.set()
