"""What `--live` knows of a run: every event under its sign, in bounded memory."""

from hypothesis import given
from hypothesis import strategies as st

from trio_udp import DropReason
from trio_udp._net import Address
from trio_udp.measure import (
    Corrupted,
    Direction,
    Distribution,
    Event,
    Interval,
    Late,
    Lost,
    Missed,
    Refused,
    Rejected,
    Start,
)
from trio_udp.measure._watch import KEPT, Mark, View, Watch

from .records import reply_record

PEER = Address("192.0.2.1", 1060)


def lost(sequence: int, direction: Direction = Direction.UPSTREAM) -> Lost:
    """A probe that is waited for no longer."""
    return Lost(sequence=sequence, direction=direction, sent_at_ns=0, waited_ns=10, hint=None)


def corrupted(sequence: int) -> Corrupted:
    """A changed answer."""
    return Corrupted(sequence=sequence, rtt_ns=9, sent_at_ns=0, size=80, hop_limit=None, is_intact=False)


def made(sequence: int, kind: str) -> Event:
    """Something that happens to a probe."""
    match kind:
        case "reply":
            return reply_record(sequence=sequence)
        case "lost":
            return lost(sequence)
        case "late":
            return Late(sequence=sequence, rtt_ns=1)
        case _:
            return corrupted(sequence)


def watched(*events: Event, sent: int = 0, waiting: int = 0) -> View:
    """What is known after these events."""
    watch = Watch("example.org")
    for event in events:
        watch.take(event)
    return watch.view(sent=sent, waiting=waiting, elapsed=1.5)


def test_each_event_is_counted_and_has_its_sign() -> None:
    """And a probe of which nothing is known yet is waited for."""
    view = watched(
        Start(at_ns=0, peer=PEER, profile="tu1", size=56, datagram_size=80, has_times=True),
        reply_record(sequence=1, rtt_ns=1000),
        lost(2),
        lost(3, Direction.DOWNSTREAM),
        lost(4, Direction.UNKNOWN),
        corrupted(5),
        Refused(sequence=6, reason="busy", sent_at_ns=0),
        Rejected(reason=DropReason.WRONG_PEER, peer=PEER),
        Missed(slots=7, before=8),
        Interval(at_ns=0, elapsed_ns=0, sent=0, received=0, lost=0, rtt=Distribution()),
        sent=7,
        waiting=1,
    )
    assert view.cells == (
        1000, Mark.UPSTREAM, Mark.DOWNSTREAM, Mark.UNKNOWN, Mark.CHANGED, Mark.REFUSED, Mark.WAITING,
    )  # fmt: skip
    assert view.lost == dict.fromkeys(Direction, 1)
    assert (view.received, view.changed, view.refused, view.missed_slots) == (1, 1, 1, 7)
    assert view.rejected == {DropReason.WRONG_PEER: 1}
    assert (view.host, view.peer, view.size, view.elapsed) == ("example.org", "192.0.2.1:1060", 56, 1.5)
    assert round(view.loss) == round(100 * 5 / 6)


def test_who_comes_late_is_lost_no_more() -> None:
    """Nor received. Of a loss that nobody remembers the direction cannot be told; its sign changes all the same."""
    view = watched(lost(1), lost(2), Late(sequence=1, rtt_ns=5), Late(sequence=9, rtt_ns=5), sent=9)
    assert view.cells[:2] == (Mark.LATE, Mark.UPSTREAM)
    assert (view.lost[Direction.UPSTREAM], view.late, view.received) == (1, 2, 0)


def test_a_good_answer_after_a_changed_one_counts_and_not_the_other_way_round() -> None:
    """The probe was received, whatever else came."""
    good = reply_record(sequence=1, rtt_ns=5)
    assert watched(corrupted(1), good).cells == watched(good, corrupted(1)).cells == (5,)


@given(
    st.lists(st.tuples(st.integers(1, 5 * KEPT), st.sampled_from(["reply", "lost", "late", "changed"])), max_size=60)
)
def test_the_last_probes_are_shown_whatever_the_order(happened: list[tuple[int, str]]) -> None:
    """As many as are kept, the newest at the end; the loss is a percentage."""
    events = [made(sequence, kind) for sequence, kind in happened]
    newest = max((sequence for sequence, _ in happened), default=0)
    view = watched(*events, sent=newest)
    assert len(view.cells) == min(newest, KEPT)
    if newest:
        assert view.cells[-1] is not Mark.WAITING
    assert 0 <= view.loss <= 100


def test_a_long_run_is_held_in_bounded_memory() -> None:
    """Cells, losses that may turn out to be late, and buckets of times."""
    watch = Watch("example.org")
    for sequence in range(1, 30_000):
        watch.take(lost(sequence) if sequence % 3 else reply_record(sequence=sequence, rtt_ns=sequence * 1000))
    assert len(watch._cells) <= 2 * KEPT
    assert len(watch._losses) <= 4096
    assert watch.view(sent=30_000, waiting=1, elapsed=1).lost[Direction.UPSTREAM] == 20_000
