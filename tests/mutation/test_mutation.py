"""What can be known of the mutation run without running it: it finds every condition, and its list is not stale."""

import ast
import functools
from collections import Counter
from pathlib import Path

import pytest

from .__main__ import listed_in, survived, unnoticed
from .conditions import ACCEPT_RULE, NO_DIFFERENCE, Condition, conditions, find
from .mutants import Mutant, Trial, _mutant, listed_survivors
from .page import _code, module_rows, untried

ROOT = Path(__file__).parent.parent.parent
CORE = ROOT / "trio_udp/proto"
FUNCTION = """
class Table:
    def match(self, a, b):
        if a is None:
            return 1
        if a and not b and (self or b):
            return 2
        if a:
            b = 1
            return 3
        if a:
            return 4
        else:
            b = 2
        if [a for a in b if a > 1]:
            b = 3
            return a == b
        return 1 if 0 <= a < b <= 9 else 0
"""
DELETED = {
    "if a is None:\n    return 1": "pass",
    "if a and (not b) and (self or b):\n    return 2": "pass",
    "a": "if not b and (self or b):",
    "not b": "if a and (self or b):",
    "self or b": "if a and (not b):",
    "self": "if a and (not b) and b:",
    "b": "if a and (not b) and self:",
    "a > 1": "if [a for a in b if True]:",
    "a == b": "return True",
    "0 <= a < b <= 9": "return 1",
    "0 <= a": "return 1 if a < b and b <= 9 else 0",
    "a < b": "return 1 if 0 <= a and b <= 9 else 0",
    "b <= 9": "return 1 if 0 <= a and a < b else 0",
}


@functools.cache
def of_the_core() -> tuple[Condition, ...]:
    """All conditions of today's rule; making each anew takes seconds."""
    return tuple(conditions(CORE))


def test_every_condition_is_deleted_once_and_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An `if` that only returns, each operand, each comparison, each filter; nothing else of the module changes."""
    (tmp_path / "table.py").write_text(FUNCTION)
    monkeypatch.setattr("tests.mutation.conditions.ACCEPT_RULE", ["Table.match"])
    intact = ast.unparse(ast.parse(FUNCTION)).splitlines()
    found = {}
    for condition in conditions(tmp_path):
        changed = [line.strip() for line in condition.source.splitlines() if line not in intact]
        found[condition.words] = "".join(changed)
        assert (condition.function, condition.module) == ("Table.match", "table.py")
    assert found == DELETED


@pytest.mark.parametrize("modules", [[], ["one.py", "two.py"]])
def test_function_that_is_not_defined_exactly_once_is_an_error(tmp_path: Path, modules: list[str]) -> None:
    """So that none of the rule is left out after somebody has renamed a part of it."""
    for name in modules:
        (tmp_path / name).write_text("class ClientProtocol:\n    def _match_untrusted(self): return 1")
    with pytest.raises(LookupError, match="_match_untrusted"):
        conditions(tmp_path)


def test_page_names_every_condition_of_the_accept_rule() -> None:
    """`docs/mutation.md` is of today's rule: no condition came, went or changed since the last run."""
    page = (ROOT / "docs/mutation.md").read_text()
    rows = [line for line in page.partition("\n## Mutants")[0].splitlines() if line.startswith("| `")]
    begins = [f"| `{condition.function}` | {_code(condition.words)}" for condition in of_the_core()]
    assert len(rows) == len(begins)
    assert all(row.startswith(begin) for row, begin in zip(rows, begins, strict=True))
    assert {condition.function for condition in of_the_core()} == set(ACCEPT_RULE)


def test_every_survivor_that_is_listed_is_a_change_to_code_that_exists() -> None:
    """The function is there and has the line; that it survives only the run can say."""
    trees = [ast.parse(path.read_text()) for path in CORE.glob("*.py")]
    sources = [path.read_text() for path in CORE.glob("*.py")]
    for mutant, why in listed_survivors().items():
        assert why
        places = [
            ast.get_source_segment(source, definition)
            for source, tree in zip(sources, trees, strict=True)
            if (definition := find(tree, mutant.function)) is not None
        ]
        lines = {line.strip() for place in places for line in (place or "").splitlines()}
        removed = {change.removeprefix("- ") for change in mutant.changes if change.startswith("- ")}
        assert removed, mutant
        assert removed <= lines, mutant


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("trio_udp.proto._rtt.xǁRTTEstimatorǁ__init____mutmut_12", "RTTEstimator.__init__"),
        ("trio_udp.proto._codec.x__check__mutmut_1", "_check"),
        ("trio_udp.proto._codec.x_encode_message__mutmut_3", "encode_message"),
    ],
)
def test_mutant_is_known_by_its_function_and_its_lines(name: str, function: str) -> None:
    """Neither by its number nor by its module, which may change."""
    shown = (
        f"# {name}: survived\n--- a.py\n+++ a.py\n@@ -1,3 +1,3 @@\n def f():\n-    x = -1\n+    x = +1\n     return x\n"
    )
    assert _mutant(name, shown) == (function, ("- x = -1", "+ x = +1"))


ONE = Mutant("one", ("- 1", "+ 2"))
OTHER = Mutant("other", ("- 1", "+ 2"))


@pytest.mark.parametrize(
    ("survivors", "listed", "killed", "wrong"),
    [
        ([], [], 20, []),
        ([ONE], [ONE], 19, []),
        ([ONE], [], 19, ["nothing notices"]),
        ([], [ONE], 20, ["lists what is noticed"]),
        ([OTHER], [ONE], 19, ["nothing notices", "lists what is noticed"]),
        ([ONE], [ONE], 18, ["expected at least 95%"]),
    ],
)
def test_run_fails_unless_the_survivors_are_those_that_are_listed_and_few(
    survivors: list[Mutant], listed: list[Mutant], killed: int, wrong: list[str]
) -> None:
    """No more, no fewer, and no more than one in twenty; a mutant that took too long counts as a survivor."""
    trial = Trial({"_one": Counter(killed=killed, timeout=20 - killed)}, survivors)
    sentences = list(survived(trial, dict.fromkeys(listed, "why")))
    assert len(sentences) == len(wrong)
    assert all(part in sentence for part, sentence in zip(wrong, sentences, strict=True))


def test_run_fails_where_no_property_misses_a_condition() -> None:
    """The sentence names it."""
    first, second, *_, harmless = sorted(of_the_core(), key=lambda condition: condition.no_difference or "")
    assert not list(unnoticed({first: "test_something", harmless: None}))
    for noticed, condition in (({first: "test_something", second: None}, second), ({harmless: "test"}, harmless)):
        [sentence] = unnoticed(noticed)
        assert condition.function in sentence
        assert condition.words in sentence


def test_every_condition_that_makes_no_difference_is_one_of_the_rule() -> None:
    """Each entry names exactly one, so none stays in the list when its condition has gone."""
    found = [condition for condition in of_the_core() if condition.no_difference]
    assert len(found) == len(NO_DIFFERENCE)
    assert {condition.function for condition in found} == {function for function, _ in NO_DIFFERENCE}


def test_run_for_some_modules_leaves_the_others_rows_and_survivors_alone() -> None:
    """Of modules that were never tried the page says so."""
    trial = Trial({"_two": Counter(killed=3, survived=1)}, [])
    before = "| `_one` | 2026-01-01 | 5 | 5 (100.0%) |\n| `_two` | 2026-01-01 | 9 | 9 (100.0%) |\n| `_gone` | x | | |\n"
    rows = module_rows(["_one", "_three", "_two"], before, trial, "2026-02-02")
    assert list(rows.values()) == [
        "| `_one` | 2026-01-01 | 5 | 5 (100.0%) |",
        "| `_three` | not yet | | |",
        "| `_two` | 2026-02-02 | 4 | 3 (75.0%) |",
    ]
    assert untried(rows) == ["_three"]
    timers = Mutant("Timers.set", ("- 1", "+ 2"))
    assert listed_in(CORE, ["_timers"], {timers: "why", ONE: "why"}) == {timers: "why"}
    assert not listed_in(CORE, ["_codec"], {timers: "why", ONE: "why"})
