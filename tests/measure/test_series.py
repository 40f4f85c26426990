"""What `--plot` draws: nothing is forgotten, and memory is bounded."""

from collections.abc import Iterable
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from trio_udp import DropReason
from trio_udp._net import Address
from trio_udp.measure import Corrupted, Direction, Event, Late, Lost, Missed, Refused, Rejected, Start
from trio_udp.measure._series import FATES, MOST_SPOTS, Series

from .records import reply_record, summary

PEER = Address("192.0.2.1", 1060)
BEGAN = 1_764_115_200_000_000_000

kinds = st.sampled_from([*Direction, "changed", "refused", "reply"])
happened = st.lists(st.tuples(st.integers(-5, 10**13), kinds, st.integers(1, 10**10)), max_size=100)


def series_of(title: str, events: Iterable[Event]) -> Series:
    """A run that has had these events."""
    series = Series(title)
    for event in events:
        series.take(event)
    return series


def start() -> Start:
    """A run begins."""
    return Start(at_ns=BEGAN, peer=PEER, profile="tu1", size=56, datagram_size=80, has_times=True)


def event_of(after: int, kind: Direction | str, rtt: int) -> Event:
    """What became of a probe that was sent so many nanoseconds after the beginning."""
    if isinstance(kind, Direction):
        return Lost(sequence=1, direction=kind, sent_at_ns=BEGAN + after, waited_ns=1, hint=None)
    if kind == "changed":
        return Corrupted(sequence=1, rtt_ns=1, sent_at_ns=BEGAN + after, size=80, hop_limit=None, is_intact=True)
    if kind == "refused":
        return Refused(sequence=1, reason="busy", sent_at_ns=BEGAN + after)
    return reply_record(rtt_ns=rtt, sent_at_ns=BEGAN + after)


@given(happened)
def test_few_probes_are_kept_one_by_one(events: list[tuple[int, Direction | str, int]]) -> None:
    """Each where it was sent, to the microsecond, and with its own time."""
    series = series_of("", [start(), *(event_of(*event) for event in events)])
    assert series.is_exact
    assert sum(spot.probes for _, spot in series.spots()) == len(events)
    seconds = [second for second, _ in series.spots()]
    for after, _, _ in events:
        assert any(0 <= after / 1e9 - second <= 1.1e-6 for second in seconds)


def test_many_probes_are_put_together_and_none_is_forgotten() -> None:
    """The least and the greatest time stay, and so does every loss; the sums are those of the parts."""
    events = [event_of(n * 10**6, "reply" if n % 7 else Direction.UPSTREAM, 1000 + n) for n in range(20_000)]
    series = series_of("", [start(), *events])
    spots = [spot for _, spot in series.spots()]
    assert not series.is_exact
    assert MOST_SPOTS // 2 - 1 <= len(spots) <= MOST_SPOTS
    assert sum(spot.fates["upstream"] for spot in spots) == 2858
    assert sum(spot.replies for spot in spots) == 20_000 - 2858
    assert sum(spot.total for spot in spots) == sum(1000 + n for n in range(20_000) if n % 7)
    assert (min(spot.least for spot in spots if spot.replies), max(spot.most for spot in spots)) == (1001, 20_998)
    assert all(spot.least * spot.replies <= spot.total <= spot.most * spot.replies for spot in spots)
    seconds = [second for second, _ in series.spots()]
    assert seconds == sorted(seconds)
    assert 0 <= seconds[0] < seconds[-1] <= 20 + series.width_ns / 1e9


@given(events=happened, seed=st.randoms())
def test_the_order_of_events_makes_no_difference(events: list[tuple[int, Direction | str, int]], seed: Random) -> None:
    """Losses are told long after the replies around them."""
    shuffled = list(events)
    seed.shuffle(shuffled)
    one, other = (series_of("", [start(), *(event_of(*event) for event in some)]) for some in (events, shuffled))
    for (second, spot), (second2, spot2) in zip(one.spots(), other.spots(), strict=True):
        assert (second, spot.replies, spot.total, spot.least, spot.most, spot.fates) == (
            second2, spot2.replies, spot2.total, spot2.least, spot2.most, spot2.fates,
        )  # fmt: skip


def test_what_has_no_time_is_counted() -> None:
    """Rejected datagrams, missed slots, late answers; and the last word is the summary's."""
    found = summary(sent=3)
    series = Series("192.0.2.1")
    for event in (
        Missed(slots=4, before=2), Late(sequence=1, rtt_ns=1), Rejected(reason=DropReason.MALFORMED, peer=PEER), found,
    ):  # fmt: skip
        series.take(event)
    assert (series.counts["missed_slots"], series.counts["late"], series.rejected) == (4, 1, 1)
    assert series.summary is found
    assert (series.began_ns, list(series.spots())) == (None, [])


def test_a_series_without_a_beginning_begins_with_its_first_probe() -> None:
    """A file may be cut off."""
    series = series_of("", [event_of(5_000_000_000, "reply", 1), event_of(6_000_000_000, "refused", 1), start()])
    assert [second for second, _ in series.spots()] == [0, 0.999_999_488]
    assert series.began_ns == BEGAN + 5_000_000_000


def test_every_fate_has_a_name_that_events_have() -> None:
    """The directions', and the two answers that are none."""
    assert {*map(str, Direction), "changed", "refused"} == set(FATES)
