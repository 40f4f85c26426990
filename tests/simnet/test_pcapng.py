"""The capture file: read back by a reader that shares no code with the writer, and by tshark where there is one."""

import ipaddress
import shutil
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from trio_udp import Address
from trio_udp.testing import ICMP_KINDS, Icmp, Packet, SimNet, delay, drop, replace, simulate
from trio_udp.testing._pcapng import ip_packet


class Captured(NamedTuple):
    """One packet of a capture file."""

    interface: int
    nanoseconds: int
    data: bytes
    comment: str


def blocks(file: bytes) -> Iterator[tuple[int, bytes]]:
    """Kind and body of each block; both lengths must agree."""
    while file:
        kind, length = struct.unpack_from("<II", file)
        assert length % 4 == 0
        assert struct.unpack_from("<I", file, length - 4) == (length,)
        yield kind, file[8 : length - 4]
        file = file[length:]


def options(data: bytes) -> dict[int, bytes]:
    """The options at the end of a block."""
    found = {}
    while data:
        code, length = struct.unpack_from("<HH", data)
        found[code] = data[4 : 4 + length]
        data = data[4 + (length + 3) // 4 * 4 :]
    return found


def read(file: bytes) -> list[Captured]:
    """The packets of a capture file with two interfaces of raw IP at nanoseconds."""
    first, *rest = blocks(file)
    assert first == (0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1))
    interfaces = [options(body[8:]) for kind, body in rest if kind == 1]
    assert [(found[2], found[9]) for found in interfaces] == [(b"sent", b"\x09"), (b"arrived", b"\x09")]
    packets = []
    for kind, body in rest:
        if kind == 6:
            interface, high, low, length, original = struct.unpack_from("<IIIII", body)
            assert length == original
            found = options(body[20 + (length + 3) // 4 * 4 :])
            packets.append(Captured(interface, high << 32 | low, body[20 : 20 + length], found[1].decode()))
    return packets


def sums_to_zero(data: bytes) -> bool:
    """Whether the Internet checksum in these bytes is right: the sum of all words is all ones."""
    data += bytes(len(data) % 2)
    total = sum(int.from_bytes(data[index : index + 2], "big") for index in range(0, len(data), 2))
    return total % 0xFFFF == 0 and total > 0


def captured(tmp_path: Path, main: Any) -> list[Captured]:
    """Run a simulation, and read what it writes."""
    net = SimNet()
    simulate(main, net=net)
    net.pcapng(tmp_path / "trace.pcapng")
    return read((tmp_path / "trace.pcapng").read_bytes())


async def one_to_two(net: SimNet) -> None:
    """Three packets, each with another fate."""
    one, two = net.host("one"), net.host("two")
    sender, receiver = one.open(socket.AF_INET), two.open(socket.AF_INET)
    receiver.bind((two.addresses[0], 1000))
    verdicts = iter([delay(0.25), drop("eaten"), replace(b"other")])
    with net.rule(lambda packet: next(verdicts)):
        for data in (b"first", b"second", b"third"):
            sender.sendto(data, receiver.getsockname())
    net.inject(b"forged", ("203.0.113.9", 9), receiver.getsockname())
    await trio.sleep(1)


def test_a_packet_is_there_when_it_was_sent_and_when_it_arrived(tmp_path: Path) -> None:
    """With nanoseconds, the bytes that arrived, and what became of it as a comment."""
    found = [packet._replace(data=packet.data[28:]) for packet in captured(tmp_path, one_to_two)]
    assert found == [
        (0, 0, b"first", "#1 delivered"),
        (0, 0, b"second", "#2 eaten"),
        (0, 0, b"third", "#3 delivered"),
        (1, 0, b"other", "#3"),
        (0, 0, b"forged", "#4 forged, delivered"),
        (1, 0, b"forged", "#4"),
        (1, 250_000_000, b"first", "#1"),
    ]


@pytest.mark.skipif(shutil.which("tshark") is None, reason="this host has no tshark")
def test_wireshark_finds_nothing_wrong_with_it(tmp_path: Path) -> None:
    """Neither malformed packets nor bad checksums, with ICMP of both versions in it."""

    async def main(net: SimNet) -> None:
        await one_to_two(net)
        for packet in (record.packet for record in list(net.trace)):
            for kind in ICMP_KINDS:
                net.inject_icmp(kind, packet, mtu=1280)
        net.inject_icmp("port unreachable", Packet(b"six", Address("2001:db8::1", 1), Address("2001:db8::2", 2)))

    total = len(captured(tmp_path, main))
    wrong = "_ws.malformed or " + " or ".join(
        f"{name}.checksum.status == 0" for name in ("ip", "udp", "icmp", "icmpv6")
    )
    checked = [*("-o", "ip.check_checksum:TRUE"), *("-o", "udp.check_checksum:TRUE")]
    for display_filter, count in ((wrong, 0), ("udp or icmp or icmpv6", total)):
        command = ["tshark", "-n", "-r", "trace.pcapng", *checked, "-Y", display_filter]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)  # noqa: S603 - ours
        assert len(done.stdout.splitlines()) == count, done.stdout


HOSTS4 = st.sampled_from(["192.0.2.1", "127.0.0.1", "198.51.100.255"])
HOSTS6 = st.sampled_from(["2001:db8::1", "fe80::1%2", "::1"])
PORTS = st.integers(0, 65_535)
HOST_PAIRS = st.tuples(HOSTS4, HOSTS4) | st.tuples(HOSTS6, HOSTS6)


@given(
    data=st.binary(max_size=50),
    hosts=HOST_PAIRS,
    ports=st.tuples(PORTS, PORTS),
    kind=st.none() | st.sampled_from(ICMP_KINDS),
)
def test_headers_say_what_the_packet_says_and_checksums_are_right(
    data: bytes, hosts: tuple[str, str], ports: tuple[int, int], kind: str | None
) -> None:
    """RFC 768, 791, 792, 1071, 4443, 8200; whatever is in the packet."""
    source, destination = (Address(host, port) for host, port in zip(hosts, ports, strict=True))
    packet = Packet(data, source, destination)
    if kind is not None:
        packet = Packet(
            b"", source, destination, icmp=Icmp(kind, packet._replace(source=destination, destination=source))
        )
    header, body, protocol = split(ip_packet(packet))
    assert header == [ipaddress.ip_address(host.partition("%")[0]) for host in hosts]
    if kind is None:
        assert protocol == 17
        assert struct.unpack_from("!HHH", body) == (*ports, 8 + len(data))
        assert body[8:] == data
    else:
        assert protocol == (1 if ":" not in hosts[0] else 58)
        assert split(body[8:])[1][8:] == data


def split(data: bytes) -> tuple[list[Any], bytes, int]:
    """Source and destination, what follows the IP header, and its protocol; lengths and checksums must be right."""
    if data[0] >> 4 == 4:
        assert data[0] == 0x45
        assert sums_to_zero(data[:20])
        assert int.from_bytes(data[2:4], "big") == len(data)
        addresses, body, protocol = (data[12:16], data[16:20]), data[20:], data[9]
    else:
        assert data[0] >> 4 == 6
        assert int.from_bytes(data[4:6], "big") == len(data) - 40
        addresses, body, protocol = (data[8:24], data[24:40]), data[40:], data[6]
    pseudo_header = b"" if protocol == 1 else b"".join(addresses) + struct.pack("!II", len(body), protocol)
    assert sums_to_zero(pseudo_header + body)
    return [ipaddress.ip_address(address) for address in addresses], body, protocol
