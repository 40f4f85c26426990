"""A recorded run's percentiles in the text format of HdrHistogram, which its plotters read.

The package `hdrhistogram` counts and writes, and is imported when a run is made. It keeps three digits of each time.
"""

import io
from collections.abc import Iterator
from typing import Final

from ._corrected import Correction
from ._records import Event, ReplyRecord

_MOST: Final = 2**63 - 1
"""Nanoseconds; a stream's numbers are no greater, and corrected times are cut here."""
_DIGITS: Final = 3
_UNIT: Final = 1.0
"""Nanosecond. In any other, hdrhistogram 0.10 writes all but the deviation."""


class HdrRun:
    """One run's round-trip times, counted; `text` has the whole."""

    def __init__(self, host: str, *, is_corrected: bool = False) -> None:
        """Begin with none. `ImportError` without the package hdrhistogram.

        Args:
            host: whom it measured. What HdrHistogram writes has no room for it.
            is_corrected: count from when each probe was due, missed ones too, as `Correction` does.
        """
        from hdrh.histogram import HdrHistogram  # noqa: PLC0415 - an extra, for those who use it

        self.host: Final = host
        self._histogram = HdrHistogram(1, _MOST, _DIGITS)
        self._times_of = Correction().times_of if is_corrected else _measured

    def take(self, event: Event) -> None:
        """The next of its events."""
        for time, count in self._times_of(event):
            self._histogram.record_value(min(max(time, 0), _MOST), count)

    def text(self) -> str:
        """The lines that HdrHistogram writes, in nanoseconds."""
        written = io.BytesIO()
        self._histogram.output_percentile_distribution(written, _UNIT)
        return written.getvalue().decode()


def _measured(event: Event) -> Iterator[tuple[int, int]]:
    """What an event adds, and how often."""
    if isinstance(event, ReplyRecord):
        yield event.rtt_ns, 1
