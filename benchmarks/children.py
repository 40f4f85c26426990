"""The processes that are measured: each on its core, each of limited life, each ended by whoever began it."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Final, NamedTuple

HERE: Final = Path(__file__).parent
MARGIN: Final = 30
"""Seconds a child may live beyond its measurement, whatever becomes of us."""
Command = Sequence[str | Path]


class WrongAnswerError(Exception):
    """A candidate that does not do its work must not have a figure."""


class Count(NamedTuple):
    """What a load generator or a client of ours printed."""

    answers: int
    seconds: float
    lost: int
    """Requests that had no answer in time."""
    stale: int
    """Answers that came after that."""
    wrong: int
    median: float = 0.0
    """Microseconds from the request to its answer."""
    p99: float = 0.0

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.answers / self.seconds


def read_count(output: str) -> Count:
    """Parse it; raises `WrongAnswerError` unless there were answers and all were right."""
    answers, seconds, lost, stale, wrong, *latencies = output.split()
    count = Count(int(answers), float(seconds), int(lost), int(stale), int(wrong), *map(float, latencies))
    if count.wrong or not count.answers:
        raise WrongAnswerError(f"expected right answers only, got {count}")
    return count


class Cores(NamedTuple):
    """Where servers and where those who ask them run; None where processes cannot be pinned."""

    server: int | None
    client: int | None
    all: frozenset[int] = frozenset()
    """Those this process may run on."""

    def __str__(self) -> str:
        if self.server is None:
            return "nothing is pinned"
        return f"servers on core {self.server}, clients and load generator on core {self.client}"


def choose_cores() -> Cores:
    """Two different ones, if we have two."""
    if not hasattr(os, "sched_getaffinity"):
        return Cores(None, None)
    ours = sorted(os.sched_getaffinity(0))
    return Cores(ours[0], ours[-1], frozenset(ours))


CORES: Final = choose_cores()


@contextlib.contextmanager
def on_core(core: int | None) -> Iterator[None]:
    """Keep this process there for the length of the block."""
    if core is None:
        yield
        return
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, set(CORES.all))


def prepare(core: int | None, lifetime: float) -> Callable[[], None]:
    """What a child does before it becomes what it is: a limited life, and a core if it is to have one."""

    def in_child() -> None:
        signal.alarm(int(lifetime))  # survives exec: the child ends even if we are killed
        if core is not None:
            os.sched_setaffinity(0, {core})

    return in_child


def run(
    command: Command, seconds: float, *, core: int | None = CORES.client, environment: Mapping[str, str] | None = None
) -> str:
    """The output of a command that ends by itself after about so long; in our environment, or another."""
    lifetime = MARGIN + seconds * 2
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=lifetime,
        env=environment,
        preexec_fn=prepare(core, lifetime),
    )
    return done.stdout


class Serving(NamedTuple):
    """A server under way."""

    port: str
    pid: int


@contextlib.contextmanager
def serving(command: Command, seconds: float, *, core: int | None = CORES.server) -> Iterator[Serving]:
    """Start a server that prints its port, and kill it at the end. Without a core it runs on any."""
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=prepare(core, MARGIN + seconds * 2),  # noqa: PLW1509 - we have no threads
    ) as process:
        try:
            yield Serving(_first_line(process.stdout), process.pid)
        finally:
            process.kill()


def _first_line(output: IO[str] | None) -> str:
    line = output.readline().strip() if output else ""
    if not line:
        raise WrongAnswerError("the server ended without printing its port")
    return line


# The program in C: the load generator, and the least that a server can do


def why_no_compiler() -> str | None:
    """Why the program cannot be made, if it cannot."""
    return None if _compiler() else "no C compiler (cc, or what CC names)"


def _compiler() -> str | None:
    return shutil.which(os.environ.get("CC", "cc"))


@contextlib.contextmanager
def load_program() -> Iterator[Path]:
    """The program made of load.c, for as long as this lasts. Ask `why_no_compiler` first."""
    with tempfile.TemporaryDirectory() as directory:
        program = Path(directory) / "load"
        command: Command = (_compiler() or "cc", "-O2", "-o", program, HERE / "load.c")
        subprocess.run(command, check=True, timeout=MARGIN)
        yield program


class Load(NamedTuple):
    """What the load generator does."""

    sources: int = 64
    outstanding: int = 256
    payload: int = 64
    junk: int = 0
    """Percent; 100 is a flood besides the requests."""
    protocol: str = "tu1"

    def put_on(self, port: str, program: Path, *, warm_up: float, seconds: float) -> Count:
        """Ask a server as fast as it answers."""
        numbers = map(str, (self.sources, self.outstanding, self.payload, self.junk, warm_up, seconds))
        return read_count(run([program, self.protocol, port, *numbers], warm_up + seconds))
