"""The wire format, version 1: a 24-byte header, extensions, the payload, padding when asked for, and a tag when keyed.

The header, big-endian:

| offset | bytes | field          | meaning                                                                     |
|--------|-------|----------------|-----------------------------------------------------------------------------|
| 0      | 1     | version        | 0x09, outside the first-byte ranges of RFC 7983 and RFC 9443                |
| 1      | 1     | type           | `MessageType`; bit 7 is the direction, set in everything a server sends     |
| 2      | 1     | flags          | what follows the header; an unknown flag is a drop                          |
| 3      | 1     | attempt        | 1 to 255; a server echoes it, so RTT samples survive retransmission         |
| 4      | 1     | key id         | 1 to 255; 0: not authenticated                                              |
| 5      | 1     | reserved       | 0                                                                           |
| 6      | 2     | payload length | exact                                                                       |
| 8      | 8     | instance id    | random per client and peer                                                  |
| 16     | 8     | request id     | random per request                                                          |

What the flags announce, in the order in which it follows:

| flag | bytes | what    | in             | meaning                                                                   |
|------|-------|---------|----------------|---------------------------------------------------------------------------|
| 0x02 | 16    | cookie  | REQUEST, RETRY | what a server sent to an address, and had back from there                 |
| 0x04 | 20    | once    | REQUEST, RETRY | what at-most-once needs to know                                           |
| 0x08 | 52    | times   | REQUEST, REPLY | what a measurement wants to know                                          |
| 0x20 | 5     | refusal | BUSY, ERROR    | which limit of the server it is, if that is said                          |
|      |       | payload | REQUEST, REPLY |                                                                           |
| 0x10 | 1 …   | padding | REQUEST        | zeros: they make room for a longer reply                                  |
| 0x01 | 16    | tag     | all            | authenticates everything before it, and in a reply also its request's tag |

What must hold: every message has exactly one encoding, and `decode_message_untrusted` accepts nothing else. So no two
readers can disagree about a datagram, and after decoding nobody checks a length again. What the extensions and the tag
mean is not known here; they are so many bytes.
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
INSTANCE_ID_SIZE: Final = 8
TAG_SIZE: Final = 16
COOKIE_SIZE: Final = 16
ONCE_SIZE: Final = 20
TIMES_SIZE: Final = 52
REFUSAL_SIZE: Final = 5
AUTHENTICATED: Final = 0x01
COOKIE: Final = 0x02
ONCE: Final = 0x04
TIMES: Final = 0x08
PADDED: Final = 0x10
REFUSAL: Final = 0x20
MAX_ATTEMPT: Final = 255
MAX_KEY_ID: Final = 255
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
    """Ask again: with the cookie that comes with it, or with padding, because the reply did not fit what an unproven
    address may be sent."""
    BUSY = 0x84
    """The server has no room for another request: ask later."""
    ERROR = 0x87
    """The handler failed, or the request is none that this server takes."""
    OUTCOME_UNKNOWN = 0x88
    """Nobody can tell whether an at-most-once request has run: it is from before a restart, or too old."""

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
    cookie: bytes = b""
    once: bytes = b""
    times: bytes = b""
    key_id: int = 0
    tag: bytes = b""
    refusal: bytes = b""


def plain_word(kind: MessageType) -> int:
    """The first number of a plain header, to which the attempt is added."""
    return VERSION << 24 | kind << 16


_TYPES: Final = {int(kind): kind for kind in MessageType}
_WITH_PAYLOAD: Final = (MessageType.REQUEST, MessageType.REPLY)
_EXTENSIONS: Final = (
    ("cookie", COOKIE, COOKIE_SIZE, (MessageType.REQUEST, MessageType.RETRY)),
    ("once", ONCE, ONCE_SIZE, (MessageType.REQUEST, MessageType.RETRY)),
    ("times", TIMES, TIMES_SIZE, _WITH_PAYLOAD),
    ("refusal", REFUSAL, REFUSAL_SIZE, (MessageType.BUSY, MessageType.ERROR)),
    ("tag", AUTHENTICATED, TAG_SIZE, tuple(MessageType)),
)


class _Layout(NamedTuple):
    """How many bytes of each there are."""

    cookie: int
    once: int
    times: int
    refusal: int
    tag: int


def _layout(kind: MessageType, flags: int) -> _Layout | None:
    """What these flags announce in such a message; None where they make no sense."""
    known = (PADDED if kind is MessageType.REQUEST else 0) | sum(
        flag for _, flag, _, kinds in _EXTENSIONS if kind in kinds
    )
    if flags & ~known:
        return None
    return _Layout(*(size if flags & flag else 0 for _, flag, size, _ in _EXTENSIONS))


_LAYOUTS: Final = {
    (int(kind), flags): layout
    for kind in MessageType
    for flags in range(2 * REFUSAL)  # the highest flag there is; to try all 256 takes a millisecond at every import
    if (layout := _layout(kind, flags)) is not None
}


def payload_start(data: bytes) -> int | None:
    """Where the payload begins in a datagram with this header, the beginning of which may be a lie; None if nowhere."""
    layout = _LAYOUTS.get((data[1], data[2])) if len(data) >= HEADER_SIZE else None
    return None if layout is None else HEADER_SIZE + sum(layout[:-1])


def encode_message(message: Message) -> bytes:
    """The one datagram that says this message; raises `ProtocolError` where the format has no way to say it."""
    _check(message)
    flags = PADDED if message.padding else 0
    for name, flag, _, _ in _EXTENSIONS:
        if getattr(message, name):
            flags |= flag
    length = len(message.payload)
    header = _HEADER.pack(VERSION, message.type, flags, message.attempt, message.key_id, 0, length, message.ids)
    extensions = message.cookie + message.once + message.times + message.refusal
    return header + extensions + message.payload + bytes(message.padding) + message.tag


def _check(message: Message) -> None:
    kind, attempt, ids, payload, padding, *_ = message
    if not 1 <= attempt <= MAX_ATTEMPT:
        raise ProtocolError(f"expected an attempt from 1 to {MAX_ATTEMPT}, got {attempt}")
    if len(ids) != IDS_SIZE:
        raise ProtocolError(f"expected {IDS_SIZE} bytes of ids, got {len(ids)}")
    room = MAX_PAYLOAD - _check_extensions(message)
    if padding < 0 or len(payload) + padding > room:
        raise ProtocolError(f"expected at most {room} bytes of payload and padding, got {len(payload)} and {padding}")
    if payload and kind not in _WITH_PAYLOAD:
        raise ProtocolError(f"expected no payload in {kind.name}, got {len(payload)} bytes")
    if padding and kind is not MessageType.REQUEST:
        raise ProtocolError(f"expected no padding in {kind.name}, got {padding} bytes")


def _check_extensions(message: Message) -> int:
    """How long they are together."""
    total = 0
    for name, _, size, kinds in _EXTENSIONS:
        length = len(getattr(message, name))
        allowed = (0, size) if message.type in kinds else (0,)
        if length not in allowed:
            raise ProtocolError(
                f"expected {' or '.join(map(str, allowed))} bytes of {name} in {message.type.name}, got {length}"
            )
        total += length
    if not 0 <= message.key_id <= MAX_KEY_ID or bool(message.key_id) != bool(message.tag):
        raise ProtocolError(f"expected a key id from 1 to {MAX_KEY_ID} with a tag and 0 without, got {message.key_id}")
    return total


def decode_message_untrusted(data: bytes) -> Message | DropReason:
    """The message these bytes say, or why they say none. Constant work for junk; never raises."""
    if not HEADER_SIZE <= len(data) <= MAX_DATAGRAM:
        return DropReason.MALFORMED
    version, kind_byte, flags, attempt, key_id, reserved, length, ids = _HEADER.unpack_from(data)
    if version != VERSION:
        return DropReason.WRONG_VERSION
    layout = _LAYOUTS.get((kind_byte, flags))
    if layout is None or not attempt or bool(key_id) != bool(layout.tag) or reserved:
        return DropReason.MALFORMED
    kind = _TYPES[kind_byte]
    if length and kind not in _WITH_PAYLOAD:
        return DropReason.MALFORMED
    once = HEADER_SIZE + layout.cookie
    times = once + layout.once
    refusal = times + layout.times
    start = refusal + layout.refusal
    end = start + length
    tag = len(data) - layout.tag
    padding = tag - end
    if (padding > 0) != bool(flags & PADDED) or data.count(0, end, tag) != padding:  # less than none is not counted
        return DropReason.MALFORMED
    return Message(
        kind, attempt, ids, data[start:end], padding,
        data[HEADER_SIZE:once], data[once:times], data[times:refusal], key_id, data[tag:],
        data[refusal:start],
    )  # fmt: skip
