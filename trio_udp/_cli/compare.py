"""`compare`: two recorded runs side by side, and whether what differs could be chance."""

import argparse
import math
from typing import Final

from ..measure import CONFIDENCE, Between, Figure, Sample, compare
from ._arguments import BadInput, SubParsers, number
from ._recorded import read_runs

_NANOSECONDS: Final = 1e6
_PERCENT: Final = 0.01


def add_to(commands: SubParsers) -> None:
    """Describe the sub-command to argparse."""
    parser = commands.add_parser(
        "compare",
        help="compare two recorded runs",
        description="Say how p50, p99 and loss of two recorded runs differ, and whether that is more than chance.",
    )
    parser.add_argument("first", metavar="A", help="what `ping --json` has written; - is standard input")
    parser.add_argument("second", metavar="B", help="the same of the other run")
    confidence = number(float, 50, 99.999, unit=" of percent")
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
    print("\n".join(lines(first, second, confidence=confidence)), flush=True)
    return 0


def _only_run(path: str) -> Sample:
    runs = read_runs(path, Sample)
    if len(runs) != 1:
        raise BadInput(f"{path}: expected one run, got {len(runs)}")
    return runs[0]


def lines(first: Sample, second: Sample, *, confidence: float) -> list[str]:
    """What is printed."""
    found = compare(first, second, confidence=confidence)
    sums = [sample.summary() for sample in (first, second)]
    counts = (f"{name}: {one.sent} sent, {one.received} received" for name, one in zip("AB", sums, strict=True))
    return [
        "; ".join(counts),
        f"{100 * confidence:g}% confidence intervals in brackets",
        _line("p50", found.p50, _NANOSECONDS, "ms", ("slower", "faster")),
        _line("p99", found.p99, _NANOSECONDS, "ms", ("slower", "faster")),
        _line("loss", found.loss, _PERCENT, "%", ("higher", "lower")),
    ]


def _line(name: str, figure: Figure, unit: float, symbol: str, words: tuple[str, str]) -> str:
    first, second, difference = figure
    if first is None or second is None or difference is None:
        return f"{name}: nothing to compare"
    verdict = "could be chance"
    if difference.excludes_zero:
        verdict = f"B is {words[difference.high < 0]}"
    elif math.isinf(difference.low) or math.isinf(difference.high):
        verdict = "too few replies to say"
    return (
        f"{name}: A {_shown(first, unit)} {symbol}, B {_shown(second, unit)} {symbol}, "
        f"difference {_shown(difference, unit, sign='+')} {symbol}: {verdict}"
    )


def _shown(figure: Between, unit: float, *, sign: str = "") -> str:
    value, low, high = (each / unit for each in figure)
    limits = " to ".join("?" if math.isinf(each) else f"{each:{sign}.3f}" for each in (low, high))
    return f"{value:{sign}.3f} [{limits}]"
