"""Percentiles: exact while there are few, right to half a percent when there are many, and of bounded size."""

import math
import statistics

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trio_udp.measure import Distribution, percentiles
from trio_udp.measure._distribution import Buckets, Collector


def collected(values: list[int], exact: int = 100_000) -> Distribution:
    """The sum of them."""
    collector = Collector(exact=exact)
    for value in values:
        collector.add(value)
    return collector.result()


def nearest_rank(values: list[int], share: float) -> int:
    """The definition."""
    return sorted(values)[max(math.ceil(share * len(values)), 1) - 1]


times = st.lists(st.integers(-(2**40), 2**40), min_size=1, max_size=60)


def test_of_nothing_nothing_is_known() -> None:
    """Not even zero."""
    assert collected([]) == Distribution()


@given(times)
def test_percentiles_of_few_are_exact(values: list[int]) -> None:
    """Nearest rank; mean and deviation as the standard library has them."""
    found = collected(values)
    assert (found.count, found.min_ns, found.max_ns, found.is_exact) == (len(values), min(values), max(values), True)
    assert (found.p50_ns, found.p99_ns) == (nearest_rank(values, 0.5), nearest_rank(values, 0.99))
    assert (found.p90_ns, found.p999_ns) == (nearest_rank(values, 0.9), nearest_rank(values, 0.999))
    assert found.mean_ns == sum(values) // len(values)
    assert found.deviation_ns is not None
    assert math.isclose(found.deviation_ns, statistics.pstdev(values), rel_tol=1e-3, abs_tol=2**24)


@given(times, st.integers(0, 20))
@example([1023, 1024, 1025, -2000, 0], 0)
def test_percentiles_of_many_are_right_to_half_a_percent(values: list[int], exact: int) -> None:
    """Whenever the buckets were begun with."""
    found = collected(values, exact)
    assert found.is_exact == (len(values) <= exact)
    for value, share in ((found.p50_ns, 0.5), (found.p90_ns, 0.9), (found.p99_ns, 0.99), (found.p999_ns, 0.999)):
        truth = nearest_rank(values, share)
        assert value is not None
        assert abs(value - truth) <= abs(truth) / 256


def test_a_value_may_be_counted_many_times_at_once() -> None:
    """As by those who correct for coordinated omission."""
    for exact in (0, 100):
        collector = Collector(exact=exact)
        collector.add_many(10, 9)
        collector.add(20)
        found = collector.result()
        assert (found.count, found.mean_ns, found.p50_ns, found.p90_ns, found.p99_ns) == (10, 11, 10, 10, 20)


@given(times, st.integers(0, 20), st.integers(1, 70))
def test_many_taken_at_once_are_as_one_by_one(values: list[int], exact: int, at_once: int) -> None:
    """Exact, and in buckets."""
    collector = Collector(exact=exact)
    for start in range(0, len(values), at_once):
        collector.extend(values[start : start + at_once])
    assert collector.result() == collected(values, exact)


def test_buckets_are_bounded_however_many_values_there_are() -> None:
    """128 for each doubling, for whatever 64 bits can say."""
    collector = Collector(exact=0)
    for value in range(0, 10**9, 9_999):
        collector.add(value)
    assert collector.result().count == 100_011
    assert collector._buckets is not None
    assert len(list(collector._buckets.ascending())) < 30 * 128
    assert len(collector._values) == 0


def test_a_copy_of_buckets_stays_as_it_was() -> None:
    """Whatever the original takes afterwards."""
    buckets = Buckets()
    buckets.add(10, 1)
    copied = buckets.copy()
    buckets.add(10, 2)
    assert (list(copied.ascending()), list(buckets.ascending())) == ([(10, 1)], [(10, 3)])


@given(st.lists(st.integers(0, 2**40), min_size=1, max_size=300), st.integers(0, 200))
def test_percentiles_are_those_of_hdrhistogram(values: list[int], exact: int) -> None:
    """To its three digits and our half a percent, whether ours are exact or of buckets.

    By rank: ours is the least that enough values do not exceed, and it rounds, so that one value fewer may be enough.
    """
    histogram = pytest.importorskip("hdrh.histogram", reason="the package hdrhistogram is not installed")
    theirs = histogram.HdrHistogram(1, 2**41, 3)
    for value in values:
        theirs.record_value(value)
    found, count = collected(values, exact), len(values)
    assert theirs.get_total_count() == found.count == count
    for ours, share in ((found.p50_ns, 0.5), (found.p90_ns, 0.9), (found.p99_ns, 0.99), (found.p999_ns, 0.999)):
        rank = max(math.ceil(share * count), 1)
        assert ours is not None
        assert math.isclose(ours, theirs.get_value_at_percentile(100 * rank / count), rel_tol=1 / 256 + 1 / 1000)


@given(values=st.lists(st.integers(0, 255), min_size=1), shares=st.lists(st.floats(0, 1), max_size=5).map(sorted))
def test_percentiles_are_of_the_nearest_rank(values: list[int], shares: list[float]) -> None:
    """The definition; of numbers that are small enough to have a bucket each."""
    buckets = Buckets()
    buckets.extend(values)
    expected = [sorted(values)[max(math.ceil(share * len(values)), 1) - 1] for share in shares]
    assert percentiles(buckets.ascending(), shares) == expected


def test_nothing_has_no_percentiles() -> None:
    """Whichever are asked for."""
    assert percentiles(Buckets().ascending(), [0.0, 0.5, 1.0]) == []
