"""Percentiles of any number of times in bounded memory.

Up to `EXACT` of them are kept, and the percentiles are exact. Then they go into buckets that grow with the value, 128
for each doubling, so that every percentile is right to half a percent: the scheme of HdrHistogram.
"""

import math
import operator
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from ._records import Distribution

EXACT: Final = 8192
"""Times kept one by one: 64 KiB. A prober has fourteen such collections."""
_DIGITS: Final = 8
"""Bits of a value that decide which bucket it is in: an error of one in 256 at most."""
_TOGETHER: Final = 64
"""Times summed up at once, unless `settle` is called before there are so many."""
_MOVED: Final = 32
"""Exact times that go to the buckets at once: all of them would take milliseconds, in which probes are due."""
_PERCENTILES: Final = {"p50_ns": 0.5, "p90_ns": 0.9, "p99_ns": 0.99, "p999_ns": 0.999}


class Buckets:
    """How many values are in each bucket. Of bounded size: 2 KiB for each doubling, of which 64 bits have 64."""

    def __init__(self) -> None:
        self._counts: dict[int, array[int]] = {}
        """By how many low bits do not count, complemented where the values are negative; then by the bits that do."""

    def add(self, value: int, count: int) -> None:
        """Count a value, that often."""
        size = abs(value)
        shift = max(size.bit_length() - _DIGITS, 0)
        doubling = shift if value >= 0 else ~shift
        counts = self._counts.get(doubling)
        if counts is None:
            counts = self._counts[doubling] = array("Q", bytes(8 << _DIGITS))
        counts[size >> shift] += count

    def extend(self, values: Iterable[int]) -> None:
        """Count these values once each: the same, without a call for each of them."""
        all_counts = self._counts
        for value in values:
            size = value if value >= 0 else -value
            shift = max(size.bit_length() - _DIGITS, 0)
            counts = all_counts.get(shift if value >= 0 else ~shift)
            if counts is None:
                self.add(value, 1)
            else:
                counts[size >> shift] += 1

    def copy(self) -> "Buckets":
        """The counts as they are now; much cheaper than sorting them."""
        copied = Buckets()
        copied._counts = {doubling: counts[:] for doubling, counts in self._counts.items()}
        return copied

    def ascending(self) -> Iterator[tuple[int, int]]:
        """The middles of the buckets, and how many values each has."""
        yield from sorted(
            (_middle(doubling, digits), count)
            for doubling, counts in self._counts.items()
            for digits, count in enumerate(counts)
            if count
        )


def percentiles(counts: Iterable[tuple[int, int]], shares: Sequence[float]) -> list[int]:
    """For each of these ascending shares, from 0 to 1, the least value that so many do not exceed (nearest rank).

    Args:
        counts: values, ascending, and how often each came, as `Buckets.ascending` gives them. Of none there is no
            percentile.
        shares: which percentiles, 0.99 for the 99th.
    """
    counted = list(counts)
    total = sum(count for _, count in counted)
    found: list[int] = []
    passed = 0
    for value, count in counted:
        passed += count
        while len(found) < len(shares) and max(math.ceil(shares[len(found)] * total), 1) <= passed:
            found.append(value)
    return found


def _middle(doubling: int, digits: int) -> int:
    """Of the values in a bucket."""
    shift = doubling if doubling >= 0 else ~doubling
    middle = (digits << shift) + (1 << shift >> 1)
    return middle if doubling >= 0 else -middle


class Collector:
    """Takes times, and sums them up: many together, because a probe has a dozen of them and 200 µs for everything."""

    def __init__(self, *, exact: int = EXACT) -> None:
        """Keep so many exactly."""
        self._exact = exact
        self._waiting: list[int] = []
        """What was taken, and is in none of the following yet."""
        self._values: array[int] = array("q")
        self._buckets: Buckets | None = None
        self._count = 0
        self._sum = 0
        self._sum_of_squares = 0
        self._least = 0
        self._most = 0

    def add(self, value: int) -> None:
        """Take a time."""
        self._waiting.append(value)
        if len(self._waiting) >= _TOGETHER:
            self._fold()

    def extend(self, values: list[int]) -> None:
        """Take these times."""
        self._waiting += values
        if len(self._waiting) >= _TOGETHER:
            self._fold()

    def settle(self) -> None:
        """Sum up what was taken. Whoever has many collections calls this for one after the other, so that they do not
        all do it at the same moment."""
        self._fold()
        if self._buckets is not None:
            self._move(self._buckets, _MOVED)

    def add_many(self, value: int, count: int) -> None:
        """Take a time that often, at least once."""
        if count == 1:
            self.add(value)
            return
        self._fold()
        if count > max(self._exact - self._count, 0):
            self._summarise([value], count)
            self._begin_buckets().add(value, count)
        else:
            self._waiting = [value] * count
            self._fold()

    def _fold(self) -> None:
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        self._summarise(waiting, 1)
        if self._count <= self._exact:
            self._values.extend(waiting)
            return
        buckets = self._begin_buckets()
        buckets.extend(waiting)
        self._move(buckets, _MOVED)

    def _summarise(self, values: list[int], times: int) -> None:
        least, most = min(values), max(values)
        if self._count:
            least, most = min(least, self._least), max(most, self._most)
        self._least, self._most = least, most
        self._count += len(values) * times
        self._sum += sum(values) * times
        self._sum_of_squares += sum(map(operator.mul, values, values)) * times

    def _begin_buckets(self) -> Buckets:
        """The buckets. What was exact until now goes there little by little."""
        if self._buckets is None:
            self._buckets = Buckets()
        return self._buckets

    def _move(self, buckets: Buckets, most: int) -> None:
        """Put some of what was exact into the buckets."""
        if self._values:
            buckets.extend(self._values[-most:])
            del self._values[-most:]

    def result(self) -> Distribution:
        """The sum of it all."""
        self._fold()
        if not self._count:
            return Distribution()
        if self._buckets is not None:
            self._move(self._buckets, len(self._values))
        variance = self._sum_of_squares / self._count - (self._sum / self._count) ** 2
        return Distribution(
            count=self._count,
            min_ns=self._least,
            mean_ns=self._sum // self._count,
            max_ns=self._most,
            deviation_ns=round(math.sqrt(max(variance, 0.0))),
            is_exact=self._buckets is None,
            **self._percentiles(),
        )

    def _percentiles(self) -> dict[str, int]:
        """The least value that at least such a share of them does not exceed (nearest rank)."""
        if self._buckets is None:
            ordered = sorted(self._values)
            return {name: ordered[max(math.ceil(share * self._count), 1) - 1] for name, share in _PERCENTILES.items()}
        times = percentiles(self._buckets.ascending(), list(_PERCENTILES.values()))
        return {name: min(max(time, self._least), self._most) for name, time in zip(_PERCENTILES, times, strict=True)}
