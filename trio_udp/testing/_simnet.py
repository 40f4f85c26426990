"""`SimNet`: a whole network in one object. Hosts, links, names, rules and a trace, from one seed.

    net = SimNet(seed=1)
    server = net.host("server")
    net.link(Conditions(latency=0.02, loss=0.2))
    async with net.running():
        with server.here():
            ...                          # trio.socket.socket() is a socket of this host's

Nothing here is global: a network is installed in one `trio.run`, and a task is on the host it was started on. It runs
on whatever clock Trio runs on; `simulate` brings one that jumps.
"""

import itertools
import math
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from os import PathLike
from pathlib import Path
from random import Random
from typing import Any, Final

import trio

from .._chaos import ICMP_KINDS, PASS, Conditions, Icmp, Packet, Rule, Verdict, drop
from .._given import check_given
from .._net import Address
from ._fabric import Fabric, Held
from ._hosts import ETHERNET_MTU, Host, current_host
from ._links import Links, is_among
from ._names import Answer, Names, numeric
from ._nat import Nat, Place
from ._options import NotSimulated, word_of
from ._pcapng import capture
from ._places import Places
from ._socket import SimSocket
from ._trace import KEPT, Trace

_FIRST_DESCRIPTOR: Final = 1_000_000
"""More than a process may have open, so that no real descriptor has such a number."""
_PERFECT: Final = Conditions()
NOBODY: Final = "no such host"
MARTIAN: Final = "from an impossible source"


class SimNet(trio.abc.SocketFactory, trio.abc.HostnameResolver):
    """A simulated network: a socket factory and a host name resolver for Trio.

    Code that is on no host of yours is on `net.localhost`, so code written for 127.0.0.1 runs unchanged.
    """

    def __init__(self, seed: int = 0, *, conditions: Conditions = _PERFECT, trace_limit: int = KEPT) -> None:
        """Make a network without hosts, but for `localhost`.

        Args:
            seed: decides everything that is left to chance.
            conditions: of links that `link` says nothing else about. Loopback is always perfect.
            trace_limit: packets kept in `trace`; the digest covers them all.
        """
        self.seed: Final = seed
        self.random: Final = Random(seed)  # noqa: S311 - a simulation has to be repeatable
        """What everything is drawn from; yours to draw from too."""
        self._places = Places()
        self.trace: Final = Trace(self._places.name_at, kept=trace_limit)
        self.hosts: Final[dict[str, Host]] = {}
        self._fabric = Fabric(self.trace)
        self._links = Links(conditions, self.random)
        self._names = Names()
        self._numbers = itertools.count(1)
        self._descriptors = itertools.count(_FIRST_DESCRIPTOR)
        self._origin = 0.0
        self._is_running = False
        self._news = trio.Event()
        self._wakes_at = math.inf
        """When the next packet is due, as far as `_carry` knows."""
        self.localhost: Final = self.host("localhost")
        self.names["localhost"] = ["127.0.0.1", "::1"]

    def __repr__(self) -> str:
        return f"<SimNet of seed {self.seed}, hosts {', '.join(self.hosts)}>"

    # Hosts and names

    def host(self, name: str, *addresses: str, mtu: int = ETHERNET_MTU, nat: Nat | None = None) -> Host:
        """Add a host. Without addresses it gets one of each version; the name resolves to all of them.

        Args:
            name: resolves to its addresses, and stands in the trace.
            addresses: numeric; a link-local one with its scope, `fe80::1%2`.
            mtu: bytes of IP packet that fit its interface.
            nat: the translator it is behind.
        """
        if name in self.hosts:
            raise ValueError(f"expected a new name for a host, got {name!r}, which exists")
        if not addresses:
            addresses = self._places.free_addresses(nat)
        self._check_places(nat)
        host = Host(self, name, tuple(numeric((address, 0)).host for address in addresses), mtu, nat)
        self._places.settle(host)
        self.hosts[name] = host
        self.names[name.lower()] = list(host.addresses)
        return host

    def nat(self, name: str, *addresses: str) -> Nat:
        """Add an address translator for hosts with `nat=`. Without addresses it gets one of each version, as a host."""
        addresses = addresses or self._places.free_addresses()
        nat = Nat(self, name, tuple(numeric((address, 0)).host for address in addresses))
        self._places.settle(nat)
        return nat

    @property
    def names(self) -> dict[str, Answer]:
        """What each name resolves to: a list of numeric addresses, or an `OSError` to raise. Change it at any time."""
        return self._names.table

    def host_of(self, address: str) -> Place | None:
        """Whose IP address that is."""
        return self._places.at(address)

    # What goes wrong

    def link(
        self,
        conditions: Conditions,
        source: Place | None = None,
        destination: Place | None = None,
        *,
        both: bool = True,
    ) -> None:
        """Say what a link does, from now on.

        Args:
            conditions: replaces what was said before. All links forget their bursts and queues.
            source: packets from there; None from anywhere.
            destination: packets to there; None to anywhere. What is said of both ends comes before what is said of one,
                of the source before the destination, and of a host before the translator it is behind.
            both: the other direction too.
        """
        check_given("conditions", conditions, Conditions)
        self._check_places(source, destination)
        self._links.say(conditions, source, destination)
        if both:
            self._links.say(conditions, destination, source)

    def rule(self, rule: Rule) -> AbstractContextManager[Rule]:
        """Ask this rule about every packet, before all others, for the length of a `with` block."""
        return self._fabric.rule(rule)

    def partition(self, some: Place | Iterable[Place], others: Place | Iterable[Place]) -> AbstractContextManager[Rule]:
        """Lose what one host or group of hosts sends to the other, and back, for the length of a `with` block."""
        some, others = ((places,) if isinstance(places, Host | Nat) else tuple(places) for places in (some, others))
        self._check_places(*some, *others)

        def cut(packet: Packet) -> Verdict | None:
            source, destination = self._places.ends(packet)
            there = is_among(source, some) and is_among(destination, others)
            back = is_among(source, others) and is_among(destination, some)
            return drop("partitioned") if there or back else None

        return self.rule(cut)

    @contextmanager
    def hold(self, source: Place | None = None, destination: Place | None = None) -> Iterator[Held]:
        """Keep what is sent from there to there (None is anywhere) until the next `release` or the end of the block."""
        held = Held(self._fabric, self.way(source, destination), self._number)
        try:
            with self.rule(held):
                yield held
        finally:
            held.release()

    def way(self, source: Place | None = None, destination: Place | None = None) -> Callable[[Packet], bool]:
        """Tells which packets go from there to there, for rules; None is anywhere.

        What is behind a translator counts as there, and so does the translator for what it sends on.
        """
        self._check_places(source, destination)

        def goes_there(packet: Packet) -> bool:
            ends = zip(self._places.ends(packet), (source, destination), strict=True)
            return all(is_among(end, (wanted,)) for end, wanted in ends if wanted is not None)

        return goes_there

    def inject(
        self,
        data: bytes,
        source: tuple[str, int],
        destination: tuple[str, int],
        *,
        after: float = 0.0,
        host: Host | None = None,
    ) -> None:
        """Forge a datagram: any bytes, from any address, past every rule.

        Args:
            data: its payload.
            source: where it claims to come from; numeric, as the destination.
            destination: where it is delivered; of the same IP version.
            after: seconds from now.
            host: which host's loopback it arrives on; for a loopback destination only, `localhost` by default.
        """
        check_given("data", data, bytes)
        packet = self._number(Packet(data, numeric(source), numeric(destination)))
        if packet.source.family != packet.destination.family:
            raise ValueError(f"expected a source of the same IP version as {packet.destination}, got {packet.source}")
        if host is not None and not Host.is_loopback(packet.destination.host):
            raise ValueError(f"expected a loopback destination with host=, got {packet.destination}")
        self._inject(packet, after, host)

    def inject_icmp(
        self, kind: str, about: Packet, *, source: str | None = None, mtu: int = 0, after: float = 0.0
    ) -> None:
        """Forge an ICMP error about a packet, to its sender.

        Args:
            kind: one of `ICMP_KINDS`; `ValueError` for another.
            about: what it quotes, from `trace` or made up.
            source: the router it claims to come from; the packet's destination by default.
            mtu: for `fragmentation needed`.
            after: seconds from now.
        """
        if kind not in ICMP_KINDS:
            raise ValueError(f"expected one of {', '.join(ICMP_KINDS)}, got {kind!r}")
        router = numeric((source or about.destination.host, 0))
        packet = self._number(Packet(b"", router, about.source, icmp=Icmp(kind, about, mtu)))
        self._inject(packet, after, None)

    # Running

    @asynccontextmanager
    async def running(self, *, time_limit: float = math.inf) -> AsyncIterator["SimNet"]:
        """Be the network of this `trio.run`, for the length of the block; then what was installed before is again.

        An exception of the block's is raised as it is. Raises `Stalled` when the clock reaches `time_limit`, seconds
        from now: on a clock that jumps, because every task waits for something that never comes.
        """
        if self._is_running:
            raise RuntimeError("this network is running already")
        self._origin = trio.current_time() - self._fabric.now
        self._is_running = True
        factory = trio.socket.set_custom_socket_factory(self)
        resolver = trio.socket.set_custom_hostname_resolver(self)
        why = f"the simulation reached its time limit of {time_limit} s"
        failure: BaseException | None = None
        is_over = False
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._carry, time_limit, nursery.cancel_scope)
                try:
                    yield self
                except BaseException as exc:
                    if nursery.cancel_scope.cancel_called:
                        exc.add_note(why)  # for what fails because it is cancelled, in a `finally:` perhaps
                        raise
                    failure = exc  # raised below, outside the nursery that would wrap it in a group
                is_over = not nursery.cancel_scope.cancel_called
                nursery.cancel_scope.cancel()
        finally:
            trio.socket.set_custom_socket_factory(factory)
            trio.socket.set_custom_hostname_resolver(resolver)
            self._is_running = False
        if failure is not None:
            raise failure
        if not is_over:
            raise Stalled(why) from None

    @property
    def now(self) -> float:
        """Seconds since it began to run."""
        return trio.current_time() - self._origin if self._is_running else self._fabric.now

    async def _carry(self, time_limit: float, scope: trio.CancelScope) -> None:
        """Deliver each packet when it is due, and cancel everything when time is up."""
        deadline = trio.current_time() + time_limit
        while trio.current_time() < deadline:
            self._news = trio.Event()
            self._wakes_at = due = self._fabric.next_due
            with trio.move_on_at(min(self._origin + due, deadline)) as waiting:
                await self._news.wait()
            # Not just `now`: that may have been rounded to a moment before the packet that is due.
            is_due = waiting.cancelled_caught and self._origin + due <= deadline
            self._fabric.advance(max(self.now, due) if is_due else self.now)
        scope.cancel()

    def pcapng(self, path: str | PathLike[str]) -> None:
        """Write the packets that `trace` keeps to a capture file, for Wireshark."""
        Path(path).write_bytes(capture(self.trace))

    # What Trio asks for

    def socket(
        self,
        family: socket.AddressFamily | int = socket.AF_INET,
        type: socket.SocketKind | int = socket.SOCK_STREAM,  # noqa: A002 - the interface's own word
        proto: int = 0,
    ) -> SimSocket:
        """See `trio.abc.SocketFactory`."""
        if type != socket.SOCK_DGRAM or proto not in (0, socket.IPPROTO_UDP):
            kind = word_of(socket.SocketKind, type)
            raise NotSimulated(f"only UDP is simulated, not sockets of type {kind} and protocol {proto}")
        if family not in (socket.AF_INET, socket.AF_INET6):
            word = word_of(socket.AddressFamily, family)
            raise NotSimulated(f"only IPv4 and IPv6 are simulated, not sockets of family {word}")
        return SimSocket(self._host().open(socket.AddressFamily(family)), proto)

    async def getaddrinfo(  # noqa: PLR0917 - the interface of trio.abc.HostnameResolver
        self,
        host: bytes | str | None,
        port: bytes | str | int | None,
        family: int = 0,
        type: int = 0,  # noqa: A002 - the interface's own word
        proto: int = 0,
        flags: int = 0,
    ) -> Any:
        """See `trio.abc.HostnameResolver`."""
        return await self._names.getaddrinfo(host, port, family, type, proto, flags)

    async def getnameinfo(self, sockaddr: Any, flags: int) -> tuple[str, str]:
        """See `trio.abc.HostnameResolver`."""
        return await self._names.getnameinfo(sockaddr, flags)

    # What hosts ask for

    def transmit(self, packet: Packet, host: Host, local: Host | None) -> int | None:
        """Carry a packet from a host to wherever it goes; the errno with which sending fails, if it does."""
        packet = self._number(packet)
        link = self._links.between(host, self._places.end(packet.destination)) if local is None else _undisturbed
        verdict = self._fabric.transmit(packet, link, self._arrive if local is None else local.receive)
        if verdict.icmp is not None:
            self._report(verdict.icmp, host if local is not None else None)
        self._tell()
        return verdict.errno

    def send_icmp(self, icmp: Icmp, host: Host) -> None:
        """Let a host report an ICMP error about a packet that reached it."""
        about = icmp.about
        router = Address(about.destination.host, 0)
        host.transmit(Packet(b"", router, about.source, icmp=icmp))

    def next_descriptor(self) -> int:
        """A number for a socket."""
        return next(self._descriptors)

    # Small parts

    def _host(self) -> Host:
        host = current_host.get()
        return host if host is not None and host.net is self else self.localhost

    def _check_places(self, *places: Place | None) -> None:
        """A name, or a host of another network, would never be met, and nothing would tell."""
        for place in places:
            if place is not None and getattr(place, "net", None) is not self:
                raise ValueError(f"expected a host or a translator of this network, got {place!r}")

    def _number(self, packet: Packet) -> Packet:
        return packet._replace(number=next(self._numbers), sent_at=self.now)

    def _arrive(self, packet: Packet) -> str:
        """Deliver a packet to a host, unless its address means nothing where the packet comes from."""
        place = self._places.at(packet.destination.host)
        if isinstance(place, Host) and place.nat is not None and not place.nat.is_inside(packet.source.host):
            return NOBODY
        return self._deliver(packet)

    def _deliver(self, packet: Packet) -> str:
        if Host.is_loopback(packet.source.host):
            return MARTIAN
        place = self._places.at(packet.destination.host)
        return NOBODY if place is None else place.receive(packet)

    def _report(self, icmp: Icmp, local: Host | None) -> None:
        """A router's ICMP error, to the sender of the packet it is about."""
        packet = self._number(Packet(b"", Address(icmp.about.destination.host, 0), icmp.about.source, icmp=icmp))
        self._fabric.resend(packet, self._arrive if local is None else local.receive)

    def _local(self, packet: Packet, host: Host | None) -> Host | None:
        return (host or self.localhost) if Host.is_loopback(packet.destination.host) else None

    def _inject(self, packet: Packet, after: float, host: Host | None) -> None:
        local = self._local(packet, host)
        self._fabric.inject(packet, self._deliver if local is None else local.receive, after=after)
        self._tell()

    def _tell(self) -> None:
        """Wake `_carry` if something is due sooner than it thinks."""
        if self._fabric.next_due < self._wakes_at:
            self._news.set()


class Stalled(Exception):
    """A simulation reached its time limit."""


def _undisturbed(packet: Packet) -> Verdict:
    return PASS
