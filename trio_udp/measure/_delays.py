"""How delays vary (RFC 3550, RFC 5481), and how far two clocks are apart: arithmetic on integers, of fixed size."""

from typing import Final

from ._distribution import Collector
from ._records import ClockOffset, Variation

_JITTER_SHARE: Final = 16
"""RFC 3550 section 6.4.1."""
_LEAST_FOR_DRIFT: Final = 10 * 1_000_000_000
"""Over less time than this, what two best samples differ by says more about the network than about the clocks."""
_SPANS: Final = 64
_FIRST_SPAN: Final = 1_000_000_000


class DelayVariation:
    """The variation of one direction's delays, from which any constant may be missing."""

    def __init__(self) -> None:
        self._delays = Collector()
        self._differences = Collector()
        self._jitter = 0
        """In sixteenths of a nanosecond."""
        self._last: int | None = None
        self._last_sequence = 0

    @property
    def collectors(self) -> tuple[Collector, Collector]:
        """What it adds to: each wants to be settled now and then."""
        return self._delays, self._differences

    def extend(self, sequences: list[int], delays: list[int]) -> None:
        """Take the next ones in order of arrival."""
        self._delays.extend(delays)
        last, last_sequence, jitter = self._last, self._last_sequence, self._jitter
        differences = []
        for sequence, delay in zip(sequences, delays, strict=True):
            if last is not None:
                difference = abs(delay - last)
                jitter += difference - jitter // _JITTER_SHARE
                if sequence == last_sequence + 1:
                    differences.append(difference)
            last, last_sequence = delay, sequence
        self._last, self._last_sequence, self._jitter = last, last_sequence, jitter
        self._differences.extend(differences)

    def result(self) -> Variation:
        """What it came to."""
        delays, differences = self._delays.result(), self._differences.result()
        if delays.count < 2 or delays.p99_ns is None or delays.min_ns is None:
            return Variation()
        return Variation(
            jitter_ns=self._jitter // _JITTER_SHARE,
            ipdv_mean_ns=differences.mean_ns,
            ipdv_max_ns=differences.max_ns,
            pdv_p99_ns=delays.p99_ns - delays.min_ns,
        )


class OffsetEstimator:
    """How far the server's clock is ahead, from the round trips that took least, one for each span of time.

    Of a probe that left at `left` and arrived at `arrived`, the offset is at most `arrived - left`, because no probe
    arrives before it left; and the way back gives a least in the same way. The middle of the two is at most half the
    time on the network wrong.
    """

    def __init__(self) -> None:
        self._span = _FIRST_SPAN
        self._best: dict[int, tuple[int, int, int]] = {}
        """By number of the span: half the time on the network, twice the offset, when."""

    def add(self, left: int, arrived: int, turnaround: int, came: int) -> None:
        """Take one probe: when it left and its reply came by our clock, and what the server says of it."""
        most = arrived - left
        least = arrived + turnaround - came
        if most < least:
            return  # a clock was set meanwhile
        sample = (most - least, most + least, left)
        number = left // self._span
        self._best[number] = min(sample, self._best.get(number, sample))
        if len(self._best) > _SPANS:
            self._halve()

    def result(self) -> ClockOffset | None:
        """The estimate; None without samples."""
        if not self._best:
            return None
        width, doubled, _ = min(self._best.values())
        return ClockOffset(offset_ns=doubled // 2, error_ns=(width + 1) // 2 + 1, drift_ppb=self._drift())

    def _drift(self) -> int | None:
        """The slope through the best samples, by least squares."""
        points = [(when, doubled) for _, doubled, when in self._best.values()]
        whens = [when for when, _ in points]
        if max(whens) - min(whens) < _LEAST_FOR_DRIFT:
            return None
        when_mean = sum(whens) // len(points)
        offset_mean = sum(doubled for _, doubled in points) // len(points)
        above = sum((when - when_mean) * (doubled - offset_mean) for when, doubled in points)
        below = sum((when - when_mean) ** 2 for when in whens)
        return above * 1_000_000_000 // (2 * below)

    def _halve(self) -> None:
        """Make the spans twice as long, and so half as many."""
        self._span *= 2
        halved: dict[int, tuple[int, int, int]] = {}
        for sample in self._best.values():
            number = sample[2] // self._span
            halved[number] = min(sample, halved.get(number, sample))
        self._best = halved
