"""`compare`: two recorded runs side by side, and whether what differs could be chance."""

import argparse
import sys

from ..measure import CONFIDENCE, Sample, comparison_lines
from ._arguments import BadInput, SubParsers, number
from ._recorded import Checked, read_runs


def add_to(commands: SubParsers) -> None:
    """Describe the sub-command to argparse."""
    parser = commands.add_parser(
        "compare",
        help="compare two recorded runs",
        description="Say how p50, p99 and loss of two recorded runs differ, and whether that is more than chance.",
    )
    parser.add_argument("first", metavar="A", help="what `ping --json` has written; - is standard input")
    parser.add_argument("second", metavar="B", help="the same of the other run")
    confidence = number(lambda text: float(text.removesuffix("%")), 50, 99.999, unit=" of percent")
    parser.add_argument(
        "--confidence",
        type=confidence,
        default=100 * CONFIDENCE,
        metavar="PERCENT",
        help="of each interval (default: %(default)g)",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """0: a difference is no failure."""
    first, second = (_only_run(path) for path in (arguments.first, arguments.second))
    confidence = arguments.confidence / 100
    print("\n".join(comparison_lines(first, second, confidence=confidence)), flush=True)
    return 0


def _only_run(path: str) -> Sample:
    runs = read_runs(path, lambda host: Checked(Sample(host)))
    if len(runs) != 1:
        raise BadInput(f"{path}: expected one run, got {len(runs)}")
    if runs[0].has_sums_only:
        print(f"{path}: only sums, as `ping -q` writes them: times cannot be compared", file=sys.stderr, flush=True)
    return runs[0].run
