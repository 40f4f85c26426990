"""How often a client may ask again where a server has said BUSY: a share of its requests, and a few on top.

A server that is busy is made busier by those who ask again, and so the longer. If each request may be sent five times,
an overload that one lost second has begun can feed itself with four times the traffic. The idea of a budget for the
whole client is that of Finagle and gRPC.

What must hold: never more than `RESERVE` and `SHARE` of the requests, from any time on. Who needs no retries for long
does not save up for more.
"""

from typing import Final

SHARE: Final = 0.2
"""What each request brings: Finagle's, and Linkerd's, 20 %."""
RESERVE: Final = 100
"""The most there is, and what it begins with, for clients that ask seldom: their 10 a second for 10 s."""


class RetryBudget:
    """What one client has left."""

    __slots__ = ("_left", "_requests", "withheld")

    def __init__(self) -> None:
        self.withheld = 0
        """Retransmissions that were not made."""
        self._left: float = RESERVE
        self._requests = 0

    def spend(self, requests: int) -> bool:
        """Whether there is one retransmission left, now that so many requests were made since the beginning."""
        self._left = min(self._left + (requests - self._requests) * SHARE, RESERVE)
        self._requests = requests
        if self._left < 1:
            self.withheld += 1
            return False
        self._left -= 1
        return True
