"""Writes a trace as a capture file for Wireshark: each packet when it was sent, and each copy again when it arrived.

The file has two interfaces, `sent` and `arrived`, and a comment on every packet that says what became of it. Headers
are made up around what was simulated, checksums included. The format is draft-ietf-opsawg-pcapng; packets are raw IP.
"""

import socket
import struct
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from .._chaos import Icmp, Packet
from .._net import Address
from ._icmp import ICMP_CODES
from ._trace import Record

_SECTION, _INTERFACE, _PACKET = 0x0A0D0D0A, 1, 6
_BYTE_ORDER: Final = 0x1A2B3C4D
_RAW_IP: Final = 101
"""LINKTYPE_RAW: the packet begins with the IP header."""
_END, _COMMENT, _NAME, _RESOLUTION = 0, 1, 2, 9
_NANOSECONDS: Final = 9
_INTERFACES: Final = (b"sent", b"arrived")

_IPV4: Final = struct.Struct("!BBHHHBBH4s4s")
"""version and length, service, total length, id, flags and offset, TTL, protocol, checksum, source, destination"""
_IPV6: Final = struct.Struct("!IHBB16s16s")
"""version, class and label; payload length, next header, hop limit, source, destination"""
_UDP: Final = struct.Struct("!HHHH")
"""source port, destination port, length, checksum"""
_ICMP: Final = struct.Struct("!BBHI")
"""type, code, checksum, rest of the header: the MTU, where there is one"""
_DONT_FRAGMENT: Final = 0x4000
_QUOTED: Final = 548
"""Bytes of the packet that an ICMP error quotes (RFC 1812: as much as fits 576 bytes)."""


class _Frame(NamedTuple):
    at: float
    interface: int
    packet: Packet
    comment: str


def capture(records: Iterable[Record]) -> bytes:
    """The file, whole."""
    frames = sorted((frame for record in records for frame in _frames(record)), key=lambda frame: frame.at)
    blocks = [_section(), *map(_interface, _INTERFACES), *map(_packet, frames)]
    return b"".join(blocks)


def _frames(record: Record) -> Iterator[_Frame]:
    packet = record.packet
    fates = "; ".join(fate.what for fate in record.fates) or "on its way"
    yield _Frame(packet.sent_at, 0, packet, f"#{packet.number} {'forged, ' * record.injected}{fates}")
    for fate in record.fates:
        if fate.data is not None:
            yield _Frame(fate.at, 1, packet._replace(data=fate.data), f"#{packet.number}")


def _section() -> bytes:
    return _block(_SECTION, struct.pack("=IHHq", _BYTE_ORDER, 1, 0, -1))


def _interface(name: bytes) -> bytes:
    options = _option(_NAME, name) + _option(_RESOLUTION, bytes([_NANOSECONDS])) + _option(_END, b"")
    return _block(_INTERFACE, struct.pack("=HHI", _RAW_IP, 0, 0) + options)


def _packet(frame: _Frame) -> bytes:
    data = ip_packet(frame.packet)
    at = round(frame.at * 10**_NANOSECONDS)
    head = struct.pack("=IIIII", frame.interface, at >> 32, at & 0xFFFFFFFF, len(data), len(data))
    return _block(_PACKET, head + _padded(data) + _option(_COMMENT, frame.comment.encode()) + _option(_END, b""))


def _block(kind: int, body: bytes) -> bytes:
    length = struct.pack("=I", 12 + len(body))
    return struct.pack("=I", kind) + length + body + length


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("=HH", code, len(value)) + _padded(value)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def ip_packet(packet: Packet) -> bytes:
    """The bytes of a simulated packet, as they would have been on a wire."""
    version6 = packet.destination.family == socket.AF_INET6
    if packet.icmp is not None:
        protocol = socket.IPPROTO_ICMPV6 if version6 else socket.IPPROTO_ICMP
        body = _icmp(packet.icmp, version6=version6)
    else:
        protocol = socket.IPPROTO_UDP
        body = _UDP.pack(packet.source.port, packet.destination.port, _UDP.size + len(packet.data), 0) + packet.data
    source, destination = _packed(packet.source), _packed(packet.destination)
    pseudo_header = source + destination + struct.pack("!II", len(body), protocol)
    body = _checked(protocol, body, b"" if protocol == socket.IPPROTO_ICMP else pseudo_header)
    if version6:
        return _IPV6.pack(6 << 28, len(body), protocol, packet.hop_limit, source, destination) + body
    flags = 0 if packet.may_fragment else _DONT_FRAGMENT
    fields = (0x45, 0, _IPV4.size + len(body), packet.number % 2**16, flags, packet.hop_limit, protocol)
    checksum = _checksum(_IPV4.pack(*fields, 0, source, destination))
    return _IPV4.pack(*fields, checksum, source, destination) + body


def _icmp(icmp: Icmp, *, version6: bool) -> bytes:
    kind, code = ICMP_CODES[icmp.kind][2:] if version6 else ICMP_CODES[icmp.kind][:2]
    return _ICMP.pack(kind, code, 0, icmp.mtu) + ip_packet(icmp.about)[:_QUOTED]


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
