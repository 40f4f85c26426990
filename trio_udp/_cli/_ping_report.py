"""What `ping` prints, in the words and the layout of iputils ping, which people and programs know how to read."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from .. import Address, DropReason, Reply
from ._arguments import counted
from ._keys import authenticated

_IP_HEADERS = {4: 20, 6: 40}
_UDP_HEADER = 8


@dataclass(slots=True)
class Tally:
    """One host's counters, of bounded size however long the run. Times are seconds."""

    transmitted: int = 0
    received: int = 0
    corrupted: int = 0
    """Answers with the right ids and other bytes than were sent."""
    errors: int = 0
    """Answers that say the server will not reply."""
    rtt_min: float = math.inf
    rtt_max: float = 0.0
    rtt_sum: float = 0.0
    rtt_sum_of_squares: float = 0.0

    def add_reply(self, rtt: float) -> None:
        """Count one good reply."""
        self.received += 1
        self.rtt_min = min(self.rtt_min, rtt)
        self.rtt_max = max(self.rtt_max, rtt)
        self.rtt_sum += rtt
        self.rtt_sum_of_squares += rtt * rtt

    @property
    def loss(self) -> float:
        """Probes without a good reply, in percent: 0 to 100, and 0 when none was sent."""
        return 100 * (self.transmitted - self.received) / self.transmitted if self.transmitted else 0.0

    @property
    def mdev(self) -> float:
        """Standard deviation of the round-trip times, as iputils computes it."""
        mean = self.rtt_sum / self.received
        return math.sqrt(max(self.rtt_sum_of_squares / self.received - mean * mean, 0.0))


def headline(host: str, address: Address, size: int, overhead: int, *, is_keyed: bool) -> str:
    """The first line; the number in brackets is the size of the IP packet. Behind the usual words: F8."""
    packet = size + overhead + _UDP_HEADER + _IP_HEADERS[6 if ":" in address.host else 4]
    return f"PING {host} ({address}) {size}({packet}) bytes of data. {authenticated(is_keyed)}"


def reply_line(host: str, sequence: int, reply: Reply, overhead: int, *, corrupted: bool = False) -> str:
    """One reply. It says `icmp_seq` although it is UDP, because that is the word everybody's parser looks for."""
    source = reply.peer.host if host == reply.peer.host else f"{host} ({reply.peer.host})"
    ttl = "" if reply.hop_limit is None else f" ttl={reply.hop_limit}"
    bad = " (BAD PAYLOAD!)" if corrupted else ""
    size = len(reply.payload) + overhead
    return f"{size} bytes from {source}: icmp_seq={sequence}{ttl} time={milliseconds(reply.rtt)} ms{bad}"


def milliseconds(seconds: float) -> str:
    """A round-trip time with four digits or so, as iputils rounds it."""
    value = seconds * 1000
    decimals = next((decimals for limit, decimals in ((1, 3), (10, 2), (100, 1)) if value < limit), 0)
    return f"{value:.{decimals}f}"


def summary(
    host: str, tally: Tally, elapsed: float, dropped: Mapping[DropReason, int], hints: Mapping[str, int]
) -> list[str]:
    """The lines at the end, an empty one first."""
    rejected = {reason: count for reason, count in dropped.items() if reason is not DropReason.DUPLICATE}
    extras = {"duplicates": dropped.get(DropReason.DUPLICATE, 0), "corrupted": tally.corrupted, "errors": tally.errors}
    figures = [f"{tally.transmitted} packets transmitted", f"{tally.received} received"]
    figures += [f"+{count} {name}" for name, count in extras.items() if count]
    figures += [f"{tally.loss:g}% packet loss", f"time {elapsed * 1000:.0f}ms"]
    lines = ["", f"--- {host} ping statistics ---", ", ".join(figures)]
    if tally.received:
        times = (tally.rtt_min, tally.rtt_sum / tally.received, tally.rtt_max, tally.mdev)
        lines.append(f"rtt min/avg/max/mdev = {'/'.join(f'{time * 1000:.3f}' for time in times)} ms")
    if rejected:
        lines.append(f"rejected: {counted(rejected)}")
    if hints:
        lines.append(f"icmp hints, perhaps forged: {counted(hints)}")
    return lines
