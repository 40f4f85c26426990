"""`docs/mutation.md`, from what a run has found."""

import re
from collections.abc import Mapping
from typing import Final

from .conditions import Condition
from .mutants import NOTICED, Mutant, Trial

_HEAD: Final = """# Mutation testing

Do the tests notice when the core is wrong? Two programs change `trio_udp.proto` on purpose, in a copy, and the tests
have to fail. `python -m nox -s mutation` runs both, fails when something goes unnoticed that is not listed here, and
writes this page. It is not among the sessions that `nox` runs by itself, because it takes some minutes.
"""

_CONDITIONS: Final = """
## Every condition of the accept rule

The accept rule is what stands between a datagram and the caller. Each single condition of it was deleted in turn: an
`if` that returns, an operand of an `and` or an `or`, one comparison of a chain. Beside each stands the first property
that failed without it.

| in | deleted | noticed by |
|---|---|---|
"""

_MUTANTS: Final = """
## Mutants of the whole core

[mutmut](https://mutmut.readthedocs.io) changes one operator, number, name or argument at a time, in every function of
`trio_udp.proto` but decorated ones (properties, mostly). The tests are those of `tests/proto` and the properties that
need no network, with few examples and always the same ones.

"""

_SURVIVORS: Final = """
## Those that survive

Each is the same program in other words, or differs where nobody can see it. A further survivor fails the session, and
so does one of these that is noticed after all: the list, `tests/mutation/survivors.toml`, is neither longer nor shorter
than it has to be.
"""


def page(noticed: Mapping[Condition, str], trial: Trial, listed: Mapping[Mutant, str]) -> str:
    """The whole page."""
    rows = "".join(_row(condition, test) for condition, test in noticed.items())
    survivors = "".join(_entry(mutant, why) for mutant, why in listed.items())
    return _HEAD + _CONDITIONS + rows + _MUTANTS + _figures(trial) + (_SURVIVORS + survivors if listed else "")


def _figures(trial: Trial) -> str:
    return f"{trial.fates.total()} mutants, {trial.fates[NOTICED]} noticed: {trial.score:.1%}.\n"


def _row(condition: Condition, test: str) -> str:
    name, _, case = test.partition("[")
    case = f" ({case.removesuffix(']')})" if case else ""
    part = _code(condition.words) + (f" of {_code(condition.whole)}" if condition.whole != condition.words else "")
    part = part.replace("|", "\\|")
    return f"| `{condition.function}` | {part} | `{name}`{case} |\n"


def _entry(mutant: Mutant, why: str) -> str:
    before, after = (" ".join(_code(line[2:]) for line in mutant.changes if line[0] == sign) for sign in "-+")
    return f"\n- `{mutant.function}`: {before} → {after}. {why}\n"


def _code(text: str) -> str:
    return "`" + re.sub(r"\s+", " ", text) + "`"
