"""The server at work: who reads a socket, in which task each handler runs, and what becomes of every request.

One task at a time has the role of reading a socket: it takes a batch, runs the handlers, sends their answers together,
and takes the next. Plain handlers end on the spot, and so do async ones that do not wait. When one does wait, the task
that has begun it stays with it until it ends, and hands its role to another task, and the rest of the batch to two.

What must hold: a handler that raises hurts its own request only (E8); there are no more tasks than handlers that wait
(E9), datagrams of a batch, and a few spare ones; and each request ends under one counter, whatever is cancelled when.
"""

import contextlib
import contextvars
import inspect
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable
from functools import lru_cache
from time import perf_counter
from typing import Final, NamedTuple, cast

import trio

from ._endpoint import Endpoint
from ._handlers import AsyncHandler, Handler, Request, Waiting, begin, call, go_on, is_async
from ._net import Address, Ancillary, Batch, Datagrams, Outgoing
from .proto import (
    AnswerKind,
    Asked,
    DropReason,
    Question,
    Refusal,
    RefusalReason,
    ServerProtocol,
    Turned,
    asks_for_report,
    is_sealed,
)

logger: Final = logging.getLogger("trio_udp")

SPARE: Final = 64
"""Tasks kept for the next handlers that wait, about 2 KiB each; measured: as many as a batch has datagrams."""

_REPLY: Final = AnswerKind.REPLY  # looked up once, because that is slow
_BUSY: Final = AnswerKind.BUSY
_new: Final = tuple.__new__
"""For one object a request: two thirds of the price of calling the class."""
PATIENCE: Final = 0.001
"""Seconds for which an answer waits for others of its batch: behind fast handlers for all of them, behind slow ones for
none. A client's retransmission timeout is 200 times as long at least."""

_COUNTERS: Final = {
    AnswerKind.REPLY: "replies",
    AnswerKind.RETRY: "retries",
    AnswerKind.BUSY: "busy",
    AnswerKind.ERROR: "errors",
    AnswerKind.OUTCOME_UNKNOWN: "outcome_unknown",
}


_FAILED: Final = {kind: "errors" if kind is AnswerKind.ERROR else "unanswered" for kind in _COUNTERS}
"""Under which counter a request goes that could not be answered so."""


_Read = tuple[Asked | DropReason, Address, Ancillary]
"""What one datagram of a batch asks, whence it came, and what the kernel said beside it."""


class _Role:
    """Reading one socket: what is left of its batch, and which answers have not left yet. One task has it at a time."""

    __slots__ = ("answers", "endpoint", "is_through", "kinds", "leaving", "reads", "rest")

    def __init__(self, endpoint: Endpoint, rest: Iterable[_Read] = (), *, reads: bool = True) -> None:
        self.endpoint = endpoint
        self.rest = iter(rest)
        self.is_through = False
        """Whether nothing is left of the batch."""
        self.reads = reads
        """Whether the next batch is to be read when this one is through; or another task does that."""
        self.answers: list[Outgoing] = []
        self.kinds: list[AnswerKind] = []
        """What each of them is."""
        self.leaving: _Turn | None = None
        """Whose answer is the last one, if that says when it leaves."""


class _Turn(NamedTuple):
    """One request that takes more than a look: its handler waits, say."""

    endpoint: Endpoint
    question: Question
    peer: Address
    ancillary: Ancillary


class Answering:
    """Reads all sockets of one server."""

    def __init__(
        self, handler: Handler, endpoints: list[Endpoint], protocol: ServerProtocol, max_handlers: int
    ) -> None:
        self._handler = handler
        self._handler_is_async = is_async(handler)
        self._run: Callable[[Request], object] = self._begin if self._handler_is_async else handler
        self._endpoints = endpoints
        self._protocol = protocol
        self._max_handlers = max_handlers
        self._is_limited = protocol.limiter is not None
        self._context = contextvars.copy_context()
        self._spare: list[trio.lowlevel.Task] = []
        self._late = {endpoint: _Role(endpoint, reads=False) for endpoint in endpoints}
        """Answers of handlers that have waited, until the end of this pass of Trio's loop."""
        self._roles: deque[_Role] = deque()
        """For the spare tasks that have been woken."""
        self.draining = False
        self.idle = trio.Event()
        self.requests = 0
        self.handlers = 0
        """Async handlers that wait, or run in somebody else's nursery."""
        self.ended = dict.fromkeys((*_COUNTERS.values(), "absorbed", "unanswered"), 0)

    def start_in(self, nursery: trio.Nursery, handler_nursery: trio.Nursery | None) -> None:
        """Begin to read."""
        self._nursery = nursery
        self._handler_nursery = handler_nursery if self._handler_is_async else None
        for endpoint in self._endpoints:
            nursery.start_soon(self._work, _Role(endpoint))

    def notice_if_idle(self) -> None:
        """Wake who waits for the end, when every request that came has ended."""
        if self.draining and self.requests == sum(self.ended.values()):
            self.idle.set()

    # Tasks

    async def _work(self, role: _Role) -> None:
        """A task's life: read until a handler waits, see it through, and be ready for the next time."""
        task = trio.lowlevel.current_task()
        own_context = task.context
        while True:
            begun = await self._read(role)
            if begun is not None:
                turn, waiting = begun
                self._share(role)
                task.context = waiting.context
                await self._finish(turn, go_on(waiting))
                task.context = own_context
            if len(self._spare) >= SPARE:
                return
            role = await self._wait_for_role(task)

    def _share(self, role: _Role) -> None:
        """Hand over what is left, one half each to two others, who do the same if they have to.

        So when all handlers wait, a batch of 64 has begun after six passes of Trio's loop, and not after 64: measured,
        a quarter less processor time for each of them.
        """
        rest = list(role.rest)
        middle = len(rest) // 2
        role.rest = iter(rest[middle:])
        if middle:
            self._hand_over(_Role(role.endpoint, rest[:middle], reads=False))
        if role.reads or rest or role.answers:
            self._hand_over(role)

    def _hand_over(self, role: _Role) -> None:
        """Let another task read. Nothing is awaited here: this one has begun to wait for something else."""
        if self._spare:
            self._roles.append(role)
            trio.lowlevel.reschedule(self._spare.pop())
        else:
            self._nursery.start_soon(self._work, role)

    async def _wait_for_role(self, task: trio.lowlevel.Task) -> _Role:
        def give_up(_: object) -> trio.lowlevel.Abort:
            self._spare.remove(task)
            return trio.lowlevel.Abort.SUCCEEDED

        self._spare.append(task)
        await trio.lowlevel.wait_task_rescheduled(give_up)
        return self._roles.popleft()

    # Batches

    async def _read(self, role: _Role) -> tuple[_Turn, Waiting] | None:
        """Answer whatever comes, until a handler waits; None if there is no more to do."""
        try:
            while True:
                begun = self._go_through(role)
                if begun is not None:
                    self.handlers += 1
                    return begun
                await self._send_all(role)
                if role.is_through:
                    if not role.reads:
                        return None
                    self._open(role, await role.endpoint.receive())
        except BaseException:
            self._end_all(role.kinds, range(len(role.kinds)))
            raise

    def _open(self, role: _Role, batch: Batch) -> None:
        """Read what each of its datagrams asks."""
        if batch.truncated:
            self._protocol.dropped[DropReason.TRUNCATED] += batch.truncated
        if batch.datagrams:
            columns = Datagrams.of(batch.datagrams)
            asked = self._protocol.receive_batch(columns.data)
            role.rest = zip(asked, columns.peers, columns.ancillaries, strict=True)
            role.is_through = False

    def _go_through(self, role: _Role) -> tuple[_Turn, Waiting] | None:
        """Run handlers for what is left of a batch, until one waits, or the first answer has waited for long enough.

        Every datagram of a server goes through here. So what most of them are is dealt with on the spot: a plain
        request, for which the handler may run, and which it answers at once. All else has functions of its own.
        """
        run, encode = self._run, self._protocol.encode_plain
        endpoint, answers, kinds = role.endpoint, role.answers, role.kinds
        is_open = not self._is_limited and self._handler_nursery is None and self._may_run
        latest = perf_counter() + PATIENCE
        for asked, peer, ancillary in role.rest:
            if is_open and type(asked) is tuple:
                host = ancillary.local
                local = endpoint.address if host is None else _address(host, endpoint.address.port)
                request: Request = _new(Request, (asked[1], peer, local, asked[2], len(asked) > 3))
                self.requests += 1
                try:
                    result = run(request)
                    answer = encode(asked, result) if type(result) is bytes else None  # type: ignore[arg-type]  # plain
                except BaseException as exc:
                    turn = _Turn(endpoint, self._protocol.question_of(asked), peer, ancillary)
                    self._put_failure(role, turn, exc)
                else:
                    if answer is not None:
                        answers.append((answer, peer, host))
                        kinds.append(_REPLY)
                    else:
                        turn = _Turn(endpoint, self._protocol.question_of(asked), peer, ancillary)
                        if isinstance(result, Waiting):
                            return turn, result
                        self._conclude(role, turn, result)
            elif not isinstance(asked, str):  # a drop reason, but Python takes longer to see that
                question = self._protocol.question_of(asked)
                begun = self._take(role, _Turn(endpoint, question, peer, ancillary))
                if begun is not None or question.times:
                    return begun  # the time at which the reply leaves stands in it, so it has to leave now
            if perf_counter() > latest:
                return None
        role.is_through = True
        return None

    @property
    def _may_run(self) -> bool:
        return not self.draining and self.handlers < self._max_handlers

    def _take(self, role: _Role, turn: _Turn) -> tuple[_Turn, Waiting] | None:
        """Any request: run the handler, and put its answer to the others; or say that it waits."""
        if turn.question.times:
            turn = self._count_probe(turn)
        if self._is_limited and not self._protocol.admits(turn.question, turn.peer, trio.current_time()):
            self._explain(role, turn)
            return None
        may_run = self._may_run
        admitted = self._admit(role, turn, may_run=may_run)
        if admitted is None:
            return None
        turn = admitted
        self.requests += 1
        if turn.question.times and asks_for_report(turn.question.times):
            self._conclude(role, turn, b"")
        elif not may_run:
            self._put(role, turn, _BUSY, self._protocol.refuse(turn.question, _BUSY, self._why_not()))
        elif self._handler_nursery is not None:
            self._start(self._handler_nursery, turn, _request_of(turn))
        else:
            try:
                result = self._run(_request_of(turn))
            except BaseException as exc:
                self._put_failure(role, turn, exc)
            else:
                if isinstance(result, Waiting):
                    return turn, result
                self._conclude(role, turn, result)
        return None

    def _count_probe(self, turn: _Turn) -> _Turn:
        """Count one who measures; his question, with what to tell him in its times."""
        turn.endpoint.stamp_arrivals()  # from the second one on
        arrived = turn.ancillary.arrived
        by_kernel = arrived is not None
        if arrived is None:
            arrived = turn.endpoint.wall_clock()
        question = self._protocol.receive_probe(turn.question, turn.peer, arrived=arrived, by_kernel=by_kernel)
        return turn._replace(question=question)

    def _admit(self, role: _Role, turn: _Turn, *, may_run: bool) -> _Turn | None:
        """The question for the handler; None if it is not for the handler, and dealt with."""
        if turn.question.extensions is None:
            return turn
        why_not = None if may_run else self._why_not()
        admitted = self._protocol.admit(
            turn.question, turn.peer, trio.current_time(), turn, may_run=may_run, why_not=why_not
        )
        if isinstance(admitted, Question):
            return turn._replace(question=admitted)
        if isinstance(admitted, Turned):
            self.requests += 1
            if admitted.kind is None:
                self._end("absorbed")
            else:
                self._put(role, turn, admitted.kind, admitted.datagram)
        return None

    def _conclude(self, role: _Role, turn: _Turn, result: object) -> None:
        """Put the answer to what the handler returned to the others."""
        turn = self._leaving(turn)
        try:
            kind, answer = self._encode(turn, result)
        except Exception as exc:
            self._put_failure(role, turn, exc)
        else:
            self._put(role, turn, kind, answer)
            if turn.question.times and kind is _REPLY and answer is not None:
                role.leaving = turn

    def _leaving(self, turn: _Turn) -> _Turn:
        """The same; if it is one of those who measure, he is told when it leaves, which is now."""
        if not turn.question.times:
            return turn
        return turn._replace(question=self._protocol.leaving(turn.question, turn.endpoint.wall_clock()))

    def _put_failure(self, role: _Role, turn: _Turn, exc: BaseException) -> None:
        """The same for a handler that is raising; what is no error of a handler's, a cancellation say, goes on."""
        if not isinstance(exc, Exception):
            self._end("unanswered")
            raise exc
        self._put(role, turn, AnswerKind.ERROR, self._fail(turn))

    def _why_not(self) -> Refusal:
        """Why no handler may run."""
        if self.draining:
            return Refusal(RefusalReason.DRAINING)
        return Refusal(RefusalReason.HANDLERS, self._max_handlers)

    def _explain(self, role: _Role, turn: _Turn) -> None:
        """Tell who is above the rate limit which one it is, if he is to know."""
        answer = self._protocol.refuse_over_limit(turn.question, turn.peer, trio.current_time())
        if answer is not None:
            self.requests += 1
            self._put(role, turn, _BUSY, answer)

    def _put(self, role: _Role, turn: _Turn, kind: AnswerKind, answer: bytes | None) -> None:
        """Keep an answer until the batch is through."""
        if answer is None:
            self._end(_FAILED[kind])
        else:
            role.answers.append((answer, turn.peer, turn.ancillary.local))
            role.kinds.append(kind)

    def _begin(self, request: Request) -> bytes | Waiting | None:
        """The first step of an async handler, with context variables of its own."""
        return begin(cast("AsyncHandler", self._handler), request, self._context.copy())

    async def _send_all(self, role: _Role) -> None:
        """Send what was kept.

        Never waits: one neighbour that cannot be reached fills the send buffer for seconds, and all others would wait
        behind it. What is lost so is lost as on the wire: the client asks again.
        """
        if not role.answers:
            return
        answers, kinds, leaving = role.answers, role.kinds, role.leaving
        role.answers, role.kinds, role.leaving = [], [], None
        failed: Collection[int] = range(len(answers))  # until we are told otherwise
        try:
            if leaving is not None and len(answers) == 1:
                failed = await self._send_stamped(leaving, answers[0][0])
            else:
                failed = await role.endpoint.send_batch(answers, may_wait=False)
        finally:
            self._end_all(kinds, failed)

    async def _send_stamped(self, turn: _Turn, answer: bytes) -> Collection[int]:
        """Send the one answer to a probe; if the kernel says when it has left, the next one tells that."""
        error, left = await turn.endpoint.send_stamped(answer, turn.peer, turn.ancillary.local)
        if left is not None:
            self._protocol.note_departure(turn.question, turn.peer, left)
        return () if error is None else (0,)

    # Handlers that wait

    def _start(self, nursery: trio.Nursery, turn: _Turn, request: Request) -> None:
        """Run an async handler in a nursery of the user's. If that has ended, the server does too."""
        try:
            nursery.start_soon(self._handle, turn, request)
        except RuntimeError:
            self._end("unanswered")
            raise
        self.handlers += 1

    async def _handle(self, turn: _Turn, request: Request) -> None:
        """The task of an async handler in a nursery of the user's."""
        await self._finish(turn, call(cast("AsyncHandler", self._handler), request))

    async def _finish(self, turn: _Turn, result: Awaitable[bytes | None]) -> None:
        """Wait for the handler's end, and answer."""
        try:
            payload = await result
            turn = self._leaving(self._newest(turn))
            kind, answer = self._encode(turn, payload)
        except Exception:
            turn = self._newest(turn)
            await self._send(turn, AnswerKind.ERROR, self._fail(turn))
        except BaseException as exc:
            self._protocol.settle(turn.question, AnswerKind.ERROR)
            self._end("unanswered")
            raise _without_errors(exc, turn.peer) from None
        else:
            await self._send(turn, kind, answer)
        finally:
            self.handlers -= 1

    def _newest(self, turn: _Turn) -> _Turn:
        """The attempt to answer: the newest one, of a request that must not run twice."""
        if turn.question.extensions is None:
            return turn
        question, newest = self._protocol.newest(turn.question, turn)
        return newest._replace(question=question)

    async def _send(self, turn: _Turn, kind: AnswerKind, answer: bytes | None) -> None:
        """Send one answer, if there is one, with those of the other handlers that end in this pass of Trio's loop.

        The task of the first of them waits for the end of the pass, whatever is cancelled, and sends for all.
        """
        if answer is None:
            self._end(_FAILED[kind])
            return
        late = self._late[turn.endpoint]
        late.answers.append((answer, turn.peer, turn.ancillary.local))
        late.kinds.append(kind)
        if len(late.answers) > 1:
            return
        with contextlib.suppress(trio.ClosedResourceError):  # a handler in a user's nursery may outlive the server
            try:
                if self.handlers > 1:
                    await trio.lowlevel.cancel_shielded_checkpoint()
            finally:
                await self._send_all(late)

    # What becomes of a request

    def _encode(self, turn: _Turn, payload: object) -> tuple[AnswerKind, bytes | None]:
        """What to send for what the handler returned."""
        question = turn.question
        if payload is None:
            self._protocol.settle(question, _REPLY, None)
            return _REPLY, None
        if not isinstance(payload, bytes):
            if inspect.iscoroutine(payload):
                payload.close()  # a plain function's: it will never be awaited
            raise TypeError(f"expected the handler to return bytes or None, got {type(payload).__name__}")
        kind, answer = self._protocol.reply(question, payload)
        if kind is not _REPLY:
            answer = self._protocol.retry(question, turn.peer, trio.current_time(), payload)
        return kind, answer

    def _fail(self, turn: _Turn) -> bytes | None:
        """What to send for a handler that is raising."""
        logger.exception("handler failed for a request from %s", turn.peer, extra=_about(turn.peer))
        self._protocol.settle(turn.question, AnswerKind.ERROR)
        return self._protocol.refuse(turn.question, AnswerKind.ERROR)

    def _end(self, counter: str) -> None:
        """Count a request under what became of it."""
        self.ended[counter] += 1
        self.notice_if_idle()

    def _end_all(self, kinds: list[AnswerKind], failed: Collection[int]) -> None:
        """The same for many, of which some could not be answered."""
        for place in failed:
            self.ended[_FAILED[kinds[place]]] += 1
        answered = [kind for place, kind in enumerate(kinds) if place not in failed] if failed else kinds
        for kind in {*answered}:
            self.ended[_COUNTERS[kind]] += answered.count(kind)
        self.notice_if_idle()


@lru_cache(maxsize=64)
def _address(host: str, port: int) -> Address:
    """An address of ours; it is the same for most requests."""
    return Address(host, port)


def _request_of(turn: _Turn) -> Request:
    """What the handler is given."""
    question, host, local = turn.question, turn.ancillary.local, turn.endpoint.address
    if host is not None:
        local = _address(host, local.port)
    return Request(question.payload, turn.peer, local, question.attempt, is_sealed(question))


def _without_errors(exc: BaseException, peer: Address) -> BaseException:
    """What has to end this task, a cancellation say, without what a handler of many tasks raised beside it (E8)."""
    if not isinstance(exc, BaseExceptionGroup):
        return exc
    errors, rest = exc.split(Exception)
    if errors is not None:
        logger.error("handler failed for a request from %s", peer, exc_info=errors, extra=_about(peer))
    return rest or exc


def _about(peer: Address) -> dict[str, str]:
    """For logs that programs read."""
    return {"event": "handler_failed", "peer": str(peer)}
