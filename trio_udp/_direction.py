"""One direction of a path with faults on it: rules are asked, what is late is kept, and every fate is written down.

No clock, no sockets, no Trio: whoever has those tells what came and when, takes what is due, and tells what became of
it. Faulty sockets and the relay both stand on this, so that one truth is tested once.

What must hold: of every datagram that came there is one passage in the end, and it says what really left, in the order
in which it left. No more than `limit` copies wait at a time; what exceeds that is lost, and said to be.
"""

import heapq
import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Generic, NamedTuple, TypeVar

from ._chaos import PASS, Packet, Rule, Verdict, first_verdict

W = TypeVar("W")

MOST_WAITING: Final = 4096
"""Copies that wait at a time: what 10 Gb/s has on its way for 5 ms in large datagrams. Of 65,507 bytes each they would
be 256 MiB, of the usual 1,200 bytes 5 MiB."""
NO_ROOM: Final = "overflow"
_FAULTS: Final = ("duplicated", "delayed", "corrupted", "reordered")
_NANOSECONDS: Final = 1_000_000_000


_BITS_SHOWN: Final = 16
"""Of a copy that has other bytes, in JSON."""


def changed_bits(before: bytes, after: bytes) -> list[int]:
    """Which bits differ, as `flip_bit` counts them; the first of them, and none beyond the shorter of the two."""
    differing = ((at, one ^ other) for at, (one, other) in enumerate(zip(before, after, strict=False)) if one != other)
    bits = (8 * at + bit for at, difference in differing for bit in range(8) if difference >> bit & 1)
    return list(itertools.islice(bits, _BITS_SHOWN))


class Copy(NamedTuple):
    """One copy of a datagram, and whether it left."""

    data: bytes
    """As it left."""
    due: float
    """When the rules let it leave, in seconds on the clock of whoever asks."""
    left_at: float | None = None
    """When it did leave; None if it did not."""
    order: int | None = None
    """Counts what left in this direction, from 1."""
    reordered: bool = False
    """Whether a datagram of the same flow that came later has left before it (RFC 4737). Never of a second copy."""
    error: str = ""
    """Why it did not leave."""


class Passage(NamedTuple):
    """One datagram, and what became of it."""

    direction: str
    flow: int
    packet: Packet
    """As it came; its number counts what came in this direction, from 1, and is 0 for what was forged."""
    why: str
    """The rule's reason; empty for a datagram that nothing was done to."""
    copies: tuple[Copy, ...]
    """In the order in which they left, or failed to."""
    forged: str = ""
    """What kind of forgery it is, if it is one."""

    @property
    def has_left(self) -> bool:
        """Whether any copy of it has."""
        return any(copy.order is not None for copy in self.copies)

    def as_json(self, since: float = 0.0) -> dict[str, object]:
        """The same of types that JSON has: times in whole nanoseconds, when it came after `since`, and no payload.

        Of a copy that left: its `order`, by how much the rules delayed it, how long after it came it left, whether it
        is `reordered`, its `size`, and the first 16 bits that changed. Of one that did not: the `error`.
        """
        return {
            "event": "forged" if self.forged else "datagram",
            "direction": self.direction,
            "flow": self.flow,
            "number": self.packet.number,
            "source": str(self.packet.source),
            "destination": str(self.packet.destination),
            "at_ns": _nanoseconds(self.packet.sent_at - since),
            "size": len(self.packet.data),
            "fate": "forwarded" if self.has_left else "dropped",
            "why": self.forged or self.why,
            "copies": [_copy_as_json(copy, self.packet) for copy in self.copies],
        }


def _copy_as_json(copy: Copy, packet: Packet) -> dict[str, object]:
    if copy.left_at is None:
        return {"error": copy.error}
    return {
        "order": copy.order,
        "delay_ns": _nanoseconds(copy.due - packet.sent_at),
        "left_after_ns": _nanoseconds(copy.left_at - packet.sent_at),
        "reordered": copy.reordered,
        "size": len(copy.data),
        "changed_bits": changed_bits(packet.data, copy.data),
    }


def _nanoseconds(seconds: float) -> int:
    return round(seconds * _NANOSECONDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectionStatistics:
    """What became of the datagrams of one direction. What came is forwarded, dropped, or waiting."""

    received: int
    """Datagrams that came."""
    forwarded: int
    """Of these: left at least once."""
    dropped: int
    """Of these: never left."""
    waiting: int
    """Of these: neither yet."""
    sent: int
    """Datagrams that left, copies counted, forged ones not."""
    duplicated: int
    """Of these: further copies of one that had left before."""
    delayed: int
    """Of these: left later than they came because a rule said so."""
    corrupted: int
    """Of these: with other bytes than they came with."""
    reordered: int
    """Of these: behind one of their flow that came later, copies not counted (RFC 4737)."""
    forged: int
    """Forged ones that left, beside these."""
    forgeries: Mapping[str, int]
    """The same by what kind they were of."""
    reasons: Mapping[str, int]
    """Why datagrams were dropped: the rule's reason, or that of their last copy."""
    unsent: Mapping[str, int]
    """Why copies could not leave: an errno's name, or `overflow`."""

    def lines(self, direction: str) -> list[str]:
        """What was done on purpose in this direction, in words; and a line each why what was dropped, and forged."""
        counts = ", ".join(f"{getattr(self, name)} {name}" for name in _FAULTS if getattr(self, name))
        forged = f", {self.forged} forged" if self.forged else ""
        line = f"chaos {direction}: {self.received} received, {self.dropped} dropped, {self.sent} sent{forged}"
        why = {"dropped": self.reasons, "forged": self.forgeries}
        details = [f"  {what} {count}: {name}" for what, names in why.items() for name, count in sorted(names.items())]
        return [f"{line} ({counts})" if counts else line, *details]


class Stream:
    """The datagrams of one flow in one direction, between which there is an order."""

    __slots__ = ("flow", "highest")

    def __init__(self, flow: int = 0) -> None:
        self.flow: Final = flow
        self.highest = 0
        """The number of the last datagram that has left and that none which came later has overtaken."""


class Tally:
    """What was counted, by one direction or by several that stand for one."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.forgeries: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.unsent: Counter[str] = Counter()

    def statistics(self) -> DirectionStatistics:
        """The counters so far."""
        count = self.counts
        return DirectionStatistics(
            received=count["received"],
            forwarded=count["forwarded"],
            dropped=count["dropped"],
            waiting=count["received"] - count["forwarded"] - count["dropped"],
            sent=count["sent"],
            duplicated=count["duplicated"],
            delayed=count["delayed"],
            corrupted=count["corrupted"],
            reordered=count["reordered"],
            forged=self.forgeries.total(),
            forgeries=dict(self.forgeries),
            reasons=dict(self.reasons),
            unsent=dict(self.unsent),
        )


class _Open:
    """A datagram of which some copies have neither left nor failed."""

    __slots__ = ("copies", "forged", "packet", "pending", "stream", "why")

    def __init__(self, packet: Packet, stream: Stream, verdict: Verdict, forged: str = "") -> None:
        self.packet = packet
        self.stream = stream
        self.why = verdict.why
        self.pending = len(verdict.deliveries)
        self.copies: list[Copy] = []
        self.forged = forged


class Leaving(Generic[W]):
    """A copy that is due: send it, and settle it."""

    __slots__ = ("data", "due", "opened", "way")

    def __init__(self, opened: _Open, data: bytes, due: float, way: W) -> None:
        self.opened = opened
        self.data = data
        self.due = due
        self.way = way
        """What `enter` was given: how it leaves."""


class Direction(Generic[W]):
    """Datagrams on their way past the rules."""

    def __init__(
        self,
        name: str,
        rules: Iterable[Rule],
        *,
        limit: int = MOST_WAITING,
        on_passage: Callable[[Passage], object] | None = None,
        tally: Tally | None = None,
    ) -> None:
        self.name: Final = name
        self.tally: Final = tally or Tally()
        self._rules = tuple(rules)
        self._limit = limit
        self._on_passage = on_passage
        self._waiting: list[tuple[float, int, Leaving[W]]] = []
        self._order = itertools.count()

    @property
    def next_due(self) -> float:
        """When the next copy is to leave; infinity when none waits."""
        return self._waiting[0][0] if self._waiting else math.inf

    def enter(self, packet: Packet, stream: Stream, way: W) -> tuple[Packet, Verdict]:
        """A datagram has come; the rules say what becomes of it. Gives it with its number."""
        packet = self._count(packet)
        verdict = first_verdict(self._rules, packet) or PASS
        self._begin(_Open(packet, stream, verdict), verdict, way)
        return packet, verdict

    def refuse(self, packet: Packet, stream: Stream, why: str) -> None:
        """A datagram has come that cannot go anywhere, for this reason."""
        self._close(_Open(self._count(packet), stream, Verdict((), why)))

    def inject(self, kind: str, packet: Packet, stream: Stream, way: W) -> None:
        """Forge a datagram or an ICMP error: it is due when it was sent, past all rules."""
        self._begin(_Open(packet, stream, PASS, forged=kind), PASS, way)

    def _count(self, packet: Packet) -> Packet:
        self.tally.counts["received"] += 1
        # What our sockets send is never divided, so an MTU holds for it.
        return packet._replace(number=self.tally.counts["received"], may_fragment=False)

    def _begin(self, opened: _Open, verdict: Verdict, way: W) -> None:
        for after, data in verdict.deliveries:
            changed = opened.packet.data if data is None else data
            leaving = Leaving(opened, changed, opened.packet.sent_at + after, way)
            if len(self._waiting) < self._limit:
                heapq.heappush(self._waiting, (leaving.due, next(self._order), leaving))
            else:
                self.settle(leaving, error=NO_ROOM)
        if not verdict.deliveries:
            self._close(opened)

    def take(self, now: float) -> Leaving[W] | None:
        """The next copy that is due by now, if there is one. Whoever takes it settles it."""
        if not self._waiting or self.next_due > now:
            return None
        return heapq.heappop(self._waiting)[2]

    def settle(self, leaving: Leaving[W], *, at: float | None = None, error: str = "") -> None:
        """It has left at this time; or it has not, for this reason."""
        opened = leaving.opened
        copy = Copy(leaving.data, leaving.due, error=error)
        if error:
            self.tally.unsent[error] += 1
        else:
            copy = copy._replace(left_at=at, order=self._next_order(), reordered=_is_reordered(opened))
            self._count_sent(opened, copy)
        opened.copies.append(copy)
        opened.pending -= 1
        if not opened.pending:
            self._close(opened)

    def abandon(self, why: str, is_lost: Callable[[W], bool] = lambda way: True) -> None:
        """Nothing that waits and is to leave in such a way will."""
        lost = [entry for entry in self._waiting if is_lost(entry[2].way)]
        self._waiting = [entry for entry in self._waiting if not is_lost(entry[2].way)]
        heapq.heapify(self._waiting)
        for _, _, leaving in sorted(lost, key=lambda entry: entry[:2]):
            self.settle(leaving, error=why)

    def statistics(self) -> DirectionStatistics:
        """The counters so far."""
        return self.tally.statistics()

    def _next_order(self) -> int:
        self.tally.counts["order"] += 1
        return self.tally.counts["order"]

    def _count_sent(self, opened: _Open, copy: Copy) -> None:
        packet, count = opened.packet, self.tally.counts
        if opened.forged:
            self.tally.forgeries[opened.forged] += 1
            return
        count["sent"] += 1
        count["duplicated"] += any(other.order is not None for other in opened.copies)
        count["delayed"] += copy.due > packet.sent_at
        count["corrupted"] += copy.data != packet.data
        count["reordered"] += copy.reordered

    def _close(self, opened: _Open) -> None:
        passage = Passage(self.name, opened.stream.flow, opened.packet, opened.why, tuple(opened.copies), opened.forged)
        if not opened.forged:
            self.tally.counts["forwarded" if passage.has_left else "dropped"] += 1
            if not passage.has_left:
                self.tally.reasons[opened.copies[-1].error if opened.copies else opened.why or "lost"] += 1
        if self._on_passage is not None:
            self._on_passage(passage)


def _is_reordered(opened: _Open) -> bool:
    """Whether its first copy leaves behind a datagram of its flow that came later; asked as it leaves."""
    number, stream = opened.packet.number, opened.stream
    if opened.forged or any(copy.order is not None for copy in opened.copies):
        return False
    if number < stream.highest:
        return True
    stream.highest = number
    return False
