"""The datagrams of a run as a capture file, which Wireshark and tshark read."""

from typing import Final, NamedTuple

from .._net import Address
from .._net._pcapng import capture_header, capture_packet, ip_packet, udp_body

_INTERFACES: Final = (b"received", b"sent")
_USUAL_HOP_LIMIT: Final = 64


class Captured(NamedTuple):
    """A datagram that was sent or came."""

    at_ns: int
    """The wall clock's nanoseconds since 1970: of what came by the kernel's where it says so, of what was sent ours."""
    source: Address
    destination: Address
    data: bytes
    hop_limit: int | None = None
    """What was left of it; None where the kernel does not say, or of what was sent."""
    is_sent: bool = False


def pcapng_header() -> bytes:
    """The beginning of a file, with the interfaces `received` and `sent`."""
    return capture_header(_INTERFACES)


def pcapng_packet(datagram: Captured) -> bytes:
    """A datagram in it. Its headers are made up around it, with checksums that are right."""
    body = udp_body(datagram.data, datagram.source, datagram.destination)
    hop_limit = _USUAL_HOP_LIMIT if datagram.hop_limit is None else datagram.hop_limit
    packet = ip_packet(body, datagram.source, datagram.destination, hop_limit=hop_limit)
    return capture_packet(packet, at_ns=datagram.at_ns, interface=int(datagram.is_sent))
