"""ICMP errors of every kind, forged, on a loopback of their own: what sockets make of them."""

from typing import Final

import pytest

from trio_udp.testing import ICMP_KINDS
from trio_udp.testing._options import IP, IP_MTU, IP_MTU_DISCOVER, IPV6, IPV6_MTU, IPV6_MTU_DISCOVER

from .both import HOSTS, ONE, SIX, Seen, Sockets, on_both_apart, tried
from .test_icmp import ERRORS, HEARS, SO_ERROR

DISCOVERY: Final = {ONE: (IP, IP_MTU_DISCOVER), SIX: (IPV6, IPV6_MTU_DISCOVER)}
MTU: Final = {ONE: (IP, IP_MTU), SIX: (IPV6, IPV6_MTU)}


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("kind", ICMP_KINDS)
@pytest.mark.parametrize("connect", [False, True])
@pytest.mark.parametrize("hears", [False, True])
@on_both_apart
async def test_every_kind_of_error(sockets: Sockets, host: str, kind: str, connect: bool, hears: bool) -> Seen:
    """Who hears of it, as which errno, and what the error queue says."""
    server = await sockets.bound(host)
    sock = await sockets.bound(host, 0, *([HEARS[host]] if hears else []))
    if connect:
        await sock.connect(server.getsockname())
    sockets.forge_icmp(kind, sock, server.getsockname(), b"never sent", 1400)
    readable = sock.is_readable()
    heard = await tried(sock.recv, 10)
    return readable, heard, await tried(sock.recvmsg, 100, 512, ERRORS), sock.getsockopt(*SO_ERROR)


@pytest.mark.parametrize("host", HOSTS)
@on_both_apart
async def test_an_error_about_somebody_elses_datagram(sockets: Sockets, host: str) -> Seen:
    """A connected socket hears only of its peer; an unconnected one believes anything."""
    server, other = await sockets.bound(host), await sockets.bound(host)
    client = await sockets.connected(server, HEARS[host])
    unconnected = await sockets.bound(host, 0, HEARS[host])
    for sock in (client, unconnected):
        sockets.forge_icmp("port unreachable", sock, other.getsockname(), b"never sent")
    return client.is_readable(), unconnected.is_readable(), await tried(unconnected.recv, 10)


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("discovery", [0, 1, 2, 3])
@pytest.mark.parametrize("mtu", [0, 100, 600, 1400])
@pytest.mark.parametrize("hears", [False, True])
@on_both_apart
async def test_a_smaller_path(sockets: Sockets, host: str, discovery: int, mtu: int, hears: bool) -> Seen:
    """What "fragmentation needed" does to the path MTU, and to what is sent afterwards (G4)."""
    server = await sockets.bound(host)
    sock = await sockets.connected(server, (*DISCOVERY[host], discovery), *([HEARS[host]] if hears else []))
    sockets.forge_icmp("fragmentation needed", sock, server.getsockname(), bytes(2000), mtu)
    heard: list[Seen] = [sock.getsockopt(*SO_ERROR)]
    while sock.is_readable():
        heard.append(await tried(sock.recvmsg, 10, 512, ERRORS))
    seen: list[Seen] = [sock.getsockopt(*MTU[host])]
    for size in (400, 1300, 1500, 3000):
        seen.append((size, await tried(sock.send, bytes(size))))
        while sock.is_readable():
            seen.append(await tried(sock.recvmsg, 10, 512, ERRORS))
    received = []
    while server.is_readable():
        received.append(len(await server.recv(10_000)))
    return heard, seen, received


@pytest.mark.parametrize("host", HOSTS)
@on_both_apart
async def test_a_path_never_grows_by_an_error(sockets: Sockets, host: str) -> Seen:
    """And all sockets of a host share what is known about it, at the latest when they send."""
    server = await sockets.bound(host)
    sock, other = await sockets.connected(server), await sockets.connected(server)
    seen = []
    for mtu in (1500, 1400, 1450, 70_000 if host == SIX else 65_535):
        sockets.forge_icmp("fragmentation needed", sock, server.getsockname(), bytes(2000), mtu)
        await other.send(b"")
        seen.append((sock.getsockopt(*SO_ERROR), sock.getsockopt(*MTU[host]), other.getsockopt(*MTU[host])))
    return seen
