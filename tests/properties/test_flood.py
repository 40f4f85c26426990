"""Whatever floods a socket, its reader yields: a timer in another task is late by no more than three batches (E7).

The flood is sent by the reader itself, before each batch, so that there is always more to read than was read; and time
is virtual, and passes during one of the batches.
"""

import contextlib
import functools
import socket
from collections.abc import Callable
from typing import Final

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from trio_udp import Request
from trio_udp._net import BATCH, Address, Transport, open_server_socket, open_transport
from trio_udp._server import Handler
from trio_udp.proto import TU1

from ..networks import NETWORKS, NetworkName, installed, plain_socket, serving

BATCHES_LATE: Final = 3
LONG: Final = 12
"""Batches, from which a timer counts as starved."""
waves = st.lists(st.lists(st.sampled_from([b"", b"junk", bytes(1200)]), min_size=1, max_size=100), min_size=1)
late_batches = st.integers(1, 5)


@pytest.mark.parametrize("network", NETWORKS)
@given(flood=waves, strikes=late_batches)
def test_a_timer_fires_within_three_batches_of_any_flood(
    network: NetworkName, flood: list[list[bytes]], strikes: int
) -> None:
    """However many datagrams of whatever length come, however fast."""
    batches = read_under_flood(network, flood, strikes)
    assert strikes <= batches <= strikes + BATCHES_LATE


def read_under_flood(network: NetworkName, flood: list[list[bytes]], strikes: int) -> int:
    """How many batches were read until a timer fired that was due during the batch with this number."""
    clock = MockClock()
    batches = 0

    async def main() -> None:
        async with installed(network):
            transport = open_transport(await open_server_socket(Address("127.0.0.1", 0)))
            with contextlib.closing(transport), plain_socket() as peer, trio.move_on_after(1):
                await read(transport, peer)

    async def read(transport: Transport, peer: socket.socket) -> None:
        nonlocal batches
        while batches < LONG:
            for data in flood[batches % len(flood)]:
                peer.sendto(data, transport.socket.getsockname())
            assert len((await transport.receive()).datagrams) <= BATCH
            batches += 1
            if batches == strikes:
                clock.jump(1)

    trio.run(main, clock=clock)
    return batches


def plain(feed: Callable[[], None]) -> Handler:
    """A handler that runs in the reading task."""

    def handler(request: Request) -> None:
        feed()

    return handler


def coroutine(feed: Callable[[], None], *, waits: bool) -> Handler:
    """One that could wait, and one that does."""

    async def handler(request: Request) -> None:
        feed()
        if waits:
            await trio.lowlevel.checkpoint()

    return handler


HANDLERS: Final[dict[str, Callable[[Callable[[], None]], Handler]]] = {
    "def": plain,
    "async def": functools.partial(coroutine, waits=False),
    "async def that waits": functools.partial(coroutine, waits=True),
}
QUESTION: Final = TU1().encode_request(b"?", bytes(16), 1, 0)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("kind", HANDLERS)
@given(copies=st.integers(1, 3), strikes=st.integers(1, 3 * BATCH))
def test_a_timer_fires_within_three_batches_of_requests(
    network: NetworkName, kind: str, copies: int, strikes: int
) -> None:
    """Each request brings about some more, so that a server never comes to the end of them."""
    handled = serve_under_flood(network, HANDLERS[kind], copies, strikes)
    assert strikes <= handled <= strikes + BATCHES_LATE * BATCH


def serve_under_flood(
    network: NetworkName, make_handler: Callable[[Callable[[], None]], Handler], copies: int, strikes: int
) -> int:
    """How many requests were handled until a timer fired that was due during the request with this number."""
    clock = MockClock()
    handled = 0

    async def main() -> None:
        async with installed(network):
            with plain_socket() as stranger, trio.move_on_after(1):
                await answer(stranger)

    async def answer(stranger: socket.socket) -> None:
        async with serving(make_handler(lambda: feed(stranger)), host="127.0.0.1") as server:
            stranger.connect(server.address)
            stranger.send(QUESTION)
            await trio.sleep_forever()

    def feed(stranger: socket.socket) -> None:
        nonlocal handled
        handled += 1
        if handled == strikes:
            clock.jump(1)
        if handled < LONG * BATCH:
            for _ in range(copies):
                stranger.send(QUESTION)

    trio.run(main, clock=clock)
    return handled
