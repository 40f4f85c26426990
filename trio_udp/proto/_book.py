"""The wire format of `udp_local.py` and `udp_remote.py`: plain ASCII text, no ids. Verified: weak.

*Foundations of Python Network Programming* builds UDP up from here, and so does this package: the book's programs talk
to ours in both directions. Without an id the source address is all a client can check, so one request may be open to a
peer at a time, a late answer to the last request passes for the answer to this one, and a forged source is believed.

Two things the book's server does are mended, as far as the format lets them be. Its answer is itself good text, so two
such servers answer each other for ever (CVE-2024-2169); ours knows the sentence and stays silent. And one byte that is
not ASCII kills it; ours drops the datagram.
"""

import re
from typing import Final, Literal

from ._codec import MAX_DATAGRAM
from ._drop_reason import DropReason
from ._profile import Answer, AnswerKind, Question
from ._schedule import BOOK

_KEY: Final = b""
_ANSWER: Final = re.compile(rb"Your data was \d{1,5} bytes(?: long)?")
_LONGEST_ANSWER: Final = len("Your data was 65507 bytes long")


class Book:
    """The book's format. The source address is all that is verified: never put it on the Internet."""

    name: Final = "book"
    verified: Final[Literal["weak"]] = "weak"
    policy: Final = BOOK
    overhead: Final = 0
    max_payload: Final = MAX_DATAGRAM
    random_size: Final = 0
    max_outstanding: Final = 1

    def new_key(self, payload: bytes, instance: bytes, random: bytes) -> bytes:
        """Always the same key; `ValueError` for a payload that is not ASCII."""
        _check_ascii(payload)
        return _KEY

    def encode_request(self, payload: bytes, key: bytes, attempt: int, room: int) -> bytes:
        """The text itself, the same at every attempt."""
        return payload

    def decode_answer_untrusted(self, data: bytes) -> Answer | DropReason:
        """Any ASCII text."""
        return Answer(_KEY, data, attempt=0) if data.isascii() else DropReason.MALFORMED

    def decode_quote_untrusted(self, data: bytes) -> bytes:
        """Whatever is quoted, it was the one open request."""
        return _KEY

    def decode_question_untrusted(self, data: bytes) -> Question | DropReason:
        """Any ASCII text that is not the answer of such a server."""
        if not data.isascii():
            return DropReason.MALFORMED
        if _ANSWER.fullmatch(data):
            return DropReason.WRONG_DIRECTION
        return Question(_KEY, data, 0, len(data))

    def encode_answer(self, question: Question, kind: AnswerKind, payload: bytes) -> bytes | None:
        """The text itself; the format can say nothing else. `ValueError` for a reply that is not ASCII."""
        _check_ascii(payload)
        return payload if kind is AnswerKind.REPLY else None

    def reply_budget(self, question: Question) -> int:
        """The request's size, or the book's one sentence where that is longer: see docs/decisions on amplification."""
        return max(question.size, _LONGEST_ANSWER)


def _check_ascii(payload: bytes) -> None:
    if not payload.isascii():
        raise ValueError(f"expected ASCII text for the book's format, got {payload[:40]!r}")
