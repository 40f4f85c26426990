"""The one entry point: `python benchmarks/run.py list|all|NAME [--smoke] [--json FILE] [--rounds N] [--seconds S]`.

Prints Markdown, and what it was measured on. Exits with 1 if a candidate gave a wrong answer or none.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import clients
import imports
import measure
import servers

BENCHMARKS: Final[dict[str, Callable[[measure.Options], list[measure.Comparison]]]] = {
    "servers": servers.run,
    "clients": clients.run,
    "import": imports.run,
}
SUMMARIES: Final = {
    name: (module.__doc__ or "").partition("\n")[0]
    for name, module in (("servers", servers), ("clients", clients), ("import", imports))
}
SMOKE: Final = measure.Options(rounds=1, seconds=0.04, smoke=True)


def main() -> int:
    """Measure what was asked for, and print it."""
    arguments = _parse()
    if arguments.name == "list":
        print("\n".join(SUMMARIES.values()))
        return 0
    names = list(BENCHMARKS) if arguments.name == "all" else [arguments.name]
    options = SMOKE if arguments.smoke else measure.Options(arguments.rounds, arguments.seconds)
    facts = measure.machine()
    print("\n".join(f"- {key}: {value}" for key, value in facts.items()), flush=True)
    results = {}
    for name in names:
        try:
            results[name] = BENCHMARKS[name](options)
        except (measure.WrongAnswerError, subprocess.SubprocessError) as exc:
            print(f"{name}: {exc}", file=sys.stderr)
            return 1
        for comparison in results[name]:
            print(f"\n{comparison.table()}", flush=True)
    if arguments.json:
        comparisons = {name: [comparison.as_dict() for comparison in found] for name, found in results.items()}
        arguments.json.write_text(json.dumps({**facts, "benchmarks": comparisons}, indent=2) + "\n", encoding="utf-8")
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure trio_udp beside its peers.")
    parser.add_argument("name", choices=["list", "all", *BENCHMARKS], help="what to measure; `list` says what there is")
    parser.add_argument("--smoke", action="store_true", help="one short round: does every candidate answer rightly?")
    parser.add_argument("--json", type=_file, metavar="FILE", help="write every measurement there too")
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
