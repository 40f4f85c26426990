"""Correction for coordinated omission: what was not sent counts as slow, as HdrHistogram counts it."""

from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_udp.measure import Correction, Event, Missed
from trio_udp.measure._corrected import _MOST_IMAGINED, _MOST_WAITING, imagined

from .records import reply_record, start

MOST_TRACKED = 3600 * 10**9


def expanded(times: Iterator[tuple[int, int]]) -> list[int]:
    """Each as often as it came."""
    return sorted(Counter(dict(times)).elements())


def corrected(*events: Event) -> list[int]:
    """What all of them add."""
    correction = Correction()
    return sorted(time for event in events for time in expanded(correction.times_of(event)))


def test_each_missed_slot_is_a_probe_that_waited_from_its_own_time() -> None:
    """And the one behind them counts from when it was due."""
    assert corrected(
        start(slot_ns=1000), Missed(slots=3, before=2), reply_record(sequence=1, rtt_ns=50),
        reply_record(sequence=2, rtt_ns=200, late_ns=400), reply_record(sequence=3, rtt_ns=60),
    ) == [50, 60, 600, 1600, 2600, 3600]  # fmt: skip


def test_a_stream_that_does_not_say_how_far_apart_its_slots_are_has_none() -> None:
    """Nothing is better than something made up."""
    assert corrected(start(), Missed(slots=3, before=1), reply_record(sequence=1)) == []
    assert corrected(reply_record(sequence=1)) == []


@given(
    from_due=st.integers(-(10**12), 10**12),
    missed=st.integers(-(10**6), 2**63 - 1) | st.integers(0, 5000),
    slot=st.integers(1, 10**12),
)
def test_however_long_the_gap_is_it_takes_little_and_no_slot_is_forgotten(
    from_due: int, missed: int, slot: int
) -> None:
    """All values are later than the probe's own, and no later than the first slot's."""
    times = list(imagined(from_due, missed, slot))
    assert len(times) <= _MOST_IMAGINED
    assert sum(count for _, count in times) == max(missed, 0)
    assert all(from_due < time <= from_due + missed * slot for time, _ in times)


def test_gaps_whose_probes_are_never_answered_take_bounded_memory() -> None:
    """The oldest are forgotten first."""
    correction = Correction()
    events: list[Event] = [start(slot_ns=10), *(Missed(slots=1, before=n) for n in range(_MOST_WAITING + 2))]
    assert [time for event in events for time in correction.times_of(event)] == []
    assert expanded(correction.times_of(reply_record(sequence=1, rtt_ns=5))) == [5]
    assert expanded(correction.times_of(reply_record(sequence=2, rtt_ns=5))) == [5, 15]


@given(rtt=st.integers(1, 10**6), late=st.integers(0, 10**6), missed=st.integers(0, _MOST_IMAGINED))
def test_it_is_the_correction_of_hdrhistogram(rtt: int, late: int, missed: int) -> None:
    """Which is told the whole time since the first slot that was missed, and how far apart slots are."""
    histogram = pytest.importorskip("hdrh.histogram", reason="the package hdrhistogram is not installed")
    slot = rtt + late
    reply = reply_record(sequence=1, rtt_ns=rtt, late_ns=late)
    events: list[Event] = [start(slot_ns=slot), Missed(slots=missed, before=1), reply]
    theirs, ours = (histogram.HdrHistogram(1, MOST_TRACKED, 3) for _ in range(2))
    theirs.record_corrected_value(slot + missed * slot, slot)
    for time in corrected(*events):
        ours.record_value(time)
    assert ours.get_total_count() == theirs.get_total_count() == missed + 1
    assert list(ours.counts) == list(theirs.counts)
