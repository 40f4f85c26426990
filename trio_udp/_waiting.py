"""Handlers that wait, from there to their end, and how their answers leave.

What must hold: each is counted for as long as it runs, its answer goes to the newest attempt of a request that must not
run twice, and its request ends under one counter, whatever is cancelled when.
"""

import contextlib
from collections.abc import Awaitable, Coroutine
from typing import Any, cast

import trio

from ._conclusion import conclude, fail, without_errors
from ._endpoint import Endpoint
from ._handlers import AsyncHandler, Handler, Request, Waiting, call, go_on
from ._role import Role, Turn
from ._tally import Tally
from .proto import AnswerKind, ServerProtocol


class WaitingHandlers:
    """Those of one server."""

    def __init__(self, handler: Handler, endpoints: list[Endpoint], protocol: ServerProtocol, tally: Tally) -> None:
        self._handler = handler
        self._protocol = protocol
        self._tally = tally
        self._late = {endpoint: Role(endpoint, protocol, tally, reads=False) for endpoint in endpoints}
        """Answers that leave at the end of this pass of Trio's loop."""

    def start(self, nursery: trio.Nursery, turn: Turn, request: Request) -> None:
        """Run an async handler in a nursery of the user's. If that has ended, the server does too."""
        try:
            nursery.start_soon(self._handle, turn, request)
        except RuntimeError:
            self._tally.end("unanswered")
            raise
        self._tally.handlers += 1

    async def _handle(self, turn: Turn, request: Request) -> None:
        """The task of an async handler in a nursery of the user's."""
        await self._finish(turn, call(cast("AsyncHandler", self._handler), request))

    def see_through(self, turn: Turn, waiting: Waiting) -> Coroutine[Any, Any, None]:
        """What is left of a handler that has begun to wait in this task: to be awaited at once."""
        self._tally.handlers += 1
        return self._finish(turn, go_on(waiting))

    async def _finish(self, turn: Turn, result: Awaitable[bytes | None]) -> None:
        """Wait for the handler's end, and answer."""
        try:
            payload = await result
            turn, kind, answer = conclude(self._protocol, self._newest(turn), payload)
        except Exception:
            turn = self._newest(turn)
            await self._send(turn, AnswerKind.ERROR, fail(self._protocol, turn))
        except BaseException as exc:
            self._protocol.settle(turn.question, AnswerKind.ERROR)
            self._tally.end("unanswered")
            raise without_errors(exc, turn.peer) from None
        else:
            await self._send(turn, kind, answer)
        finally:
            self._tally.handlers -= 1

    def _newest(self, turn: Turn) -> Turn:
        """The attempt to answer: the newest one, of a request that must not run twice."""
        if turn.question.extensions is None:
            return turn
        question, newest = self._protocol.newest(turn.question, turn)
        return newest._replace(question=question)

    async def _send(self, turn: Turn, kind: AnswerKind, answer: bytes | None) -> None:
        """Send one answer, if there is one, with those of the other handlers that end in this pass of Trio's loop.

        The task of the first of them waits for the end of the pass, whatever is cancelled, and sends for all.
        """
        late = self._late[turn.endpoint]
        is_first = not late.answers
        late.put(turn, kind, answer)
        if answer is None or not is_first:
            return
        with contextlib.suppress(trio.ClosedResourceError):  # a handler in a user's nursery may outlive the server
            try:
                if self._tally.handlers > 1:
                    await trio.lowlevel.cancel_shielded_checkpoint()
            finally:
                await late.send()
