"""What was sent, by whom, when, and what became of it: one line a packet, and one digest for all of it.

The newest packets are kept for reading, a bounded number of them. The digest covers every event since the beginning, in
order: two runs with equal digests sent the same bytes at the same nanoseconds with the same fates.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final

from .._chaos import Packet
from .._net import Address

KEPT: Final = 10_000
"""Packets kept for reading: some 5 MB."""
_BYTES_SHOWN: Final = 12
_NANOSECONDS: Final = 1_000_000_000


class Fate:
    """Something that became of a packet: a copy that arrived, a loss, an error."""

    __slots__ = ("at", "data", "what")

    def __init__(self, at: float, what: str, data: bytes | None) -> None:
        self.at = at
        """Seconds on the network's clock."""
        self.what = what
        """`delivered`, or why not."""
        self.data = data
        """The bytes that were delivered; None where nothing was."""


class Record:
    """One packet, and its fates so far."""

    __slots__ = ("fates", "injected", "packet")

    def __init__(self, packet: Packet, *, injected: bool) -> None:
        self.packet = packet
        self.injected = injected
        """Whether it did not come from the host that its source address names."""
        self.fates: list[Fate] = []


class Trace:
    """The packets of one network. Iterates over the records that are kept, oldest first; prints as lines."""

    def __init__(self, name_of: Callable[[str], str] = str, *, kept: int = KEPT) -> None:
        """Make an empty trace; `name_of` says how an IP address is to be called."""
        self.count = 0
        """Packets so far, those that are no longer kept among them."""
        self._name_of = name_of
        self._records: deque[Record] = deque(maxlen=kept)
        self._hash = hashlib.blake2b(digest_size=16)

    def __iter__(self) -> Iterator[Record]:
        return iter(self._records)

    def __len__(self) -> int:
        return len(self._records)

    def __str__(self) -> str:
        return self.tail(len(self._records))

    @property
    def digest(self) -> str:
        """32 hexadecimal digits that stand for everything that happened so far."""
        return self._hash.hexdigest()

    def begin(self, packet: Packet, *, injected: bool = False) -> Record:
        """Write down that a packet was sent."""
        record = Record(packet, injected=injected)
        self.count += 1
        self._records.append(record)
        icmp = packet.icmp
        kind = "udp" if icmp is None else f"{icmp.kind} {icmp.mtu} {icmp.about.number}"
        self._note(
            packet.number, packet.sent_at, f"{kind} {packet.source} {packet.destination} {injected}", packet.data
        )
        return record

    def end(self, record: Record, at: float, what: str, data: bytes | None = None) -> None:
        """Write down what became of it, or of one copy of it; `data` is what arrived."""
        record.fates.append(Fate(at, what, data))
        self._note(record.packet.number, at, what, data or b"")

    def tail(self, count: int) -> str:
        """The last so many packets, a line each."""
        skipped = self.count - min(count, len(self._records))
        lines = [self._line(record) for record in islice(self._records, max(len(self._records) - count, 0), None)]
        return "\n".join([f"… {skipped} packets before these", *lines] if skipped else lines)

    def _note(self, number: int, at: float, what: str, data: bytes) -> None:
        self._hash.update(f"{number} {round(at * _NANOSECONDS)} {what} {len(data)} ".encode())
        self._hash.update(data)

    def _line(self, record: Record) -> str:
        packet = record.packet
        way = f"{self._place(packet.source)} > {self._place(packet.destination)}"
        if packet.icmp is not None:
            what = f"ICMP {packet.icmp.kind}, about #{packet.icmp.about.number}"
        else:
            what = f"{len(packet.data)} bytes{' ' * bool(packet.data)}{_shown(packet.data)}"
        forged = "forged: " if record.injected else ""
        fates = "; ".join(self._fate(record, fate) for fate in record.fates) or "on its way"
        return f"{packet.sent_at:10.6f}  #{packet.number}  {way}  {forged}{what}  {fates}"

    def _fate(self, record: Record, fate: Fate) -> str:
        when = f" at {fate.at:.6f}" if fate.at != record.packet.sent_at else ""
        is_changed = fate.data is not None and fate.data != record.packet.data
        changed = f" as {_shown(fate.data or b'') or 'nothing'}" if is_changed else ""
        return f"{fate.what}{when}{changed}"

    def _place(self, address: Address) -> str:
        name = self._name_of(address.host)
        return str(address) if name == address.host else f"{name} {address}"


def _shown(data: bytes) -> str:
    """The first bytes: as text where they are text."""
    beginning = data[:_BYTES_SHOWN]
    more = "…" if len(data) > _BYTES_SHOWN else ""
    if beginning.isascii() and beginning.decode("ascii").isprintable():
        return repr(beginning.decode("ascii")) + more if beginning else ""
    return beginning.hex(" ") + more
