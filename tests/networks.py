"""The ways to get sockets, so that one test body runs over all transports, and what can go wrong with a socket.

Loopback delivers a datagram within the call that sends it, the kernel's and the simulated one. So a clock that jumps
when no task can run never jumps over a datagram that is on its way, and `trio.testing.wait_all_tasks_blocked` returns
when all of them have been read. What a body asserts is the same on every network: that is what the simulated one, on
which others will test their own code, is sworn in with.
"""

import contextlib
import ctypes
import functools
import os
import socket
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final, Literal, cast

import pytest
import trio

import trio_udp
from trio_udp._net import Address, KernelTransport, PortableTransport, Transport, TrioTransport, normalise
from trio_udp._net._mmsg import CALLS, MMSGHDR_SIZE, Calls, find_calls
from trio_udp._server import Handler
from trio_udp.proto import TU1, AnswerKind, Question
from trio_udp.testing import SimNet, SimSocket, SimUDP

NetworkName = Literal["kernel", "portable", "factory", "simnet"]
NETWORKS: Final[tuple[NetworkName, ...]] = ("kernel", "portable", "factory", "simnet")
DIRECT: Final[tuple[NetworkName, ...]] = ("kernel", "portable")
"""Where this package reads descriptors by itself."""

# A test that takes `network` runs on all of them, unless it carries one of these marks, which say why not.
# Those that take none are about arguments, about other programs (`tests/cli`, `tests/test_book.py`), or about what only
# the kernel has (`tests/net/test_kernel.py`: datagrams in one piece, network namespaces).
direct = pytest.mark.parametrize("network", DIRECT, indirect=True)
"""What no socket behind Trio's interface can show: many datagrams for one wake-up, or before a look at the time; ICMP
errors with the datagram they quote; a send buffer that is full."""
kernel = pytest.mark.parametrize("network", ["kernel", "portable", "factory"], indirect=True)
"""The other end is another process."""
awaitable = pytest.mark.parametrize("network", ["factory", "simnet"], indirect=True)
"""The other way round: a socket that keeps a sender waiting, or a host that lacks something."""

_SIMULATED: Final[trio.lowlevel.RunVar["CountedNet | None"]] = trio.lowlevel.RunVar("simulated network", None)
_TRACED: Final = 40
"""Packets that a failing test shows. Few, because some tests count memory."""


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


HAS_IPV6: Final = _has_ipv6()
needs_ipv6 = pytest.mark.skipif(not HAS_IPV6, reason="this host has no IPv6 loopback")
LOOPBACKS: Final = ["127.0.0.1", pytest.param("::1", marks=needs_ipv6)]
WILDCARDS: Final = ["0.0.0.0", pytest.param("::", marks=needs_ipv6)]  # noqa: S104 - servers that listen everywhere

LOST: Final = 0
"""Instead of an errno: the datagram goes nowhere, and nobody is told."""
SENDING: Final = ("send", "sendto", "sendmsg")


class Faults:
    """What goes wrong with the next datagrams of one socket. Each entry is used once; after the last all is well."""

    def __init__(self) -> None:
        self.sends: deque[int | trio.Event | None] = deque()
        """An errno to raise, `LOST`, None for a send that works, or an event to wait for before the next entry."""
        self.receives: deque[int] = deque()
        """Errnos to raise."""

    def allow_send(self) -> bool:
        """Whether the next datagram may leave; raises what is to be raised."""
        fault = self.sends.popleft() if self.sends else None
        assert not isinstance(fault, trio.Event), "only an awaitable socket can wait"
        if fault:
            raise OSError(fault, "injected")
        return fault is None

    def before_receive(self) -> None:
        """Raise what is to be raised."""
        if self.receives:
            raise OSError(self.receives.popleft(), "injected")


class FaultySocket:
    """Passes everything on to a standard socket, unless a fault is in the way."""

    def __init__(self, behind: socket.socket) -> None:
        self.faults = Faults()
        self._behind = behind

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._behind, name)
        if name in SENDING:
            return functools.partial(self._send, found)
        return functools.partial(self._receive, found) if name == "recvmsg" else found

    def _send(self, method: Callable[..., int], *args: Any) -> int:
        return method(*args) if self.faults.allow_send() else 0

    def _receive(self, method: Callable[..., Any], *args: Any) -> Any:
        if len(args) < 3:  # the error queue is left alone
            self.faults.before_receive()
        return method(*args)


class DelegatingSocket(FaultySocket):
    """The same before one of Trio's own sockets: awaitable, and of a class nobody knows."""

    async def _send(self, method: Callable[..., Any], *args: Any) -> int:  # type: ignore[override]  # its twin, awaited
        while self.faults.sends and isinstance(event := self.faults.sends[0], trio.Event):
            self.faults.sends.popleft()
            await event.wait()
        if self.faults.allow_send():
            return cast("int", await method(*args))
        await trio.lowlevel.checkpoint()
        return 0

    async def _receive(self, method: Callable[..., Any], *args: Any) -> Any:
        await trio.lowlevel.checkpoint()
        self.faults.before_receive()
        return await method(*args)


class DelegatingFactory(trio.abc.SocketFactory):
    """Makes delegating sockets, before those of the network that is installed."""

    def socket(self, family: int = socket.AF_INET, kind: int = socket.SOCK_STREAM, proto: int = 0) -> Any:
        """See `trio.abc.SocketFactory.socket`."""
        net = simulated_net()
        make = net.socket if net is not None else _real_socket
        return DelegatingSocket(cast("socket.socket", make(family, kind, proto)))


class CountedNet(SimNet):
    """A simulated network that knows which of its sockets are open, as the kernel does."""

    def __init__(self) -> None:
        super().__init__(trace_limit=_TRACED)
        self._opened: list[SimSocket] = []

    def socket(self, family: int = socket.AF_INET, kind: int = socket.SOCK_STREAM, proto: int = 0) -> SimSocket:
        """See `trio.abc.SocketFactory.socket`."""
        sock = super().socket(family, kind, proto)
        self._opened.append(sock)
        return sock

    @property
    def open_sockets(self) -> int:
        """How many were not closed yet."""
        return sum(sock.fileno() != -1 for sock in self._opened)


def simulated_net() -> CountedNet | None:
    """The simulated network of this `trio.run`, if it has one."""
    with contextlib.suppress(RuntimeError):  # there is no run at all
        return _SIMULATED.get()
    return None


def _real_socket(family: int, kind: int, proto: int) -> trio.socket.SocketType:
    return trio.socket.from_stdlib_socket(socket.socket(family, kind, proto))


@contextlib.asynccontextmanager
async def installed(name: NetworkName) -> AsyncIterator[NetworkName]:
    """Choose where `trio.socket.socket` gets sockets from, and where strangers come from, for the length of the block.

    One at a time for each `trio.run`. At its end no simulated socket may be open, and what was sent is printed, for the
    report of a test that fails.
    """
    trio.socket.set_custom_socket_factory(DelegatingFactory() if name == "factory" else None)
    CALLS.set(find_calls() if name == "kernel" else None)
    if name != "simnet":
        yield name
        return
    net = CountedNet()
    _SIMULATED.set(net)
    try:
        async with net.running():
            yield name
    finally:
        _SIMULATED.set(None)
        print(net.trace)
    assert net.open_sockets == 0


@pytest.fixture(name="network", params=NETWORKS)
async def network_fixture(request: pytest.FixtureRequest) -> AsyncIterator[NetworkName]:
    """The network this test runs over: the kernel's own sockets, those of a socket factory, or simulated ones.

    A test has to take it as an argument: pytest-trio does not run async fixtures named by `usefixtures`.
    """
    async with installed(cast("NetworkName", request.param)) as name:
        yield name


class FaultyCalls:
    """The calls for whole batches with the same faults in their way."""

    def __init__(self, behind: Calls, faults: Faults) -> None:
        self._behind = behind
        self._faults = faults

    def receive(self, descriptor: int, address: int, count: int, flags: int) -> int:
        """See `Calls.receive`."""
        try:
            self._faults.before_receive()
        except OSError as exc:
            ctypes.set_errno(exc.errno or 0)
            return -1
        return self._behind.receive(descriptor, address, count, flags)

    def send(self, descriptor: int, address: int, count: int, flags: int) -> int:
        """See `Calls.send`. As the kernel does: an error is told only if nothing was sent before it."""
        for sent in range(count):
            fault = self._faults.sends[0] if self._faults.sends else None
            if fault and sent:
                return sent
            try:
                leaves = self._faults.allow_send()
            except OSError as exc:
                ctypes.set_errno(exc.errno or 0)
                return -1
            if leaves and self._behind.send(descriptor, address + sent * MMSGHDR_SIZE, 1, flags) < 0:
                return sent or -1
        return count


def faults_of(transport: Transport) -> Faults:
    """The faults of an open transport's socket, on any network."""
    if not isinstance(transport.socket, FaultySocket):
        _make_faulty(transport)
    return cast("FaultySocket", transport.socket).faults


def _make_faulty(transport: Transport) -> None:
    if isinstance(transport, TrioTransport):
        transport.socket = cast("trio.socket.SocketType", DelegatingSocket(cast("socket.socket", transport.socket)))
        return
    assert isinstance(transport, PortableTransport)
    faulty = FaultySocket(transport.socket)
    transport.socket = cast("socket.socket", faulty)
    if isinstance(transport, KernelTransport):
        calls = FaultyCalls(transport.calls, faulty.faults)
        transport.calls = Calls(calls.receive, calls.send)
        transport._sends_runs = False  # a fault is one datagram's, so each has to leave by itself


class Names(trio.abc.HostnameResolver):
    """A name service with nothing in it but what the test says."""

    def __init__(self, names: dict[str, list[str]]) -> None:
        self._names = names

    async def getaddrinfo(  # noqa: D102, PLR0917 - see trio.abc.HostnameResolver
        self,
        host: bytes | None,
        port: bytes | str | int | None,
        family: int = 0,
        type: int = 0,  # noqa: A002 - the interface's own word
        proto: int = 0,
        flags: int = 0,
    ) -> Any:
        await trio.lowlevel.checkpoint()
        if host is None or host.decode() not in self._names:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        addresses = [Address(address, cast("int", port)) for address in self._names[host.decode()]]
        return [
            (address.family, type, proto, "", tuple(address) if address.family == socket.AF_INET else (*address, 0, 0))
            for address in addresses
            if family in (socket.AF_UNSPEC, address.family)
        ]

    async def getnameinfo(self, sockaddr: Any, flags: int) -> tuple[str, str]:  # noqa: D102 - see trio.abc
        raise AssertionError("trio_udp never asks for names")


class MovingName(Names):
    """A name service whose answers a test may change."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = list(addresses)
        super().__init__({"server.test": self.addresses})

    async def getaddrinfo(self, *args: Any, **kwargs: Any) -> Any:
        """See `Names`; a name without an address is unknown."""
        if not self.addresses:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return await super().getaddrinfo(*args, **kwargs)


def moving_name(*addresses: str) -> MovingName:
    """The name service of this run: it knows server.test."""
    names = MovingName(*addresses)
    trio.socket.set_custom_hostname_resolver(names)
    return names


class AtStep(trio.abc.Instrument):
    """Does something just before the run's task step with this number, and counts the steps."""

    def __init__(self, number: int, act: Callable[[], object]) -> None:
        self.steps = 0
        self._number = number
        self._act = act

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """See `trio.abc.Instrument.before_task_step`."""
        self.steps += 1
        if self.steps == self._number:
            self._act()


@contextlib.contextmanager
def at_most_steps(number: int) -> Iterator[None]:
    """Fail what keeps the processor busy, instead of hanging: on the virtual clock it would never end."""
    with trio.CancelScope() as scope:
        instrument = AtStep(number, scope.cancel)
        trio.lowlevel.add_instrument(instrument)
        try:
            yield
        finally:
            trio.lowlevel.remove_instrument(instrument)
    assert not scope.cancelled_caught, f"more than {number} task steps: something spins"


@contextlib.asynccontextmanager
async def serving(handler: Handler, port: int = 0, **options: Any) -> AsyncIterator[trio_udp.Server]:
    """A server that runs for the length of the block, on a free port by default."""
    async with trio.open_nursery() as nursery:
        server = await nursery.start(functools.partial(trio_udp.serve, handler, port, **options))
        yield server
        nursery.cancel_scope.cancel()


@contextlib.contextmanager
def plain_socket(host: str = "127.0.0.1", port: int = 0) -> Iterator[socket.socket]:
    """A non-blocking UDP socket as the standard library has it: a stranger, or a server that never answers."""
    with contextlib.closing(_plain_socket(Address(host, port).family)) as sock:
        sock.bind((host, port))
        yield sock


def _plain_socket(family: socket.AddressFamily) -> socket.socket:
    net = simulated_net()
    if net is not None:
        return cast("socket.socket", net.socket(family, socket.SOCK_DGRAM).kernel)
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.setblocking(False)
    return sock


def address_of(sock: socket.socket) -> Address:
    """Where this socket is reached."""
    return normalise(sock.getsockname())


def dead_address(host: str = "127.0.0.1") -> Address:
    """An address that was free a moment ago: what is sent there is answered with ICMP port unreachable."""
    with plain_socket(host) as sock:
        return address_of(sock)


def descriptors() -> int:
    """How many descriptors this process has open, and the one that counts them; simulated sockets count as one each."""
    net = simulated_net()
    return len(os.listdir("/dev/fd")) + (0 if net is None else net.open_sockets)


def read_all(sock: socket.socket) -> list[bytes]:
    """The datagrams that wait in this socket, or none."""
    found = []
    with contextlib.suppress(BlockingIOError):
        while True:
            found.append(sock.recv(65_536))
    return found


async def next_datagram(sock: socket.socket) -> tuple[bytes, Address]:
    """What comes next, and from whom."""
    await _wait_readable(sock)
    data, peer = sock.recvfrom(65_536)
    return data, normalise(peer)


async def _wait_readable(sock: "socket.socket | SimUDP") -> None:
    if isinstance(sock, SimUDP):
        await SimSocket(sock).wait_readable()
    else:
        await trio.lowlevel.wait_readable(sock)


def reply_to(request: bytes, payload: bytes) -> bytes:
    """The reply that an honest server of our own format gives to this datagram."""
    question = TU1().decode_question_untrusted(request)
    assert isinstance(question, Question)
    return TU1().encode_answer(question, AnswerKind.REPLY, payload)


def echo(request: trio_udp.Request) -> bytes:
    """A handler: the payload, as it came."""
    return request.payload
