"""The benchmarks' own judgements: a goal that was missed, a cost that grows too fast and a slower core are noticed."""

import importlib
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture(name="load")
def load_fixture(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Imports a module of the benchmarks, which find each other because they are scripts."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


def growth_of(load: Any, exponent: float) -> Any:
    """A cost that grows as the work to this power."""
    growth = load("growth")
    works = (1.0, 10.0, 100.0, 1000.0)
    points = {str(work): [growth.Point(1.0, 1.0, 1.0, 0.0, work**exponent, 1.0)] for work in works}
    return growth.Growth("a title", "what", False, points, {str(work): work for work in works})


@pytest.mark.parametrize(("exponent", "is_linear"), [(0.0, True), (1.0, True), (1.2, True), (1.5, False), (2.0, False)])
def test_a_cost_that_grows_faster_than_the_work_fails_the_run(load: Any, exponent: float, is_linear: bool) -> None:
    """Twenty times the cost for ten times the work is the most."""
    found = growth_of(load, exponent)
    assert found.exponent() == pytest.approx(exponent)
    assert (found.problem() is None) is is_linear


def test_a_knee_at_the_end_is_not_averaged_away(load: Any) -> None:
    """The steepest step counts, not the mean of all."""
    found = growth_of(load, 0.5)
    found.points["1000.0"] = [found.points["1000.0"][0]._replace(cost=1000.0)]
    assert found.problem() == "the cost grows faster than the work"


def comparison_of(load: Any, ours: list[float], base: list[float]) -> Any:
    """Two candidates, round by round."""
    measure = load("measure")
    samples = {
        name: [measure.Sample(value, 0, None) for value in values] for name, values in (("a", ours), ("b", base))
    }
    return measure.Comparison("a title", "unit", "b", samples, {"c": "c is not installed"})


def test_a_goal_is_judged_by_the_median_of_ratios_within_a_round(load: Any) -> None:
    """Not by the ratio of medians, which a neighbour in one round can move."""
    goals = load("goals")
    comparisons = {"a title": comparison_of(load, [1.0, 20.0, 3.0], [1.0, 10.0, 1.0])}
    goal = goals.Goal("what", "a title", "a", 2.0, "b")
    values = goal.measured(comparisons)
    assert values == [1.0, 2.0, 3.0]
    assert goal.is_met(values)
    assert not goals.Goal("what", "a title", "a", 2.1, "b").is_met(values)
    assert not goals.Goal("what", "a title", "a", 1.9, "b", at_most=True).is_met(values)


def test_a_goal_that_nothing_measured_says_why(load: Any) -> None:
    """It is never called met."""
    goals = load("goals")
    comparisons = {"a title": comparison_of(load, [1.0], [1.0])}
    assert goals.Goal("what", "another title", "a").measured(comparisons) == "not in this run"
    assert goals.Goal("what", "", missing="there are none").measured(comparisons) == "there are none"
    assert goals.Goal("what", "a title", "c").measured(comparisons) == "c is not installed"
    assert goals.Goal("what", "a title", "a", 1.0, "c").measured(comparisons) == "c is not installed"


def test_every_goal_names_a_row_that_its_benchmark_has(load: Any) -> None:
    """A goal whose row was renamed would be reported as not measured for ever."""
    goals = load("goals")
    names = {
        load("servers").TITLE: {load("servers").PLAIN, load("servers").C_MANY, *load("servers").SERVERS},
        load("imports").TITLE: {*load("imports").BEYOND.values(), *load("imports").ARGUMENTS},
    }
    for goal in goals.GOALS:
        assert goal.comparison or goal.missing
        assert {goal.candidate, goal.base or goal.candidate} <= names.get(goal.comparison, {goal.candidate, goal.base})


def test_a_slower_core_fails_the_run_and_a_slower_interpreter_does_not(load: Any) -> None:
    """What counts is the quotient by the reference."""
    instructions = load("instructions")
    before = {"reference": 100.0, "encode": 200.0}
    assert instructions.Instructions(counts={"reference": 300.0, "encode": 600.0}, before=before).problem() is None
    slower = instructions.Instructions(counts={"reference": 100.0, "encode": 230.0}, before=before)
    assert slower.problem() == "more instructions than before: encode by 15.0%"
