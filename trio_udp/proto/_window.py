"""How many requests may be under way at a time, after what the network made of the last ones (C6).

RFC 8085 section 3.1 asks of everything on UDP to slow down when datagrams are lost. Here that is TCP's way: halve at a
loss, add one when as many have been answered as there may be under way. A loss is a retransmission timeout; a datagram
that nobody sends again may have been lost as well, but then its sender is paced by something else.

What must hold: it is at least 1, so that something can find out that the network is well again; it is never more than
its user allows, where it begins; and it is halved at most once in a retransmission timeout. All that were sent before
it was halved may be lost by the same congestion, so only what was sent after that counts again, and nothing is timed
out sooner than a retransmission timeout after it was sent.
"""

import math


class Window:
    """The requests of one client that may be under way."""

    __slots__ = ("_answers", "_halved_at", "most", "size")

    def __init__(self, most: int) -> None:
        """Make one that begins with as many as there may ever be, at least 1."""
        self.most = most
        self.size = most
        """How many now."""
        self._halved_at = -math.inf
        self._answers = 0
        """Since it has grown."""

    def lose(self, sent: float, now: float) -> None:
        """A transmission was made then, and is made again now, because no answer came."""
        if sent >= self._halved_at:
            self.size = max(self.size // 2, 1)
            self._halved_at = now
            self._answers = 0

    def answer(self) -> None:
        """A request was answered. Need not be called while the size is the most."""
        self._answers += 1
        if self._answers >= self.size:
            self._answers = 0
            self.size = min(self.size + 1, self.most)
