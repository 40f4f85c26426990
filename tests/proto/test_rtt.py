"""The estimator of RFC 6298, by numbers worked on paper."""

import pytest

from trio_udp.proto import RTTEstimator


def test_nothing_measured_means_no_timeout_of_its_own() -> None:
    """C1: the caller then starts from the policy's first timeout."""
    estimator = RTTEstimator()
    assert estimator.rto is None
    assert (estimator.srtt, estimator.rttvar) == (None, 0.0)


def test_first_sample_gives_three_times_itself() -> None:
    """RFC 6298 section 2.2: SRTT = R, RTTVAR = R/2, RTO = SRTT + 4 * RTTVAR."""
    estimator = RTTEstimator()
    estimator.update(0.5)
    assert (estimator.srtt, estimator.rttvar, estimator.rto) == (0.5, 0.25, 1.5)


def test_later_samples_are_weighed_by_an_eighth_and_a_quarter() -> None:
    """RFC 6298 section 2.3: RTTVAR first, with the old SRTT; in binary fractions, so by equality."""
    estimator = RTTEstimator()
    by_hand = [
        # sample, SRTT, RTTVAR, RTO
        (1.0, 1.0, 0.5, 3.0),
        (2.0, 1.0 + 1 / 8, 0.75 * 0.5 + 0.25 * 1.0, 1.125 + 4 * 0.625),
        (1.125, 1.125, 0.75 * 0.625, 1.125 + 4 * 0.46875),
        (0.125, 1.0, 0.75 * 0.46875 + 0.25 * 1.0, 1.0 + 4 * 0.6015625),
    ]
    for sample, srtt, rttvar, rto in by_hand:
        estimator.update(sample)
        assert (estimator.srtt, estimator.rttvar, estimator.rto) == (srtt, rttvar, rto)


@pytest.mark.parametrize(
    ("sample", "rto"),
    [(0.0, 0.2), (0.001, 0.2), (0.0625, 0.2), (0.125, 0.375), (16.0, 48.0), (20.0, 60.0), (1e6, 60.0)],
)
def test_timeout_is_clamped_from_a_fifth_of_a_second_to_a_minute(sample: float, rto: float) -> None:
    """C1: Linux's TCP_RTO_MIN below, RFC 6298 section 2.5 above."""
    estimator = RTTEstimator()
    estimator.update(sample)
    assert estimator.rto == rto
