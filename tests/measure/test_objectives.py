"""Conditions on a summary: what they read, what they say, and that "cannot tell" is an answer of its own."""

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_udp import DropReason
from trio_udp.measure import METRICS, Distribution, Summary, Variation, parse_condition

from .records import summary

TIMES = {"ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": 10**9}
OPPOSITE = {">": "<=", "<=": ">", "<": ">=", ">=": "<"}
RTT = Distribution(
    count=4, min_ns=1, mean_ns=2_000, max_ns=40_000_000, deviation_ns=700_000,
    p50_ns=1_500, p90_ns=3_000_000, p99_ns=23_400_000, p999_ns=2_000_000_000,
)  # fmt: skip


def good(**changes: Any) -> Summary:
    """A run of a hundred probes, of which these things happened."""
    values: dict[str, Any] = {"sent": 100, "received": 100, "is_complete": True, "rtt": RTT}
    return summary(**(values | changes))


@given(
    st.sampled_from(sorted(name for name, unit in METRICS.items() if unit == "time")),
    st.sampled_from(sorted(OPPOSITE)),
    st.integers(0, 10**9),
    st.sampled_from(sorted(TIMES)),
    st.sampled_from(["", " ", "  "]),
)
def test_a_time_is_read_as_it_is_written(metric: str, relation: str, number: int, unit: str, space: str) -> None:
    """With any unit, and with spaces or without."""
    condition = parse_condition(f"{space}{metric}{space}{relation}{space}{number}{unit}{space}")
    assert (condition.metric, condition.relation, condition.limit) == (metric, relation, Fraction(number * TIMES[unit]))
    assert parse_condition(condition.text) == condition


@given(st.text(max_size=40) | st.from_regex(r"[a-z_.0-9]{1,9}[<>=]{1,2}[0-9.e-]{1,9}[a-zµ%]{0,3}", fullmatch=True))
def test_whatever_is_written_is_read_or_refused_in_one_line(text: str) -> None:
    """No other exception than `ValueError`, and none of several lines."""
    said = ""
    try:
        assert parse_condition(text).metric in METRICS
    except ValueError as exc:
        said = str(exc)
    assert not said or said.startswith("expected ")
    assert "\n" not in said


@given(
    st.sampled_from(sorted(METRICS)),
    st.sampled_from(sorted(OPPOSITE)),
    st.integers(0, 100),
    st.integers(0, 20),
    st.integers(0, 20),
    st.integers(0, 20),
    st.booleans(),
)
def test_a_condition_and_its_opposite_never_hold_both(  # noqa: PLR0917 - what is drawn
    metric: str, relation: str, limit: int, up: int, unknown: int, pending: int, has_sent: bool
) -> None:
    """Exactly one of them holds, or nobody can tell either."""
    unit = {"time": "us", "share": "%", "count": ""}[METRICS[metric]]
    missing = up + unknown + pending
    found = good(lost_upstream=up, lost_unknown=unknown, pending=pending, received=100 - missing)
    if not has_sent:
        found = summary()
    one, other = (
        parse_condition(f"{metric}{sign}{limit}{unit}").holds(found) for sign in (relation, OPPOSITE[relation])
    )
    assert (one is None) == (other is None)
    assert one is None or one is not other


@given(st.integers(0, 50), st.integers(0, 50), st.data())
def test_what_is_said_of_a_direction_is_true_however_the_unknown_ones_were_lost(
    up: int, unknown: int, data: st.DataObject
) -> None:
    """Once it is told, it is told for every way in which it may turn out."""
    limit = data.draw(st.integers(0, 100))
    truth = up + data.draw(st.integers(0, unknown))
    told = parse_condition(f"loss_up>{limit}%").holds(good(lost_upstream=up, lost_unknown=unknown))
    assert told is None or told == (truth > limit)


def test_limits_are_compared_exactly() -> None:
    """One in three is more than 33.333333333333 %, and 1 % is not more than 1 %."""
    third = good(sent=3, received=2, lost_upstream=1)
    assert parse_condition("loss>33.333333333333%").holds(third) is True
    assert parse_condition("loss>33.333333333334%").holds(third) is False
    assert parse_condition("loss>1%").holds(good(received=99, lost_upstream=1)) is False
    assert parse_condition("loss>=1%").holds(good(received=99, lost_upstream=1)) is True
    assert parse_condition("p50>0.0015ms").limit == Fraction(1500)


@pytest.mark.parametrize(
    ("text", "holds", "said"),
    [
        ("min>1ns", False, "min is 1 ns"),
        ("mean<=2us", True, "mean is 2 us"),
        ("avg>2us", False, "avg is 2 us"),
        ("mdev>0.5ms", True, "mdev is 700 us"),
        ("p90<3ms", False, "p90 is 3 ms"),
        ("p99>20ms", True, "p99 is 23.4 ms"),
        ("p99.9>=2s", True, "p99.9 is 2 s"),
        ("network.p99>1ms", None, "network.p99 is unknown: no reply"),
        ("jitter>1us", True, "jitter is 1.5 us"),
        ("loss>4%", True, "loss is 5%"),
        ("loss_up>1%", True, "loss_up is 2%"),
        ("loss_down>1%", False, "loss_down is 1%"),
        ("lost>2", True, "lost is 3"),
        ("late>1", False, "late is 1"),
        ("late>0.5%", True, "late is 1%"),
        ("duplicates>=6", True, "duplicates is 6"),
        ("reordered>9", False, "reordered is 7"),
        ("rejected>0", True, "rejected is 3"),
        ("replies>=95", True, "replies is 95"),
        ("sent<100", False, "sent is 100"),
        ("corrupted>0", True, "corrupted is 1"),
    ],
)
def test_each_metric_is_the_summarys_own_figure(text: str, holds: bool | None, said: str) -> None:
    """By the words of the summary, with the directions shortened."""
    found = good(
        received=95, lost_upstream=2, lost_downstream=1, late=1, corrupted=1, duplicated_upstream=1,
        duplicated_downstream=2, duplicated_unknown=3, reordered=7, rejected={DropReason.MALFORMED: 3},
        round_trip=Variation(jitter_ns=1500),
    )  # fmt: skip
    condition = parse_condition(text)
    assert (condition.holds(found), condition.explain(found)) == (holds, said)


def test_a_percentile_of_nothing_cannot_be_told() -> None:
    """A loss of everything has no round-trip time, and nothing sent has no loss."""
    silent = good(received=0, lost_upstream=100, rtt=Distribution())
    assert parse_condition("p99>20ms").holds(silent) is None
    assert parse_condition("p99>20ms").explain(silent) == "p99 is unknown: no reply"
    assert parse_condition("loss>1%").holds(summary()) is None
    assert parse_condition("loss>1%").explain(summary()) == "loss is unknown: no probe was sent"


def test_what_may_be_either_way_cannot_be_told() -> None:
    """It says between what, and why."""
    condition = parse_condition("loss_up>1%")
    found = good(received=97, lost_upstream=1, lost_unknown=2)
    assert condition.holds(found) is None
    assert condition.explain(found) == "loss_up is from 1% to 3%: the server has not told which way"
    found = good(received=97, lost_upstream=1, pending=2)
    assert condition.explain(found) == "loss_up is from 1% to 3%: some probes are under way"
    assert parse_condition("loss_up>3%").holds(found) is False
    assert parse_condition("loss_up>0.5%").holds(found) is True


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected a condition such as p99>20ms, loss>1% or replies>=3, got ''"),
        ("p99=20ms", "expected a condition such as p99>20ms, loss>1% or replies>=3, got 'p99=20ms'"),
        ("p99>-1ms", "expected a condition such as p99>20ms, loss>1% or replies>=3, got 'p99>-1ms'"),
        ("p99>20", "expected a time with its unit, such as 20ms (ns, us, ms, s), behind 'p99', got '20'"),
        ("p99>20%", "expected a time with its unit, such as 20ms (ns, us, ms, s), behind 'p99', got '20%'"),
        ("loss>1", "expected a share of the probes, such as 1%, at most 100%, behind 'loss', got '1'"),
        ("loss_up>100.5%", "expected a share of the probes, such as 1%, at most 100%, behind 'loss_up', got '100.5%'"),
        ("loss>1ms", "expected a share of the probes, such as 1%, at most 100%, behind 'loss', got '1ms'"),
        ("late>1.5", "expected a whole number, or a share of the probes, such as 1%, behind 'late', got '1.5'"),
        ("late>1s", "expected a whole number, or a share of the probes, such as 1%, behind 'late', got '1s'"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_what_was_expected(text: str, said: str) -> None:
    """A unit is never guessed."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        parse_condition(text)
    assert str(caught.value) == said


def test_an_unknown_metric_is_refused_with_those_there_are() -> None:
    """All of them, but for the parts."""
    with pytest.raises(ValueError, match=r"expected one of min, mean, .*p99\.9.*, loss.* before '>', got 'p98'$"):
        parse_condition("p98>1ms")
