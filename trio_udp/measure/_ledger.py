"""The books of one run: every probe under exactly one heading, whatever comes, twice, changed, late or forged.

Arithmetic: probes, answers and clock readings come in, events come out, and at any time the sums. What must hold:
`sent` is the sum of the headings, none of which is ever negative; what a stranger sends changes `rejected` and nothing
else.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from .._net import Address
from ..proto import (
    REPORT,
    AnswerKind,
    Arrival,
    DropReason,
    Heard,
    Probe,
    RefusalReason,
    SequenceWindow,
    read_refusal_untrusted,
)
from ._directions import Directions
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
    Reported,
    Stamps,
    Summary,
)
from ._sums import Measured, Sums
from ._timing import Readings, timing_of


class Entry:
    """What is known of one probe, beside what its datagram needs."""

    __slots__ = (
        "fate",
        "hint",
        "late",
        "left",
        "missed",
        "never_left",
        "number",
        "probe",
        "sent",
        "sent_wall",
        "was_changed",
    )

    def __init__(self, probe: Probe, *, due: int, sent: int, sent_wall: int, missed: int = 0) -> None:
        self.probe = probe
        self.sent = sent
        self.sent_wall = sent_wall
        self.late = max(sent - due, 0)
        self.fate = ""
        """Where it is counted; empty while it is waited for."""
        self.hint: str | None = None
        self.never_left = False
        """Whether the call that should have sent it failed."""
        self.was_changed = False
        """Whether an answer came that was no good."""
        self.number: int | None = None
        """What the kernel calls it, until it has said when it left."""
        self.left: int | None = None
        """The kernel's wall clock then."""
        self.missed = missed
        """Slots that passed just before it."""


class Ledger:
    """Counts everything."""

    def __init__(self, *, slot: int, is_authenticated: bool = False) -> None:
        """Open the books; a probe is on time if it is sent within so many nanoseconds of when it was due."""
        self._slot = slot
        self._is_authenticated = is_authenticated
        self._first: int | None = None
        self._fates: Counter[str] = Counter()
        self._duplicated = dict.fromkeys(Direction, 0)
        self._rejected: Counter[DropReason] = Counter()
        self._refusals: Counter[RefusalReason] = Counter()
        self._limits: dict[RefusalReason, int] = {}
        self._not_sent: Counter[str] = Counter()
        self._changed = 0
        self._missed = 0
        self._on_time = 0
        self._directions = Directions()
        self._order = SequenceWindow()
        self._sums = Sums(slot=slot)
        self._before = (0, 0, 0)
        self.sent = 0
        self.rtt_max = 0

    @property
    def received(self) -> int:
        """Probes answered well and in time."""
        return self._fates["received"]

    @property
    def wants_report(self) -> bool:
        """Whether there is a server that counts, and could say more than it has."""
        return self._directions.latest is not None

    # What happens

    def send(self, entry: Entry) -> None:
        """A probe was sent, or should have been."""
        self.sent += 1
        if self._first is None:
            self._first = entry.sent
        self._on_time += entry.late < self._slot

    def refuse_to_send(self, entry: Entry, error: str) -> None:
        """Our own kernel has not sent it, and this is why."""
        entry.number, entry.hint, entry.never_left = None, error, True
        self._not_sent[error] += 1

    def miss(self, slots: int, before: int) -> Missed:
        """So many slots passed, and nothing could be sent in them."""
        self._missed += slots
        return Missed(slots=slots, before=before)

    def reject(self, reason: DropReason, peer: Address) -> Rejected:
        """A datagram was not believed."""
        self._rejected[reason] += 1
        return Rejected(reason=reason, peer=peer)

    def hear(self, heard: Heard, entry: Entry, readings: Readings, hop_limit: int | None) -> Event | None:
        """An answer came; what it is, or None if it is a report."""
        is_report = heard.probe.sequence == REPORT
        arrival = None
        if heard.times is not None:
            first = entry.sent if self._first is None else self._first
            arrival = self._directions.tell(
                heard.times, readings.received - first, answers=heard.probe.sequence, is_report=is_report
            )
            if is_report or entry.fate or not heard.is_right:
                self._sums.tell(heard.times, is_report=is_report)
        if is_report:
            if heard.times is None and heard.kind is AnswerKind.REPLY:
                self._directions.doubt()  # it has forgotten us
            return None
        is_good = heard.is_intact and heard.is_right
        if heard.kind is AnswerKind.REPLY and not is_good:
            return self._change(heard, entry, readings, hop_limit)
        if entry.fate == "pending":  # the run was stopped, and not its time over
            self._fates["pending"] -= 1
            entry.fate = ""
        if entry.fate in _ANSWERED:
            return self._repeat(heard, arrival)
        if entry.fate:
            self._find(entry, "late")
            return Late(sequence=heard.probe.sequence, rtt_ns=timing_of(readings, heard.times).rtt)
        if heard.kind is not AnswerKind.REPLY:
            return self._refuse(heard, entry)
        self._end(entry, "received")
        return self._receive(heard, entry, readings, hop_limit)

    def catch_up(self) -> None:
        """Use the time between two probes; see `Sums.catch_up`."""
        self._sums.catch_up()

    def expire(self, entry: Entry, now: int, *, is_over: bool = True) -> Lost | None:
        """A probe is waited for no more: its time is over, or else the run was stopped before that.

        None if something came that was no good.
        """
        direction = Direction.UNKNOWN
        if entry.was_changed:
            self._end(entry, "corrupted")
            return None
        if is_over or entry.never_left:
            self._end(entry, "lost")
            direction = self._directions.lose(entry.probe.sequence, never_left=entry.never_left)
        else:
            self._end(entry, "pending")
        waited = max(now - entry.sent, 0)
        return Lost(
            sequence=entry.probe.sequence,
            direction=direction,
            sent_at_ns=entry.sent_wall,
            waited_ns=waited,
            hint=entry.hint,
        )

    def name_direction(self, event: Lost) -> Lost:
        """The same, with what the server has told since."""
        return replace(event, direction=self._directions.of(event.sequence) or event.direction)

    def interval(self, at_ns: int, elapsed_ns: int) -> Interval:
        """What happened since this was last asked."""
        rtt, corrected = self._sums.take_interval()
        now = (self.sent, self.received, self._fates["lost"])
        sent, received, lost = (after - before for after, before in zip(now, self._before, strict=True))
        found = Interval(
            at_ns=at_ns,
            elapsed_ns=elapsed_ns,
            sent=sent,
            received=received,
            lost=max(lost, 0),
            rtt=rtt,
            rtt_corrected=corrected,
        )
        self._before = now
        return found

    def summary(self, at_ns: int, elapsed_ns: int, hints: Mapping[str, int]) -> Summary:
        """The sums so far."""
        sums, fates = self._sums, self._fates
        sums.complete()
        network = sums.network.result()
        answered = sum(fates[fate] for fate in (*_ANSWERED, "corrupted"))
        pending = self.sent - answered - fates["lost"]
        settled = None if pending else self._directions.settled(self.sent, answered)
        lost, latest = settled or self._directions.counts, self._directions.latest
        seen = self._duplicated[Direction.UPSTREAM]
        return Summary(
            at_ns=at_ns,
            elapsed_ns=elapsed_ns,
            sent=self.sent,
            received=fates["received"],
            late=fates["late"],
            corrupted=fates["corrupted"],
            refused=fates["refused"],
            lost_upstream=lost[Direction.UPSTREAM],
            lost_downstream=lost[Direction.DOWNSTREAM],
            lost_unknown=lost[Direction.UNKNOWN],
            pending=pending,
            is_complete=settled is not None,
            duplicated_upstream=seen if latest is None else max(latest.duplicates, seen),
            duplicated_downstream=self._duplicated[Direction.DOWNSTREAM],
            duplicated_unknown=self._duplicated[Direction.UNKNOWN],
            reordered=self._order.reordered,
            reordered_upstream=0 if latest is None else latest.reordered,
            reordered_downstream=self._directions.reordered,
            changed=self._changed,
            rejected=dict(self._rejected),
            hints=dict(hints),
            missed_slots=self._missed,
            on_time=self._on_time,
            stamps=dict(sums.stamps),
            rtt=sums.rtt.result(),
            rtt_corrected=sums.corrected.result(),
            total=sums.parts["total"].result(),
            client_queue=sums.parts["client_queue"].result(),
            network=network.times,
            server=sums.parts["server"].result(),
            wake_up=sums.parts["wake_up"].result(),
            round_trip=sums.variations["round_trip"].result(),
            upstream=sums.variations["upstream"].result(),
            downstream=sums.variations["downstream"].result(),
            clock=sums.clock.result(),
            reported=self._reported(network.lag_ns),
            refusals=dict(self._refusals),
            limits=dict(self._limits),
            lags_known=network.lags_known,
            not_sent=dict(self._not_sent),
        )

    # Small parts

    def _refuse(self, heard: Heard, entry: Entry) -> Refused:
        self._end(entry, "refused")
        because, limit = read_refusal_untrusted(heard.payload) or (None, 0)
        if because is not None:
            self._refusals[because] += 1
            if limit:
                self._limits[because] = limit
        return Refused(
            sequence=heard.probe.sequence,
            reason=str(heard.kind),
            sent_at_ns=entry.sent_wall,
            because=because,
            limit=limit or None,
        )

    def _reported(self, lag: int | None) -> Reported | None:
        latest = self._directions.latest
        if latest is None:
            return None
        return Reported(
            received=latest.received,
            duplicates=latest.duplicates,
            reordered=latest.reordered,
            highest=latest.highest,
            is_final=self._directions.is_final,
            is_whole=self._directions.has_counted_all,
            is_authenticated=self._is_authenticated,
            departure_lag_ns=lag,
        )

    def _end(self, entry: Entry, fate: str) -> None:
        entry.fate = fate
        self._fates[fate] += 1

    def _find(self, entry: Entry, fate: str) -> None:
        """Something came for a probe that had been given up."""
        if entry.fate == "lost" and not entry.never_left:
            self._directions.find(entry.probe.sequence)
        self._fates[entry.fate] -= 1
        self._end(entry, fate)

    def _change(self, heard: Heard, entry: Entry, readings: Readings, hop_limit: int | None) -> Corrupted:
        self._changed += 1
        entry.was_changed = True
        if entry.fate in ("lost", "pending"):
            self._find(entry, "corrupted")
        return Corrupted(
            sequence=heard.probe.sequence,
            rtt_ns=timing_of(readings, None).rtt,
            sent_at_ns=entry.sent_wall,
            size=heard.size,
            hop_limit=hop_limit,
            is_intact=heard.is_intact,
        )

    def _repeat(self, heard: Heard, arrival: Arrival | None) -> Duplicate:
        if arrival is None:
            direction = Direction.UNKNOWN
        else:
            direction = Direction.DOWNSTREAM if arrival is Arrival.DUPLICATE else Direction.UPSTREAM
        self._duplicated[direction] += 1
        return Duplicate(sequence=heard.probe.sequence, direction=direction)

    def _receive(self, heard: Heard, entry: Entry, readings: Readings, hop_limit: int | None) -> ReplyRecord:
        timing, times = timing_of(readings, heard.times), heard.times
        sequence = heard.probe.sequence
        is_reordered = self._order.receive(sequence) is not Arrival.NEXT
        self.rtt_max = max(self.rtt_max, timing.rtt)
        self._sums.take(Measured(sequence, entry.late, entry.missed, timing, times))
        return ReplyRecord(
            sequence=sequence,
            rtt_ns=timing.rtt,
            stamps=timing.stamps,
            total_ns=timing.total,
            client_queue_ns=timing.client_queue,
            network_ns=timing.network,
            server_ns=timing.server,
            wake_up_ns=timing.wake_up,
            late_ns=entry.late,
            sent_at_ns=timing.left_at,
            received_at_ns=timing.came_at,
            server_arrived_at_ns=None if times is None else times.arrived,
            server_stamps=None if times is None else Stamps.KERNEL if times.by_kernel else Stamps.USER,
            server_sequence=None if times is None else times.received,
            is_reordered=is_reordered,
            size=heard.size,
            hop_limit=hop_limit,
        )


_ANSWERED: Final = ("received", "late", "refused")
