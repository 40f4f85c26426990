"""A socket's receive buffer: datagrams and errors that wait to be read, as many as the kernel would keep."""

from collections import deque
from typing import Final, NamedTuple

from .._chaos import Packet
from ._icmp import QueuedError


class Queued(NamedTuple):
    """A packet that waits to be read."""

    packet: Packet
    footprint: int
    drops: int
    """How many had been lost when it arrived."""


class ReceiveBuffer:
    """Both queues, and the room they share."""

    def __init__(self) -> None:
        self.packets: Final[deque[Queued]] = deque()
        self.errors: Final[deque[QueuedError]] = deque()
        self.drops = 0
        """Datagrams that found no room."""
        self._used = 0

    def put(self, packet: Packet, limit: int) -> bool:
        """Keep a packet if there is room, or nothing else."""
        footprint = footprint_of(len(packet.data), version6=":" in packet.destination.host)
        if self._used and self._used + footprint > limit:
            self.drops += 1
            return False
        self.packets.append(Queued(packet, footprint, self.drops))
        self._used += footprint
        return True

    def take(self) -> None:
        """The first packet was read."""
        self._used -= self.packets.popleft().footprint

    def put_error(self, found: QueuedError, limit: int) -> None:
        """Keep an error if there is room."""
        footprint = _footprint_of_error(found)
        if self._used + footprint < limit:
            self.errors.append(found)
            self._used += footprint

    def take_error(self) -> QueuedError:
        """The first error."""
        found = self.errors.popleft()
        self._used -= _footprint_of_error(found)
        return found

    def clear_errors(self) -> None:
        """Forget all errors."""
        while self.errors:
            self.take_error()


def footprint_of(size: int, *, version6: bool) -> int:
    """Bytes of receive buffer that a datagram takes: the kernel allocates by the power of two, with its bookkeeping."""
    need = size + _BOOKKEEPING + 20 * version6
    room = next((room for room in _ROOMS if need <= room), None)
    return _DESCRIPTOR + room if room else size + _DESCRIPTOR + _ROOMS[0]


_BOOKKEEPING: Final = 379
"""Headers of version 4 and of the link, and the kernel's own at the end (measured on Linux 6.18, 64 bits)."""
_DESCRIPTOR: Final = 256
_ROOMS: Final = (576, 1024, 2048, 4096, 8192, 16_384)


def _footprint_of_error(found: QueuedError) -> int:
    """An ICMP error quotes an IP header and a UDP header before the payload."""
    version6 = ":" in found.destination.host
    return footprint_of(len(found.quote) + 28 + 20 * version6, version6=version6)
