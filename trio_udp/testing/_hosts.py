"""Simulated hosts, with their addresses, ports and programs."""

import errno
import functools
import socket
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

import trio

from .._chaos import Icmp, Packet
from .._net import Address, loopback_of
from ._fabric import DELIVERED
from ._kernel import SimUDP
from ._options import NotSimulated, error

if TYPE_CHECKING:
    from ._nat import Nat
    from ._simnet import SimNet

ETHERNET_MTU: Final = 1500
LOOPBACK_MTU: Final = {False: 65_535, True: 65_536}
"""By whether it is version 6: a packet of version 4 cannot be longer."""
FIRST_PORT: Final = 32_768
PORTS: Final = 28_232
"""net.ipv4.ip_local_port_range: 32,768 to 60,999."""
_REUSE_ADDRESS: Final = (socket.SOL_SOCKET, socket.SO_REUSEADDR)
_REUSE_PORT: Final = (socket.SOL_SOCKET, socket.SO_REUSEPORT)
_BROADCAST: Final = ("255.255.255.255", "127.255.255.255")
"""To everybody on the link, and to everybody on the loopback interface."""
_NOBODY_LISTENS: Final = "nobody listens"
_DOWN: Final = "the host is down"
_LEAST_MTU_V4: Final = 552
"""net.ipv4.route.min_pmtu: an ICMP error that says less is taken for this."""
_LEAST_MTU_V6: Final = 1280
"""RFC 8200: an ICMP error that says less is ignored."""
_PATHS_REMEMBERED: Final = 1024

current_host: Final[ContextVar["Host | None"]] = ContextVar("trio_udp.testing.current_host", default=None)


class Host:
    """One simulated host. Made by `SimNet.host`.

    Sockets opened inside `with host.here():`, and in tasks started there, are this host's. Yours are the methods under
    "Programs"; those under "Addresses", "Ports" and "Packets" are called by the network and its sockets.
    """

    def __init__(self, net: "SimNet", name: str, addresses: tuple[str, ...], mtu: int, nat: "Nat | None") -> None:
        self.net: Final = net
        self.name: Final = name
        self.addresses: Final = addresses
        """The first of a family is where its packets come from."""
        self.nat = nat
        self.mtu = mtu
        """Bytes of IP packet that fit its interface."""
        self.is_up = True
        self._open: dict[int, SimUDP] = {}
        """By descriptor."""
        self._sockets: dict[int, list[SimUDP]] = {}
        """Those that are bound, by port."""
        self._path_mtu: OrderedDict[str, int] = OrderedDict()
        self._programs: list[trio.CancelScope] = []
        self._restarted = trio.Event()

    def __repr__(self) -> str:
        return f"<Host {self.name} {' '.join(self.addresses)}>"

    def __str__(self) -> str:
        return self.name

    # Programs

    @contextmanager
    def here(self) -> Iterator["Host"]:
        """Run the code of the block, and the tasks it starts, on this host."""
        token = current_host.set(self)
        try:
            yield self
        finally:
            current_host.reset(token)

    async def run(
        self,
        async_fn: Callable[..., Awaitable[object]],
        *args: Any,
        task_status: trio.TaskStatus[Any] | None = None,
    ) -> None:
        """Run a program on this host: `nursery.start_soon(host.run, main)`. Returns when it does.

        `crash` cancels it wherever it is, and `restart` runs it again from the beginning. A host that is down runs it
        when it comes back.

        Args:
            async_fn: the program.
            args: passed on.
            task_status: passed on too: `await nursery.start(host.run, serve)` waits until it calls `started()`.
        """
        options = {} if task_status is None else {"task_status": _FirstStart(task_status)}
        while True:
            while not self.is_up:
                await self._restarted.wait()
            with trio.CancelScope() as scope, self.here():
                self._programs.append(scope)
                try:
                    await async_fn(*args, **options)
                finally:
                    self._programs.remove(scope)
            if not scope.cancelled_caught:
                return

    def crash(self) -> None:
        """Lose power: every socket is gone without a word, every program that `run` runs is cancelled."""
        if not self.is_up:
            return  # and whoever waits for it to come back, waits for the same event
        self.is_up = False
        self._restarted = trio.Event()
        # First this: a program that waits on a socket shall not see it close.
        for scope in self._programs:
            scope.cancel()
        for sock in self.sockets:
            sock.close()

    def restart(self) -> None:
        """Come back, with no memory of what was: programs that were running run again."""
        self.is_up = True
        self._restarted.set()

    # Addresses

    def owns(self, host: str) -> bool:
        """Whether an IP address is this host's."""
        return self.is_loopback(host) or host in self.addresses

    @staticmethod
    def is_loopback(host: str) -> bool:
        """Whether an IP address means this host itself, on every host."""
        return host.startswith("127.") or host == "::1"

    def reachable(self, destination: Address, *, may_broadcast: bool = False) -> Address:
        """The address a datagram goes to; `ENETUNREACH` where this host has no route, `EACCES` without SO_BROADCAST."""
        if destination.host in _BROADCAST and not may_broadcast:
            raise error(errno.EACCES)
        destination = _one_host(destination)
        self.source_for(destination)
        return destination

    def source_for(self, destination: Address) -> str:
        """Where packets to that address come from, unless their socket says otherwise."""
        if self.is_loopback(destination.host):
            return "::1" if ":" in destination.host else "127.0.0.1"
        if destination.host in self.addresses:
            return destination.host
        if self.nat is not None and not self.nat.is_inside(destination.host):
            self.nat.outside(destination)
        return of_version(self.addresses, destination)

    def mtu_to(self, destination: Address) -> int:
        """Bytes of IP packet that fit the interface."""
        return LOOPBACK_MTU[":" in destination.host] if self.owns(destination.host) else self.mtu

    def path_mtu(self, destination: Address) -> int:
        """The same, or what ICMP has told about the path."""
        limit = self.mtu_to(destination)
        return min(self._path_mtu.get(destination.host, limit), limit)

    # Ports

    @property
    def sockets(self) -> tuple[SimUDP, ...]:
        """Its open sockets."""
        return tuple(self._open.values())

    def open(self, family: socket.AddressFamily) -> SimUDP:
        """A socket of this host's."""
        if not self.is_up:
            raise error(errno.ENETDOWN)
        number = self.net.next_descriptor()
        self._open[number] = sock = SimUDP(self, family, number)
        return sock

    def bind(self, sock: SimUDP, address: Address) -> Address:
        """Give a socket this address, with a port if it names none."""
        if not address.is_unspecified and not self.owns(address.host):
            raise error(errno.EADDRNOTAVAIL)
        if address.port:
            if self._conflicts(sock, address):
                raise error(errno.EADDRINUSE)
        else:
            address = address._replace(port=self._free_port(sock, address))
        self._sockets.setdefault(address.port, []).append(sock)
        return address

    def forget(self, sock: SimUDP) -> None:
        """Forget a socket that is about to be closed."""
        del self._open[sock.fileno()]
        if sock.local is not None:
            others = self._sockets[sock.local.port]
            others.remove(sock)
            if not others:
                del self._sockets[sock.local.port]

    def _free_port(self, sock: SimUDP, address: Address) -> int:
        first = int(self.net.random.random() * PORTS)
        for step in range(PORTS):
            port = FIRST_PORT + (first + step) % PORTS
            if not self._conflicts(sock, address._replace(port=port)):
                return port
        raise error(errno.EADDRINUSE)

    def _conflicts(self, sock: SimUDP, address: Address) -> bool:
        return any(
            _overlap(sock, address, other) and not _share(sock, other) for other in self._sockets.get(address.port, ())
        )

    # Packets

    def transmit(self, packet: Packet) -> int | None:
        """Send a packet; the errno with which that fails, if it does."""
        if self.owns(packet.destination.host):
            return self.net.transmit(packet, self, self)
        if self.nat is not None and not self.nat.is_inside(packet.destination.host):
            packet = self.nat.outward(packet)
        return self.net.transmit(packet, self, None)

    def receive(self, packet: Packet) -> str:
        """Take a packet that arrived; what became of it."""
        if not self.is_up:
            return _DOWN
        if packet.icmp is not None:
            return self._receive_icmp(packet.icmp, packet.source)
        sock = self._listener(packet)
        if sock is None:
            self.net.send_icmp(Icmp("port unreachable", packet), self)
            return _NOBODY_LISTENS
        return DELIVERED if sock.receive_packet(packet) else "receive buffer full"

    def _receive_icmp(self, icmp: Icmp, router: Address) -> str:
        about = icmp.about
        mirrored = about._replace(source=about.destination, destination=about.source)
        sock = self._listener(mirrored)
        if sock is None:
            return _NOBODY_LISTENS
        if icmp.kind == "fragmentation needed":
            self._learn_path_mtu(about.destination, icmp.mtu)
        sock.receive_icmp(icmp, router)
        return DELIVERED

    def _learn_path_mtu(self, destination: Address, mtu: int) -> None:
        """A path only gets smaller, and not smaller than every path can be: nobody has proved that he is its router."""
        if ":" in destination.host:
            if mtu < _LEAST_MTU_V6:
                return
        else:
            mtu = max(mtu, _LEAST_MTU_V4)
        self._path_mtu[destination.host] = min(mtu, self.path_mtu(destination))
        if len(self._path_mtu) > _PATHS_REMEMBERED:
            self._path_mtu.popitem(last=False)

    def _listener(self, packet: Packet) -> SimUDP | None:
        """The socket that fits best; of several that share a port by SO_REUSEPORT, always the same one for a flow."""
        sockets = self._sockets.get(packet.destination.port, ())
        if len(sockets) == 1:
            return sockets[0] if sockets[0].takes(packet) else None
        fitting = [(sock.takes(packet), sock) for sock in sockets]
        best = max((fit for fit, _ in fitting), default=0)
        if best == 0:
            return None
        candidates = [sock for fit, sock in fitting if fit == best]
        if candidates[-1].options[_REUSE_PORT]:
            return candidates[hash_of(packet.source) % len(candidates)]
        return candidates[-1]


class _FirstStart:
    """A program may start again after a crash, and whoever waits for its start is told once."""

    def __init__(self, task_status: trio.TaskStatus[Any]) -> None:
        self._task_status = task_status

    def started(self, value: Any = None) -> None:
        """Tell it, the first time."""
        self._task_status.started(value)
        self._task_status = trio.TASK_STATUS_IGNORED


def hash_of(address: Address) -> int:
    """A number that is the same on every machine and in every run, unlike `hash`."""
    number = 0
    for byte in str(address).encode():
        number = (number * 31 + byte) % 2**32
    return number


def of_version(addresses: tuple[str, ...], destination: Address) -> str:
    """The first from which that can be reached: of its version, and of a link for what is on a link."""
    for address in addresses:
        if (":" in address) == (":" in destination.host) and ("%" in address) == ("%" in destination.host):
            return address
    raise error(errno.ENETUNREACH)


def _overlap(sock: SimUDP, address: Address, other: SimUDP) -> bool:
    """Whether two sockets of one port could be meant by the same packet."""
    assert other.local is not None
    if sock.is_dual_stack_wildcard(address) or other.is_dual_stack_wildcard(other.local):
        return True
    if address.family != other.local.family:
        return False
    return address.host == other.local.host or address.is_unspecified or other.local.is_unspecified


def _share(sock: SimUDP, other: SimUDP) -> bool:
    """Whether both have asked to share their port."""
    return any(sock.options[option] and other.options[option] for option in (_REUSE_ADDRESS, _REUSE_PORT))


@functools.lru_cache(maxsize=1024)
def _one_host(destination: Address) -> Address:
    """The unspecified address is this host; a group of hosts is not simulated."""
    if _is_multicast(destination.host):
        raise NotSimulated(f"multicast and broadcast are not simulated: {destination}")
    return loopback_of(destination)


def _is_multicast(host: str) -> bool:
    if ":" in host:
        return host.startswith("ff")
    return host in _BROADCAST or 224 <= int(host.partition(".")[0]) < 240
