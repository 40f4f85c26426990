"""The server's protocol: which datagrams are questions, and which answers may leave.

Arithmetic only, and no state for anybody: a server that remembers nothing about strangers cannot be made to remember
too much. What must hold: nothing is ever sent in answer to a reply or to a malformed datagram (E5), and to an address
that has not proved that it receives there, never more bytes than came from it (E4). Both are held here, in one place
each, for every profile.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Final

from ._drop_reason import DropReason
from ._errors import PayloadTooLarge
from ._profile import AnswerKind, Profile, Question
from ._seal import Decode, KeyRing, Seal, seal_answer
from ._tu1 import TU1

_REPLY: Final = AnswerKind.REPLY
"""Looked up once: Python's enums take longer for it than the rest of an answer takes."""


class ServerProtocol:
    """Reads questions and writes answers for one server."""

    def __init__(
        self,
        profile: Profile,
        *,
        max_payload: int | None = None,
        seals: Iterable[Seal] | None = None,
        allow_unkeyed: bool = False,
    ) -> None:
        """Make the protocol of one server.

        Args:
            profile: the wire format.
            max_payload: the longest payload a request may have, in bytes.
            seals: the keys that are accepted; None for a server without keys.
            allow_unkeyed: whether a server with keys believes requests that came without one as well.
        """
        self.profile = profile
        self.max_payload = profile.max_payload if max_payload is None else min(max_payload, profile.max_payload)
        self._allow_unkeyed = allow_unkeyed
        self._decode: Decode = profile.decode_question_untrusted
        if seals is not None:
            self.set_seals(seals)
        self.dropped: Counter[DropReason] = Counter()

    def set_seals(self, seals: Iterable[Seal]) -> None:
        """Accept these keys from now on, and no others. What was asked under another one is answered under it."""
        if not isinstance(self.profile, TU1):
            raise ValueError(f"expected no keys: profile {self.profile.name} has no room for a tag")
        ring = KeyRing(seals, self.profile.decode_question_untrusted, allow_unkeyed=self._allow_unkeyed)
        self._decode = ring.decode_question_untrusted

    def receive_datagram(self, data: bytes) -> Question | DropReason:
        """The question this datagram asks, or why it must be met with silence, counted."""
        question = self._decode(data)
        if isinstance(question, Question):  # not: `DropReason`, for which Python takes five times as long
            if len(question.payload) <= self.max_payload:
                return question
            question = DropReason.TOO_LARGE
        self.dropped[question] += 1
        return question

    def reply(self, question: Question, payload: bytes) -> tuple[AnswerKind, bytes | None]:
        """The datagram to send for this reply, and what it is: a RETRY where the reply would be over budget.

        None where nothing may be sent. Raises `ValueError` for a payload that no reply of this format can carry,
        `PayloadTooLarge` if that is because of its length.
        """
        if len(payload) > self.profile.max_payload:
            raise PayloadTooLarge(len(payload), self.profile.max_payload)
        datagram = self._answer(question, _REPLY, payload)
        if datagram is not None:
            return _REPLY, datagram
        return AnswerKind.RETRY, self.refuse(question, AnswerKind.RETRY)

    def refuse(self, question: Question, kind: AnswerKind) -> bytes | None:
        """The datagram of an answer without payload; None where the format has none that fits."""
        return self._answer(question, kind, b"")

    def _answer(self, question: Question, kind: AnswerKind, payload: bytes) -> bytes | None:
        datagram = self.profile.encode_answer(question, kind, payload)
        if datagram is not None and len(datagram) > self.profile.reply_budget(question):
            self.dropped[DropReason.OVER_BUDGET] += 1
            return None
        return None if datagram is None else seal_answer(question, datagram)  # 16 bytes more, as its request has
