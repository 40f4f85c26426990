"""`growth`: what a request costs as the work grows, and whether anything grows faster than the work does.

Our client with 1 to 100,000 requests in flight, a task each and from one task, asks the C echo. `serve` with a `def`
handler is asked by the load generator, with 16 to 65,000 bytes of payload, from 1 to 10,000 sources, and with up to 99
percent of all datagrams being junk; then under a flood of junk besides, as fast as the kernel takes it.

The cost is processor time of the process that is measured, which a neighbour lengthens less than the wall's. The check:
where the work is ten times as much, cost and memory in all are at most twenty times as much.

Run as a script with `tasks` or `many`, the number in flight and the server's port, this is that client.
"""

import contextlib
import functools
import itertools
import math
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

import children
import measure
import servers
import trio
from wire import PAYLOAD

import trio_udp

IN_FLIGHT: Final = (1, 10, 100, 1000, 10_000, 100_000)
PAYLOADS: Final = (16, 64, 256, 1200, 8000, 65_000)
PEERS: Final = (1, 10, 100, 1000, 10_000)
JUNK: Final = (0, 50, 90, 99, 100)
FLOOD: Final = 100
LEAST_REQUESTS: Final = 5000
LONGEST: Final = 30.0
"""Seconds for a client with many requests in flight."""
STEP: Final = 8
"""How many times as much work one point must be than another for the two to be compared."""
STEEPEST: Final = 1.3
"""Exponent of the work by which the cost in all may grow: 20 times for 10 times the work. Linear is 1."""


class Point(NamedTuple):
    """One measurement."""

    rate: float
    """Answers a second."""
    median: float
    """Microseconds."""
    p99: float
    lost: float
    """Share of the transmissions that brought no answer in time."""
    cost: float
    """Processor microseconds a request; of a client, a transmission: what the kernel lost costs more of these."""
    memory: float
    """KiB, of which the process had more at its greatest than before."""


@dataclass
class Growth:
    """One kind of work that grows."""

    title: str
    what: str
    repeated: bool
    """Whether the work in all is as many requests as the number says; otherwise the work is in each request."""
    points: dict[str, list[Point]] = field(default_factory=dict)
    work: dict[str, float] = field(default_factory=dict)
    """How much that is, for the points that take part in the check."""
    skipped: str = ""
    is_judged: bool = True

    def median(self, name: str) -> Point:
        """Of all rounds, figure by figure."""
        return Point(*(statistics.median(values) for values in zip(*self.points[name], strict=True)))

    def exponent(self) -> float | None:
        """The steepest with which the cost in all grows with the work; None without two points far enough apart."""
        return _steepest(
            [(work, self.median(name).cost * (work if self.repeated else 1)) for name, work in self.work.items()]
        )

    def memory_exponent(self) -> float | None:
        """The same for memory, where the work is kept in memory; what is bounded anyway has none."""
        points = [(work, max(self.median(name).memory, 1.0)) for name, work in self.work.items()]
        return _steepest(points) if self.repeated else None

    @property
    def is_linear(self) -> bool:
        """Whether nothing that was measured speaks against it."""
        return max(self.exponent() or 0.0, self.memory_exponent() or 0.0) <= STEEPEST

    def problem(self) -> str | None:
        """That it grows too fast, if it does; a short run is too short to judge."""
        return None if self.is_linear or not self.is_judged else "the cost grows faster than the work"

    def as_dict(self) -> dict[str, object]:
        """Everything measured, for JSON."""
        points = {name: [point._asdict() for point in taken] for name, taken in self.points.items()}
        return {
            **asdict(self),
            "points": points,
            "exponent": self.exponent(),
            "memory_exponent": self.memory_exponent(),
        }

    def table(self) -> str:
        """Everything measured, in Markdown."""
        lines = [
            f"### {self.title}",
            "",
            f"| {self.what} | requests/s | min-max | median µs | p99 µs | lost % | processor µs each | memory KiB |",
            "|--:|--:|--:|--:|--:|--:|--:|--:|",
            *(self._row(name) for name in self.points),
            "",
        ]
        return "\n".join([*lines, f"Skipped: {self.skipped}." if self.skipped else self._verdict()])

    def _row(self, name: str) -> str:
        rates = [point.rate for point in self.points[name]]
        rate, median, p99, lost, cost, memory = self.median(name)
        spread = f"{min(rates):,.0f}-{max(rates):,.0f}"
        figures = f"{median:,.0f} | {p99:,.0f} | {100 * lost:.2f} | {cost:.1f} | {memory:,.0f}"
        return f"| {name} | {rate:,.0f} | {spread} | {figures} |"

    def _verdict(self) -> str:
        exponent = self.exponent()
        if exponent is None:
            return "Too few points to say how the cost grows."
        memory = self.memory_exponent()
        more = "" if memory is None else f", and memory to that of {memory:.2f}"
        bound = "within" if self.is_linear else "**beyond**"
        return f"The cost in all grows at most as the work to the power of {exponent:.2f}{more}: {bound} {STEEPEST}."


def _steepest(points: list[tuple[float, float]]) -> float | None:
    pairs = itertools.pairwise(_steps(points))
    return max((math.log(b[1] / a[1]) / math.log(b[0] / a[0]) for a, b in pairs), default=None)


def _steps(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The last of them, and those before it that are each a step less."""
    steps: list[tuple[float, float]] = []
    for each in reversed(points):
        if not steps or steps[-1][0] >= STEP * each[0]:
            steps.append(each)
    return steps[::-1]


def run(options: measure.Options) -> list[Growth]:
    """Measure it all, or as much of it as a short run allows."""
    no_compiler = children.why_no_compiler()
    if no_compiler:
        return [Growth("Growth", "", repeated=False, skipped=no_compiler)]
    with children.load_program() as program:
        ask = functools.partial(_ask, program)
        load = functools.partial(_load, program, options)
        few = 1000 if options.smoke else math.inf
        return [
            _grow(
                Growth(
                    f"Growth: requests in flight, {'a task each' if mode == 'tasks' else '`request_many`'}", "N", True
                ),
                {f"{n:,}": (n, functools.partial(ask, mode, n)) for n in IN_FLIGHT if n <= few},
                options,
            )
            for mode in CLIENTS
        ] + [
            _grow(
                Growth("Growth: payload", "bytes", repeated=False),
                {f"{n:,}": (n, functools.partial(load, children.Load(16, 16, n))) for n in PAYLOADS},
                options,
            ),
            _grow(
                Growth("Growth: sources that ask", "sources", repeated=True),
                {f"{n:,}": (n, functools.partial(load, children.Load(n, 256))) for n in PEERS if n <= few},
                options,
            ),
            _grow(
                Growth("Growth: share of junk", "junk %", repeated=False),
                {
                    "flood" if n == FLOOD else f"{n}": (
                        None if n == FLOOD else 100 / (100 - n),
                        functools.partial(load, children.Load(16, 16, junk=n)),
                    )
                    for n in JUNK
                },
                options,
            ),
        ]


def _grow(
    growth: Growth, points: Mapping[str, tuple[float | None, Callable[[], Point]]], options: measure.Options
) -> Growth:
    growth.is_judged = not options.smoke
    growth.work = {name: work for name, (work, _) in points.items() if work is not None}
    for number in range(1, options.rounds + 1):
        print(f"{growth.title}: round {number} of {options.rounds}", file=sys.stderr)
        for name, (_, measure_point) in points.items():
            growth.points.setdefault(name, []).append(measure_point())
    return growth


# The server


def _load(program: Path, options: measure.Options, load: children.Load) -> Point:
    with children.serving(servers.command(servers.DEF), options.seconds) as server:
        seconds, memory = _used(server.pid)
        count = load.put_on(server.port, program, warm_up=0, seconds=options.seconds)
        more_seconds, more_memory = _used(server.pid)
    lost = count.lost / (count.answers + count.lost)
    cost = (more_seconds - seconds) / count.answers * 1e6
    return Point(count.rate, count.median, count.p99, lost, cost, more_memory - memory)


def _used(pid: int) -> tuple[float, float]:
    """Processor seconds so far, and KiB at the most."""
    nanoseconds = Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[0]
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return int(nanoseconds) / 1e9, next(float(line.split()[1]) for line in status if line.startswith("VmHWM"))


# The client


def _ask(program: Path, mode: str, in_flight: int) -> Point:
    with children.serving((program, "echo-many"), LONGEST) as server:
        output = children.run([sys.executable, __file__, mode, str(in_flight), server.port], LONGEST)
    return Point(*map(float, output.split()))


class Answers:
    """What came, and when the asking ends."""

    def __init__(self, in_flight: int) -> None:
        self.wanted = max(2 * in_flight, LEAST_REQUESTS)
        self.payloads = itertools.repeat(PAYLOAD, self.wanted)
        self.times: list[float] = []

    def take(self, reply: trio_udp.Reply) -> None:
        """Count one."""
        if reply.payload != PAYLOAD:
            raise children.WrongAnswerError("a wrong answer")
        self.times.append(reply.rtt)


async def _tasks(client: trio_udp.Client, in_flight: int, answers: Answers) -> None:
    async def ask() -> None:
        for payload in answers.payloads:
            with contextlib.suppress(trio_udp.NoReply):
                answers.take(await client.exchange(payload))

    async with trio.open_nursery() as nursery:
        for _ in range(in_flight):
            nursery.start_soon(ask)


async def _many(client: trio_udp.Client, in_flight: int, answers: Answers) -> None:
    async with client.request_many(answers.payloads) as results:
        async for result in results:
            if result.reply is not None:
                answers.take(result.reply)


CLIENTS: Final = {"tasks": _tasks, "many": _many}


async def _main(mode: str, in_flight: int, port: int) -> None:
    answers = Answers(in_flight)
    async with trio_udp.open_client("127.0.0.1", port, max_in_flight=in_flight + 1) as client:
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        begin, begin_cpu = time.perf_counter(), time.process_time()
        with trio.move_on_after(LONGEST):
            await CLIENTS[mode](client, in_flight, answers)
        cost, seconds = time.process_time() - begin_cpu, time.perf_counter() - begin
        sent = client.statistics().endpoint.datagrams_sent
        more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
    times, count = sorted(answers.times), len(answers.times)
    median, p99 = times[count // 2] * 1e6, times[count * 99 // 100] * 1e6
    print(count / seconds, median, p99, 1 - count / sent, cost / sent * 1e6, more)


if __name__ == "__main__":
    trio.run(_main, sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
