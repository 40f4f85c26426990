"""The sums: nothing is left out, whenever they are asked for, and between two probes little is done."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from trio_udp.measure import Distribution, Stamps, Variation
from trio_udp.measure._corrected import imagined
from trio_udp.measure._delays import DelayVariation, OffsetEstimator
from trio_udp.measure._distribution import Collector
from trio_udp.measure._sums import PARTS, Measured, Sums
from trio_udp.measure._timing import Timing
from trio_udp.proto import Times

SLOT = 1000

nanoseconds = st.integers(0, 10**7)
parts = st.none() | nanoseconds


def timings(network: st.SearchStrategy[int | None]) -> st.SearchStrategy[Timing]:
    """Any, with such times on the network."""
    return st.builds(
        Timing,
        st.sampled_from(Stamps),
        nanoseconds,
        nanoseconds,
        parts,
        parts,
        parts,
        network,
        nanoseconds,
        nanoseconds,
    )


words = st.builds(
    Times, st.just(1), st.just(0), st.just(1), st.just(0), st.just(0), st.just(1), st.just(0),
    nanoseconds, parts, st.booleans(),
)  # fmt: skip
replies = st.builds(Measured, st.integers(1, 30), nanoseconds, st.integers(0, 3), timings(parts), words) | st.builds(
    Measured, st.integers(1, 30), nanoseconds, st.integers(0, 3), timings(st.none()), st.none()
)  # without the server's word nobody knows what was the network's


def of(*values: int | None) -> Distribution:
    """Of those that there are."""
    collector = Collector()
    for value in values:
        if value is not None:
            collector.add(value)
    return collector.result()


def variation(sequences: list[int], delays: list[int]) -> Variation:
    """Of these, one by one."""
    found = DelayVariation()
    for sequence, delay in zip(sequences, delays, strict=True):
        found.extend([sequence], [delay])
    return found.result()


def reply(sequence: int) -> Measured:
    """One like any other."""
    return Measured(sequence, 0, 0, Timing(Stamps.USER, 100, 100, None, None, None, None, 0, 100), None)


@given(st.lists(st.lists(replies, max_size=20), max_size=6))
def test_the_sums_are_of_all_replies_however_they_were_added(bursts: list[list[Measured]]) -> None:
    """Between bursts of any length, after which there is time for some."""
    sums = Sums(slot=SLOT)
    for burst in bursts:
        for each in burst:
            sums.take(each)
        sums.catch_up()
    sums.complete()
    every = [*itertools.chain.from_iterable(bursts)]
    assert sums.stamps.total() == len(every)
    assert sums.rtt.result() == of(*(each.timing.rtt for each in every))
    found = {name: part.result() for name, part in sums.parts.items()} | {"network": sums.network.result().times}
    for name in PARTS:
        assert found[name] == of(*(getattr(each.timing, name) for each in every))
    from_due = [(each.timing.rtt + each.late, each) for each in every]
    corrected = [
        waited
        for time, each in from_due
        for waited, count in [(time, 1), *imagined(time, each.missed, SLOT)]
        for _ in range(count)
    ]
    assert sums.corrected.result() == of(*corrected)
    assert sums.take_interval() == (sums.rtt.result(), sums.corrected.result())
    assert sums.take_interval() == (Distribution(), Distribution())
    trips = [(each.sequence, each.timing.rtt) for each in every]
    up = [(each.sequence, each.times.arrived - each.timing.left_at) for each in every if each.times]
    down = [
        (each.sequence, each.timing.came_at - each.times.arrived - each.times.turnaround)
        for each in every
        if each.times and each.times.turnaround is not None
    ]
    for way, delays in {"round_trip": trips, "upstream": up, "downstream": down}.items():
        assert sums.variations[way].result() == variation([number for number, _ in delays], [one for _, one in delays])
    clock = OffsetEstimator()
    for each in every:
        if each.times and each.times.turnaround is not None:
            clock.add(each.timing.left_at, each.times.arrived, each.times.turnaround, each.timing.came_at)
    assert sums.clock.result() == clock.result()


def test_little_is_done_between_two_probes() -> None:
    """Nothing for one reply, and never all of a burst."""
    sums = Sums(slot=SLOT)
    waiting = []
    for number in range(1, 10):
        sums.take(reply(number))
        sums.catch_up()
        waiting.append(len(sums._waiting))
    assert waiting == [1, 2, 3, 4, 5, 6, 7, 0, 1]
    for number in range(10, 50):
        sums.take(reply(number))
    waiting = []
    for _ in range(4):
        sums.catch_up()
        waiting.append(len(sums._waiting))
    assert waiting == [25, 9, 0, 0]


def test_what_waits_is_bounded() -> None:
    """Whoever sends no probe any more never catches up."""
    sums = Sums(slot=SLOT)
    for number in range(1, 5000):
        sums.take(reply(number))
        assert len(sums._waiting) < 4096
    sums.complete()
    assert sums.rtt.result().count == 4999
