"""What `report` and `compare` share: a recorded stream, read from a file or from standard input."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Generic, TextIO, TypeVar

from ..measure import BadLine, Event, Lines, ReplyRecord, Summary, TakesEvents, runs_of
from ._arguments import BadInput

Run = TypeVar("Run", bound=TakesEvents)


class Checked(Generic[Run]):
    """A run, and whether there is more of it than its sums."""

    def __init__(self, run: Run) -> None:
        """Give it all that this is given."""
        self.run = run
        self._received = 0
        self._replies = 0

    @property
    def has_sums_only(self) -> bool:
        """Whether no line is about the probes that were answered."""
        return self._received > 0 and not self._replies

    def take(self, event: Event) -> None:
        """The next of its events."""
        self.run.take(event)
        if isinstance(event, ReplyRecord):
            self._replies += 1
        elif isinstance(event, Summary):
            self._received = event.received


def read_probes(path: str, make: Callable[[str], Run]) -> list[Run]:
    """The same for what wants to know of each probe: to that, a run of sums only would seem to have lost them all."""
    found = read_runs(path, lambda host: Checked(make(host)))
    if any(one.has_sums_only for one in found):
        raise BadInput(f"{path}: expected a line for each probe, got only sums, as `ping -q` writes them")
    return [one.run for one in found]


def read_runs(path: str, make: Callable[[str], Run]) -> list[Run]:
    """The runs in a file, at least one; `-` is standard input. A cut last line is said on stderr."""
    with _open(path) as file:
        lines = Lines(file)
        try:
            runs = runs_of(lines, make)
        except BadLine as exc:
            raise BadInput(f"{path}: {exc}") from None
    if lines.is_cut:
        print(f"{path}: the last line is cut short, and left out", file=sys.stderr, flush=True)
    if not runs:
        raise BadInput(f"{path}: expected lines of `ping --json`, got none")
    return runs


@contextlib.contextmanager
def _open(path: str) -> Iterator[TextIO]:
    if path == "-":
        yield sys.stdin
        return
    try:
        file = open(path, encoding="utf-8", errors="replace")  # noqa: SIM115 - closed below; only its opening may fail so
    except OSError as exc:
        raise BadInput(f"cannot read {path!r}: {exc.strerror}") from None
    with file:
        yield file
