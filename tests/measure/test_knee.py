"""The search for a path's knee: whatever the path can take, it is found to ten percent."""

import functools
import math

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

import trio_udp
from trio_udp.measure import Distribution, Event, Knee, KneeSearch, Start, Step, Strain, Summary, find_knee, open_prober
from trio_udp.testing import Conditions, SimNet, simulate

from .records import summary

BASE = 1_000_000
"""Nanoseconds of a round trip."""


def times(median: int) -> Distribution:
    """Round trips with this median."""
    return Distribution(count=1, min_ns=median, mean_ns=median, max_ns=median, deviation_ns=0, p50_ns=median)


def sums(sent: int, received: int, *, median: int = BASE, missed: int = 0) -> Summary:
    """What came of a rate."""
    rtt = times(median) if received else Distribution()
    lost = sent - received
    return summary(sent=sent, received=received, lost_unknown=lost, rtt=rtt, on_time=sent, missed_slots=missed)


def at(rate: float, capacity: float, strain: Strain) -> Summary:
    """A path, or a host, that can do so much and no more."""
    count = max(round(rate), 20)
    if rate <= capacity:
        return sums(count, count)
    match strain:
        case Strain.LOSS:
            return sums(count, 0 if rate > 2 * capacity else count // 2)
        case Strain.QUEUE:
            return sums(count, count, median=3 * BASE)
        case _:
            return sums(count, count, missed=count)


def searched(search: KneeSearch, capacity: float, strain: Strain) -> list[Step]:
    """All the steps to the end."""
    steps: list[Step] = []
    while (rate := search.next_rate) is not None:
        assert len(steps) < 100
        steps.append(search.take(at(rate, capacity, strain)))
    return steps


@given(
    first=st.floats(1, 100),
    ratio=st.floats(1, 1000),
    share=st.floats(0, 1.2),
    strain=st.sampled_from([Strain.LOSS, Strain.QUEUE, Strain.HOST]),
)
def test_what_a_path_can_take_is_found_to_ten_percent(first: float, ratio: float, share: float, strain: Strain) -> None:
    """Or that it can take all that is tried; and never is a rate beyond the last one tried."""
    search = KneeSearch(first, first * ratio)
    capacity = first * ratio**share
    steps = searched(search, capacity, strain)
    knee, limit = search.knee
    assert knee is not None
    assert all(first <= step.rate <= first * ratio for step in steps)
    if limit is None:
        assert knee == first * ratio <= capacity
    else:
        assert knee <= capacity < limit.rate <= 1.1 * knee * (1 + 1e-9)
        assert limit.strain is strain


@pytest.mark.parametrize("strain", [Strain.LOSS, Strain.HOST])
def test_the_first_rate_may_be_too_much_already(strain: Strain) -> None:
    """Where nothing comes back at all, or this host is too slow. It is tried twice, and nothing below it."""
    search = KneeSearch(100, 1000)
    steps = searched(search, 10, strain)
    assert [(step.rate, step.strain) for step in steps] == [(100, strain)] * 2
    assert search.knee == (None, steps[-1])


def test_a_hiccup_is_no_limit() -> None:
    """A rate that was too much once is tried again before it is believed."""
    search = KneeSearch(10, 40)
    assert search.take(sums(20, 20)).strain is Strain.NONE
    assert search.take(sums(20, 0)).strain is Strain.LOSS
    assert search.next_rate == 20
    assert search.take(sums(20, 20)).strain is Strain.NONE
    assert search.take(sums(40, 40)).strain is Strain.NONE
    assert searched(search, 40, Strain.LOSS) == []
    assert search.knee == Knee(40, None)
    with pytest.raises(ValueError, match="expected no more sums: the search is over"):
        search.take(sums(1, 1))


def test_a_path_that_always_loses_some_is_not_blamed_on_the_rate() -> None:
    """Only what is lost beyond that, and beyond chance."""
    search = KneeSearch(100, 400)
    assert search.take(sums(100, 90)).strain is Strain.NONE
    assert search.take(sums(200, 178)).strain is Strain.NONE
    assert search.take(sums(400, 300)).strain is Strain.LOSS


def test_what_the_path_cannot_take_is_said_although_the_host_is_slow_too() -> None:
    """It would have been no better in time."""
    search = KneeSearch(100, 400)
    search.take(sums(100, 100))
    assert search.take(sums(200, 100, missed=100)).strain is Strain.LOSS


@pytest.mark.parametrize(("first", "most"), [(0, 1), (2, 1), (1, math.inf), (-1, 5), (math.nan, 5)])
def test_rates_that_make_no_sense_are_refused(first: float, most: float) -> None:
    """With what was expected."""
    with pytest.raises(ValueError, match="expected rates above 0"):
        KneeSearch(first, most)


CAPACITY = 1000
"""Probes a second that fit through the link below."""
PACKET = 8 * (56 + 24 + 28)
"""Bits."""


async def probe_ever_faster(net: SimNet) -> tuple[Knee, list[Step], list[Event]]:
    """Over a link that carries so much and no more."""
    steps: list[Step] = []
    events: list[Event] = []
    server, client = net.host("server"), net.host("client")
    net.link(Conditions(latency=0.005, bandwidth=CAPACITY * PACKET, queue=0.05), client, server, both=False)
    async with trio.open_nursery() as nursery:
        with server.here():
            await nursery.start(functools.partial(trio_udp.serve, lambda request: request.payload, 1060))
        with client.here():
            opening = functools.partial(open_prober, "server", 1060)
            knee = await find_knee(opening, most=4000, on_step=steps.append, on_event=events.append)
        nursery.cancel_scope.cancel()
    return knee, steps, events


def test_the_knee_of_a_link_is_what_it_carries() -> None:
    """Of a simulated one, whose truth is known. Every rate is a run of its own."""
    (rate, limit), steps, events = simulate(probe_ever_faster)
    assert rate is not None
    assert limit is not None
    assert rate <= CAPACITY < limit.rate <= 1.1 * rate
    assert limit.strain in (Strain.QUEUE, Strain.LOSS)
    assert [step.rate for step in steps[:4]] == [10, 20, 40, 80]
    assert sum(isinstance(event, Start) for event in events) == len(steps)
