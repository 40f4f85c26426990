"""`python -m tests.mutation DIRECTORY`: try every change in a copy made there; write the page, or say what is wrong."""

import argparse
import ast
import datetime as dt
import json
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from .conditions import Condition, conditions, find
from .mutants import LISTED, Mutant, Trial, listed_survivors, try_all
from .page import module_rows, page
from .properties import first_to_fail, first_to_notice

ROOT: Final = Path(__file__).parent.parent.parent
CORE: Final = "trio_udp/proto"
PAGE: Final = ROOT / "docs/mutation.md"
ENOUGH: Final = 0.95


def main() -> int:
    """Run both programs; 1 when something went unnoticed."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description="mutation testing of the core")
    parser.add_argument("directory", type=Path, help="where to make the copy; what is there is deleted")
    parser.add_argument("--workers", type=int, default=1, help="mutants to try at a time (default: 1)")
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="whose mutants to try, as _codec (default: all)")
    arguments = parser.parse_args()
    copy = make_copy(arguments.directory)
    every = sorted(path.stem for path in (copy / CORE).glob("_[a-z]*.py"))
    modules = arguments.modules or every
    if not set(modules) <= set(every):
        parser.error(f"expected modules among {' '.join(every)}, got {' '.join(modules)}")
    listed = listed_survivors()
    noticed = notice_conditions(copy)
    trial = try_all(copy, arguments.workers, modules)
    wrong = [*unnoticed(noticed), *survived(trial, listed_in(copy / CORE, modules, listed))]
    for sentence in wrong:
        print(sentence, file=sys.stderr)
    if not wrong:
        rows = module_rows(every, PAGE.read_text(), trial, dt.date.today().isoformat())
        PAGE.write_text(page({condition: test or "" for condition, test in noticed.items()}, rows, listed))
    return bool(wrong)


def make_copy(directory: Path) -> Path:
    """What the tests need, and nothing that an earlier run has left."""
    shutil.rmtree(directory, ignore_errors=True)
    for name in ("trio_udp", "tests"):
        shutil.copytree(ROOT / name, directory / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", directory)
    return directory


def notice_conditions(copy: Path) -> dict[Condition, str | None]:
    """Which property notices each condition's absence."""
    failed = first_to_fail(copy)
    if failed is not None:
        raise SystemExit(f"{failed} fails with every condition in its place")
    noticed = {}
    for condition in conditions(copy / CORE):
        noticed[condition] = first_to_notice(copy, condition)
        print(f"{condition.function}: {condition.words!r}: {noticed[condition] or 'NOT NOTICED'}", flush=True)
    return noticed


def listed_in(core: Path, modules: Iterable[str], listed: Mapping[Mutant, str]) -> dict[Mutant, str]:
    """Those of the list that are of these modules."""
    trees = [ast.parse((core / f"{module}.py").read_text()) for module in modules]
    return {
        mutant: why for mutant, why in listed.items() if any(find(tree, mutant.function) is not None for tree in trees)
    }


def unnoticed(noticed: Mapping[Condition, str | None]) -> Iterable[str]:
    """A sentence for each condition that nobody would miss, and for each that makes a difference after all."""
    for condition, test in noticed.items():
        if test is not None and condition.no_difference:
            yield f"{test} notices when {condition.function} lacks `{condition.words}`, which is to make no difference"
        if test is None and not condition.no_difference:
            yield f"no property notices when {condition.function} lacks `{condition.words}` of `{condition.whole}`"


def survived(trial: Trial, listed: Mapping[Mutant, str]) -> Iterable[str]:
    """A sentence for everything that is other than `survivors.toml` says, and for a score that is too low."""
    for mutant in trial.survivors:
        if mutant not in listed:
            changes = json.dumps(mutant.changes, ensure_ascii=False)
            yield f'nothing notices:\n[[survivor]]\nfunction = "{mutant.function}"\nchanges = {changes}\nwhy = ""\n'
    for mutant in listed:
        if mutant not in trial.survivors:
            yield f"{LISTED.name} lists what is noticed, or is no longer possible: {mutant}"
    if trial.score < ENOUGH:
        yield f"expected at least {ENOUGH:.0%} of {trial.total} mutants to be noticed, got {trial.score:.1%}"


if __name__ == "__main__":
    sys.exit(main())
