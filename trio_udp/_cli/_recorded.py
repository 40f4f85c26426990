"""What `report` and `compare` share: a recorded stream, read from a file or from standard input."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TextIO, TypeVar

from ..measure import BadLine, Lines, TakesEvents, runs_of
from ._arguments import BadInput

Run = TypeVar("Run", bound=TakesEvents)


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
