"""Many wait, one reads: how the requests of a client share its socket without a task of the client's own.

Whoever waits is a task of the user's. The first of them takes the role of the reader: it takes datagrams in batches,
wakes those who have news by them, and wakes those whose time has come; so it is the only one who needs a timer, and it
has one for all. Everybody else is parked until woken. A reader who leaves, whatever made it leave, hands the role to
one of those who are parked.

Those who are woken together are likely to ask again together. So the reader lets them run before it reads again, and
what they leave to it goes out in one burst.

What must hold: while anybody is parked somebody has the role, from hand to hand without a gap, so that no cancellation
can lose it. And what has arrived is looked at before what is due is given up, however late the reader comes to it.
"""

import itertools
from collections.abc import Callable
from math import inf
from typing import Final, Protocol, cast

import trio

from ._endpoint import Endpoint
from ._fork import disown_at_fork
from ._net import BATCH, Address, Batch, Outgoing
from ._turns import Leave, Turns
from .proto import Attempt, ClientProtocol, DropReason, Exchange, RetryPolicy

PAUSE: Final = 0.001
"""Seconds without reading after which strangers may have filled the buffer. The 256 small datagrams that the usual one
holds would take a flood of 256,000 a second."""
BACKLOG: Final = 11_000
"""Datagrams read before sending, at most: as many as the buffer that we ask for holds (8 MiB as the kernel counts, 768
bytes for a small one). Under a flood the end of them never comes."""

NEAR: Final = 100e-6
"""Seconds in which an answer may be there before anybody has begun to wait for it: a pass of Trio's loop and what it
takes to set up a timer and a wait are about 30 µs, and a network with more than three times of that is far away."""
RUSH: Final = 8
"""Tasks woken together who are worth waiting for, because they may have something to send together."""
_PASSES: Final = 4
"""How often the reader lets other tasks run before it sends what they have by then."""


class Waiter(Protocol):
    """What a task waits for: an exchange, or something that has many of them."""

    @property
    def news(self) -> bool:
        """Whether there is something to do for it."""

    @property
    def due(self) -> float:
        """When there is if nothing arrives; infinite if never."""


class Owner(Waiter, Protocol):
    """What waits for many exchanges, and is their `owner`."""

    def take(self, exchange: Exchange) -> None:
        """There is something to do for this one."""


class Pump:
    """What the requests of one client share: its socket, its protocol, and those who wait."""

    def __init__(
        self, endpoint: Endpoint, protocol: ClientProtocol, random_bytes: Callable[[int], bytes], turns: Turns
    ) -> None:
        self.protocol = protocol
        self.parked: dict[Waiter, trio.lowlevel.Task] = {}
        self.reader: Waiter | None = None
        """Whose task reads, or will as soon as it runs."""
        self.is_closed = False
        self._receive_datagram = protocol.receive_datagram
        self._earliest = protocol.timers.earliest
        self.turns = turns
        self._endpoint = endpoint
        self._random_bytes = random_bytes
        self._read_at = -inf
        """When the socket was last read."""
        self._scope = trio.CancelScope()
        """The reader's, with the one timer."""
        self._deadline = inf
        """The timer's; Trio works at every look at its own."""
        self._awake = 0
        """Tasks that were woken here, and have not run since."""
        self._is_near = False
        """Whether the last wait was so short that it is worth looking before the next one."""
        self._is_rush = False
        """Whether the reader sends for all before it waits. Then whoever has something to send leaves it to it."""
        self._outbox: dict[Exchange, Attempt] = {}
        """What was left to it."""
        self._why_closed = "this client was closed"
        disown_at_fork(self)

    def open_exchange(self, payload: bytes, policy: RetryPolicy, *, at_most_once: bool = False) -> Exchange:
        """Open a request, with random bytes of its own. See `ClientProtocol.open_exchange`."""
        random = self._random_bytes(self.protocol.random_size)
        return self.protocol.open_exchange(payload, policy, random, at_most_once=at_most_once)

    def close_exchange(self, exchange: Exchange) -> None:
        """Forget a request; and if others may go now because it is over, tell them."""
        exchange.close()
        if exchange.once is not None:
            for released in self.protocol.take_released():
                owner: Owner | None = released.owner
                if owner is not None:
                    owner.take(released)
                self.interrupt(owner or released)

    async def read_backlog(self, waiter: Waiter) -> None:
        """Before something is sent after a pause: make room for its answer.

        Nobody reads while nobody waits, and what strangers send meanwhile stays in the kernel's buffer until that is
        full. Checkpoints only if there is something.
        """
        if self.reader is not None or trio.current_time() - self._read_at < PAUSE:
            return
        self.reader = waiter
        self._read_at = trio.current_time()
        try:
            await self._read_what_came()
        finally:
            self._hand_over()

    async def _read_what_came(self) -> None:
        """Read what is there, and checkpoint after each batch."""
        left = BACKLOG
        while left > 0 and any(batch := await self._endpoint.receive(may_wait=False)):
            self._take(batch)
            left -= max(len(batch.datagrams), 1)
            await trio.lowlevel.checkpoint()

    async def transmit(self, exchange: Exchange, on_attempt: Callable[[Attempt], None] | None = None) -> None:
        """Make the transmissions that are due, or leave them to the reader. Who calls this waits for news next.

        Checkpoints only where the kernel has no room for them.
        """
        while (attempt := exchange.next_attempt(trio.current_time())) is not None:
            if on_attempt is not None:
                on_attempt(attempt)
            if self._is_rush and exchange not in self._outbox:
                self._outbox[exchange] = attempt
            else:
                error = await self._endpoint.send(attempt.datagram, cast("Address", attempt.peer))
                if error is not None:
                    exchange.take_hint(error)
            if exchange.due < inf:
                return

    async def send_all(self, outbox: dict[Exchange, Attempt]) -> None:
        """Send these, in as few calls as the kernel allows. Each goes from the dict when it has left.

        Who takes one out meanwhile has it not sent, but for the first, which may be on its way. Checkpoints only where
        the kernel has no room; if that is cancelled, what is left in the dict was not sent.
        """
        most = BATCH
        while outbox:
            some = list(itertools.islice(outbox.items(), most))
            outgoing = [(attempt.datagram, attempt.peer, None) for _, attempt in some]
            count, error = await self._endpoint.send_some(cast("list[Outgoing]", outgoing))
            first = some[0][0]
            if error is not None and first in outbox:  # else it is over, and nobody wants to hear of it
                first.take_hint(error)
                if first.news:
                    self._tell(first)
            for exchange, _ in some[:count]:
                outbox.pop(exchange, None)
            most = BATCH if error is None else 1

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
                    await trio.lowlevel.wait_task_rescheduled(self._park(waiter))
                    self._awake -= 1
        except trio.ClosedResourceError:  # the reader's own says that somebody has closed a descriptor
            raise trio.ClosedResourceError(self._why_closed) from None
        finally:
            if self.reader is waiter:
                self._hand_over()

    async def _read(self, waiter: Waiter) -> None:
        """Read for all, until the first of the timers or until there is something to do for the reader."""
        if self._is_near and self.turns.taken == 1:
            await self._look()
            if waiter.news:
                return
        began = trio.current_time()
        self._deadline = due = self._earliest()
        overdue = due <= began
        with trio.CancelScope(deadline=inf if overdue else due) as self._scope:
            if overdue:
                self._scope.deadline = due  # set in here it lets the reader look once at what has arrived
            while not waiter.news:
                if self._is_rush and not overdue:
                    await self._send_together()
                else:
                    self._take(await self._endpoint.receive())
        if self._scope.cancel_called:
            if trio.current_time() - self._scope.deadline > PAUSE:
                # A process that was stopped is told that the time is over, and not what has arrived meanwhile.
                await self._read_what_came()
            for exchange in self.protocol.take_due(trio.current_time()):
                self._tell(exchange)
            self._is_rush |= self._awake >= RUSH
        self._is_near = began <= self._read_at < began + NEAR

    async def _look(self) -> None:
        """Let a pass of Trio's loop go by, and read what has come by then: less than to set up a timer and a wait."""
        await trio.lowlevel.checkpoint()
        self._take(await self._endpoint.receive(may_wait=False))

    async def _send_together(self) -> None:
        """Let those who were woken run, and send what they leave to us."""
        for _ in range(_PASSES):
            if not self._awake and not self.turns.awake:
                break
            await trio.lowlevel.checkpoint()
        await self.send_all(self._outbox)
        self._is_rush = False

    def _park(self, waiter: Waiter) -> Leave[Waiter]:
        """Put this task among those who sleep until woken, for news or to read; gives what undoes that."""
        if waiter.due < self._deadline:
            self._deadline = self._scope.deadline = waiter.due
        self.parked[waiter] = trio.lowlevel.current_task()
        return Leave(self.parked, waiter)

    def _hand_over(self) -> None:
        """Make a reader of one who is parked: the last one, who is the likeliest to stay for long."""
        self.reader = None
        if self.parked:
            self.reader = next(reversed(self.parked))
            self._wake(self.reader)

    def _take(self, batch: Batch) -> None:
        now = self._read_at = trio.current_time()
        for data, peer, ancillary in batch.datagrams:
            found = self._receive_datagram(data, peer, now, ancillary.hop_limit)
            if isinstance(found, Exchange) and found.news:
                self._tell(found)
        for peer, quote, error in batch.hints:
            hinted = self.protocol.receive_hint(quote, peer, error)
            if hinted is not None and hinted.news:
                self._tell(hinted)
        if batch.truncated:
            self.protocol.dropped[DropReason.TRUNCATED] += batch.truncated
        self._is_rush |= self._awake >= RUSH

    def _tell(self, exchange: Exchange) -> None:
        """There is something to do for this exchange: wake who waits for it."""
        owner: Owner | None = exchange.owner
        if owner is not None:
            owner.take(exchange)
        waiter = owner or exchange
        if waiter in self.parked:
            self._wake(waiter)

    def _wake(self, waiter: Waiter) -> None:
        """Have the task run that is parked for this one."""
        self._awake += 1
        trio.lowlevel.reschedule(self.parked.pop(waiter))

    def interrupt(self, waiter: Waiter) -> None:
        """Something has happened to this one, who may be the reader, that did not come from the socket."""
        if self.reader is waiter:
            self._scope.cancel()
        elif waiter in self.parked:
            self._wake(waiter)

    def forget(self, exchange: Exchange) -> None:
        """It is over, or nobody wants to know any more: what was not sent is not sent."""
        self.close_exchange(exchange)
        self._outbox.pop(exchange, None)

    def check_open(self) -> None:
        """Raise `trio.ClosedResourceError` if this client was closed."""
        if self.is_closed:
            raise trio.ClosedResourceError(self._why_closed)

    def disown(self) -> None:
        """This is a forked process, and the socket its parent's."""
        self.is_closed = True
        self._why_closed = "this client belongs to the process that this one was forked from"

    def close(self) -> None:
        """Close the socket, and have everybody find out."""
        self.is_closed = True
        self._endpoint.close()
        while self.parked:
            self._wake(next(reversed(self.parked)))
