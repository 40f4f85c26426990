"""The wire format, version 1: a 24-byte header, the payload, and padding when asked for.

The header, big-endian:

| offset | bytes | field          | meaning                                                                     |
|--------|-------|----------------|-----------------------------------------------------------------------------|
| 0      | 1     | version        | 0x09, outside the first-byte ranges of RFC 7983 and RFC 9443                |
| 1      | 1     | type           | `MessageType`; bit 7 is the direction, set in everything a server sends     |
| 2      | 1     | flags          | `PADDED` is the only one defined so far; an unknown flag is a drop          |
| 3      | 1     | attempt        | 1 to 255; a server echoes it, so RTT samples survive retransmission         |
| 4      | 1     | key id         | 0: not authenticated                                                        |
| 5      | 1     | reserved       | 0                                                                           |
| 6      | 2     | payload length | exact                                                                       |
| 8      | 8     | instance id    | random per client and peer                                                  |
| 16     | 8     | request id     | random per request                                                          |

What must hold: every message has exactly one encoding, and `decode_message_untrusted` accepts nothing else. So no two
readers can disagree about a datagram, and after decoding nobody checks a length again.
"""

import enum
import struct
from typing import Final, NamedTuple

from ._drop_reason import DropReason
from ._errors import ProtocolError

# version, type, flags, attempt, key id, reserved, payload length, instance id and request id together
_HEADER: Final = struct.Struct("!BBBBBBH16s")

# version, type, flags and attempt as one number; key id, reserved and payload length as another; both ids together.
# Where flags, key id and reserved are 0, as in nearly all messages, one comparison each does for them too: reading and
# writing such a message costs half.
PLAIN_HEADER: Final = struct.Struct("!II16s")

VERSION: Final = 0x09
HEADER_SIZE: Final = _HEADER.size
IDS_SIZE: Final = 16
PADDED: Final = 0x10
MAX_ATTEMPT: Final = 255
MAX_DATAGRAM: Final = 65_507
"""The most bytes one UDP datagram carries over IPv4: 65,535 less the IP header (20) and the UDP header (8)."""
MAX_PAYLOAD: Final = MAX_DATAGRAM - HEADER_SIZE


class MessageType(enum.IntEnum):
    """The second byte. Bit 7 says who speaks; a server never answers a message that has it set (CVE-2024-2169).

    Any two that a server sends differ in two bits at least, so that one flipped bit makes no empty REPLY of a BUSY.
    """

    REQUEST = 0x01
    REPLY = 0x81
    RETRY = 0x82
    """The reply did not fit what an unproven address may be sent: ask again, with padding."""
    BUSY = 0x84
    """The server has no room for another request: ask later."""
    ERROR = 0x87
    """The handler failed."""

    @property
    def is_answer(self) -> bool:
        """Whether the direction bit is set."""
        return self >= 0x80


class Message(NamedTuple):
    """One decoded datagram."""

    type: MessageType
    attempt: int
    ids: bytes
    """Instance id and request id, 16 bytes."""
    payload: bytes = b""
    padding: int = 0
    """Zero bytes behind the payload. Only a request has any: it makes room for a longer reply."""


def plain_word(kind: MessageType) -> int:
    """The first number of a plain header, to which the attempt is added."""
    return VERSION << 24 | kind << 16


_TYPES: Final = {int(kind): kind for kind in MessageType}
_WITH_PAYLOAD: Final = (MessageType.REQUEST, MessageType.REPLY)


def encode_message(message: Message) -> bytes:
    """The one datagram that says this message; raises `ProtocolError` where the format has no way to say it."""
    _check(message)
    flags = PADDED if message.padding else 0
    header = _HEADER.pack(VERSION, message.type, flags, message.attempt, 0, 0, len(message.payload), message.ids)
    return header + message.payload + bytes(message.padding)


def _check(message: Message) -> None:
    kind, attempt, ids, payload, padding = message
    if not 1 <= attempt <= MAX_ATTEMPT:
        raise ProtocolError(f"expected an attempt from 1 to {MAX_ATTEMPT}, got {attempt}")
    if len(ids) != IDS_SIZE:
        raise ProtocolError(f"expected {IDS_SIZE} bytes of ids, got {len(ids)}")
    if padding < 0 or HEADER_SIZE + len(payload) + padding > MAX_DATAGRAM:
        raise ProtocolError(
            f"expected at most {MAX_PAYLOAD} bytes of payload and padding, got {len(payload)} and {padding}"
        )
    if payload and kind not in _WITH_PAYLOAD:
        raise ProtocolError(f"expected no payload in {kind.name}, got {len(payload)} bytes")
    if padding and kind is not MessageType.REQUEST:
        raise ProtocolError(f"expected no padding in {kind.name}, got {padding} bytes")


def decode_message_untrusted(data: bytes) -> Message | DropReason:
    """The message these bytes say, or why they say none. Constant work for junk; never raises."""
    if not HEADER_SIZE <= len(data) <= MAX_DATAGRAM:
        return DropReason.MALFORMED
    version, kind_byte, flags, attempt, key_id, reserved, length, ids = _HEADER.unpack_from(data)
    if version != VERSION:
        return DropReason.WRONG_VERSION
    kind = _TYPES.get(kind_byte)
    if kind is None or not attempt or key_id or reserved:
        return DropReason.MALFORMED
    if length and kind not in _WITH_PAYLOAD:
        return DropReason.MALFORMED
    end = HEADER_SIZE + length
    padding = len(data) - end
    if (flags or padding) and not _padding_is_right(data, kind, flags, end, padding):
        return DropReason.MALFORMED
    return Message(kind, attempt, ids, data[HEADER_SIZE:end], padding)


def _padding_is_right(data: bytes, kind: MessageType, flags: int, end: int, padding: int) -> bool:
    """Whether what follows the payload is what the flags announce: nothing, or some zero bytes of a request."""
    return flags == PADDED and kind is MessageType.REQUEST and padding > 0 and data.count(0, end) == padding
