"""The times of all replies, summed up: a few at a time, between two probes, and many in one go where there are many.

To sum up takes longer than to take a reply. So a reply's times wait until there are some, and then each collection
takes its own of them together. What must hold: whoever asks for the sums is told of every reply so far; and nothing
that is done between two probes takes much of 200 µs.
"""

import itertools
from collections import Counter, deque
from collections.abc import Iterator
from typing import Final, NamedTuple

from ..proto import Times
from ._corrected import imagined
from ._delays import DelayVariation, OffsetEstimator
from ._distribution import Collector
from ._lags import NetworkTimes
from ._records import Distribution, Stamps
from ._timing import Timing

PARTS: Final = ("total", "client_queue", "network", "server", "wake_up")
_TOGETHER: Final = 8
"""Replies whose times are added at once; measured: 5 µs each, where one by one it is 30."""
_AT_ONCE: Final = 16
"""And at most, after a burst."""
_SETTLED: Final = 2
"""Collections that are settled each time: all of them before one has so much that it settles by itself."""
_KEPT: Final = 4096
"""Replies whose times are not in the sums yet."""
_KEPT_AN_INTERVAL: Final = 4096


class Measured(NamedTuple):
    """One reply."""

    sequence: int
    late: int
    """Nanoseconds after it was due that its probe was sent."""
    missed: int
    """Slots that passed before it."""
    timing: Timing
    times: Times | None
    """What the server told."""


class Sums:
    """Everything that is added up of replies."""

    def __init__(self, *, slot: int) -> None:
        """Begin with nothing; so many nanoseconds are between two probes."""
        self._slot = slot
        self._waiting: deque[Measured] = deque()
        self._since, self._since_corrected = (Collector(exact=_KEPT_AN_INTERVAL) for _ in range(2))
        self.stamps: Counter[Stamps] = Counter()
        self.rtt = Collector()
        self.corrected = Collector()
        self.parts = {name: Collector() for name in PARTS if name != "network"}
        self.network = NetworkTimes()
        self.variations = {way: DelayVariation() for way in ("round_trip", "upstream", "downstream")}
        self.clock = OffsetEstimator()
        self._turns = self._take_turns()

    def take(self, measured: Measured) -> None:
        """A reply came."""
        self._waiting.append(measured)
        if len(self._waiting) >= _KEPT:
            self.complete()

    def tell(self, times: Times, *, is_report: bool) -> None:
        """A reply came that is not added up, or a report: it may have the lag of one that is."""
        if is_report:
            self.complete()  # the run is over, and no probe is due
        self.network.tell(times.state, times.received - (not is_report), times.lag)

    def catch_up(self) -> None:
        """Add some, if there are enough: little enough for the time between two probes.

        If all were added now and then, probes would be late then: what 256 replies take is more than two milliseconds.
        """
        if len(self._waiting) >= _TOGETHER:
            self._add(min(len(self._waiting), _AT_ONCE))
            for _ in range(_SETTLED):
                next(self._turns).settle()

    def complete(self) -> None:
        """Add all of them."""
        while self._waiting:
            self._add(min(len(self._waiting), _AT_ONCE))

    def take_interval(self) -> tuple[Distribution, Distribution]:
        """Round trips, and corrected ones, since this was last asked."""
        self.complete()
        found = self._since.result(), self._since_corrected.result()
        self._since, self._since_corrected = (Collector(exact=_KEPT_AN_INTERVAL) for _ in range(2))
        return found

    def _add(self, count: int) -> None:
        some = [self._waiting.popleft() for _ in range(count)]
        timings = [each.timing for each in some]
        rtts = [timing.rtt for timing in timings]
        self.stamps.update([timing.stamps for timing in timings])
        self.rtt.extend(rtts)
        self._since.extend(rtts)
        corrected = [each.timing.rtt + each.late for each in some]
        self.corrected.extend(corrected)
        self._since_corrected.extend(corrected)
        for name, collector in self.parts.items():
            collector.extend([part for timing in timings if (part := getattr(timing, name)) is not None])
        self.network.extend([(each.timing.network, each.times) for each in some if each.times is not None])
        for each in some:
            if each.missed:
                self._imagine(each)
        self.variations["round_trip"].extend([each.sequence for each in some], rtts)
        self._compare_clocks(some)

    def _imagine(self, measured: Measured) -> None:
        """What the probes of the slots before it would have taken."""
        from_due = measured.timing.rtt + measured.late
        for waited, count in imagined(from_due, measured.missed, self._slot):
            self.corrected.add_many(waited, count)
            self._since_corrected.add_many(waited, count)

    def _compare_clocks(self, some: list[Measured]) -> None:
        told = [(each.sequence, each.timing, each.times) for each in some if each.times is not None]
        sequences = [sequence for sequence, _, _ in told]
        self.variations["upstream"].extend(sequences, [times.arrived - timing.left_at for _, timing, times in told])
        timed = [
            (sequence, timing.left_at, times.arrived, times.turnaround, timing.came_at)
            for sequence, timing, times in told
            if times.turnaround is not None
        ]
        back = [came - arrived - turnaround for _, _, arrived, turnaround, came in timed]
        self.variations["downstream"].extend([sequence for sequence, *_ in timed], back)
        for _, left, arrived, turnaround, came in timed:
            self.clock.add(left, arrived, turnaround, came)

    def _take_turns(self) -> Iterator[Collector]:
        """The collections whose turn it is to be settled, for ever."""
        variations = [one for variation in self.variations.values() for one in variation.collectors]
        return itertools.cycle([self.rtt, self.corrected, self.network.settled, *self.parts.values(), *variations])
