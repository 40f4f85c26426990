"""The fast transport: one system call for a batch of datagrams, where the C library has such calls.

It behaves as the portable one, which is its base and its fallback. On top of that, datagrams of equal length that go
from one address to one other may cross the kernel as one piece, a run (UDP_SEGMENT, UDP_GRO). What must hold: on the
wire, and to whoever calls this, a run is the datagrams it is made of, with the same boundaries; where the kernel
refuses one, they leave one by one.
"""

import errno
import functools
import operator
import socket
from collections.abc import Callable, Sequence
from typing import Final

import trio

from ._address import Address, Remembered, address_of_name, name_of_address
from ._ancillary import (
    UDP_GRO,
    UDP_SEGMENT,
    Ancillary,
    read_control,
    read_stamped_control,
    without_drops,
    write_control,
)
from ._batch import Batch, Datagram, Datagrams, Outgoing, Transport
from ._mmsg import BATCH, Calls, Leaving, calls_of_this_run, memory_of_this_run
from ._socket import is_kernel_socket
from ._stamps import StampingTransport
from ._transports import TRUNCATED, PortableTransport, TrioTransport

_LONGEST_RUN: Final = 65_507
"""Bytes. A run is bounded as if it were a datagram: 65,535 less the headers."""
_NO_RUNS: Final = (errno.EIO, errno.EINVAL)
"""What the kernel says where it knows about runs, and this interface or socket cannot do them."""


def open_transport(sock: trio.socket.SocketType, *, stamps: bool = False) -> Transport:
    """Take over an open socket: directly where it is the kernel's, through its own methods otherwise.

    With `stamps` the kernel is asked when each datagram leaves and comes.
    """
    if not is_kernel_socket(sock):
        return TrioTransport(sock)
    own = socket.socket(fileno=sock.detach())
    if stamps:
        return StampingTransport(own)
    calls = calls_of_this_run()
    return PortableTransport(own) if calls is None else KernelTransport(own, calls)


class KernelTransport(PortableTransport):
    """A real descriptor, one call a batch."""

    def __init__(self, sock: socket.socket, calls: Calls) -> None:
        super().__init__(sock)
        self.calls = calls
        self._memory = memory_of_this_run(self._largest)
        self._backlog: Sequence[Datagram] = []
        """What has been read and is for the next batch, because it came in one piece with this one: at most 64 runs."""
        self._read_control: Callable[[bytes], tuple[Ancillary, int]] = _CONTROLS.__getitem__
        self._sends_runs = has_option(sock, UDP_SEGMENT, 0)
        has_option(sock, UDP_GRO, 1)

    def stamp_arrivals(self) -> None:
        """See `Transport.stamp_arrivals`. A run has one time, that of its first datagram."""
        super().stamp_arrivals()
        self._read_control = read_stamped_control

    async def receive(self, *, may_wait: bool = True) -> Batch:
        """See `Transport.receive`."""
        if not self._backlog:
            return await super().receive(may_wait=may_wait)
        await trio.lowlevel.checkpoint()
        self._check_open()
        batch = Batch(self._backlog[:BATCH], [], [], 0)
        self._backlog = self._backlog[BATCH:]
        return batch

    def _drain(self) -> Batch:
        batch = Batch([], [], [], 0)
        truncated = 0
        for _ in range(BATCH):
            try:
                datagrams, truncated = self._read()
            except BlockingIOError:
                pass
            except OSError as exc:
                self._explain(exc, batch)
                continue
            else:
                self._backlog = datagrams[BATCH:]
                batch = Batch(datagrams[:BATCH] if self._backlog else datagrams, batch.hints, batch.errors, 0)
            break
        return self._complete(batch, truncated)

    def _read(self) -> tuple[Datagrams, int]:
        """What has come; and how many more were cut short."""
        data, names, controls, flags = self._memory.receive(self.calls.receive, self.socket.fileno())
        drops, controls = without_drops(controls)
        peers = [*map(_ADDRESSES.__getitem__, names)]
        if controls.count(controls[0]) == len(controls):  # all in one look, and most often so
            ancillary, size = self._read_control(controls[0])
            ancillaries, sizes = [ancillary] * len(controls), [size] * len(controls)
        else:
            read = [*map(self._read_control, controls)]
            ancillaries, sizes = [ancillary for ancillary, _ in read], [size for _, size in read]
        if drops:
            ancillaries[-1] = ancillaries[-1].losing(drops)
        datagrams = Datagrams(data, peers, ancillaries)
        return self._divide(datagrams, sizes, flags) if any(sizes) or any(flags) else (datagrams, 0)

    def _divide(self, pieces: Datagrams, sizes: Sequence[int], flags: Sequence[int]) -> tuple[Datagrams, int]:
        """The same with runs divided, and without what was cut short."""
        data: list[bytes] = []
        peers: list[Address] = []
        ancillaries: list[Ancillary] = []
        truncated = 0
        for (whole, peer, ancillary), size, flag in zip(pieces, sizes, flags, strict=True):
            if flag & TRUNCATED:
                truncated += 1
                continue
            run = (
                [whole]
                if not size or len(whole) <= size
                else [whole[at : at + size] for at in range(0, len(whole), size)]
            )
            self.segments_received += len(run) if len(run) > 1 else 0
            data += run
            peers += [peer] * len(run)
            ancillaries += [ancillary] * len(run)
        return Datagrams(data, peers, ancillaries), truncated

    async def send_batch(self, outgoing: Sequence[Outgoing], *, may_wait: bool = True) -> int:
        """See `Transport.send_batch`."""
        if len(outgoing) == 1:  # Python's own call takes 5 µs, and the other one 17: it is for many (measured)
            return await super().send_batch(outgoing, may_wait=may_wait)
        while True:
            try:
                return self._send_batch_nowait(outgoing)
            except OSError as exc:
                await self._wait_for_room(exc, may_wait=may_wait)

    def _send_batch_nowait(self, outgoing: Sequence[Outgoing]) -> int:
        batch = outgoing[:BATCH]
        if not self._sends_runs or not _may_have_runs(batch):
            return self._send_each(batch)
        runs = _runs(batch, _LONGEST_RUN)
        try:
            return self._send_runs(runs)
        except OSError as exc:
            first = runs[0]
            if len(first) == 1 or exc.errno not in (*_NO_RUNS, errno.EMSGSIZE):
                raise
            # Either it may not be a run, or each of these is refused by itself: too long for the path, say.
            sent = self._send_each(first)
            self._sends_runs = exc.errno not in _NO_RUNS
            return sent

    def _send_each(self, outgoing: Sequence[Outgoing]) -> int:
        """Send the first of these by itself, and as many more as will leave; how many did."""
        data, peers, sources = zip(*outgoing, strict=True)
        names = self._names_of(peers)
        data = data[: len(names)]
        controls = [*map(_SOURCES.__getitem__, sources[: len(names)])]
        return self._send(Leaving(b"".join(data), [*map(len, data)], names, controls))

    def _send_runs(self, runs: list[list[Outgoing]]) -> int:
        """The same with runs; how many datagrams that were."""
        names = self._names_of([run[0][1] for run in runs])
        runs = runs[: len(names)]
        sizes, controls = [], []
        for run in runs:
            data, _, source = run[0]
            size, length = len(data), len(run)
            sizes.append(size * (length - 1) + len(run[-1][0]))
            controls.append(write_control(source, size if length > 1 else 0))
        count = self._send(Leaving(b"".join([data for run in runs for data, _, _ in run]), sizes, names, controls))
        sent = [len(run) for run in runs[:count]]
        self.segments_sent += sum(length for length in sent if length > 1)
        return sum(sent)

    def _names_of(self, peers: Sequence[Address | None]) -> list[bytes]:
        """Up to the first that this socket has no name for, which is the next call's; if it is this one's it raises."""
        known = _NAMES[self._family]
        names: list[bytes] = []
        try:
            for peer in peers:
                names.append(known[peer])  # one by one: those found before an error count
        except OSError:
            if not names:
                raise
        return names

    def _send(self, leaving: Leaving) -> int:
        return self._memory.send(self.calls.send, self.socket.fileno(), leaving)


def _may_have_runs(outgoing: Sequence[Outgoing]) -> bool:
    """Whether two that follow each other go to one peer."""
    peers = [peer for _, peer, _ in outgoing]
    return any(map(operator.is_, peers, peers[1:]))


def _name(peer: Address | None, family: socket.AddressFamily) -> bytes:
    """None on a connected socket."""
    return b"" if peer is None else name_of_address(peer, family)


_ADDRESSES: Final = Remembered(address_of_name)
_NAMES: Final = {
    family: Remembered(functools.partial(_name, family=family)) for family in (socket.AF_INET, socket.AF_INET6)
}
_CONTROLS: Final = Remembered(read_control)
_SOURCES: Final = Remembered(functools.partial(write_control, segment=0))


def _runs(outgoing: Sequence[Outgoing], longest: int) -> list[list[Outgoing]]:
    """The same in the same order, with what may leave in one piece in one list; no piece longer than this many bytes.

    That is: one peer, one source, equal lengths, of which the last may be less.
    """
    runs: list[list[Outgoing]] = []
    room = size = 0
    last_peer: object = None
    last_source: object = None
    for each in outgoing:
        data, peer, source = each
        length = len(data)
        if 0 < length <= size and length <= room and peer is last_peer and source is last_source:
            runs[-1].append(each)
            room = room - length if length == size else 0
        else:
            runs.append([each])
            last_peer, last_source, size, room = peer, source, length, longest - length
    return runs


def has_option(sock: socket.socket, option: int, value: int) -> bool:
    try:
        sock.setsockopt(socket.IPPROTO_UDP, option, value)
    except OSError:
        return False
    return True
