"""Many requests in one task: what `Client.request_many` gives.

The task that iterates is the one that sends, waits and reads, for all its requests at once: none has a task or a timer
of its own. So a payload is taken only when there is room for its request, and nothing is sent again while the task does
something else; what arrives meanwhile is looked at before anything is given up.

What must hold: every payload that was taken comes out as one result, unless the block is left before; leaving it
forgets the rest at once. Cancelling a wait for a result loses nothing, and one request's error ends no other.
"""

import contextlib
import itertools
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from math import inf
from typing import Final, NamedTuple, Protocol

import trio

from ._errors import UDPError
from ._net import BATCH
from ._pump import Pump
from ._reply import Reply, conclude
from .proto import Attempt, Exchange, RetryPolicy

_new: Final = tuple.__new__
"""Half the price of calling the class."""


class Result(NamedTuple):
    """What came of one of many requests: a reply or an error, and None for the other."""

    number: int
    """Which payload it was, counted from 0."""
    payload: bytes
    """What was asked."""
    reply: Reply | None
    error: UDPError | ValueError | None
    """What `Client.exchange` would have raised: `NoReply`, `RemoteError`, `PayloadTooLarge`, …"""


class Source(Protocol):
    """Where payloads come from."""

    exhausted: bool
    """Whether there are no more."""

    def take(self, room: int) -> bytes | None:
        """The next payload; None if there is none, now or ever. `room` is how many would be welcome."""


class Given:
    """The payloads of an iterable."""

    def __init__(self, payloads: Iterable[bytes]) -> None:
        self.exhausted = False
        self._payloads: Iterator[bytes] = iter(payloads)

    def take(self, room: int) -> bytes | None:
        """See `Source.take`."""
        for payload in self._payloads:
            return _checked(payload)
        self.exhausted = True
        return None


class Fetched:
    """The payloads of an async iterable, which a task waits for: somebody else has to read the answers meanwhile."""

    def __init__(self, payloads: AsyncIterable[bytes]) -> None:
        self.exhausted = False
        self._payloads = payloads
        self._fetched: deque[bytes] = deque()
        self._error: Exception | None = None
        self._room = 0
        self._wanted = trio.Event()
        self._scope = trio.CancelScope()
        self._ended = trio.Event()

    def take(self, room: int) -> bytes | None:
        """See `Source.take`; raises what waiting for payloads raised."""
        self._room = room
        if self._fetched:
            return self._fetched.popleft()
        self._wanted.set()
        if self._ended.is_set():
            self.exhausted = True
            if self._error is not None:
                raise self._error
        return None

    @contextlib.asynccontextmanager
    async def fetching(self, nursery: trio.Nursery, tell: Callable[[], None]) -> AsyncIterator[None]:
        """For the length of the block, have a task wait for payloads, and tell when there is something to take.

        Afterwards nobody uses the iterable any more.
        """
        nursery.start_soon(self._fetch, tell)
        try:
            yield
        finally:
            self._scope.cancel()
            with trio.CancelScope(shield=True):
                await self._ended.wait()

    async def _fetch(self, tell: Callable[[], None]) -> None:
        self._error = trio.BrokenResourceError("the nursery in which payloads were waited for was cancelled")
        try:
            with self._scope:
                await self._fetch_all(tell)
                self._error = None
        except Exception as exc:
            self._error = exc
        finally:
            self._ended.set()
            tell()

    async def _fetch_all(self, tell: Callable[[], None]) -> None:
        """Wait for as many payloads as there is room for."""
        await self._wanted.wait()
        async with contextlib.AsyncExitStack() as stack:
            payloads = aiter(self._payloads)
            if isinstance(payloads, AsyncGenerator):
                await stack.enter_async_context(contextlib.aclosing(payloads))  # nobody else can
            async for payload in payloads:
                self._fetched.append(_checked(payload))
                tell()
                if len(self._fetched) >= self._room:
                    self._wanted = trio.Event()
                    await self._wanted.wait()


def _checked(payload: bytes) -> bytes:
    """A payload, if it is one: None, for one, would be taken for the end of them."""
    if not isinstance(payload, bytes):
        raise TypeError(f"expected payloads to be bytes, got {type(payload).__name__}")
    return payload


class Results:
    """Results in the order in which they come. Made by `Client.request_many`, for one task at a time.

    An async iterator. It waits only when there is no result yet, and otherwise does not even checkpoint: no more than
    `max_in_flight` results come in between. A wait that is cancelled loses nothing.
    """

    def __init__(
        self,
        pump: Pump,
        source: Source,
        *,
        counts: dict[str, int],
        policy: RetryPolicy,
        at_most_once: bool,
        max_in_flight: int,
    ) -> None:
        self.news = False
        """For the pump: whether there is something to do."""
        self._pump = pump
        self._source = source
        self._turns = pump.turns
        self._turns_for_others = 1 if pump.turns.max_value != 1 else 0
        """Left alone while a request is in flight here: whoever takes it reads for us too, even if nobody iterates."""
        self._turns_in_hand = 0
        """Waited for, and not used yet. Not given back before that: it would go to the next who waits."""
        self._counts = counts
        self._policy = policy
        self._at_most_once = at_most_once
        self._max_in_flight = max_in_flight
        self._taken = 0
        self._open: dict[Exchange, int] = {}
        self._to_send: dict[Exchange, None] = {}
        """Those of the open ones that may have something to send, or nothing more to wait for."""
        self._outbox: dict[Exchange, Attempt] = {}
        """What they send now."""
        self._results: deque[Result] = deque()
        self._in_use = False
        self._is_closed = False

    @property
    def due(self) -> float:
        """For the pump: when there will be something to do if nothing arrives, at the earliest."""
        return self._pump.protocol.next_due

    def __aiter__(self) -> "Results":
        return self

    async def __anext__(self) -> Result:
        if self._in_use:
            raise trio.BusyResourceError("another task is waiting for these results")
        self._in_use = True
        try:
            if not self._results:
                await self._wait_for_results()
        finally:
            self._in_use = False
        return self._results.popleft()

    async def _wait_for_results(self) -> None:
        await self._work()
        if self._results:
            await trio.lowlevel.checkpoint()  # payloads that cannot be sent must not keep other tasks from running
        while not self._results:
            if self._source.exhausted and not self._open:
                raise StopAsyncIteration
            await self._pump.wait_for_news(self)
            await self._work()

    async def _work(self) -> None:
        """Send what is to be sent, and open what there is room for."""
        self._check_open()
        self.news = False
        try:
            if not (self._open or self._turns.value > 0 or self._source.exhausted):
                await self._turns.acquire()  # others have them all, and nothing here could be waited for instead
                self._turns_in_hand = 1
            await self._pump.read_backlog(self)
            while self._outbox or self._to_send or self._open_some():
                self._fill_outbox()
                await self._pump.send_all(self._outbox)
        except trio.BrokenResourceError:
            await trio.lowlevel.checkpoint()  # if this task is cancelled as well, that is what it has to hear
            raise
        finally:
            if self._turns_in_hand:
                self._turns_in_hand = 0
                self._turns.release()

    def _fill_outbox(self) -> None:
        """Make the transmissions that are due; those who have none more to make wait from now on, or are over."""
        now = trio.current_time()
        for exchange in list(itertools.islice(self._to_send, BATCH)):
            attempt = exchange.next_attempt(now)
            if attempt is not None:
                self._outbox[exchange] = attempt
            elif exchange.is_over:
                self._finish(exchange)
                continue
            if attempt is None or exchange.due < inf:
                del self._to_send[exchange]

    def _open_some(self) -> bool:
        """Open as many requests as may leave together, if there are payloads and room; whether there was one."""
        room = self._max_in_flight - len(self._open) - len(self._results)
        most = min(room, self._turns_left(), BATCH)
        taken = 0
        while taken < most and (payload := self._next_payload(room - taken)) is not None:
            self._begin(payload)
            taken += 1
        return taken > 0

    def _turns_left(self) -> int:
        """How many requests may begin here, so that a turn is left to others if one of them is in flight."""
        turns = self._turns.value + self._turns_in_hand
        return turns - self._turns_for_others if self._open or turns > 1 else turns

    def _next_payload(self, room: int) -> bytes | None:
        """The next payload, if there is one."""
        if self._is_closed or self._pump.is_closed:
            self._check_open()
        return None if self._source.exhausted else self._source.take(room)

    def _check_open(self) -> None:
        if self._is_closed:
            raise trio.ClosedResourceError("the block of these results was left")
        self._pump.check_open()

    def _begin(self, payload: bytes) -> None:
        """Open its request; what cannot be asked is a result already."""
        number = self._taken
        self._taken += 1
        self._counts["requests"] += 1
        try:
            exchange = self._pump.open_exchange(payload, self._policy, at_most_once=self._at_most_once)
        except ValueError as exc:
            self._counts["cancelled"] += 1
            self._results.append(Result(number, payload, None, exc))
            return
        if self._turns_in_hand:
            self._turns_in_hand = 0
        else:
            self._turns.taken += 1
        exchange.owner = self
        self._open[exchange] = number
        self._to_send[exchange] = None

    def take(self, exchange: Exchange) -> None:
        """Something happened to one of our exchanges; whoever reads says so, whatever our own task is doing."""
        self.news = True
        if exchange.outcome is not None:
            self._finish(exchange)
        else:
            self._to_send[exchange] = None

    def _finish(self, exchange: Exchange) -> None:
        number = self._open.pop(exchange)
        self._to_send.pop(exchange, None)
        self._outbox.pop(exchange, None)
        self._pump.close_exchange(exchange)
        self._turns.release()
        came, ended = conclude(exchange, self._pump.protocol)
        self._counts[ended] += 1
        reply, error = (came, None) if isinstance(came, Reply) else (None, came)
        self._results.append(_new(Result, (number, exchange.payload, reply, error)))

    def interrupt(self) -> None:
        """Something has happened that is no answer, and our task may be waiting for answers."""
        self.news = True
        self._pump.interrupt(self)

    def close(self) -> None:
        """Forget what is in flight, at once."""
        self._is_closed = True
        for exchange in self._open:
            self._pump.close_exchange(exchange)
            self._turns.release()
            self._counts["cancelled"] += 1
        self._open.clear()
        self._to_send.clear()
        self._outbox.clear()
        self._results.clear()
        self.interrupt()
