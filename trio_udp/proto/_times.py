"""The times extension: what a probe carries there, and what a server tells about the probes it has had.

In a REQUEST, big-endian, 52 bytes, of which all but the first two fields are zeros that make room for the answer (E4):

| bytes | field    | meaning                                                                                         |
|-------|----------|-------------------------------------------------------------------------------------------------|
| 4     | check    | CRC-32 over attempt, ids, the other 48 bytes here, and the payload                              |
| 4     | sequence | 1 …: the probe's number; 0 asks only for a report, and is no probe                              |

In a REPLY:

| bytes | field      | meaning                                                                                       |
|-------|------------|-----------------------------------------------------------------------------------------------|
| 4     | check      | as above                                                                                      |
| 4     | state      | changes when the server has lost count of this client                                         |
| 4     | memory     | for how long the server has forgotten no client, in units of 2^18 ns; rounded down            |
| 4     | received   | probes of this client that came, this one and duplicates among them; 0: nothing is known      |
| 4     | duplicates | those of them whose sequence had come before                                                  |
| 4     | reordered  | those of them that came behind a greater sequence (RFC 4737), duplicates not counted          |
| 4     | highest    | the greatest sequence that came                                                               |
| 8     | window     | bit n, counted from the lowest, is set if the sequence `highest` - 1 - n came                 |
| 8     | arrived    | when this probe came, nanoseconds of the server's wall clock                                  |
| 4     | turnaround | nanoseconds from then until the reply was handed to the kernel; the greatest: as long or more |
| 3     | lag        | 1 + how many nanoseconds more the reply before this one took, by the kernel's word, until it  |
|       |            | left; 0: not known; the greatest: as long or more                                             |
| 1     | flags      | 1: `arrived` is the kernel's word; 2: this is a report; 4: `lag` is of that one reply         |

What must hold: neither side takes a changed datagram for a good one, because a flipped bit in a number here would make
every figure wrong. The check says so of accidents; against malice there are ids, and the tag. And `received` grows by
one with every probe, so it numbers the replies: that is how a reply that came twice is told from a probe that did, and
how it is known whose lag a reply tells. That is the one with the number before its own; and since a report has no
number of its own, it tells the lag of the last reply, whose number it has. A lag without its flag is of yesterday's
servers, a mean of all replies before, and is read as not known.

A server that only sets the direction bit and sends the rest back, as simple reflectors do, says "nothing is known".
"""

import struct
import zlib
from collections import OrderedDict
from typing import Final, NamedTuple

from ._arrivals import SequenceWindow
from ._codec import TIMES_SIZE
from ._exchanges import Peer

# check, sequence
_PROBE: Final = struct.Struct("!II")
# check, state, memory, received, duplicates, reordered, highest, window, arrived, turnaround, lag and flags
_TIMES: Final = struct.Struct("!IIIIIIIQQII")
_CHECK: Final = struct.Struct("!I")
_SEQUENCE: Final = struct.Struct("!4xI")
_ARRIVED: Final = struct.Struct("!36xQ")
# state, received, arrived, turnaround
_LEFT: Final = struct.Struct("!4xI4xI20xQI")
_TURNAROUND: Final = struct.Struct("!I")
_TURNAROUND_AT: Final = 44
_PADDING: Final = bytes(TIMES_SIZE - _PROBE.size)

MAX_SEQUENCE: Final = 2**32 - 1
WINDOW: Final = 64
"""Sequences before the highest that a reply tells about."""
_WINDOW_MASK: Final = 2**WINDOW - 1
_MEMORY_UNIT: Final = 2**18
_LONGEST: Final = 2**32 - 1
_LONGEST_LAG: Final = 2**24 - 1
_BY_KERNEL: Final = 1
_IS_REPORT: Final = 2
_IS_OF_ONE: Final = 4

MAX_PROBING: Final = 1024
"""Clients that are counted at a time, some 700 bytes each (E2); a new one replaces one that has had its report, or else
the one that was silent longest."""


class Times(NamedTuple):
    """What a server tells in one reply."""

    state: int
    memory: int
    """Nanoseconds for which it has forgotten nobody, at least."""
    received: int
    duplicates: int
    reordered: int
    highest: int
    window: int
    arrived: int
    """When the probe came: nanoseconds of the server's wall clock."""
    turnaround: int | None
    """Nanoseconds until the reply left; None if it took more than four seconds."""
    by_kernel: bool
    """Whether the kernel says when it came, and not the server's own clock later on."""
    lag: int | None = None
    """Nanoseconds that the reply numbered before this one, by `received`, took longer until it left, by the server's
    kernel; in a report the reply with this number. None if that has not said so, or if it is more than 16 ms."""

    def has(self, sequence: int) -> bool | None:
        """Whether the probe with this number had come; None if this does not say."""
        back = self.highest - sequence
        if back == 0:
            return True
        if 0 < back <= WINDOW:
            return bool(self.window >> (back - 1) & 1)
        return None


def check_of(attempt: int, ids: bytes, times: bytes, payload: bytes) -> bytes:
    """The check that belongs into the first four bytes of `times`."""
    return _CHECK.pack(zlib.crc32(payload, zlib.crc32(bytes([attempt]) + ids + times[_CHECK.size :])))


def with_check(attempt: int, ids: bytes, times: bytes, payload: bytes) -> bytes:
    """The same times with their check."""
    return check_of(attempt, ids, times, payload) + times[_CHECK.size :]


def is_intact(attempt: int, ids: bytes, times: bytes, payload: bytes) -> bool:
    """Whether the check in these times belongs to the bytes."""
    return times[: _CHECK.size] == check_of(attempt, ids, times, payload)


def encode_sequence(sequence: int) -> bytes:
    """A probe's times, their check not filled in yet."""
    return _PROBE.pack(0, sequence) + _PADDING


def decode_sequence_untrusted(times: bytes) -> int | None:
    """The sequence in a request's times; None where there is something else in them."""
    fits = len(times) == TIMES_SIZE and times.endswith(_PADDING)
    return int(_SEQUENCE.unpack_from(times)[0]) if fits else None


def decode_times_untrusted(times: bytes) -> Times | None:
    """What a reply's times say; None where they say that nothing is known, and for what no server can mean."""
    if len(times) != TIMES_SIZE:
        return None
    fields = _TIMES.unpack(times)
    _, state, memory, received, duplicates, reordered, highest, window, arrived, turnaround, last = fields
    lag = last >> 8 if last & _IS_OF_ONE else 0
    if not highest or received <= duplicates + reordered:
        return None
    return Times(
        state, memory * _MEMORY_UNIT, received, duplicates, reordered, highest, window, arrived,
        None if turnaround == _LONGEST else turnaround, bool(last & _BY_KERNEL),
        lag - 1 if 0 < lag < _LONGEST_LAG else None,
    )  # fmt: skip


def asks_for_report(times: bytes) -> bool:
    """Whether that is all that these times of a reply are for."""
    return bool(times[-1] & _IS_REPORT)


def with_turnaround(times: bytes, now: int) -> bytes:
    """A reply's times, as they are when it leaves now, in nanoseconds of the server's wall clock."""
    (arrived,) = _ARRIVED.unpack_from(times)
    turnaround = _TURNAROUND.pack(min(max(now - arrived, 0), _LONGEST))
    return times[:_TURNAROUND_AT] + turnaround + times[_TURNAROUND_AT + _TURNAROUND.size :]


class _Client:
    """One that is counted."""

    __slots__ = ("is_over", "lag", "left", "probes", "state")

    def __init__(self, state: int) -> None:
        self.state = state
        self.left: tuple[int, int] | None = None
        """State and number of the last reply of which the kernel has said when it left."""
        self.lag = 0
        """Nanoseconds that it took."""
        self.probes = SequenceWindow()
        self.is_over = False
        """Whether it has asked for its report, and not sent a probe since."""


class ProbeTable:
    """A server's memory of those who probe it: bounded, and honest about what it has forgotten.

    Who has asked for a report is through. It is not forgotten at once, because the report may be lost and asked for
    again; but it is the first to go, and its going harms nobody, so it does not count as forgetting. Who goes on after
    a report counts from the beginning again, as the state says.
    """

    def __init__(self, *, began: int, limit: int = MAX_PROBING) -> None:
        """Make an empty table at this time, nanoseconds of the server's wall clock, for so many clients."""
        self._limit = limit
        self._complete_since = began
        self._next_state = began // _MEMORY_UNIT % 2**32
        self._clients: OrderedDict[tuple[Peer, bytes], _Client] = OrderedDict()

    def __len__(self) -> int:
        return len(self._clients)

    def receive(self, peer: Peer, instance: bytes, sequence: int, *, arrived: int, by_kernel: bool = False) -> bytes:
        """Count one probe, and return the times to answer it with, neither check nor turnaround filled in yet.

        Args:
            peer: where it came from.
            instance: its key id and its instance id; peer and instance together are a client.
            sequence: its number; 0 counts nothing.
            arrived: when it came, nanoseconds of the server's wall clock.
            by_kernel: whether the kernel says so.
        """
        key = (peer, instance)
        client = self._count(key, sequence, arrived) if sequence else self._take_leave(key)
        flags = (_BY_KERNEL if by_kernel else 0) | (0 if sequence else _IS_REPORT)
        memory = min(max(arrived - self._complete_since, 0) // _MEMORY_UNIT, _LONGEST)
        if client is None:
            return _TIMES.pack(0, 0, memory, 0, 0, 0, 0, 0, arrived, 0, flags)
        probes = client.probes
        number = probes.received % 2**32
        if client.left == (client.state, number - 1 if sequence else number):
            flags |= min(client.lag + 1, _LONGEST_LAG) << 8 | _IS_OF_ONE
        return _TIMES.pack(
            0, client.state, memory, number, probes.duplicates % 2**32, probes.reordered % 2**32,
            probes.highest, probes.bits >> 1 & _WINDOW_MASK, arrived, 0, flags,
        )  # fmt: skip

    def note_departure(self, peer: Peer, instance: bytes, times: bytes, left: int) -> None:
        """The kernel has said when a reply with these times left, nanoseconds of the wall clock."""
        client = self._clients.get((peer, instance))
        state, number, arrived, turnaround = _LEFT.unpack_from(times)
        lag = left - arrived - turnaround
        if client is not None and lag >= 0 and not asks_for_report(times):  # else a clock was set, or it has no number
            client.left, client.lag = (state, number), lag

    def _count(self, key: tuple[Peer, bytes], sequence: int, now: int) -> _Client:
        client = self._clients.get(key)
        if client is None:
            if len(self._clients) == self._limit:
                self._forget_one(now)
            client = self._clients[key] = _Client(self._new_state())
        client.is_over = False
        self._clients.move_to_end(key)
        if client.probes.receive(sequence) is None:
            client.state = self._new_state()  # whether that one was a duplicate nobody can tell any more
        return client

    def _take_leave(self, key: tuple[Peer, bytes]) -> _Client | None:
        """It is told what was counted, and is the next to be forgotten."""
        client = self._clients.get(key)
        if client is not None:
            client.is_over = True
            self._clients.move_to_end(key, last=False)
        return client

    def _forget_one(self, now: int) -> None:
        _, client = self._clients.popitem(last=False)
        if not client.is_over:
            self._complete_since = now

    def _new_state(self) -> int:
        self._next_state = (self._next_state + 1) % 2**32
        return self._next_state
