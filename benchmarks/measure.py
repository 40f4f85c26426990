"""What the benchmarks share: child processes that end, interleaved rounds, and tables that show their spread.

Figures from a machine with neighbours are worth little, so: candidates take turns (A B C, A B C, …), a ratio is taken
within one round, where the neighbours were the same for both, and the table says how often somebody else was running.
"""

import asyncio
import contextlib
import importlib.util
import os
import platform
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import IO, Final, NamedTuple

HERE: Final = Path(__file__).parent
DISTURBED: Final = 0.1
"""Processor seconds a second, used by processes that are not ours, from which a measurement counts as disturbed."""
_SHORTEST: Final = 0.4
"""Seconds; in less the kernel's counters of 10 ms say too little about others."""
_MARGIN: Final = 20
"""Seconds a child may live beyond its measurement, whatever becomes of us."""


class Options(NamedTuple):
    """How long to measure."""

    rounds: int
    seconds: float
    """Of each measurement, after a quarter of it as warm-up."""
    smoke: bool = False
    """Whether only to see that everything works."""

    @property
    def warm_up(self) -> float:
        """Seconds of each measurement that do not count."""
        return self.seconds / 4


class WrongAnswerError(Exception):
    """A candidate that does not do its work must not have a figure."""


class Sample(NamedTuple):
    """One measurement."""

    value: float
    lost: int
    """Requests that had no answer in time."""
    others: float | None
    """Processor seconds a second that others used meanwhile; None where that is not known."""


class Count(NamedTuple):
    """What a load generator or a client of ours printed."""

    answers: int
    seconds: float
    lost: int
    stale: int
    wrong: int

    @property
    def result(self) -> tuple[float, int]:
        """The measurement: answers a second, and requests lost."""
        return self.answers / self.seconds, self.lost


def read_count(output: str) -> Count:
    """Parse it; raises `WrongAnswerError` unless there were answers and all were right."""
    answers, seconds, lost, stale, wrong = output.split()
    count = Count(int(answers), float(seconds), int(lost), int(stale), int(wrong))
    if count.wrong or not count.answers:
        raise WrongAnswerError(f"expected right answers only, got {count}")
    return count


# Children


class Cores(NamedTuple):
    """Where servers and where those who ask them run; None where processes cannot be pinned."""

    server: int | None
    client: int | None

    def __str__(self) -> str:
        if self.server is None:
            return "nothing is pinned"
        return f"servers on core {self.server}, clients and load generator on core {self.client}"


def choose_cores() -> Cores:
    """Two different ones, if we have two."""
    if not hasattr(os, "sched_getaffinity"):
        return Cores(None, None)
    ours = sorted(os.sched_getaffinity(0))
    return Cores(ours[0], ours[-1])


CORES: Final = choose_cores()


def _prepare(core: int | None, lifetime: float) -> Callable[[], None]:
    def prepare() -> None:
        signal.alarm(int(lifetime))  # survives exec: the child ends even if we are killed
        if core is not None:
            os.sched_setaffinity(0, {core})

    return prepare


def run(
    command: Sequence[str | Path],
    options: Options,
    *,
    core: int | None,
    environment: Mapping[str, str] | None = None,
) -> str:
    """The output of a command that ends by itself; in our environment, or another."""
    lifetime = _MARGIN + options.seconds * 2
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=lifetime,
        env=environment,
        preexec_fn=_prepare(core, lifetime),
    )
    return done.stdout


@contextlib.contextmanager
def serving(command: Sequence[str | Path], options: Options) -> Iterator[str]:
    """Start a server that prints its port, and kill it at the end."""
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=_prepare(CORES.server, _MARGIN + options.seconds * 2),  # noqa: PLW1509 - we have no threads
    ) as process:
        try:
            yield _first_line(process.stdout)
        finally:
            process.kill()


def _first_line(output: IO[str] | None) -> str:
    line = output.readline().strip() if output else ""
    if not line:
        raise WrongAnswerError("the server ended without printing its port")
    return line


@contextlib.contextmanager
def compiled(source: Path) -> Iterator[Path | None]:
    """The program made of a C source file; None if there is no compiler. `CC` names another one, or a missing one."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        yield None
        return
    with tempfile.TemporaryDirectory() as directory:
        program = Path(directory) / source.stem
        subprocess.run([compiler, "-O2", "-o", program, source], check=True, timeout=_MARGIN)
        yield program


# uvloop, the best peer, is optional


def why_no_uvloop() -> str | None:
    """Why it cannot take part, if it cannot."""
    return None if importlib.util.find_spec("uvloop") else "uvloop is not installed"


def run_on_uvloop(main: Coroutine[object, object, None]) -> None:
    """As `asyncio.run`, on uvloop's loop."""
    with asyncio.Runner(loop_factory=importlib.import_module("uvloop").new_event_loop) as runner:
        runner.run(main)


# Rounds


@dataclass
class Comparison:
    """Candidates measured side by side."""

    title: str
    unit: str
    base: str
    """The candidate the others are divided by."""
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    """Candidates that cannot run here, and why."""
    notes: list[str] = field(default_factory=list)

    def values(self, name: str) -> list[float]:
        """A candidate's figures, round by round."""
        return [sample.value for sample in self.samples[name]]

    def ratios(self, name: str, base: str | None = None) -> list[float]:
        """A candidate's figures divided by the base's of the same round."""
        return [a / b for a, b in zip(self.values(name), self.values(base or self.base), strict=True)]

    def as_dict(self) -> dict[str, object]:
        """Everything measured, for JSON."""
        samples = {name: [sample._asdict() for sample in taken] for name, taken in self.samples.items()}
        return {**vars(self), "samples": samples}

    def table(self) -> str:
        """Everything measured, in Markdown."""
        lines = [
            f"### {self.title}",
            "",
            f"| candidate | {self.unit} | min-max | ÷ {self.base} | min-max | lost | disturbed |",
            "|---|--:|--:|--:|--:|--:|--:|",
            *(self._row(name) for name in self.samples),
        ]
        lines += [f"| {name} | skipped: {reason} | | | | | |" for name, reason in self.skipped.items()]
        return "\n".join([*lines, "", *self.notes])

    def _row(self, name: str) -> str:
        values, ratios, samples = self.values(name), self.ratios(name), self.samples[name]
        digits = 0 if median(values) >= 1000 else 1
        others = [sample.others for sample in samples if sample.others is not None]
        disturbed = sum(share >= DISTURBED for share in others)
        cells = (
            name,
            f"{median(values):,.{digits}f}",
            f"{min(values):,.{digits}f}-{max(values):,.{digits}f}",
            f"{median(ratios):.2f}",
            f"{min(ratios):.2f}-{max(ratios):.2f}",
            str(sum(sample.lost for sample in samples)),
            f"{disturbed} of {len(others)}" if others else "not known",
        )
        return f"| {' | '.join(cells)} |"


def interleave(
    comparison: Comparison, candidates: Mapping[str, Callable[[], tuple[float, int]]], rounds: int
) -> Comparison:
    """Measure every candidate once a round. A measurement returns its figure and how many requests were lost."""
    for number in range(1, rounds + 1):
        print(f"{comparison.title}: round {number} of {rounds}", file=sys.stderr)
        for name, measure in candidates.items():
            before = _Processor.now()
            value, lost = measure()
            comparison.samples.setdefault(name, []).append(Sample(value, lost, _Processor.now().others_since(before)))
    return comparison


class _Processor(NamedTuple):
    """Seconds of processor time used so far: by all, and by us and our children that have ended."""

    wall: float
    busy: float | None
    ours: float

    @classmethod
    def now(cls) -> "_Processor":
        """Read the counters."""
        usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return cls(time.perf_counter(), _busy_seconds(), sum(usage.ru_utime + usage.ru_stime for usage in usages))

    def others_since(self, before: "_Processor") -> float | None:
        """Processor seconds a second that neither we nor our children used."""
        if self.busy is None or before.busy is None or self.wall - before.wall < _SHORTEST:
            return None
        return max((self.busy - before.busy) - (self.ours - before.ours), 0.0) / (self.wall - before.wall)


def _busy_seconds() -> float | None:
    try:
        first = Path("/proc/stat").read_text(encoding="ascii").partition("\n")[0]
    except OSError:
        return None
    user, nice, system, _idle, _wait, _irq, _softirq, steal = map(int, first.split()[1:9])
    return (user + nice + system + steal) / os.sysconf("SC_CLK_TCK")


# Where and with what


def machine() -> dict[str, str]:
    """What a figure depends on."""
    load = " ".join(f"{average:.2f}" for average in os.getloadavg())
    return {
        "machine": f"{_processor_name()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}",
        "software": f"{platform.python_implementation()} {platform.python_version()}, {_versions()}",
        "load": f"load average before the first round: {load}",
        "pinned": str(CORES),
        "command": shlex.join(["python", *sys.argv]),
    }


def _processor_name() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _versions() -> str:
    found = []
    for name in ("trio", "trio-udp", "uvloop"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found.append(f"{name} {metadata.version(name)}")
    return ", ".join(found)
