"""`report`: recorded runs' summaries again, as `ping` prints them, and drawn; or the one run as others write theirs."""

import argparse
import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from ..measure import Event, Recording, TakesEvents, summary_lines
from ._arguments import BadInput, SubParsers, missed_politely, printable
from ._recorded import read_probes, read_runs

if TYPE_CHECKING:
    from ..measure import Series

Run = TypeVar("Run", bound=TakesEvents)
_REBUILT: Final = "what follows is what its events add up to"


def add_to(commands: SubParsers) -> None:
    """Describe the sub-command to argparse."""
    parser = commands.add_parser(
        "report",
        help="print or draw recorded runs",
        description="Print the summary of what `ping --json` has written, as `ping` itself does.",
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="what `ping --json` has written; - is standard input")
    add = parser.add_mutually_exclusive_group().add_argument
    plot = "draw the runs as well, one below the other, into this .svg or .png"
    add("--plot", type=Path, metavar="PICTURE", help=plot)
    add("--irtt", action="store_true", help="print the one run as irtt 0.9 writes it with -o, in JSON")
    hdr = "print the one run's percentiles as HdrHistogram writes them, in nanoseconds"
    add("--hdr", action="store_true", help=hdr)
    add("--hdr-corrected", action="store_true", help="the same of the corrected times")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """0, for what was measured is no matter of this command's."""
    if arguments.irtt:
        _print_irtt(arguments.files)
    elif arguments.hdr or arguments.hdr_corrected:
        _print_hdr(arguments.files, is_corrected=arguments.hdr_corrected)
    elif arguments.plot:
        _print_and_draw(arguments.files, arguments.plot)
    else:
        for file in arguments.files:
            for one in read_runs(file, Recording):
                _print_summary(file, one)
    return 0


def _print_summary(file: str, one: Recording) -> None:
    if not one.is_complete:
        print(f"{file}: a run has no end; {_REBUILT}", file=sys.stderr, flush=True)
    print("\n".join(map(_safe, summary_lines(one.host, one.summary()))), flush=True)


def _safe(text: str) -> str:
    """A file may be from anywhere, as what a stranger sends may be."""
    return printable(text.encode(errors="backslashreplace"))


# Drawn


class _Drawn:
    """A run's sums, and what its picture shows."""

    def __init__(self, host: str) -> None:
        from ..measure import Series

        self.recording: Final = Recording(host)
        self._series = Series(_safe(host))

    def take(self, event: Event) -> None:
        """The next of its events."""
        self.recording.take(event)
        self._series.take(event)

    def series(self) -> "Series":
        """When all has been taken: with the sums of the whole run in its title."""
        if self.recording.start is not None:
            self._series.title = _safe(f"{self.recording.host} ({self.recording.start.peer})")
        self._series.take(self.recording.summary())
        return self._series


def _print_and_draw(files: list[str], path: Path) -> None:
    from ._plot import check_plot, draw

    check_plot(path)
    drawn: list[Series] = []
    for file in files:
        for one in read_probes(file, _Drawn):
            _print_summary(file, one.recording)
            drawn.append(one.series())
    check_plot(path, len(drawn))
    draw(path, drawn)


# The one run, for other programs


def _only_run(files: list[str], make: Callable[[str], Run]) -> Run:
    runs = [one for file in files for one in read_probes(file, make)]
    if len(runs) != 1:
        raise BadInput(f"{', '.join(files)}: expected one run, got {len(runs)}")
    return runs[0]


def _print_irtt(files: list[str]) -> None:
    import json

    from ..measure import IrttRun

    try:
        document = _only_run(files, IrttRun).document()
    except ValueError as exc:
        raise BadInput(f"{', '.join(files)}: {exc}") from None
    json.dump(document, sys.stdout, indent=4)
    print(flush=True)


def _print_hdr(files: list[str], *, is_corrected: bool) -> None:
    from ..measure import HdrRun

    make = functools.partial(HdrRun, is_corrected=is_corrected)
    with missed_politely("histogram"):
        make("")  # before anything is read
    print(_only_run(files, make).text(), end="", flush=True)
