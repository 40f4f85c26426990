"""Intervals: they hold the truth as often as they say, and say nothing that chance could say as well."""

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_udp.measure import Sample, compare, percentile, proportion
from trio_udp.measure._compare import _ranks, _term

from .records import reply_record, summary


def sample(times: list[int], *, sent: int | None = None, pending: int = 0) -> Sample:
    """A run with these round trips."""
    found = Sample("h")
    for number, time in enumerate(times, 1):
        found.take(reply_record(sequence=number, rtt_ns=time))
    total = len(times) if sent is None else sent
    found.take(summary(sent=total, received=len(times), pending=pending, lost_unknown=total - pending - len(times)))
    return found


def likelihood(count: int, share: float, numbers: range) -> float:
    """Of a binomial number to be one of these, from its definition."""
    return math.fsum(math.comb(count, each) * share**each * (1 - share) ** (count - each) for each in numbers)


@given(st.integers(1, 300), st.sampled_from([0.5, 0.9, 0.99]), st.sampled_from([0.025, 0.0125, 0.005]))
def test_limits_are_as_near_as_the_error_allows_and_no_nearer(count: int, share: float, error: float) -> None:
    """Held against binomial sums from their definition."""
    low, high = _ranks(count, share, error)
    slack = 1 + 1e-9
    assert likelihood(count, share, range(low)) <= error * slack
    assert likelihood(count, share, range(low + 1)) > error / slack
    assert likelihood(count, share, range(high, count + 1)) <= error * slack
    assert likelihood(count, share, range(high - 1, count + 1)) > error / slack


def test_terms_are_right_for_a_million_samples() -> None:
    """They add up to one where nearly all of the likelihood is."""
    assert math.fsum(_term(1_000_000, 0.99, number) for number in range(989_000, 991_001)) == pytest.approx(1)


def test_too_few_samples_have_no_limit() -> None:
    """Rather than one that is wrong: 99 % of 300 are not enough for an upper limit of p99."""
    found = percentile(range(300), 0.99)
    assert found.value == 296
    assert math.isinf(found.high)
    assert not math.isinf(found.low)
    assert not math.isinf(percentile(range(500), 0.99).high)


@pytest.mark.parametrize("share", [0.5, 0.99])
def test_limits_hold_the_truth_as_often_as_they_say(share: float) -> None:
    """Of a skewed distribution, in 95 of 100 samples at least, within what a thousand samples can tell."""
    random = Random(6)
    truth = -math.log(1 - share) * 1e6
    held = 0
    for _ in range(1000):
        found = percentile(sorted(round(random.expovariate(1e-6)) for _ in range(600)), share)
        held += found.low <= truth <= found.high
    assert held >= 935


def test_two_runs_of_one_distribution_could_be_chance() -> None:
    """Nearly always: the limits of a difference are on the safe side."""
    random = Random(7)
    wrong = 0
    for _ in range(200):
        one, other = (sample([round(random.expovariate(1e-6)) for _ in range(600)]) for _ in range(2))
        found = compare(one, other)
        figures = (found.p50, found.p99)
        wrong += any(figure.difference is not None and figure.difference.excludes_zero for figure in figures)
    assert wrong <= 10


def test_a_difference_is_found_and_its_sign_is_of_the_second_run() -> None:
    """A shift of all times by a tenth of their spread, with enough of them."""
    times = [1000 + each for each in range(5000)]
    found = compare(sample(times), sample([each + 500 for each in times], sent=5400))
    assert found.p50.first is not None
    assert found.p50.first.low < 3499 < found.p50.first.high
    for figure, value in ((found.p50, 500), (found.p99, 500), (found.loss, 400 / 5400)):
        assert figure.difference is not None
        assert figure.difference.value == pytest.approx(value)
        assert figure.difference.excludes_zero
        assert 0 < figure.difference.low < figure.difference.value < figure.difference.high
    back = compare(sample([each + 500 for each in times]), sample(times)).p50.difference
    assert back is not None
    assert back.high < 0


def test_runs_without_replies_or_probes_have_nothing_to_compare() -> None:
    """And probes that were under way at the end count on neither side."""
    nothing = compare(sample([]), sample([1, 2]))
    assert nothing.p50 == nothing.p99 == nothing.loss == (None, None, None)
    found = compare(sample([1] * 8, sent=12, pending=2), sample([1] * 10)).loss
    assert found.first is not None
    assert found.first.value == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("count", "total", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilsons_interval_is_that_of_newcombes_table(count: int, total: int, low: float, high: float) -> None:
    """Newcombe 1998, Statistics in Medicine 17, 857, table I, method 3."""
    found = proportion(count, total)
    assert [found.low, found.high] == pytest.approx([low, high], abs=5e-5)


@pytest.mark.parametrize(
    ("first", "second", "low", "high"),
    [((48, 80), (56, 70), 0.0524, 0.3339), ((0, 10), (10, 10), 0.6075, 1.0), ((0, 20), (0, 10), -0.1611, 0.2775)],
)
def test_newcombes_interval_is_that_of_his_table(
    first: tuple[int, int], second: tuple[int, int], low: float, high: float
) -> None:
    """Newcombe 1998, Statistics in Medicine 17, 873, table II, method 10, the second less the first."""
    one, other = (sample([1] * (total - lost), sent=total) for lost, total in (first, second))
    found = compare(one, other).loss.difference
    assert found is not None
    assert [found.low, found.high] == pytest.approx([low, high], abs=5e-5)


@given(st.integers(1, 10_000), st.data())
def test_a_share_lies_within_its_limits_and_they_within_0_and_1(total: int, data: st.DataObject) -> None:
    """Whatever was lost."""
    found = proportion(data.draw(st.integers(0, total)), total)
    assert 0 <= found.low <= found.value <= found.high <= 1
