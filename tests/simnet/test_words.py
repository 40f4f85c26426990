"""Faults in words: what is written is read as the same, and what cannot be read is one clear line."""

import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trio_udp.testing import Conditions, GilbertElliott

from .test_chaos import conditions

ISSUED = "drop=5%,dup=1%,reorder=2%:20ms,delay=10ms±3ms,corrupt=0.1%,burst=gilbert(1%,30%)"


@given(conditions)
@example(Conditions(latency=1e308, jitter=5e-324))
@example(Conditions(latency=5e-324, bandwidth=1.7976931348623157e308))
@example(Conditions(reorder_by=0.5))
@example(Conditions(mtu=1280))
def test_what_is_written_is_read_as_the_same(said: Conditions) -> None:
    """To the last bit, whatever the numbers are."""
    assert Conditions.parse(str(said)) == said


@given(st.text())
def test_any_text_is_read_or_refused_in_one_line(text: str) -> None:
    """Nothing but `ValueError`, and never a second line."""
    said = read_or_refusal(text)
    if isinstance(said, str):
        assert "\n" not in said
        assert "expected" in said
    else:
        assert Conditions.parse(str(said)) == said


def read_or_refusal(text: str) -> Conditions | str:
    """What was read, or why not."""
    try:
        return Conditions.parse(text)
    except ValueError as exc:
        return str(exc)


@given(st.lists(st.sampled_from([*"=%(),.:±+-0159", "drop", "dup", "delay", "gilbert", "burst", "ms", "us", "Mbit"])))
def test_nearly_right_words_are_read_or_refused_too(parts: list[str]) -> None:
    """What a finger that slips types."""
    said = read_or_refusal("".join(parts))
    assert isinstance(said, Conditions) or re.fullmatch("expected .* got .*", said)


def test_all_faults_are_said_at_once() -> None:
    """The middle of a delay and how far it goes to both sides; the others as they are called."""
    assert Conditions.parse(ISSUED) == Conditions(
        loss=0.05,
        duplicate=0.01,
        reorder=0.02,
        reorder_by=0.02,
        latency=0.007,
        jitter=0.006,
        corrupt=0.001,
        burst=GilbertElliott(0.01, 0.3),
    )
    assert str(Conditions.parse(ISSUED)) == (
        "drop=5%,burst=gilbert(1%,30%),delay=10ms±3ms,dup=1%,reorder=2%:20ms,corrupt=0.1%"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", {}),
        (" drop = 0.05 , ", {"loss": 0.05}),
        ("drop=.5", {"loss": 0.5}),
        ("drop=100%", {"loss": 1.0}),
        ("delay=10ms+-3ms", {"latency": 0.007, "jitter": 0.006}),
        ("delay=10ms +/- 3ms", {"latency": 0.007, "jitter": 0.006}),
        ("delay=1.5s", {"latency": 1.5}),
        ("delay=20us", {"latency": 0.00002}),
        ("delay=20µs", {"latency": 0.00002}),
        ("delay=20\N{GREEK SMALL LETTER MU}s", {"latency": 0.00002}),
        ("delay=20 ns", {"latency": 0.00000002}),
        ("reorder=2%", {"reorder": 0.02}),
        ("rate=10Mbit,queue=50ms,mtu=1280", {"bandwidth": 1e7, "queue": 0.05, "mtu": 1280}),
        ("burst=gilbert(1%, 30%, 0.5, 1%)", {"burst": GilbertElliott(0.01, 0.3, 0.5, 0.01)}),
    ],
)
def test_words_in_every_spelling(text: str, said: dict[str, Any]) -> None:
    """Percents or fractions, and every unit."""
    assert Conditions.parse(text) == Conditions(**said)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("drop=x", "expected drop to be a share such as 5% or 0.05, at most 100%, got 'x'"),
        ("drop=101%", "expected drop to be a share such as 5% or 0.05, at most 100%, got '101%'"),
        ("drop=5", "expected drop to be a share such as 5% or 0.05, at most 100%, got '5'"),
        ("drop=-1%", "got '-1%'"),
        ("drop", "expected drop to be a share such as 5% or 0.05, at most 100%, got ''"),
        ("loss=5%", "of drop, burst, mtu, delay, rate, queue, dup, reorder, corrupt, got 'loss=5%'"),
        ("drop=1%,drop=2%", "expected drop once, got it again in 'drop=2%'"),
        ("delay=10", "expected delay to be a time in ns, us, ms or s, such as 20ms, got '10'"),
        ("delay=10m", "got '10m'"),
        ("delay=10ms±", "expected delay to be a time in ns, us, ms or s, such as 20ms, got ''"),
        ("delay=3ms±10ms", "expected delay to vary by no more than itself, as 10ms±3ms, got '3ms±10ms'"),
        ("reorder=2%:x", "expected reorder's delay to be a time in ns, us, ms or s, such as 20ms, got 'x'"),
        ("burst=5%", "such as gilbert(1%,30%), got '5%'"),
        ("burst=gilbert(1%)", "such as gilbert(1%,30%), got 'gilbert(1%)'"),
        ("burst=gilbert(1%,200%)", "expected burst to be a share such as 5% or 0.05, at most 100%, got '200%'"),
        ("rate=10", "expected rate to be bits a second in bit, kbit, Mbit or Gbit, as 10Mbit, got '10'"),
        ("rate=0bit", "expected bandwidth to be a positive number of bits a second, got 0.0"),
        ("mtu=x", "expected mtu to be a whole number of bytes, such as 1280, got 'x'"),
        ("mtu=10", "expected mtu to be at least 68, got 10"),
        (f"delay={'9' * 400}s", "expected latency to be 0 or more seconds, got inf"),
        ("x" * 10_001, "expected at most 10000 characters of faults, got 10001"),
    ],
)
def test_what_cannot_be_read_is_refused_with_what_was_expected(text: str, complaint: str) -> None:
    """What, the value, and what was expected."""
    with pytest.raises(ValueError, match="expected") as refused:
        Conditions.parse(text)
    assert complaint in str(refused.value)
