"""What a measurement tells, event by event, and at the end: frozen records of integers.

Every time is a whole number of nanoseconds, and its name says so; those named `at_ns` and `…_at_ns` are of the wall
clock, since 1970. Every record has a name in `kind`, the same word wherever it is written down; type checkers
know which, so `if event.kind == "reply"` is as good as the class.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal, TypeAlias

from .._net import Address
from .._record import Record
from ..proto import DropReason, RefusalReason


class Stamps(enum.StrEnum):
    """Whose clock readings a sample rests on."""

    KERNEL = "kernel"
    """The kernel's, both when the probe left and when its reply came."""
    RECEIVE = "receive"
    """The kernel's when the reply came, ours when the probe left, as in most `ping`s."""
    USER = "user"
    """Ours, both."""


class Direction(enum.StrEnum):
    """On which way something happened."""

    UPSTREAM = "upstream"
    """From us to the server: no intact copy of the probe arrived there."""
    DOWNSTREAM = "downstream"
    """From the server to us."""
    UNKNOWN = "unknown"
    """The server has not told, or has forgotten."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Start(Record):
    """A run begins."""

    kind: ClassVar[Literal["start"]] = "start"
    at_ns: int
    peer: Address
    profile: str
    size: int
    """Bytes in each probe behind the format's own header."""
    datagram_size: int
    """Bytes of the datagram it travels in."""
    has_times: bool
    """Whether the server is asked for times and counts. If not, nothing is known about directions."""
    is_authenticated: bool = False
    """Whether a key vouches for probes and replies (F8)."""
    slot_ns: int | None = None
    """From one slot of the schedule to the next. None in streams that are older than this field."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class ReplyRecord(Record):
    """A probe was answered, and every byte of the answer was right."""

    kind: ClassVar[Literal["reply"]] = "reply"
    sequence: int
    rtt_ns: int
    """From when the probe left to when its reply came, by `stamps`; with the time it spent in the server."""
    stamps: Stamps
    total_ns: int
    """The same as this program saw it: with its own queueing and waking up."""
    client_queue_ns: int | None
    """Between our call and the kernel's sending; None without the kernel's stamp."""
    network_ns: int | None
    """`rtt_ns` less the time in the server; None where the server does not tell."""
    server_ns: int | None
    """From the probe's arrival at the server to the reply's leaving; None where the server does not tell."""
    wake_up_ns: int | None
    """Between the reply's arrival in our kernel and in this program; None without the kernel's stamp."""
    late_ns: int
    """How much later than planned the probe was sent."""
    sent_at_ns: int
    received_at_ns: int
    server_arrived_at_ns: int | None
    """By the server's wall clock."""
    server_stamps: Stamps | None
    """Whether its kernel says so, or the server itself."""
    server_sequence: int | None
    """How many probes the server has had from us, this one counted: the number of this reply."""
    is_reordered: bool
    """Whether the reply to a later probe came before it (RFC 4737, by the probe's sequence)."""
    size: int
    """Bytes of the datagram."""
    hop_limit: int | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Corrupted(Record):
    """An answer to a probe has other bytes than were sent. Its probe is still waited for: a good copy may come."""

    kind: ClassVar[Literal["corrupted"]] = "corrupted"
    sequence: int
    rtt_ns: int
    sent_at_ns: int
    size: int
    hop_limit: int | None
    is_intact: bool
    """Whether the answer's check is right, so that the server itself has sent these bytes."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Refused(Record):
    """The server answered a probe and will not reply."""

    kind: ClassVar[Literal["refused"]] = "refused"
    sequence: int
    reason: str
    """`busy`, `error` or `retry`."""
    sent_at_ns: int
    because: RefusalReason | None = None
    """Which of its limits the server says it is; None where it says nothing."""
    limit: int | None = None
    """How much that limit is: handlers, bytes, or requests in 1000 seconds. None where the server does not say."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Lost(Record):
    """A probe is waited for no longer."""

    kind: ClassVar[Literal["lost"]] = "lost"
    sequence: int
    direction: Direction
    """As far as the server has told by now; the summary may know more."""
    sent_at_ns: int
    waited_ns: int
    hint: str | None
    """The last ICMP or send error about it, as its errno's name. ICMP may be forged."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Duplicate(Record):
    """An answer came again."""

    kind: ClassVar[Literal["duplicate"]] = "duplicate"
    sequence: int
    direction: Direction
    """Upstream: the probe arrived twice, and both were answered. Downstream: one answer arrived twice."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Late(Record):
    """An answer came for a probe that was given up. It is lost no more, and not received either."""

    kind: ClassVar[Literal["late"]] = "late"
    sequence: int
    rtt_ns: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Rejected(Record):
    """A datagram was not believed."""

    kind: ClassVar[Literal["rejected"]] = "rejected"
    reason: DropReason
    peer: Address


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Missed(Record):
    """Slots of the schedule passed in which nothing could be sent; they are not caught up with."""

    kind: ClassVar[Literal["missed"]] = "missed"
    slots: int
    before: int
    """The sequence of the probe that was sent next."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Skipped(Record):
    """Events that nobody took in time are left out. The figures are not touched."""

    kind: ClassVar[Literal["skipped"]] = "skipped"
    events: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Distribution(Record):
    """Some times, summed up; all None if there were none."""

    count: int = 0
    min_ns: int | None = None
    mean_ns: int | None = None
    max_ns: int | None = None
    deviation_ns: int | None = None
    """Standard deviation."""
    p50_ns: int | None = None
    p90_ns: int | None = None
    p99_ns: int | None = None
    p999_ns: int | None = None
    is_exact: bool = True
    """Whether the percentiles are exact, and not right to half a percent because there were so many."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Variation(Record):
    """How delays in one direction, or both together, vary from probe to probe."""

    jitter_ns: int | None = None
    """RFC 3550 section 6.4.1."""
    ipdv_mean_ns: int | None = None
    """RFC 5481 section 4.1: mean of the absolute differences between one probe and the next, both received."""
    ipdv_max_ns: int | None = None
    pdv_p99_ns: int | None = None
    """RFC 5481 section 4.2: the 99th percentile of the delays less the least."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class ClockOffset(Record):
    """How far the server's wall clock is ahead of ours, and how sure that is."""

    offset_ns: int
    error_ns: int
    """The truth is no further from `offset_ns`, unless a clock was set meanwhile: half of the best round trip."""
    drift_ppb: int | None
    """Nanoseconds a second by which it gains; None after too short a time to say."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Reported(Record):
    """What the server has counted of this run, in its own words."""

    received: int
    """Probes that came, duplicates among them."""
    duplicates: int
    reordered: int
    """Probes that came behind a later one (RFC 4737)."""
    highest: int
    """The greatest sequence that came."""
    is_final: bool
    """Whether it said so when it was asked at the end; or else with the last of its replies that came."""
    is_whole: bool
    """Whether it has counted from the first probe on. If not, it was started since, or had too many others to count."""
    is_authenticated: bool
    """Whether a key vouches for it. Without one, whoever can see a probe can forge these figures."""
    departure_lag_ns: int | None = None
    """How much later than they say its replies left, on average of those `Summary.lags_known`, by its kernel: a part of
    `ReplyRecord.network_ns` that is the server's. None where its kernel has not said so of any."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Interval(Record):
    """What happened since the last of these."""

    kind: ClassVar[Literal["interval"]] = "interval"
    at_ns: int
    elapsed_ns: int
    sent: int
    received: int
    lost: int
    rtt: Distribution
    rtt_corrected: Distribution = Distribution()
    """As in `Summary`. Empty in streams that are older than this field."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Summary(Record):
    """A whole run. `sent` is the sum of the next eight."""

    kind: ClassVar[Literal["summary"]] = "summary"
    at_ns: int
    elapsed_ns: int

    sent: int
    received: int
    late: int
    corrupted: int
    """Probes of which only changed answers came."""
    refused: int
    lost_upstream: int
    lost_downstream: int
    lost_unknown: int
    pending: int
    """Neither answered nor waited for to the end, because the run was stopped."""

    is_complete: bool
    """Whether the server has told all that it counted: then there is no `lost_unknown`, and the directions of what
    follows are exact. If not, they are what is known, and may be more."""
    duplicated_upstream: int
    """Probes' copies: datagrams that arrived at the server beyond the first of each probe."""
    duplicated_downstream: int
    """Replies' copies."""
    duplicated_unknown: int
    """Further answers of servers or formats that do not say which it was."""
    reordered: int
    """Probes whose reply came behind one to a later probe (RFC 4737)."""
    reordered_upstream: int
    """Probes that arrived at the server behind a later one."""
    reordered_downstream: int
    """Replies that came behind one that the server sent later."""
    changed: int
    """Answers whose check or payload is wrong, all copies counted."""
    rejected: Mapping[DropReason, int]
    hints: Mapping[str, int]

    missed_slots: int
    on_time: int
    """Probes sent in their own slot."""
    stamps: Mapping[Stamps, int]
    """Replies by whose clock readings they were measured."""

    rtt: Distribution
    rtt_corrected: Distribution
    """From when each probe was planned, missed ones too: without coordinated omission."""
    total: Distribution
    client_queue: Distribution
    network: Distribution
    """Without what the server's kernel took until a reply left, where the next reply has told that: `lags_known`."""
    server: Distribution
    wake_up: Distribution
    round_trip: Variation
    upstream: Variation
    downstream: Variation
    clock: ClockOffset | None = field(default=None)
    reported: Reported | None = field(default=None)
    """None where the server does not count, or nothing that it said has come."""
    refusals: Mapping[RefusalReason, int] = field(default_factory=dict)
    """Those of the probes `refused` of which the server has said because of which limit."""
    limits: Mapping[RefusalReason, int] = field(default_factory=dict)
    """How much those limits are, as `Refused.limit`; those that the server has told, as it told them last."""
    lags_known: int = 0
    """Replies in `network` of which the server has told how long its kernel took until they left. That is in the times
    of the others only. 0 in streams that are older than this field."""
    not_sent: Mapping[str, int] = field(default_factory=dict)
    """Probes that our own kernel refused to send, by why (the errno's name): there is no route, say. They are lost
    upstream. Empty in streams that are older than this field."""

    @property
    def lost(self) -> int:
        """In whatever direction."""
        return self.lost_upstream + self.lost_downstream + self.lost_unknown

    @property
    def loss(self) -> float:
        """Probes without a good reply in time, in percent: 0 to 100, and 0 when none was sent."""
        return 100 * (self.sent - self.received) / self.sent if self.sent else 0.0

    @property
    def mean_parts_ns(self) -> tuple[int | None, int | None, int | None, int | None]:
        """What a round trip took on average: client queue, network, server, wake-up. None where that is not known.

        What the server's kernel says that its replies took until they left is the server's here; so it is of the
        replies of which that is not known, as much as the others took.
        """
        network, server = self.network.mean_ns, self.server.mean_ns
        lag = None if self.reported is None else self.reported.departure_lag_ns
        if lag is not None and network is not None and server is not None:
            known, count = self.lags_known, self.network.count
            left = min(lag * (count - known) // count, network)
            network, server = network - left, server + left + lag * known // count
        return self.client_queue.mean_ns, network, server, self.wake_up.mean_ns


Event: TypeAlias = (
    Start
    | ReplyRecord
    | Corrupted
    | Refused
    | Lost
    | Duplicate
    | Late
    | Rejected
    | Missed
    | Skipped
    | Interval
    | Summary
)
