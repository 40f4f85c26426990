"""`docs/mutation.md`, from what a run has found."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from .conditions import Condition
from .mutants import NOTICED, Mutant, Trial

_HEAD: Final = """# Mutation testing

Do the tests notice when the core is wrong? Two programs change `trio_udp.proto` on purpose, in a copy, and the tests
have to fail. `python -m nox -s mutation` runs both, fails when something goes unnoticed that is not listed here, and
writes this page. With the names of modules behind it, only their mutants are tried, and what the page says of others
stays as it is. It is not among the sessions that `nox` runs by itself, because it takes long.
"""

_CONDITIONS: Final = """
## Every condition of the accept rule

The accept rule is what stands between a datagram and the caller. Each single condition of it was deleted in turn: an
`if` that returns, one within an expression or a comprehension, a comparison that is returned, an operand of an `and` or
an `or`, one comparison of a chain. Beside each stands the first property that failed without it; a few make no
difference, and the session fails if they do.

| in | deleted | noticed by |
|---|---|---|
"""

_MUTANTS: Final = """
## Mutants of the whole core

[mutmut](https://mutmut.readthedocs.io) changes one operator, number, name or argument at a time, in every function of
`trio_udp.proto` but decorated ones (properties, mostly). The tests are those of `tests/proto` and the properties that
need no network, with few examples and always the same ones. Each module stands as it was on the day it was tried.

| module | tried | mutants | noticed |
|---|---|---|---|
"""

_NOT_ALL: Final = """
Where no day stands the module was not tried since this table was begun. The core as it was on 2026-11-25, smaller and
without measuring, keys and at-most-once, had 963 mutants, of which 945 were noticed. The survivors of such a module
below are of that run, in the words that the code has today; whether they still survive and whether there are more,
nobody has tried.
"""

_SURVIVORS: Final = """
## Those that survive

Each is the same program in other words, or differs where nobody can see it. A further survivor fails the session, and
so does one of these that is noticed after all: the list, `tests/mutation/survivors.toml`, is neither longer nor shorter
than it has to be.
"""


def page(noticed: Mapping[Condition, str], modules: Mapping[str, str], listed: Mapping[Mutant, str]) -> str:
    """The whole page; `modules` are rows of the table of mutants."""
    rows = "".join(_row(condition, test) for condition, test in noticed.items())
    table = "".join(row + "\n" for row in modules.values()) + (_NOT_ALL if untried(modules) else "")
    survivors = "".join(_entry(mutant, why) for mutant, why in listed.items())
    return _HEAD + _CONDITIONS + rows + _MUTANTS + table + (_SURVIVORS + survivors if listed else "")


def untried(modules: Mapping[str, str]) -> list[str]:
    """The modules that no run has tried yet."""
    return [module for module, row in modules.items() if row == _blank(module)]


def module_rows(modules: Iterable[str], before: str, trial: Trial, day: str) -> dict[str, str]:
    """A row for each module: of this trial, of the page as it was before, or one that says that there was none."""
    old = {match[1]: match[0] for match in re.finditer(r"^\| `(_\w+)` \|.*\|$", before, re.MULTILINE)}
    new = {module: _tried(module, fates, day) for module, fates in trial.fates.items()}
    return {module: new.get(module) or old.get(module) or _blank(module) for module in modules}


def _tried(module: str, fates: Counter[str], day: str) -> str:
    part = fates[NOTICED] / fates.total()
    return f"| `{module}` | {day} | {fates.total()} | {fates[NOTICED]} ({part:.1%}) |"


def _blank(module: str) -> str:
    return f"| `{module}` | not yet | | |"


def _row(condition: Condition, test: str) -> str:
    name, _, case = test.partition("[")
    case = f" ({case.removesuffix(']')})" if case else ""
    part = _code(condition.words) + (f" of {_code(condition.whole)}" if condition.whole != condition.words else "")
    part = part.replace("|", "\\|")
    return f"| `{condition.function}` | {part} | {condition.no_difference or f'`{name}`{case}'} |\n"


def _entry(mutant: Mutant, why: str) -> str:
    before, after = (" ".join(_code(line[2:]) for line in mutant.changes if line[0] == sign) for sign in "-+")
    return f"\n- `{mutant.function}`: {before} → {after}. {why}\n"


def _code(text: str) -> str:
    return "`" + re.sub(r"\s+", " ", text) + "`"
