"""One socket, what came of using it, and nothing about requests or replies.

Between the transport, which reports what the kernel said, and the client or server, which decides what it means:
sending never raises on account of the network, and everything is counted.
"""

import contextlib
import errno
import socket
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import trio

from ._clock import runs_in_real_time
from ._net import BATCH, Address, Batch, Outgoing, Transport, TrioTransport, normalise, open_transport
from ._statistics import EndpointStatistics

_MAY_BE_PENDING: Final = frozenset(
    getattr(errno, name)
    for name in (
        # what Linux makes of ICMP's "unreachable" codes, and of ICMPv6's
        "ECONNREFUSED",
        "EHOSTUNREACH",
        "ENETUNREACH",
        "EMSGSIZE",
        "ENOPROTOOPT",
        "EOPNOTSUPP",
        "EHOSTDOWN",
        "ENONET",
        "EPROTO",
        "EACCES",
    )
    if hasattr(errno, name)
)
"""Errnos with which the kernel reports an ICMP error about an *earlier* datagram, instead of sending this one (G4)."""

_TRIES: Final = 16
"""How often one datagram is offered to the kernel. Each try takes the one pending error away, and a flood of forged
ICMP puts the next one there: at 80,000 a second two tries lost 25 attempts in 5 s, sixteen lost 2 (measured)."""


class Endpoint:
    """An open UDP socket with its counters."""

    def __init__(
        self,
        sock: trio.socket.SocketType,
        *,
        peer: Address | None = None,
        hears_errors: bool = True,
        stamps: bool = False,
    ) -> None:
        """Take over an open socket.

        Args:
            sock: the socket.
            peer: where it is connected to, if it is.
            hears_errors: whether the kernel tells it of ICMP errors. It does not if the socket is neither connected nor
                has an error queue, as a server's. Then a failed send is that datagram's own failure, and it would be no
                use to try again for each datagram of a stranger who says that he is where no route leads.
            stamps: whether to ask the kernel when each datagram leaves and comes.
        """
        self.address: Final = normalise(sock.getsockname())
        self._transport: Transport = open_transport(sock, stamps=stamps)
        # A simulated network's sockets live on its clock, so that equal worlds say equal things. Those with faults, and
        # others that a factory makes, are of this world where the clock is.
        self._is_simulated = isinstance(self._transport, TrioTransport) and not runs_in_real_time()
        self._connected = peer is not None
        self._may_be_pending = _MAY_BE_PENDING if hears_errors else frozenset[int]()
        self._stamps_arrivals = False
        self._sent = 0
        self._received = 0
        self._truncated = 0
        self._kernel_drops = 0
        self._send_errors: Counter[str] = Counter()
        self._hints: Counter[str] = Counter()

    @property
    def hints(self) -> Mapping[str, int]:
        """As in `statistics`: ICMP errors by the name of the errno, so far."""
        return self._hints

    @property
    def number(self) -> int:
        """The number of the next datagram that is sent, for `take_departure`."""
        return self._transport.number

    @property
    def stamps_departures(self) -> bool:
        """Whether the kernel says when datagrams leave. Whoever waits in `receive` wakes up for that."""
        return self._transport.stamps_departures

    def take_departure(self, number: int) -> int | None:
        """When that datagram left, by the kernel's wall clock, once; None where it has not said."""
        return self._transport.take_departure(number)

    def stamp_arrivals(self) -> None:
        """Ask the kernel to say when each datagram came, from now on, where it can: `Ancillary.arrived`."""
        if not self._stamps_arrivals:
            self._stamps_arrivals = True
            self._transport.stamp_arrivals()

    def wall_clock(self) -> int:
        """Nanoseconds since 1970; on a simulated network, of its own time."""
        return round(trio.current_time() * 1e9) if self._is_simulated else time.time_ns()

    async def receive(self, *, may_wait: bool = True) -> Batch:
        """Wait for datagrams, and take up to 64 of them; `trio.ClosedResourceError` once closed.

        If it may not wait it takes those that are there, perhaps none, and need not checkpoint.
        """
        batch = await self._transport.receive(may_wait=may_wait)
        self._received += len(batch.datagrams)
        self._truncated += batch.truncated
        if batch.hints or batch.errors:
            self._hints.update([hint.error for hint in batch.hints])
            self._hints.update(batch.errors)
        if batch.datagrams:
            self._kernel_drops = max(self._kernel_drops, batch.datagrams[-1].ancillary.kernel_drops or 0)
        return batch

    async def send(self, data: bytes, peer: Address, source: str | None = None, *, may_wait: bool = True) -> str | None:
        """Send one datagram; if that fails, say why by the errno's name: it is a lost datagram, not an exception (G6).

        While the kernel's buffer is full it waits, or gives the datagram up (`EAGAIN`) if it may not. Checkpoints only
        if it waits. `trio.ClosedResourceError` once closed.
        """
        to = None if self._connected else peer
        for tries_left in reversed(range(_TRIES)):
            try:
                await self._transport.send(data, to, source, may_wait=may_wait)
                break
            except OSError as exc:
                if not tries_left or exc.errno not in self._may_be_pending:
                    return self._count_send_error(exc)
        self._sent += 1
        return None

    async def send_stamped(
        self, data: bytes, peer: Address, source: str | None = None
    ) -> tuple[str | None, int | None]:
        """As `send`, without waiting and without a second try; and when it left, if the kernel says so at once.

        It does only after `stamp_arrivals`.
        """
        try:
            left = await self._transport.send_stamped(data, peer, source)
        except OSError as exc:
            return self._count_send_error(exc), None
        self._sent += 1
        return None, left

    async def send_batch(self, outgoing: Sequence[Outgoing], *, may_wait: bool = True) -> dict[int, str]:
        """Send many datagrams in few calls, each as by `send`. Those that failed, by their place: the errno's name.

        Checkpoints only if it waits, except that a custom factory's socket does as it likes.
        """
        failed: dict[int, str] = {}
        done = 0
        error: str | None = None
        while done < len(outgoing):
            # After a failure one at a time, or the work for a hostile batch would be as the square of its length.
            left = outgoing[done : done + BATCH] if error is None else outgoing[done : done + 1]
            count, error = await self.send_some(left, may_wait=may_wait)
            if error is not None:
                failed[done] = error
            done += count
        return failed

    async def send_some(self, outgoing: Sequence[Outgoing], *, may_wait: bool = True) -> tuple[int, str | None]:
        """Send the first of these, as by `send`, and as many of the next as will leave in the same call.

        How many of them are done with, and why the first was lost, if it was. Only the first is waited for: nobody
        knows what becomes of the others meanwhile.
        """
        if self._connected:
            outgoing = [(data, None, source) for data, _, source in outgoing]
        for tries_left in reversed(range(_TRIES)):
            try:
                sent = await self._transport.send_batch(outgoing, may_wait=may_wait and len(outgoing) == 1)
                break
            except OSError as exc:
                if may_wait and len(outgoing) > 1 and isinstance(exc, BlockingIOError):
                    outgoing = outgoing[:1]
                    continue
                if not tries_left or exc.errno not in self._may_be_pending:
                    return 1, self._count_send_error(exc)
                outgoing = outgoing[:1]
        self._sent += sent
        return sent, None

    def _count_send_error(self, exc: OSError) -> str:
        name = errno.errorcode.get(exc.errno or 0, type(exc).__name__)
        self._send_errors[name] += 1
        return name

    def close(self) -> None:
        """Close the socket; whoever waits on it gets `trio.ClosedResourceError`. Closing twice is fine."""
        self._transport.close()

    def statistics(self) -> EndpointStatistics:
        """The counters so far."""
        return EndpointStatistics(
            datagrams_sent=self._sent,
            datagrams_received=self._received,
            segments_sent=self._transport.segments_sent,
            segments_received=self._transport.segments_received,
            truncated=self._truncated,
            send_errors=dict(self._send_errors),
            hints=dict(self._hints),
            kernel_drops=self._kernel_drops,
            receive_buffer=self._receive_buffer(),
        )

    def _receive_buffer(self) -> int | None:
        with contextlib.suppress(OSError):
            return self._transport.socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        return None
