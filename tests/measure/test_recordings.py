"""Recorded runs: what a stream's end says, and what can be known without it."""

import dataclasses

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trio_udp import Address, DropReason
from trio_udp.measure import (
    Corrupted,
    Direction,
    Distribution,
    Event,
    Interval,
    Late,
    Line,
    Lost,
    Missed,
    Recording,
    Refused,
    Rejected,
    Skipped,
    Start,
    Summary,
    runs_of,
)
from trio_udp.measure._sequences import Sequences

from ..properties.test_truth import EVERYTHING, Faults, faults
from .recorded import events_of
from .records import reply_record, summary

HERE = Address("192.0.2.1", 1060)
EXACT = (
    "received", "late", "corrupted", "lost", "duplicated_downstream", "reordered", "changed", "rejected", "stamps",
    "missed_slots", "rtt", "rtt_corrected", "total", "client_queue", "network", "server", "wake_up", "round_trip",
    "sent",
)  # fmt: skip
"""What the events tell."""


def recorded(*events: Event) -> Recording:
    """A run of these."""
    recording = Recording("h")
    for event in events:
        recording.take(event)
    return recording


def start(at_ns: int = 0) -> Start:
    """A run begins."""
    return Start(at_ns=at_ns, peer=HERE, profile="tu1", size=56, datagram_size=80, has_times=True)


def lost(sequence: int, direction: Direction = Direction.UNKNOWN) -> Lost:
    """No answer."""
    return Lost(sent_at_ns=1, sequence=sequence, direction=direction, waited_ns=1, hint=None)


def test_the_sums_are_those_that_the_run_ended_with() -> None:
    """Whatever its events say."""
    told = summary(sent=7)
    recording = recorded(start(), reply_record(), told)
    assert recording.is_complete
    assert recording.summary() is told
    assert recording.start == start()


@given(faults)
@example(EVERYTHING)
def test_without_its_end_a_run_adds_up_to_the_same(plan: Faults) -> None:
    """But for what only the server and the prober know."""
    *events, told = events_of(plan)
    assert isinstance(told, Summary)
    recording = recorded(*events)
    assert not recording.is_complete
    found = recording.summary()
    assert {name: getattr(found, name) for name in EXACT} == {name: getattr(told, name) for name in EXACT}


@given(faults, st.data())
def test_a_run_that_was_cut_anywhere_still_adds_up(plan: Faults, data: st.DataObject) -> None:
    """`sent` is the sum of its parts, none of them negative."""
    events = events_of(plan)[:-1]
    found = recorded(*events[: data.draw(st.integers(0, len(events)))]).summary()
    parts = [found.received, found.late, found.corrupted, found.refused, found.lost, found.pending]
    assert found.sent == sum(parts)
    assert min(parts) >= 0


def test_later_answers_change_where_a_probe_is_counted() -> None:
    """As in the prober's own books."""

    def changed(sequence: int) -> Corrupted:
        return Corrupted(sent_at_ns=1, sequence=sequence, rtt_ns=1, size=80, hop_limit=None, is_intact=True)

    found = recorded(
        start(1000),
        *(lost(1), Late(sequence=1, rtt_ns=5)),
        *(lost(2, Direction.UPSTREAM), changed(2)),
        *(changed(3), reply_record(sequence=3, received_at_ns=5000), changed(3)),
        Refused(sent_at_ns=1, sequence=4, reason="busy"),
        lost(5, Direction.DOWNSTREAM),
        Missed(slots=3, before=6),
        Rejected(reason=DropReason.MALFORMED, peer=HERE),
        Skipped(events=1),
        reply_record(sequence=7, received_at_ns=4000),
        Interval(at_ns=6000, elapsed_ns=1, sent=1, received=1, lost=0, rtt=Distribution()),
    ).summary()  # fmt: skip
    assert dataclasses.replace(
        found, rtt=Distribution(), total=Distribution(), stamps={}
    ) == summary(
        at_ns=6000, elapsed_ns=5000, sent=7, received=2, late=1, corrupted=1, refused=1, lost_downstream=1, pending=1,
        changed=3, missed_slots=3, rejected={DropReason.MALFORMED: 1}, round_trip=found.round_trip,
    )  # fmt: skip
    assert found.rtt.count == 2


def test_nothing_at_all_adds_up_to_nothing() -> None:
    """A stream that was cut before the first event."""
    assert recorded().summary() == summary()


def test_lines_are_sorted_by_run() -> None:
    """Several hosts side by side, and one host twice."""
    events: list[tuple[str, Event]]
    events = [("a", start()), ("b", start()), ("a", reply_record()), ("b", summary()), ("a", start()), ("c", summary())]
    runs = runs_of([Line(host, event) for host, event in events], Recording)
    assert [(run.host, run.is_complete, run.summary().received) for run in runs] == [
        ("a", False, 1),
        ("b", True, 0),
        ("a", False, 0),
        ("c", True, 0),
    ]


@given(st.sets(st.integers(-(2**63), 2**63)))
def test_a_set_of_sequences_has_what_was_put_in(numbers: set[int]) -> None:
    """And nothing else."""
    found = Sequences()
    for number in numbers:
        found.add(number)
    assert all(number in found for number in numbers)
    assert not any(number in found for number in {number + 1 for number in numbers} - numbers)


@pytest.mark.parametrize("number", [3000, 2001])
def test_a_set_of_sequences_forgets_those_far_behind(number: int) -> None:
    """And keeps those that are not, however many came."""
    found = Sequences(1000)
    for each in range(1, 3001):
        found.add(each)
    assert number in found
    assert 1 not in found
    assert len(found._pages) <= 3
