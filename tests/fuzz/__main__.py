"""`python -m tests.fuzz`: fuzz every function that first touches bytes from the network; exit code 1 if one fails.

Needs the package `atheris`. An input that makes a function fail is left in the current directory, and its name printed.
"""

import argparse
import sys

from tests.properties.test_untrusted import TRIALS

from .run import Crash, fuzz


def main() -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("name", nargs="*", help="functions, as in tests/properties/test_untrusted.py; all by default")
    parser.add_argument("--count", type=int, default=200_000, help="inputs for each function, %(default)s by default")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    unknown = set(arguments.name) - set(TRIALS)
    if unknown:
        parser.error(f"expected names of functions, got {', '.join(sorted(unknown))}; one of {', '.join(TRIALS)}")
    failed = 0
    for name in arguments.name or TRIALS:
        try:
            print(f"{name}: {fuzz(name, arguments.count, arguments.seed):,} inputs, none made it fail", flush=True)
        except Crash as exc:
            failed = 1
            print(f"{name}: {exc}", file=sys.stderr, flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
