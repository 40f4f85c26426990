"""What a user wants of a client's socket is there, or it is an error."""

import contextlib
import errno
import socket

import pytest
import trio

import trio_udp
from trio_udp import SocketOptions
from trio_udp._net import Address, open_client_socket
from trio_udp._net import _ancillary as anc
from trio_udp._net._options import PATH_MTU
from trio_udp.measure import open_prober

from ..networks import (
    NetworkName,
    echo,
    needs_ipv6,
    network_fixture,  # noqa: F401 - pytest finds it by its name, network
    plain_socket,
    serving,
)

SERVERS = {"127.0.0.1": Address("127.0.0.1", 9), "::1": Address("::1", 9)}
linux = pytest.mark.skipif(not anc.IS_LINUX, reason="only Linux has this socket option")


async def test_each_option_is_set(network: NetworkName) -> None:
    """As the socket itself says."""
    wanted = SocketOptions(source="127.0.0.1", hop_limit=9, traffic_class=0xB8)
    sock = await open_client_socket([SERVERS["127.0.0.1"]], connect=False, options=wanted)
    with contextlib.closing(sock):
        assert sock.getsockname()[0] == "127.0.0.1"
        assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_TTL) == 9
        assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_TOS) == 0xB8


@needs_ipv6
async def test_a_socket_for_both_versions_has_the_options_of_both() -> None:
    """A dual-stack socket, to which either kind of server may be added."""
    wanted = SocketOptions(hop_limit=9, traffic_class=0xB8)
    with contextlib.closing(await open_client_socket([SERVERS["::1"]], connect=False, options=wanted)) as sock:
        assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_TTL) == 9
        assert sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS) == 9
        assert sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS) == 0xB8


@linux
@pytest.mark.parametrize("word", PATH_MTU)
async def test_path_mtu_discovery_is_what_was_asked_for(network: NetworkName, word: str) -> None:
    """Instead of our own wish."""
    options = SocketOptions(path_mtu=word)
    with contextlib.closing(await open_client_socket([SERVERS["127.0.0.1"]], connect=True, options=options)) as sock:
        assert sock.getsockopt(socket.IPPROTO_IP, anc.IP_MTU_DISCOVER) == PATH_MTU[word]


@linux
async def test_one_interface_is_used_and_no_other() -> None:
    """The loopback's; what this host does not have is an error."""
    async with serving(echo, host="127.0.0.1") as server:
        try:
            async with trio_udp.open_client(*server.address, options=SocketOptions(interface="lo")) as client:
                assert await client.request(b"hello") == b"hello"
        except PermissionError:
            pytest.skip("this user may not choose an interface")
    with pytest.raises(OSError, match="o such device") as caught:
        await open_client_socket([SERVERS["127.0.0.1"]], connect=True, options=SocketOptions(interface="nosuch0"))
    assert caught.value.errno == errno.ENODEV


async def test_requests_leave_from_the_port_that_was_asked_for(network: NetworkName) -> None:
    """Connected or not, client or prober."""
    with plain_socket() as free:
        port = free.getsockname()[1]
    peers = []

    def note(request: trio_udp.Request) -> bytes:
        peers.append(request.peer)
        return request.payload

    async with serving(note, host="127.0.0.1") as server:
        for connect in (True, False):
            async with trio_udp.open_client(
                *server.address, connect=connect, options=SocketOptions(source="127.0.0.1", port=port)
            ) as client:
                await client.request(b"hello")
        async with open_prober(*server.address, options=SocketOptions(port=port)) as prober:
            await prober.run(count=1)
    assert peers == [Address("127.0.0.1", port)] * 3


async def test_an_address_that_is_not_ours_is_an_error(network: NetworkName) -> None:
    """And leaves no socket behind."""
    with pytest.raises(OSError, match=r"assign requested address: 198\.51\.100\.7:0$") as caught:
        await open_client_socket([SERVERS["127.0.0.1"]], connect=False, options=SocketOptions(source="198.51.100.7"))
    assert caught.value.errno == errno.EADDRNOTAVAIL
    with pytest.raises(OSError, match=r"an IPv4 socket cannot use \[::1\]:0$") as caught:
        await open_client_socket([SERVERS["127.0.0.1"]], connect=False, options=SocketOptions(source="::1"))
    assert caught.value.errno == errno.EAFNOSUPPORT


async def test_a_system_without_such_options_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not send as if nothing had been asked."""
    monkeypatch.setattr(anc, "IS_LINUX", False)
    with pytest.raises(OSError, match="no such socket option"):
        await open_client_socket([SERVERS["127.0.0.1"]], connect=True, options=SocketOptions(path_mtu="do"))
    await trio.lowlevel.checkpoint()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"source": "localhost"}, "expected source to be a numeric address, got 'localhost'"),
        ({"port": 65_536}, "expected port from 0 to 65535, got 65536"),
        ({"hop_limit": 0}, "expected hop_limit from 1 to 255, got 0"),
        ({"traffic_class": 256}, "expected traffic_class from 0 to 255, got 256"),
        ({"path_mtu": "perhaps"}, "expected path_mtu to be one of dont, want, do, probe, got 'perhaps'"),
        ({"interface": ""}, "expected the interface's name to have 1 to 15 bytes, got ''"),
        ({"interface": "x" * 16}, "expected the interface's name to have 1 to 15 bytes, got 'xxxxxxxxxxxxxxxx'"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong: dict[str, object], said: str) -> None:
    """Before there is a socket."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        SocketOptions(**wrong)  # type: ignore[arg-type]  # that is the point
    assert str(caught.value) == said
