"""Which sequence numbers have come: a window behind the highest, and what RFC 4737 calls reordered."""

import enum
from typing import Final

SIZE: Final = 1024
"""Numbers remembered, from the highest down: a bit each."""


class Arrival(enum.Enum):
    """What a number that comes is to those before it."""

    NEXT = "next"
    """Greater than all of them."""
    REORDERED = "reordered"
    """New, and a greater one came before it (RFC 4737 section 3.3)."""
    DUPLICATE = "duplicate"


class SequenceWindow:
    """Counts numbers from 1 on; of fixed size whatever comes."""

    __slots__ = ("_mask", "bits", "duplicates", "highest", "received", "reordered")

    def __init__(self, size: int = SIZE) -> None:
        self._mask = 2**size - 1
        self.bits = 0
        """Bit n is set if the number `highest` - n came."""
        self.highest = 0
        self.received = 0
        """All that came, of whatever kind, those that nothing can be said of among them."""
        self.duplicates = 0
        self.reordered = 0

    def receive(self, number: int) -> Arrival | None:
        """Count one; None for one so far back that nobody can tell whether it is new."""
        self.received += 1
        ahead = number - self.highest
        if ahead > 0:
            # Not just shifted: a number that a stranger sends may be four thousand million ahead.
            self.bits = (self.bits << ahead | 1) & self._mask if ahead < self._mask.bit_length() else 1
            self.highest = number
            return Arrival.NEXT
        bit = 1 << -ahead if -ahead < self._mask.bit_length() else 0
        if not bit:
            return None
        if self.bits & bit:
            self.duplicates += 1
            return Arrival.DUPLICATE
        self.bits |= bit
        self.reordered += 1
        return Arrival.REORDERED
