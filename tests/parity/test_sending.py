"""What can be sent where, from which address, and how large."""

import socket
import struct
from typing import Final

import pytest

from trio_udp._net import Address, normalise
from trio_udp._net._ancillary import source_ancillary
from trio_udp.testing._options import IP, IP_PKTINFO, IP_TTL, IPV6, IPV6_HOPLIMIT, IPV6_PKTINFO

from ..networks import needs_ipv6
from .both import HOSTS, ONE, SIX, TWO, Seen, Sockets, on_both, tried

ANY: Final = {ONE: "0.0.0.0", SIX: "::"}  # noqa: S104 - what the unspecified address means is the question
NO_WISH: Final = {
    ONE: (IP, IP_PKTINFO, struct.pack("=i4s4s", 0, bytes(4), bytes(4))),
    SIX: (IPV6, IPV6_PKTINFO, struct.pack("=16sI", bytes(16), 0)),
}


@pytest.mark.parametrize("host", HOSTS)
@on_both
async def test_sending_without_a_destination(sockets: Sockets, host: str) -> Seen:
    """EDESTADDRREQ, and the socket stays unbound."""
    sock = sockets.new(host)
    return await tried(sock.send, b"?"), await tried(sock.sendmsg, [b"?"]), sock.getsockname()


@pytest.mark.parametrize("host", HOSTS)
@on_both
async def test_all_ways_of_sending(sockets: Sockets, host: str) -> Seen:
    """Each returns how many bytes it sent."""
    server = await sockets.bound(host)
    there = server.getsockname()
    sock, client = await sockets.bound(host), await sockets.connected(server)
    sent = [
        await client.send(b"1"),
        await client.send(bytearray(b"22"), 0),
        await client.sendmsg([b"3", memoryview(b"33")]),
        await sock.sendto(b"4444", there),
        await sock.sendto(b"55555", 0, there),
        await sock.sendmsg([b"666", b"", b"666"], [], 0, there),
        await sock.sendmsg([], [], 0, there),
    ]
    return sent, [await server.recvfrom(10) for _ in sent]


@pytest.mark.parametrize("host", HOSTS)
@on_both
async def test_a_connected_socket_sends_to_others_too(sockets: Sockets, host: str) -> Seen:
    """And stays connected to its peer."""
    server, other = await sockets.bound(host), await sockets.bound(host)
    client = await sockets.connected(server)
    await client.sendto(b"aside", other.getsockname())
    await client.send(b"?")
    return await tried(server.recv, 10), await tried(other.recv, 10), client.getpeername()


@pytest.mark.parametrize("host", HOSTS)
@on_both
async def test_port_0_is_no_destination(sockets: Sockets, host: str) -> Seen:
    """EINVAL, for sendto; connecting to it fails later or at once, as the kernel likes."""
    sock, client = sockets.new(host), sockets.new(host)
    return (
        await tried(sock.sendto, b"?", (host, 0)),
        await tried(client.connect, (host, 0)),
        await tried(client.send, b"?"),
        client.getsockname()[0],
    )


@pytest.mark.parametrize("host", HOSTS)
@on_both
async def test_a_peer_with_port_0(sockets: Sockets, host: str) -> Seen:
    """What such a socket hears, and how it is called."""
    client, stranger = await sockets.bound(host), await sockets.bound(host)
    connected = await tried(client.connect, (host, 0))
    await stranger.sendto(b"stranger", client.getsockname())
    return connected, await tried(lambda: _peer(client)), await tried(client.recv, 100)


async def _peer(sock: Seen) -> Seen:
    return sock.getpeername()


@pytest.mark.parametrize("host", HOSTS)
@on_both
async def test_the_unspecified_address_is_this_host(sockets: Sockets, host: str) -> Seen:
    """For sending and for connecting."""
    server = await sockets.bound(host)
    there = (ANY[host], server.getsockname()[1])
    sock, client = sockets.new(host), sockets.new(host)
    await sock.sendto(b"?", there)
    await client.connect(there)
    await client.send(b"?")
    return client.getsockname(), client.getpeername(), await server.recvfrom(10), await server.recvfrom(10)


@pytest.mark.parametrize("host", HOSTS)
@on_both
async def test_the_largest_datagram(sockets: Sockets, host: str) -> Seen:
    """65,507 bytes in version 4; version 6 has no such header in its count."""
    server = await sockets.bound(host)
    client = await sockets.connected(server)
    sizes = [1_472, 9_000, 65_506, 65_507, 65_508, 65_527, 65_528, 65_536, 70_000]
    sent = {size: await tried(client.send, bytes(size)) for size in sizes}
    received = []
    while server.is_readable():
        received.append(len(await server.recv(100_000)))
    return sent, received


@pytest.mark.parametrize("host", HOSTS)
@on_both
async def test_an_empty_datagram_is_a_datagram(sockets: Sockets, host: str) -> Seen:
    """G3."""
    server = await sockets.bound(host)
    sock = sockets.new(host)
    sent = await sock.sendto(b"", server.getsockname())
    return sent, server.is_readable(), await server.recvfrom(10), server.is_readable()


@pytest.mark.parametrize("host", [TWO, ONE, pytest.param(SIX, marks=needs_ipv6)])
@on_both
async def test_a_wildcard_server_answers_from_the_address_of_the_route(sockets: Sockets, host: str) -> Seen:
    """Not from the one that was asked, unless told to: a connected client never sees it (E6)."""
    server = await sockets.bound(ANY[SIX if ":" in host else ONE])
    port = server.getsockname()[1]
    connected, watching = sockets.new(host), await sockets.bound(host)
    await connected.connect((host, port))
    for client in (connected, watching):
        await client.sendto(b"?", (host, port))
        _, peer = await server.recvfrom(10)
        await server.sendto(b"!", peer)
    return await tried(connected.recvfrom, 10), await tried(watching.recvfrom, 10)


@pytest.mark.parametrize("host", [TWO, pytest.param(SIX, marks=needs_ipv6)])
@on_both
async def test_packet_info_chooses_the_source(sockets: Sockets, host: str) -> Seen:
    """For this one datagram."""
    client = await sockets.bound(ONE if host == TWO else SIX)
    server = await sockets.bound(ANY[SIX if ":" in host else ONE])
    await server.sendmsg([b"!"], source_ancillary(host), 0, client.getsockname())
    return server.getsockname(), await client.recvfrom(10)


@pytest.mark.parametrize("host", HOSTS)
@on_both
async def test_packet_info_may_have_no_wish(sockets: Sockets, host: str) -> Seen:
    """The unspecified address leaves the choice to the route."""
    client, server = await sockets.bound(host), await sockets.bound(ANY[host])
    await server.sendmsg([b"!"], [NO_WISH[host]], 0, client.getsockname())
    return await client.recvfrom(10)


@on_both
async def test_packet_info_overrules_the_bound_address(sockets: Sockets) -> Seen:
    """In version 4."""
    client, server = await sockets.bound(), await sockets.bound(ONE)
    await server.sendmsg([b"!"], source_ancillary(TWO), 0, client.getsockname())
    return await client.recvfrom(10)


@pytest.mark.parametrize(
    ("host", "source"), [(ONE, "198.51.100.1"), pytest.param(SIX, "2001:db8:1::1", marks=needs_ipv6)]
)
@on_both
async def test_packet_info_cannot_forge_a_source(sockets: Sockets, host: str, source: str) -> Seen:
    """An address of somebody else's is an error: which one depends on the kernel's age in version 4."""
    client, server = await sockets.bound(host), await sockets.bound(ANY[host])
    sent = await tried(server.sendmsg, [b"!"], source_ancillary(source), 0, client.getsockname())
    assert sent in ("OSError EINVAL", "OSError ENETUNREACH")
    return await tried(client.recvfrom, 10)


@needs_ipv6
@on_both
async def test_packet_info_of_the_other_version(sockets: Sockets) -> Seen:
    """A socket of version 4 does not read version 6's, and the other way round."""
    seen = []
    for host, source in ((ONE, SIX), (SIX, ONE)):
        client, server = await sockets.bound(host), await sockets.bound(ANY[host])
        sent = await tried(server.sendmsg, [b"!"], source_ancillary(source), 0, client.getsockname())
        seen.append((sent, await tried(client.recvfrom, 10)))
    return seen


@needs_ipv6
@pytest.mark.parametrize("source", [TWO, f"::ffff:{TWO}", SIX])
@on_both
async def test_packet_info_on_a_dual_stack_socket(sockets: Sockets, source: str) -> Seen:
    """Version 4's packet info, or version 6's with a mapped address and no other, for an answer to version 4."""
    client, server = await sockets.bound(), await sockets.bound("::")
    messages = source_ancillary(source)
    if ":" in source:  # in so many words: what we send ourselves is never mapped
        packed = socket.inet_pton(socket.AF_INET6, source)
        messages = [(IPV6, IPV6_PKTINFO, struct.pack("=16sI", packed, 0))]
    there = (f"::ffff:{ONE}", client.getsockname()[1])
    return await tried(server.sendmsg, [b"!"], messages, 0, there), await tried(client.recvfrom, 10)


TTLS: Final = {
    ONE: ((IP, socket.IP_TTL), (IP, socket.IP_RECVTTL if hasattr(socket, "IP_RECVTTL") else 12), (IP, IP_TTL)),
    SIX: ((IPV6, socket.IPV6_UNICAST_HOPS), (IPV6, socket.IPV6_RECVHOPLIMIT), (IPV6, IPV6_HOPLIMIT)),
}


@pytest.mark.parametrize("host", HOSTS)
@on_both
async def test_hop_limits(sockets: Sockets, host: str) -> Seen:
    """The default, a socket's own, and one datagram's."""
    sets, hears, message = TTLS[host]
    server = await sockets.bound(host, 0, (*hears, 1))
    there = server.getsockname()
    sock = sockets.new(host)
    await sock.sendto(b"default", there)
    sock.setsockopt(*sets, 7)
    await sock.sendto(b"socket", there)
    await sock.sendmsg([b"datagram"], [(*message, struct.pack("=i", 9))], 0, there)
    return [(await server.recvmsg(10, 100))[:3] for _ in range(3)]


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("limit", [-1, 0, 255, 256])
@on_both
async def test_hop_limits_out_of_range(sockets: Sockets, host: str, limit: int) -> Seen:
    """In a control message."""
    server = await sockets.bound(host, 0, (*TTLS[host][1], 1))
    message = (*TTLS[host][2], struct.pack("=i", limit))
    sent = await tried(sockets.new(host).sendmsg, [b"!"], [message], 0, server.getsockname())
    return sent, (await tried(server.recvmsg, 10, 100))[:3]


@pytest.mark.parametrize("host", HOSTS)
@on_both
async def test_control_messages_of_the_wrong_length(sockets: Sockets, host: str) -> Seen:
    """Are errors, not crashes."""
    server = await sockets.bound(host)
    sock = sockets.new(host)
    kinds = [NO_WISH[host][:2], TTLS[host][2]]
    return [
        await tried(sock.sendmsg, [b"!"], [(*kind, bytes(size))], 0, server.getsockname())
        for kind in kinds
        for size in (0, 1, 3)
    ]


@on_both
async def test_addresses_have_one_spelling_afterwards(sockets: Sockets) -> Seen:
    """What arrives normalises to what was bound."""
    server, sock = await sockets.bound(TWO), await sockets.bound()
    await sock.sendto(b"?", server.getsockname())
    _, peer = await server.recvfrom(10)
    assert normalise(peer) == Address(ONE, sock.getsockname()[1])
    return peer
