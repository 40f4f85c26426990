"""`report --hdr`: percentiles of a recorded run in the text format of HdrHistogram, which its plotters read.

The package `hdrhistogram` counts and writes. It keeps three digits of each time.
"""

import io
from collections.abc import Iterator
from typing import Final

from ..measure import Correction, Event, ReplyRecord
from ._arguments import missed_politely

_MOST: Final = 2**63 - 1
"""Nanoseconds; a stream's numbers are no greater, and corrected times are cut here."""
_DIGITS: Final = 3
_UNIT: Final = 1.0
"""Nanosecond. In any other, hdrhistogram 0.10 writes all but the deviation."""


def check_histogram() -> None:
    """Miss hdrhistogram before anything is read."""
    with missed_politely("histogram"):
        import hdrh.histogram  # noqa: F401 - whether it is there


class Histogram:
    """One run's round-trip times."""

    def __init__(self, host: str) -> None:
        """Take any run; what HdrHistogram writes has no room for its host."""
        from hdrh.histogram import HdrHistogram

        self._histogram = HdrHistogram(1, _MOST, _DIGITS)

    def take(self, event: Event) -> None:
        """The next of its events."""
        for time, count in self.times_of(event):
            self._histogram.record_value(min(max(time, 0), _MOST), count)

    def times_of(self, event: Event) -> Iterator[tuple[int, int]]:
        """What it adds, and how often."""
        if isinstance(event, ReplyRecord):
            yield event.rtt_ns, 1

    def text(self) -> str:
        """The whole."""
        written = io.BytesIO()
        self._histogram.output_percentile_distribution(written, _UNIT)
        return written.getvalue().decode()


class CorrectedHistogram(Histogram):
    """From when each probe was due, missed ones too."""

    def __init__(self, host: str) -> None:
        super().__init__(host)
        self._correction = Correction()

    def times_of(self, event: Event) -> Iterator[tuple[int, int]]:
        """See `Histogram.times_of`."""
        return self._correction.times_of(event)
