"""`Prober`: sends probes on a schedule and tells what becomes of each.

One task sends, one reads, one gives up those that are waited for no longer; all in a nursery of `Prober.run`, which
ends when they do. Whom to believe is `trio_udp.proto`'s business, what it adds up to is the ledger's: here are only
Trio, the socket and the clocks.
"""

import contextlib
import math
import socket
from collections.abc import AsyncIterator, Callable
from typing import Final, cast

import trio

from .._endpoint import Endpoint
from .._given import check_given
from .._keys import Key, seal_of
from .._net import (
    NO_OPTIONS,
    Address,
    Batch,
    Datagram,
    SocketOptions,
    loopback_of,
    normalise,
    open_client_socket,
    resolve,
)
from .._random import RandomBytes, random_source
from ..proto import INSTANCE_SIZE, MAX_SEQUENCE, REPORT, TU1, DropReason, Probe, ProbeProtocol, Profile
from ._capture import Captured
from ._events import Events
from ._ledger import Entry, Ledger
from ._records import Event, Interval, Lost, Start, Summary
from ._schedules import Fixed, Progress, Schedule
from ._timer import SystemTimer, Timer, open_timer
from ._timing import Readings

DEFAULT_SIZE: Final = 56
"""Bytes of payload in a probe, as in `ping`."""
DEFAULT_WAIT: Final = 10.0
"""Seconds that a reply is waited for, as in `ping`."""
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
_BRISK: Final = 500_000
"""Nanoseconds; many shorter slots are missed if Trio's loop is gone through for each, and for each reply (0048)."""
_SECOND: Final = 1_000_000_000


def _nothing(event: Event) -> None:
    """What to do with events that nobody wants."""


@contextlib.asynccontextmanager
async def open_prober(
    host: str,
    port: int,
    *,
    # Whom to ask, and how
    family: socket.AddressFamily = socket.AF_UNSPEC,
    profile: Profile | None = None,
    key: Key | None = None,
    # What to send
    size: int = DEFAULT_SIZE,
    options: SocketOptions = NO_OPTIONS,
    # How to wait
    spins: bool = False,
    naps: bool = False,
) -> AsyncIterator["Prober"]:
    """Open a prober for the first address of a host: one path is measured, not several. The block's end closes it.

    Args:
        host: name or numeric address.
        port: 1 to 65535.
        family: `socket.AF_INET` or `socket.AF_INET6` to use only addresses of that kind.
        profile: the wire format, `TU1()` by default. With any other, servers are not asked either.
        key: vouches for probes and replies; what comes without its tag is dropped as `bad_seal`. `TU1` only.
        size: bytes in each probe behind the format's own header, the last ones at random. As in `ping`, what it takes
            to measure is among them: below 52 bytes servers are not asked, and nothing is known about directions.
        options: what the socket is to be: its source address and port, interface, hop limit, traffic class.
        spins: whether to keep a processor busy while it runs, instead of sleeping until the next probe is due: for
            slots that one misses who is woken late. On any clock but the system's it makes no difference.
        naps: whether, where less than 500 µs are between two probes, it may keep all other tasks waiting, for up to a
            millisecond: then it goes through Trio's loop that often only, and fewer slots are missed. It makes no
            difference for schedules that react to replies, and where the kernel does not say when these came, since
            they are looked for when the next probe has been sent.

    Raises:
        ValueError: an argument makes no sense.
        TypeError: an object is not of its kind, such as None in place of options.
        socket.gaierror: the name has no address.
        OSError: no socket could be opened, or not with these options.
    """
    check_given("profile", profile, Profile | None)
    check_given("options", options, SocketOptions)
    profile = profile or TU1()
    if not 1 <= port <= 65_535:
        raise ValueError(f"expected a port from 1 to 65535, got {port}")
    random_bytes = random_source()
    peer = loopback_of((await resolve(host, port, family))[0])
    protocol = ProbeProtocol(
        profile, peer, random=random_bytes(INSTANCE_SIZE), size=size, seal=None if key is None else seal_of(key)
    )
    # Not connected, so that what strangers send is seen, counted and reported.
    endpoint = Endpoint(await open_client_socket([peer], connect=False, options=options), stamps=True)
    try:
        yield Prober(endpoint, protocol, peer, size=size, random_bytes=random_bytes, spins=spins, naps=naps)
    finally:
        endpoint.close()


class Prober:
    """Measures one path, once. Made by `open_prober`."""

    def __init__(
        self,
        endpoint: Endpoint,
        protocol: ProbeProtocol,
        peer: Address,
        *,
        size: int,
        random_bytes: RandomBytes,
        spins: bool,
        naps: bool,
    ) -> None:
        self._endpoint = endpoint
        self._protocol = protocol
        self._peer = peer
        self._size = size
        self._random_bytes = random_bytes
        self._spins = spins
        self._naps = naps
        self._schedule: Schedule | None = None
        self._ledger = Ledger(slot=_SECOND)
        self._on_event: Callable[[Event], None] = _nothing
        self._on_datagram: Callable[[Captured], None] | None = None
        self._from: Address
        """Our address as the peer sees it; only where datagrams are told of."""
        self._timer: Timer
        self._wait = 0
        self._began = 0
        self._ended: int | None = 0
        """None while it runs."""
        self._last_due = 0
        self._heard_at: int | None = None
        self._last_rtt: int | None = None
        self._sending = trio.CancelScope()
        self._waker: trio.CancelScope | None = None
        self._changed = trio.Event()
        """Set when a probe was opened or closed, and exchanged for a new one."""
        self._is_awaited = 0
        """By how many tasks."""
        self._brisk: SystemTimer | None = None
        """What the task that sends naps with, where the slots are that short. Then it is the one who reads too."""
        self._has_sent_all = trio.Event()
        self._reported = trio.Event()
        self._untold: dict[int, Lost] | None = None
        """Probes given up at the end, until the server has told whether they had arrived; before that nothing."""

    @property
    def peer(self) -> Address:
        """The address that is probed."""
        return self._peer

    @property
    def address(self) -> Address:
        """The socket's own address; its host is unspecified."""
        return self._endpoint.address

    @property
    def profile(self) -> Profile:
        """The wire format."""
        return self._protocol.profile

    @property
    def datagram_size(self) -> int:
        """Bytes of each probe's datagram."""
        return self._size + self._protocol.overhead

    @property
    def sent(self) -> int:
        """Probes sent so far. Cheap, unlike `summary`, which sorts."""
        return self._ledger.sent

    @property
    def unanswered(self) -> int:
        """Probes that are waited for."""
        return len(self._protocol)

    def wall_clock(self) -> int:
        """What time it is, in nanoseconds since 1970, by the clock of `sent_at_ns`; a simulated network has its own."""
        return self._endpoint.wall_clock()

    async def run(
        self,
        schedule: Schedule | None = None,
        *,
        count: int | None = None,
        wait: float = DEFAULT_WAIT,
        every: float | None = None,
        on_event: Callable[[Event], None] = _nothing,
        on_datagram: Callable[[Captured], None] | None = None,
    ) -> Summary:
        """Send probes, wait for the last replies, ask the server for its last word, and return the sums.

        Deadlines are Trio's, and end it at once; `stop` ends it in good order. Either way `summary` has the sums.

        Args:
            schedule: when to send, one a second by default.
            count: probes to send; until stopped by default.
            wait: seconds that each reply is waited for. When all are sent, and some were answered sooner, the last ones
                are waited for twice the longest round trip, an interval or a second, whichever is most.
            every: seconds between `Interval` events; none by default. The last one, at the end, is about what is left,
                if there is anything.
            on_event: called with each event, in the tasks that send and read: it must not take long.
            on_datagram: called in the same way with each datagram, whoever sent it.

        Raises:
            ValueError: an argument makes no sense.
            TypeError: the schedule is none; an interval, say.
            RuntimeError: this prober has run before.
            OSError: `on_datagram` is given, and no route leads to the peer.
            trio.ClosedResourceError: it is closed, or was closed meanwhile.

        What `on_event` and `on_datagram` raise comes out in an exception group.
        """
        if self._schedule is not None:
            raise RuntimeError("a prober runs once")
        _check(count, wait, every)
        check_given("schedule", schedule, Schedule | None)
        self._schedule = schedule or Fixed(1.0)
        self._ledger = Ledger(slot=self._schedule.slot, is_authenticated=self._protocol.is_sealed)
        self._wait = round(wait * _SECOND)
        self._on_event = on_event
        if on_datagram is not None:
            self._from, self._on_datagram = await self._own_address(), on_datagram
        with open_timer(spins=self._spins) as self._timer:
            self._began, self._ended = self._timer.now(), None
            self._brisk = self._who_naps(self._schedule)
            try:
                await self._run(self._schedule, count, every)
            finally:
                self._ended = self._timer.now()
        found = self.summary()
        on_event(found)
        return found

    @contextlib.asynccontextmanager
    async def running(
        self,
        schedule: Schedule | None = None,
        *,
        count: int | None = None,
        wait: float = DEFAULT_WAIT,
        every: float | None = None,
    ) -> AsyncIterator[AsyncIterator[Event]]:
        """The same as an async iterator: `async with prober.running() as events: async for event in events: …`.

        The iterator ends with the run, whose last event is its `Summary`. Whoever takes events too slowly loses some
        and is told how many (`Skipped`); the probes and the figures are not touched. Leaving the block ends the run.
        An exception of the block's is raised as it is.
        """

        async def run(on_event: Callable[[Event], None]) -> None:
            await self.run(schedule, count=count, wait=wait, every=every, on_event=on_event)

        events = Events()
        failure: BaseException | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(events.fill, run)
            try:
                yield events
            except BaseException as exc:
                failure = exc  # raised below, outside the nursery that would wrap it in a group
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure

    def stop(self) -> None:
        """Send no more, wait for no reply, only for the server's last word, and end."""
        self._sending.cancel()

    def summary(self) -> Summary:
        """The sums so far, at any time."""
        elapsed = (self._timer.now() if self._ended is None else self._ended) - self._began
        return self._ledger.summary(self._endpoint.wall_clock(), elapsed, self._endpoint.hints)

    # Tasks

    async def _run(self, schedule: Schedule, count: int | None, every: float | None) -> None:
        self._on_event(self._start(schedule))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._receive)
            nursery.start_soon(self._expire)
            if every is not None:
                nursery.start_soon(self._tell_intervals, every)
            with self._sending:
                try:
                    await self._send_all(schedule, MAX_SEQUENCE if count is None else count)
                finally:
                    self._has_sent_all.set()
                self._untold = {}
                await self._linger(schedule)
            self._give_up(is_over=not self._sending.cancelled_caught)
            await self._ask_for_report()
            self._tell_untold()
            if every is not None:
                self._tell_last_interval()
            nursery.cancel_scope.cancel()

    def _who_naps(self, schedule: Schedule) -> SystemTimer | None:
        """Who naps looks for replies once a slot: somebody else has to say when they came."""
        is_brisk = self._naps and schedule.slot < _BRISK and not schedule.reacts and self._endpoint.stamps_departures
        return self._timer if is_brisk and isinstance(self._timer, SystemTimer) else None

    def _start(self, schedule: Schedule) -> Start:
        return Start(
            at_ns=self._endpoint.wall_clock(),
            peer=self._peer,
            profile=self.profile.name,
            size=self._size,
            datagram_size=self.datagram_size,
            has_times=self._protocol.has_times,
            is_authenticated=self._protocol.is_sealed,
            slot_ns=schedule.slot,
        )

    async def _send_all(self, schedule: Schedule, count: int) -> None:
        missed = 0
        most = min(self.profile.max_outstanding or MOST_UNDER_WAY, MOST_UNDER_WAY)
        while self._ledger.sent < count:
            due = await self._wait_for_due(schedule)
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

    async def _wait_for_due(self, schedule: Schedule) -> int:
        """When the next probe is due, as soon as it is."""
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
        if not isinstance(self.profile, TU1):
            payload = payload.hex()[: self._size].encode()  # other formats are of text, perhaps
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
            if self._endpoint.stamps_departures:
                # The kernel has mostly said when it left by now: taken here, that does not wake the task that reads.
                await self._take_nowait()
        else:
            self._ledger.refuse_to_send(entry, error)

    def _open(self, sequence: int, payload: bytes) -> tuple[Probe, bytes]:
        return self._protocol.open(sequence, payload, self._random_bytes(self.profile.random_size))

    async def _receive(self) -> None:
        if self._brisk is not None:
            await self._has_sent_all.wait()
        while True:
            self._take_all(await self._endpoint.receive())

    async def _take_nowait(self) -> None:
        """Take what is there: no checkpoint."""
        self._take_all(await self._endpoint.receive(may_wait=False))

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

    async def _expire(self) -> None:
        """Give each probe up when its time is over."""
        while True:
            oldest = self._protocol.oldest
            if oldest is None or oldest.sequence == REPORT:
                await self._wait_for_change()
                continue
            left = _entry_of(oldest).sent + self._wait - self._timer.now()
            if left > 0:
                # Not a nap for each of them, where all are lost and one was sent every 200 µs
                await trio.sleep(max(left, self._wait // _NAPS) / _SECOND)
            else:
                self._expire_one(_entry_of(oldest), is_over=True)

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

    async def _linger(self, schedule: Schedule) -> None:
        """Wait for the last replies."""
        longest = math.inf
        if self._ledger.received:
            # Where others came back sooner, the last ones do not get the whole of their wait.
            longest = max(2 * self._ledger.rtt_max / _SECOND, schedule.slot / _SECOND, LEAST_LINGER)
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

    async def _own_address(self) -> Address:
        """From which address of ours datagrams go to the peer: what a connected socket would be bound to."""
        with contextlib.closing(await open_client_socket([self._peer], connect=True)) as sock:
            return self._endpoint.address._replace(host=normalise(sock.getsockname()).host)

    def _show_sent(self, data: bytes, at_ns: int) -> None:
        if self._on_datagram is not None:
            self._on_datagram(Captured(at_ns, self._from, self._peer, data, is_sent=True))

    def _show_received(self, datagram: Datagram, now: int) -> None:
        if self._on_datagram is not None:
            arrived, hop_limit = datagram.ancillary.arrived, datagram.ancillary.hop_limit
            at_ns = now if arrived is None else arrived
            self._on_datagram(Captured(at_ns, datagram.peer, self._from, datagram.data, hop_limit=hop_limit))

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


def _check(count: int | None, wait: float, every: float | None) -> None:
    if count is not None and not 1 <= count <= MAX_SEQUENCE:
        raise ValueError(f"expected a count from 1 to {MAX_SEQUENCE}, got {count}")
    if not 0 < wait <= 3600:
        raise ValueError(f"expected to wait for more than 0 and at most 3600 seconds, got {wait}")
    if every is not None and not 0 < every < math.inf:
        raise ValueError(f"expected more than 0 seconds between interval events, got {every}")
