"""Names of sockets, and who may have which address and port."""

import socket
from typing import Final

import pytest
import trio

from trio_udp.testing._options import IPV6, IPV6_V6ONLY

from ..networks import needs_ipv6
from .both import ANY_HOSTS, HOSTS, ONE, SIX, TWO, Seen, Sockets, on_both, tried, tried_sync

ANY: Final = "0.0.0.0"  # noqa: S104 - what wildcards do is the question
ANY_SIX: Final = "::"
ONLY_SIX: Final = (IPV6, IPV6_V6ONLY, 1)
REUSE_ADDRESS: Final = (socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
REUSE_PORT: Final = (socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)


@pytest.mark.parametrize("host", HOSTS)
@on_both
async def test_names_before_and_after_bind(sockets: Sockets, host: str) -> Seen:
    """An unbound socket is at the unspecified address and port 0, and has no peer."""
    sock = sockets.new(host)
    before = sock.getsockname(), tried_sync(sock.getpeername)
    await sock.bind((host, 0))
    return before, sock.getsockname(), tried_sync(sock.getpeername)


@pytest.mark.parametrize("host", HOSTS)
@on_both
async def test_names_after_connect(sockets: Sockets, host: str) -> Seen:
    """Connecting chooses an address of ours and a port."""
    server = await sockets.bound(host)
    sock = await sockets.connected(server)
    assert sock.getpeername() == server.getsockname()
    return server.getsockname(), sock.getsockname(), sock.getpeername()


@pytest.mark.parametrize("host", [*HOSTS, TWO])
@on_both
async def test_sending_binds_to_a_port_but_to_no_address(sockets: Sockets, host: str) -> Seen:
    """And the datagram still has a source address."""
    server = await sockets.bound(host)
    sock = sockets.new(host)
    await sock.sendto(b"?", server.getsockname())
    return sock.getsockname(), await server.recvfrom(10)


@pytest.mark.parametrize("host", ANY_HOSTS)
@on_both
async def test_connecting_a_wildcard_socket_chooses_its_address(sockets: Sockets, host: str) -> Seen:
    """The port stays."""
    server = await sockets.bound(ONE if host == ANY else SIX)
    sock = await sockets.bound(host)
    before = sock.getsockname()
    await sock.connect(server.getsockname())
    assert sock.getsockname()[1] == before[1]
    return before, sock.getsockname(), sock.getpeername()


@pytest.mark.parametrize("host", [ONE, TWO])
@on_both
async def test_connecting_from_one_loopback_address_to_another(sockets: Sockets, host: str) -> Seen:
    """A bound address stays; an unbound socket's packets come from 127.0.0.1."""
    server = await sockets.bound(TWO)
    sock, other = await sockets.bound(host), sockets.new()
    for one in (sock, other):
        await one.connect(server.getsockname())
        await one.send(b"?")
    return sock.getsockname(), other.getsockname(), await server.recvfrom(10), await server.recvfrom(10)


@pytest.mark.parametrize("host", HOSTS)
@on_both
async def test_connecting_again(sockets: Sockets, host: str) -> Seen:
    """Moves to the new peer, keeps the port, and forgets the old peer."""
    one, other = await sockets.bound(host), await sockets.bound(host)
    sock = await sockets.connected(one)
    port = sock.getsockname()[1]
    await sock.connect(other.getsockname())
    assert sock.getsockname()[1] == port
    await one.sendto(b"from the old peer", sock.getsockname())
    await other.sendto(b"from the new peer", sock.getsockname())
    return sock.getpeername(), await tried(sock.recvfrom, 100), await tried(sock.recvfrom, 100)


@on_both
async def test_connecting_again_keeps_the_address(sockets: Sockets) -> Seen:
    """Whether it was bound or an earlier connect chose it."""
    one, other = await sockets.bound(ONE), await sockets.bound(TWO)
    seen = []
    for sock in (sockets.new(), await sockets.bound(ANY), await sockets.bound(TWO)):
        for peer in (other, one):
            await sock.connect(peer.getsockname())
            seen.append(sock.getsockname())
    return seen


@pytest.mark.parametrize("host", HOSTS)
@on_both
async def test_binding_twice(sockets: Sockets, host: str) -> Seen:
    """A socket has one name."""
    sock = await sockets.bound(host)
    return await tried(sock.bind, (host, 0)), await tried(sock.bind, (host, await sockets.free_port(host)))


@pytest.mark.parametrize("host", HOSTS)
@on_both
async def test_binding_after_something_else_bound(sockets: Sockets, host: str) -> Seen:
    """Sending and connecting give a port too."""
    server = await sockets.bound(host)
    sender, client = sockets.new(host), await sockets.connected(server)
    await sender.sendto(b"?", server.getsockname())
    return await tried(sender.bind, (host, 0)), await tried(client.bind, (host, 0))


@pytest.mark.parametrize("host", ["198.51.100.1", pytest.param("2001:db8:1::1", marks=needs_ipv6)])
@on_both
async def test_binding_to_somebody_elses_address(sockets: Sockets, host: str) -> Seen:
    """EADDRNOTAVAIL, and the socket is none the worse."""
    sock = sockets.new(host)
    failed = await tried(sock.bind, (host, 0))
    await sock.bind((ONE if "." in host else SIX, 0))
    return failed, sock.getsockname()


@pytest.mark.parametrize("host", [*HOSTS, *ANY_HOSTS])
@on_both
async def test_ephemeral_ports_differ(sockets: Sockets, host: str) -> Seen:
    """And are of the ephemeral range, which on_both replaces by their order."""
    return [(await sockets.bound(host)).getsockname()[1] for _ in range(20)]


@on_both
async def test_a_port_is_free_again_after_close(sockets: Sockets) -> Seen:
    """At once."""
    sock = await sockets.bound()
    port = sock.getsockname()[1]
    sock.close()
    return (await sockets.bound(ONE, port)).getsockname()


NAMES: Final = [ONE, TWO, ANY, SIX, ANY_SIX]
FLAGS: Final[dict[str, list[tuple[int, int, int]]]] = {
    "": [],
    "reuse address": [REUSE_ADDRESS],
    "reuse port": [REUSE_PORT],
    "both": [REUSE_ADDRESS, REUSE_PORT],
}


@needs_ipv6
@pytest.mark.parametrize("first", NAMES)
@pytest.mark.parametrize("first_flags", FLAGS)
@on_both
async def test_who_may_share_a_port(sockets: Sockets, first: str, first_flags: str) -> Seen:
    """Wildcards, single addresses, versions 4, 6 and both, SO_REUSEADDR and SO_REUSEPORT: every pair of them."""
    seen = {}
    for second in NAMES:
        for flags in FLAGS:
            for only in ("", "first", "second", "both"):
                one = sockets.new(first, *FLAGS[first_flags], *_only(first, only, "first"))
                other = sockets.new(second, *FLAGS[flags], *_only(second, only, "second"))
                await one.bind((first, 0))
                seen[second, flags, only] = await tried(other.bind, (second, one.getsockname()[1]))
                one.close()
                other.close()
    return seen


def _only(host: str, only: str, which: str) -> list[tuple[int, int, int]]:
    return [ONLY_SIX] if ":" in host and only in (which, "both") else []


@on_both
async def test_sharing_counts_when_the_second_one_binds(sockets: Sockets) -> Seen:
    """The first may say so late."""
    one, other = await sockets.bound(), sockets.new(ONE, REUSE_ADDRESS)
    port = one.getsockname()[1]
    before = await tried(other.bind, (ONE, port))
    one.setsockopt(*REUSE_ADDRESS)
    return before, await tried(other.bind, (ONE, port))


@on_both
async def test_an_ephemeral_port_is_nobody_elses_even_with_reuse(sockets: Sockets) -> Seen:
    """Whoever asks for any port gets one alone."""
    return [(await sockets.bound(ONE, 0, REUSE_ADDRESS)).getsockname() for _ in range(20)]


@on_both
async def test_the_newest_of_those_who_share_an_address_hears(sockets: Sockets) -> Seen:
    """With SO_REUSEADDR: why it makes a second server a thief."""
    first = await sockets.bound(ONE, 0, REUSE_ADDRESS)
    second = await sockets.bound(ONE, first.getsockname()[1], REUSE_ADDRESS)
    await sockets.new().sendto(b"?", first.getsockname())
    return await tried(first.recv, 10), await tried(second.recv, 10)


@pytest.mark.parametrize("order", [(ONE, ANY), (ANY, ONE)])
@on_both
async def test_the_more_precise_of_two_addresses_hears(sockets: Sockets, order: tuple[str, str]) -> Seen:
    """Whichever came first."""
    first = await sockets.bound(order[0], 0, REUSE_ADDRESS)
    port = first.getsockname()[1]
    second = await sockets.bound(order[1], port, REUSE_ADDRESS)
    for host in (ONE, TWO):
        await sockets.new().sendto(host.encode(), (host, port))
    return [await tried(sock.recv, 10) for sock in (first, second, first, second)]


@pytest.mark.parametrize("later", [False, True])
@on_both
async def test_a_connected_socket_hears_before_one_that_is_not(sockets: Sockets, later: bool) -> Seen:
    """Of what its peer sends; the other hears the rest."""
    peer, stranger = await sockets.bound(), await sockets.bound()
    one = await sockets.bound(ONE, 0, REUSE_ADDRESS)
    other = await sockets.bound(ONE, one.getsockname()[1], REUSE_ADDRESS)
    await (other if later else one).connect(peer.getsockname())
    await peer.sendto(b"peer", one.getsockname())
    await stranger.sendto(b"stranger", one.getsockname())
    return [await tried(sock.recv, 10) for sock in (one, other, one, other)]


@on_both
async def test_a_flow_stays_with_one_of_those_who_share_by_port(sockets: Sockets) -> Seen:
    """SO_REUSEPORT: somebody hears each datagram, and all of one flow are heard by one."""
    first = await sockets.bound(ONE, 0, REUSE_PORT)
    readers = [first, await sockets.bound(ONE, first.getsockname()[1], REUSE_PORT)]
    heard = set()
    for number in range(20):
        sender = await sockets.bound()
        for _ in range(3):
            await sender.sendto(bytes([number]), first.getsockname())
        counts = tuple([await _read(reader) for reader in readers])
        heard.add(counts)
    return sorted(heard)


async def _read(sock: trio.socket.SocketType) -> int:
    count = 0
    while sock.is_readable():
        await sock.recv(10)
        count += 1
    return count


@needs_ipv6
@pytest.mark.parametrize("only", [False, True])
@on_both
async def test_a_dual_stack_socket_hears_version_4(sockets: Sockets, only: bool) -> Seen:
    """As ::ffff:a.b.c.d, unless it said IPV6_V6ONLY."""
    server = await sockets.bound(ANY_SIX, 0, *([ONLY_SIX] if only else []))
    port = server.getsockname()[1]
    client = sockets.new()
    await client.sendto(b"four", (ONE, port))
    await sockets.new(SIX).sendto(b"six", (SIX, port))
    return [await tried(server.recvfrom, 10), await tried(server.recvfrom, 10)]


@needs_ipv6
@on_both
async def test_a_dual_stack_socket_speaks_to_version_4(sockets: Sockets) -> Seen:
    """Sending and connecting to a mapped address."""
    four = await sockets.bound(TWO)
    mapped = (f"::ffff:{TWO}", four.getsockname()[1])
    sender, client = sockets.new(SIX), sockets.new(SIX)
    await sender.sendto(b"?", mapped)
    await client.connect(mapped)
    await client.send(b"?")
    return (
        (sender.getsockname(), client.getsockname(), client.getpeername()),
        (await four.recvfrom(10), await four.recvfrom(10)),
    )


@needs_ipv6
@on_both
async def test_a_socket_bound_to_a_mapped_address(sockets: Sockets) -> Seen:
    """Is a socket of version 4 with longer names."""
    server = await sockets.bound(f"::ffff:{TWO}")
    client = sockets.new()
    await client.sendto(b"?", (TWO, server.getsockname()[1]))
    data, peer = await server.recvfrom(10)
    await server.sendto(b"!", peer)
    return server.getsockname(), data, peer, await client.recvfrom(10)


@needs_ipv6
@on_both
async def test_a_version_6_only_socket_refuses_mapped_addresses(sockets: Sockets) -> Seen:
    """ENETUNREACH, and EINVAL for a bind."""
    port = await sockets.free_port()
    mapped = (f"::ffff:{ONE}", port)
    sock = sockets.new(SIX, ONLY_SIX)
    return await tried(sock.sendto, b"?", mapped), await tried(sock.connect, mapped), await tried(sock.bind, mapped)


@needs_ipv6
@on_both
async def test_a_socket_bound_to_version_6_cannot_reach_version_4(sockets: Sockets) -> Seen:
    """::1 is no source for 127.0.0.1."""
    four = await sockets.bound()
    sock = await sockets.bound(SIX)
    mapped = (f"::ffff:{ONE}", four.getsockname()[1])
    return await tried(sock.sendto, b"?", mapped), await tried(sock.connect, mapped), await tried(four.recv, 10)


@needs_ipv6
@on_both
async def test_a_socket_bound_to_a_mapped_address_cannot_reach_version_6(sockets: Sockets) -> Seen:
    """127.0.0.1 is no source for ::1."""
    six = await sockets.bound(SIX)
    sock = await sockets.bound(f"::ffff:{ONE}")
    return (
        await tried(sock.sendto, b"?", six.getsockname()),
        await tried(sock.connect, six.getsockname()),
        await tried(six.recv, 10),
    )


@needs_ipv6
@on_both
async def test_v6only_is_decided_before_bind(sockets: Sockets) -> Seen:
    """EINVAL afterwards."""
    bound, sent = await sockets.bound(SIX), sockets.new(SIX)
    await sent.sendto(b"?", bound.getsockname())
    return [tried_sync(sock.setsockopt, IPV6, IPV6_V6ONLY, value) for sock in (bound, sent) for value in (0, 1)]
