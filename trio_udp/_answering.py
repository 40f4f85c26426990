"""What becomes of every datagram of a server: its handler runs, or why not is said, and there is one answer or none.

Whoever reads a socket goes through a batch here. Plain handlers end on the spot, and so do async ones that do not wait.
One that does wait is given back, to be seen through to its end.

What must hold: a handler that raises hurts its own request only (E8); no more handlers wait than may (E9); and each
request ends under one counter, whatever is cancelled when.
"""

import contextvars
from collections.abc import Callable
from functools import lru_cache
from time import perf_counter
from typing import Final, cast

import trio

from ._conclusion import conclude, fail
from ._endpoint import Endpoint
from ._handlers import AsyncHandler, Handler, Request, Waiting, begin, is_async
from ._net import Address, Batch, Datagrams
from ._role import Role, Turn
from ._tally import Tally
from ._waiting import WaitingHandlers
from .proto import (
    AnswerKind,
    DropReason,
    Question,
    Refusal,
    RefusalReason,
    ServerProtocol,
    Turned,
    asks_for_report,
    is_sealed,
)

_REPLY: Final = AnswerKind.REPLY  # looked up once, because that is slow
_BUSY: Final = AnswerKind.BUSY
_new: Final = tuple.__new__
"""For one object a request: two thirds of the price of calling the class."""
PATIENCE: Final = 0.001
"""Seconds for which an answer waits for others of its batch: behind fast handlers for all of them, behind slow ones for
none. A client's retransmission timeout is 200 times as long at least."""


class Answering:
    """Answers the requests of one server."""

    def __init__(
        self,
        handler: Handler,
        endpoints: list[Endpoint],
        protocol: ServerProtocol,
        max_handlers: int,
        handler_nursery: trio.Nursery | None,
    ) -> None:
        self._handler = handler
        handler_is_async = is_async(handler)
        self._run: Callable[[Request], object] = self._begin if handler_is_async else handler
        self._handler_nursery = handler_nursery if handler_is_async else None
        self._protocol = protocol
        self._max_handlers = max_handlers
        self._is_limited = protocol.limiter is not None
        self._context = contextvars.copy_context()
        self.tally = Tally()
        self.waiting = WaitingHandlers(handler, endpoints, protocol, self.tally)

    def role_of(self, endpoint: Endpoint) -> Role:
        """Reading one of the sockets, from the beginning."""
        return Role(endpoint, self._protocol, self.tally)

    def open(self, role: Role, batch: Batch) -> None:
        """Read what each of its datagrams asks."""
        if batch.truncated:
            self._protocol.dropped[DropReason.TRUNCATED] += batch.truncated
        if batch.datagrams:
            columns = Datagrams.of(batch.datagrams)
            asked = self._protocol.receive_batch(columns.data)
            role.rest = zip(asked, columns.peers, columns.ancillaries, strict=True)

    def go_through(self, role: Role) -> tuple[Turn, Waiting] | None:
        """Run handlers for what is left of a batch, until one waits, or the first answer has waited for long enough.

        Every datagram of a server goes through here. So what most of them are is dealt with on the spot: a plain
        request, for which the handler may run, and which it answers at once. All else has functions of its own.
        """
        run, encode, tally = self._run, self._protocol.encode_plain, self.tally
        endpoint, answers, kinds = role.endpoint, role.answers, role.kinds
        is_open = not self._is_limited and self._handler_nursery is None and self._may_run
        latest = perf_counter() + PATIENCE
        role.is_slow = False
        for asked, peer, ancillary in role.rest:
            if is_open and type(asked) is tuple:
                host = ancillary.local
                local = endpoint.address if host is None else _address(host, endpoint.address.port)
                request: Request = _new(Request, (asked[1], peer, local, asked[2], len(asked) > 3))
                tally.requests += 1
                try:
                    result = run(request)
                    answer = encode(asked, result) if type(result) is bytes else None  # type: ignore[arg-type]  # plain
                except BaseException as exc:
                    turn = Turn(endpoint, self._protocol.question_of(asked), peer, ancillary)
                    self._put_failure(role, turn, exc)
                else:
                    if answer is not None:
                        answers.append((answer, peer, host))
                        kinds.append(_REPLY)
                    else:
                        turn = Turn(endpoint, self._protocol.question_of(asked), peer, ancillary)
                        if isinstance(result, Waiting):
                            return turn, result
                        self._conclude(role, turn, result)
            elif not isinstance(asked, str):  # a drop reason, but Python takes longer to see that
                question = self._protocol.question_of(asked)
                begun = self._take(role, Turn(endpoint, question, peer, ancillary))
                if begun is not None or question.times:
                    role.is_slow = perf_counter() > latest
                    return begun  # the time at which the reply leaves stands in it, so it has to leave now
            if perf_counter() > latest:
                role.is_slow = True
                break
        return None

    @property
    def _may_run(self) -> bool:
        return not self.tally.draining and self.tally.handlers < self._max_handlers

    def _take(self, role: Role, turn: Turn) -> tuple[Turn, Waiting] | None:
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
        self.tally.requests += 1
        if turn.question.times and asks_for_report(turn.question.times):
            self._conclude(role, turn, b"")
        elif not may_run:
            role.put(turn, _BUSY, self._protocol.refuse(turn.question, _BUSY, self._why_not()))
        elif self._handler_nursery is not None:
            self.waiting.start(self._handler_nursery, turn, _request_of(turn))
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

    def _count_probe(self, turn: Turn) -> Turn:
        """Count one who measures; his question, with what to tell him in its times."""
        turn.endpoint.stamp_arrivals()  # from the second one on
        arrived = turn.ancillary.arrived
        by_kernel = arrived is not None
        if arrived is None:
            arrived = turn.endpoint.wall_clock()
        question = self._protocol.receive_probe(turn.question, turn.peer, arrived=arrived, by_kernel=by_kernel)
        return turn._replace(question=question)

    def _admit(self, role: Role, turn: Turn, *, may_run: bool) -> Turn | None:
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
            self.tally.requests += 1
            if admitted.kind is None:
                self.tally.end("absorbed")
            else:
                role.put(turn, admitted.kind, admitted.datagram)
        return None

    def _conclude(self, role: Role, turn: Turn, result: object) -> None:
        """Put the answer to what the handler returned to the others."""
        try:
            turn, kind, answer = conclude(self._protocol, turn, result)
        except Exception as exc:
            self._put_failure(role, turn, exc)
        else:
            role.put(turn, kind, answer)
            if turn.question.times and kind is _REPLY and answer is not None:
                role.leaving = turn

    def _put_failure(self, role: Role, turn: Turn, exc: BaseException) -> None:
        """The same for a handler that is raising; what is no error of a handler's, a cancellation say, goes on."""
        if not isinstance(exc, Exception):
            self.tally.end("unanswered")
            raise exc
        role.put(turn, AnswerKind.ERROR, fail(self._protocol, turn))

    def _why_not(self) -> Refusal:
        """Why no handler may run."""
        if self.tally.draining:
            return Refusal(RefusalReason.DRAINING)
        return Refusal(RefusalReason.HANDLERS, self._max_handlers)

    def _explain(self, role: Role, turn: Turn) -> None:
        """Tell who is above the rate limit which one it is, if he is to know."""
        answer = self._protocol.refuse_over_limit(turn.question, turn.peer, trio.current_time())
        if answer is not None:
            self.tally.requests += 1
            role.put(turn, _BUSY, answer)

    def _begin(self, request: Request) -> bytes | Waiting | None:
        """The first step of an async handler, with context variables of its own."""
        return begin(cast("AsyncHandler", self._handler), request, self._context.copy())


@lru_cache(maxsize=64)
def _address(host: str, port: int) -> Address:
    """An address of ours; it is the same for most requests."""
    return Address(host, port)


def _request_of(turn: Turn) -> Request:
    """What the handler is given."""
    question, host, local = turn.question, turn.ancillary.local, turn.endpoint.address
    if host is not None:
        local = _address(host, local.port)
    return Request(question.payload, turn.peer, local, question.attempt, is_sealed(question))
