"""The wire format, version 1, byte by byte."""

import pytest

from trio_udp.proto import (
    HEADER_SIZE,
    MAX_DATAGRAM,
    MAX_PAYLOAD,
    DropReason,
    Message,
    MessageType,
    ProtocolError,
    decode_message_untrusted,
    encode_message,
    payload_start,
)
from trio_udp.proto._codec import plain_word

IDS = bytes(range(8)) + bytes(range(100, 108))
WRITTEN = {
    "request": (Message(MessageType.REQUEST, 1, IDS, b"hello"), "09 01 00 01 00 00 0005", b"hello"),
    "empty request": (Message(MessageType.REQUEST, 2, IDS), "09 01 00 02 00 00 0000", b""),
    "padded request": (Message(MessageType.REQUEST, 3, IDS, b"hi", 4), "09 01 10 03 00 00 0002", b"hi\0\0\0\0"),
    "padded empty request": (Message(MessageType.REQUEST, 4, IDS, b"", 1), "09 01 10 04 00 00 0000", b"\0"),
    "reply": (Message(MessageType.REPLY, 255, IDS, b"\0\xff"), "09 81 00 FF 00 00 0002", b"\0\xff"),
    "empty reply": (Message(MessageType.REPLY, 1, IDS), "09 81 00 01 00 00 0000", b""),
    "retry": (Message(MessageType.RETRY, 1, IDS), "09 82 00 01 00 00 0000", b""),
    "busy": (Message(MessageType.BUSY, 1, IDS), "09 84 00 01 00 00 0000", b""),
    "error": (Message(MessageType.ERROR, 1, IDS), "09 87 00 01 00 00 0000", b""),
    "request with a cookie": (
        Message(MessageType.REQUEST, 1, IDS, b"hi", cookie=b"c" * 16),
        "09 01 02 01 00 00 0002",
        b"c" * 16 + b"hi",
    ),
    "retry with a cookie, once": (
        Message(MessageType.RETRY, 1, IDS, cookie=b"c" * 16, once=b"o" * 20),
        "09 82 06 01 00 00 0000",
        b"c" * 16 + b"o" * 20,
    ),
    "reply with times": (
        Message(MessageType.REPLY, 1, IDS, b"hi", times=b"t" * 52),
        "09 81 08 01 00 00 0002",
        b"t" * 52 + b"hi",
    ),
    "busy that says why": (
        Message(MessageType.BUSY, 1, IDS, refusal=b"\x09\0\1\x86\xa0"),
        "09 84 20 01 00 00 0000",
        b"\x09\0\1\x86\xa0",
    ),
    "error that says why, with a tag": (
        Message(MessageType.ERROR, 1, IDS, key_id=1, tag=b"s" * 16, refusal=b"\x0c\0\0\0\x0a"),
        "09 87 21 01 01 00 0000",
        b"\x0c\0\0\0\x0a" + b"s" * 16,
    ),
    "busy with a tag": (
        Message(MessageType.BUSY, 1, IDS, key_id=255, tag=b"s" * 16),
        "09 84 01 01 FF 00 0000",
        b"s" * 16,
    ),
    "request with everything": (
        Message(MessageType.REQUEST, 1, IDS, b"hi", 3, b"c" * 16, b"o" * 20, b"t" * 52, 7, b"s" * 16),
        "09 01 1F 01 07 00 0002",
        b"c" * 16 + b"o" * 20 + b"t" * 52 + b"hi" + bytes(3) + b"s" * 16,
    ),
    "longest request": (
        Message(MessageType.REQUEST, 1, IDS, b"x" * MAX_PAYLOAD),
        "09 01 00 01 00 00 FFCB",
        b"x" * MAX_PAYLOAD,
    ),
}


@pytest.mark.parametrize(("message", "head", "tail"), WRITTEN.values(), ids=WRITTEN)
def test_message_is_these_bytes(message: Message, head: str, tail: bytes) -> None:
    """The table of the format, by example; both ways."""
    data = bytes.fromhex(head) + IDS + tail
    assert encode_message(message) == data
    assert decode_message_untrusted(data) == message


@pytest.mark.parametrize("kind", MessageType)
@pytest.mark.parametrize("attempt", [1, 255])
def test_plain_word_is_what_a_message_without_flags_begins_with(kind: MessageType, attempt: int) -> None:
    """The short way of reading and writing such a message is the long way's."""
    assert plain_word(kind) + attempt == int.from_bytes(encode_message(Message(kind, attempt, IDS))[:4], "big")


def test_sizes_are_the_promised_ones() -> None:
    """24 bytes of header, and no datagram longer than IPv4 carries."""
    assert (HEADER_SIZE, MAX_DATAGRAM, MAX_PAYLOAD) == (24, 65_507, 65_483)
    assert len(encode_message(Message(MessageType.REQUEST, 1, IDS, b"x" * MAX_PAYLOAD))) == MAX_DATAGRAM


@pytest.mark.parametrize("kind", MessageType)
def test_direction_bit_is_set_in_all_that_a_server_says(kind: MessageType) -> None:
    """Bit 7 of the type says who speaks (CVE-2024-2169)."""
    assert kind.is_answer == (kind is not MessageType.REQUEST) == bool(kind & 0x80)


UNSAYABLE = {
    "attempt 0": (Message(MessageType.REQUEST, 0, IDS), "expected an attempt from 1 to 255, got 0"),
    "attempt 256": (Message(MessageType.REQUEST, 256, IDS), "expected an attempt from 1 to 255, got 256"),
    "short ids": (Message(MessageType.REQUEST, 1, IDS[:15]), "expected 16 bytes of ids, got 15"),
    "long ids": (Message(MessageType.REQUEST, 1, IDS + b"x"), "expected 16 bytes of ids, got 17"),
    "negative padding": (
        Message(MessageType.REQUEST, 1, IDS, b"", -1),
        "expected at most 65483 bytes of payload and padding, got 0 and -1",
    ),
    "too long": (
        Message(MessageType.REQUEST, 1, IDS, bytes(MAX_PAYLOAD + 1)),
        "expected at most 65483 bytes of payload and padding, got 65484 and 0",
    ),
    "padded too long": (
        Message(MessageType.REQUEST, 1, IDS, bytes(MAX_PAYLOAD), 1),
        "expected at most 65483 bytes of payload and padding, got 65483 and 1",
    ),
    "retry with payload": (Message(MessageType.RETRY, 1, IDS, b"x"), "expected no payload in RETRY, got 1 bytes"),
    "busy with payload": (Message(MessageType.BUSY, 1, IDS, b"xy"), "expected no payload in BUSY, got 2 bytes"),
    "error with payload": (Message(MessageType.ERROR, 1, IDS, b"xyz"), "expected no payload in ERROR, got 3 bytes"),
    "long cookie": (
        Message(MessageType.REQUEST, 1, IDS, cookie=bytes(17)),
        "expected 0 or 16 bytes of cookie in REQUEST, got 17",
    ),
    "reply with a cookie": (
        Message(MessageType.REPLY, 1, IDS, cookie=bytes(16)),
        "expected 0 bytes of cookie in REPLY, got 16",
    ),
    "short once": (
        Message(MessageType.REQUEST, 1, IDS, once=bytes(19)),
        "expected 0 or 20 bytes of once in REQUEST, got 19",
    ),
    "busy with times": (
        Message(MessageType.BUSY, 1, IDS, times=bytes(52)),
        "expected 0 bytes of times in BUSY, got 52",
    ),
    "short refusal": (
        Message(MessageType.BUSY, 1, IDS, refusal=bytes(4)),
        "expected 0 or 5 bytes of refusal in BUSY, got 4",
    ),
    "reply with a refusal": (
        Message(MessageType.REPLY, 1, IDS, refusal=bytes(5)),
        "expected 0 bytes of refusal in REPLY, got 5",
    ),
    "short tag": (
        Message(MessageType.REPLY, 1, IDS, key_id=1, tag=bytes(15)),
        "expected 0 or 16 bytes of tag in REPLY, got 15",
    ),
    "tag without a key": (
        Message(MessageType.REPLY, 1, IDS, tag=bytes(16)),
        "expected a key id from 1 to 255 with a tag and 0 without, got 0",
    ),
    "key without a tag": (
        Message(MessageType.REPLY, 1, IDS, key_id=1),
        "expected a key id from 1 to 255 with a tag and 0 without, got 1",
    ),
    "key id 256": (
        Message(MessageType.REPLY, 1, IDS, key_id=256, tag=bytes(16)),
        "expected a key id from 1 to 255 with a tag and 0 without, got 256",
    ),
    "too long with extensions": (
        Message(MessageType.REQUEST, 1, IDS, bytes(MAX_PAYLOAD - 51), times=bytes(52)),
        "expected at most 65431 bytes of payload and padding, got 65432 and 0",
    ),
    "padded reply": (Message(MessageType.REPLY, 1, IDS, b"x", 3), "expected no padding in REPLY, got 3 bytes"),
    "padded retry": (Message(MessageType.RETRY, 1, IDS, b"", 3), "expected no padding in RETRY, got 3 bytes"),
}


@pytest.mark.parametrize(("message", "sentence"), UNSAYABLE.values(), ids=UNSAYABLE)
def test_message_the_format_cannot_say_is_refused(message: Message, sentence: str) -> None:
    """`ProtocolError`, with what was expected and what came."""
    with pytest.raises(ProtocolError) as caught:
        encode_message(message)
    assert str(caught.value) == sentence


GOOD = encode_message(Message(MessageType.REQUEST, 1, IDS, b"hello"))
REPLY = encode_message(Message(MessageType.REPLY, 1, IDS, b"hello"))
BUSY = encode_message(Message(MessageType.BUSY, 1, IDS))


def changed(data: bytes, offset: int, value: int) -> bytes:
    """With another byte there."""
    return data[:offset] + bytes([value]) + data[offset + 1 :]


JUNK = {
    "nothing": (b"", DropReason.MALFORMED),
    "a header but for one byte": (GOOD[:23], DropReason.MALFORMED),
    "version 0": (changed(GOOD, 0, 0), DropReason.WRONG_VERSION),
    "version 10": (changed(GOOD, 0, 10), DropReason.WRONG_VERSION),
    "a byte 0x80": (changed(GOOD, 0, 0x80), DropReason.WRONG_VERSION),
    "type 0": (changed(GOOD, 1, 0), DropReason.MALFORMED),
    "type 2": (changed(GOOD, 1, 2), DropReason.MALFORMED),
    "type 0x80": (changed(GOOD, 1, 0x80), DropReason.MALFORMED),
    "type 0x83": (changed(GOOD, 1, 0x83), DropReason.MALFORMED),
    "type 0x85": (changed(GOOD, 1, 0x85), DropReason.MALFORMED),
    "an unknown flag": (changed(GOOD, 2, 0x40), DropReason.MALFORMED),
    "a known flag with an unknown one": (changed(GOOD + b"\0", 2, 0x30), DropReason.MALFORMED),
    "a cookie announced and absent": (changed(GOOD, 2, 0x02), DropReason.MALFORMED),
    "a cookie in a reply": (changed(REPLY, 2, 0x02) + bytes(16), DropReason.MALFORMED),
    "a refusal in a request": (changed(GOOD, 2, 0x20), DropReason.MALFORMED),
    "a refusal in a reply": (changed(REPLY, 2, 0x20), DropReason.MALFORMED),
    "a refusal announced and absent": (changed(BUSY, 2, 0x20), DropReason.MALFORMED),
    "a refusal that is cut short": (changed(BUSY, 2, 0x20) + bytes(4), DropReason.MALFORMED),
    "a refusal with something behind it": (changed(BUSY, 2, 0x20) + bytes(6), DropReason.MALFORMED),
    "a tag without a key": (changed(GOOD, 2, 0x01) + bytes(16), DropReason.MALFORMED),
    "a tag announced and absent": (changed(changed(GOOD, 2, 0x01), 4, 1), DropReason.MALFORMED),
    "a tag behind dirty padding": (
        changed(changed(GOOD, 2, 0x11), 4, 1) + bytes([1]) + bytes(16),
        DropReason.MALFORMED,
    ),
    "attempt 0": (changed(GOOD, 3, 0), DropReason.MALFORMED),
    "key id 1": (changed(GOOD, 4, 1), DropReason.MALFORMED),
    "reserved 1": (changed(GOOD, 5, 1), DropReason.MALFORMED),
    "length one less": (changed(GOOD, 7, 4), DropReason.MALFORMED),
    "length one more": (changed(GOOD, 7, 6), DropReason.MALFORMED),
    "length 65,535": (changed(changed(GOOD, 6, 255), 7, 255), DropReason.MALFORMED),
    "retry with payload": (changed(REPLY, 1, 0x82), DropReason.MALFORMED),
    "busy with payload": (changed(REPLY, 1, 0x84), DropReason.MALFORMED),
    "error with payload": (changed(REPLY, 1, 0x87), DropReason.MALFORMED),
    "trailing byte": (GOOD + b"\0", DropReason.MALFORMED),
    "padding announced and absent": (changed(GOOD, 2, 0x10), DropReason.MALFORMED),
    "padding announced, payload cut": (changed(GOOD, 2, 0x10)[:-1], DropReason.MALFORMED),
    "padding not of zeros": (changed(GOOD, 2, 0x10) + b"\0\1\0", DropReason.MALFORMED),
    "padded reply": (changed(REPLY, 2, 0x10) + b"\0", DropReason.MALFORMED),
}


@pytest.mark.parametrize(("data", "reason"), JUNK.values(), ids=JUNK)
def test_anything_else_is_no_message(data: bytes, reason: DropReason) -> None:
    """A drop reason, not an exception; nothing is repaired or guessed."""
    assert decode_message_untrusted(data) is reason


@pytest.mark.parametrize(
    ("head", "start"),
    [
        (b"\x09\x01\x00", 24),
        (b"\x09\x01\x02", 40),
        (b"\x09\x82\x06", 60),
        (b"\x09\x81\x09", 76),
        (b"\x09\x01\x1f", 112),
        (b"\x09\x84\x21", 29),
        (b"\x09\x87\x02", None),
        (b"\x09\x55\x00", None),
        (b"\x09\x01\x80", None),
    ],
)
def test_a_payload_begins_behind_the_extensions_that_the_flags_announce(head: bytes, start: int | None) -> None:
    """Whether there are so many bytes or not; nowhere, if these flags make no sense or the header is cut short."""
    assert payload_start(head.ljust(24, b"x")) == start
    assert payload_start(head.ljust(23, b"x")) is None
