"""Jitter as the RFCs have it, and two clocks: the truth is never outside the error that is told."""

from hypothesis import given
from hypothesis import strategies as st

from trio_udp.measure import ClockOffset, Variation
from trio_udp.measure._delays import DelayVariation, OffsetEstimator

SECOND = 10**9


def variation(*delays: int, sequences: list[int] | None = None) -> Variation:
    """Of these delays."""
    found = DelayVariation()
    found.extend(sequences or [*range(1, len(delays) + 1)], [*delays])
    return found.result()


def test_jitter_is_that_of_rfc_3550() -> None:
    """J += (|D| - J) / 16, by hand for three differences of 16, 32 and 0 ms."""
    found = variation(100, 100 + 16_000, 100 + 48_000, 100 + 48_000)
    assert found.jitter_ns == 2753  # 1000, then 2937.5, then 15/16 of that


def test_ipdv_and_pdv_are_those_of_rfc_5481() -> None:
    """Between neighbours only; and the 99th percentile above the least."""
    found = variation(10, 30, 25, 99, sequences=[1, 2, 3, 5])
    assert (found.ipdv_mean_ns, found.ipdv_max_ns, found.pdv_p99_ns) == ((20 + 5) // 2, 20, 89)


def test_of_one_delay_nothing_varies() -> None:
    """Nor of none; and without neighbours there is no difference between them."""
    assert variation() == variation(5) == Variation()
    assert variation(5, 7, sequences=[1, 3]).ipdv_mean_ns is None


@given(st.lists(st.integers(-(10**6), 10**6), min_size=2, max_size=30), st.integers(-(10**12), 10**12))
def test_a_constant_offset_between_the_clocks_changes_nothing(delays: list[int], offset: int) -> None:
    """So one-way delays need no synchronised clocks for this."""
    assert variation(*delays) == variation(*(delay + offset for delay in delays))


@given(
    st.integers(-(10**15), 10**15),
    st.lists(st.tuples(st.integers(0, 10**8), st.integers(0, 10**8), st.integers(0, 10**6)), min_size=1, max_size=30),
)
def test_the_true_offset_is_within_the_error(offset: int, samples: list[tuple[int, int, int]]) -> None:
    """However uneven the way there and the way back."""
    estimator = OffsetEstimator()
    for number, (there, back, turnaround) in enumerate(samples):
        left = number * SECOND
        estimator.add(left, left + there + offset, turnaround, left + there + turnaround + back)
    found = estimator.result()
    assert found is not None
    assert abs(found.offset_ns - offset) <= found.error_ns
    assert found.error_ns <= min(there + back for there, back, _ in samples) // 2 + 2


def test_without_samples_that_make_sense_nothing_is_known() -> None:
    """A clock that was set meanwhile makes replies arrive before they were sent."""
    estimator = OffsetEstimator()
    assert estimator.result() is None
    estimator.add(100, 50, 0, 90)
    assert estimator.result() is None


def test_drift_is_the_slope_of_the_best_samples() -> None:
    """A clock that gains 20 µs a second, over an hour, in spans that grow."""
    estimator = OffsetEstimator()
    for second in range(3600):
        left = second * SECOND
        offset = second * 20_000
        estimator.add(left, left + 5_000_000 + offset, 0, left + 10_000_000)
        if second == 5:
            early = estimator.result()
            assert early == ClockOffset(offset_ns=0, error_ns=5_000_001, drift_ppb=None)
    found = estimator.result()
    assert found is not None
    assert found.drift_ppb is not None
    assert abs(found.drift_ppb - 20_000) <= 1
    assert len(estimator._best) <= 64
