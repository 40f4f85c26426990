"""Packets that are under way arrive when they are due, whatever else was sent before and after them."""

import socket

import trio
from hypothesis import given
from hypothesis import strategies as st

from trio_udp.testing import SimNet, delay, simulate

delays = st.integers(0, 5)
pauses = st.integers(0, 3)


@given(st.lists(st.tuples(pauses, delays), max_size=10))
def test_each_packet_arrives_when_it_is_due(sendings: list[tuple[int, int]]) -> None:
    """Also one that overtakes those the network waits for, and one that is sent while nothing is under way."""
    expected: list[int] = []
    arrived: list[float] = []

    async def receive(net: SimNet, sock: trio.socket.SocketType) -> None:
        while True:
            await sock.recv(10)
            arrived.append(round(net.now, 6))

    async def main(net: SimNet) -> None:
        with trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            await sock.bind(("127.0.0.1", 0))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(receive, net, sock)
                for pause, after in sendings:
                    await trio.sleep(pause)
                    expected.append(round(net.now) + after)
                    verdict = delay(after)
                    with net.rule(lambda packet, verdict=verdict: verdict):  # type: ignore[misc]  # its type is Rule's
                        await sock.sendto(b"?", sock.getsockname())
                await trio.sleep(10)
                nursery.cancel_scope.cancel()

    simulate(main)
    assert arrived == sorted(expected)
