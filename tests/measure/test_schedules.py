"""When probes are due: an absolute timetable, no bursts, and what was missed is counted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_udp.measure import Adaptive, Fixed, Poisson, Progress, Schedule, flood

MS = 1_000_000


def dues(schedule: Schedule, count: int) -> list[int]:
    """When so many probes are due that are all sent at once when they are, and never answered."""
    found: list[int] = []
    for number in range(count):
        found.append(schedule.next_due(Progress(number, found[-1] if found else 0, number, None, None)))
    return found


def test_fixed_probes_are_an_interval_apart() -> None:
    """From the first one on, which is due at once."""
    assert dues(Fixed(0.001), 4) == [0, MS, 2 * MS, 3 * MS]


def test_preloaded_probes_are_due_at_once() -> None:
    """And the others an interval apart after them."""
    assert dues(Fixed(0.001, preload=3), 5) == [0, 0, 0, MS, 2 * MS]
    assert dues(Poisson(0.001, lambda: 0.5, preload=2), 2) == [0, 0]
    assert dues(Adaptive(0.01, preload=2), 3) == [0, 0, 10 * MS]


@given(st.integers(1, 200), st.integers(0, 5 * MS), st.booleans())
def test_no_more_slots_are_missed_than_have_passed_while_many_are_preloaded(
    preload: int, took: int, is_random: bool
) -> None:
    """Each of them once counted all that had passed before it: `-l 100 -i 1ms` missed 1544 in 144 ms."""
    schedule = Poisson(0.001, lambda: 0.5, preload=preload) if is_random else Fixed(0.001, preload=preload)
    now = last_due = missed = 0
    for number in range(preload):
        last_due, slots = schedule.skip(schedule.next_due(Progress(number, last_due, number, None, None)), now)
        missed += slots
        assert missed <= now // MS
        now += took


@given(st.integers(0, 10**9), st.integers(0, 10**12))
def test_a_delay_leads_to_the_slot_that_it_ends_in(due: int, delay: int) -> None:
    """However long it was: one probe, and a count of those that were missed."""
    slot, missed = Fixed(0.001).skip(due, due + delay)
    assert missed == delay // MS
    assert slot == due + missed * MS <= due + delay < slot + MS
    assert Fixed(0.001).skip(due, due - 5) == (due, 0)


def test_random_intervals_have_their_mean() -> None:
    """Exponential: -ln(1 - 1/2) of it at the median; and a gap is not caught up with."""
    schedule = Poisson(0.001, lambda: 0.5)
    assert dues(schedule, 3) == [0, 693_147, 1_386_294]
    assert schedule.skip(MS, MS + 5) == (MS, 0)
    assert schedule.skip(MS, 11 * MS + 5) == (11 * MS + 5, 10)
    assert not schedule.reacts


def test_adaptive_probes_follow_answers() -> None:
    """At once, or as soon as the least interval is over; and without an answer after the whole interval."""
    schedule = Adaptive(0.2, least=0.002)
    assert schedule.reacts
    assert schedule.next_due(Progress(1, 0, 0, 5 * MS, MS)) == 5 * MS
    assert schedule.next_due(Progress(2, 5 * MS, 0, 6 * MS, MS)) == 7 * MS
    assert schedule.next_due(Progress(3, 7 * MS, 1, 6 * MS, MS)) == 207 * MS
    assert schedule.next_due(Progress(3, 7 * MS, 0, None, None)) == 207 * MS
    assert schedule.skip(5, 10) == (10, 0)


def test_a_flood_sends_a_hundred_a_second_at_least() -> None:
    """And as many as are answered."""
    assert dues(flood(), 3) == [0, 10 * MS, 20 * MS]
    assert flood().next_due(Progress(9, 5, 0, 7, 2)) == 7


@pytest.mark.parametrize("interval", [0, -1, 1e-7, 86_401, float("nan")])
def test_an_interval_out_of_range_is_refused(interval: float) -> None:
    """With the value in the sentence."""
    with pytest.raises(ValueError, match=f"expected from a microsecond to a day, in seconds, got {interval}"):
        Fixed(interval)


def test_to_preload_nothing_is_refused() -> None:
    """The first probe is always due."""
    with pytest.raises(ValueError, match="expected to preload at least 1 probe, got 0"):
        flood(preload=0)
