"""Two hosts joined by a wire that does what it likes: TUN descriptors on either end, and a program between them.

    async with wire() as between:
        between.link(Conditions(loss=0.2, duplicate=0.1))
        with between.right.here():
            server = await nursery.start(trio_udp.serve, ...)

Every datagram is asked about as on the simulated network, by the same rules, and waits in the same fabric; the kernels
on both ends are real. ICMP errors that they send, and fragments, pass as they are.
"""

import contextlib
import errno
import itertools
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager
from random import Random
from typing import Final

import trio

from trio_udp import Address
from trio_udp.testing import PASS, Conditions, Icmp, Packet, Rule, Trace, Verdict
from trio_udp.testing._fabric import DELIVERED, Fabric

from .namespaces import Host, HostSockets, host, set_up
from .packets import decode_udp_untrusted, encode_icmp, encode_udp

LEFT: Final = ("10.77.0.1", "fd77::1")
RIGHT: Final = ("10.77.0.2", "fd77::2")
ROUTER: Final = {False: "10.77.0.254", True: "fd77::fe"}
"""Whose ICMP errors the wire sends, by whether they are of version 6."""
STRANGER: Final = "10.77.0.66"
"""Nobody lives there, and what is sent there is on the wire."""

_LONGEST: Final = 65_575
_AT_ONCE: Final = 64
"""Packets read from one end before the other has its turn."""
_KEPT: Final = 100_000
"""Packets that the trace keeps."""


class End:
    """One end of the wire: a host, and the descriptor that reads what it sends, and writes what it is to receive."""

    def __init__(self, on: Host, addresses: tuple[str, str]) -> None:
        self.host: Final = on
        self.addresses: Final = addresses
        self.tun: Final = on.tun("wire0")
        self.link: Rule = _perfect
        """What becomes of the packets that it sends."""
        on.ip("link set wire0 txqueuelen 10000")  # what it sends while this program does something else
        set_up(on, "wire0", (f"{addresses[0]}/24", f"{addresses[1]}/64"))
        for default in ("route", "-6 route"):
            on.ip(f"{default} add default dev wire0")

    def read(self) -> Iterator[bytes]:
        """The packets that wait."""
        with contextlib.suppress(BlockingIOError):
            for _ in range(_AT_ONCE):
                yield os.read(self.tun, _LONGEST)

    def write(self, data: bytes) -> str:
        """Let the host receive a packet; what became of it."""
        try:
            os.write(self.tun, data)
        except OSError as exc:  # its device is down, or its queue is full
            return f"lost: {errno.errorcode[exc.errno or 0]}"
        return DELIVERED


class Wire:
    """The program between the ends. Made by `wire`."""

    def __init__(self, left: End, right: End, seed: int) -> None:
        self._left, self._right = left, right
        self._fabric: Final = Fabric(Trace(kept=_KEPT))
        self._numbers = itertools.count(1)
        self._random: Final = Random(seed)
        self._waiting = trio.CancelScope()
        self.nat: Nat | None = None
        """What stands between the left host and the wire, if anything does."""

    @property
    def left(self) -> Host:
        """Where clients are."""
        return self._left.host

    @property
    def right(self) -> Host:
        """Where servers are."""
        return self._right.host

    @property
    def trace(self) -> Trace:
        """The datagrams so far, and what became of them."""
        return self._fabric.trace

    def link(self, conditions: Conditions) -> None:
        """From now on, in each direction by itself."""
        for end in (self._left, self._right):
            end.link = conditions.rule(self._random)

    def rule(self, rule: Rule) -> AbstractContextManager[Rule]:
        """Ask this rule before all others, for the length of the block."""
        return self._fabric.rule(rule)

    def inject(self, data: bytes, source: Address, destination: Address, *, after: float = 0.0) -> None:
        """Let a datagram arrive that nobody sent, past every rule."""
        end = self._end_of(destination)
        packet = Packet(data, source, destination, trio.current_time(), next(self._numbers))
        self._fabric.inject(packet, lambda packet: end.write(encode_udp(packet)), after=after)
        self._wake()

    def inject_icmp(self, kind: str, about: Packet, *, mtu: int = 0) -> None:
        """Tell the sender of a datagram, which it need not have sent, what became of it."""
        end = self._end_of(about.source)
        end.write(encode_icmp(Icmp(kind, about, mtu), ROUTER[":" in about.source.host]))

    async def run(self) -> None:
        """Carry packets until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._carry, self._left, self._right)
            nursery.start_soon(self._carry, self._right, self._left)
            nursery.start_soon(self._deliver_late)

    def _end_of(self, address: Address) -> End:
        return self._left if address.host in self._left.addresses else self._right

    async def _carry(self, source: End, destination: End) -> None:
        while True:
            await trio.lowlevel.wait_readable(source.tun)
            for data in source.read():
                self._transmit(data, source, destination)
            self._wake()

    def _transmit(self, data: bytes, source: End, destination: End) -> None:
        packet = decode_udp_untrusted(data)
        if packet is None:
            destination.write(data)
            return
        packet = packet._replace(sent_at=trio.current_time(), number=next(self._numbers))
        if self.nat is not None:
            translated = self.nat.outward(packet) if source is self._left else self.nat.inward(packet)
            if translated is None:
                return
            packet = translated
        verdict = self._fabric.transmit(packet, source.link, lambda packet: destination.write(encode_udp(packet)))
        if verdict.icmp is not None:
            source.write(encode_icmp(verdict.icmp, ROUTER[":" in packet.source.host]))

    async def _deliver_late(self) -> None:
        while True:
            with trio.CancelScope(deadline=self._fabric.next_due) as self._waiting:
                await trio.sleep_forever()
            self._fabric.advance(trio.current_time())

    def _wake(self) -> None:
        """Something may be due earlier than it was."""
        self._waiting.deadline = min(self._waiting.deadline, self._fabric.next_due)


class Nat:
    """Gives each port of the left host one of its own, and forgets them all when told to."""

    def __init__(self) -> None:
        self._ports = itertools.count(40_000)
        self._outside: dict[Address, int] = {}
        self._inside: dict[int, Address] = {}

    def rebind(self) -> None:
        """As at a restart: the next packet leaves from another port, and what comes to the old ones is lost."""
        self._outside.clear()
        self._inside.clear()

    def outward(self, packet: Packet) -> Packet:
        """As the world sees it."""
        if packet.source not in self._outside:
            port = next(self._ports)
            self._outside[packet.source], self._inside[port] = port, packet.source
        return packet._replace(source=packet.source._replace(port=self._outside[packet.source]))

    def inward(self, packet: Packet) -> Packet | None:
        """As the host behind sees it; None when nobody behind has that port."""
        inside = self._inside.get(packet.destination.port)
        return None if inside is None else packet._replace(destination=inside)


@contextlib.asynccontextmanager
async def wire(seed: int = 1) -> AsyncIterator[Wire]:
    """Two hosts and a perfect wire; programs in the block can be on them."""
    earlier = trio.socket.set_custom_socket_factory(HostSockets())
    try:
        with host() as one, host() as other, contextlib.ExitStack() as closing:
            left, right = End(one, LEFT), End(other, RIGHT)
            between = Wire(left, right, seed)
            for end in (left, right):
                closing.callback(os.close, end.tun)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(between.run)
                yield between
                nursery.cancel_scope.cancel()
    finally:
        trio.socket.set_custom_socket_factory(earlier)


def _perfect(packet: Packet) -> Verdict:
    return PASS
