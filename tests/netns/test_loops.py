"""Whatever is injected between two servers, they go quiet (E5)."""

from random import Random
from typing import Final

import pytest
import trio

from trio_udp import Address, Book, Request
from trio_udp._chaos import flip_bit
from trio_udp.proto import MessageType

from .attacks import running
from .programs import PORT, serving
from .wire import LEFT, RIGHT, Wire, wire

pytestmark = pytest.mark.usefixtures("hosts")

RANDOM: Final = Random(6)
REQUEST: Final = b"\x09\x01\0\1\0\0\0\5" + bytes(16) + b"hello"
MESSAGES: Final = [b"\x09" + bytes([kind]) + b"\0\1\0\0\0\0" + bytes(16) for kind in MessageType]
INJECTED: Final = [
    *(REQUEST, b"", b"\x80", b"FAKE", b"Your data was 5 bytes long"),
    *MESSAGES,
    *(flip_bit(message, bit) for message in (REQUEST, *MESSAGES) for bit in range(8 * 8)),
    *(RANDOM.randbytes(RANDOM.randrange(100)) for _ in range(50)),
]
ENDS: Final = (Address(LEFT[0], PORT), Address(RIGHT[0], PORT))


async def quiet(between: Wire) -> int:
    """How many packets there have been, once there are no more."""
    count = -1
    with trio.fail_after(10):
        while count != (count := between.trace.count):
            await trio.sleep(0.1)
    return count


async def test_two_of_our_servers_go_quiet_after_any_datagram() -> None:
    """At most one datagram follows each, in either direction: an answer to a request, which is never answered."""
    async with wire() as between, serving(between.left), serving(between.right):
        for source, destination in (ENDS, ENDS[::-1]):
            before = between.trace.count
            for data in INJECTED:
                between.inject(data, source, destination)
            assert await quiet(between) - before <= 2 * len(INJECTED)
        answers = [record.packet.data for record in between.trace if not record.injected]
        assert answers, "not even the request was answered"
        assert all(answer[1] & 0x80 for answer in answers)


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
