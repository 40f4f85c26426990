"""ICMP errors as bytes, and the raw socket from which they can be forged.

Root may open one, and who has CAP_NET_RAW. It says that they come from whomever it likes.
"""

import errno
import socket
import struct
from typing import Final

import trio

from ._address import Address, to_sockaddr
from ._pcapng import ip_packet, udp_body

ICMP_CODES: Final = {
    # kind: type and code in version 4, type and code in version 6
    "port unreachable": (3, 3, 1, 4),
    "host unreachable": (3, 1, 1, 3),
    "network unreachable": (3, 0, 1, 0),
    "prohibited": (3, 13, 1, 1),
    "fragmentation needed": (3, 4, 2, 0),
}
_ICMP: Final = struct.Struct("!BBHI")
"""type, code, checksum, rest of the header: the MTU, where there is one"""
_QUOTED: Final = 548
"""Bytes of the packet that an ICMP error quotes (RFC 1812: as much as fits 576 bytes)."""


def icmp_error(kind: str, packet: bytes, *, mtu: int = 0) -> bytes:
    """The error of this kind about an IP packet, in the version that this is of; its checksum is still missing."""
    version6 = packet[0] >> 4 == 6
    number, code = ICMP_CODES[kind][2:] if version6 else ICMP_CODES[kind][:2]
    return _ICMP.pack(number, code, 0, mtu) + packet[:_QUOTED]


def icmp_about(kind: str, data: bytes, source: Address, destination: Address) -> bytes:
    """The IP packet in which the destination of a datagram tells its source what became of it."""
    error = icmp_error(kind, ip_packet(udp_body(data, source, destination), source, destination))
    return ip_packet(error, destination, source, protocol=icmp_protocol(source.family))


def icmp_protocol(family: socket.AddressFamily) -> int:
    """What stands in the IP header."""
    return socket.IPPROTO_ICMPV6 if family == socket.AF_INET6 else socket.IPPROTO_ICMP


class RawSocketForbidden(PermissionError):
    """This process may not forge ICMP errors."""

    def __init__(self) -> None:
        super().__init__(errno.EPERM, "forging ICMP takes a raw socket, which is for root or who has CAP_NET_RAW")


class IcmpForger:
    """A raw socket for one version of IP. Made with `open_icmp_forger`."""

    def __init__(self, sock: trio.socket.SocketType, family: socket.AddressFamily) -> None:
        self._sock = sock
        self._family = family

    async def send(self, packet: bytes, peer: Address, source: str | None = None) -> str | None:
        """Send an IP packet, in which `source` stands already; if that fails, say why by the errno's name."""
        try:
            await self._sock.sendto(packet, to_sockaddr(peer._replace(port=0), self._family))
        except OSError as exc:
            return errno.errorcode.get(exc.errno or 0, type(exc).__name__)
        return None

    def close(self) -> None:
        """Close the socket. Closing twice is fine."""
        self._sock.close()


def open_icmp_forger(family: socket.AddressFamily) -> IcmpForger:
    """Open a raw socket; `RawSocketForbidden` for whoever may not."""
    try:
        # With IPPROTO_RAW the IP header is the sender's own, and nothing is received that would have to be read.
        sock = trio.socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
    except PermissionError:
        raise RawSocketForbidden from None
    return IcmpForger(sock, family)
