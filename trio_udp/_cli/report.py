"""`report`: a recorded run's summary again, as `ping` prints it, or the run as irtt writes it."""

import argparse
import json
import sys
from typing import Final

from ..measure import IrttRun, Recording
from ._arguments import BadInput, SubParsers, printable
from ._ping_report import report
from ._recorded import read_runs

_REBUILT: Final = "what follows is what its events add up to"


def add_to(commands: SubParsers) -> None:
    """Describe the sub-command to argparse."""
    parser = commands.add_parser(
        "report",
        help="print the summary of a recorded run",
        description="Print the summary of what `ping --json` has written, as `ping` itself does.",
    )
    parser.add_argument("file", metavar="FILE", help="what `ping --json` has written; - is standard input")
    parser.add_argument("--irtt", action="store_true", help="print the run as irtt 0.9 writes it with -o, in JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """0, for what was measured is no matter of this command's."""
    if arguments.irtt:
        runs = read_runs(arguments.file, IrttRun)
        if len(runs) != 1:
            raise BadInput(f"{arguments.file}: expected one run, got {len(runs)}")
        try:
            document = runs[0].document()
        except ValueError as exc:
            raise BadInput(f"{arguments.file}: {exc}") from None
        json.dump(document, sys.stdout, indent=4)
        print(flush=True)
        return 0
    for one in read_runs(arguments.file, Recording):
        if not one.is_complete:
            print(f"{arguments.file}: a run has no end; {_REBUILT}", file=sys.stderr, flush=True)
        # A file may be from anywhere, as what a stranger sends may be.
        texts = (printable(line.encode(errors="backslashreplace")) for line in report(one.host, one.summary()))
        print("\n".join(texts), flush=True)
    return 0
