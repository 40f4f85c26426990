"""Who attacks: off the path, who sees nothing and guesses, and on it, who sees every packet and decides about it.

    forger = OffPath(net)
    reply = guess(b"\\0\\0\\x81\\x80…", slice(0, 2))      # each time with another id
    await forger.flood(lambda: forger.send(reply, source=server, to=client), count=10_000, rate=1_000)

    spy = OnPath(net, client_host, server_host)
    with spy.answer_first(lambda request: request[:2] + b"FAKE"):
        ...

Neither knows a protocol: bytes go in and bytes come out, and what is worth forging is for the test to say. Both are
made of `SimNet.rule`, `inject` and `inject_icmp`, and draw from one source only: equal seeds give equal attacks.
"""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from random import Random
from typing import Final, TypeAlias, TypeVar

import trio

from .._chaos import Packet, Rule, Verdict, copies, delay, drop, replace
from .._net import normalise
from ._hosts import Host
from ._nat import Place
from ._simnet import SimNet

T = TypeVar("T")
Drawn: TypeAlias = T | Callable[[Random], T]
"""A value, or a function that draws one for each packet."""
SockAddr = tuple[str, int]

SEEN: Final = 1000
"""Packets that somebody on the path remembers."""


# What a forger draws


def guess(template: bytes, *fields: slice) -> Callable[[Random], bytes]:
    """These bytes with other ones, drawn at random, in the fields: an id that has to be guessed, a cookie."""
    wanted = [field.indices(len(template)) for field in fields]

    def draw(random: Random) -> bytes:
        data = bytearray(template)
        for field in wanted:
            indices = range(*field)
            for index, byte in zip(indices, random.randbytes(len(indices)), strict=True):
                data[index] = byte
        return bytes(data)

    return draw


def any_of(*values: T) -> Callable[[Random], T]:
    """One of these, drawn at random: addresses, kinds of ICMP error, whole datagrams."""
    if not values:
        raise ValueError("expected something to choose from")
    return lambda random: values[int(random.random() * len(values))]


def any_port(host: str, ports: range = range(1, 65_536)) -> Callable[[Random], SockAddr]:
    """A port of this host's, drawn at random."""
    if not ports or ports[0] < 1 or ports[-1] > 65_535:
        raise ValueError(f"expected ports from 1 to 65535, got {ports}")
    return lambda random: (host, ports[int(random.random() * len(ports))])


class OffPath:
    """An attacker who sees nothing and can send anything, with any source. All it knows is what a test tells it."""

    def __init__(self, net: SimNet, *, random: Random | None = None) -> None:
        """Make one that draws from `net.random`, or from a source of its own."""
        self.net: Final = net
        self.random: Final = net.random if random is None else random
        self.sent = 0
        """Packets so far."""

    def send(
        self,
        data: Drawn[bytes],
        *,
        source: Drawn[SockAddr],
        to: Drawn[SockAddr],
        after: float = 0.0,
        host: Host | None = None,
    ) -> None:
        """Send one datagram, `after` seconds from now. What is a function is drawn anew. See `SimNet.inject`."""
        self.sent += 1
        self.net.inject(self._draw(data), self._draw(source), self._draw(to), after=after, host=host)

    def icmp(
        self,
        kind: Drawn[str],
        *,
        source: Drawn[SockAddr],
        destination: Drawn[SockAddr],
        quote: Drawn[bytes] = b"",
        router: str | None = None,
        mtu: int = 0,
        after: float = 0.0,
    ) -> None:
        """Send one ICMP error about a datagram that may never have been sent, to whoever has its source address.

        Args:
            kind: one of `ICMP_KINDS`.
            source: of the datagram it quotes.
            destination: of the datagram it quotes.
            quote: the bytes of that datagram.
            router: where the error claims to come from; the quoted destination by default.
            mtu: for `fragmentation needed`.
            after: seconds from now.
        """
        self.sent += 1
        about = Packet(self._draw(quote), normalise(self._draw(source)), normalise(self._draw(destination)))
        self.net.inject_icmp(self._draw(kind), about, source=router, mtu=mtu, after=after)

    async def flood(self, strike: Callable[[], object], *, count: int, rate: float) -> None:
        """Do it again and again.

        Args:
            strike: sends one packet: `lambda: forger.send(…)`.
            count: how often.
            rate: times a second.
        """
        if not rate > 0:
            raise ValueError(f"expected a rate above 0 a second, got {rate}")
        start = trio.current_time()
        for number in range(count):
            # Until a time, and not for one: rounding errors do not add up.
            await trio.sleep_until(start + number / rate)
            strike()

    def _draw(self, wanted: Drawn[T]) -> T:
        return wanted(self.random) if callable(wanted) else wanted


class OnPath:
    """An attacker who sees every packet between two places, and decides about it.

    Each method but `replay` and `answer` makes a context manager, for whose length it goes on. They may be nested:
    the innermost is asked about a packet first, and the others only where it has no opinion.
    """

    def __init__(self, net: SimNet, some: Place | None = None, other: Place | None = None, *, keep: int = SEEN) -> None:
        """Stand between two places; None is anywhere.

        Args:
            net: their network.
            some: one end.
            other: the other end.
            keep: packets it remembers.
        """
        self.net: Final = net
        self.seen: Final[deque[Packet]] = deque(maxlen=keep)
        """The newest packets that passed while it was watching or doing something."""
        self._ways: Final = net.way(some, other), net.way(other, some)

    # For the length of a block

    @contextmanager
    def doing(self, act: Rule, *, source: Place | None = None) -> Iterator["OnPath"]:
        """Let this rule decide about every packet that passes, or about those that come from one of the places."""

        is_from_there = self.net.way(source)

        def rule(packet: Packet) -> Verdict | None:
            if not any(passes(packet) for passes in self._ways):
                return None
            if not self.seen or self.seen[-1].number != packet.number:
                self.seen.append(packet)
            return act(packet) if is_from_there(packet) else None

        with self.net.rule(rule):
            yield self

    def watching(self) -> AbstractContextManager["OnPath"]:
        """See what passes, and leave it alone."""
        return self.doing(lambda packet: None)

    def swallow(self, *, source: Place | None = None) -> AbstractContextManager["OnPath"]:
        """Let nothing through."""
        return self.doing(lambda packet: drop("swallowed"), source=source)

    def delay(self, seconds: float, *, source: Place | None = None) -> AbstractContextManager["OnPath"]:
        """Let everything through, so much later."""
        return self.doing(lambda packet: delay(seconds), source=source)

    def repeat(
        self, count: int, *, apart: float = 0.0, source: Place | None = None
    ) -> AbstractContextManager["OnPath"]:
        """Let everything through so many times."""
        return self.doing(lambda packet: copies(count, apart=apart), source=source)

    def alter(
        self, change: Callable[[bytes], bytes], *, source: Place | None = None
    ) -> AbstractContextManager["OnPath"]:
        """Let everything through with other bytes."""
        return self.doing(lambda packet: _altered(packet, change), source=source)

    def answer_first(
        self, make: Callable[[bytes], bytes | None], *, source: Place | None = None
    ) -> AbstractContextManager["OnPath"]:
        """Answer before whoever was asked can, as if it were them; None is no answer. The packet itself goes on.

        Args:
            make: the answer to these bytes.
            source: answer only what comes from there; both places by default.
        """

        def act(packet: Packet) -> None:
            data = make(packet.data) if packet.icmp is None else None
            if data is not None:
                self.answer(packet, data)

        return self.doing(act, source=source)

    # At once

    def replay(self, packet: Packet, data: bytes | None = None, *, after: float = 0.0) -> None:
        """Let a packet that was seen arrive once more, or other bytes in its name."""
        self.net.inject(packet.data if data is None else data, packet.source, packet.destination, after=after)

    def answer(self, packet: Packet, data: bytes, *, after: float = 0.0) -> None:
        """Answer a packet, in the name of whoever it was sent to."""
        self.net.inject(data, packet.destination, packet.source, after=after)


def _altered(packet: Packet, change: Callable[[bytes], bytes]) -> Verdict | None:
    return replace(change(packet.data), "altered") if packet.icmp is None else None
