"""Writes a trace as a capture file for Wireshark: each packet when it was sent, and each copy again when it arrived.

The file has two interfaces, `sent` and `arrived`, and a comment on every packet that says what became of it. Headers
are made up around what was simulated, checksums included.
"""

import socket
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from .._chaos import Packet
from .._net._icmp import icmp_error, icmp_protocol
from .._net._pcapng import capture_header, capture_packet, udp_body
from .._net._pcapng import ip_packet as packet_of
from ._trace import Record

_INTERFACES: Final = (b"sent", b"arrived")
_SECOND: Final = 1_000_000_000


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
    if packet.icmp is not None:
        protocol = icmp_protocol(packet.destination.family)
        body = icmp_error(packet.icmp.kind, ip_packet(packet.icmp.about), mtu=packet.icmp.mtu)
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
