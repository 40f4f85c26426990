"""What a user wants of a client's socket. Unlike our own wishes these must hold: what is refused is an error."""

import errno
import ipaddress
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import trio

from . import _ancillary as anc
from ._address import Address

SO_BINDTODEVICE: Final = 25
"""asm-generic/socket.h; Python has no name for it everywhere."""
PATH_MTU: Final[Mapping[str, int]] = MappingProxyType({"dont": 0, "want": 1, "do": 2, "probe": anc.PMTUDISC_PROBE})
"""linux/in.h: IP_PMTUDISC_DONT, _WANT, _DO and _PROBE, by the words of `ping -M`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SocketOptions:
    """What a client's datagrams carry, and where they leave. What is None is left to the system, or to our defaults.

    Raises `ValueError` for a value that makes no sense. What the system does not have or allow is an `OSError` when the
    socket is opened.
    """

    source: str | None = None
    """A numeric address of this host to send from."""
    port: int = 0
    """The port to send from, 1 to 65535; 0 takes a free one."""
    interface: str | None = None
    """The name of the one interface to send and receive on (SO_BINDTODEVICE). Linux."""
    hop_limit: int | None = None
    """Routers that a datagram may pass, 1 to 255 (TTL)."""
    traffic_class: int | None = None
    """The byte of DSCP and ECN in the IP header, 0 to 255. Linux keeps the two bits of ECN for TCP, not for UDP."""
    path_mtu: str | None = None
    """`probe`, our default: send undivided whatever the kernel knows of the path. `do`: send undivided, refuse what the
    kernel knows to be too long, and believe ICMP about it. `want`: divide what is too long. `dont`: let routers divide.
    Linux."""

    def __post_init__(self) -> None:
        if self.source is not None:
            try:
                ipaddress.ip_address(self.source)
            except ValueError:
                raise ValueError(f"expected source to be a numeric address, got {self.source!r}") from None
        _check("port", self.port, 0, 65_535)
        _check("hop_limit", self.hop_limit, 1, 255)
        _check("traffic_class", self.traffic_class, 0, 255)
        if self.path_mtu is not None and self.path_mtu not in PATH_MTU:
            raise ValueError(f"expected path_mtu to be one of {', '.join(PATH_MTU)}, got {self.path_mtu!r}")
        name = self.interface
        if name is not None and not (0 < len(name.encode()) < 16 and "\0" not in name):  # linux/if.h: IFNAMSIZ
            raise ValueError(f"expected the interface's name to have 1 to 15 bytes, got {name!r}")


def _check(name: str, value: int | None, least: int, most: int) -> None:
    if value is not None and not least <= value <= most:
        raise ValueError(f"expected {name} from {least} to {most}, got {value}")


NO_OPTIONS: Final = SocketOptions()


def binds(options: SocketOptions) -> bool:
    """Whether the socket has to be bound to an address or port of ours."""
    return options.source is not None or bool(options.port)


def local_address(options: SocketOptions, family: socket.AddressFamily) -> Address:
    """Where to bind a socket of this family."""
    anywhere = "::" if family == socket.AF_INET6 else "0.0.0.0"  # noqa: S104 - a client does not know its route yet
    return Address(options.source or anywhere, options.port)


def apply(sock: trio.socket.SocketType, options: SocketOptions, families: set[socket.AddressFamily]) -> None:
    """Set them, for each of these families that the socket carries; `OSError` says what cannot be."""
    for level, option, value in _settings(options, families):
        sock.setsockopt(level, option, value)


def _settings(options: SocketOptions, families: set[socket.AddressFamily]) -> Iterator[tuple[int, int, int | bytes]]:
    if not anc.IS_LINUX and (options.interface is not None or options.path_mtu is not None):
        raise OSError(errno.ENOPROTOOPT, "this system has no such socket option")
    if options.interface is not None:
        yield socket.SOL_SOCKET, SO_BINDTODEVICE, options.interface.encode() + b"\0"
    for family in sorted(families):
        is_6 = family == socket.AF_INET6
        level = socket.IPPROTO_IPV6 if is_6 else socket.IPPROTO_IP
        if options.hop_limit is not None:
            yield level, socket.IPV6_UNICAST_HOPS if is_6 else socket.IP_TTL, options.hop_limit
        if options.traffic_class is not None:
            yield level, socket.IPV6_TCLASS if is_6 else socket.IP_TOS, options.traffic_class
        if options.path_mtu is not None:
            yield level, anc.IPV6_MTU_DISCOVER if is_6 else anc.IP_MTU_DISCOVER, PATH_MTU[options.path_mtu]
