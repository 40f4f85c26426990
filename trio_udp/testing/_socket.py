"""Trio's socket interface around a simulated socket: what `trio.socket.socket()` returns on the simulated network.

Every method that is async in Trio checkpoints, whether it waits or not; waiting can be cancelled and loses nothing.
"""

import errno
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Final, TypeVar

import trio

from ._kernel import Received, SimUDP
from ._options import NotSimulated, error

T = TypeVar("T")


class SimSocket(trio.socket.SocketType):
    """A simulated UDP socket. Made by `trio.socket.socket()` wherever a `SimNet` is installed."""

    def __init__(self, kernel: SimUDP, proto: int = 0) -> None:
        # Not `super().__init__()`: it refuses, since real sockets are made by a function.
        self.kernel: Final = kernel
        """The socket without Trio, for tests that look behind it."""
        self._waiting: trio.Event | None = None
        kernel.on_event = self._wake
        self._proto = proto

    def __repr__(self) -> str:
        return repr(self.kernel).replace("SimUDP", "SimSocket", 1)

    # What is as in the standard library

    @property
    def family(self) -> socket.AddressFamily:
        """`AF_INET` or `AF_INET6`."""
        return self.kernel.family

    @property
    def type(self) -> socket.SocketKind:
        """`SOCK_DGRAM`."""
        return socket.SOCK_DGRAM

    @property
    def proto(self) -> int:
        """As it was asked for: 0 or `IPPROTO_UDP`."""
        return self._proto

    @property
    def did_shutdown_SHUT_WR(self) -> bool:  # noqa: N802 - Trio's name
        """Never."""
        return False

    def __enter__(self) -> "SimSocket":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def fileno(self) -> int:
        """A number that no real descriptor has; -1 once closed."""
        return self.kernel.fileno()

    def getsockname(self) -> Any:
        """As the kernel has it."""
        return self.kernel.getsockname()

    def getpeername(self) -> Any:
        """`ENOTCONN` unless connected."""
        return self.kernel.getpeername()

    def getsockopt(self, level: int, optname: int, buflen: int = 0) -> Any:
        """For the options that are simulated."""
        return self.kernel.getsockopt(level, optname, buflen)

    def setsockopt(self, level: int, optname: int, value: Any, optlen: int | None = None) -> None:
        """For the options that are simulated; `NotSimulated` for the others."""
        if (value is None) != (optlen is not None):
            raise TypeError("expected either a value or a length")
        self.kernel.setsockopt(level, optname, value, optlen)

    def close(self) -> None:
        """Close it; whoever waits on it gets `trio.ClosedResourceError`."""
        self.kernel.close()

    def is_readable(self) -> bool:
        """Whether receiving would return at once."""
        return self.kernel.is_readable

    # What is async in Trio

    async def bind(self, address: Any) -> None:
        """As `trio.socket.SocketType.bind`."""
        self.kernel.bind(await self._resolve(address, passive=True))

    async def connect(self, address: Any) -> None:
        """As `trio.socket.SocketType.connect`."""
        try:
            address = await self._resolve(address)
        except trio.Cancelled:
            self.close()  # as Trio does, for sockets that could be half connected
            raise
        self.kernel.connect(address)

    async def send(self, data: Any, flags: int = 0) -> int:
        """As `trio.socket.SocketType.send`."""
        await trio.lowlevel.checkpoint()
        return self.kernel.send(data, flags)

    async def sendto(self, *args: Any) -> int:
        """As `trio.socket.SocketType.sendto`."""
        *before, address = args
        return self.kernel.sendto(*before, await self._resolve(address))

    async def sendmsg(
        self, buffers: Iterable[Any], ancdata: Iterable[Any] = (), flags: int = 0, address: Any = None
    ) -> int:
        """As `trio.socket.SocketType.sendmsg`."""
        if address is None:
            await trio.lowlevel.checkpoint()
        else:
            address = await self._resolve(address)
        return self.kernel.sendmsg(buffers, ancdata, flags, address)

    async def recv(self, buflen: int, flags: int = 0) -> bytes:
        """As `trio.socket.SocketType.recv`."""
        return await self._when_readable(lambda: self.kernel.recv(buflen, flags))

    async def recvfrom(self, bufsize: int, flags: int = 0) -> tuple[bytes, Any]:
        """As `trio.socket.SocketType.recvfrom`."""
        return await self._when_readable(lambda: self.kernel.recvfrom(bufsize, flags))

    async def recvmsg(self, bufsize: int, ancbufsize: int = 0, flags: int = 0) -> Received:
        """As `trio.socket.SocketType.recvmsg`."""
        return await self._when_readable(lambda: self.kernel.recvmsg(bufsize, ancbufsize, flags))

    async def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """As `trio.socket.SocketType.recv_into`."""
        if nbytes == 0 and not memoryview(buffer).nbytes:
            await trio.lowlevel.checkpoint()  # Python does not even ask the kernel then
            return 0
        return (await self.recvfrom_into(buffer, nbytes, flags))[0]

    async def recvfrom_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> tuple[int, Any]:
        """As `trio.socket.SocketType.recvfrom_into`."""
        with memoryview(buffer).cast("B") as view:
            if not 0 <= nbytes <= len(view):
                raise ValueError(f"expected 0 to {len(view)} bytes, got {nbytes}")
            data, sockaddr = await self.recvfrom(nbytes or len(view), flags)
            view[: len(data)] = data
        return len(data), sockaddr

    async def wait_writable(self) -> None:
        """At once: a simulated send buffer is never full."""
        await trio.lowlevel.checkpoint()

    async def wait_readable(self) -> None:
        """Wait until receiving would return at once. Only a simulated socket has this method."""
        await trio.lowlevel.checkpoint()
        while not self.kernel.is_readable:
            await self._wait()

    async def _when_readable(self, receive: Callable[[], T]) -> T:
        await trio.lowlevel.checkpoint()
        while True:
            with suppress(BlockingIOError):
                return receive()
            await self._wait()  # out here, so that what ends it does not show what came before

    async def _wait(self) -> None:
        if self._waiting is not None:
            raise trio.BusyResourceError("another task is already reading from this socket")
        self._waiting = trio.Event()
        try:
            await self._waiting.wait()
        finally:
            self._waiting = None
        if self.kernel.fileno() == -1:
            raise trio.ClosedResourceError("another task closed this socket")

    def _wake(self) -> None:
        if self._waiting is not None:
            self._waiting.set()

    async def _resolve(self, address: Any, *, passive: bool = False) -> Any:
        """A numeric address: names are looked up as Trio does for its own sockets."""
        if self.kernel.fileno() == -1:
            await trio.lowlevel.checkpoint()
            raise error(errno.EBADF)
        most = 4 if self.family == socket.AF_INET6 else 2
        if not isinstance(address, tuple) or not 2 <= len(address) <= most:
            await trio.lowlevel.checkpoint()
            raise ValueError(f"expected an address of 2 to {most} parts, got {address!r}")
        if _is_numeric(self.family, *address[:2]):
            await trio.lowlevel.checkpoint()
            return address
        host, port, *rest = address
        flags = socket.AI_PASSIVE if passive else 0
        if self.family == socket.AF_INET6 and not self.kernel.is_v6only:
            flags |= socket.AI_V4MAPPED
        found = await trio.socket.getaddrinfo(
            None if host == "" else host, port, self.family, socket.SOCK_DGRAM, self.proto, flags
        )
        await trio.lowlevel.checkpoint()
        return (*found[0][4][:2], *(rest or found[0][4][2:]))


def _is_numeric(family: socket.AddressFamily, host: Any, port: Any) -> bool:
    """Whether there is nothing to look up: each sendto comes by here."""
    try:
        socket.inet_pton(family, host)
    except (OSError, TypeError):
        return False
    return isinstance(port, int)


def _refuse(name: str) -> Callable[..., Any]:
    def method(self: SimSocket, *args: object, **kwargs: object) -> Any:
        raise NotSimulated(f"{name} of a socket is not simulated")

    return method


for _name in (
    *("accept", "detach", "dup", "get_inheritable", "listen", "recvmsg_into", "set_inheritable", "share", "shutdown"),
):
    # UDP has no use for these, or a simulation cannot give what they promise.
    setattr(SimSocket, _name, _refuse(_name))
