"""The capture file: every datagram of a run, read back by what shares no code with the writer."""

import shutil
import subprocess
from pathlib import Path

import pytest
import trio

from trio_udp import Address
from trio_udp.measure import Captured, Fixed, open_prober, pcapng_header, pcapng_packet
from trio_udp.testing import SimNet, simulate

from ..networks import (
    NetworkName,
    echo,
    network_fixture,  # noqa: F401 - pytest finds it by its name, network
    serving,
)


async def test_every_datagram_of_a_run_is_told_of(network: NetworkName) -> None:
    """Probes, replies and the server's last word, with whose they are and when."""
    seen: list[Captured] = []
    async with serving(echo, host="127.0.0.1") as server, open_prober(*server.address) as prober:
        found = await prober.run(Fixed(0.001), count=3, on_datagram=seen.append)
    sent, came = ([each for each in seen if each.is_sent is way] for way in (True, False))
    assert (len(sent), len(came)) == (4, 4)
    ours = Address("127.0.0.1", prober.address.port)
    assert {(each.source, each.destination) for each in sent} == {(ours, server.address)}
    assert {(each.source, each.destination) for each in came} == {(server.address, ours)}
    assert {len(each.data) for each in seen[:6]} == {80}
    assert all(0 <= found.at_ns - each.at_ns < 60e9 for each in seen)


def test_what_strangers_send_is_told_of_too_and_what_could_not_be_sent_is_not() -> None:
    """It is the wire that is shown, not what was believed."""
    seen: list[Captured] = []
    stranger = Address("203.0.113.9", 9)

    async def main(net: SimNet) -> None:
        server, client = net.host("server", "192.0.2.11"), net.host("client", "192.0.2.22")
        with client.here():
            async with open_prober(server.addresses[0], 7) as prober:

                def tap(datagram: Captured) -> None:
                    seen.append(datagram)
                    if datagram.is_sent:
                        net.inject(b"FAKE", stranger, datagram.source)

                await prober.run(Fixed(0.1), count=1, wait=0.5, on_datagram=tap)
                await trio.sleep(0)

    simulate(main, net=SimNet(1))
    assert [(each.is_sent, each.source.host) for each in seen] == [(True, "192.0.2.22"), (False, "203.0.113.9")]
    assert seen[1].data == b"FAKE"


@pytest.mark.skipif(shutil.which("tshark") is None, reason="this host has no tshark")
@pytest.mark.parametrize(("one", "other"), [("192.0.2.1", "192.0.2.2"), ("fe80::1%2", "2001:db8::2")])
def test_tshark_reads_it_and_finds_nothing_wrong(tmp_path: Path, one: str, other: str) -> None:
    """Addresses, ports, payload, time, hop limit, the interface by its name; and checksums are right."""
    here, there = Address(one, 1000), Address(other, 2000)
    at_ns = 1_700_000_000_123_456_789
    datagrams = [
        Captured(at_ns, here, there, b"asked", is_sent=True),
        Captured(at_ns + 1, there, here, b"answer", hop_limit=57),
    ]
    file = pcapng_header() + b"".join(map(pcapng_packet, datagrams))
    (tmp_path / "run.pcapng").write_bytes(file)
    version = "ipv6" if ":" in one else "ip"
    fields = ["frame.interface_name", "udp.srcport", "udp.dstport", "udp.payload", "frame.time_epoch"]
    hops = "ipv6.hlim" if version == "ipv6" else "ip.ttl"
    options = [part for field in (*fields, hops, "udp.checksum.status") for part in ("-e", field)]
    checked = [*("-o", "ip.check_checksum:TRUE"), *("-o", "udp.check_checksum:TRUE")]
    done = subprocess.run(  # noqa: S603 - ours
        ["tshark", "-n", "-r", "run.pcapng", "-T", "fields", *checked, *options],  # noqa: S607 - the one people have
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert [line.split("\t") for line in done.stdout.splitlines()] == [
        ["sent", "1000", "2000", b"asked".hex(), "1700000000.123456789", "64", "1"],
        ["received", "2000", "1000", b"answer".hex(), "1700000000.123456790", "57", "1"],
    ]
