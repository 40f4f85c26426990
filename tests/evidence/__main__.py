"""`python -m tests.evidence`: compute the large figures, and write docs/evidence.json and README's table.

With the name of one figure it prints that entry and writes nothing.
"""

import argparse
import json
import sys
import time

from .figures import FIGURES, Figure, compute
from .report import write_evidence


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.evidence", description=__doc__)
    parser.add_argument("figure", nargs="?", choices=FIGURES, help="one figure only, printed and not written")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, help="how many to try instead of the usual number")
    parser.add_argument("--processes", type=int, choices=(1, 2), default=2)
    arguments = parser.parse_args()
    chosen = [FIGURES[arguments.figure]] if arguments.figure else list(FIGURES.values())
    entries = {figure.name: _compute(figure, arguments) for figure in chosen}
    if arguments.figure:
        print(json.dumps(entries[arguments.figure], indent=2, sort_keys=True, ensure_ascii=False))
    else:
        write_evidence(entries)


def _compute(figure: Figure, arguments: argparse.Namespace) -> dict[str, object]:
    began = time.monotonic()
    entry = compute(figure, arguments.seed, arguments.count or figure.usual, processes=arguments.processes)
    # Beside the evidence, not in it: the same figures are computed at another speed elsewhere.
    print(f"{figure.name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return entry


if __name__ == "__main__":
    main()
