"""Socket options: what they are to begin with, what they take, and what they refuse."""

import socket
import struct
from typing import Final

import pytest

from trio_udp.testing import NotSimulated, SimNet
from trio_udp.testing._options import (
    DEFAULT_BUFFER,
    IP,
    IP_MTU,
    IP_MTU_DISCOVER,
    IPV6,
    IPV6_MTU,
    OPTIONS,
    SO_DOMAIN,
    SO_PROTOCOL,
)

from .both import HOSTS, ONE, SIX, Seen, Sockets, on_both, tried_sync, usual_buffers

READ_ONLY: Final = [
    *((socket.SOL_SOCKET, name) for name in (socket.SO_ERROR, socket.SO_TYPE, SO_DOMAIN, SO_PROTOCOL)),
    *((socket.SOL_SOCKET, socket.SO_ACCEPTCONN), (IP, IP_MTU), (IPV6, IPV6_MTU)),
]
NOT_COMPARED: Final = [
    # The largest buffer is the host's to choose, and two kinds of path MTU discovery are not simulated.
    *(("buffer", value) for value in (-1, -2, 2**31 - 1, -(2**31))),
    *(("discovery", value) for value in (4, 5)),
]
EVERY: Final = [*OPTIONS, *READ_ONLY]
BUFFERS: Final = [socket.SO_RCVBUF, socket.SO_SNDBUF]


@usual_buffers
@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("option", EVERY)
@on_both
async def test_defaults(sockets: Sockets, host: str, option: tuple[int, int]) -> Seen:
    """Of every option that is simulated, before and after connecting, as a number and as bytes."""
    server = await sockets.bound(host)
    sock = sockets.new(host)
    before = tried_sync(sock.getsockopt, *option)
    await sock.connect(server.getsockname())
    return before, tried_sync(sock.getsockopt, *option), tried_sync(sock.getsockopt, *option, 4)


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("option", OPTIONS)
@on_both
async def test_values(sockets: Sockets, host: str, option: tuple[int, int]) -> Seen:
    """Of every option: small ones, large ones, negative ones, and what is read back."""
    values: list[Seen] = [0, 1, 2, 3, 4, 5, 6, 64, 255, 256, 100_000, -1, -2, 2**31 - 1, -(2**31)]
    seen = []
    for value in values:
        if (OPTIONS[option].kind, value) in NOT_COMPARED:
            continue
        sock = sockets.new(host)
        seen.append((value, tried_sync(sock.setsockopt, *option, value), tried_sync(sock.getsockopt, *option)))
        sock.close()
    return seen


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("option", OPTIONS)
@on_both
async def test_values_as_bytes(sockets: Sockets, host: str, option: tuple[int, int]) -> Seen:
    """Of the right length, longer and shorter."""
    seen = []
    for value in (struct.pack("i", 1), struct.pack("i", 1) + b"more", b"", b"\x02", bytes(3)):
        sock = sockets.new(host)
        seen.append((value, tried_sync(sock.setsockopt, *option, value), tried_sync(sock.getsockopt, *option)))
        sock.close()
    return seen


@pytest.mark.parametrize("value", [2**31, -(2**31) - 1, 1.0, "1", None])
@on_both
async def test_values_of_the_wrong_kind(sockets: Sockets, value: object) -> Seen:
    """As Python refuses them."""
    return tried_sync(sockets.new().setsockopt, socket.SOL_SOCKET, socket.SO_REUSEADDR, value)


@pytest.mark.parametrize("option", [option for option in READ_ONLY if option != (IPV6, IPV6_MTU)])
@pytest.mark.parametrize("host", HOSTS)
@on_both
async def test_what_cannot_be_set(sockets: Sockets, host: str, option: tuple[int, int]) -> Seen:
    """The kernel refuses."""
    return tried_sync(sockets.new(host).setsockopt, *option, 1)


@pytest.mark.parametrize("size", [-1, 0, 1, 3, 4, 5, 100, 1024, 1025])
@on_both
async def test_reading_an_option_as_bytes(sockets: Sockets, size: int) -> Seen:
    """As many as asked for, 4 at most."""
    sock = sockets.new(ONE, (socket.SOL_SOCKET, socket.SO_RCVBUF, 10_000))
    return tried_sync(sock.getsockopt, socket.SOL_SOCKET, socket.SO_RCVBUF, size)


@pytest.mark.parametrize("option", BUFFERS)
@pytest.mark.parametrize("size", [0, 1, 1_000, 2_303, 2_304, 4_608, 100_000, 212_992])
@on_both
async def test_buffers_are_doubled(sockets: Sockets, option: int, size: int) -> Seen:
    """And never less than the kernel's least. What is more than its usual limit depends on the host."""
    return sockets.new(ONE, (socket.SOL_SOCKET, option, size)).getsockopt(socket.SOL_SOCKET, option)


@pytest.mark.parametrize("option", BUFFERS)
def test_a_buffer_has_the_usual_limit(option: int) -> None:
    """net.core.rmem_max and wmem_max are the host's to choose: the simulated ones are Linux's default."""
    sock = SimNet().localhost.open(socket.AF_INET)
    sock.setsockopt(socket.SOL_SOCKET, option, 10_000_000)
    assert sock.getsockopt(socket.SOL_SOCKET, option) == 2 * DEFAULT_BUFFER


@pytest.mark.parametrize("host", [ONE, SIX])
def test_other_options_say_that_they_are_not_simulated(host: str) -> None:
    """By name, and not by doing nothing."""
    sock = SimNet().localhost.open(socket.AF_INET6 if host == SIX else socket.AF_INET)
    with pytest.raises(NotSimulated, match=f"option {socket.SO_LINGER} of level {socket.SOL_SOCKET}"):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 1)
    with pytest.raises(NotSimulated, match="option 4242 of level 0"):
        sock.getsockopt(IP, 4242)
    with pytest.raises(NotSimulated, match="with a length"):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, None, 4)
    with pytest.raises(NotSimulated, match="discovery 5"):
        sock.setsockopt(IP, IP_MTU_DISCOVER, 5)
