"""Writes a trace as a capture file for Wireshark: each packet when it was sent, and each copy again when it arrived.

The file has two interfaces, `sent` and `arrived`, and a comment on every packet that says what became of it. Headers
are made up around what was simulated, checksums included.
"""

import socket
import struct
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from .._chaos import Icmp, Packet
from .._net._pcapng import capture_header, capture_packet, udp_body
from .._net._pcapng import ip_packet as packet_of
from ._icmp import ICMP_CODES
from ._trace import Record

_INTERFACES: Final = (b"sent", b"arrived")
_SECOND: Final = 1_000_000_000

_ICMP: Final = struct.Struct("!BBHI")
"""type, code, checksum, rest of the header: the MTU, where there is one"""
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
    return b"".join([capture_header(_INTERFACES), *map(_packet, frames)])


def _frames(record: Record) -> Iterator[_Frame]:
    packet = record.packet
    fates = "; ".join(fate.what for fate in record.fates) or "on its way"
    yield _Frame(packet.sent_at, 0, packet, f"#{packet.number} {'forged, ' * record.injected}{fates}")
    for fate in record.fates:
        if fate.data is not None:
            yield _Frame(fate.at, 1, packet._replace(data=fate.data), f"#{packet.number}")


def _packet(frame: _Frame) -> bytes:
    at_ns = round(frame.at * _SECOND)
    return capture_packet(ip_packet(frame.packet), at_ns=at_ns, interface=frame.interface, comment=frame.comment)


def ip_packet(packet: Packet) -> bytes:
    """The bytes of a simulated packet, as they would have been on a wire."""
    version6 = packet.destination.family == socket.AF_INET6
    if packet.icmp is not None:
        protocol = socket.IPPROTO_ICMPV6 if version6 else socket.IPPROTO_ICMP
        body = _icmp(packet.icmp, version6=version6)
    else:
        protocol = socket.IPPROTO_UDP
        body = udp_body(packet.data, packet.source, packet.destination)
    return packet_of(
        body,
        packet.source,
        packet.destination,
        protocol=protocol,
        hop_limit=packet.hop_limit,
        number=packet.number,
        may_fragment=packet.may_fragment,
    )


def _icmp(icmp: Icmp, *, version6: bool) -> bytes:
    kind, code = ICMP_CODES[icmp.kind][2:] if version6 else ICMP_CODES[icmp.kind][:2]
    return _ICMP.pack(kind, code, 0, icmp.mtu) + ip_packet(icmp.about)[:_QUOTED]
