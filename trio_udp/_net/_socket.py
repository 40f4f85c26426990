"""Open one UDP socket, bound or connected, with the options that keep it honest.

- `IP_PMTUDISC_PROBE`: datagrams leave undivided, and a forged "fragmentation needed" changes nothing (G4).
- `IP_RECVERR` on clients: ICMP errors arrive with the quoted request instead of as somebody else's failed call (G5).
- packet info on wildcard servers: a reply can leave from the address that was asked (E6).
- a large receive buffer, and the kernel's count of what did not fit.
- neither SO_REUSEADDR nor, unless asked, SO_REUSEPORT: a second server on the same port is an error, not a thief (G8).

The socket is whatever `trio.socket.socket` returns, so a simulated network can stand in its place.
"""

import contextlib
import errno
import functools
import socket
from collections.abc import Iterator
from typing import Final

import trio

from . import _ancillary as anc
from ._address import Address, to_sockaddr
from ._options import NO_OPTIONS, SocketOptions, apply, binds, local_address

RECEIVE_BUFFER: Final = 4 * 1024 * 1024
"""Bytes asked for. Measured: the usual default of 212,992 holds 256 small datagrams."""

_PORT_TRIES: Final = 20
"""How often to look for a free port that all sockets can share."""

_Option = tuple[int, int, int]

_EVERY_SOCKET: Final[dict[socket.AddressFamily, list[_Option]]] = {
    socket.AF_INET: [(socket.IPPROTO_IP, anc.IP_MTU_DISCOVER, anc.PMTUDISC_PROBE)],
    socket.AF_INET6: [(socket.IPPROTO_IPV6, anc.IPV6_MTU_DISCOVER, anc.PMTUDISC_PROBE)],
}
_CLIENT: Final[dict[socket.AddressFamily, list[_Option]]] = {
    socket.AF_INET: [(socket.IPPROTO_IP, anc.IP_RECVTTL, 1)],
    socket.AF_INET6: [(socket.IPPROTO_IPV6, anc.IPV6_RECVHOPLIMIT, 1)],
}
_ERROR_QUEUE: Final[dict[socket.AddressFamily, list[_Option]]] = {
    socket.AF_INET: [(socket.IPPROTO_IP, anc.IP_RECVERR, 1)],
    socket.AF_INET6: [(socket.IPPROTO_IPV6, anc.IPV6_RECVERR, 1)],
}
"""Not for a custom factory's sockets: nobody could read the queue without waiting for it, and a queue that nobody reads
makes the socket look readable for ever. Theirs report ICMP errors as the kernel does by default."""
_WILDCARD: Final[dict[socket.AddressFamily, list[_Option]]] = {
    socket.AF_INET: [(socket.IPPROTO_IP, anc.IP_PKTINFO, 1)],
    socket.AF_INET6: [(socket.IPPROTO_IPV6, anc.IPV6_RECVPKTINFO, 1)],
}


async def open_server_sockets(
    addresses: list[Address], *, reuse_port: bool = False, alone: bool = False
) -> list[trio.socket.SocketType]:
    """One socket for each of these addresses that this host has, all on one port; see `open_server_socket`."""
    alone = alone or not addresses[0].port
    for _ in range(_PORT_TRIES):
        try:
            return await _try_to_open_server_sockets(addresses, reuse_port=reuse_port, alone=alone)
        except OSError as exc:
            if exc.errno != errno.EADDRINUSE or addresses[0].port:
                raise
            # Port 0: the one that was free for the first address was not free for another.
    raise OSError(errno.EADDRINUSE, f"no port is free for all of {', '.join(address.host for address in addresses)}")


async def _try_to_open_server_sockets(
    addresses: list[Address], *, reuse_port: bool, alone: bool
) -> list[trio.socket.SocketType]:
    missing = None
    port = addresses[0].port
    with contextlib.ExitStack() as opened:
        sockets: list[trio.socket.SocketType] = []
        for address in addresses:
            try:
                sock = await open_server_socket(address._replace(port=port), reuse_port=reuse_port, alone=alone)
            except OSError as exc:
                if exc.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                    raise
                missing = exc  # without IPv6, say; the name's other addresses will do
                continue
            sockets.append(sock)
            opened.callback(sock.close)
            port = sock.getsockname()[1]
        opened.pop_all()
    if not sockets and missing is not None:
        raise missing
    return sockets


async def open_server_socket(
    address: Address, *, reuse_port: bool = False, alone: bool = False
) -> trio.socket.SocketType:
    """A socket bound to one address of ours. `OSError` when that is taken, forbidden, or not ours.

    With `reuse_port` others of the same user may share its port; if `alone`, only those that come later. Port 0 is
    always taken alone: the kernel counts a shared port as free for whoever would share it too, and may hand out
    somebody else's (measured: 6 of 20 times when 40 ports were free).
    """
    alone = alone or not address.port
    family = address.family
    sock = trio.socket.socket(family, socket.SOCK_DGRAM)
    with _closed_on_error(sock):
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        _wish(sock, _EVERY_SOCKET[family])
        if address.is_unspecified:
            _wish(sock, _WILDCARD[family])
        if reuse_port and not alone:
            _share_port(sock)
        await _bind(sock, address, family)
        if reuse_port and alone:
            _share_port(sock)
    return sock


def _share_port(sock: trio.socket.SocketType) -> None:
    """Let others share the port. No wish: whoever asks for it must not get a server that has its port alone."""
    option = getattr(socket, "SO_REUSEPORT", None)
    if option is None:
        raise OSError(errno.ENOPROTOOPT, "this system has no SO_REUSEPORT, which it takes to share a port")
    sock.setsockopt(socket.SOL_SOCKET, option, 1)


async def open_client_socket(
    servers: list[Address], *, connect: bool, options: SocketOptions = NO_OPTIONS
) -> trio.socket.SocketType:
    """A socket that can send to all these servers, from a port of its own; IPv4 and IPv6 share one socket.

    Connected to the one server if asked to, which makes the kernel drop what others send; bound to all our addresses
    otherwise, or to the one of the options, which leaves the check, and the count, to us. `OSError` where the options
    cannot be had.
    """
    family = socket.AF_INET6 if any(server.family == socket.AF_INET6 for server in servers) else socket.AF_INET
    sock = trio.socket.socket(family, socket.SOCK_DGRAM)
    with _closed_on_error(sock):
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        # A dual-stack socket takes IPv4's options beside its own.
        for kind in {family, socket.AF_INET}:
            _wish(sock, _EVERY_SOCKET[kind] + _CLIENT[kind] + (_ERROR_QUEUE[kind] if is_kernel_socket(sock) else []))
        apply(sock, options, {family, socket.AF_INET})
        if binds(options) or not connect:
            await _bind(sock, local_address(options, family), family)
        if connect:
            await sock.connect(to_sockaddr(servers[0], family))
    return sock


async def _bind(sock: trio.socket.SocketType, address: Address, family: socket.AddressFamily) -> None:
    """Bind it; an error says where to, which the system's own words leave out."""
    sockaddr = to_sockaddr(address, family)
    try:
        await sock.bind(sockaddr)
    except OSError as exc:
        if exc.errno is None:
            raise
        raise OSError(exc.errno, f"{exc.strerror}: {address}") from None


def is_kernel_socket(sock: trio.socket.SocketType) -> bool:
    """Whether this is a socket of Trio's own, and not one of a custom factory."""
    return type(sock) is _kernel_socket_type()


@functools.cache
def _kernel_socket_type() -> type:
    """Trio has no public name for it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as example:
        return type(trio.socket.from_stdlib_socket(example))


def _wish(sock: trio.socket.SocketType, options: list[_Option]) -> None:
    """Set what this system has of these options; nothing that must hold depends on one of them alone."""
    wishes = [(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)]
    if anc.IS_LINUX:
        wishes += [(socket.SOL_SOCKET, anc.SO_RXQ_OVFL, 1), *options]
    for level, option, value in wishes:
        with contextlib.suppress(OSError):
            sock.setsockopt(level, option, value)


@contextlib.contextmanager
def _closed_on_error(sock: trio.socket.SocketType) -> Iterator[None]:
    try:
        yield
    except BaseException:
        sock.close()
        raise
