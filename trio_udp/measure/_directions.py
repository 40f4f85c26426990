"""On which way probes were lost, by what the server tells of those that arrived.

What must hold: a direction is named only if the server's word supports it. A bit that is set in its window says that
the probe arrived, whatever else the server has forgotten. A bit that is clear says that it did not, only if the server
has counted this client from its first probe on: that is so if it has forgotten nobody since before that probe left, and
has not lost count since. Everything else is `unknown`.
"""

from collections import OrderedDict
from typing import Final

from ..proto import Arrival, SequenceWindow, Times
from ._records import Direction

_OPEN_QUESTIONS: Final = 1024
"""Lost probes whose direction may still become known, or be corrected: many times the server's window of 64."""
_SEEN: Final = 256
"""Sequences, from the highest that has arrived down, of which is remembered whether the server has said so: more than
its window of 64, since words overtake each other."""
_UNANSWERED: Final = 4096
"""Probes that are known to have arrived, and of which no answer has come."""
_SEEN_MASK: Final = 2**_SEEN - 1
_STATES: Final = 8
"""Times that a server may lose count before the replies of the first are no longer told apart."""


class Directions:
    """The server's words about one run, and what follows from them."""

    def __init__(self) -> None:
        self.counts = dict.fromkeys(Direction, 0)
        """Lost probes."""
        self.latest: Times | None = None
        """The server's last word, of the count that it has not lost."""
        self._is_complete: bool | None = None
        """Whether it has counted from the first probe on; None before it has said anything."""
        self._is_final = False
        """Whether it was asked when all probes had been waited for."""
        self._replies: OrderedDict[int, SequenceWindow] = OrderedDict()
        self._lost: OrderedDict[int, Direction] = OrderedDict()
        self._reordered = 0
        self._highest = 0
        self._seen = 0
        """Bit n is set if a word has said that the sequence `_highest` - n arrived."""
        self._arrived = 0
        """How many sequences words have said that of."""
        self._unanswered: OrderedDict[int, None] = OrderedDict()
        """Those of them that may be lost downstream."""
        self._forgotten = 0
        """The greatest sequence that has been dropped from these."""

    @property
    def has_counted_all(self) -> bool:
        """Whether the server's counts are of the whole run."""
        return bool(self._is_complete)

    @property
    def is_final(self) -> bool:
        """Whether the server was asked for its last word, and has said it."""
        return self._is_final

    @property
    def reordered(self) -> int:
        """Replies that came behind one that the server sent later."""
        return self._reordered

    def tell(self, times: Times, since_first: int, *, answers: int = 0, is_report: bool = False) -> Arrival | None:
        """Take the server's word; what the reply is to those before it, unless it is a report.

        Args:
            times: what the server tells.
            since_first: nanoseconds from when the first probe left until this reply came.
            answers: the sequence of the probe that it is the reply to.
            is_report: whether this is no reply to a probe, and has no number of its own.
        """
        if self.latest is None:
            self._is_complete = times.memory >= since_first
        elif times.state != self.latest.state:
            self.doubt()
        before = self.latest
        is_known = before is not None and times.state in (before.state, *self._replies)
        if before is None or not is_known or (times.state == before.state and times.received >= before.received):
            self.latest = times
        self._see(times, answers)
        arrival = None
        self._is_final = self._is_final or is_report
        if not is_report:
            arrival = self._window(times.state).receive(times.received)
            self._reordered += arrival is Arrival.REORDERED
        self._reconsider()
        return arrival

    def doubt(self) -> None:
        """The server has lost count: what it did not know may have arrived after its last word that we had."""
        self._is_complete = False
        for sequence, direction in self._lost.items():
            if direction is Direction.UPSTREAM:
                self.counts[direction] -= 1
                self.counts[Direction.UNKNOWN] += 1
                self._lost[sequence] = Direction.UNKNOWN

    def lose(self, sequence: int, *, never_left: bool = False) -> Direction:
        """Count a probe as lost; on which way, as far as is known by now."""
        direction = Direction.UPSTREAM if never_left else self._direction_of(sequence)
        self.counts[direction] += 1
        if not never_left:
            self._lost[sequence] = direction
            if len(self._lost) > _OPEN_QUESTIONS:
                self._lost.popitem(last=False)
        return direction

    def of(self, sequence: int) -> Direction | None:
        """On which way a probe was lost, as far as is known by now; None of one that is not remembered."""
        return self._lost.get(sequence)

    def find(self, sequence: int) -> None:
        """Count a lost probe as lost no more, because its answer came late."""
        # One that is not remembered was lost so long ago that the word on it was the last.
        direction = self._lost.pop(sequence, Direction.UNKNOWN)
        if not self.counts[direction]:
            direction = max(self.counts, key=self.counts.__getitem__)
        self.counts[direction] -= 1

    def settled(self, sent: int, answered: int) -> dict[Direction, int] | None:
        """The counts by the server's own, which are exact; None unless those are of the whole run and its last word.

        Without that a probe that arrived after the last reply we had would be taken for lost upstream.

        Args:
            sent: probes, each either answered or counted here as lost.
            answered: those of which some answer came.
        """
        if self.latest is None or not self.has_counted_all or not self._is_final:
            return None
        arrived = self.latest.received - self.latest.duplicates
        if not answered <= arrived <= sent:
            return None  # no server that counts right says so
        return {
            Direction.UPSTREAM: sent - arrived,
            Direction.DOWNSTREAM: arrived - answered,
            Direction.UNKNOWN: 0,
        }

    def _window(self, state: int) -> SequenceWindow:
        window = self._replies.get(state)
        if window is None:
            window = self._replies[state] = SequenceWindow()
            if len(self._replies) > _STATES:
                self._replies.popitem(last=False)
        return window

    def _see(self, times: Times, answers: int) -> None:
        """Remember which probes have arrived, before the server's window has passed them."""
        word, ahead = times.window << 1 | 1, times.highest - self._highest
        if ahead > 0:
            self._highest = times.highest
            self._seen = self._seen << ahead & _SEEN_MASK if ahead < _SEEN else 0
        elif -ahead < _SEEN:
            word = word << -ahead & _SEEN_MASK
        else:
            return
        new = word & ~self._seen
        self._seen |= new
        while new:
            bit = new.bit_length() - 1
            new ^= 1 << bit
            self._arrived += 1
            self._unanswered[self._highest - bit] = None
        self._unanswered.pop(answers, None)
        while len(self._unanswered) > _UNANSWERED:
            sequence, _ = self._unanswered.popitem(last=False)
            self._forgotten = max(self._forgotten, sequence)

    def _direction_of(self, sequence: int) -> Direction:
        if sequence in self._unanswered:
            return Direction.DOWNSTREAM
        has_come = None if self.latest is None else self._has_come(sequence, self.latest)
        if has_come is None:
            return Direction.UNKNOWN
        if has_come:
            return Direction.DOWNSTREAM
        return Direction.UPSTREAM if self._is_complete else Direction.UNKNOWN

    def _has_come(self, sequence: int, latest: Times) -> bool | None:
        has_come = latest.has(sequence)
        if has_come is None and self._forgotten < sequence < latest.highest:
            # Its window has passed it; but if all that it counts are known by number, this is none of them.
            return False if self._arrived == latest.received - latest.duplicates else None
        return has_come

    def _reconsider(self) -> None:
        """Name the directions of lost probes anew that the latest word is about."""
        for sequence, before in self._lost.items():
            now = self._direction_of(sequence)
            if now is not Direction.UNKNOWN and now is not before:
                self.counts[before] -= 1
                self.counts[now] += 1
                self._lost[sequence] = now
