"""Two transports in plain Python: for a real descriptor, and for whatever else Trio's socket interface stands before.

`PortableTransport` owns a real descriptor: it waits once, then reads with plain non-blocking calls until the kernel has
no more or the batch is full, so that the price of waking up is shared and no flood keeps the task from yielding.
`TrioTransport` does the same through the awaitable methods of whatever else `trio.socket.socket` returned, a simulated
network say. What must hold: whoever uses them, or the faster one in `_kernel`, cannot tell which it is.
"""

import errno
import socket
from collections.abc import Sequence
from typing import Final

import trio

from ._address import Address, SockAddr, normalise, to_sockaddr
from ._ancillary import (
    NOTHING,
    STAMP_IT,
    Hint,
    ask_for_stamps,
    has_error_queue,
    read_ancillary,
    read_departure,
    read_error_untrusted,
    source_ancillary,
)
from ._batch import Batch, Datagram, Outgoing
from ._mmsg import BATCH

_LARGEST: Final = 65_536
"""Longer than any UDP datagram, and than any run of them that the kernel hands over in one piece, so that none is cut
short; measured: as cheap as a small buffer."""
_ANCILLARY_SPACE: Final = 256
ERROR_SPACE: Final = 512
_ERROR_QUEUE: Final = getattr(socket, "MSG_ERRQUEUE", 0)
TRUNCATED: Final = int(socket.MSG_TRUNC)  # as a plain number: `&` on Python's flag objects costs half a microsecond
_A_MOMENT: Final = 0.001
"""Seconds. A datagram whose checksum is wrong makes a socket readable, and then there is nothing to read."""
_CLOSED: Final = (errno.EBADF, errno.ENOTSOCK)
_WAS_CLOSED: Final = "this socket was closed"


class PortableTransport:
    """A real descriptor, drained in batches."""

    segments_sent = 0
    segments_received = 0
    number = 0
    stamps_departures = False

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.socket = sock
        self._family = sock.family
        self._largest = _LARGEST
        self._has_error_queue = has_error_queue(sock)
        self._blocked = trio.StrictFIFOLock()
        self._is_stamped = False
        """Whether the kernel says when datagrams come, and when one leaves, if it is asked to."""
        self._stamped = 0
        """How many it has been asked to."""
        self._was_full = False
        """Behind a full batch there mostly is another: to look at once costs less than to be told so."""

    def stamp_arrivals(self) -> None:
        """See `Transport.stamp_arrivals`. Of what leaves, it says so only where that is asked for with the datagram."""
        self._is_stamped = ask_for_stamps(self.socket, departures=False)
        self._stamped = 0

    def take_departure(self, number: int) -> int | None:
        """See `Transport.take_departure`: nobody has asked."""
        return None

    async def receive(self, *, may_wait: bool = True) -> Batch:
        """See `Transport.receive`."""
        while True:
            self._check_open()
            if may_wait and self._was_full:
                await trio.lowlevel.checkpoint()
                self._check_open()
            elif may_wait:
                await trio.lowlevel.wait_readable(self.socket)
            batch = self._drain()
            self._was_full = len(batch.datagrams) == BATCH
            if any(batch) or not may_wait:
                return batch

    def _drain(self) -> Batch:
        datagrams: list[Datagram] = []
        batch = Batch(datagrams, [], [], 0)
        truncated = 0
        for _ in range(BATCH):
            try:
                data, control, flags, sockaddr = self.socket.recvmsg(self._largest, _ANCILLARY_SPACE)
            except BlockingIOError:
                break
            except OSError as exc:
                self._explain(exc, batch)
                continue
            if flags & TRUNCATED:
                truncated += 1
            else:
                datagrams.append(Datagram(data, normalise(sockaddr), read_ancillary(control) if control else NOTHING))
        return self._complete(batch, truncated)

    def _complete(self, batch: Batch, truncated: int) -> Batch:
        if not batch.datagrams:
            # A send may have taken the error that woke us, and left its explanation in the queue.
            self._read_error_queue(batch.hints)
        return Batch(batch.datagrams, batch.hints, batch.errors, truncated)

    def _explain(self, exc: OSError, batch: Batch) -> None:
        """An error of reading is about something sent: by what the error queue says of it, or by its name.

        What the queue does not explain it has explained already: the kernel puts an error there, wakes who reads, and
        only then has the next call fail. Counted again, one ICMP error would be two.
        """
        raise_if_closed(exc)
        if not self._read_error_queue(batch.hints) and not self._has_error_queue and len(batch.hints) < BATCH:
            batch.errors.append(_name(exc))

    def _read_error_queue(self, hints: list[Hint]) -> bool:
        """Append what ICMP reported; whether it reported anything."""
        before = len(hints)
        for _ in range(BATCH - before if _ERROR_QUEUE else 0):
            try:
                quote, control, _flags, sockaddr = self.socket.recvmsg(_LARGEST, ERROR_SPACE, _ERROR_QUEUE)
            except OSError:
                break
            hint = read_error_untrusted(quote, control, sockaddr)
            if hint is not None:
                hints.append(hint)
        return len(hints) > before

    async def send(self, data: bytes, peer: Address | None, source: str | None, *, may_wait: bool = True) -> None:
        """See `Transport.send`."""
        sockaddr = None if peer is None else to_sockaddr(peer, self._family)
        while True:
            try:
                self._send_nowait(data, sockaddr, source)
            except OSError as exc:
                await self._wait_for_room(exc, may_wait=may_wait)
            else:
                return

    def _send_nowait(self, data: bytes, sockaddr: SockAddr | None, source: str | None) -> None:
        if sockaddr is None:
            self.socket.send(data)
        elif source is None:
            self.socket.sendto(data, sockaddr)
        else:
            self.socket.sendmsg([data], source_ancillary(source), 0, sockaddr)

    async def send_stamped(self, data: bytes, peer: Address, source: str | None) -> int | None:
        """See `Transport.send_stamped`."""
        if not self._is_stamped:
            await self.send(data, peer, source, may_wait=False)
            return None
        control = [STAMP_IT, *([] if source is None else source_ancillary(source))]
        try:
            self.socket.sendmsg([data], control, 0, to_sockaddr(peer, self._family))
        except OSError as exc:
            raise_if_closed(exc)
            self.stamp_arrivals()  # it may have counted this one, or not
            raise
        self._stamped += 1
        return self._read_departure()

    def _read_departure(self) -> int | None:
        """Of the datagram that was sent last. What is told of another one came too late."""
        for _ in range(BATCH):
            try:
                _, control, _, _ = self.socket.recvmsg(0, ERROR_SPACE, _ERROR_QUEUE)
            except OSError:
                break
            departure = read_departure(control)
            if departure is not None and departure.number == self._stamped - 1:
                return departure.at
        return None

    async def send_batch(self, outgoing: Sequence[Outgoing], *, may_wait: bool = True) -> int:
        """See `Transport.send_batch`. One a call: an error of the second would have nobody to be told to."""
        await self.send(*outgoing[0], may_wait=may_wait)
        return 1

    async def _wait_for_room(self, exc: OSError, *, may_wait: bool) -> None:
        """Return when the kernel may take what it refused with this error; raise if that is not a question of time."""
        if not isinstance(exc, BlockingIOError):
            raise_if_closed(exc)
            raise exc
        if not may_wait:
            raise exc
        async with self._blocked:  # Trio lets one task wait for one descriptor
            self._check_open()
            await trio.lowlevel.wait_writable(self.socket)

    def _check_open(self) -> None:
        """Trio cannot wait for a descriptor that was closed while this task was on its way here."""
        if self.socket.fileno() == -1:
            raise trio.ClosedResourceError(_WAS_CLOSED)

    def close(self) -> None:
        """See `Transport.close`."""
        if self.socket.fileno() != -1:
            trio.lowlevel.notify_closing(self.socket)
            self.socket.close()


class TrioTransport:
    """Any other socket that speaks Trio's socket interface, one datagram at a time."""

    segments_sent = 0
    segments_received = 0
    number = 0
    stamps_departures = False

    def __init__(self, sock: trio.socket.SocketType) -> None:
        self.socket = sock

    def stamp_arrivals(self) -> None:
        """See `Transport.stamp_arrivals`: it cannot."""

    async def send_stamped(self, data: bytes, peer: Address, source: str | None) -> int | None:
        """See `Transport.send_stamped`: it cannot say when."""
        await self.send(data, peer, source, may_wait=False)
        return None

    def take_departure(self, number: int) -> int | None:
        """See `Transport.take_departure`: it cannot say."""
        return None

    async def receive(self, *, may_wait: bool = True) -> Batch:
        """See `Transport.receive`."""
        if may_wait:
            return await self._receive()
        if _is_readable(self.socket):
            with trio.move_on_after(_A_MOMENT):
                return await self._receive()
        return Batch([], [], [], 0)

    async def _receive(self) -> Batch:
        try:
            data, control, flags, sockaddr = await self.socket.recvmsg(_LARGEST, _ANCILLARY_SPACE)
        except OSError as exc:
            raise_if_closed(exc)
            return Batch([], [], [_name(exc)], 0)
        if flags & TRUNCATED:
            return Batch([], [], [], 1)
        return Batch([Datagram(data, normalise(sockaddr), read_ancillary(control))], [], [], 0)

    async def send(self, data: bytes, peer: Address | None, source: str | None, *, may_wait: bool = True) -> None:
        """See `Transport.send`."""
        try:
            if peer is None:
                await self.socket.send(data)
                return
            sockaddr = to_sockaddr(peer, self.socket.family)
            if source is None:
                await self.socket.sendto(data, sockaddr)
            else:
                await self.socket.sendmsg([data], source_ancillary(source), 0, sockaddr)
        except OSError as exc:
            raise_if_closed(exc)
            raise

    async def send_batch(self, outgoing: Sequence[Outgoing], *, may_wait: bool = True) -> int:
        """See `Transport.send_batch`. One a call: whoever is cancelled between two must know how many have left."""
        await self.send(*outgoing[0], may_wait=may_wait)
        return 1

    def close(self) -> None:
        """See `Transport.close`."""
        self.socket.close()


def _is_readable(sock: trio.socket.SocketType) -> bool:
    try:
        return sock.fileno() == -1 or sock.is_readable()  # who reads from a closed one is told so
    except (AttributeError, NotImplementedError):
        return False  # Trio's interface has it, and not every socket behind that interface


def raise_if_closed(exc: OSError) -> None:
    if exc.errno in _CLOSED:
        raise trio.ClosedResourceError(_WAS_CLOSED) from None


def _name(exc: OSError) -> str:
    return errno.errorcode.get(exc.errno or 0, type(exc).__name__)
