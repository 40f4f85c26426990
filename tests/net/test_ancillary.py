"""What the kernel says beside a datagram, and what it is told: bytes in, values out, and back."""

import errno
import ipaddress
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_udp._net import Address, Ancillary, Hint
from trio_udp._net import _ancillary as anc
from trio_udp._net._ancillary import (
    NOTHING,
    ControlMessage,
    _split_control,
    read_ancillary,
    read_control,
    read_error_untrusted,
    source_ancillary,
    without_drops,
    write_control,
)

IPV4 = socket.IPPROTO_IP
IPV6 = socket.IPPROTO_IPV6
ANY4 = bytes(4)
LINK_LOCAL = ipaddress.ip_address("fe80::1").packed
SERVER = Address("127.0.0.1", 1060)


def pktinfo6(host: str, interface: int) -> ControlMessage:
    """What Linux says of a datagram sent to this address."""
    return (IPV6, anc.IPV6_PKTINFO, ipaddress.ip_address(host).packed + struct.pack("=I", interface))


def error(number: int, level: int = IPV4, kind: int = anc.IP_RECVERR, *, cut: int = 16) -> ControlMessage:
    """What Linux puts beside a message of the error queue: struct sock_extended_err."""
    return (level, kind, struct.pack("=IBBBBII", number, 2, 3, 3, 0, 0, 0)[:cut])


READ = {
    "nothing": ([], NOTHING),
    "IPv4 destination": (
        [(IPV4, anc.IP_PKTINFO, struct.pack("=i4s4s", 1, socket.inet_aton("127.0.0.2"), ANY4))],
        Ancillary(local="127.0.0.2"),
    ),
    "IPv6 destination": ([pktinfo6("::1", 1)], Ancillary(local="::1")),
    "link-local destination": ([pktinfo6("fe80::1", 2)], Ancillary(local="fe80::1%2")),
    "IPv4 hop limit": ([(IPV4, anc.IP_TTL, struct.pack("=i", 64))], Ancillary(hop_limit=64)),
    "IPv6 hop limit": ([(IPV6, anc.IPV6_HOPLIMIT, struct.pack("=i", 255))], Ancillary(hop_limit=255)),
    "kernel drops": (
        [(socket.SOL_SOCKET, anc.SO_RXQ_OVFL, struct.pack("=I", 2**32 - 1))],
        Ancillary(kernel_drops=2**32 - 1),
    ),
    "several": (
        [(IPV4, anc.IP_TTL, struct.pack("=i", 1)), (socket.SOL_SOCKET, anc.SO_RXQ_OVFL, struct.pack("=I", 7))],
        Ancillary(hop_limit=1, kernel_drops=7),
    ),
    "what nobody asked for": ([(socket.SOL_SOCKET, 9999, b"?")], NOTHING),
}


@pytest.mark.parametrize(("messages", "expected"), READ.values(), ids=READ)
def test_control_messages_are_read(messages: list[ControlMessage], expected: Ancillary) -> None:
    """Each in its own field; what is unknown is passed over."""
    assert read_ancillary(messages) == expected


@pytest.mark.parametrize("local", ["127.0.0.2", "192.0.2.1", "::1", "2001:db8::1", "fe80::1%7"])
def test_the_address_asked_is_the_source_of_the_answer(local: str) -> None:
    """E6: what the kernel said about a request makes the control message of its reply."""
    assert read_ancillary(source_ancillary(local)).local == local


@pytest.mark.parametrize("group", ["224.0.0.1", "ff02::1"])
def test_a_multicast_group_is_no_source(group: str) -> None:
    """The kernel would refuse; it is left to choose instead."""
    assert source_ancillary(group) == []


def test_a_source_on_a_link_names_its_interface() -> None:
    """The same link-local address may exist on two links."""
    assert source_ancillary("fe80::1%7") == [(IPV6, anc.IPV6_PKTINFO, LINK_LOCAL + struct.pack("=I", 7))]
    assert source_ancillary("fe80::1") == [(IPV6, anc.IPV6_PKTINFO, LINK_LOCAL + struct.pack("=I", 0))]


ERRORS = {
    "IPv4": ([error(errno.ECONNREFUSED)], ("127.0.0.1", 1060), "ECONNREFUSED"),
    "IPv6": ([error(errno.EHOSTUNREACH, IPV6, anc.IPV6_RECVERR)], ("::ffff:127.0.0.1", 1060, 0, 0), "EHOSTUNREACH"),
    "behind something else": ([(IPV4, anc.IP_TTL, b"????"), error(errno.EMSGSIZE)], ("127.0.0.1", 1060), "EMSGSIZE"),
    "an errno without a name": ([error(54_321)], ("127.0.0.1", 1060), "54321"),
}


@pytest.mark.parametrize(("messages", "sockaddr", "name"), ERRORS.values(), ids=ERRORS)
def test_an_icmp_error_is_a_hint(messages: list[ControlMessage], sockaddr: tuple[str, int], name: str) -> None:
    """G5: it says where the datagram went, what it was, and what became of it."""
    assert read_error_untrusted(b"quote", messages, sockaddr) == Hint(SERVER, b"quote", name)


NO_ERRORS: dict[str, tuple[list[ControlMessage], tuple[str, int] | None]] = {
    "nothing beside it": ([], ("127.0.0.1", 1060)),
    "something else beside it": ([(IPV4, anc.IP_TTL, struct.pack("=i", 64))], ("127.0.0.1", 1060)),
    "nobody it went to": ([error(errno.ECONNREFUSED)], None),
    "cut short": ([error(errno.ECONNREFUSED, cut=15)], ("127.0.0.1", 1060)),
    "empty": ([error(errno.ECONNREFUSED, cut=0)], ("127.0.0.1", 1060)),
}


@pytest.mark.parametrize(("messages", "sockaddr"), NO_ERRORS.values(), ids=NO_ERRORS)
def test_what_is_no_icmp_error_is_no_hint(messages: list[ControlMessage], sockaddr: tuple[str, int] | None) -> None:
    """The error queue carries other things too, time stamps for instance."""
    assert read_error_untrusted(b"quote", messages, sockaddr) is None


CONTROLS: dict[str, tuple[str | None, int, tuple[str | None, int]]] = {
    "nothing": (None, 0, (None, 0)),
    "IPv4 source": ("127.0.0.2", 0, ("127.0.0.2", 0)),
    "IPv6 source": ("fe80::1%7", 0, ("fe80::1%7", 0)),
    "multicast": ("224.0.0.1", 0, (None, 0)),
}


@pytest.mark.parametrize(("source", "segment", "expected"), CONTROLS.values(), ids=CONTROLS)
def test_control_messages_survive_memory(source: str | None, segment: int, expected: tuple[str | None, int]) -> None:
    """E6: laid out as the kernel wants them, and read as it leaves them."""
    ancillary, size = read_control(write_control(source, segment))
    assert (ancillary.local, size) == expected


def test_drops_are_read_once_for_many_datagrams() -> None:
    """E7: what the last one says; beside them stands what they have in common, so that it need not be kept for each."""

    def control(drops: int) -> bytes:
        counted = struct.pack("@NiiI4x", 20, socket.SOL_SOCKET, anc.SO_RXQ_OVFL, drops) if drops else b""
        return counted + write_control("127.0.0.2", 0)

    assert without_drops([control(drops) for drops in (0, 1, 2, 2**32 - 1)]) == (2**32 - 1, [control(0)] * 4)
    assert without_drops([control(0)]) == (0, [control(0)])
    assert without_drops([b""]) == (0, [b""])
    assert read_control(control(7))[0] == read_control(control(0))[0].losing(7)


@given(st.binary(max_size=300))
def test_control_messages_of_any_bytes_end(control: bytes) -> None:
    """A length that makes no sense neither reads beyond the end nor goes round in circles."""
    split = list(_split_control(control))
    assert len(split) <= len(control) // 16
    assert all(data in control for _, _, data in split)
