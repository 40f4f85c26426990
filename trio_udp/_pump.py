"""Many wait, one reads: how the requests of a client share its socket without a task of the client's own.

Whoever waits is a task of the user's. The first of them takes the role of the reader: it takes datagrams in batches,
wakes those who have news by them, and wakes those whose time has come; so it is the only one who needs a timer, and it
has one for all. Everybody else is parked until woken. A reader who leaves, whatever made it leave, hands the role to
one of those who are parked.

What must hold: while anybody is parked somebody has the role, from hand to hand without a gap, so that no cancellation
can lose it. And what has arrived is looked at before what is due is given up, however late the reader comes to it.
"""

from typing import Protocol

import trio

from ._endpoint import Endpoint
from ._net import Batch
from .proto import ClientProtocol, DropReason


class Waiter(Protocol):
    """What a task waits for: an exchange, or something that has many of them."""

    @property
    def news(self) -> bool:
        """Whether there is something to do for it."""


class Pump:
    """The waiters of one client."""

    def __init__(self, endpoint: Endpoint, protocol: ClientProtocol) -> None:
        self.parked: dict[Waiter, trio.lowlevel.Task] = {}
        self.reader: Waiter | None = None
        """Whose task reads, or will as soon as it runs."""
        self.is_closed = False
        self._endpoint = endpoint
        self._protocol = protocol
        self._scope = trio.CancelScope()
        """The reader's, with the one timer."""

    async def wait_for_news(self, waiter: Waiter) -> None:
        """Wait until there is something to do for this one; `trio.ClosedResourceError` once closed."""
        try:
            while not waiter.news:
                self.check_open()
                if self.reader is None:
                    self.reader = waiter
                if self.reader is waiter:
                    await self._read(waiter)
                else:
                    await self._park(waiter)
        finally:
            if self.reader is waiter:
                self._hand_over()

    async def _read(self, waiter: Waiter) -> None:
        """Read for all, until the first of the timers or until there is something to do for the reader."""
        with trio.CancelScope() as self._scope:
            # Set in here, a deadline that has passed already lets the reader look at what came before it.
            self._scope.deadline = self._protocol.next_due
            while not waiter.news:
                self._take(await self._endpoint.receive())
        if self._scope.cancel_called:
            for exchange in self._protocol.take_due(trio.current_time()):
                self.tell(exchange)

    async def _park(self, waiter: Waiter) -> None:
        """Sleep until woken, for news or to read."""
        self._scope.deadline = min(self._scope.deadline, self._protocol.next_due)
        self.parked[waiter] = trio.lowlevel.current_task()

        def leave(_: object) -> trio.lowlevel.Abort:
            self.parked.pop(waiter, None)
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(leave)

    def _hand_over(self) -> None:
        """Make a reader of one who is parked: the last one, who is the likeliest to stay for long."""
        self.reader = None
        if self.parked:
            self.reader, task = self.parked.popitem()
            trio.lowlevel.reschedule(task)

    def _take(self, batch: Batch) -> None:
        now = trio.current_time()
        for data, peer, ancillary in batch.datagrams:
            found = self._protocol.receive_datagram(data, peer, now, ancillary.hop_limit)
            if not isinstance(found, DropReason):
                self.tell(found)
        for peer, quote, error in batch.hints:
            hinted = self._protocol.receive_hint(quote, peer, error)
            if hinted is not None:
                self.tell(hinted)
        if batch.truncated:
            self._protocol.dropped[DropReason.TRUNCATED] += batch.truncated

    def tell(self, waiter: Waiter) -> None:
        """Wake who waits for this, if there is something to do for it."""
        if waiter.news:
            task = self.parked.pop(waiter, None)
            if task is not None:
                trio.lowlevel.reschedule(task)

    def check_open(self) -> None:
        """Raise `trio.ClosedResourceError` if this client was closed."""
        if self.is_closed:
            raise trio.ClosedResourceError("this client was closed")

    def close(self) -> None:
        """Close the socket, and have everybody find out."""
        self.is_closed = True
        self._endpoint.close()
        while self.parked:
            trio.lowlevel.reschedule(self.parked.popitem()[1])
