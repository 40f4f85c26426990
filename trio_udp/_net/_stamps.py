"""The transport that measures: the kernel says when each datagram has left and when it came (SO_TIMESTAMPING).

Beside what arrives, the time comes as a control message. Of what leaves, it comes through the error queue, with a
number that the kernel counts up with each call that sends. What must hold: a time is given to the datagram it belongs
to or to none. So after an error, which may have been counted or not, the count begins anew; and whoever uses a time
checks that it lies between readings of his own.
"""

import socket
from typing import Final

from ._address import SockAddr
from ._ancillary import Hint, ask_for_stamps, read_departure, read_error_untrusted
from ._batch import Batch
from ._mmsg import BATCH
from ._transports import ERROR_SPACE, PortableTransport

_KEPT: Final = 65_536
"""Departures that nobody has asked for yet."""
_UNHEARD: Final = 1024
"""ICMP errors that wait for somebody to read: forged ones may be many."""
_ROOM: Final = 2048
"""Bytes of room for a datagram that comes, unless longer ones are sent: it is made anew for each, so not 64 KiB."""
_QUOTE: Final = 2048
"""Bytes of a datagram that an ICMP error quotes, at most."""
_QUEUE: Final = getattr(socket, "MSG_ERRQUEUE", 0)


class StampingTransport(PortableTransport):
    """A real descriptor with the kernel's times."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self._largest = _ROOM
        self._departures: dict[int, int] = {}
        self._unheard: list[Hint] = []
        """ICMP errors that a send has come upon; for the next batch."""
        self._first = 0
        """Which of our numbers is the kernel's 0."""
        self._untold = 0
        """How many of the last datagrams the kernel has not said it of."""
        self._has_listened = False
        """Whether the error queue was read for that just now."""
        self.stamps_departures = self._ask()

    def _ask(self) -> bool:
        """Begin to count anew; whether the kernel does this at all."""
        self._first, self._untold = self.number, 0
        return ask_for_stamps(self.socket, departures=True)

    def take_departure(self, number: int) -> int | None:
        """See `Transport.take_departure`."""
        return self._departures.pop(number, None)

    def _send_nowait(self, data: bytes, sockaddr: SockAddr | None, source: str | None) -> None:
        self._largest = max(self._largest, len(data) + 1)  # no reply is longer than its request
        try:
            super()._send_nowait(data, sockaddr, source)
        except OSError:
            if self.stamps_departures:
                self._read_error_queue(self._unheard)
                del self._unheard[_UNHEARD:]
                self._ask()
            raise
        self.number += 1
        self._untold += self.stamps_departures

    def _drain(self) -> Batch:
        """First what has left: a reply that is there is to a datagram that left before it came.

        Behind the last departure nothing is looked for: an ICMP error there makes the next call fail, which reads on.
        """
        hints, self._unheard = self._unheard, []
        self._has_listened = self._untold > 0
        for _ in range(2 * BATCH):
            if not self._untold or not self._read_error(hints):
                break
        batch = super()._drain()
        if not hints:
            return batch
        return Batch(batch.datagrams, hints + batch.hints, batch.errors, batch.truncated)

    def _complete(self, batch: Batch, truncated: int) -> Batch:
        if not self._has_listened:
            return super()._complete(batch, truncated)
        return Batch(batch.datagrams, batch.hints, batch.errors, truncated) if truncated else batch

    def _read_error_queue(self, hints: list[Hint]) -> bool:
        before = len(hints)
        for _ in range(2 * BATCH):
            if not self._read_error(hints):
                break
        return len(hints) > before

    def _read_error(self, hints: list[Hint]) -> bool:
        """Take one departure or ICMP error; whether there was any."""
        try:
            quote, control, _flags, sockaddr = self.socket.recvmsg(_QUOTE, ERROR_SPACE, _QUEUE)
        except OSError:
            return False
        departure = read_departure(control)
        if departure is None:
            hint = read_error_untrusted(quote, control, sockaddr)
            hints += [hint] if hint is not None else []
        elif departure.at is not None:
            number = self._first + departure.number
            self._departures[number] = departure.at
            if len(self._departures) > _KEPT:
                del self._departures[next(iter(self._departures))]
            self._untold = self.number - 1 - number
        return True
