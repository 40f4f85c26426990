"""Faults where the socket is: UDP sockets of this `trio.run` that lose, double, delay and corrupt what they carry.

    with faulty_sockets(nursery, sending=[Conditions.parse("drop=5%").rule(Random(7))]):
        async with trio_udp.open_client(host, port) as client: ...

It is a socket factory before the one that is installed, or before the kernel's sockets: whoever uses `trio.socket`
knows nothing of it, this package's client and server too (decision 0025). What is received late waits in the socket,
and who reads waits for it; what leaves late has a task in the nursery that was given, which ends when nothing waits to
leave. What must hold: cancelling anything loses no datagram that was not to be lost, but the one that is being sent;
and no more than `most_waiting` copies wait.
"""

import contextlib
import errno
import math
import socket
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, NamedTuple

import trio

from ._chaos import Packet, Rule
from ._direction import MOST_WAITING, Direction, DirectionStatistics, Leaving, Passage, Stream, Tally
from ._net import Address, normalise

_LARGEST: Final = 65_536
_ANCILLARY_SPACE: Final = 1024
_ERROR_QUEUE: Final = getattr(socket, "MSG_ERRQUEUE", 0)
_NOWHERE: Final = Address("0.0.0.0", 0)  # noqa: S104 - of a socket that is not bound yet
CLOSED: Final = "closed"


class _Around(NamedTuple):
    """What comes or goes with a datagram."""

    ancillary: list[Any]
    flags: int
    address: Any
    """The peer as the socket has it; None where it is connected."""


class FaultySockets(trio.abc.SocketFactory):
    """Makes faulty sockets. Made by `faulty_sockets`."""

    def __init__(
        self,
        nursery: trio.Nursery,
        sending: Iterable[Rule],
        receiving: Iterable[Rule],
        most_waiting: int,
        on_passage: Callable[[Passage], object] | None,
    ) -> None:
        self._nursery = nursery
        self._rules = {"sending": tuple(sending), "receiving": tuple(receiving)}
        self._tallies = {name: Tally() for name in self._rules}
        self._most_waiting = most_waiting
        self._on_passage = on_passage
        self._behind: trio.abc.SocketFactory | None = None
        self._sockets: weakref.WeakSet[FaultySocket] = weakref.WeakSet()
        self._made = 0

    @property
    def sending(self) -> DirectionStatistics:
        """What became of the datagrams that were sent, by all these sockets."""
        return self._tallies["sending"].statistics()

    @property
    def receiving(self) -> DirectionStatistics:
        """What became of the datagrams that were received, by all these sockets."""
        return self._tallies["receiving"].statistics()

    def socket(self, family: int = socket.AF_INET, type: int = socket.SOCK_STREAM, proto: int = 0) -> Any:  # noqa: A002 - Trio's own word
        """See `trio.abc.SocketFactory.socket`. Only UDP is faulty."""
        behind = self._behind
        sock = _kernel_socket(family, type, proto) if behind is None else behind.socket(family, type, proto)
        if sock.type != socket.SOCK_DGRAM or sock.family not in (socket.AF_INET, socket.AF_INET6):
            return sock
        self._made += 1
        faulty = FaultySocket(sock, self._nursery, self._direction("sending"), self._direction("receiving"), self._made)
        self._sockets.add(faulty)
        return faulty

    def _direction(self, name: str) -> Direction[_Around]:
        """Each socket keeps its own datagrams; rules and counters are those of all."""
        return Direction(
            name,
            self._rules[name],
            limit=self._most_waiting,
            on_passage=self._on_passage,
            tally=self._tallies[name],
        )

    @contextlib.contextmanager
    def _installed(self) -> Iterator[None]:
        self._behind = trio.socket.set_custom_socket_factory(self)
        try:
            yield
        finally:
            trio.socket.set_custom_socket_factory(self._behind)
            for sock in list(self._sockets):
                sock.forget()


def _kernel_socket(family: int, kind: int, proto: int) -> trio.socket.SocketType:
    return trio.socket.from_stdlib_socket(socket.socket(family, kind, proto))


@contextlib.contextmanager
def faulty_sockets(
    nursery: trio.Nursery,
    *,
    # Faults
    sending: Iterable[Rule] = (),
    receiving: Iterable[Rule] = (),
    # Truth
    on_passage: Callable[[Passage], object] | None = None,
    # Limits
    most_waiting: int = MOST_WAITING,
) -> Iterator[FaultySockets]:
    """For the length of the block, UDP sockets that `trio.socket.socket` makes in this `trio.run` have these faults.

    The first verdict of a rule wins; where no rule has an opinion a datagram passes. A rule sees the datagrams of all
    sockets, numbered from 1. An ICMP error that a verdict carries is not sent.

    Args:
        nursery: where a task waits for each copy that is to leave late, and ends when it has left.
        sending: rules for what is sent.
        receiving: rules for what is received, asked when it is read from the socket.
        on_passage: called with each `Passage`, when its last copy has left or is lost.
        most_waiting: copies that wait at a time, of each socket and direction; what exceeds that is lost and counted.

    What is still waiting at the end of the block is lost, and counted as `closed`. Raises `ValueError` for a limit
    below 1.
    """
    if most_waiting < 1:
        raise ValueError(f"expected most_waiting to be at least 1, got {most_waiting}")
    factory = FaultySockets(nursery, sending, receiving, most_waiting, on_passage)
    with factory._installed():  # noqa: SLF001 - this function is its other half
        yield factory


class FaultySocket:
    """One of these sockets, with Trio's methods. What is not about datagrams is the socket's behind it."""

    def __init__(
        self,
        behind: trio.socket.SocketType,
        nursery: trio.Nursery,
        outgoing: Direction[_Around],
        incoming: Direction[_Around],
        number: int,
    ) -> None:
        self._behind = behind
        self._nursery = nursery
        self._outgoing = outgoing
        self._incoming = incoming
        self._streams = Stream(number), Stream(number)
        self._timer: trio.CancelScope | None = None
        """Of the task that waits for what is to leave late, while there is one."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._behind, name)

    def __enter__(self) -> "FaultySocket":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close it. What waits to leave is lost."""
        self._behind.close()
        self.forget()

    def forget(self) -> None:
        """Lose what waits."""
        self._outgoing.abandon(CLOSED)
        self._incoming.abandon(CLOSED)
        if self._timer is not None:
            self._timer.cancel()

    def detach(self) -> int:
        """Not of a socket with faults: they would stay behind."""
        raise NotImplementedError("a socket with faults cannot be separated from them")

    dup = detach

    # Receiving

    def is_readable(self) -> bool:
        """Whether something may be there to read. It may turn out to be lost."""
        return self._incoming.next_due <= trio.current_time() or self._behind.is_readable()

    async def recv(self, bufsize: int, flags: int = 0) -> bytes:
        """As `trio.socket.SocketType.recv`."""
        return (await self.recvmsg(bufsize, 0, flags))[0]

    async def recvfrom(self, bufsize: int, flags: int = 0) -> tuple[bytes, Any]:
        """As `trio.socket.SocketType.recvfrom`."""
        data, _, _, address = await self.recvmsg(bufsize, 0, flags)
        return data, address

    async def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """As `trio.socket.SocketType.recv_into`."""
        return (await self.recvfrom_into(buffer, nbytes, flags))[0]

    async def recvfrom_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> tuple[int, Any]:
        """As `trio.socket.SocketType.recvfrom_into`."""
        with memoryview(buffer).cast("B") as view:
            data, address = await self.recvfrom(nbytes or len(view), flags)
            view[: len(data)] = data
        return len(data), address

    async def recvmsg(self, bufsize: int, ancbufsize: int = 0, flags: int = 0) -> tuple[bytes, list[Any], int, Any]:
        """As `trio.socket.SocketType.recvmsg`. Peeking is not possible."""
        if flags & _ERROR_QUEUE:
            return await self._behind.recvmsg(bufsize, ancbufsize, flags)
        if flags & socket.MSG_PEEK:
            raise NotImplementedError("a socket with faults cannot be peeked into")
        await trio.lowlevel.checkpoint()
        while (leaving := self._incoming.take(trio.current_time())) is None:
            with trio.CancelScope(deadline=self._incoming.next_due):
                self._admit(*await self._behind.recvmsg(_LARGEST, _ANCILLARY_SPACE, flags))
        self._incoming.settle(leaving, at=trio.current_time())
        cut = int(socket.MSG_TRUNC) if len(leaving.data) > bufsize else 0
        ancillary, came_with, address = leaving.way
        return leaving.data[:bufsize], ancillary if ancbufsize else [], came_with | cut, address

    def _admit(self, data: bytes, ancillary: list[Any], flags: int, address: Any) -> None:
        packet = Packet(data, normalise(address), self._address(), sent_at=trio.current_time())
        self._incoming.enter(packet, self._streams[1], _Around(ancillary, flags, address))

    def _address(self) -> Address:
        try:
            return normalise(self._behind.getsockname())
        except OSError:
            return _NOWHERE

    # Sending

    async def send(self, data: Any, flags: int = 0) -> int:
        """As `trio.socket.SocketType.send`."""
        return await self._send(bytes(data), _Around([], flags, None))

    async def sendto(self, *args: Any) -> int:
        """As `trio.socket.SocketType.sendto`: data, flags if any, address."""
        data, *flags, address = args
        return await self._send(bytes(data), _Around([], flags[0] if flags else 0, address))

    async def sendmsg(
        self, buffers: Iterable[Any], ancdata: Iterable[Any] = (), flags: int = 0, address: Any = None
    ) -> int:
        """As `trio.socket.SocketType.sendmsg`."""
        return await self._send(b"".join(map(bytes, buffers)), _Around(list(ancdata), flags, address))

    async def _send(self, data: bytes, way: _Around) -> int:
        """What leaves at once leaves within the call, and its error is raised; a task carries what leaves late."""
        await trio.lowlevel.checkpoint()
        now = trio.current_time()
        packet = Packet(data, self._address(), self._peer(way), sent_at=now)
        _, verdict = self._outgoing.enter(packet, self._streams[0], way)
        if verdict.errno is not None:
            raise OSError(verdict.errno, verdict.why)
        failed = await self._send_due(now, own=way)
        self._start_to_carry()
        if failed is not None:
            raise failed
        return len(data)

    def _peer(self, way: _Around) -> Address:
        try:
            return normalise(self._behind.getpeername() if way.address is None else way.address)
        except (OSError, ValueError, TypeError):
            return _NOWHERE  # the socket behind will say what is wrong with it

    def _start_to_carry(self) -> None:
        """See that somebody waits for the first copy that is to leave."""
        due = self._outgoing.next_due
        if due < math.inf and self._timer is None:
            self._timer = trio.CancelScope(deadline=due)
            self._nursery.start_soon(self._carry)
        elif self._timer is not None and due < self._timer.deadline:
            self._timer.deadline = due

    async def _carry(self) -> None:
        """Send what is late, for as long as something is."""
        try:
            while (due := self._outgoing.next_due) < math.inf:
                with trio.CancelScope(deadline=due) as self._timer:
                    await trio.sleep_forever()
                await self._send_due(trio.current_time())
        finally:
            self._timer = None

    async def _send_due(self, now: float, own: _Around | None = None) -> Exception | None:
        """Send what is due; what happened to the datagram that is being sent this way, if it failed."""
        failed = None
        while (leaving := self._outgoing.take(now)) is not None:
            try:
                await self._send_one(leaving)
            except (OSError, trio.ClosedResourceError) as exc:
                failed = exc if leaving.way is own else failed
        return failed

    async def _send_one(self, leaving: Leaving[_Around]) -> None:
        ancillary, flags, address = leaving.way
        error = "cancelled"
        try:
            if ancillary:
                await self._behind.sendmsg([leaving.data], ancillary, flags, address)
            elif address is None:
                await self._behind.send(leaving.data, flags)
            else:
                await self._behind.sendto(leaving.data, flags, address)
            error = ""
        except (OSError, trio.ClosedResourceError) as exc:
            error = errno.errorcode.get(getattr(exc, "errno", 0), CLOSED)
            raise
        finally:
            self._outgoing.settle(leaving, at=trio.current_time(), error=error)
