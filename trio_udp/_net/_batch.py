"""Datagrams in and out, many for each time the task wakes up.

Two transports with one behaviour. `KernelTransport` owns a real descriptor: it waits once, then reads with plain
non-blocking calls until the kernel has no more or the batch is full, so that the price of waking up is shared and no
flood keeps the task from yielding. `TrioTransport` does the same through the awaitable methods of whatever else
`trio.socket.socket` returned, a simulated network say. The tests run the same bodies over both.
"""

import errno
import socket
from typing import Final, NamedTuple, Protocol

import trio

from ._address import Address, SockAddr, normalise, to_sockaddr
from ._ancillary import NOTHING, Ancillary, Hint, read_ancillary, read_error_untrusted, source_ancillary
from ._socket import is_kernel_socket

BATCH: Final = 64
"""Datagrams read for one wake-up (libuv reads 32; measured: no gain beyond 64)."""
_LARGEST: Final = 65_536
"""Longer than any UDP datagram, so that none is cut short; measured: as cheap as a small buffer."""
_ANCILLARY_SPACE: Final = 256
_ERROR_SPACE: Final = 512
_ERROR_QUEUE: Final = getattr(socket, "MSG_ERRQUEUE", 0)
_TRUNCATED: Final = int(socket.MSG_TRUNC)  # as a plain number: `&` on Python's flag objects costs half a microsecond
_CLOSED: Final = (errno.EBADF, errno.ENOTSOCK)
_WAS_CLOSED: Final = "this socket was closed"


class Datagram(NamedTuple):
    """One datagram as it came from the network, its peer in canonical form."""

    data: bytes
    peer: Address
    ancillary: Ancillary


class Batch(NamedTuple):
    """What one wake-up brought. Never empty."""

    datagrams: list[Datagram]
    hints: list[Hint]
    errors: list[str]
    """Names of errnos that reading reported and nothing explains: on systems without an error queue, ICMP's."""
    truncated: int
    """Datagrams whose end the kernel had cut off, and which are not among the others (G2)."""


class Transport(Protocol):
    """One open socket."""

    async def receive(self) -> Batch:
        """Wait until something came. `trio.ClosedResourceError` once the socket is closed."""

    async def send(self, data: bytes, peer: Address | None, source: str | None, *, may_wait: bool = True) -> None:
        """Send one datagram, waiting while the kernel's buffer is full. Checkpoints only if it waits.

        Args:
            data: the datagram.
            peer: where to; None on a connected socket.
            source: the address of ours it is to leave from; None leaves the choice to the kernel.
            may_wait: if not, a full buffer is `BlockingIOError`, where that can be told.

        Raises `OSError` as the kernel says, and `trio.ClosedResourceError` once the socket is closed.
        """

    def close(self) -> None:
        """Close the socket now; whoever waits on it gets `trio.ClosedResourceError`."""

    @property
    def socket(self) -> "trio.socket.SocketType | socket.socket":
        """For names and options."""


def open_transport(sock: trio.socket.SocketType) -> Transport:
    """Take over an open socket: directly where it is the kernel's, through its own methods otherwise."""
    if is_kernel_socket(sock):
        return KernelTransport(socket.socket(fileno=sock.detach()))
    return TrioTransport(sock)


class KernelTransport:
    """A real descriptor, drained in batches."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.socket = sock
        self._family = sock.family
        self._blocked = trio.StrictFIFOLock()

    async def receive(self) -> Batch:
        """See `Transport.receive`."""
        while True:
            self._check_open()
            await trio.lowlevel.wait_readable(self.socket)
            batch = self._drain()
            if any(batch):
                return batch

    def _drain(self) -> Batch:
        batch = Batch([], [], [], 0)
        truncated = 0
        for _ in range(BATCH):
            try:
                data, control, flags, sockaddr = self.socket.recvmsg(_LARGEST, _ANCILLARY_SPACE)
            except BlockingIOError:
                break
            except OSError as exc:
                _raise_if_closed(exc)
                if not self._read_error_queue(batch.hints) and len(batch.hints) < BATCH:
                    batch.errors.append(_name(exc))
                continue
            if flags & _TRUNCATED:
                truncated += 1
            else:
                batch.datagrams.append(
                    Datagram(data, normalise(sockaddr), read_ancillary(control) if control else NOTHING)
                )
        if not batch.datagrams:
            # A send may have taken the error that woke us, and left its explanation in the queue.
            self._read_error_queue(batch.hints)
        return batch._replace(truncated=truncated)

    def _read_error_queue(self, hints: list[Hint]) -> bool:
        """Append what ICMP reported; whether it reported anything."""
        before = len(hints)
        for _ in range(BATCH - before if _ERROR_QUEUE else 0):
            try:
                quote, control, _flags, sockaddr = self.socket.recvmsg(_LARGEST, _ERROR_SPACE, _ERROR_QUEUE)
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
            except BlockingIOError:
                if not may_wait:
                    raise
                async with self._blocked:  # Trio lets one task wait for one descriptor
                    self._check_open()
                    await trio.lowlevel.wait_writable(self.socket)
            except OSError as exc:
                _raise_if_closed(exc)
                raise
            else:
                return

    def _send_nowait(self, data: bytes, sockaddr: SockAddr | None, source: str | None) -> None:
        if sockaddr is None:
            self.socket.send(data)
        elif source is None:
            self.socket.sendto(data, sockaddr)
        else:
            self.socket.sendmsg([data], source_ancillary(source), 0, sockaddr)

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

    def __init__(self, sock: trio.socket.SocketType) -> None:
        self.socket = sock

    async def receive(self) -> Batch:
        """See `Transport.receive`."""
        try:
            data, control, flags, sockaddr = await self.socket.recvmsg(_LARGEST, _ANCILLARY_SPACE)
        except OSError as exc:
            _raise_if_closed(exc)
            return Batch([], [], [_name(exc)], 0)
        if flags & _TRUNCATED:
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
            _raise_if_closed(exc)
            raise

    def close(self) -> None:
        """See `Transport.close`."""
        self.socket.close()


def _raise_if_closed(exc: OSError) -> None:
    if exc.errno in _CLOSED:
        raise trio.ClosedResourceError(_WAS_CLOSED) from None


def _name(exc: OSError) -> str:
    return errno.errorcode.get(exc.errno or 0, type(exc).__name__)
