"""Addresses in one canonical form, so that equal addresses are equal values.

A stranger's datagram is told from a reply by comparing addresses, and the same host has many spellings: as IPv4 and as
IPv4 mapped into IPv6, with and without a flow label, with a scope id that means something only on a link. `normalise`
leaves one spelling of each (A6); everything above this module compares with `==` and hashes.
"""

import errno
import functools
import ipaddress
import socket
import struct
from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeVar

SockAddr = tuple[Any, ...]
"""What the kernel takes and gives: (host, port) or (host, port, flowinfo, scope id)."""

_REMEMBERED: Final = 1024
"""Spellings kept ready, about 300 bytes each (E7); a flood of spoofed sources can only make us forget some."""

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class Remembered(dict[_Key, _Value]):
    """What a function says of each key, kept ready, 1024 at most: then all is forgotten.

    For one look a datagram: through `map` and `__getitem__` it takes a third of the time of `lru_cache`.
    """

    def __init__(self, function: Callable[[_Key], _Value]) -> None:
        super().__init__()
        self._function = function

    def __missing__(self, key: _Key) -> _Value:
        value = self._function(key)
        if len(self) >= _REMEMBERED:
            self.clear()
        self[key] = value
        return value


class Address(NamedTuple):
    """One end of a UDP conversation, canonical and numeric. Formats as `127.0.0.1:1060` or `[::1]:1060`.

    Unpacks into what `open_client` takes: `open_client(*server.address)`.
    """

    host: str
    """An IPv4 or IPv6 address; a link-local one ends in its scope, as `fe80::1%2`."""
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)

    @property
    def family(self) -> socket.AddressFamily:
        """`AF_INET6` for an IPv6 address, else `AF_INET`."""
        return socket.AF_INET6 if ":" in self.host else socket.AF_INET

    @property
    def is_unspecified(self) -> bool:
        """Whether it is 0.0.0.0 or ::, which stands for every address of this host."""
        return self.host in ("0.0.0.0", "::")  # noqa: S104 - compared with, not bound to


@functools.lru_cache(maxsize=_REMEMBERED)
def normalise(sockaddr: SockAddr) -> Address:
    """The canonical form of a numeric socket address: IPv4-mapped is IPv4; scope on link-local only; no flow label."""
    host, port = sockaddr[:2]
    if ":" not in host:
        return Address(host, port)
    name, _, zone = host.partition("%")
    address = ipaddress.IPv6Address(name)
    if address.ipv4_mapped is not None:
        return Address(str(address.ipv4_mapped), port)
    if not address.is_link_local:
        return Address(str(address), port)
    scope = sockaddr[3] if len(sockaddr) > 3 and sockaddr[3] else _scope_id(zone)
    return Address(f"{address}%{scope}" if scope else str(address), port)


@functools.lru_cache(maxsize=_REMEMBERED)
def to_sockaddr(address: Address, family: socket.AddressFamily) -> SockAddr:
    """What the kernel wants to hear for this address on a socket of this family."""
    host, port = address
    if family == socket.AF_INET:
        if address.family != socket.AF_INET:
            raise OSError(errno.EAFNOSUPPORT, f"an IPv4 socket cannot use {address}")
        return (host, port)
    if ":" not in host:
        return (f"::ffff:{host}", port, 0, 0)
    name, _, zone = host.partition("%")
    return (name, port, 0, _scope_id(zone))


# struct sockaddr_in: port and address, and 8 bytes of nothing; the family before them is in the host's byte order
_SOCKADDR_IN: Final = struct.Struct("!H4s8x")
# struct sockaddr_in6: port, flow label, address; and the scope id behind them, in the host's byte order
_SOCKADDR_IN6: Final = struct.Struct("!HI16s")
_FAMILY: Final = struct.Struct("=H")
_SCOPE_ID: Final = struct.Struct("=I")
NAME_SIZE: Final = 28
"""sizeof(struct sockaddr_in6). The kernel takes a sockaddr_in with something behind it for what it is."""


def address_of_name(name: bytes) -> Address:
    """The address in a socket address of the kernel's: struct sockaddr_in or sockaddr_in6."""
    family = _FAMILY.unpack_from(name)[0]
    if family == socket.AF_INET:
        port, packed = _SOCKADDR_IN.unpack_from(name, _FAMILY.size)
        return Address(socket.inet_ntoa(packed), port)
    port, flow_label, packed = _SOCKADDR_IN6.unpack_from(name, _FAMILY.size)
    (scope_id,) = _SCOPE_ID.unpack_from(name, _FAMILY.size + _SOCKADDR_IN6.size)
    return normalise((socket.inet_ntop(socket.AF_INET6, packed), port, flow_label, scope_id))


def name_of_address(address: Address, family: socket.AddressFamily) -> bytes:
    """The opposite: what the kernel wants to read for this address on a socket of this family, `NAME_SIZE` bytes."""
    host, port, *rest = to_sockaddr(address, family)
    packed = socket.inet_pton(family, host)
    if family == socket.AF_INET:
        return (_FAMILY.pack(family) + _SOCKADDR_IN.pack(port, packed)).ljust(NAME_SIZE, b"\0")
    flow_label, scope_id = rest
    return _FAMILY.pack(family) + _SOCKADDR_IN6.pack(port, flow_label, packed) + _SCOPE_ID.pack(scope_id)


def _scope_id(zone: str) -> int:
    if not zone:
        return 0
    return int(zone) if zone.isdecimal() else socket.if_nametoindex(zone)


def lacks_scope(address: Address) -> bool:
    """Whether it is an IPv6 address that means something only on a link, and does not say on which."""
    host = address.host
    return ":" in host and "%" not in host and ipaddress.IPv6Address(host).is_link_local


def loopback_of(address: Address) -> Address:
    """Where a datagram sent to the unspecified address arrives: this host itself (A7)."""
    if not address.is_unspecified:
        return address
    return address._replace(host="::1" if address.family == socket.AF_INET6 else "127.0.0.1")
