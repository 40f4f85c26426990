"""Network times, each less the lag of its reply: what the server's kernel took until that had left.

No reply can carry its own lag, so the one that the server numbers next has it. What must hold: a lag is taken off the
reply with its number only, in the same count of the server's; nothing becomes less than nothing; every network time is
in the distribution once, as it is where the lag is not known; and of those that wait for theirs few are kept.
"""

import copy
from collections.abc import Iterable
from typing import Final, NamedTuple, TypeAlias

from ..proto import Times
from ._distribution import Collector
from ._records import Distribution

_WAITING: Final = 8
"""Replies that are waited for until the lag of one is not known: the next one may be late, or come again."""
_TOLD: Final = 64
"""Numbers, from the last one back, of which a lag is remembered: many more than replies wait."""


_Numbered: TypeAlias = tuple[int, int, int]
"""The server's state, its number of a reply, and nanoseconds of that reply."""


class LessLag(NamedTuple):
    """What `NetworkTimes` adds up to."""

    times: Distribution
    lags_known: int
    """In how many of these the lag is no more."""
    lag_ns: int | None
    """How much it was, on average."""


class NetworkTimes:
    """The network times of all replies."""

    def __init__(self) -> None:
        self.settled = Collector()
        """Those that wait no longer."""
        self._waiting: list[_Numbered] = []
        """Network times of those whose lag may still come."""
        self._told: list[_Numbered | None] = [None] * _TOLD
        """Lags, each at its number's place."""
        self._known = 0
        self._lag = 0
        """Nanoseconds, of all that are known."""

    def tell(self, state: int, number: int, lag: int | None) -> None:
        """The server has told the lag of a reply, or that it does not know it."""
        if lag is not None:
            self._told[number % _TOLD] = (state, number, lag)

    def extend(self, some: Iterable[tuple[int | None, Times]]) -> None:
        """Take the network times of some replies, and what the server told in each."""
        for network, times in some:
            self.tell(times.state, times.received - 1, times.lag)
            if network is not None:
                self._waiting.append((times.state, times.received, network))
        if len(self._waiting) > _WAITING:
            found, lags = self._less_lags(self._waiting[:-_WAITING])
            self.settled.extend(found)
            self._known += len(lags)
            self._lag += sum(lags)
            del self._waiting[:-_WAITING]

    def result(self) -> LessLag:
        """The sums, with those that wait as they are by now; they go on waiting."""
        every = copy.deepcopy(self.settled)
        found, lags = self._less_lags(self._waiting)
        every.extend(found)
        known = self._known + len(lags)
        return LessLag(every.result(), known, (self._lag + sum(lags)) // known if known else None)

    def _less_lags(self, some: list[_Numbered]) -> tuple[list[int], list[int]]:
        """The network times of these, and the lags that are not in them."""
        found, lags = [], []
        for state, number, network in some:
            told = self._told[number % _TOLD]
            if told is not None and told[:2] == (state, number) and told[2] <= network:
                lags.append(told[2])
                found.append(network - told[2])
            else:
                found.append(network)
        return found, lags
