"""`Prober`: sends probes on a schedule and tells what becomes of each.

This is what programs see of it. What happens while it runs is a `Run`, which has all that has no meaning before.
"""

import contextlib
import math
import socket
from collections.abc import AsyncIterator, Callable
from typing import Final

import trio

from .._beside import beside
from .._endpoint import Endpoint
from .._given import check_given, check_server
from .._keys import Key, seal_of
from .._net import NO_OPTIONS, Address, SocketOptions, loopback_of, normalise, open_client_socket, resolve
from .._random import RandomBytes, random_source
from ..proto import INSTANCE_SIZE, MAX_SEQUENCE, TU1, ProbeProtocol, Profile
from ._capture import Captured
from ._events import Events
from ._ledger import Ledger
from ._records import Event, Summary
from ._run import Run
from ._schedules import Fixed, Schedule
from ._timer import open_timer

DEFAULT_SIZE: Final = 56
"""Bytes of payload in a probe, as in `ping`."""
DEFAULT_WAIT: Final = 10.0
"""Seconds that a reply is waited for, as in `ping`."""
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
    check_server(host, port)
    random_bytes = random_source()
    peer = loopback_of((await resolve(host, port, family))[0])
    protocol = ProbeProtocol(
        profile, peer, random=random_bytes(INSTANCE_SIZE), size=size, seal=None if key is None else seal_of(key)
    )
    # Not connected, so that what strangers send is seen, counted and reported.
    endpoint = Endpoint(await open_client_socket([peer], connect=False, options=options), stamps=True)
    try:
        yield Prober(endpoint, protocol, peer, random_bytes=random_bytes, spins=spins, naps=naps)
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
        random_bytes: RandomBytes,
        spins: bool,
        naps: bool,
    ) -> None:
        self._endpoint = endpoint
        self._protocol = protocol
        self._peer = peer
        self._random_bytes = random_bytes
        self._spins = spins
        self._naps = naps
        self._has_run = False
        self._run: Run | None = None
        """None until its clock is there."""
        self._ledger = Ledger(slot=_SECOND)
        self._sending = trio.CancelScope()

    def __repr__(self) -> str:
        return f"<Prober of {self._peer}>"

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
        return self._protocol.size + self._protocol.overhead

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
        if self._has_run:
            raise RuntimeError("a prober runs once")
        _check(count, wait, every)
        check_given("schedule", schedule, Schedule | None)
        self._has_run = True
        schedule = schedule or Fixed(1.0)
        self._ledger = Ledger(slot=schedule.slot, is_authenticated=self._protocol.is_sealed)
        source = self.address if on_datagram is None else await self._own_address()
        with open_timer(spins=self._spins) as timer:
            self._run = Run(
                self._endpoint,
                self._protocol,
                self._ledger,
                timer,
                peer=self._peer,
                random_bytes=self._random_bytes,
                schedule=schedule,
                sending=self._sending,
                wait=wait,
                naps=self._naps,
                on_event=on_event,
                on_datagram=on_datagram,
                source=source,
            )
            await self._run.run(count, every)
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
        async with beside(events.fill, run):
            yield events

    def stop(self) -> None:
        """Send no more, wait for no reply, only for the server's last word, and end."""
        self._sending.cancel()

    def summary(self) -> Summary:
        """The sums so far, at any time."""
        elapsed = 0 if self._run is None else self._run.elapsed
        return self._ledger.summary(self._endpoint.wall_clock(), elapsed, self._endpoint.hints)

    async def _own_address(self) -> Address:
        """From which address of ours datagrams go to the peer: what a connected socket would be bound to."""
        with contextlib.closing(await open_client_socket([self._peer], connect=True)) as sock:
            return self._endpoint.address._replace(host=normalise(sock.getsockname()).host)


def _check(count: int | None, wait: float, every: float | None) -> None:
    if count is not None and not 1 <= count <= MAX_SEQUENCE:
        raise ValueError(f"expected a count from 1 to {MAX_SEQUENCE}, got {count}")
    if not 0 < wait <= 3600:
        raise ValueError(f"expected to wait for more than 0 and at most 3600 seconds, got {wait}")
    if every is not None and not 0 < every < math.inf:
        raise ValueError(f"expected more than 0 seconds between interval events, got {every}")
