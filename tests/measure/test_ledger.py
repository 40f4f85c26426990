"""The books: every probe under exactly one heading, whatever comes and in whatever order."""

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_udp import Address, DropReason
from trio_udp.measure import (
    Corrupted,
    Direction,
    Duplicate,
    Late,
    Lost,
    Missed,
    Refused,
    Rejected,
    ReplyRecord,
    Reported,
    Stamps,
)
from trio_udp.measure import Summary as Sums
from trio_udp.measure._ledger import Entry, Ledger
from trio_udp.measure._timing import Readings
from trio_udp.proto import AnswerKind, Heard, Probe, Refusal, RefusalReason, Times

SLOT = 1000
MEMORY = 10**15
HEADINGS = (
    "received", "late", "corrupted", "refused", "lost_upstream", "lost_downstream", "lost_unknown", "pending",
)  # fmt: skip


def sums(ledger: Ledger) -> Sums:
    """At the end."""
    return ledger.summary(1, 2, {"ECONNREFUSED": 3})


def entry(sequence: int = 1, **options: Any) -> Entry:
    """One probe, sent when it was due."""
    values = {"due": 10, "sent": 10, "sent_wall": 10} | options
    return Entry(Probe(sequence, bytes(16), b""), **values)


def sent(ledger: Ledger, sequence: int = 1, **options: Any) -> Entry:
    """The same, in the books."""
    found = entry(sequence, **options)
    ledger.send(found)
    return found


def times(*, received: int = 1, highest: int = 1, window: int = 0, turnaround: int | None = 5) -> Times:
    """A server's word."""
    return Times(1, MEMORY, received, 0, 0, highest, window, 40, turnaround, by_kernel=True)


def hear(ledger: Ledger, about: Entry, *, kind: AnswerKind = AnswerKind.REPLY, **changes: Any) -> object:
    """An answer comes after 100 ns."""
    values: dict[str, Any] = {"times": times(received=about.probe.sequence, highest=about.probe.sequence)}
    values |= {"is_right": True, "is_intact": True, "size": 80}
    if kind is not AnswerKind.REPLY:
        values["times"] = None
    heard = Heard(about.probe, kind, **(values | changes))
    return ledger.hear(heard, about, Readings(about.sent, about.sent_wall, None, None, about.sent + 100, 110), 64)


def test_a_reply_is_measured() -> None:
    """And the server's word is told with it."""
    ledger = Ledger(slot=SLOT)
    event = hear(ledger, sent(ledger))
    assert isinstance(event, ReplyRecord)
    assert (event.rtt_ns, event.server_ns, event.network_ns, event.stamps) == (100, 5, 95, Stamps.USER)
    assert (event.server_arrived_at_ns, event.server_stamps, event.server_sequence) == (40, Stamps.KERNEL, 1)
    found = sums(ledger)
    assert (found.received, found.rtt.p50_ns, found.network.p50_ns, found.on_time) == (1, 100, 95, 1)
    assert not found.is_complete
    hear(ledger, entry(0), times=times())
    assert sums(ledger).is_complete
    assert found.hints == {"ECONNREFUSED": 3}
    assert found.clock is not None
    assert ledger.rtt_max == 100
    assert ledger.wants_report


def test_a_reply_without_times_tells_less() -> None:
    """Of a simple reflector, or of another format; and one that took very long in the server."""
    ledger = Ledger(slot=SLOT)
    event = hear(ledger, sent(ledger), times=None)
    assert isinstance(event, ReplyRecord)
    assert (event.server_ns, event.server_stamps, event.server_sequence) == (None, None, None)
    assert not ledger.wants_report
    assert not sums(ledger).is_complete
    slow = hear(ledger, sent(ledger, 2), times=times(turnaround=None))
    assert isinstance(slow, ReplyRecord)
    assert slow.server_ns is None
    assert slow.server_stamps is Stamps.KERNEL
    assert sums(ledger).clock is None


def test_a_changed_answer_is_no_answer_until_nothing_better_comes() -> None:
    """The probe is still waited for; then it is corrupted, and not lost."""
    ledger = Ledger(slot=SLOT)
    one, two, three = (sent(ledger, number) for number in (1, 2, 3))
    event = hear(ledger, one, is_intact=False, times=None)
    assert event == Corrupted(sequence=1, rtt_ns=100, sent_at_ns=10, size=80, hop_limit=64, is_intact=False)
    assert isinstance(hear(ledger, one), ReplyRecord)
    assert isinstance(hear(ledger, two, is_right=False), Corrupted)
    assert ledger.expire(two, 500) is None
    assert ledger.expire(three, 500) is not None
    assert isinstance(hear(ledger, three, is_right=False), Corrupted)
    assert isinstance(hear(ledger, two), Late)
    found = sums(ledger)
    assert (found.received, found.corrupted, found.late, found.lost, found.changed) == (1, 1, 1, 0, 3)


def test_a_refusal_is_an_answer() -> None:
    """Busy, or failed; a second one is a duplicate that came from who knows where."""
    ledger = Ledger(slot=SLOT)
    one = sent(ledger)
    assert hear(ledger, one, kind=AnswerKind.BUSY) == Refused(sequence=1, reason="busy", sent_at_ns=10)
    assert hear(ledger, one, kind=AnswerKind.BUSY) == Duplicate(sequence=1, direction=Direction.UNKNOWN)
    found = sums(ledger)
    assert (found.refused, found.duplicated_unknown) == (1, 1)


def test_a_refusal_has_the_reason_that_the_server_gives() -> None:
    """And the sums have the limits, as they were told last."""
    ledger = Ledger(slot=SLOT)
    said = [Refusal(RefusalReason.RATE, 5), Refusal(RefusalReason.RATE, 7), Refusal(RefusalReason.DRAINING)]
    for number, refusal in enumerate(said, 1):
        event = hear(ledger, sent(ledger, number), kind=AnswerKind.BUSY, payload=refusal.encode())
        assert event == Refused(
            sequence=number, reason="busy", sent_at_ns=10, because=refusal.reason, limit=refusal.limit or None
        )
    found = sums(ledger)
    assert found.refused == 3
    assert found.refusals == {RefusalReason.RATE: 2, RefusalReason.DRAINING: 1}
    assert found.limits == {RefusalReason.RATE: 7}


def test_duplicates_are_told_apart_by_the_servers_count() -> None:
    """The same number: the reply came twice. Another: the probe did."""
    ledger = Ledger(slot=SLOT)
    one = sent(ledger)
    hear(ledger, one)
    assert hear(ledger, one) == Duplicate(sequence=1, direction=Direction.DOWNSTREAM)
    assert hear(ledger, one, times=times(received=2)) == Duplicate(sequence=1, direction=Direction.UPSTREAM)
    found = sums(ledger)
    assert (found.duplicated_upstream, found.duplicated_downstream) == (1, 1)


def test_what_comes_too_late_is_neither_lost_nor_received() -> None:
    """And what comes then is a duplicate."""
    ledger = Ledger(slot=SLOT)
    one = sent(ledger)
    one.hint = "EHOSTUNREACH"
    lost = ledger.expire(one, 510)
    assert lost == Lost(sequence=1, direction=Direction.UNKNOWN, sent_at_ns=10, waited_ns=500, hint="EHOSTUNREACH")
    assert hear(ledger, one) == Late(sequence=1, rtt_ns=100)
    assert isinstance(hear(ledger, one), Duplicate)
    assert (sums(ledger).late, sums(ledger).lost) == (1, 0)


def test_what_never_left_is_lost_upstream() -> None:
    """The kernel refused it. If an answer comes all the same, so be it."""
    ledger = Ledger(slot=SLOT)
    one = sent(ledger)
    ledger.refuse_to_send(one, "ENETUNREACH")
    lost = ledger.expire(one, 500, is_over=False)
    assert lost is not None
    assert (lost.direction, lost.hint) == (Direction.UPSTREAM, "ENETUNREACH")
    assert (sums(ledger).lost_upstream, sums(ledger).not_sent) == (1, {"ENETUNREACH": 1})


def test_a_run_that_was_stopped_has_probes_that_are_pending() -> None:
    """Nobody knows what would have become of them, so nothing is complete."""
    ledger = Ledger(slot=SLOT)
    hear(ledger, sent(ledger))
    assert ledger.expire(sent(ledger, 2), 20, is_over=False) is not None
    found = sums(ledger)
    assert (found.pending, found.lost, found.is_complete, found.loss) == (1, 0, False, 50.0)


@pytest.mark.parametrize(
    ("kind", "changes", "heading"),
    [
        (AnswerKind.REPLY, {}, "received"),
        (AnswerKind.BUSY, {"times": None}, "refused"),
        (AnswerKind.REPLY, {"is_intact": False, "times": None}, "corrupted"),
    ],
)
def test_what_comes_when_the_run_was_stopped_is_in_time(
    kind: AnswerKind, changes: dict[str, Any], heading: str
) -> None:
    """Its time was not over; it is neither pending any more nor late."""
    ledger = Ledger(slot=SLOT)
    hear(ledger, sent(ledger))
    stopped = sent(ledger, 2)
    assert ledger.expire(stopped, 20, is_over=False) is not None
    hear(ledger, stopped, kind=kind, **changes)
    found = sums(ledger)
    assert (found.sent, found.pending, found.late, found.received) == (2, 0, 0, 1 + (heading == "received"))
    assert getattr(found, heading) > 0


def test_a_report_is_the_servers_last_word() -> None:
    """It is no event, and is believed as a reply is."""
    ledger = Ledger(slot=SLOT)
    hear(ledger, sent(ledger))
    assert ledger.expire(sent(ledger, 2), 500) is not None
    assert (sums(ledger).lost_unknown, sums(ledger).is_complete) == (1, False)
    assert hear(ledger, entry(0), times=times(received=2, highest=2, window=1)) is None
    found = sums(ledger)
    assert (found.is_complete, found.lost_upstream, found.lost_downstream) == (True, 0, 1)
    assert hear(Ledger(slot=SLOT), entry(0)) is None


def test_what_the_server_has_counted_stands_beside_what_follows_from_it() -> None:
    """In its own words, which may be of a part of the run, and what they are worth: None before it has said any."""
    ledger = Ledger(slot=SLOT, is_authenticated=True)
    one = sent(ledger)
    assert sums(ledger).reported is None
    hear(ledger, one)
    said = Reported(
        received=1, duplicates=0, reordered=0, highest=1, is_final=False, is_whole=True, is_authenticated=True
    )
    assert sums(ledger).reported == said
    hear(ledger, entry(0), times=times(received=2, highest=2, window=1))
    assert sums(ledger).reported == dataclasses.replace(said, received=2, highest=2, is_final=True)
    assert hear(ledger, entry(0), kind=AnswerKind.BUSY) is None
    found = sums(ledger).reported
    assert found is not None
    assert found.is_whole
    assert hear(ledger, entry(0), times=None) is None
    found = sums(ledger).reported
    assert found is not None
    assert not found.is_whole


def test_replies_in_another_order_than_their_probes_are_reordered() -> None:
    """By the sequence, and by the server's count."""
    ledger = Ledger(slot=SLOT)
    one, two = sent(ledger), sent(ledger, 2)
    second, first = hear(ledger, two), hear(ledger, one)
    assert isinstance(first, ReplyRecord)
    assert isinstance(second, ReplyRecord)
    assert (second.is_reordered, first.is_reordered) == (False, True)
    assert (sums(ledger).reordered, sums(ledger).reordered_downstream) == (1, 1)


def test_late_probes_and_missed_slots_count_from_when_they_were_due() -> None:
    """Without coordinated omission: three slots were missed, and each of them would have waited."""
    ledger = Ledger(slot=SLOT)
    assert ledger.miss(3, 1) == Missed(slots=3, before=1)
    event = hear(ledger, sent(ledger, due=10, sent=1510, missed=3))
    assert isinstance(event, ReplyRecord)
    assert event.late_ns == 1500
    found = sums(ledger)
    assert (found.missed_slots, found.on_time, found.rtt.count) == (3, 0, 1)
    corrected = found.rtt_corrected
    assert (corrected.count, corrected.min_ns, corrected.max_ns) == (4, 1600, 4600)
    assert ledger.interval(0, 0).rtt_corrected == corrected
    assert ledger.interval(0, 0).rtt_corrected.count == 0


def test_when_it_is_summed_up_does_not_change_the_sums() -> None:
    """After each reply, now and then, or at the end; exact, and in buckets."""
    found = []
    for pause in (1, 7, 100_000):
        ledger = Ledger(slot=SLOT)
        for number in range(1, 9000):
            hear(ledger, sent(ledger, number, due=10 - number % 5))
            if number % pause == 0:
                ledger.catch_up()
        found.append(ledger.summary(0, 0, {}))
    assert not found[0].rtt.is_exact
    assert found[0] == found[1] == found[2]


def test_a_long_gap_costs_no_memory() -> None:
    """A million slots are told by a thousand values."""
    ledger = Ledger(slot=SLOT)
    hear(ledger, sent(ledger, missed=1_000_001))
    assert sums(ledger).rtt_corrected.count == 1_000_002


def test_rejected_datagrams_change_nothing_else() -> None:
    """Whatever a stranger sends."""
    ledger = Ledger(slot=SLOT)
    before = sums(ledger)
    peer = Address("192.0.2.99", 9)
    assert ledger.reject(DropReason.WRONG_PEER, peer) == Rejected(reason=DropReason.WRONG_PEER, peer=peer)
    after = sums(ledger)
    assert after.rejected == {DropReason.WRONG_PEER: 1}
    assert [getattr(after, name) for name in HEADINGS] == [getattr(before, name) for name in HEADINGS]


def test_an_interval_is_what_happened_since_the_last_one() -> None:
    """Each begins with nothing."""
    ledger = Ledger(slot=SLOT)
    hear(ledger, sent(ledger))
    ledger.expire(sent(ledger, 2), 500)
    first, second = ledger.interval(7, 8), ledger.interval(9, 10)
    assert (first.at_ns, first.elapsed_ns, first.sent, first.received, first.lost, first.rtt.count) == (
        7,
        8,
        2,
        1,
        1,
        1,
    )
    assert (second.sent, second.received, second.lost, second.rtt.count) == (0, 0, 0, 0)


actions = st.lists(
    st.tuples(
        st.sampled_from(["right", "wrong", "changed", "busy", "expire", "stop"]),
        st.integers(0, 4),
        st.none() | st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(0, 99), st.integers(0, 5)),
    ),
    max_size=40,
)


@given(actions, st.integers(0, 5))
def test_every_probe_is_under_one_heading_whatever_happens(
    happens: list[tuple[str, int, tuple[int, int, int, int] | None]], count: int
) -> None:
    """Also with a server that tells nonsense: nothing is negative, and the sum is what was sent."""
    ledger = Ledger(slot=SLOT)
    probes = [sent(ledger, number + 1) for number in range(count)]
    for what, which, said in happens:
        if which >= count:
            continue
        one = probes[which]
        word = None
        if said is not None:
            state, received, window, duplicates = said
            word = Times(state, MEMORY, received, duplicates, 0, received, window, 40, 5, by_kernel=False)
        if what in ("expire", "stop"):
            if not one.fate:
                ledger.expire(one, 500, is_over=what == "expire")
        elif what == "busy":
            hear(ledger, one, kind=AnswerKind.BUSY)
        else:
            intact = what != "changed"
            hear(ledger, one, is_right=what == "right", is_intact=intact, times=word if intact else None)
        found = sums(ledger)
        headings = [getattr(found, name) for name in HEADINGS]
        assert min(headings) >= 0
        assert sum(headings) == found.sent == count
        assert 0 <= found.loss <= 100


@pytest.mark.parametrize("count", [0, 1])
def test_loss_of_nothing_is_nothing(count: int) -> None:
    """And of one that was lost it is everything."""
    ledger = Ledger(slot=SLOT)
    for number in range(count):
        ledger.expire(sent(ledger, number + 1), 500)
    assert sums(ledger).loss == 100 * count
