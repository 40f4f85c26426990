"""Writes capture files, and the headers that packets would have had on a wire, checksums included.

The format is draft-ietf-opsawg-pcapng; packets are raw IP, and times nanoseconds.
"""

import socket
import struct
from collections.abc import Iterable
from typing import Final

from ._address import Address

_SECTION, _INTERFACE, _PACKET = 0x0A0D0D0A, 1, 6
_BYTE_ORDER: Final = 0x1A2B3C4D
_RAW_IP: Final = 101
"""LINKTYPE_RAW: the packet begins with the IP header."""
_END, _COMMENT, _NAME, _RESOLUTION = 0, 1, 2, 9
_NANOSECONDS: Final = 9

_IPV4: Final = struct.Struct("!BBHHHBBH4s4s")
"""version and length, service, total length, id, flags and offset, TTL, protocol, checksum, source, destination"""
_IPV6: Final = struct.Struct("!IHBB16s16s")
"""version, class and label; payload length, next header, hop limit, source, destination"""
_UDP: Final = struct.Struct("!HHHH")
"""source port, destination port, length, checksum"""
_DONT_FRAGMENT: Final = 0x4000


def capture_header(interfaces: Iterable[bytes]) -> bytes:
    """The beginning of a file, with interfaces of these names."""
    section = _block(_SECTION, struct.pack("=IHHq", _BYTE_ORDER, 1, 0, -1))
    return section + b"".join(map(_interface, interfaces))


def _interface(name: bytes) -> bytes:
    options = _option(_NAME, name) + _option(_RESOLUTION, bytes([_NANOSECONDS])) + _option(_END, b"")
    return _block(_INTERFACE, struct.pack("=HHI", _RAW_IP, 0, 0) + options)


def capture_packet(data: bytes, *, at_ns: int, interface: int, comment: str = "") -> bytes:
    """One IP packet in it: when, and on which of the interfaces, from 0."""
    head = struct.pack("=IIIII", interface, at_ns >> 32, at_ns & 0xFFFFFFFF, len(data), len(data))
    options = _option(_COMMENT, comment.encode()) + _option(_END, b"") if comment else b""
    return _block(_PACKET, head + _padded(data) + options)


def _block(kind: int, body: bytes) -> bytes:
    length = struct.pack("=I", 12 + len(body))
    return struct.pack("=I", kind) + length + body + length


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("=HH", code, len(value)) + _padded(value)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def udp_body(data: bytes, source: Address, destination: Address) -> bytes:
    """A datagram with UDP's header, whose checksum is still missing."""
    return _UDP.pack(source.port, destination.port, _UDP.size + len(data), 0) + data


def ip_packet(
    body: bytes,
    source: Address,
    destination: Address,
    *,
    protocol: int = socket.IPPROTO_UDP,
    hop_limit: int = 64,
    number: int = 0,
    may_fragment: bool = False,
) -> bytes:
    """A packet of UDP, ICMP or ICMPv6 with its IP header; the checksum in the body is put in place as well.

    Args:
        body: what follows the IP header.
        source: whose host is in the header.
        destination: whose host is in the header, and decides which version it is of.
        protocol: the body's.
        hop_limit: or TTL.
        number: IPv4's identification.
        may_fragment: whether IPv4's "don't fragment" is missing.
    """
    version6 = destination.family == socket.AF_INET6
    packed = _packed(source), _packed(destination)
    pseudo_header = b"".join(packed) + struct.pack("!II", len(body), protocol)
    body = _checked(protocol, body, b"" if protocol == socket.IPPROTO_ICMP else pseudo_header)
    if version6:
        return _IPV6.pack(6 << 28, len(body), protocol, hop_limit, *packed) + body
    flags = 0 if may_fragment else _DONT_FRAGMENT
    fields = (0x45, 0, _IPV4.size + len(body), number % 2**16, flags, hop_limit, protocol)
    checksum = _checksum(_IPV4.pack(*fields, 0, *packed))
    return _IPV4.pack(*fields, checksum, *packed) + body


def _checked(protocol: int, body: bytes, pseudo_header: bytes) -> bytes:
    """The body with its checksum in place: in the seventh byte of UDP's header, in the third of ICMP's."""
    offset = 6 if protocol == socket.IPPROTO_UDP else 2
    checksum = _checksum(pseudo_header + body)
    if protocol == socket.IPPROTO_UDP and checksum == 0:
        checksum = 0xFFFF  # RFC 768: zero says that there is none
    return body[:offset] + struct.pack("!H", checksum) + body[offset + 2 :]


def _checksum(data: bytes) -> int:
    """The Internet checksum, RFC 1071."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data[: len(data) // 2 * 2]))
    if len(data) % 2:
        total += data[-1] << 8
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _packed(address: Address) -> bytes:
    return socket.inet_pton(address.family, address.host.partition("%")[0])
