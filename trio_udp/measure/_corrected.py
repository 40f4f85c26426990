"""What coordinated omission hides: round trips counted from when each probe was due, and missed slots as if their
probes had waited.

A run that stands still sends nothing, and what is not sent is never slow. So each slot that was missed stands for a
probe that would have waited from its own time on, for its reply could not have come before the next probe's did. The
same arithmetic for a ledger, which counts as it goes, and for whoever has only the events.
"""

from collections.abc import Iterator
from typing import Final

from ._records import Event, Missed, ReplyRecord, Start

_MOST_IMAGINED: Final = 1024
"""Values that stand for the missed slots of one gap, however many those are."""
_MOST_WAITING: Final = 65_536
"""Gaps whose next probe has not been answered yet: as many as there can be probes under way."""


def imagined(from_due: int, missed: int, slot: int) -> Iterator[tuple[int, int]]:
    """Times that probes in missed slots would have taken, and how often each.

    Args:
        from_due: nanoseconds from when the probe after them was due until its reply.
        missed: how many slots.
        slot: nanoseconds from one to the next.
    """
    step = max(-(-missed // _MOST_IMAGINED), 1)
    for slots in range(missed, 0, -step):
        yield from_due + slots * slot, min(step, slots)


class Correction:
    """Corrects the round trips of one run, out of its events."""

    def __init__(self) -> None:
        self._slot: int | None = None
        self._missed: dict[int, int] = {}
        """Slots, by the probe behind them."""

    def times_of(self, event: Event) -> Iterator[tuple[int, int]]:
        """The times that this event adds, in nanoseconds, and how often each; none if the run did not say how far apart
        its slots are."""
        match event:
            case Start():
                self._slot = event.slot_ns
            case Missed():
                self._missed[event.before] = event.slots
                if len(self._missed) > _MOST_WAITING:
                    del self._missed[next(iter(self._missed))]
            case ReplyRecord() if self._slot is not None:
                from_due = event.rtt_ns + event.late_ns
                yield from_due, 1
                yield from imagined(from_due, self._missed.pop(event.sequence, 0), self._slot)
            case _:
                pass
