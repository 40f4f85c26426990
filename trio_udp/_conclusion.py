"""What a handler's end comes to: the answer to its request, or that there is none.

What must hold: a handler that raises, or returns what cannot be sent, hurts its own request only (E8); and what was
answered to a request that must not run twice is kept.
"""

import inspect
import logging
from typing import Final

import trio

from ._net import Address
from ._role import Turn
from .proto import AnswerKind, ServerProtocol

logger: Final = logging.getLogger("trio_udp")

_REPLY: Final = AnswerKind.REPLY  # looked up once, because that is slow


def conclude(protocol: ServerProtocol, turn: Turn, result: object) -> tuple[Turn, AnswerKind, bytes | None]:
    """What to send for what the handler returned. If it cannot be sent, that raises, as if the handler had.

    One who measures is told when that leaves, which is now: so the turn is another one.
    """
    if turn.question.times:
        turn = turn._replace(question=protocol.leaving(turn.question, turn.endpoint.wall_clock()))
    question = turn.question
    if result is None:
        protocol.settle(question, _REPLY, None)
        return turn, _REPLY, None
    if not isinstance(result, bytes):
        if inspect.iscoroutine(result):
            result.close()  # a plain function's: it will never be awaited
        raise TypeError(f"expected the handler to return bytes or None, got {type(result).__name__}")
    kind, answer = protocol.reply(question, result)
    if kind is not _REPLY:
        answer = protocol.retry(question, turn.peer, trio.current_time(), result)
    return turn, kind, answer


def fail(protocol: ServerProtocol, turn: Turn) -> bytes | None:
    """What to send for a handler that is raising."""
    logger.exception("handler failed for a request from %s", turn.peer, extra=_about(turn.peer))
    protocol.settle(turn.question, AnswerKind.ERROR)
    return protocol.refuse(turn.question, AnswerKind.ERROR)


def without_errors(exc: BaseException, peer: Address) -> BaseException:
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
