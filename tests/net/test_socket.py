"""Sockets as they are opened: bound or connected, with the options that the promises need."""

import contextlib
import errno
import functools
import re
import socket
from collections.abc import Callable
from typing import Any

import pytest
import trio

from trio_udp._net import Address, open_client_socket, open_server_socket, open_transport
from trio_udp._net import _ancillary as anc
from trio_udp._net._socket import RECEIVE_BUFFER

from ..networks import (
    LOOPBACKS,
    WILDCARDS,
    DelegatingFactory,
    NetworkName,
    address_of,
    awaitable,
    descriptors,
    needs_ipv6,
    network_fixture,  # noqa: F401 - pytest finds it by its name, network
    plain_socket,
)
from ..parity.namespace import in_new_namespace, needs_namespace

HOP_LIMIT = {
    socket.AF_INET: (socket.IPPROTO_IP, socket.IP_TTL),
    socket.AF_INET6: (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS),
}


@pytest.mark.parametrize("host", LOOPBACKS + WILDCARDS)
async def test_a_server_socket_is_shared_with_nobody(network: NetworkName, host: str) -> None:
    """G8: neither SO_REUSEADDR nor SO_REUSEPORT, and a second bind fails."""
    sock = await open_server_socket(Address(host, 0))
    assert not sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
    assert not sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)
    with pytest.raises(OSError, match="in use") as caught:
        await open_server_socket(Address(host, sock.getsockname()[1]))
    assert caught.value.errno == errno.EADDRINUSE
    sock.close()


@pytest.mark.parametrize("host", LOOPBACKS + WILDCARDS)
async def test_a_port_is_shared_with_whoever_asks_for_it_too(network: NetworkName, host: str) -> None:
    """G8: both sides have to ask."""
    one = await open_server_socket(Address(host, 0), reuse_port=True)
    address = Address(host, one.getsockname()[1])
    other = await open_server_socket(address, reuse_port=True)
    assert one.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)
    assert other.getsockname() == one.getsockname()
    for arguments in ({}, {"reuse_port": True, "alone": True}):
        with pytest.raises(OSError, match="in use"):
            await open_server_socket(address, **arguments)
    one.close()
    other.close()


@needs_namespace
def test_any_port_is_one_that_nobody_shares_yet() -> None:
    """Although the kernel would hand out one that is shared: with 20 sockets and 40 ports that is all but certain."""

    async def main() -> set[int]:
        sockets = [await open_server_socket(Address("127.0.0.1", 0), reuse_port=True) for _ in range(20)]
        with contextlib.ExitStack() as opened:
            for sock in sockets:
                opened.callback(sock.close)
            return {sock.getsockname()[1] for sock in sockets}

    def among_40_ports() -> set[int]:
        with open("/proc/sys/net/ipv4/ip_local_port_range", "w") as setting:
            setting.write("40000 40039")
        return trio.run(main)

    assert len(in_new_namespace(among_40_ports)) == 20


@pytest.mark.parametrize("host", ["192.0.2.222", pytest.param("2001:db8::222", marks=needs_ipv6)])
async def test_an_address_that_is_not_ours_cannot_be_listened_on(network: NetworkName, host: str) -> None:
    """The kernel's own error comes through, with the address, and no socket stays open."""
    with pytest.raises(OSError, match=f"assign requested address: {re.escape(str(Address(host, 0)))}$") as caught:
        await open_server_socket(Address(host, 0))
    assert caught.value.errno == errno.EADDRNOTAVAIL


async def test_a_socket_that_cannot_be_opened_is_closed(network: NetworkName) -> None:
    """G9: whatever goes wrong on the way, no descriptor is left."""
    before = descriptors()
    with pytest.raises(OSError, match="assign requested address"):
        await open_server_socket(Address("192.0.2.222", 0))
    with pytest.raises(PermissionError):
        await open_client_socket([Address("127.255.255.255", 9)], connect=True)
    assert descriptors() == before


@pytest.mark.parametrize("host", LOOPBACKS + WILDCARDS)
async def test_datagrams_leave_undivided_and_believe_no_router(network: NetworkName, host: str) -> None:
    """G4: path MTU discovery is set to PROBE, and the larger receive buffer asked for."""
    server = await open_server_socket(Address(host, 0))
    client = await open_client_socket([Address(host, 9)], connect=True)
    for sock in (server, client):
        if sock.family == socket.AF_INET6:
            assert sock.getsockopt(socket.IPPROTO_IPV6, anc.IPV6_MTU_DISCOVER) == anc.PMTUDISC_PROBE
        else:
            assert sock.getsockopt(socket.IPPROTO_IP, anc.IP_MTU_DISCOVER) == anc.PMTUDISC_PROBE
        assert sock.getsockopt(socket.SOL_SOCKET, anc.SO_RXQ_OVFL) == 1
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) > RECEIVE_BUFFER // 64
        sock.close()


@needs_ipv6
async def test_an_ipv6_server_leaves_ipv4_to_another_socket(network: NetworkName) -> None:
    """So one port serves both, and either can be asked for alone."""
    one = await open_server_socket(Address("::", 0))
    other = await open_server_socket(Address("0.0.0.0", one.getsockname()[1]))  # noqa: S104 - the point of the test
    one.close()
    other.close()


@pytest.mark.parametrize(
    ("any_host", "asked"),
    [
        ("0.0.0.0", "127.0.0.1"),  # noqa: S104 - the point of the test
        ("0.0.0.0", "127.0.0.2"),  # noqa: S104 - the same
        pytest.param("::", "::1", marks=needs_ipv6),
    ],
)
async def test_a_wildcard_socket_hears_which_address_was_asked(network: NetworkName, any_host: str, asked: str) -> None:
    """E6: the destination comes beside every datagram."""
    sock = await open_server_socket(Address(any_host, 0))
    transport = open_transport(sock)
    with plain_socket(asked) as stranger:
        stranger.sendto(b"?", (asked, transport.socket.getsockname()[1]))
        (datagram,) = (await transport.receive()).datagrams
        assert datagram.peer == address_of(stranger)
    assert datagram.ancillary.local == asked
    transport.close()


@pytest.mark.parametrize("host", LOOPBACKS)
@pytest.mark.parametrize("connect", [True, False])
async def test_a_client_socket_hears_the_hop_limit(network: NetworkName, host: str, connect: bool) -> None:
    """A reply from far away does not look like one from next door."""
    with plain_socket(host) as server:
        server.setsockopt(*HOP_LIMIT[server.family], 33)
        transport = open_transport(await open_client_socket([address_of(server)], connect=connect))
        server.sendto(b"!", (host, transport.socket.getsockname()[1]))
        (datagram,) = (await transport.receive()).datagrams
    assert datagram.ancillary.hop_limit == 33
    transport.close()


async def test_a_connected_client_socket_hears_nobody_else(network: NetworkName) -> None:
    """The kernel drops what strangers send."""
    with plain_socket() as server, plain_socket() as stranger:
        sock = await open_client_socket([address_of(server)], connect=True)
        assert sock.getpeername() == address_of(server)
        stranger.sendto(b"stranger", sock.getsockname())
        server.sendto(b"server", sock.getsockname())
        assert await sock.recv(100) == b"server"
        sock.close()


@needs_ipv6
async def test_one_client_socket_reaches_servers_of_both_families(network: NetworkName) -> None:
    """G7: it is a dual-stack socket if one of the servers needs IPv6."""
    with plain_socket("127.0.0.1") as four, plain_socket("::1") as six:
        transport = open_transport(await open_client_socket([address_of(four), address_of(six)], connect=False))
        for server in (four, six):
            await transport.send(b"?", address_of(server), None)
            data, peer = server.recvfrom(100)
            server.sendto(b"!", peer)
            (datagram,) = (await transport.receive()).datagrams
            assert (data, datagram.data, datagram.peer) == (b"?", b"!", address_of(server))
        transport.close()


class StubbornFactory(DelegatingFactory):
    """Makes sockets that have no options but the one that IPv6 cannot do without, as a simulated network may."""

    def socket(self, family: int = socket.AF_INET, kind: int = socket.SOCK_STREAM, proto: int = 0) -> Any:
        """See `trio.abc.SocketFactory.socket`."""
        sock = super().socket(family, kind, proto)
        sock.setsockopt = functools.partial(self.setsockopt, sock.setsockopt)
        return sock

    def setsockopt(self, real: Callable[[int, int, int], None], level: int, name: int, value: int) -> None:
        """Refuse, as the kernel does what it does not know."""
        if name != socket.IPV6_V6ONLY:
            raise OSError(errno.ENOPROTOOPT, "Protocol not available")
        real(level, name, value)


@awaitable
async def test_a_port_that_cannot_be_shared_is_an_error(network: NetworkName, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that was to share its port must not have it alone: the kernel's error, or ours where the option has no
    number; no socket stays open."""
    before = descriptors()
    trio.socket.set_custom_socket_factory(StubbornFactory())
    for port in (0, 9):
        with pytest.raises(OSError, match="Protocol not available") as caught:
            await open_server_socket(Address("127.0.0.1", port), reuse_port=True)
        assert caught.value.errno == errno.ENOPROTOOPT
    monkeypatch.delattr(socket, "SO_REUSEPORT")
    with pytest.raises(OSError, match="no SO_REUSEPORT") as caught:
        await open_server_socket(Address("127.0.0.1", 0), reuse_port=True)
    assert caught.value.errno == errno.ENOPROTOOPT
    assert descriptors() == before


@awaitable
@pytest.mark.parametrize("host", LOOPBACKS + WILDCARDS)
async def test_a_socket_without_options_is_good_enough(network: NetworkName, host: str) -> None:
    """Nothing that must hold depends on one of them alone."""
    trio.socket.set_custom_socket_factory(StubbornFactory())
    (await open_server_socket(Address(host, 0))).close()
    (await open_client_socket([Address(host, 9)], connect=False)).close()


async def test_a_system_that_is_not_linux_is_not_told_linux_numbers(
    network: NetworkName, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There the same number may be another option."""
    monkeypatch.setattr(anc, "IS_LINUX", False)
    sock = await open_client_socket([Address("127.0.0.1", 9)], connect=True)
    assert sock.getsockopt(socket.IPPROTO_IP, anc.IP_RECVERR) == 0
    sock.close()
