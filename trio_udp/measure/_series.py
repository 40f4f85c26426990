"""A run over time, out of its events, which `ping --plot` draws: in bounded memory however long the run is.

Up to `MOST_SPOTS` probes are kept one by one. Beyond that, neighbours in time are put together, two and two, as often
as it takes: of each group the picture shows the least, the mean and the greatest time, and how many were lost.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Final

from ._distribution import Buckets
from ._records import Corrupted, Event, Late, Lost, Missed, Refused, Rejected, ReplyRecord, Start, Summary

MOST_SPOTS: Final = 1000
"""About as many as a picture has room for, from left to right."""
_FIRST_SHIFT: Final = 10
"""At first, probes within 1024 ns are put together."""

FATES: Final = ("upstream", "downstream", "unknown", "changed", "refused")
"""Why there is no round-trip time: lost on which way, a changed answer came, or the server would not reply."""


class Spot:
    """What happened at about one time."""

    __slots__ = ("fates", "least", "most", "replies", "total")

    def __init__(self) -> None:
        self.replies = 0
        self.total = 0
        """Nanoseconds, of all replies together."""
        self.least = 0
        self.most = 0
        self.fates: Counter[str] = Counter()

    @property
    def probes(self) -> int:
        """How many it stands for; one with a changed answer and a good one counts twice."""
        return self.replies + self.fates.total()

    def add(self, other: "Spot") -> None:
        """Take in another one."""
        if other.replies:
            self.least = min(self.least, other.least) if self.replies else other.least
            self.most = max(self.most, other.most) if self.replies else other.most
        self.replies += other.replies
        self.total += other.total
        self.fates.update(other.fates)


class Series:
    """A run over time: of which it is given every event, in any order."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.began_ns: int | None = None
        """Since 1970; what the picture counts from."""
        self.times = Buckets()
        self.counts: Counter[str] = Counter()
        self.rejected = 0
        self.summary: Summary | None = None
        self._shift = _FIRST_SHIFT
        self._spots: dict[int, Spot] = {}

    @property
    def width_ns(self) -> int:
        """What one spot stands for."""
        return 1 << self._shift

    @property
    def is_exact(self) -> bool:
        """Whether no two probes were put together that a picture would show apart."""
        return self._shift == _FIRST_SHIFT

    def spots(self) -> Iterator[tuple[float, Spot]]:
        """Seconds from the beginning, ascending, and what happened then."""
        for key, spot in sorted(self._spots.items()):
            yield ((key << self._shift) + (self.width_ns >> 1 if not self.is_exact else 0)) / 1e9, spot

    def take(self, event: Event) -> None:
        """Something happened."""
        match event:
            case Start():
                self.began_ns = self.began_ns or event.at_ns
            case ReplyRecord():
                self._reply(event)
            case Lost():
                self._miss(event.sent_at_ns, str(event.direction))
            case Refused():
                self._miss(event.sent_at_ns, "refused")
            case Corrupted():
                self._miss(event.sent_at_ns, "changed")
            case Missed():
                self.counts["missed_slots"] += event.slots
            case Late():
                self.counts["late"] += 1
            case Rejected():
                self.rejected += 1
            case Summary():
                self.summary = event
            case _:
                pass

    def _reply(self, event: ReplyRecord) -> None:
        spot = Spot()
        spot.replies, spot.total = 1, event.rtt_ns
        spot.least = spot.most = event.rtt_ns
        self.counts["received"] += 1
        self.times.add(event.rtt_ns, 1)
        self._put(event.sent_at_ns, spot)

    def _miss(self, at_ns: int, fate: str) -> None:
        spot = Spot()
        spot.fates[fate] = 1
        self.counts[fate] += 1
        self._put(at_ns, spot)

    def _put(self, at_ns: int, spot: Spot) -> None:
        if self.began_ns is None:
            self.began_ns = at_ns
        self._spots.setdefault((at_ns - self.began_ns) >> self._shift, Spot()).add(spot)
        while len(self._spots) > MOST_SPOTS:
            self._halve()

    def _halve(self) -> None:
        self._shift += 1
        spots, self._spots = self._spots, {}
        for key, spot in spots.items():
            self._spots.setdefault(key >> 1, Spot()).add(spot)
