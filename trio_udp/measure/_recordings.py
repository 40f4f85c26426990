"""Runs as they were recorded: a stream's lines, sorted by run, and their sums again where the stream has no end.

Whoever wants something of a run gives a class that takes its events one by one, so that no more is kept than that.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final, Protocol, TypeVar

from ..proto import DropReason, RefusalReason
from ._corrected import Correction
from ._delays import DelayVariation
from ._distribution import Collector
from ._ndjson import Line
from ._records import (
    Corrupted,
    Direction,
    Duplicate,
    Event,
    Interval,
    Late,
    Lost,
    Missed,
    Refused,
    Rejected,
    ReplyRecord,
    Stamps,
    Start,
    Summary,
)
from ._sequences import Sequences
from ._sums import PARTS

_LOST: Final = "lost_"


class TakesEvents(Protocol):
    """What `runs_of` gives the events of one run to."""

    def take(self, event: Event, /) -> None:
        """The next one."""


Run = TypeVar("Run", bound=TakesEvents)


def runs_of(lines: Iterable[Line], make: Callable[[str], Run]) -> list[Run]:
    """Sort lines by run, in the order in which the runs began.

    Args:
        lines: of one stream.
        make: called with the host of a new run; what it returns takes the run's events.
    """
    runs: list[Run] = []
    latest: dict[str, Run] = {}
    for host, event in lines:
        if host not in latest or isinstance(event, Start):
            latest[host] = make(host)
            runs.append(latest[host])
        latest[host].take(event)
    return runs


class Recording:
    """One run's sums: those it ended with, or, if the stream was cut before that, what its events add up to."""

    def __init__(self, host: str) -> None:
        self.host: Final = host
        self.start: Start | None = None
        self._told: Summary | None = None
        self._rebuilt = _Rebuilt()

    @property
    def is_complete(self) -> bool:
        """Whether the stream has the end of this run."""
        return self._told is not None

    def take(self, event: Event) -> None:
        """The next of its events."""
        match event:
            case Start():
                self.start = event
                self._rebuilt.take(event)
            case Summary():
                self._told = event
            case _:
                self._rebuilt.take(event)

    def summary(self) -> Summary:
        """The sums. In rebuilt ones, what no event tells is 0 or None.

        That is: probes that were under way, what only the server knew, hints, punctuality, and the clocks.
        """
        return self._rebuilt.summary() if self._told is None else self._told


class _Rebuilt:
    """A ledger that has only the events to go by."""

    def __init__(self) -> None:
        self._received = Sequences()
        self._fates: dict[int, str] = {}
        """Of probes that were not received."""
        self._duplicated: Counter[Direction] = Counter()
        self._rejected: Counter[DropReason] = Counter()
        self._refusals: Counter[RefusalReason] = Counter()
        self._limits: dict[RefusalReason, int] = {}
        self._stamps: Counter[Stamps] = Counter()
        self._rtt = Collector()
        self._corrected = Collector()
        self._correction = Correction()
        self._parts = {name: Collector() for name in PARTS}
        self._variation = DelayVariation()
        self._sent = self._changed = self._reordered = self._missed = 0
        self._began: int | None = None
        self._ended = 0

    def seen_at(self, at_ns: int) -> None:
        """The clock was so far."""
        self._began = at_ns if self._began is None else self._began
        self._ended = max(self._ended, at_ns)

    def take(self, event: Event) -> None:
        """Count it."""
        for value, count in self._correction.times_of(event):
            self._corrected.add_many(value, count)
        match event:
            case Start():
                self.seen_at(event.at_ns)
            case ReplyRecord():
                self._receive(event)
            case Corrupted() | Refused() | Late() | Lost():
                self._miss(event)
                if isinstance(event, Refused):
                    self._refuse(event)
            case Duplicate():
                self._duplicated[event.direction] += 1
            case Rejected():
                self._rejected[event.reason] += 1
            case Missed():
                self._missed += event.slots
            case Interval():
                self.seen_at(event.at_ns)
            case _:
                pass

    def _receive(self, reply: ReplyRecord) -> None:
        self._sent = max(self._sent, reply.sequence)
        self._received.add(reply.sequence)
        self._fates.pop(reply.sequence, None)
        self._reordered += reply.is_reordered
        self._stamps[reply.stamps] += 1
        self._rtt.add(reply.rtt_ns)
        self._variation.extend([reply.sequence], [reply.rtt_ns])
        for name, collector in self._parts.items():
            value = getattr(reply, f"{name}_ns")
            if value is not None:
                collector.add(value)
        self.seen_at(reply.received_at_ns)

    def _refuse(self, event: Refused) -> None:
        if event.because is not None:
            self._refusals[event.because] += 1
            if event.limit is not None:
                self._limits[event.because] = event.limit

    def _miss(self, event: Corrupted | Refused | Late | Lost) -> None:
        self._sent = max(self._sent, event.sequence)
        self._changed += isinstance(event, Corrupted)
        # Whatever comes for a lost probe is a better end than that; nothing is better than any other end.
        if event.sequence not in self._received and self._fates.get(event.sequence, _LOST).startswith(_LOST):
            self._fates[event.sequence] = f"{_LOST}{event.direction}" if isinstance(event, Lost) else event.kind

    def summary(self) -> Summary:
        """The sums."""
        fates, rtt = Counter(self._fates.values()), self._rtt.result()
        ended = rtt.count + len(self._fates)
        sent = max(self._sent, ended)
        return Summary(
            at_ns=self._ended,
            elapsed_ns=self._ended - (self._began or self._ended),
            sent=sent,
            received=rtt.count,
            late=fates["late"],
            corrupted=fates["corrupted"],
            refused=fates["refused"],
            lost_upstream=fates["lost_upstream"],
            lost_downstream=fates["lost_downstream"],
            lost_unknown=fates["lost_unknown"],
            pending=sent - ended,
            is_complete=False,
            duplicated_upstream=self._duplicated[Direction.UPSTREAM],
            duplicated_downstream=self._duplicated[Direction.DOWNSTREAM],
            duplicated_unknown=self._duplicated[Direction.UNKNOWN],
            reordered=self._reordered,
            reordered_upstream=0,
            reordered_downstream=0,
            changed=self._changed,
            rejected=dict(self._rejected),
            hints={},
            missed_slots=self._missed,
            on_time=0,
            stamps=dict(self._stamps),
            rtt=rtt,
            rtt_corrected=self._corrected.result(),
            round_trip=self._variation.result(),
            upstream=DelayVariation().result(),
            downstream=DelayVariation().result(),
            total=self._parts["total"].result(),
            client_queue=self._parts["client_queue"].result(),
            network=self._parts["network"].result(),
            server=self._parts["server"].result(),
            wake_up=self._parts["wake_up"].result(),
            refusals=dict(self._refusals),
            limits=self._limits,
        )
