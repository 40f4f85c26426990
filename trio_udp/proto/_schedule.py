"""When to send again, and when to stop: pure arithmetic on seconds.

The wait after attempt k is `RTO * multiplier**(k-1) * U`, where U is drawn once per request from [1, 1 + jitter], as
CoAP does (RFC 7252 section 4.8): clients that lost their datagrams together do not come back together, and no wait is
ever shorter than the RTO.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from ._rtt import INITIAL_RTO, MAXIMUM_RTO

_MAX_ATTEMPTS: Final = 254
"""The attempt number is one byte on the wire, and a server may ask for one transmission more, with padding."""

_SLACK: Final = 1e-9
"""Seconds: what is left of the time but for a rounding error is nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often a request is sent, how long each transmission is waited for, and when the request is given up.

    It ends a request whose caller set no deadline. A deadline of the caller's own, by any Trio cancel scope, always
    wins (C4). All times are seconds. Raises `ValueError` for a policy that makes no sense.
    """

    # The waits
    initial: float = INITIAL_RTO
    """The first retransmission timeout, while the peer's round-trip time is unknown (RFC 8085 section 3.1.1)."""
    adaptive: bool = True
    """Start from the measured round-trip time (RFC 6298) once there is one; otherwise always from `initial`."""
    multiplier: float = 2.0
    """Each wait is this many times the one before (RFC 8085 section 3.1.1)."""
    jitter: float = 0.5
    """Waits are stretched by one factor from [1, 1 + jitter] (RFC 7252's ACK_RANDOM_FACTOR of 1.5)."""
    maximum_interval: float = MAXIMUM_RTO
    """No wait grows longer than this (RFC 6298 section 2.5), unless the retransmission timeout itself is longer."""
    final_wait: float | None = None
    """The wait after the last attempt where the rule is another, as STUN's Rm * RTO (RFC 8489 section 6.2.1)."""

    # The end
    attempts: int = 5
    """Transmissions to one server, 1 to 254 (RFC 7252: four retransmissions)."""
    give_up_after: float | None = None
    """Seconds after the first transmission at which to give up, whatever the attempts."""

    def __post_init__(self) -> None:
        for name in ("initial", "maximum_interval", "final_wait", "give_up_after"):
            seconds = getattr(self, name)
            if seconds is not None and not 0 < seconds < math.inf:
                raise ValueError(f"expected {name} to be a positive number of seconds, got {seconds}")
        if not 1 <= self.multiplier < math.inf:
            raise ValueError(f"expected multiplier to be at least 1, got {self.multiplier}")
        if not 0 <= self.jitter < math.inf:
            raise ValueError(f"expected jitter to be at least 0, got {self.jitter}")
        if type(self.attempts) is not int or not 1 <= self.attempts <= _MAX_ATTEMPTS:
            raise ValueError(f"expected 1 to {_MAX_ATTEMPTS} attempts, got {self.attempts}")

    def waits(self, rto: float | None = None, draw: float = 0.0) -> Iterator[float]:
        """Yield the wait after each attempt: as many waits as there are attempts.

        Args:
            rto: the peer's measured retransmission timeout in seconds, if there is one.
            draw: a random number from [0, 1], which places this request's factor within the jitter.
        """
        interval, longest = self._first_interval(rto, draw)
        left = math.inf if self.give_up_after is None else self.give_up_after
        for attempt in range(1, self.attempts + 1):
            last = attempt == self.attempts
            wait = self.final_wait if last and self.final_wait is not None else min(interval, longest)
            yield min(wait, left)
            left -= wait
            if left <= _SLACK:
                return
            interval *= self.multiplier

    def first_wait(self, rto: float | None = None, draw: float = 0.0) -> float:
        """The first of `waits`, without the others."""
        if self.attempts == 1 or self.give_up_after is not None:
            return next(self.waits(rto, draw))
        base = self.initial if rto is None or not self.adaptive else rto
        interval = base * (1 + self.jitter * draw)
        return interval if interval < self.maximum_interval else max(self.maximum_interval, base)

    def _first_interval(self, rto: float | None, draw: float) -> tuple[float, float]:
        """The interval that the others are multiples of, and the longest one there may be."""
        base = self.initial if rto is None or not self.adaptive else rto
        return base * (1 + self.jitter * draw), max(self.maximum_interval, base)


BOOK: Final = RetryPolicy(initial=0.1, adaptive=False, jitter=0.0, maximum_interval=2.0, attempts=5)
"""`udp_remote.py`'s: 0.1 s doubling while at most 2 s. Sends at 0, 0.1, 0.3, 0.7, 1.5 s; gives up at 3.1 s."""

STUN: Final = RetryPolicy(initial=0.5, adaptive=False, jitter=0.0, attempts=7, final_wait=8.0)
"""RFC 8489 section 6.2.1: RTO 0.5 s, Rc 7, Rm 16. Sends at 0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5 s; gives up at 39.5 s."""

COAP: Final = RetryPolicy(initial=2.0, adaptive=False, jitter=0.5, maximum_interval=60.0, attempts=5)
"""RFC 7252 section 4.8: ACK_TIMEOUT 2 s, ACK_RANDOM_FACTOR 1.5, MAX_RETRANSMIT 4. Gives up at 62 to 93 s."""

PRESETS: Final = {"book": BOOK, "stun": STUN, "coap": COAP}
