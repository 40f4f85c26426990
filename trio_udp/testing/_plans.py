"""Plans: what goes wrong with which packet, and who asks what when. Values that print as the code that makes them.

    plan = Plan(Lose(1), Delay(2, seconds=0.5), Inject(after=3, source=("203.0.113.66", 53), data=b"FAKE"))
    with plan.on(net):
        ...

A plan counts the datagrams that are sent from 1, and says of each one by its number what becomes of it. So it needs no
probability, and a test that fails under one can be run again by pasting it. `trio_udp.testing.strategies` draws plans
and scripts, and shrinks them to few actions with small numbers.
"""

import math
from collections import defaultdict
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import trio

from .._chaos import ICMP_KINDS, Delivery, Packet, Rule, Verdict, drop, flip_bit
from .._given import check_given
from .._net import Address, normalise
from ._nat import Place

if TYPE_CHECKING:
    from ._simnet import SimNet

T = TypeVar("T")
Deliveries = tuple[Delivery, ...]


class _Written:
    """Prints as the call that makes it, less the defaults; Hypothesis and IPython print it so too."""

    def __repr__(self) -> str:
        shown = []
        for each in fields(self):  # type: ignore[arg-type]  # every class below is a dataclass
            value = getattr(self, each.name)
            if value != each.default:
                shown.append(f"{each.name}={value!r}" if each.kw_only else repr(value))
        return f"{type(self).__name__}({', '.join(shown)})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))


# What becomes of a packet


@dataclass(frozen=True, repr=False)
class Change(_Written):
    """Something that is done to the packet of this number."""

    packet: int
    """1 is the first datagram that is sent."""

    def __post_init__(self) -> None:
        _check_number(self.packet)

    def change(self, deliveries: Deliveries, data: bytes) -> Deliveries:
        """What arrives of a packet with these bytes, if this would have arrived without the change."""
        raise NotImplementedError


class Lose(Change):
    """It never arrives."""

    def change(self, deliveries: Deliveries, data: bytes) -> Deliveries:
        return ()


@dataclass(frozen=True, repr=False)
class Delay(Change):
    """It arrives late."""

    seconds: float = field(default=0.1, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_seconds(self.seconds)

    def change(self, deliveries: Deliveries, data: bytes) -> Deliveries:
        return tuple(each._replace(after=each.after + self.seconds) for each in deliveries)


@dataclass(frozen=True, repr=False)
class Duplicate(Change):
    """It arrives more than once; with seconds apart, that is a replay."""

    copies: int = field(default=2, kw_only=True)
    apart: float = field(default=0.0, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_seconds(self.apart)
        if self.copies < 1:
            raise ValueError(f"expected at least 1 copy, got {self.copies}")

    def change(self, deliveries: Deliveries, data: bytes) -> Deliveries:
        return tuple(
            each._replace(after=each.after + self.apart * n) for each in deliveries for n in range(self.copies)
        )


class Swap(Change):
    """It arrives behind the next one from the same source to the same destination; never, if there is none."""

    def change(self, deliveries: Deliveries, data: bytes) -> Deliveries:
        return deliveries  # the rule below keeps them back, as it is who sees the next one


@dataclass(frozen=True, repr=False)
class Corrupt(Change):
    """It arrives with one bit flipped and a good checksum."""

    bit: int = field(default=0, kw_only=True)
    """Counts from the first byte's lowest, and begins again at the end of the payload."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bit < 0:
            raise ValueError(f"expected a bit from 0, got {self.bit}")

    def change(self, deliveries: Deliveries, data: bytes) -> Deliveries:
        return _rewrite(deliveries, data, lambda data: flip_bit(data, self.bit % (8 * len(data))) if data else data)


@dataclass(frozen=True, repr=False)
class Truncate(Change):
    """It arrives without its end."""

    size: int = field(default=0, kw_only=True)
    """Bytes that are left of its payload."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size < 0:
            raise ValueError(f"expected a size from 0 bytes, got {self.size}")

    def change(self, deliveries: Deliveries, data: bytes) -> Deliveries:
        return _rewrite(deliveries, data, lambda data: data[: self.size])


def _rewrite(deliveries: Deliveries, data: bytes, rewrite: Callable[[bytes], bytes]) -> Deliveries:
    return tuple(each._replace(data=rewrite(data if each.data is None else each.data)) for each in deliveries)


# What is forged because of a packet


@dataclass(frozen=True, repr=False, kw_only=True)
class Inject(_Written):
    """A forged datagram arrives when the packet of this number is sent: before any answer to it can."""

    after: int
    """The number of the packet."""
    source: tuple[str, int] | None = None
    """Where it claims to come from; None where the packet is going, as the answer would."""
    data: bytes = b""
    to: tuple[str, int] | None = None
    """Where it arrives; None where the packet comes from."""
    seconds: float = 0.0
    """How much later it arrives."""

    def __post_init__(self) -> None:
        _check_number(self.after)
        _check_seconds(self.seconds)

    def strike(self, net: "SimNet", packet: Packet) -> None:
        """Do it. `ValueError` where no such datagram can be: from one IP version to the other."""
        source = packet.destination if self.source is None else normalise(self.source)
        to = packet.source if self.to is None else normalise(self.to)
        net.inject(self.data, source, to, after=self.seconds)


@dataclass(frozen=True, repr=False, kw_only=True)
class IcmpError(_Written):
    """A forged ICMP error about the packet of this number arrives at its sender when it is sent."""

    after: int
    """The number of the packet; it goes its way nevertheless."""
    kind: str = ICMP_KINDS[0]
    """One of `ICMP_KINDS`."""
    mtu: int = 0
    """With `fragmentation needed`, the bytes that it says would have fitted."""
    router: str | None = None
    """Where it claims to come from; None is where the packet is going."""
    seconds: float = 0.0
    """How much later it arrives."""

    def __post_init__(self) -> None:
        _check_number(self.after)
        _check_seconds(self.seconds)
        if self.kind not in ICMP_KINDS:
            raise ValueError(f"expected one of {', '.join(ICMP_KINDS)}, got {self.kind!r}")

    def strike(self, net: "SimNet", packet: Packet) -> None:
        """Do it."""
        net.inject_icmp(self.kind, packet, source=self.router, mtu=self.mtu, after=self.seconds)


Action = Change | Inject | IcmpError


class Plan(tuple[Action, ...]):
    """What goes wrong with which packet: `Plan(Lose(1), Delay(2))`. Several actions on one packet all happen, in order.

    Datagrams are numbered from 1 in the order in which they are sent; ICMP errors and forged ones are not counted. What
    a plan does to a packet stands in place of the conditions of its link; about all other packets it has no opinion.
    """

    __slots__ = ()

    def __new__(cls, *actions: Action) -> "Plan":
        """Make a plan of these actions; `TypeError` for what is none."""
        for action in actions:
            check_given("an action of a plan", action, Action)
        return super().__new__(cls, actions)

    def __repr__(self) -> str:
        return f"Plan({', '.join(map(repr, self))})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))

    def rule(self, net: "SimNet", source: Place | None = None, destination: Place | None = None) -> Rule:
        """A rule that carries the plan out, once.

        Args:
            net: where forged packets arrive.
            source: count only what is sent from there; None is anywhere. With one plan for what a client sends and
                another for what its server sends, the numbers are those of the requests and of the answers.
            destination: count only what is sent there.
        """
        return _Carrier(self, net, source, destination)

    def on(
        self, net: "SimNet", source: Place | None = None, destination: Place | None = None
    ) -> AbstractContextManager[Rule]:
        """Carry the plan out on this network, for the length of a `with` block. The arguments are those of `rule`."""
        return net.rule(self.rule(net, source, destination))


class _Carrier:
    """A plan that is being carried out: the rule, and how far it got."""

    def __init__(self, plan: Plan, net: "SimNet", source: Place | None, destination: Place | None) -> None:
        self._net = net
        self._is_counted = net.way(source, destination)
        self._sent = 0
        self._changes: defaultdict[int, list[Change]] = defaultdict(list)
        self._strikes: defaultdict[int, list[Inject | IcmpError]] = defaultdict(list)
        self._held: dict[tuple[Address, Address], list[bytes]] = {}
        """What `Swap` keeps back, by its way."""
        for action in plan:
            if isinstance(action, Change):
                self._changes[action.packet].append(action)
            else:
                self._strikes[action.after].append(action)

    def __call__(self, packet: Packet) -> Verdict | None:
        if packet.icmp is not None or not self._is_counted(packet):
            return None
        self._sent += 1
        for strike in self._strikes.pop(self._sent, ()):
            strike.strike(self._net, packet)
        changes = self._changes.pop(self._sent, [])
        way = packet.source, packet.destination
        behind = self._held.pop(way, [])
        if not changes and not behind:
            return None
        deliveries: Deliveries = (Delivery(),)
        for change in changes:
            deliveries = change.change(deliveries, packet.data)
        if any(isinstance(change, Swap) for change in changes):
            arriving = [packet.data if data is None else data for _, data in deliveries]
            self._held[way] = behind + arriving
            return drop("kept back by the plan")
        last = max((after for after, _ in deliveries), default=0.0)
        deliveries += tuple(Delivery(last, data) for data in behind)
        return Verdict(deliveries, ", ".join(map(repr, changes)))


def _check_number(number: int) -> None:
    if number < 1:
        raise ValueError(f"expected the number of a packet, from 1, got {number}")


def _check_seconds(seconds: float) -> None:
    if not 0 <= seconds < math.inf:
        raise ValueError(f"expected 0 or more seconds, got {seconds}")


# Who asks what when


@dataclass(frozen=True, repr=False)
class Ask(_Written):
    """One request that a test lets a client make."""

    data: bytes = b""
    at: float = field(default=0.0, kw_only=True)
    """Seconds from the script's beginning."""
    client: int = field(default=0, kw_only=True)
    """Which client asks, from 0."""
    patience: float | None = field(default=None, kw_only=True)
    """Seconds after which it is cancelled; None lets it take its time."""


class Ending(NamedTuple):
    """How a request of a script ended: with a result, an error, or by being cancelled."""

    ask: Ask
    began: float
    """Seconds from the script's beginning."""
    ended: float
    result: Any = None
    """What was returned, unless there is an error or it was cancelled."""
    error: Exception | None = None
    was_cancelled: bool = False


EXPECTED: Final = (OSError, trio.TooSlowError)
"""Errors that are an answer: those of the network."""


class Script(tuple[Ask, ...]):
    """Who asks what when: `Script(Ask(b"a"), Ask(b"b", at=0.5, patience=1.0))`."""

    __slots__ = ()

    def __new__(cls, *asks: Ask) -> "Script":
        """Make a script of these requests."""
        return super().__new__(cls, asks)

    def __repr__(self) -> str:
        return f"Script({', '.join(map(repr, self))})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))

    async def play(
        self,
        ask: Callable[[Ask], Awaitable[object]],
        *,
        errors: tuple[type[Exception], ...] = EXPECTED,
    ) -> list[Ending]:
        """Let everybody ask at their time, each in a task of its own, and return how each request ended, in order.

        Args:
            ask: makes one request, by the client whose number stands in it.
            errors: those that are an ending. Any other ends the script.
        """
        start = trio.current_time()
        endings: dict[int, Ending] = {}

        async def run(number: int, each: Ask) -> None:
            await trio.sleep_until(start + each.at)
            began = trio.current_time() - start
            result, error = None, None
            with trio.move_on_after(math.inf if each.patience is None else each.patience) as scope:
                try:
                    result = await ask(each)
                except errors as exc:
                    error = exc
            ended = trio.current_time() - start
            endings[number] = Ending(each, began, ended, result, error, scope.cancelled_caught)

        async with trio.open_nursery() as nursery:
            for number, each in enumerate(self):
                nursery.start_soon(run, number, each)
        return [endings[number] for number in range(len(self))]
