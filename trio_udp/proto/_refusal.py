"""Why a server refuses a request, said in BUSY and in ERROR as an extension of 5 bytes, big-endian:

| bytes | field  | meaning                                                                                    |
|-------|--------|--------------------------------------------------------------------------------------------|
| 1     | reason | the code of a `RefusalReason`                                                              |
| 4     | limit  | how much that limit is: handlers, bytes, or requests in 1000 seconds; 0 where none is said |

What must hold: any two codes differ in two bits at least, so that one flipped bit makes another reason of none; and a
reason that is not known here is no reason to doubt that the server refuses.
"""

import enum
import struct
from collections.abc import Callable
from typing import Final, NamedTuple

# reason, limit
_REFUSAL: Final = struct.Struct("!BI")
_MOST: Final = 2**32 - 1
_PER: Final = 1000
"""Seconds in which requests are counted, so that less than one a second can be said."""


class RefusalReason(enum.StrEnum):
    """Which limit it is."""

    DRAINING = "draining"
    """None: the server is stopping."""
    HANDLERS = "handlers"
    """As many handlers run as may."""
    MEMORY = "memory"
    """There is no room to remember another at-most-once request."""
    RATE = "rate"
    """Requests a second from one source."""
    OVERALL_RATE = "overall_rate"
    """Requests a second from all sources together."""
    SIZE = "size"
    """Bytes of payload in a request."""


_CODES: Final = {
    RefusalReason.DRAINING: 0x03,
    RefusalReason.HANDLERS: 0x05,
    RefusalReason.MEMORY: 0x06,
    RefusalReason.RATE: 0x09,
    RefusalReason.OVERALL_RATE: 0x0A,
    RefusalReason.SIZE: 0x0C,
}
_REASONS: Final = {code: reason for reason, code in _CODES.items()}


def _plain(limit: int) -> str:
    return str(limit)


def _rate(limit: int) -> str:
    return f"{limit / _PER:.10g}/s"


_WORDS: Final[dict[RefusalReason, tuple[str, Callable[[int], str]]]] = {
    RefusalReason.DRAINING: ("it is stopping", _plain),
    RefusalReason.HANDLERS: ("no more of its handlers may run", _plain),
    RefusalReason.MEMORY: ("it has no room to remember more requests", _plain),
    RefusalReason.RATE: ("it takes no more requests from one source", _rate),
    RefusalReason.OVERALL_RATE: ("it takes no more requests from all sources together", _rate),
    RefusalReason.SIZE: ("it takes no longer payload", lambda limit: f"{limit} bytes"),
}


class Refusal(NamedTuple):
    """Which limit of the server it is, and how much."""

    reason: RefusalReason
    limit: int = 0
    """Handlers, bytes, or requests in 1000 seconds; 0 where none is said."""

    def __str__(self) -> str:
        words, written = _WORDS[self.reason]
        return f"{words} (limit {written(self.limit)})" if self.limit else words

    def encode(self) -> bytes:
        """As it is said. A limit that does not fit is left out."""
        return _REFUSAL.pack(_CODES[self.reason], self.limit if 0 < self.limit <= _MOST else 0)


def rate_refusal(reason: RefusalReason, rate: float) -> Refusal:
    """For a limit of so many requests a second."""
    return Refusal(reason, round(rate * _PER))


def read_refusal_untrusted(data: bytes) -> Refusal | None:
    """What a server says; None where it says nothing, or something that is not known here."""
    if len(data) != _REFUSAL.size:
        return None
    code, limit = _REFUSAL.unpack(data)
    reason = _REASONS.get(code)
    return None if reason is None else Refusal(reason, limit)
