"""Two runs side by side: what differs, and whether that could be chance.

Nothing is assumed about how round-trip times are distributed, because they are not normal in any way: of a percentile,
the order statistics around it are the limits (the number of times below a percentile is binomial, whatever the
distribution), each at half of the error allowed, so that the difference of two has at least the confidence that is
said. No resampling, so no seed, and with too few samples there is no limit rather than a wrong one. Of shares, Wilson's
interval; of their difference, Newcombe's (1998, method 10). What is assumed is that one probe's fate says nothing about
the next one's: where queues build up that is not so, and the truth is less sure.
"""

import math
from array import array
from collections.abc import Sequence
from statistics import NormalDist
from typing import Final, NamedTuple

from ._recordings import Recording
from ._records import Event, ReplyRecord, Summary

CONFIDENCE: Final = 0.95
_SPREAD: Final = 12
"""Standard deviations beyond which nothing is added up: less than the last digit of what is."""


class Between(NamedTuple):
    """A figure, and between which limits the truth is, at the confidence asked for."""

    value: float
    low: float
    high: float
    """Infinite where there are too few samples to say."""

    @property
    def excludes_zero(self) -> bool:
        """Whether a difference is more than chance."""
        return self.low > 0 or self.high < 0


class Figure(NamedTuple):
    """One figure of both runs; None where one has nothing that it could be made from."""

    first: Between | None
    second: Between | None
    difference: Between | None
    """Of the second less the first."""


class Comparison(NamedTuple):
    """What differs from a first run to a second: round-trip times in nanoseconds, loss as a share from 0 to 1."""

    p50: Figure
    p99: Figure
    loss: Figure


class Sample:
    """What of a run is compared: every round-trip time, eight bytes each, and the probes without a good reply."""

    def __init__(self, host: str) -> None:
        self._recording = Recording(host)
        self.times: Final[array[int]] = array("q")
        """Nanoseconds."""

    @property
    def host(self) -> str:
        """Whom it measured."""
        return self._recording.host

    def take(self, event: Event) -> None:
        """The next of its events."""
        self._recording.take(event)
        if isinstance(event, ReplyRecord):
            self.times.append(event.rtt_ns)

    def summary(self) -> Summary:
        """The sums."""
        return self._recording.summary()


def compare(first: Sample, second: Sample, *, confidence: float = CONFIDENCE) -> Comparison:
    """What differs from the first to the second. Probes that were under way at the end count on neither side."""
    ordered = sorted(first.times), sorted(second.times)
    p50, p99 = (_of_percentiles(*ordered, share, confidence) for share in (0.5, 0.99))
    return Comparison(p50, p99, _of_losses(first.summary(), second.summary(), confidence))


def _of_percentiles(first: list[int], second: list[int], share: float, confidence: float) -> Figure:
    if not first or not second:
        return Figure(None, None, None)
    one, other = (percentile(times, share, confidence=confidence) for times in (first, second))
    # Each at half the error: then both hold with the confidence asked for, and so does the difference.
    near, far = (percentile(times, share, confidence=(1 + confidence) / 2) for times in (first, second))
    return Figure(one, other, Between(other.value - one.value, far.low - near.high, far.high - near.low))


def _of_losses(first: Summary, second: Summary, confidence: float) -> Figure:
    sums = [(found.sent - found.pending, found.received) for found in (first, second)]
    if not all(sent for sent, _ in sums):
        return Figure(None, None, None)
    one, other = (proportion(sent - received, sent, confidence=confidence) for sent, received in sums)
    value = other.value - one.value
    low = value - math.hypot(other.value - other.low, one.high - one.value)
    high = value + math.hypot(other.high - other.value, one.value - one.low)
    return Figure(one, other, Between(value, low, high))


def proportion(count: int, total: int, *, confidence: float = CONFIDENCE) -> Between:
    """A share, and its limits by Wilson (1927); of a total of one at least."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, square = count / total, z * z / total
    middle = (share + square / 2) / (1 + square)
    half = z * math.sqrt(share * (1 - share) / total + square / (4 * total)) / (1 + square)
    # Rounding must not put the share itself outside.
    return Between(share, max(min(middle - half, share), 0.0), min(max(middle + half, share), 1.0))


def percentile(ordered: Sequence[int], share: float, *, confidence: float = CONFIDENCE) -> Between:
    """A percentile (nearest rank) of times in ascending order, at least one, and its limits by order statistics."""
    count = len(ordered)
    low, high = _ranks(count, share, (1 - confidence) / 2)
    return Between(
        ordered[max(math.ceil(share * count), 1) - 1],
        ordered[low - 1] if low else -math.inf,
        ordered[high - 1] if high <= count else math.inf,
    )


def _ranks(count: int, share: float, error: float) -> tuple[int, int]:
    """Which of so many times, from 1, are the limits; 0 and one more than there are stand for none.

    How many times are at or below the percentile is binomial. The low limit is the last one that is above it only if
    fewer are, which is no more likely than `error`; the high one the first that is below it only if as many are.
    """
    spread = _SPREAD * math.sqrt(count * share * (1 - share)) + _SPREAD
    low, high = max(math.floor(count * share - spread), 0), min(math.ceil(count * share + spread), count) + 1
    below = above = 0.0
    while (term := _term(count, share, low)) + below <= error:
        below, low = below + term, low + 1
    while (term := _term(count, share, high - 1)) + above <= error:
        above, high = above + term, high - 1
    return low, high


def _term(count: int, share: float, number: int) -> float:
    """How likely exactly so many are."""
    ways = math.lgamma(count + 1) - math.lgamma(number + 1) - math.lgamma(count - number + 1)
    return math.exp(ways + number * math.log(share) + (count - number) * math.log1p(-share))


# In words

_MILLISECOND: Final = 1e6
_PERCENT: Final = 0.01


def comparison_lines(first: Sample, second: Sample, *, confidence: float = CONFIDENCE) -> list[str]:
    """What `compare` finds, in words: A is the first run, and B the second. Raises what `compare` raises."""
    found = compare(first, second, confidence=confidence)
    sums = [sample.summary() for sample in (first, second)]
    counts = (f"{name}: {one.sent} sent, {one.received} received" for name, one in zip("AB", sums, strict=True))
    return [
        "; ".join(counts),
        f"{100 * confidence:g}% confidence intervals in brackets",
        _line("p50", found.p50, _MILLISECOND, "ms", ("slower", "faster")),
        _line("p99", found.p99, _MILLISECOND, "ms", ("slower", "faster")),
        _line("loss", found.loss, _PERCENT, "%", ("higher", "lower")),
    ]


def _line(name: str, figure: Figure, unit: float, symbol: str, words: tuple[str, str]) -> str:
    first, second, difference = figure
    if first is None or second is None or difference is None:
        return f"{name}: nothing to compare"
    verdict = "could be chance"
    if difference.excludes_zero:
        verdict = f"B is {words[difference.high < 0]}"
    elif math.isinf(difference.low) or math.isinf(difference.high):
        verdict = "too few replies to say"
    return (
        f"{name}: A {_shown(first, unit)} {symbol}, B {_shown(second, unit)} {symbol}, "
        f"difference {_shown(difference, unit, sign='+')} {symbol}: {verdict}"
    )


def _shown(figure: Between, unit: float, *, sign: str = "") -> str:
    value, low, high = (each / unit for each in figure)
    limits = " to ".join("?" if math.isinf(each) else f"{each:{sign}.3f}" for each in (low, high))
    return f"{value:{sign}.3f} [{limits}]"
