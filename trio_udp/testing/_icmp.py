"""What a socket makes of an ICMP error, and how its error queue says so, as Linux has it."""

import errno
import socket
import struct
from typing import Final, NamedTuple

from .._chaos import Icmp
from .._net import Address, to_sockaddr
from .._net._icmp import ICMP_CODES
from ._options import IP, IP_RECVERR, IPV6, IPV6_RECVERR

_EXTENDED_ERROR: Final = struct.Struct("=IBBBBII")
"""struct sock_extended_err: errno, origin, type, code, pad, info, data."""
_SOCKADDR_IN: Final = struct.Struct("=HH4s8x")
_SOCKADDR_IN6: Final = struct.Struct("=HHI16sI")
_ORIGIN_LOCAL: Final = 1
_ORIGIN_ICMP: Final = {False: 2, True: 3}
"""By whether it is version 6, as the following."""
_QUOTED: Final = {False: 520, True: 1184}
"""Bytes of payload that fit an ICMP error of 576 bytes (RFC 1812), or of 1280 (RFC 4443), behind all the headers."""

_ERRNOS: Final = {
    # kind: (errno, whether a connected socket hears of it without IP_RECVERR); net/ipv4/icmp.c, icmp_err_convert
    "port unreachable": (errno.ECONNREFUSED, True),
    "host unreachable": (errno.EHOSTUNREACH, False),
    "network unreachable": (errno.ENETUNREACH, False),
    "prohibited": (errno.EHOSTUNREACH, True),
    "fragmentation needed": (errno.EMSGSIZE, True),
}
_ERRNOS_V6: Final = {
    # net/ipv6/icmp.c, tab_unreach and icmpv6_err_convert
    "port unreachable": (errno.ECONNREFUSED, True),
    "host unreachable": (errno.EHOSTUNREACH, False),
    "network unreachable": (errno.ENETUNREACH, False),
    "prohibited": (errno.EACCES, True),
    "fragmentation needed": (errno.EMSGSIZE, True),
}


class QueuedError(NamedTuple):
    """What the error queue holds for one ICMP error, or for a datagram that our own host refused."""

    quote: bytes
    destination: Address
    errno: int
    origin: int
    type: int
    code: int
    mtu: int
    offender: Address | None

    @property
    def is_icmp(self) -> bool:
        """Whether it came from the network."""
        return self.origin != _ORIGIN_LOCAL


def errno_of(icmp: Icmp) -> tuple[int, bool]:
    """The errno it stands for, and whether a connected socket that did not ask for errors hears of it."""
    return (_ERRNOS_V6 if _is_version6(icmp.about.destination) else _ERRNOS)[icmp.kind]


def reported(icmp: Icmp, router: Address) -> QueuedError:
    """The entry for an ICMP error that this router sent."""
    about = icmp.about
    version6 = _is_version6(about.destination)
    kind, code = ICMP_CODES[icmp.kind][2:] if version6 else ICMP_CODES[icmp.kind][:2]
    quote = about.data[: _QUOTED[version6]]
    number, _ = errno_of(icmp)
    mtu = icmp.mtu if version6 or icmp.kind == "fragmentation needed" else 0  # a field that is unused otherwise
    return QueuedError(quote, about.destination, number, _ORIGIN_ICMP[version6], kind, code, mtu, router)


def too_large(destination: Address, mtu: int) -> QueuedError:
    """The entry for a datagram that our own host did not let leave; it quotes nothing."""
    return QueuedError(b"", destination, errno.EMSGSIZE, _ORIGIN_LOCAL, 0, 0, mtu, None)


def error_control(found: QueuedError, family: socket.AddressFamily) -> tuple[int, int, bytes]:
    """The control message beside the quote. A socket of version 6 has its own words for version 4's errors too."""
    number, kind, code = found.errno, found.type, found.code
    extended = _EXTENDED_ERROR.pack(number, found.origin, kind, code, 0, found.mtu, 0)
    level, name, layout = _RECVERR[family]
    if found.offender is None:
        return level, name, extended + bytes(layout.size)
    packed = socket.inet_pton(family, to_sockaddr(found.offender, family)[0])
    offender = layout.pack(family, 0, 0, packed, 0) if layout is _SOCKADDR_IN6 else layout.pack(family, 0, packed)
    return level, name, extended + offender


_RECVERR: Final = {
    socket.AF_INET: (IP, IP_RECVERR, _SOCKADDR_IN),
    socket.AF_INET6: (IPV6, IPV6_RECVERR, _SOCKADDR_IN6),
}


def _is_version6(address: Address) -> bool:
    return ":" in address.host
