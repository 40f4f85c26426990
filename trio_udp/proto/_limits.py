"""How often a server answers one source, and all of them together: token buckets in a table of fixed size.

Whoever sends requests may write any source address on them, so a table with an entry for each source would be the
attacker's to fill: either it grows, or it forgets those it should remember. This one has neither entries nor evictions.
A source is hashed, with a secret of this server, to one cell in each of two rows, and counts in both. It is refused
only if both are empty of tokens.

What must hold:

- a source gets no more than its burst and its rate, whatever others do: others can only take from its cells;
- a source within its rate is refused only if others have emptied both its cells. Nobody without the secret knows which
  sources those are. With k sources far above their rate the chance of that is (k / 32,768)**2, so 0.1 % for a thousand;
  a flood of spoofed sources, each used once, needs 32,768 times the rate of one source before anybody notices;
- constant work and no memory for each request, and 512 KiB for the table.

Of `overall` a part is kept for requests that no stranger can have made up, those under a key and those with a good
cookie: strangers may empty the bucket of all to its half, and no further. What must hold: whatever they send, others
get what a bucket of their own would give them, with the whole rate and half the burst. Among themselves strangers have
the same chance each, as on a link that is full: nothing that a datagram says tells a spoofed source from a new one.
"""

import math
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from ._refusal import Refusal, RefusalReason, rate_refusal

SECRET_SIZE: Final = 16
"""Random bytes that a limiter wants."""
CELLS: Final = 2**15
"""In each of the two rows, 8 bytes each."""

_NEVER: Final = -math.inf
_ROUNDING: Final = 0.001
"""Of a token: what is missing but for a rounding error is there."""
_PREFIX: Final = 4
"""Groups of an IPv6 address that say whose it is: /64, what one network, often one customer, has to itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """How many requests a second a server takes; what is more is dropped as `over_budget`.

    A source is an IPv4 address, or the first 64 bits of an IPv6 address: whoever has one address of those has all of
    them. Retransmissions count, and what is dropped does not. Raises `ValueError` for limits that make no sense.
    """

    per_source: float | None = None
    """Requests a second from one source; None is no limit. Many users may share one address (NAT)."""
    burst: int | None = None
    """Requests that a source which was quiet may send at once; as many as in a second by default."""
    overall: float | None = None
    """Requests a second from all sources together; None is no limit. As many as in a second may come at once, of which
    half is kept for those that come under a key or with a good cookie."""

    def __post_init__(self) -> None:
        if self.per_source is None and self.overall is None:
            raise ValueError("expected per_source, overall or both, got neither")
        for name in ("per_source", "overall"):
            rate = getattr(self, name)
            if rate is not None and not 0 < rate < math.inf:
                raise ValueError(f"expected {name} to be a positive number of requests a second, got {rate}")
        if self.burst is not None and (self.per_source is None or self.burst < 1):
            wanted = "only with per_source" if self.per_source is None else "to be at least 1"
            raise ValueError(f"expected burst {wanted}, got {self.burst}")


def most_at_once(rate: float) -> int:
    """How many of so many a second may come together, where nobody says otherwise: a second's worth, at least one."""
    return max(1, int(rate))


class Bucket:
    """Tokens of one kind: what one costs in time, and how far ahead of the clock they may be spent.

    A bucket with them is one number, the time at which it will be full again (the generic cell rate algorithm).
    """

    __slots__ = ("most_ahead", "step")

    def __init__(self, rate: float, burst: int | None = None) -> None:
        most = most_at_once(rate) if burst is None else burst
        self.step = 1 / rate
        """Seconds until a token that was taken is there again."""
        self.most_ahead = (most - 1 + _ROUNDING) * self.step

    def take(self, full_at: float, now: float) -> float | None:
        """When it will be full if a token is taken now; None if there is none."""
        begin = full_at if full_at > now else now
        return begin + self.step if begin - now <= self.most_ahead else None


class Overall:
    """The bucket of all: whole, and as far down as strangers may empty it."""

    __slots__ = ("_strangers", "_whole")

    def __init__(self, rate: float) -> None:
        most = most_at_once(rate)
        self._whole = Bucket(rate)
        self._strangers = Bucket(rate, most - most // 2)

    def take(self, full_at: float, now: float, is_proven: Callable[[], bool]) -> float | None:
        """As `Bucket.take`."""
        taken = self._strangers.take(full_at, now)
        return self._whole.take(full_at, now) if taken is None and is_proven() else taken


def _proves_nothing() -> bool:
    return False


class Limiter:
    """What one server's limit has come to."""

    def __init__(self, limit: RateLimit, secret: bytes) -> None:
        """Make a limiter.

        Args:
            limit: the limits.
            secret: 16 random bytes, which decide what source is counted where; `ValueError` for more or fewer.
        """
        if len(secret) != SECRET_SIZE:
            raise ValueError(f"expected {SECRET_SIZE} random bytes, got {len(secret)}")
        self._hash = blake2b(key=secret, digest_size=8)
        self._limit = limit
        self._each = None if limit.per_source is None else Bucket(limit.per_source, limit.burst)
        self._all = None if limit.overall is None else Overall(limit.overall)
        self._cells = array("d", [_NEVER]) * (0 if self._each is None else 2 * CELLS)
        """When each bucket is full again, one row after the other."""
        self._full_at = _NEVER
        """The same for the one of all together."""

    def admits(self, host: str, now: float, is_proven: Callable[[], bool] = _proves_nothing) -> bool:
        """Whether a request from there may be taken now; if so, it is counted.

        Args:
            host: where it came from.
            now: the time.
            is_proven: whether it is one that no stranger can have made up. Not asked, since to know it costs something,
                while strangers would be taken too.
        """
        full_at: float | None = now
        if self._all is not None:
            full_at = self._all.take(self._full_at, now, is_proven)
        # What either refuses costs nothing of the other.
        if full_at is None or not (self._each is None or self._take(self._each, host, now)):
            return False
        self._full_at = full_at
        return True

    def refusal(self, host: str, now: float) -> Refusal:
        """Which limit it was that has just refused a request from there."""
        if self._each is not None:
            one, other = self._cells_of(source_of(host))
            if self._each.take(min(self._cells[one], self._cells[other]), now) is None:
                return rate_refusal(RefusalReason.RATE, self._limit.per_source or 0)
        return rate_refusal(RefusalReason.OVERALL_RATE, self._limit.overall or 0)

    def _take(self, bucket: Bucket, host: str, now: float) -> bool:
        one, other = self._cells_of(source_of(host))
        cells = self._cells
        full_at = bucket.take(min(cells[one], cells[other]), now)
        if full_at is None:
            return False
        cells[one] = max(cells[one], full_at)
        cells[other] = max(cells[other], full_at)
        return True

    def _cells_of(self, source: str) -> tuple[int, int]:
        keyed = self._hash.copy()
        keyed.update(source.encode())
        digest = int.from_bytes(keyed.digest())
        return digest % CELLS, CELLS + (digest >> 32) % CELLS


def source_of(host: str) -> str:
    """Who is to be counted for a host in canonical form: itself, or all of its IPv6 network, which is one link's."""
    if ":" not in host:
        return host
    address, _, scope = host.partition("%")
    before, _, behind = address.partition("::")
    groups = before.split(":") if before else []
    rest = behind.split(":")
    groups += ["0"] * (8 - len(groups) - len(rest)) + rest
    return ":".join((*groups[:_PREFIX], scope))
