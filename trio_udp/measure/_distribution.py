"""Percentiles of any number of times in bounded memory.

Up to `EXACT` of them are kept, and the percentiles are exact. Then they go into buckets that grow with the value, a
thousand for each doubling, so that every percentile is right to three digits: the scheme of HdrHistogram.
"""

import math
from array import array
from collections import Counter
from collections.abc import Iterator
from typing import Final

from ._records import Distribution

EXACT: Final = 32_768
"""Times kept one by one: a quarter of a MiB."""
_DIGITS: Final = 10
"""Bits of a value that decide which bucket it is in: an error of one in a thousand."""
_PERCENTILES: Final = {"p50_ns": 0.5, "p90_ns": 0.9, "p99_ns": 0.99, "p999_ns": 0.999}


class Buckets:
    """How many values are in each bucket. Of bounded size: 1024 for each doubling, of which 64 bits have 64."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()

    def add(self, value: int, count: int) -> None:
        """Count a value, that often."""
        self._counts[_rounded(value)] += count

    def ascending(self) -> Iterator[tuple[int, int]]:
        """Values, rounded, and how often each came."""
        yield from sorted(self._counts.items())


def _rounded(value: int) -> int:
    """The middle of the bucket that a value is in."""
    shift = max(abs(value).bit_length() - _DIGITS, 0)
    if not shift:
        return value
    middle = (abs(value) >> shift << shift) + (1 << (shift - 1))
    return middle if value > 0 else -middle


class Collector:
    """Takes times, and sums them up."""

    def __init__(self, *, exact: int = EXACT) -> None:
        """Keep so many exactly."""
        self._exact = exact
        self._values: array[int] = array("q")
        self._buckets: Buckets | None = None
        self.count = 0
        self._sum = 0
        self._sum_of_squares = 0
        self.least: int | None = None
        self.most: int | None = None

    def add(self, value: int, count: int = 1) -> None:
        """Take a time, that often."""
        self.count += count
        self._sum += value * count
        self._sum_of_squares += value * value * count
        if self.least is None or value < self.least:
            self.least = value
        if self.most is None or value > self.most:
            self.most = value
        if self._buckets is not None:
            self._buckets.add(value, count)
        elif self.count <= self._exact:
            self._values.extend([value] * count)
        else:
            self._buckets = Buckets()
            for earlier in self._values:
                self._buckets.add(earlier, 1)
            self._buckets.add(value, count)
            self._values = array("q")

    def result(self) -> Distribution:
        """The sum of it all."""
        if not self.count or self.least is None or self.most is None:
            return Distribution()
        mean = self._sum // self.count
        variance = self._sum_of_squares / self.count - (self._sum / self.count) ** 2
        return Distribution(
            count=self.count,
            min_ns=self.least,
            mean_ns=mean,
            max_ns=self.most,
            deviation_ns=round(math.sqrt(max(variance, 0.0))),
            is_exact=self._buckets is None,
            **self._percentiles(self.least, self.most),
        )

    def _percentiles(self, least: int, most: int) -> dict[str, int]:
        """The least value that at least such a share of them does not exceed (nearest rank)."""
        wanted = [(name, max(math.ceil(share * self.count), 1)) for name, share in _PERCENTILES.items()]
        if self._buckets is None:
            ordered = sorted(self._values)
            return {name: ordered[rank - 1] for name, rank in wanted}
        found: dict[str, int] = {}
        passed = 0
        for value, count in self._buckets.ascending():
            passed += count
            while wanted and wanted[0][1] <= passed:
                found[wanted.pop(0)[0]] = min(max(value, least), most)
        return found
