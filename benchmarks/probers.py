"""The tools of `tools`: how each is asked to probe, how its server is begun, and what it prints.

Where a tool prints no percentiles, they are taken from what it prints for each probe.
"""

import json
import math
import re
import statistics
import sys
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

import children

OURS: Final = "trio_udp `ping`"
SPINNING: Final = "trio_udp `ping --spin`"
IRTT: Final = "irtt"
SOCKPERF: Final = "sockperf"
PING: Final = "ping (iputils)"
FPING: Final = "fping"
SIZE: Final = 80
"""Bytes of each probe behind the IP header of the ICMP tools and the UDP header of the others."""
_ICMP_HEADER: Final = 8
_OUR_HEADER: Final = 24
_UDP_HEADER: Final = 8
_PER_SOCKPERF: Final = r"percentile {} = +([\d.]+)"
_PER_PING: Final = re.compile(r"time=([\d.]+) ms")


class RoundTrip(NamedTuple):
    """Microseconds."""

    median: float
    p99: float


class Call(NamedTuple):
    """What a tool is asked to do."""

    address: str
    port: int
    interval: float
    """Seconds."""
    seconds: float
    """How long."""

    @property
    def probes(self) -> str:
        """How many."""
        return str(math.ceil(self.seconds / self.interval))


class Tool(NamedTuple):
    """One that is measured."""

    program: str
    """Its file; ours is always there."""
    client: Callable[[Call], children.Command]
    server: Callable[[str, int], children.Command] | None
    """None where the kernel answers."""
    read: Callable[[str, str], RoundTrip]
    """From what it printed to its standard output and error."""
    number: slice
    """Where a probe's number is, which its answer has too; counted from behind the IP header."""
    meaning: str
    """Of the round trip that it reports."""
    least: float = 0.0
    """Seconds between two probes."""


# How they are asked


def _ours(call: Call) -> children.Command:
    size = SIZE - _OUR_HEADER
    options = ("-c", call.probes, "-i", str(call.interval), "-s", str(size), "-W", "1", "-q", "--json")
    return (sys.executable, "-m", "trio_udp", "ping", call.address, "-p", str(call.port), *options)


def _ours_spinning(call: Call) -> children.Command:
    return (*_ours(call), "--spin")


def _irtt(call: Call) -> children.Command:
    options = ("-i", f"{call.interval * 1e6:.0f}us", "-d", f"{call.seconds}s", "-l", str(SIZE), "-Q", "-o", "-")
    return ("irtt", "client", *options, f"{call.address}:{call.port}")


def _sockperf(call: Call) -> children.Command:
    pace = (f"--mps={1 / call.interval:.0f}", "--reply-every=1", "--full-rtt", "-t", str(math.ceil(call.seconds)))
    return ("sockperf", "under-load", "-i", call.address, "-p", str(call.port), "-m", str(SIZE), *pace)


def _ping(call: Call) -> children.Command:
    size = str(SIZE - _ICMP_HEADER)
    return ("ping", "-n", "-c", call.probes, "-i", str(call.interval), "-W", "1", "-s", size, call.address)


def _fping(call: Call) -> children.Command:
    pace = str(call.interval * 1000)  # the one is between targets, the other between the probes to one
    return ("fping", "-q", "-C", call.probes, "-i", pace, "-p", pace, "-b", str(SIZE - _ICMP_HEADER), call.address)


# What they print


def percentile(times: Iterable[float], percent: float) -> float:
    """The least of them that so many percent are not above."""
    ordered = sorted(times)
    return ordered[math.ceil(len(ordered) * percent / 100) - 1]


def read_ours(out: str, errors: str) -> RoundTrip:
    """`ping --json`: the network's share of the round trips."""
    summary = json.loads(out.splitlines()[-1])
    network = summary["network"]
    if not network["count"] or 2 * summary["stamps"].get("kernel", 0) < summary["received"]:
        raise children.WrongAnswerError(f"expected the kernel's stamps and the server's times, got {summary}{errors}")
    return RoundTrip(network["p50_ns"] / 1000, network["p99_ns"] / 1000)


def read_irtt(out: str, errors: str) -> RoundTrip:
    """`irtt client -o -`."""
    trips = json.loads(out)["round_trips"]
    return _of([trip["delay"]["rtt"] / 1000 for trip in trips if "rtt" in trip["delay"]], errors)


def read_sockperf(out: str, errors: str) -> RoundTrip:
    """`sockperf under-load --full-rtt`."""
    found = [re.search(_PER_SOCKPERF.format(percent), out) for percent in (r"50\.000", r"99\.000")]
    if None in found:
        raise children.WrongAnswerError(f"sockperf reported no percentiles: {out[-500:]}{errors}")
    return RoundTrip(*(float(match[1]) for match in found if match))


def read_ping(out: str, errors: str) -> RoundTrip:
    """`ping`."""
    return _of([float(time) * 1000 for time in _PER_PING.findall(out)], errors)


def read_fping(out: str, errors: str) -> RoundTrip:
    """`fping -q -C N`, which prints to its standard error; a dash for what was lost."""
    _, _, times = errors.strip().rpartition(" : ")
    return _of([float(time) * 1000 for time in times.split() if time != "-"], out)


def _of(times: list[float], errors: str) -> RoundTrip:
    if not times:
        raise children.WrongAnswerError(f"no round trip was reported: {errors}")
    return RoundTrip(statistics.median(times), percentile(times, 99))


_OUR_TOOL: Final = Tool(
    "",
    _ours,
    lambda address, port: (sys.executable, "-m", "trio_udp", "serve", address, "-p", str(port)),
    read_ours,
    slice(_UDP_HEADER + 8, _UDP_HEADER + 24),
    "the network: by the kernel's stamps at both ends, less the time in the server",
)
TOOLS: Final[dict[str, Tool]] = {
    OURS: _OUR_TOOL,
    SPINNING: _OUR_TOOL._replace(client=_ours_spinning, meaning="the same"),
    IRTT: Tool(
        "irtt",
        _irtt,
        lambda address, port: ("irtt", "server", "-b", f"{address}:{port}", "-i", "0", "-d", "0"),
        read_irtt,
        slice(_UDP_HEADER + 12, _UDP_HEADER + 16),
        "by the program's own clocks at both ends, less the time in the server's program",
    ),
    SOCKPERF: Tool(
        "sockperf",
        _sockperf,
        lambda address, port: ("sockperf", "server", "-i", address, "-p", str(port)),
        read_sockperf,
        slice(_UDP_HEADER, _UDP_HEADER + 8),
        "by the program's own clock, with the time in the server",
    ),
    PING: Tool(
        "ping",
        _ping,
        None,
        read_ping,
        slice(4, 8),
        "ICMP, answered in the kernel; from the program's clock to the kernel's stamp",
        least=0.001,
    ),
    FPING: Tool(
        "fping",
        _fping,
        None,
        read_fping,
        slice(4, 8),
        "ICMP, answered in the kernel; from the program's clock to the kernel's stamp",
    ),
}
