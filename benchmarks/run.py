"""The one entry point: `python benchmarks/run.py list|all|NAME [--smoke] [--json FILE] [--plot FILE] …`.

Prints Markdown, and what it was measured on; `all` prints every goal beside what was measured, too. Exits with 1 if a
candidate gave a wrong answer or none, if the core takes more instructions than it did, or, unless the run was a short
one, if a cost grows faster than the work.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Final, Protocol

import children
import clients
import goals
import growth
import imports
import instructions
import junk
import machine
import measure
import offload
import ping
import plot
import responders
import servers
import tools


class Result(Protocol):
    """One table."""

    title: str

    def table(self) -> str:
        """In Markdown."""

    def as_dict(self) -> dict[str, object]:
        """For JSON."""

    def problem(self) -> str | None:
        """Why the run has failed, if this says that it has."""


_MODULES: Final[Mapping[str, ModuleType]] = {
    "servers": servers,
    "clients": clients,
    "offload": offload,
    "ping": ping,
    "tools": tools,
    "import": imports,
    "junk": junk,
    "dns": responders,
    "growth": growth,
    "instructions": instructions,
}
BENCHMARKS: Final[Mapping[str, Callable[[measure.Options], Sequence[Result]]]] = {
    "servers": servers.run,
    "clients": clients.run,
    "offload": offload.run,
    "ping": ping.run,
    "tools": tools.run,
    "import": imports.run,
    "junk": junk.run,
    "dns": responders.run,
    "growth": growth.run,
    "instructions": instructions.run,
}
SMOKE: Final = measure.Options(rounds=1, seconds=0.04, smoke=True)


def main() -> int:
    """Measure what was asked for, and print it."""
    arguments = _parse()
    if arguments.name == "list":
        print("\n".join((module.__doc__ or "").partition("\n")[0] for module in _MODULES.values()))
        return 0
    options = SMOKE if arguments.smoke else measure.Options(arguments.rounds, arguments.seconds)
    facts = machine.describe()
    print("\n".join(f"- {key}: {value}" for key, value in facts.items()), flush=True)
    results: dict[str, Sequence[Result]] = {}
    for name in BENCHMARKS if arguments.name == "all" else [arguments.name]:
        try:
            results[name] = BENCHMARKS[name](options)
        except (children.WrongAnswerError, subprocess.SubprocessError) as exc:
            print(f"{name}: {exc}", file=sys.stderr)
            return 1
        for result in results[name]:
            print(f"\n{result.table()}", flush=True)
    found = [result for of_one in results.values() for result in of_one]
    if arguments.name == "all":
        comparisons = [result for result in found if isinstance(result, measure.Comparison)]
        for result in found:
            comparisons += result.comparisons() if isinstance(result, tools.Tools) else []
        print(f"\n{goals.table(comparisons, is_judged=not arguments.smoke)}")
    if arguments.json:
        tables = {name: [result.as_dict() for result in of_one] for name, of_one in results.items()}
        arguments.json.write_text(json.dumps({**facts, "benchmarks": tables}, indent=2) + "\n", encoding="utf-8")
    if arguments.plot:
        _plot([result for result in found if isinstance(result, growth.Growth) and result.points], arguments.plot)
    problems = [f"{result.title}: {said}" for result in found if (said := result.problem())]
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


def _plot(growths: Sequence[growth.Growth], path: Path) -> None:
    reason = plot.why_not() or (None if growths else "nothing that grows was measured")
    if reason:
        print(f"no plot: {reason}", file=sys.stderr)
    else:
        plot.draw(growths, path)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure trio_udp beside its peers.")
    parser.add_argument("name", choices=["list", "all", *BENCHMARKS], help="what to measure; `list` says what there is")
    parser.add_argument("--smoke", action="store_true", help="one short round: does every candidate answer rightly?")
    parser.add_argument("--json", type=_file, metavar="FILE", help="write every measurement there too")
    parser.add_argument("--plot", type=_file, metavar="FILE", help="draw there how the costs grow; needs matplotlib")
    parser.add_argument("--rounds", type=_at_least_one, default=7, metavar="N", help="rounds (default: %(default)s)")
    parser.add_argument("--seconds", type=_positive, default=0.5, metavar="S", help="of each (default: %(default)s)")
    return parser.parse_args()


def _file(text: str) -> Path:
    if not Path(text).parent.is_dir():
        raise argparse.ArgumentTypeError(f"expected a file in a directory that exists, got {text}")
    return Path(text)


def _at_least_one(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, got {text}")
    return int(text)


def _positive(text: str) -> float:
    if not 0 < float(text) <= 600:
        raise argparse.ArgumentTypeError(f"expected seconds from 0 to 600, got {text}")
    return float(text)


if __name__ == "__main__":
    sys.exit(main())
