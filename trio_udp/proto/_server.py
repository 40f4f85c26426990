"""The server's protocol: which datagrams are questions, and which answers may leave.

Arithmetic only, and no state for anybody but for those who measure, a bounded number of them: a server that remembers
nothing about strangers cannot be made to remember too much. What must hold: nothing is ever sent in answer to a reply
or to a malformed datagram (E5), and to an address that has not proved that it receives there, never more bytes than
came from it (E4). Both are held here, in one place each, for every profile.
"""

from collections import Counter
from typing import Final

from ._drop_reason import DropReason
from ._errors import PayloadTooLarge
from ._exchanges import Peer
from ._profile import AnswerKind, Profile, Question
from ._times import ProbeTable, decode_sequence_untrusted, with_turnaround

_INSTANCE: Final = 8
"""Bytes of a key that are the client's instance id, in formats with times."""
_REPLY: Final = AnswerKind.REPLY
"""Looked up once: Python's enums take longer for it than the rest of an answer takes."""


class ServerProtocol:
    """Reads questions and writes answers for one server."""

    def __init__(self, profile: Profile, *, max_payload: int | None = None, began: int = 0) -> None:
        """Make the protocol of one server that begins at this time, nanoseconds of its wall clock."""
        self.profile = profile
        self.max_payload = profile.max_payload if max_payload is None else min(max_payload, profile.max_payload)
        self._decode = profile.decode_question_untrusted
        self.dropped: Counter[DropReason] = Counter()
        self.probes = ProbeTable(began=began)
        """Those who measure."""

    def receive_datagram(self, data: bytes) -> Question | DropReason:
        """The question this datagram asks, or why it must be met with silence, counted."""
        question = self._decode(data)
        if isinstance(question, Question):  # not: `DropReason`, for which Python takes five times as long
            if len(question.payload) <= self.max_payload:
                return question
            question = DropReason.TOO_LARGE
        self.dropped[question] += 1
        return question

    def receive_probe(self, question: Question, peer: Peer, *, arrived: int, by_kernel: bool) -> Question:
        """Count a question that has times, and put into them what to answer.

        If it only `asks_for_report`, answer without asking a handler, who may be silent or slow.
        """
        sequence = decode_sequence_untrusted(question.times) or 0
        instance = question.key[:_INSTANCE]
        times = self.probes.receive(peer, instance, sequence, arrived=arrived, by_kernel=by_kernel)
        return question._replace(times=times)

    def leaving(self, question: Question, now: int) -> Question:
        """The same question, its reply's times as they are when it leaves now."""
        return question._replace(times=with_turnaround(question.times, now))

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
        return datagram
