"""`tools`: ours, irtt, sockperf, ping and fping: the round trip that each reports, its punctuality, and what it costs.

Each probes its own server on the loopback interface, which for ping and fping is the kernel itself, every millisecond
and then every 200 µs, with 80 bytes behind the IP or UDP header. What a tool says is taken from what it prints. When
its probes left and were answered is taken from a packet socket (`tap`), which is the same for all: a probe is on time
if it left in its own slot, by the rule of `ping`. The processor's shares are of the time that is counted, when the tool
is well under way; the milliseconds are all that its client used, to start and to add up as well.

Nothing is pinned: sockperf has a thread that spins and one that receives, which would share a core. Run as a script
with a tool's name and an address, this is that tool's server.
"""

import contextlib
import functools
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

import children
import measure
import peers
import ping
import probers
import tap
from wire import udp_socket

INTERVALS: Final = {"1 ms": 0.001, "200 µs": 0.0002}
TITLE: Final = "Tools, a probe every {}"
ON_TIME: Final = f"{TITLE.format('1 ms')}: % on time"
ROUND_TRIPS: Final = f"{TITLE.format('1 ms')}: round trip"
_MARGIN: Final = 0.2
"""Seconds that a tool goes on after what is counted."""
_FIRST_PROBE: Final = 15.0
"""Seconds until it comes, at most; sockperf takes two."""
_UNTIL_BOUND: Final = 5.0
_LEAST: Final = 0.2
"""Seconds that are counted, at least: on a busy machine a tool may stand still for longer than a short run lasts."""


class Figures(NamedTuple):
    """One measurement of one tool."""

    median: float
    """Microseconds, as it reports them."""
    p99: float
    wire_median: float
    """The same as they crossed the interface: all of them with the time in the server."""
    wire_p99: float
    on_time: float
    """Percent of the slots."""
    client: float
    """Percent of one processor, under way."""
    server: float | None
    """None where the kernel answers."""
    used: float
    """Milliseconds of processor time that the client took in all."""
    lost: int


@dataclass
class Tools:
    """All of them at one interval."""

    title: str
    on_time: measure.Comparison
    figures: dict[str, list[Figures]] = field(default_factory=dict)

    def comparisons(self) -> list[measure.Comparison]:
        """What the goals are about: who is on time, and the round trips that are reported."""
        round_trips = measure.Comparison(f"{self.title}: round trip", "µs, median", probers.OURS)
        round_trips.skipped = self.on_time.skipped
        for name, samples in self.on_time.samples.items():
            medians = [one.median for one in self.figures[name]]
            round_trips.samples[name] = [
                sample._replace(value=value) for sample, value in zip(samples, medians, strict=True)
            ]
        return [self.on_time, round_trips]

    def problem(self) -> None:
        """None: tools are not judged."""

    def as_dict(self) -> dict[str, object]:
        """Everything measured, for JSON."""
        figures = {name: [one._asdict() for one in taken] for name, taken in self.figures.items()}
        return {"title": self.title, "figures": figures, "skipped": self.on_time.skipped}

    def table(self) -> str:
        """Medians of the rounds in Markdown, and the least and the most of what counts."""
        lines = [
            f"### {self.title}",
            "",
            "| tool | reports, median µs | p99 µs | at the wire, median µs | p99 µs | on time % "
            "| client, processor % | server % | client in all, ms | lost | disturbed |",
            "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
            *(self._row(name) for name in self.figures),
            *(f"| {name} | skipped: {reason} | | | | | | | | | |" for name, reason in self.on_time.skipped.items()),
            "",
            *(f"- {name} reports: {probers.TOOLS[name].meaning}." for name in self.figures),
        ]
        return "\n".join(lines).rstrip()

    def _row(self, name: str) -> str:
        taken = self.figures[name]
        servers = [one.server for one in taken if one.server is not None]
        cells = (
            name,
            _spread([one.median for one in taken]),
            f"{median(one.p99 for one in taken):,.1f}",
            f"{median(one.wire_median for one in taken):,.1f}",
            f"{median(one.wire_p99 for one in taken):,.1f}",
            _spread([one.on_time for one in taken], digits=2),
            _spread([one.client for one in taken]),
            f"{median(servers):.1f}" if servers else "the kernel",
            f"{median(one.used for one in taken):,.0f}",
            str(sum(one.lost for one in taken)),
            self.on_time.disturbed(name),
        )
        return f"| {' | '.join(cells)} |"


def _spread(values: list[float], digits: int = 1) -> str:
    return f"{median(values):,.{digits}f} ({min(values):,.{digits}f}-{max(values):,.{digits}f})"


def run(options: measure.Options) -> list[Tools]:
    """Measure them all, at each interval."""
    return [_compare(interval, options) for interval in INTERVALS]


def _compare(interval: str, options: measure.Options) -> Tools:
    title = TITLE.format(interval)
    on_time = measure.Comparison(f"{title}: % on time", "% on time", probers.OURS)
    found = Tools(title, on_time)
    seconds = INTERVALS[interval]
    reasons = {name: tap.why_not() or _why_not(tool, seconds) for name, tool in probers.TOOLS.items()}
    on_time.skipped = {name: reason for name, reason in reasons.items() if reason}

    def measured(name: str) -> tuple[float, int]:
        figures = _measure(name, seconds, options)
        found.figures.setdefault(name, []).append(figures)
        return figures.on_time, figures.lost

    measure.interleave(on_time, {name: functools.partial(measured, name) for name in probers.TOOLS}, options.rounds)
    return found


def _why_not(tool: probers.Tool, interval: float) -> str | None:
    if tool.program and (reason := peers.why_no_program(tool.program)):
        return reason
    return f"it takes no interval below {tool.least * 1000:g} ms" if interval < tool.least else None


# One measurement


def _measure(name: str, interval: float, options: measure.Options) -> Figures:
    tool, address = probers.TOOLS[name], tap.own_address()
    with _server(name, address, options) as server, tap.listening_for(address) as heard:
        seconds = max(options.seconds, _LEAST)
        call = probers.Call(address, server.port, interval, options.warm_up + seconds + _MARGIN)
        with _Client(tool.client(call), call.seconds + _FIRST_PROBE) as client:
            heard.wait(_FIRST_PROBE)
            time.sleep(options.warm_up)
            before, begin = (_used(client.pid), _used(server.pid)), time.time()
            time.sleep(seconds)
            after, end = (_used(client.pid), _used(server.pid)), time.time()
            out, errors, used = client.wait()
        crossed = _crossed(heard.read(), tool.number)
    sent = {number: at for number, at in crossed.probes.items() if begin <= at < end}
    times = sorted((crossed.answers[number] - at) * 1e6 for number, at in sent.items() if number in crossed.answers)
    if not times:
        raise children.WrongAnswerError(f"{name}: no probe was answered")
    said = tool.read(out, errors)
    shares = [100 * (now - then) / (end - begin) for then, now in zip(before, after, strict=True)]
    return Figures(
        median=said.median,
        p99=said.p99,
        wire_median=median(times),
        wire_p99=probers.percentile(times, 99),
        on_time=ping.share_on_time(sorted(sent.values()), interval, int(seconds / interval)),
        client=shares[0],
        server=shares[1] if server.pid else None,
        used=used * 1000,
        lost=len(sent) - len(times),
    )


class _Crossed(NamedTuple):
    """When, in seconds since 1970, by the probe's number."""

    probes: dict[bytes, float]
    answers: dict[bytes, float]


def _crossed(packets: list[tap.Packet], number: slice) -> _Crossed:
    """The first of each number counts: whatever comes twice is a handshake of the tool's own."""
    found = _Crossed({}, {})
    for packet in packets:
        times = found.probes if packet.is_probe else found.answers
        times.setdefault(packet.data[number], packet.at)
    return found


def _used(pid: int) -> float:
    """Seconds of processor time of a running process, all threads together; 0 for none."""
    # What clock_getcpuclockid(3) makes of a pid; `time` has it for threads only.
    return time.clock_gettime((~pid << 3) | 2) if pid else 0.0


class _Client:
    """A tool under way, whose output nobody reads until it ends, so that nobody is woken up by it."""

    def __init__(self, command: children.Command, seconds: float) -> None:
        self._out, self._errors = tempfile.TemporaryFile("w+"), tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed below
        self._before = _children_used()
        self._seconds = seconds
        self._process = subprocess.Popen(
            command,
            stdout=self._out,
            stderr=self._errors,
            preexec_fn=children.prepare(None, seconds + children.MARGIN),  # noqa: PLW1509 - we have no threads
        )
        self.pid = self._process.pid

    def wait(self) -> tuple[str, str, float]:
        """What it printed, and seconds of processor time it took in all, when it has ended well."""
        code = self._process.wait(self._seconds)
        used = _children_used() - self._before
        for file in (self._out, self._errors):
            file.seek(0)
        out, errors = self._out.read(), self._errors.read()
        if code:
            raise children.WrongAnswerError(f"{self._process.args!r} ended with {code}: {errors[-500:]}")
        return out, errors, used

    def __enter__(self) -> "_Client":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._out.close()
        self._errors.close()


def _children_used() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


# Servers


class _Server(NamedTuple):
    """One under way, or the kernel."""

    pid: int
    port: int


@contextlib.contextmanager
def _server(name: str, address: str, options: measure.Options) -> Iterator[_Server]:
    if probers.TOOLS[name].server is None:
        yield _Server(0, 0)
        return
    command = (sys.executable, __file__, name, address)
    with children.serving(command, options.seconds + _FIRST_PROBE, core=None) as serving:
        port = int(serving.port)
        _wait_until_bound(address, port)
        yield _Server(serving.pid, port)


def _wait_until_bound(address: str, port: int) -> None:
    end = time.monotonic() + _UNTIL_BOUND
    # as in /proc/net/udp: the address as the machine has it in memory
    name = f"{int.from_bytes(map(int, address.split('.')), sys.byteorder):08X}:{port:04X}"
    while name not in Path("/proc/net/udp").read_text(encoding="ascii"):
        if time.monotonic() > end:
            raise children.WrongAnswerError(f"no server listens on {address}:{port}")
        time.sleep(0.01)


def serve(name: str, address: str) -> None:
    """Print a port that is free, and become that tool's server on it."""
    with udp_socket() as sock:
        sock.bind((address, 0))
        port = sock.getsockname()[1]
    print(port, flush=True)
    server = probers.TOOLS[name].server
    if server is not None:
        command = tuple(map(str, server(address, port)))
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # nobody reads what else it prints
        os.execvp(command[0], command)  # noqa: S606 - no shell


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2])
