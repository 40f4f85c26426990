"""What a server makes of the extensions of a request: whose address is proven, and which request has run before.

Made once for each start of a server, from random bytes of its own. Its two halves are `Cookies`, which remembers
nothing, and `ReplyCache`, which remembers proven clients only (E2).
"""

from typing import Final

from ._codec import INSTANCE_ID_SIZE
from ._cookie import SECRET_SIZE, Cookies, tick_of
from ._drop_reason import DropReason
from ._exchanges import Peer
from ._once import BOOT_SIZE, Once, read_once_untrusted
from ._profile import AnswerKind, Extensions, Question
from ._reply_cache import DEFAULT_MAX_BYTES, DEFAULT_MAX_CLIENTS, Kept, OnceRequest, ReplyCache
from ._seal import key_id_of

VALIDATION_SIZE: Final = SECRET_SIZE + BOOT_SIZE
"""Random bytes that a server wants when it starts."""


class Validation:
    """The memory of one start of a server."""

    def __init__(
        self, random: bytes, *, max_clients: int = DEFAULT_MAX_CLIENTS, max_bytes: int = DEFAULT_MAX_BYTES
    ) -> None:
        """Take 40 random bytes that nobody else knows, and the limits of `ReplyCache`."""
        self.cookies = Cookies(random[BOOT_SIZE:])
        self.replies = ReplyCache(random[:BOOT_SIZE], max_clients=max_clients, max_bytes=max_bytes)
        self.granted = 0
        """Cookies given."""
        self.accepted = 0
        """Requests that came with a good one."""

    def accepts(self, question: Question, extensions: Extensions, peer: Peer, now: float) -> bool:
        """Whether the question came with a cookie, and that is good."""
        cookie = extensions.message.cookie
        return bool(cookie) and self.cookies.accepts(cookie, peer, _instance(question), now)

    def prove(self, question: Question, extensions: Extensions, peer: Peer, now: float) -> Question:
        """The question, which knows whether its cookie is good."""
        if not self.accepts(question, extensions, peer, now):
            return question
        self.accepted += 1
        return question._replace(extensions=extensions._replace(is_proven=True))

    def admit(
        self, question: Question, extensions: Extensions, now: float, *, may_run: bool
    ) -> Kept | AnswerKind | DropReason:
        """What is to become of a request that must not run twice."""
        message = extensions.message
        request = OnceRequest(
            once=read_once_untrusted(message.once),
            owner=(key_id_of(question), _instance(question)),
            key=question.key,
            is_proven=extensions.is_proven,
        )
        return self.replies.admit(request, tick_of(now), may_run=may_run)

    def grant(self, question: Question, peer: Peer, now: float) -> tuple[bytes, bytes]:
        """A cookie for who asks; and, if it must not run twice, which start this is and which minute."""
        asks = question.extensions is not None and question.extensions.message.once
        once = Once(self.replies.boot, tick_of(now)).encode() if asks else b""
        return self.cookies.grant(peer, _instance(question), now), once


def _instance(question: Question) -> bytes:
    return question.key[:INSTANCE_ID_SIZE]
