"""What is between the hosts: rules are asked, packets wait for their time, and arrive. No clock, no sockets, no Trio.

Time is an argument and only ever compared, so a simulation without Trio drives the same fabric as `SimNet` does.
Packets that are due at the same time arrive in the order in which they were sent.
"""

import heapq
import itertools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from .._chaos import PASS, Packet, Rule, Verdict, drop, first_verdict
from ._trace import Record, Trace

Deliver = Callable[[Packet], str]
"""Hands a packet to whoever is at its destination, and says what became of it: `delivered`, or why not."""


class Fabric:
    """Packets under way, and the rules that decide about them."""

    def __init__(self, trace: Trace) -> None:
        self.trace: Final = trace
        self.now = 0.0
        """The time of the last event."""
        self.deliver: Deliver = _nobody
        """To whom the packet goes that rules are asked about."""
        self._rules: list[Rule] = []
        self._due: list[tuple[float, int, Packet, Record, Deliver]] = []
        self._order = itertools.count()

    def __len__(self) -> int:
        return len(self._due)

    @property
    def next_due(self) -> float:
        """When the next packet arrives; infinity when none is under way."""
        return self._due[0][0] if self._due else math.inf

    @contextmanager
    def rule(self, rule: Rule) -> Iterator[Rule]:
        """Ask this rule before all others, for the length of the block."""
        self._rules.insert(0, rule)
        try:
            yield rule
        finally:
            # By identity: rules may compare as equal.
            del self._rules[next(index for index, found in enumerate(self._rules) if found is rule)]

    def transmit(self, packet: Packet, link: Rule, deliver: Deliver) -> Verdict:
        """Let a packet leave: the installed rules decide, or else the link. What arrives is handed to `deliver`.

        The caller acts on the rest of the verdict, an ICMP error or a call that fails.
        """
        self.now = max(self.now, packet.sent_at)
        self.deliver = deliver
        record = self.trace.begin(packet)
        verdict = first_verdict(self._rules, packet) or link(packet) or PASS
        if not verdict.deliveries:
            self.trace.end(record, packet.sent_at, verdict.why or "lost")
        for after, data in verdict.deliveries:
            arriving = packet if data is None else packet._replace(data=data)
            self._schedule(packet.sent_at + after, arriving, record, deliver)
        return verdict

    def resend(self, packet: Packet, deliver: Deliver) -> None:
        """Let a packet arrive now, whatever the rules say."""
        self._arrive(packet.sent_at, packet, self.trace.begin(packet), deliver)

    def inject(self, packet: Packet, deliver: Deliver, *, after: float = 0.0) -> None:
        """Put a packet on the last metre before its destination, past every rule: whoever forges is close by."""
        self.now = max(self.now, packet.sent_at)
        self._schedule(packet.sent_at + after, packet, self.trace.begin(packet, injected=True), deliver)

    def advance(self, now: float) -> int:
        """Let everything arrive that is due by then; how many packets that were."""
        count = 0
        while self._due and self._due[0][0] <= now:
            due, _, packet, record, deliver = heapq.heappop(self._due)
            self.now = max(self.now, due)
            self._arrive(due, packet, record, deliver)
            count += 1
        return count

    def _schedule(self, due: float, packet: Packet, record: Record, deliver: Deliver) -> None:
        if due <= packet.sent_at:
            self._arrive(packet.sent_at, packet, record, deliver)
        else:
            heapq.heappush(self._due, (due, next(self._order), packet, record, deliver))

    def _arrive(self, at: float, packet: Packet, record: Record, deliver: Deliver) -> None:
        what = deliver(packet)
        self.trace.end(record, at, what, packet.data if what == DELIVERED else None)


class Held:
    """Packets that are kept back: a rule that loses those of one way, and delivers them when they are released."""

    def __init__(
        self, fabric: Fabric, goes_there: Callable[[Packet], bool], renumber: Callable[[Packet], Packet]
    ) -> None:
        self._fabric = fabric
        self._goes_there = goes_there
        self._renumber = renumber
        self._kept: list[tuple[Packet, Deliver]] = []

    def __call__(self, packet: Packet) -> Verdict | None:
        if not self._goes_there(packet):
            return None
        self._kept.append((packet, self._fabric.deliver))
        return drop("held")

    @property
    def packets(self) -> list[Packet]:
        """In the order in which they were sent."""
        return [packet for packet, _ in self._kept]

    def release(self) -> None:
        """Deliver them all, now."""
        kept, self._kept = self._kept, []
        for packet, deliver in kept:
            self._fabric.resend(self._renumber(packet), deliver)


def _nobody(packet: Packet) -> str:
    raise AssertionError("no packet was sent yet")


DELIVERED: Final = "delivered"
