"""IP packets as bytes: what a TUN descriptor reads and writes, and what a raw socket sends.

UDP and ICMP errors, over IPv4 and IPv6, with every checksum right whatever was done to the payload.
"""

import socket
import struct
from typing import Final

from trio_udp import Address
from trio_udp._net._icmp import ICMP_CODES
from trio_udp.testing import Icmp, Packet

# version and header length, class, length, id, flags and offset, hop limit, protocol, checksum, source, destination
_IPV4: Final = struct.Struct("!BBHHHBBH4s4s")
# version, class and label; length, next header, hop limit, source, destination
_IPV6: Final = struct.Struct("!IHBB16s16s")
# source, destination, length, checksum
_UDP: Final = struct.Struct("!HHHH")

_DONT_FRAGMENT: Final = 0x4000
_FRAGMENT: Final = 0x3FFF
"""More fragments, and the offset."""
_QUOTED: Final = {False: 576 - 28, True: 1280 - 48}
"""Bytes of the packet that an ICMP error repeats (RFC 1812, RFC 4443), by whether it is version 6."""


def decode_udp_untrusted(data: bytes) -> Packet | None:
    """The datagram in this IP packet, with neither a time nor a number; None for anything else, fragments among it."""
    version = data[0] >> 4 if data else 0
    if version == 4 and len(data) >= 28:
        _, _, _, _, fragment, hops, protocol, _, source, destination = _IPV4.unpack_from(data)
        start, family = (data[0] & 15) * 4, socket.AF_INET
        fragment, may_fragment = fragment & _FRAGMENT, not fragment & _DONT_FRAGMENT
    elif version == 6 and len(data) >= 48:
        _, _, protocol, hops, source, destination = _IPV6.unpack_from(data)
        start, family, fragment, may_fragment = 40, socket.AF_INET6, 0, False
    else:
        return None
    if protocol != socket.IPPROTO_UDP or fragment or len(data) < start + 8:
        return None
    from_port, to_port, length, _ = _UDP.unpack_from(data, start)
    return Packet(
        data[start + 8 : start + length],
        Address(socket.inet_ntop(family, source), from_port),
        Address(socket.inet_ntop(family, destination), to_port),
        hop_limit=hops,
        may_fragment=may_fragment,
    )


def encode_udp(packet: Packet) -> bytes:
    """The IP packet that carries this datagram."""
    source, destination = _packed(packet.source), _packed(packet.destination)
    length = _UDP.size + len(packet.data)
    pseudo = source + destination + struct.pack("!II", socket.IPPROTO_UDP, length)
    ports = _UDP.pack(packet.source.port, packet.destination.port, length, 0)
    checksum = _checksum(pseudo + ports + packet.data) or 0xFFFF
    udp = _UDP.pack(packet.source.port, packet.destination.port, length, checksum) + packet.data
    flags = 0 if packet.may_fragment else _DONT_FRAGMENT
    return _in_ip(socket.IPPROTO_UDP, source, destination, udp, hops=packet.hop_limit, flags=flags)


def encode_icmp(icmp: Icmp, router: str) -> bytes:
    """The IP packet in which a router tells the sender of a packet what became of it."""
    version6 = ":" in icmp.about.source.host
    source, destination = _packed(Address(router, 0)), _packed(icmp.about.source)
    protocol = socket.IPPROTO_ICMPV6 if version6 else socket.IPPROTO_ICMP
    message = icmp_message(icmp)
    pseudo = source + destination + struct.pack("!II", len(message), protocol) if version6 else b""
    message = message[:2] + struct.pack("!H", _checksum(pseudo + message)) + message[4:]
    return _in_ip(protocol, source, destination, message)


def icmp_message(icmp: Icmp) -> bytes:
    """The ICMP message alone, its checksum 0."""
    version6 = ":" in icmp.about.source.host
    kind, code = ICMP_CODES[icmp.kind][2:] if version6 else ICMP_CODES[icmp.kind][:2]
    return struct.pack("!BBHI", kind, code, 0, icmp.mtu) + encode_udp(icmp.about)[: _QUOTED[version6]]


def with_checksum(message: bytes) -> bytes:
    """An ICMP message with its checksum, as version 4 has it; for version 6 the kernel fills it in."""
    return message[:2] + struct.pack("!H", _checksum(message)) + message[4:]


def _in_ip(
    protocol: int, source: bytes, destination: bytes, content: bytes, *, hops: int = 64, flags: int = 0
) -> bytes:
    """The IP packet around a datagram or a message."""
    if len(source) == 16:
        return _IPV6.pack(0x60000000, len(content), protocol, hops, source, destination) + content
    length = _IPV4.size + len(content)
    header = _IPV4.pack(0x45, 0, length, 0, flags, hops, protocol, 0, source, destination)
    return header[:10] + struct.pack("!H", _checksum(header)) + header[12:] + content


def _packed(address: Address) -> bytes:
    return socket.inet_pton(address.family, address.host)


def _checksum(data: bytes) -> int:
    """RFC 1071. A number modulo 65,535 is the sum of its 16-bit digits, with the carries added."""
    total = int.from_bytes(data + bytes(len(data) % 2), "big")
    return 0xFFFF - (total % 0xFFFF or (0xFFFF if total else 0))
