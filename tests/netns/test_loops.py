"""Whatever is injected between two servers, they go quiet (E5)."""

from random import Random
from typing import Any, Final

import pytest
import trio

from trio_udp import Address, Book, Key, Request
from trio_udp._chaos import flip_bit
from trio_udp.proto import REPORT, TU1, MessageType, Question
from trio_udp.proto._seal import ANSWER as ANSWER_WAY
from trio_udp.proto._seal import REQUEST as REQUEST_WAY

from .attacks import running
from .programs import PORT, serving
from .wire import LEFT, RIGHT, Wire, wire

pytestmark = pytest.mark.usefixtures("hosts")

RANDOM: Final = Random(6)
REQUEST: Final = b"\x09\x01\0\1\0\0\0\5" + bytes(16) + b"hello"
MESSAGES: Final = [b"\x09" + bytes([kind]) + b"\0\1\0\0\0\0" + bytes(16) for kind in MessageType]
KEY: Final = Key(1, bytes(range(32)))
COOKIE: Final = bytes(range(16))
NUMBERS: Final = [bytes(20), bytes(range(1, 21))]
EXTENDED: Final = [
    *(TU1().encode_extended(b"hello", bytes(16), 1, 0, cookie=COOKIE, once=once) for once in NUMBERS),
    *(TU1().encode_extended(b"", bytes(16), 1, 0, cookie=b"", once=once) for once in NUMBERS),
    *(TU1().encode_extended(b"", bytes(16), 1, 100, cookie=COOKIE, once=once) for once in (b"", *NUMBERS)),
    *(TU1().encode_retry(Question(bytes(16), b"", 1, 99), COOKIE, once) for once in (b"", *NUMBERS)),
    *(TU1().encode_probe(payload, bytes(16), number) for payload in (b"", b"hello") for number in (REPORT, 1)),
]
EXTENDED.extend(b"\x09\x81" + message[2:] for message in EXTENDED[-4:])  # answers to probes
KEYED: Final = [
    KEY.seal.seal(way, message) for way in (REQUEST_WAY, ANSWER_WAY) for message in (REQUEST, *MESSAGES, *EXTENDED)
]
INJECTED: Final = [
    *(REQUEST, b"", b"\x80", b"FAKE", b"Your data was 5 bytes long"),
    *(*MESSAGES, *EXTENDED, *KEYED),
    *(flip_bit(message, bit) for message in (REQUEST, *MESSAGES, *EXTENDED) for bit in range(8 * 8)),
    *(flip_bit(message, bit) for message in KEYED for bit in range(5 * 8)),
    *(RANDOM.randbytes(RANDOM.randrange(100)) for _ in range(50)),
]
SAID: Final = {MessageType.REPLY, MessageType.RETRY, MessageType.OUTCOME_UNKNOWN}
"""What there is to say to some of them."""
ENDS: Final = (Address(LEFT[0], PORT), Address(RIGHT[0], PORT))


async def quiet(between: Wire) -> int:
    """How many packets there have been, once there are no more."""
    count = -1
    with trio.fail_after(10):
        while count != (count := between.trace.count):
            await trio.sleep(0.1)
    return count


@pytest.mark.parametrize(
    "options",
    [{}, {"keys": [KEY]}, {"keys": [KEY], "allow_unkeyed": True}],
    ids=["no keys", "keys", "keys or none"],
)
async def test_two_of_our_servers_go_quiet_after_any_datagram(options: dict[str, Any]) -> None:
    """At most one datagram follows each, in either direction: an answer to a request, which is never answered.

    Also where both have the same keys, and for all there is to say with keys, about cookies, numbers and times.
    """
    async with wire() as between, serving(between.left, **options), serving(between.right, **options):
        for source, destination in (ENDS, ENDS[::-1]):
            before = between.trace.count
            for data in INJECTED:
                between.inject(data, source, destination)
            assert await quiet(between) - before <= 2 * len(INJECTED)
        answers = [record.packet.data for record in between.trace if not record.injected]
        assert {answer[1] for answer in answers} == SAID
        injected = sum(record.injected for record in between.trace)
        assert len(answers) <= injected == 2 * len(INJECTED)


def sentence(request: Request) -> bytes:
    """What the book's servers answer."""
    return f"Your data was {len(request.payload)} bytes long".encode()


async def test_our_server_and_the_books_go_quiet_after_any_datagram() -> None:
    """The book's would answer for ever; ours knows the sentence, so three datagrams follow at most.

    Of what is no ASCII the book's server would die: it is spared that.
    """
    async with (
        wire() as between,
        running(between.left, "serve", "book, local", LEFT[0]),
        serving(between.right, sentence, profile=Book()) as ours,
    ):
        for source, destination in (ENDS, ENDS[::-1]):
            for data in filter(bytes.isascii, INJECTED):
                between.inject(data, source, destination)
        total = await quiet(between)
        injected = sum(record.injected for record in between.trace)
        assert injected < total <= 4 * injected
        assert ours.statistics().replies > 0
