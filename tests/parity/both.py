"""One test body, two networks: the kernel's loopback and the simulated one. What is seen on them has to be the same.

A body opens sockets, does things with them, and returns what it saw: values, and the names of errors. What it asserts
besides holds on both networks. Ephemeral ports, which differ, are replaced by the order in which they are first seen.
"""

import errno
import functools
import inspect
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Concatenate, Final, ParamSpec

import pytest
import trio
import trio.testing

from trio_udp._net import Address, normalise
from trio_udp.testing import Packet, SimNet, simulate
from trio_udp.testing._buffer import footprint_of
from trio_udp.testing._options import DEFAULT_BUFFER

from ..networks import needs_ipv6
from .namespace import forge_icmp, in_new_namespace, needs_namespace

P = ParamSpec("P")
Seen = Any
"""Tuples, lists, dicts, bytes, numbers and words."""

ONE: Final = "127.0.0.1"
TWO: Final = "127.0.0.2"
SIX: Final = "::1"
HOSTS: Final = [ONE, pytest.param(SIX, marks=needs_ipv6)]
ANY_HOSTS: Final = ["0.0.0.0", pytest.param("::", marks=needs_ipv6)]  # noqa: S104 - what wildcards do is the question
_SO_MEMINFO: Final = 55
"""asm-generic/socket.h: nine numbers, the first of which is what is used of the receive buffer."""


def _keeps_books_as_imitated() -> bool:
    """Whether this kernel's receive buffers are of the size, and count datagrams by the rule, of Linux 6.18."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((ONE, 0))
        sock.sendto(b"?", sock.getsockname())
        try:
            used = struct.unpack_from("=I", sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 36))[0]
        except OSError:
            return False
        size = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    return (size, used) == (DEFAULT_BUFFER, footprint_of(1, version6=False))


usual_buffers: Final = pytest.mark.skipif(
    not _keeps_books_as_imitated(), reason="this host's receive buffers are not those of Linux 6.18 with its defaults"
)
WAITS: Final = "waits"
_EPHEMERAL: Final = range(32_768, 61_000)


Forge = Callable[[str, Packet, int], None]
"""Lets an ICMP error of this kind about this packet arrive, with this MTU."""


class Sockets:
    """Opens sockets on whichever network runs, and closes them at the end."""

    def __init__(self, forge: Forge | None = None) -> None:
        self._open: list[trio.socket.SocketType] = []
        self._forge = forge

    def new(self, host: str = ONE, *options: tuple[int, int, int]) -> trio.socket.SocketType:
        """A socket of the family of this address, with these options."""
        sock = trio.socket.socket(Address(host, 0).family, socket.SOCK_DGRAM)
        self._open.append(sock)
        for option in options:
            sock.setsockopt(*option)
        return sock

    async def bound(self, host: str = ONE, port: int = 0, *options: tuple[int, int, int]) -> trio.socket.SocketType:
        """A socket that is bound there."""
        sock = self.new(host, *options)
        await sock.bind((host, port))
        return sock

    async def connected(self, peer: trio.socket.SocketType, *options: tuple[int, int, int]) -> trio.socket.SocketType:
        """A socket that is connected to this one."""
        sock = self.new(peer.getsockname()[0], *options)
        await sock.connect(peer.getsockname())
        return sock

    async def free_port(self, host: str = ONE) -> int:
        """A port that nobody has, a moment ago."""
        with await self.bound(host) as sock:
            port: int = sock.getsockname()[1]
        return port

    def forge_icmp(self, kind: str, sock: trio.socket.SocketType, peer: Seen, data: bytes, mtu: int = 0) -> None:
        """Let an ICMP error arrive about a datagram that this socket could have sent to this peer."""
        assert self._forge is not None
        self._forge(kind, Packet(data, normalise(sock.getsockname()), normalise(peer)), mtu)

    def close(self) -> None:
        """Close them all."""
        for sock in self._open:
            sock.close()


Body = Callable[Concatenate[Sockets, P], Awaitable[Seen]]


def on_both(body: Body[P]) -> Callable[P, None]:
    """Make a test of a body: it is run on both networks, and what it returns is compared."""

    def on_kernel(run: Callable[..., Awaitable[Seen]]) -> Seen:
        return trio.run(run, Sockets())

    return _compare(body, on_kernel)


def on_both_apart(body: Body[P]) -> Callable[P, None]:
    """The same, for bodies that forge ICMP errors: the kernel's side runs in a network namespace of its own."""

    def on_kernel(run: Callable[..., Awaitable[Seen]]) -> Seen:
        return in_new_namespace(lambda: trio.run(run, Sockets(forge_icmp)))

    return needs_namespace(_compare(body, on_kernel))


def _compare(body: Body[P], on_kernel: Callable[..., Seen]) -> Callable[P, None]:
    async def run(sockets: Sockets, *args: P.args, **kwargs: P.kwargs) -> Seen:
        try:
            with trio.fail_after(30):
                return _without_ports(await body(sockets, *args, **kwargs), {})
        finally:
            sockets.close()

    @functools.wraps(body)
    def test(*args: P.args, **kwargs: P.kwargs) -> None:
        async def simulation(net: SimNet) -> Seen:
            return await run(Sockets(lambda kind, about, mtu: net.inject_icmp(kind, about, mtu=mtu)), *args, **kwargs)

        kernel = on_kernel(lambda sockets: run(sockets, *args, **kwargs))
        found = "\n".join(differences(kernel, simulate(simulation), "seen"))
        assert not found, found

    signature = inspect.signature(body)
    parameters = list(signature.parameters.values())[1:]
    test.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]  # what pytest reads
    del test.__wrapped__  # pytest-trio would find the async function behind it
    return test


async def tried(async_fn: Callable[..., Awaitable[Seen]], *args: Any) -> Seen:
    """What a call returns, the name of what it raises, or `waits` if it would have to wait."""
    seen = WAITS

    async def call() -> None:
        nonlocal seen
        try:
            seen = await async_fn(*args)
        except _ERRORS as exc:
            seen = named(exc)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(call)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    return seen


def tried_sync(fn: Callable[..., Seen], *args: Any) -> Seen:
    """What a call returns, or the name of what it raises."""
    try:
        return fn(*args)
    except _ERRORS as exc:
        return named(exc)


_ERRORS: Final = (
    *(OSError, TypeError, ValueError, OverflowError, AttributeError),
    *(trio.ClosedResourceError, trio.BusyResourceError),
)


def named(exc: BaseException) -> str:
    """An error as a word, with its number where it has one."""
    if isinstance(exc, socket.gaierror):
        return f"gaierror {exc.errno}"
    if isinstance(exc, OSError):
        return f"{type(exc).__name__} {errno.errorcode.get(exc.errno or 0)}"
    return type(exc).__name__


def differences(kernel: Seen, simulated: Seen, where: str) -> Iterator[str]:
    """Where two observations differ, as one reads it: a place, what the kernel does, and what the simulation does."""
    if isinstance(kernel, dict) and isinstance(simulated, dict) and kernel.keys() == simulated.keys():
        for key in kernel:
            yield from differences(kernel[key], simulated[key], f"{where}[{key!r}]")
    elif isinstance(kernel, list) and isinstance(simulated, list) and len(kernel) == len(simulated):
        for index, pair in enumerate(zip(kernel, simulated, strict=True)):
            yield from differences(*pair, f"{where}[{index}]")
    elif kernel != simulated:
        yield f"{where}: kernel {kernel!r}, simulated {simulated!r}"


def _without_ports(seen: Seen, order: dict[int, str]) -> Seen:
    """The same with every ephemeral port replaced by its place in order of appearance."""
    if isinstance(seen, dict):
        return {key: _without_ports(value, order) for key, value in seen.items()}
    if isinstance(seen, list | tuple):
        return [_without_ports(part, order) for part in seen]
    if isinstance(seen, int) and seen in _EPHEMERAL:
        return order.setdefault(seen, f"port {len(order)}")
    return seen
