"""`Run`: what happens from the first probe to the server's last word.

One task sends probes, one reads, one gives up those that are waited for no longer; all in a nursery of `Run.run`, which
ends when they do. Whom to believe is `trio_udp.proto`'s business, what it adds up to is the ledger's: here are only
Trio, the socket and the clocks.
"""

import math
from collections.abc import Callable
from typing import Final, cast

import trio

from .._endpoint import Endpoint
from .._net import Address, Batch, Datagram
from .._random import RandomBytes
from ..proto import MAX_SEQUENCE, REPORT, TU1, DropReason, Heard, Probe, ProbeProtocol
from ._capture import Captured
from ._ledger import Entry, Ledger
from ._records import Event, Interval, Lost, Start
from ._schedules import Progress, Schedule
from ._timer import SystemTimer, Timer
from ._timing import Readings

MOST_UNDER_WAY: Final = 65_536
"""Probes waited for at a time; slots in which there would be more are missed."""
LEAST_LINGER: Final = 1.0
"""Seconds to wait for the last replies, at least, when others came back sooner."""
_REPORTS: Final = 5
"""How often a server is asked for its last word."""
_REPORT_WAITS: Final = (0.05, 1.0)
"""Seconds to wait for that each time, at least and at most; twice the longest round trip in between."""
_NAPS: Final = 256
"""What part of its wait a probe may be waited for longer, so that many are given up together."""
_LOOKS: Final = 16
"""How often it looks for replies before it gives probes up, up to 64 each time: more than fit into a receive buffer."""
_BRISK: Final = 500_000
"""Nanoseconds; many shorter slots are missed if Trio's loop is gone through for each, and for each reply (0048)."""
_SECOND: Final = 1_000_000_000


class Run:
    """One run of a prober, which begins when it is made."""

    def __init__(
        self,
        endpoint: Endpoint,
        protocol: ProbeProtocol,
        ledger: Ledger,
        timer: Timer,
        *,
        # What to send, and when
        peer: Address,
        random_bytes: RandomBytes,
        schedule: Schedule,
        sending: trio.CancelScope,
        # How to wait
        wait: float,
        naps: bool,
        # Whom to tell
        on_event: Callable[[Event], None],
        on_datagram: Callable[[Captured], None] | None,
        source: Address,
    ) -> None:
        self._endpoint = endpoint
        self._protocol = protocol
        self._profile = protocol.profile
        self._ledger = ledger
        self._timer = timer
        self._peer = peer
        self._random_bytes = random_bytes
        self._schedule = schedule
        self._sending = sending
        self._wait = round(wait * _SECOND)
        self._on_event = on_event
        self._on_datagram = on_datagram
        self._source = source
        """Our address as the peer sees it, where datagrams are told of."""
        self._began = timer.now()
        self._ended: int | None = None
        self._last_due = 0
        self._heard_at: int | None = None
        self._last_rtt: int | None = None
        self._waker: trio.CancelScope | None = None
        self._changed = trio.Event()
        """Set when a probe was opened or closed, and exchanged for a new one."""
        self._is_awaited = 0
        """By how many tasks."""
        self._brisk = self._who_naps() if naps else None
        """What the task that sends naps with, where the slots are that short. Then it is the one who reads too."""
        self._has_sent_all = trio.Event()
        self._reported = trio.Event()
        self._untold: dict[int, Lost] | None = None
        """Probes given up at the end, until the server has told whether they had arrived; before that nothing."""

    @property
    def elapsed(self) -> int:
        """Nanoseconds that it has run, until now or until its end."""
        return (self._timer.now() if self._ended is None else self._ended) - self._began

    async def run(self, count: int | None, every: float | None) -> None:
        """Send so many probes, or until stopped, wait for the last replies, and ask for the server's last word."""
        try:
            self._on_event(self._start())
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._receive)
                nursery.start_soon(self._expire)
                if every is not None:
                    nursery.start_soon(self._tell_intervals, every)
                with self._sending:
                    try:
                        await self._send_all(MAX_SEQUENCE if count is None else count)
                    finally:
                        self._has_sent_all.set()
                    self._untold = {}
                    await self._linger()
                self._give_up(is_over=not self._sending.cancelled_caught)
                await self._ask_for_report()
                self._tell_untold()
                if every is not None:
                    self._tell_last_interval()
                nursery.cancel_scope.cancel()
        finally:
            self._ended = self._timer.now()

    def _who_naps(self) -> SystemTimer | None:
        """Who naps looks for replies once a slot: somebody else has to say when they came."""
        schedule, endpoint = self._schedule, self._endpoint
        is_brisk = schedule.slot < _BRISK and not schedule.reacts and endpoint.stamps_departures
        return self._timer if is_brisk and isinstance(self._timer, SystemTimer) else None

    def _start(self) -> Start:
        return Start(
            at_ns=self._endpoint.wall_clock(),
            peer=self._peer,
            profile=self._profile.name,
            size=self._protocol.size,
            datagram_size=self._protocol.size + self._protocol.overhead,
            has_times=self._protocol.has_times,
            is_authenticated=self._protocol.is_sealed,
            slot_ns=self._schedule.slot,
        )

    # Tasks

    async def _send_all(self, count: int) -> None:
        schedule, missed = self._schedule, 0
        most = min(self._profile.max_outstanding or MOST_UNDER_WAY, MOST_UNDER_WAY)
        while self._ledger.sent < count:
            due = await self._wait_for_due()
            due, slots = schedule.skip(due, self._timer.now() - self._began)
            self._last_due = due
            missed += slots
            if len(self._protocol) >= most:
                missed += 1
                if schedule.reacts:
                    await self._wait_for_change()
                elif self._brisk is not None:
                    await self._take_nowait()
                continue
            if missed:
                self._on_event(self._ledger.miss(missed, self._ledger.sent + 1))
            await self._send(due, missed)
            missed = 0
            self._ledger.catch_up()

    async def _wait_for_due(self) -> int:
        """When the next probe is due, as soon as it is."""
        schedule = self._schedule
        due = schedule.next_due(self._progress())
        if self._brisk is not None:
            await self._brisk.nap_until(self._began + due)
            return due
        if not schedule.reacts:
            await self._timer.sleep_until(self._began + due)
            return due
        while True:
            with trio.CancelScope() as self._waker:
                await self._timer.sleep_until(self._began + due)
                return due
            due = schedule.next_due(self._progress())

    def _progress(self) -> Progress:
        return Progress(self._ledger.sent, self._last_due, len(self._protocol), self._heard_at, self._last_rtt)

    async def _send(self, due: int, missed: int) -> None:
        payload = self._random_bytes(self._protocol.payload_size)
        if not isinstance(self._profile, TU1):
            payload = payload.hex()[: self._protocol.size].encode()  # other formats are of text, perhaps
        probe, datagram = self._open(self._ledger.sent + 1, payload)
        sent_wall = self._endpoint.wall_clock()
        sent = self._timer.now()
        probe.owner = entry = Entry(probe, due=self._began + due, sent=sent, sent_wall=sent_wall, missed=missed)
        self._ledger.send(entry)
        self._tell()
        entry.number = self._endpoint.number
        error = await self._endpoint.send(datagram, self._peer)
        if error is None:
            self._show_sent(datagram, sent_wall)
        else:
            self._ledger.refuse_to_send(entry, error)
        if self._endpoint.stamps_departures:
            # The kernel has mostly said when it left by now: taken here, that does not wake the task that reads. And
            # who naps reads nowhere else, also while nothing can be sent.
            await self._take_nowait()

    def _open(self, sequence: int, payload: bytes) -> tuple[Probe, bytes]:
        return self._protocol.open(sequence, payload, self._random_bytes(self._profile.random_size))

    async def _receive(self) -> None:
        if self._brisk is not None:
            await self._has_sent_all.wait()
        while True:
            self._take_all(await self._endpoint.receive())

    async def _take_nowait(self) -> bool:
        """Take what is there, mostly without a checkpoint; whether any datagrams were."""
        batch = await self._endpoint.receive(may_wait=False)
        self._take_all(batch)
        return bool(batch.datagrams)

    def _take_all(self, batch: Batch) -> None:
        received, wall = self._timer.now(), self._endpoint.wall_clock()
        for hint in batch.hints:
            about = self._protocol.receive_hint(hint.quote, hint.peer)
            if about is not None:
                _entry_of(about).hint = hint.error
        for datagram in batch.datagrams:
            self._take(datagram, received, wall)
        for _ in range(batch.truncated):
            self._on_event(self._ledger.reject(DropReason.TRUNCATED, self._peer))

    def _take(self, datagram: Datagram, received: int, wall: int) -> None:
        self._show_received(datagram, wall)
        heard = self._protocol.match_untrusted(datagram.data, datagram.peer)
        if isinstance(heard, DropReason):
            self._on_event(self._ledger.reject(heard, datagram.peer))
            return
        entry = _entry_of(heard.probe)
        if entry.number is not None:
            entry.left = self._endpoint.take_departure(entry.number)
            entry.number = None
        came = datagram.ancillary.arrived
        readings = Readings(entry.sent, entry.sent_wall, entry.left, came, received, wall)
        if (
            came is not None
            and self._wait < came - entry.sent_wall <= received - entry.sent
            and self._is_awaiting(heard)
        ):
            self._expire_one(entry, is_over=True)  # it would have been by now, had this process had its turn
        event = self._ledger.hear(heard, entry, readings, datagram.ancillary.hop_limit)
        if event is None:
            self._reported.set()
            return
        if entry.fate and heard.probe.is_open:
            self._close(heard.probe)
            self._heard_at, self._last_rtt = received - self._began, received - entry.sent
            if self._waker is not None:
                self._waker.cancel()
        if self._untold and heard.probe.sequence in self._untold:
            self._on_event(self._untold.pop(heard.probe.sequence))
        self._on_event(event)

    def _is_awaiting(self, heard: Heard) -> bool:
        return heard.probe.is_open and heard.probe.sequence != REPORT

    async def _expire(self) -> None:
        """Give each probe up when its time is over."""
        while True:
            oldest = self._protocol.oldest
            if oldest is None or oldest.sequence == REPORT:
                await self._wait_for_change()
                continue
            left = self._left_of(oldest)
            if left > 0:
                # Not a nap for each of them, where all are lost and one was sent every 200 µs
                await trio.sleep(max(left, self._wait // _NAPS) / _SECOND)
            else:
                await self._expire_all()

    async def _expire_all(self) -> None:
        """Give up each probe whose time is over, when what is there has been taken: this process may have been stopped,
        and what came meanwhile is not lost."""
        for _ in range(_LOOKS if self._endpoint.stamps_departures else 0):
            if not await self._take_nowait():
                break
        while (oldest := self._protocol.oldest) is not None and oldest.sequence != REPORT:
            if self._left_of(oldest) > 0:
                break
            self._expire_one(_entry_of(oldest), is_over=True)

    def _left_of(self, probe: Probe) -> int:
        """Nanoseconds for which it is still waited for."""
        return _entry_of(probe).sent + self._wait - self._timer.now()

    def _expire_one(self, entry: Entry, *, is_over: bool) -> None:
        self._close(entry.probe)
        if entry.number is not None:
            self._endpoint.take_departure(entry.number)
        event = self._ledger.expire(entry, self._timer.now(), is_over=is_over)
        if event is None or not is_over:
            return
        if self._untold is None or not self._ledger.wants_report:
            self._on_event(event)
        else:
            self._untold[event.sequence] = event

    def _tell_untold(self) -> None:
        """No later reply has said whether these had arrived at last, but a report may have."""
        for event in (self._untold or {}).values():
            self._on_event(self._ledger.name_direction(event))

    async def _tell_intervals(self, every: float) -> None:
        while True:
            await trio.sleep(every)
            self._on_event(self._interval())

    def _tell_last_interval(self) -> None:
        """What has happened since the last one, if anything has: the intervals of a run add up to all of it."""
        last = self._interval()
        if last.sent or last.received or last.lost:
            self._on_event(last)

    def _interval(self) -> Interval:
        return self._ledger.interval(self._endpoint.wall_clock(), self._timer.now() - self._began)

    # The end of a run

    async def _linger(self) -> None:
        """Wait for the last replies."""
        longest = math.inf
        if self._ledger.received:
            # Where others came back sooner, the last ones do not get the whole of their wait.
            longest = max(2 * self._ledger.rtt_max / _SECOND, self._schedule.slot / _SECOND, LEAST_LINGER)
        with trio.move_on_after(longest):
            while len(self._protocol):
                await self._wait_for_change()

    def _give_up(self, *, is_over: bool) -> None:
        while (oldest := self._protocol.oldest) is not None:
            self._expire_one(_entry_of(oldest), is_over=is_over)

    async def _ask_for_report(self) -> None:
        """Ask the server what it has counted, if it counts; nothing is lost but knowledge if no answer comes."""
        if not self._ledger.wants_report:
            return
        least, most = _REPORT_WAITS
        try:
            for _ in range(_REPORTS):
                probe, datagram = self._open(REPORT, b"")
                now = self._timer.now()
                probe.owner = Entry(probe, due=now, sent=now, sent_wall=self._endpoint.wall_clock())
                if await self._endpoint.send(datagram, self._peer) is None:
                    self._show_sent(datagram, probe.owner.sent_wall)
                with trio.move_on_after(min(max(2 * self._ledger.rtt_max / _SECOND, least), most)):
                    await self._reported.wait()
                    return
        finally:
            while (probe_left := self._protocol.oldest) is not None:
                self._close(probe_left)

    # Datagrams, for those who want to see them

    def _show_sent(self, data: bytes, at_ns: int) -> None:
        if self._on_datagram is not None:
            self._on_datagram(Captured(at_ns, self._source, self._peer, data, is_sent=True))

    def _show_received(self, datagram: Datagram, now: int) -> None:
        if self._on_datagram is not None:
            arrived, hop_limit = datagram.ancillary.arrived, datagram.ancillary.hop_limit
            at_ns = now if arrived is None else arrived
            self._on_datagram(Captured(at_ns, datagram.peer, self._source, datagram.data, hop_limit=hop_limit))

    # Small parts

    def _close(self, probe: Probe) -> None:
        self._protocol.close(probe)
        self._tell()

    def _tell(self) -> None:
        if self._is_awaited:
            self._changed.set()

    async def _wait_for_change(self) -> None:
        if self._changed.is_set():
            self._changed = trio.Event()
        self._is_awaited += 1
        try:
            await self._changed.wait()
        finally:
            self._is_awaited -= 1


def _entry_of(probe: Probe) -> Entry:
    """What is known of it beside; every probe of ours has that."""
    return cast("Entry", probe.owner)
