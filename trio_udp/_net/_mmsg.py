"""`recvmmsg` and `sendmmsg`: 64 datagrams for one system call, through ctypes and memory that is used again and again.

The kernel reads and writes C structures. They stand in one piece of memory that is laid out once; the parts that change
are packed and unpacked for all datagrams together, because here it is the objects per datagram that cost. What must
hold: the kernel is pointed at nothing but this memory, and the data to send while the call lasts; no number in it comes
from the network; everything that is handed out is a copy.

One such memory serves all sockets of a `trio.run`: between a call and the copying of its results no other task runs.
"""

import array
import ctypes
import functools
import itertools
import mmap
import os
import struct
import sys
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import trio

from ._address import NAME_SIZE

BATCH: Final = 64
"""Datagrams read for one wake-up (libuv reads 32; measured: no gain beyond 64)."""

# struct mmsghdr: name, name length, iovec, iovec count, control, control length, flags; message length
_MMSGHDR: Final = struct.Struct("@PIPNPNi0PI0P")
MMSGHDR_SIZE: Final = _MMSGHDR.size
# struct iovec: base, length
_IOVEC: Final = struct.Struct("@PN")
_NO_NAME: Final = bytes(NAME_SIZE)
_CONTROL: Final = 256
"""Room beside each datagram that comes."""
_SOURCE: Final = 64
"""Room beside each that leaves: packet info for IPv6 (40) and a segment size (24)."""
_DONTWAIT: Final = 0x40

_WORDS: Final = struct.calcsize("@P") // struct.calcsize("@I")
"""How many of an int's size make one of a pointer's. Both kinds stand in a header, so it is read as either."""

Call = Callable[[int, int, int, int], int]
"""Descriptor, address of the first header, how many there are, flags: how many were done, or -1 and errno."""


class Calls(NamedTuple):
    """The two system calls."""

    receive: Call
    send: Call


class Received(NamedTuple):
    """Messages as the kernel left them, one column for each part."""

    data: Sequence[bytes]
    names: Sequence[bytes]
    controls: Sequence[bytes]
    flags: Sequence[int]


class Leaving(NamedTuple):
    """Messages to send, in columns as well."""

    data: bytes
    """Of all of them, one behind the other."""
    sizes: Sequence[int]
    names: Sequence[bytes]
    """`NAME_SIZE` bytes, or none on a connected socket."""
    controls: Sequence[bytes]


@functools.cache
def find_calls() -> Calls | None:
    """The C library's; None where it has none."""
    if sys.platform != "linux":  # macOS has other calls of a similar kind, which nobody here has tried
        return None
    library = ctypes.CDLL(None, use_errno=True)
    try:
        receive, send = library.recvmmsg, library.sendmmsg
    except AttributeError:
        return None
    send.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int]
    receive.argtypes = [*send.argtypes, ctypes.c_void_p]
    return Calls(lambda *arguments: int(receive(*arguments, None)), send)


class Memory:
    """Room for one batch in each direction, and the headers that point there."""

    def __init__(self, largest: int) -> None:
        self._largest = largest
        sizes = (
            _MMSGHDR.size,
            _IOVEC.size,
            NAME_SIZE,
            _CONTROL,
            largest,
            _MMSGHDR.size,
            _IOVEC.size,
            NAME_SIZE,
            _SOURCE,
        )
        ends = [0]
        for size in sizes:
            ends.append(ends[-1] + -(-size * BATCH // 64) * 64)
        # Private and anonymous: pages exist from when they are first written to.
        self._memory = mmap.mmap(-1, ends[-1], mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        start = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        self._heads, iovecs, self._names, self._controls, self._data, *outgoing = ends[:-1]
        self._out_heads, self._out_iovecs, self._out_names, self._out_controls = outgoing
        self._in_address, self._out_address = start + self._heads, start + self._out_heads
        self._start = start
        self._memory[iovecs : iovecs + _IOVEC.size * BATCH] = b"".join(
            _IOVEC.pack(start + self._data + slot * largest, largest) for slot in range(BATCH)
        )
        # The kernel writes lengths and flags into the headers: they are put back before each call.
        self._fresh = b"".join(
            _MMSGHDR.pack(
                start + self._names + slot * NAME_SIZE, NAME_SIZE,
                start + iovecs + slot * _IOVEC.size, 1,
                start + self._controls + slot * _CONTROL, _CONTROL,
                0, 0,
            )
            for slot in range(BATCH)
        )  # fmt: skip
        # As columns, which are read and written for all messages together.
        view = memoryview(self._memory)
        heads = view[self._heads : self._heads + len(self._fresh)]
        words, pointers = heads.cast("I"), heads.cast("L")
        self._name_lengths = words[_WORDS :: 8 * _WORDS]
        self._control_lengths = pointers[5::8]
        self._flags = words[6 * _WORDS :: 8 * _WORDS]
        self._lengths = words[7 * _WORDS :: 8 * _WORDS]
        iovecs_out = view[self._out_iovecs : self._out_iovecs + _IOVEC.size * BATCH].cast("L")
        self._out_bases, self._out_lengths = iovecs_out[::2], iovecs_out[1::2]
        self._head = functools.lru_cache(maxsize=BATCH * 16)(self._make_head)
        self._equal_heads = functools.lru_cache(maxsize=16)(self._make_equal_heads)

    def receive(self, call: Call, descriptor: int) -> Received:
        """What has come, at least one and at most 64. `OSError` as the kernel says."""
        memory = self._memory
        memory[self._heads : self._heads + len(self._fresh)] = self._fresh
        count = call(descriptor, self._in_address, BATCH, _DONTWAIT)
        if count < 0:
            raise _error()
        return Received(
            _cut(memory, self._data, self._largest, self._lengths[:count].tolist()),
            _cut(memory, self._names, NAME_SIZE, self._name_lengths[:count].tolist()),
            _cut(memory, self._controls, _CONTROL, self._control_lengths[:count].tolist()),
            self._flags[:count].tolist(),
        )

    def send(self, call: Call, descriptor: int, leaving: Leaving) -> int:
        """Send the first of these, and as many of the next as will leave; how many did. `OSError` if none does."""
        data, sizes, names, controls = leaving
        count = len(sizes)
        base = ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value or 0
        self._out_bases[:count] = array.array("L", itertools.accumulate(sizes[:-1], initial=base))
        self._out_lengths[:count] = array.array("L", sizes)
        self._put(self._out_heads, self._heads_for(names, controls))
        self._put(self._out_names, b"".join([name or _NO_NAME for name in names]))
        if any(controls):
            self._put(self._out_controls, b"".join([control.ljust(_SOURCE, b"\0") for control in controls]))
        sent = call(descriptor, self._out_address, count, _DONTWAIT)
        if sent < 0:
            raise _error()
        return sent

    def _put(self, place: int, packed: bytes) -> None:
        self._memory[place : place + len(packed)] = packed

    def _heads_for(self, names: Sequence[bytes], controls: Sequence[bytes]) -> bytes:
        """The headers of messages to send. Mostly they are all alike, and have been made before."""
        name_lengths, control_lengths = {*map(len, names)}, {*map(len, controls)}
        if len(name_lengths) == len(control_lengths) == 1:
            return self._equal_heads(*name_lengths, *control_lengths)[: len(names) * MMSGHDR_SIZE]
        return b"".join(map(self._head, itertools.count(), map(len, names), map(len, controls)))

    def _make_equal_heads(self, name_length: int, control_length: int) -> bytes:
        return b"".join(self._make_head(slot, name_length, control_length) for slot in range(BATCH))

    def _make_head(self, slot: int, name_length: int, control_length: int) -> bytes:
        """The header of a message to send."""
        return _MMSGHDR.pack(
            self._start + self._out_names + slot * NAME_SIZE if name_length else 0, name_length,
            self._start + self._out_iovecs + slot * _IOVEC.size, 1,
            self._start + self._out_controls + slot * _SOURCE if control_length else 0, control_length,
            0, 0,
        )  # fmt: skip


def _cut(memory: mmap.mmap, start: int, stride: int, lengths: list[int]) -> Sequence[bytes]:
    """The beginning of each slot, as many bytes as these."""
    first = lengths[0]
    if lengths.count(first) == len(lengths):  # all in one call: less than half the time, and most often so
        return _cutter(first, stride, len(lengths)).unpack_from(memory, start)
    return [memory[at : at + length] for at, length in zip(itertools.count(start, stride), lengths, strict=False)]


@functools.lru_cache(maxsize=64)
def _cutter(length: int, stride: int, count: int) -> struct.Struct:
    """About 2 KiB. Whoever changes the lengths all the time pays as much as the other way costs."""
    return struct.Struct(f"{length}s{stride - length}x" * count)


def _error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))


CALLS: Final[trio.lowlevel.RunVar[Calls | None]] = trio.lowlevel.RunVar("trio_udp calls")
_MEMORY: Final[trio.lowlevel.RunVar[Memory]] = trio.lowlevel.RunVar("trio_udp memory")


def calls_of_this_run() -> Calls | None:
    """What this `trio.run` uses: the C library's unless it was told otherwise."""
    try:
        return CALLS.get()
    except LookupError:
        return find_calls()


def memory_of_this_run(largest: int) -> Memory:
    """What all transports of this `trio.run` share."""
    try:
        return _MEMORY.get()
    except LookupError:
        memory = Memory(largest)
        _MEMORY.set(memory)
        return memory
