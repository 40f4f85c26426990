"""Packets as bytes, without a kernel."""

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_udp import Address
from trio_udp.testing import ICMP_KINDS, Icmp, Packet

from .packets import decode_udp_untrusted, encode_icmp, encode_udp, icmp_message, with_checksum

ports = st.integers(0, 65_535)


@st.composite
def packets(draw: st.DrawFn) -> Packet:
    """Datagrams of either version."""
    size = draw(st.sampled_from([4, 16]))
    family = {4: socket.AF_INET, 16: socket.AF_INET6}[size]
    source, destination = (
        Address(socket.inet_ntop(family, draw(st.binary(min_size=size, max_size=size))), draw(ports)) for _ in range(2)
    )
    hops, divisible = draw(st.integers(0, 255)), size == 4 and draw(st.booleans())
    return Packet(draw(st.binary(max_size=200)), source, destination, hop_limit=hops, may_fragment=divisible)


@given(packets())
def test_what_is_encoded_is_decoded_as_it_was(packet: Packet) -> None:
    """Of the time and the number nothing is on the wire."""
    assert decode_udp_untrusted(encode_udp(packet)) == packet


@given(packets())
def test_every_checksum_is_right(packet: Packet) -> None:
    """RFC 1071: what was summed up and the sum itself come to 0xFFFF."""
    data = encode_udp(packet)
    version6 = ":" in packet.source.host
    start = 40 if version6 else 20
    addresses = data[8:40] if version6 else data[12:20]
    assert ones_complement_sum(addresses + struct.pack("!II", len(data) - start, 17) + data[start:]) == 0xFFFF
    assert version6 or ones_complement_sum(data[:20]) == 0xFFFF


@given(packets(), st.sampled_from(ICMP_KINDS), st.integers(0, 65_535))
def test_an_icmp_error_quotes_what_it_is_about(packet: Packet, kind: str, mtu: int) -> None:
    """And its checksum is right too, made by us or, from a raw socket, as version 4 wants it."""
    icmp = Icmp(kind, packet, mtu)
    version6 = ":" in packet.source.host
    data = encode_icmp(icmp, "fd77::fe" if version6 else "10.77.0.254")
    start = 40 if version6 else 20
    message = data[start:]
    assert decode_udp_untrusted(message[8:]) == packet
    pseudo = data[8:40] + struct.pack("!II", len(message), 58) if version6 else b""
    assert ones_complement_sum(pseudo + message) == 0xFFFF
    assert ones_complement_sum(with_checksum(icmp_message(icmp))) == 0xFFFF


def ones_complement_sum(data: bytes) -> int:
    """Straightforward."""
    total = 0
    for (word,) in struct.iter_unpack("!H", data + bytes(len(data) % 2)):
        total += word
        total = (total & 0xFFFF) + (total >> 16)
    return total


@given(
    st.binary(max_size=100) | packets().map(encode_udp).flatmap(lambda data: st.binary(max_size=3).map(data.__add__))
)
def test_decoding_never_fails(data: bytes) -> None:
    """Whatever a kernel writes there."""
    for end in (len(data), len(data) // 2):
        decode_udp_untrusted(data[:end])


@pytest.mark.parametrize("flags", [0x2000, 0x0001])
def test_a_fragment_is_no_datagram(flags: int) -> None:
    """The first one and the others: the wire lets them pass as they are."""
    data = bytearray(encode_udp(Packet(b"text", Address("10.0.0.1", 1), Address("10.0.0.2", 2))))
    data[6:8] = struct.pack("!H", flags)
    assert decode_udp_untrusted(bytes(data)) is None
