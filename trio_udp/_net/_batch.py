"""What a transport is: datagrams in and out of one socket, many for each time the task wakes up.

There are three with one behaviour, and the tests run the same bodies over all of them. `PortableTransport` reads a real
descriptor with plain calls, `KernelTransport` with one call a batch, and `TrioTransport` whatever else stands behind
Trio's socket interface.
"""

import socket
from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import NamedTuple, Protocol, overload

import trio

from ._address import Address
from ._ancillary import Ancillary, Hint


class Datagram(NamedTuple):
    """One datagram as it came from the network, its peer in canonical form."""

    data: bytes
    peer: Address
    ancillary: Ancillary


class Datagrams(Sequence[Datagram]):
    """Datagrams in columns. An object is made only of one that is looked at: it costs as much as reading it."""

    __slots__ = ("ancillaries", "data", "peers")

    def __init__(self, data: Sequence[bytes], peers: Sequence[Address], ancillaries: Sequence[Ancillary]) -> None:
        self.data = data
        self.peers = peers
        self.ancillaries = ancillaries

    @classmethod
    def of(cls, datagrams: Sequence[Datagram]) -> "Datagrams":
        """The same in columns, if it is not in columns already."""
        if isinstance(datagrams, cls):
            return datagrams
        return cls(
            [each.data for each in datagrams], [each.peer for each in datagrams], [each.ancillary for each in datagrams]
        )

    def __len__(self) -> int:
        return len(self.data)

    def __iter__(self) -> Iterator[Datagram]:
        """Each as `Datagram` would make it, at two thirds of the price."""
        return map(tuple.__new__, repeat(Datagram), zip(self.data, self.peers, self.ancillaries, strict=True))

    @overload
    def __getitem__(self, at: int) -> Datagram: ...

    @overload
    def __getitem__(self, at: slice) -> "Datagrams": ...

    def __getitem__(self, at: int | slice) -> "Datagram | Datagrams":
        if isinstance(at, slice):
            return Datagrams(self.data[at], self.peers[at], self.ancillaries[at])
        return Datagram(self.data[at], self.peers[at], self.ancillaries[at])


class Batch(NamedTuple):
    """What one wake-up brought. Never empty if it was waited for."""

    datagrams: Sequence[Datagram]
    hints: list[Hint]
    errors: list[str]
    """Names of errnos that reading reported, on sockets without an error queue: ICMP's."""
    truncated: int
    """Datagrams whose end the kernel had cut off, and which are not among the others (G2)."""


Outgoing = tuple[bytes, Address | None, str | None]
"""A datagram to send, where to, and from which address of ours, as `Transport.send` takes them."""


class Transport(Protocol):
    """One open socket."""

    segments_sent: int
    """Datagrams that left as part of a run of them, in one piece."""
    segments_received: int
    """Datagrams that came so."""
    number: int
    """How many datagrams the kernel was asked about: the number of the next one."""
    stamps_departures: bool
    """Whether it says when they leave. It makes the socket readable then."""

    async def receive(self, *, may_wait: bool = True) -> Batch:
        """Wait until something came. `trio.ClosedResourceError` once the socket is closed.

        If it may not wait it takes what is there, perhaps nothing, and need not checkpoint.
        """

    async def send(self, data: bytes, peer: Address | None, source: str | None, *, may_wait: bool = True) -> None:
        """Send one datagram, waiting while the kernel's buffer is full. Checkpoints only if it waits.

        Args:
            data: the datagram.
            peer: where to; None on a connected socket.
            source: the address of ours it is to leave from; None leaves the choice to the kernel.
            may_wait: if not, a full buffer is `BlockingIOError`, where that can be told.

        Raises `OSError` as the kernel says, and `trio.ClosedResourceError` once the socket is closed.
        """

    async def send_batch(self, outgoing: Sequence[Outgoing], *, may_wait: bool = True) -> int:
        """Send the first of these, and as many after it as will leave in the same call; how many that were.

        As if by `send` for each: if the first cannot be sent it raises, and a later one's error is for the next call.
        """

    def stamp_arrivals(self) -> None:
        """Ask the kernel to say when each datagram came, from now on, where it can."""

    async def send_stamped(self, data: bytes, peer: Address, source: str | None) -> int | None:
        """As `send`, without waiting; and when it left, by the kernel's wall clock, if it says so at once.

        It does only after `stamp_arrivals`.
        """

    def take_departure(self, number: int) -> int | None:
        """When the datagram with this number left, by the kernel's wall clock; None if it has not said so, or twice."""

    def close(self) -> None:
        """Close the socket now; whoever waits on it gets `trio.ClosedResourceError`."""

    @property
    def socket(self) -> "trio.socket.SocketType | socket.socket":
        """For names and options."""
