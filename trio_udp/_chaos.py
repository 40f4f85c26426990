"""Faults as rules: a packet goes in, and out comes what becomes of it.

    Rule = (Packet) -> Verdict | None

The one extension point for everything that can go wrong between two hosts. `serve --drop`, the simulated network of
`trio_udp.testing` and whatever else loses datagrams on purpose use these rules, so that one loss model is tested once.
A rule has no clock and no randomness of its own: when a packet was sent stands in it, and a source of random numbers
is given to whoever makes a rule that needs one. Only `random.Random.random` is drawn from, and only sums, products and
comparisons are made of it: one seed gives the same faults on every machine and Python.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from random import Random
from typing import Final, NamedTuple

from ._net import Address
from ._words import read_words, write_delay, write_rate, write_seconds, write_share


class Packet(NamedTuple):
    """One datagram on its way from one host to another, or an ICMP error about one."""

    data: bytes
    """The UDP payload."""
    source: Address
    destination: Address
    sent_at: float = 0.0
    """Seconds on the clock of its network."""
    number: int = 0
    """Counts the packets of its network, from 1."""
    hop_limit: int = 64
    """The TTL or hop limit it arrives with."""
    may_fragment: bool = True
    """Whether a router may divide it: the IP header's "don't fragment" is not set."""
    icmp: "Icmp | None" = None
    """What it reports, if it is an ICMP error; its data is empty then."""


class Icmp(NamedTuple):
    """What an ICMP error says, in version 4's words; version 6 has the same under other numbers."""

    kind: str
    """One of `ICMP_KINDS`."""
    about: Packet
    """The packet it quotes."""
    mtu: int = 0
    """With `fragmentation needed`, the bytes of IP packet that would have fitted."""


ICMP_KINDS: Final = (
    "port unreachable",
    "host unreachable",
    "network unreachable",
    "prohibited",
    "fragmentation needed",
)


class Delivery(NamedTuple):
    """One copy of a packet that arrives."""

    after: float = 0.0
    """Seconds from when it was sent."""
    data: bytes | None = None
    """Its payload on arrival; None as it was sent."""


class Verdict(NamedTuple):
    """What becomes of a packet: a delivery for each copy that arrives, none for a loss."""

    deliveries: tuple[Delivery, ...] = ()
    why: str = ""
    """For whoever reads the trace."""
    icmp: Icmp | None = None
    """An ICMP error that its sender gets to hear."""
    errno: int | None = None
    """The call that sends it fails with this errno, and nothing leaves."""


Rule = Callable[[Packet], Verdict | None]
"""None is no opinion: the next rule is asked. The first verdict wins."""

PASS: Final = Verdict((Delivery(),))
"""At once, once, and as it is."""
DROP: Final = Verdict((), "lost")


def drop(why: str) -> Verdict:
    """Lose it, for this reason."""
    return Verdict((), why)


def delay(seconds: float, why: str = "delayed") -> Verdict:
    """Deliver it so many seconds after it was sent."""
    return Verdict((Delivery(seconds),), why)


def copies(count: int, *, apart: float = 0.0) -> Verdict:
    """Deliver it so many times."""
    return Verdict(tuple(Delivery(apart * index) for index in range(count)), f"{count} copies")


def replace(data: bytes, why: str = "changed") -> Verdict:
    """Deliver these bytes in its place, with a good checksum."""
    return Verdict((Delivery(0.0, data),), why)


def reject(packet: Packet, kind: str, *, mtu: int = 0) -> Verdict:
    """Lose it, and tell its sender by ICMP, as a router or a firewall does."""
    return Verdict((), kind, icmp=Icmp(kind, packet, mtu))


def refuse(errno: int, why: str = "refused") -> Verdict:
    """Let the call that sends it fail, as `ENOBUFS`, or `EPERM` from a local firewall."""
    return Verdict((), why, errno=errno)


def first_verdict(rules: Iterable[Rule], packet: Packet) -> Verdict | None:
    """Ask one rule after the other. `TypeError` for an answer that is neither a verdict nor None."""
    for rule in rules:
        verdict = rule(packet)
        if isinstance(verdict, Verdict):
            return verdict
        if verdict is not None:
            raise TypeError(f"expected a Verdict or None from the rule {rule!r}, got {verdict!r}")
    return None


def by_number(script: Mapping[int, "Verdict | Rule"]) -> Rule:
    """A rule for the packets with these numbers, from 1: a verdict each, or a rule that makes one. Others pass it by.

    `by_number({3: DROP, 5: lambda packet: replace(flip_bit(packet.data, 7))})`
    """
    steps = dict(script)
    for number in steps:
        if number < 1:
            raise ValueError(f"expected the number of a packet, from 1, got {number}")

    def rule(packet: Packet) -> Verdict | None:
        step = steps.get(packet.number)
        return step if step is None or isinstance(step, Verdict) else step(packet)

    return rule


def flip_bit(data: bytes, bit: int) -> bytes:
    """The same bytes with one bit, counted from the first byte's lowest, turned over."""
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


class _ReadableRepr:
    """Prints as the call that makes it, less the defaults: what a falsifying example shows."""

    def __repr__(self) -> str:
        values = ((field, getattr(self, field.name)) for field in fields(self))  # type: ignore[arg-type]  # a dataclass below
        shown = ", ".join(f"{field.name}={value!r}" for field, value in values if value != field.default)
        return f"{type(self).__name__}({shown})"


@dataclass(frozen=True, repr=False)
class GilbertElliott(_ReadableRepr):
    """Losses that come in bursts: a channel that is good or bad, and changes with these chances at each packet.

    The share of packets sent while it is bad is enter / (enter + leave); a bad spell lasts 1 / leave packets.
    """

    enter: float
    """Chance that a good channel turns bad, 0 to 1."""
    leave: float
    """Chance that a bad channel turns good, 0 to 1."""
    loss_when_bad: float = 1.0
    loss_when_good: float = 0.0

    def __post_init__(self) -> None:
        _check_shares(self, "enter", "leave", "loss_when_bad", "loss_when_good")

    def __str__(self) -> str:
        shares = [self.enter, self.leave]
        if (self.loss_when_bad, self.loss_when_good) != (1.0, 0.0):
            shares += [self.loss_when_bad, self.loss_when_good]
        return f"gilbert({','.join(map(write_share, shares))})"


@dataclass(frozen=True, kw_only=True, repr=False)
class Conditions(_ReadableRepr):
    """What a link does to packets, in one direction. The defaults are a perfect link. `ValueError` for nonsense.

    Each packet that is not lost waits for its turn where `bandwidth` says so, travels for `latency` and some of
    `jitter`, and arrives behind those sent before it, unless `reorder` picks it.
    """

    # Losses
    loss: float = 0.0
    """Share of packets lost, each by itself, 0 to 1."""
    burst: GilbertElliott | None = None
    """Losses in bursts, beside those."""
    mtu: int | None = None
    """Bytes of IP packet that fit; a longer one is lost and reported by ICMP, unless it may be divided."""

    # Delays
    latency: float = 0.0
    """Seconds."""
    jitter: float = 0.0
    """Seconds: up to so much more, at random. Keeps the order."""
    bandwidth: float | None = None
    """Bits a second, headers counted."""
    queue: float = 0.1
    """Seconds that a packet waits at most for the bandwidth; it is lost if it would have to wait longer."""

    # What else networks do
    duplicate: float = 0.0
    """Share of packets that arrive twice."""
    reorder: float = 0.0
    """Share of packets that arrive late, behind others sent after them."""
    reorder_by: float = 0.02
    """Seconds: how late."""
    corrupt: float = 0.0
    """Share of packets that arrive with one bit flipped and a good checksum."""

    def __post_init__(self) -> None:
        _check_shares(self, "loss", "duplicate", "reorder", "corrupt")
        for name in ("latency", "jitter", "queue", "reorder_by"):
            seconds = getattr(self, name)
            if not 0 <= seconds < math.inf:
                raise ValueError(f"expected {name} to be 0 or more seconds, got {seconds}")
        if self.bandwidth is not None and not 0 < self.bandwidth < math.inf:
            raise ValueError(f"expected bandwidth to be a positive number of bits a second, got {self.bandwidth}")
        if self.mtu is not None and self.mtu < _LEAST_MTU:
            raise ValueError(f"expected mtu to be at least {_LEAST_MTU}, got {self.mtu}")

    @classmethod
    def parse(cls, text: str) -> "Conditions":
        """Read them in words: `drop=5%,dup=1%,reorder=2%:20ms,delay=10ms±3ms,corrupt=0.1%,burst=gilbert(1%,30%)`.

        The others are `rate=10Mbit`, `queue=100ms` and `mtu=1280`. Shares are percents or fractions; times are in ns,
        us or µs, ms, or s; `+-` is as good as `±`, and `10ms±3ms` is anything from 7 to 13 ms. No words are a perfect
        link. `str` writes such words, which are read as the same conditions. `ValueError` with what was expected.
        """
        said = read_words(text)
        burst = said.pop("burst", None)
        return cls(**said, burst=None if burst is None else GilbertElliott(*burst))

    def __str__(self) -> str:
        return ",".join(f"{word}={value}" for word, value in self._words())

    def _words(self) -> Iterator[tuple[str, str]]:
        """Those that say something."""
        if self.loss:
            yield "drop", write_share(self.loss)
        if self.burst is not None:
            yield "burst", str(self.burst)
        if self.mtu is not None:
            yield "mtu", str(self.mtu)
        if self.latency or self.jitter:
            yield "delay", write_delay(self.latency, self.jitter)
        if self.bandwidth is not None:
            yield "rate", write_rate(self.bandwidth)
        if self.queue != Conditions.queue:
            yield "queue", write_seconds(self.queue)
        if self.duplicate:
            yield "dup", write_share(self.duplicate)
        if self.reorder or self.reorder_by != Conditions.reorder_by:
            yield "reorder", f"{write_share(self.reorder)}:{write_seconds(self.reorder_by)}"
        if self.corrupt:
            yield "corrupt", write_share(self.corrupt)

    def rule(self, random: Random) -> "Link":
        """A rule that does this to the packets it is asked about, drawing from this source."""
        return Link(self, random)


_LEAST_MTU: Final = 68
"""RFC 791: what every link carries undivided."""
_UDP_HEADER: Final = 8
_IP_HEADERS: Final = {False: 20, True: 40}
"""By whether it is version 6."""


def _check_shares(owner: object, *names: str) -> None:
    for name in names:
        share = getattr(owner, name)
        if not 0 <= share <= 1:
            raise ValueError(f"expected {name} to be a share from 0 to 1, got {share}")


def ip_length(packet: Packet) -> int:
    """Bytes of the whole IP packet."""
    return ip_length_of(len(packet.data), version6=":" in packet.destination.host)


def ip_length_of(size: int, *, version6: bool) -> int:
    """Bytes of the whole IP packet around so many bytes of payload."""
    return size + _UDP_HEADER + _IP_HEADERS[version6]


class Link:
    """One direction of a link: `Conditions` with what it has to remember. A `Rule` that always has a verdict."""

    def __init__(self, conditions: Conditions, random: Random) -> None:
        self.conditions = conditions
        self._draw = random.random
        self._is_bad = False
        self._free_at = -math.inf
        """When the last packet will have left for good."""
        self._last_arrival = -math.inf

    def __call__(self, packet: Packet) -> Verdict:
        """The verdict on one packet; ask in the order in which they are sent."""
        conditions = self.conditions
        if conditions.mtu is not None and ip_length(packet) > conditions.mtu and not packet.may_fragment:
            return reject(packet, "fragmentation needed", mtu=conditions.mtu)
        if self._happens(conditions.loss):
            return drop(f"lost, loss={conditions.loss}")
        if conditions.burst is not None and self._is_lost_in_burst(conditions.burst):
            return drop("lost in a burst")
        left = self._leaves_at(packet)
        if left is None:
            return drop("lost in a full queue")
        return self._arrive(packet, left)

    def _happens(self, share: float) -> bool:
        """Draws nothing for what never happens, so that it does not move what else is drawn."""
        return share > 0 and self._draw() < share

    def _is_lost_in_burst(self, burst: GilbertElliott) -> bool:
        if self._happens(burst.leave if self._is_bad else burst.enter):
            self._is_bad = not self._is_bad
        return self._happens(burst.loss_when_bad if self._is_bad else burst.loss_when_good)

    def _leaves_at(self, packet: Packet) -> float | None:
        """When its last bit is on the wire; None when it would have to wait for too long."""
        if self.conditions.bandwidth is None:
            return packet.sent_at
        starts = max(packet.sent_at, self._free_at)
        if starts - packet.sent_at > self.conditions.queue:
            return None
        self._free_at = starts + 8 * ip_length(packet) / self.conditions.bandwidth
        return self._free_at

    def _arrive(self, packet: Packet, left: float) -> Verdict:
        conditions = self.conditions
        notes = []
        arrives = left + conditions.latency
        if conditions.jitter:
            arrives += conditions.jitter * self._draw()
        self._last_arrival = arrives = max(arrives, self._last_arrival)
        if self._happens(conditions.reorder):
            arrives += conditions.reorder_by
            notes.append("reordered")
        data = None
        if packet.data and self._happens(conditions.corrupt):
            data = flip_bit(packet.data, int(self._draw() * 8 * len(packet.data)))
            notes.append("corrupted")
        delivery = Delivery(arrives - packet.sent_at, data)
        if self._happens(conditions.duplicate):
            return Verdict((delivery, delivery), ", ".join([*notes, "duplicated"]))
        return Verdict((delivery,), ", ".join(notes))
