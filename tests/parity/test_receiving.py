"""What comes out of a socket: whole or cut short, with what beside it, and how much is kept."""

import socket
from typing import Final

import pytest

from trio_udp.testing._options import (
    IP,
    IP_PKTINFO,
    IP_RECVTTL,
    IPV6,
    IPV6_RECVHOPLIMIT,
    IPV6_RECVPKTINFO,
    IPV6_V6ONLY,
    SO_RXQ_OVFL,
)

from ..networks import needs_ipv6
from .both import HOSTS, ONE, SIX, TWO, Seen, Sockets, on_both, tried, usual_buffers

EVERYTHING: Final = {
    ONE: [(IP, IP_PKTINFO, 1), (IP, IP_RECVTTL, 1)],
    SIX: [(IPV6, IPV6_RECVPKTINFO, 1), (IPV6, IPV6_RECVHOPLIMIT, 1)],
}
ANY: Final = {ONE: "0.0.0.0", SIX: "::"}  # noqa: S104 - where a wildcard socket was asked is the question


@pytest.mark.parametrize("host", HOSTS)
@on_both
async def test_datagrams_arrive_in_order_and_apart(sockets: Sockets, host: str) -> Seen:
    """One call, one datagram."""
    server = await sockets.bound(host)
    client = await sockets.connected(server)
    for data in (b"one", b"", b"three"):
        await client.send(data)
    return [await tried(server.recvfrom, 100) for _ in range(4)]


@pytest.mark.parametrize("host", HOSTS)
@on_both
async def test_a_connected_socket_hears_no_stranger(sockets: Sockets, host: str) -> Seen:
    """A stranger is anybody at another port, or at another address."""
    server, stranger = await sockets.bound(host), await sockets.bound(host)
    client = await sockets.connected(server)
    elsewhere = [await sockets.bound(TWO, server.getsockname()[1])] if host == ONE else []
    for sender in (stranger, *elsewhere, server):
        await sender.sendto(sender.getsockname()[0].encode(), client.getsockname())
    return await tried(client.recvfrom, 100), await tried(client.recvfrom, 100)


@pytest.mark.parametrize("host", HOSTS)
@on_both
async def test_what_a_stranger_queued_before_connect_is_still_heard(sockets: Sockets, host: str) -> Seen:
    """Connecting flushes nothing (A4)."""
    server, stranger, client = await sockets.bound(host), await sockets.bound(host), await sockets.bound(host)
    await stranger.sendto(b"before", client.getsockname())
    await client.connect(server.getsockname())
    await stranger.sendto(b"after", client.getsockname())
    return await tried(client.recvfrom, 100), await tried(client.recvfrom, 100)


@pytest.mark.parametrize("host", HOSTS)
@on_both
async def test_what_does_not_fit_the_buffer_is_gone(sockets: Sockets, host: str) -> Seen:
    """MSG_TRUNC tells, where it can."""
    server = await sockets.bound(host)
    client = await sockets.connected(server)
    for _ in range(7):
        await client.send(b"0123456789")
    seen = [(await server.recvmsg(size))[:3] for size in (0, 1, 9, 10, 11)]
    return seen, await server.recv(3), await server.recvfrom(4), await tried(server.recv, 100)


@pytest.mark.parametrize("host", HOSTS)
@on_both
async def test_peeking_leaves_the_datagram(sockets: Sockets, host: str) -> Seen:
    """Cut short or whole."""
    server = await sockets.bound(host)
    client = await sockets.connected(server)
    await client.send(b"first")
    await client.send(b"second")
    seen = [(await server.recvmsg(size, 0, socket.MSG_PEEK))[:3] for size in (2, 100)]
    return seen, await server.recvfrom(100, socket.MSG_PEEK), await server.recv(100), await server.recv(100)


@pytest.mark.parametrize("host", HOSTS)
@on_both
async def test_receiving_into_a_buffer(sockets: Sockets, host: str) -> Seen:
    """As much as fits, or as was asked for."""
    server = await sockets.bound(host)
    client = await sockets.connected(server)
    buffer = bytearray(b"-" * 6)
    seen: list[Seen] = []
    for size in (0, 3):
        await client.send(b"abcde")
        seen.append((await server.recv_into(buffer, size), bytes(buffer)))
        buffer[:] = b"-" * 6
        await client.send(b"abcdefgh")
        seen.append((await server.recvfrom_into(buffer, size), bytes(buffer)))
        buffer[:] = b"-" * 6
    return seen, await tried(server.recv_into, buffer, 7)


@pytest.mark.parametrize("size", [-1, 0])
@on_both
async def test_buffer_sizes_out_of_range(sockets: Sockets, size: int) -> Seen:
    """A negative one is an error; 0 takes the datagram and gives nothing, but recv(0) does not look."""
    server = await sockets.bound()
    client = await sockets.connected(server)
    await client.send(b"?")
    await client.send(b"?")
    return [
        await tried(server.recv, size),
        await tried(server.recv_into, bytearray(), size),
        await tried(server.recvmsg, size),
        await tried(server.recvmsg, 10, size),
        await tried(server.recvfrom, 10),
    ]


@pytest.mark.parametrize("asked", [ONE, TWO, pytest.param(SIX, marks=needs_ipv6)])
@pytest.mark.parametrize("is_wildcard", [False, True])
@on_both
async def test_everything_that_comes_beside_a_datagram(sockets: Sockets, asked: str, is_wildcard: bool) -> Seen:
    """The address that was asked, the interface, what is left of the hops; in the kernel's order."""
    version = SIX if ":" in asked else ONE
    server = await sockets.bound(ANY[version] if is_wildcard else asked, 0, *EVERYTHING[version])
    await sockets.new(version).sendto(b"?", (asked, server.getsockname()[1]))
    return await server.recvmsg(10, 200)


@needs_ipv6
@pytest.mark.parametrize("options", [EVERYTHING[ONE], EVERYTHING[SIX], EVERYTHING[ONE] + EVERYTHING[SIX]])
@on_both
async def test_what_a_dual_stack_socket_hears_beside_a_datagram(
    sockets: Sockets, options: list[tuple[int, int, int]]
) -> Seen:
    """Of either version, with either version's options or both."""
    server = await sockets.bound("::", 0, (IPV6, IPV6_V6ONLY, 0), *options)
    port = server.getsockname()[1]
    await sockets.new().sendto(b"four", (TWO, port))
    await sockets.new(SIX).sendto(b"six", (SIX, port))
    return await server.recvmsg(10, 200), await server.recvmsg(10, 200)


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("space", [0, 1, 12, 16, 17, 20, 24, 28, 32, 36, 40, 48, 56, 64])
@on_both
async def test_control_messages_that_do_not_fit(sockets: Sockets, host: str, space: int) -> Seen:
    """MSG_CTRUNC, and as much as there is room for."""
    server = await sockets.bound(host, 0, *EVERYTHING[host])
    await sockets.new(host).sendto(b"?", server.getsockname())
    return await server.recvmsg(10, space)


@pytest.mark.parametrize("host", HOSTS)
@on_both
async def test_options_count_when_the_datagram_is_read(sockets: Sockets, host: str) -> Seen:
    """Not when it arrives. (Version 4's packet info is not among them: read late, the kernel's is half empty.)"""
    server = await sockets.bound(host)
    await sockets.new(host).sendto(b"?", server.getsockname())
    for option in EVERYTHING[host][host == ONE :]:
        server.setsockopt(*option)
    return await server.recvmsg(10, 200)


@usual_buffers
@on_both
async def test_a_full_buffer_drops_the_newest(sockets: Sockets) -> Seen:
    """And SO_RXQ_OVFL counts them, beside the next datagram that is queued afterwards."""
    server = await sockets.bound(ONE, 0, (socket.SOL_SOCKET, SO_RXQ_OVFL, 1), (socket.SOL_SOCKET, socket.SO_RCVBUF, 1))
    client = await sockets.connected(server)
    for number in range(10):
        await client.send(bytes([number]))
    seen = []
    while server.is_readable():
        seen.append((await server.recvmsg(10, 100))[:3])
    await client.send(b"after")
    lost = 10 - len(seen)
    data, control, _, _ = await server.recvmsg(10, 100)
    assert [data for data, _, _ in seen] == [bytes([number]) for number in range(len(seen))]
    assert control == [(socket.SOL_SOCKET, SO_RXQ_OVFL, lost.to_bytes(4, "little"))]
    return data, [control for _, control, _ in seen]


async def _capacity(sockets: Sockets, host: str, size: int, buffer: int | None) -> int:
    server = await sockets.bound(host)
    if buffer is not None:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    client = await sockets.connected(server)
    for _ in range(300):
        await client.send(bytes(size))
    count = 0
    while server.is_readable():
        await server.recv(1)
        count += 1
    server.close()
    return count


@usual_buffers
@pytest.mark.parametrize("host", HOSTS)
@on_both
async def test_how_many_datagrams_fit(sockets: Sockets, host: str) -> Seen:
    """Exactly as many: the kernel's sizes of allocation are imitated, those of 64-bit Linux 6.18."""
    return {
        (size, buffer): await _capacity(sockets, host, size, buffer)
        for size in (0, 1, 100, 197, 198, 645, 646, 1_400, 1_669, 1_670, 5_000, 9_000, 20_000)
        for buffer in (None, 1, 10_000, 50_000)
    }
