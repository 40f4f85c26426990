"""Whatever the network does, what a prober reports is what happened: every figure against the simulator's own trace.

The truth is read from the trace alone: which datagrams were sent, and which bytes arrived where and when.
"""

from collections import Counter
from functools import partial
from random import Random
from typing import Final, NamedTuple

import trio
from hypothesis import example, given
from hypothesis import strategies as st

import trio_udp
from trio_udp import DropReason
from trio_udp.measure import Direction, Duplicate, Event, Fixed, Late, Lost, ReplyRecord, Summary, open_prober
from trio_udp.testing import Delivery, Packet, SimNet, Verdict, flip_bit, simulate

from ..truth.figures import OURS, Arrival, Truth, is_report, truth

INTERVAL: Final = 0.01


class Faults(NamedTuple):
    """How likely each is for each packet, in either direction."""

    drop: float
    duplicate: float
    reorder: float
    corrupt: float
    forge: float
    seed: int
    probes: int


shares = st.sampled_from([0.0, 0.05, 0.3])
faults = st.builds(Faults, shares, shares, shares, shares, shares, st.integers(0, 2**32 - 1), st.integers(1, 90))
EVERYTHING: Final = Faults(0.2, 0.2, 0.2, 0.1, 0.3, 7, 90)


class World:
    """A client, a server, and a network between them that lies."""

    def __init__(self, net: SimNet, plan: Faults, *, has_last_word: bool) -> None:
        self.net = net
        self.plan = plan
        self.has_last_word = has_last_word
        self.random = Random(plan.seed)
        self.server = net.host("server", "192.0.2.11")
        self.client = net.host("client", "192.0.2.22")
        self.until = 0.0
        """When the network begins to be honest, so that the server's last word comes through."""
        self.forged = Counter[DropReason]()
        self.address = trio_udp.Address("192.0.2.22", 0)

    def rule(self, packet: Packet) -> Verdict | None:
        """What becomes of a packet."""
        draw, plan = self.random.random, self.plan
        if packet.icmp is not None or packet.sent_at > self.until:
            return None
        if is_report(packet.data):
            return None if self.has_last_word else Verdict((), "lost")
        if packet.source.host == "192.0.2.22":
            self.address = packet.source
            if draw() < plan.forge:
                self.forge(packet)
        if draw() < plan.drop:
            return Verdict((), "lost")
        return Verdict(tuple(self.copy(packet) for _ in range(1 + (draw() < plan.duplicate))), "disturbed")

    def copy(self, packet: Packet) -> Delivery:
        """One copy that arrives."""
        draw = self.random.random
        late = 0.001 + 0.005 * draw() + 0.1 * draw() * (draw() < self.plan.reorder)
        data = None
        if draw() < self.plan.corrupt:
            data = flip_bit(packet.data, int(draw() * 8 * len(packet.data)))
        return Delivery(late, data)

    def forge(self, packet: Packet) -> None:
        """A stranger knows the ports, and sends what he can."""
        ids = self.random.randbytes(16)
        reply = bytes([9, 0x81, 0, 1, 0, 0, 0, 0]) + ids
        reflected = packet.data[:1] + b"\x81" + packet.data[2:8] + ids + packet.data[24:]
        for data, source, reason in (
            (b"FAKE", trio_udp.Address("192.0.2.99", 53), DropReason.WRONG_PEER),
            (b"FAKE", packet.destination, DropReason.MALFORMED),
            (reply, packet.destination, DropReason.MALFORMED),
            (reflected, packet.destination, DropReason.CORRUPTED),
        ):
            self.net.inject(data, source, packet.source, after=0.0005 * self.random.random())
            self.forged[reason] += 1
        self.net.inject_icmp("port unreachable", packet, after=0.0005 * self.random.random())


def arrivals(net: SimNet, to: str) -> list[Arrival]:
    """What arrived at a host of what its peer has sent, in order of arrival."""
    found = [
        (fate.at, Arrival(record.packet.number, record.packet.data, fate.data))
        for record in net.trace
        if not record.injected and record.packet.icmp is None and record.packet.destination.host == to
        for fate in record.fates
        if fate.data is not None
    ]
    return [arrival for _, arrival in sorted(found)]


def happened_in(net: SimNet) -> Truth:
    """Read the trace."""
    questions = (
        record.packet.data
        for record in net.trace
        if not record.injected and record.packet.icmp is None and record.packet.destination.host == "192.0.2.11"
    )
    return truth(OURS, questions, arrivals(net, "192.0.2.11"), arrivals(net, "192.0.2.22"))


async def measure(
    net: SimNet, plan: Faults, *, crash_after: float | None = None, has_last_word: bool = True
) -> tuple[Summary, Summary, list[Event], World]:
    """The sums before and after the server's last word, and all events."""
    world = World(net, plan, has_last_word=has_last_word)
    events: list[Event] = []
    async with trio.open_nursery() as nursery:
        serving = partial(trio_udp.serve, lambda request: request.payload, host="192.0.2.11")
        nursery.start_soon(world.server.run, partial(serving, 1060))
        await trio.sleep(60)
        world.until = trio.current_time() + (plan.probes * INTERVAL + 0.5 if has_last_word else 60)
        with world.client.here(), net.rule(world.rule):
            async with open_prober("192.0.2.11", 1060) as prober:
                if crash_after is not None:
                    nursery.start_soon(_crash, world, crash_after * plan.probes * INTERVAL)
                found = await prober.run(Fixed(INTERVAL), count=plan.probes, wait=2, on_event=events.append)
                again = prober.summary()
        nursery.cancel_scope.cancel()
    return found, again, events, world


async def _crash(world: World, after: float) -> None:
    await trio.sleep(after)
    world.server.crash()
    world.server.restart()


@given(faults)
@example(EVERYTHING)
def test_every_figure_equals_the_truth_whatever_goes_wrong(plan: Faults) -> None:
    """Loss both ways, duplicates both ways, reordering, flipped bits, forged replies and forged ICMP, all at once."""
    net = SimNet(plan.seed)
    found, again, events, world = simulate(measure, plan, net=net, seed=plan.seed)
    happened = happened_in(net)
    figures = {name: getattr(found, name) for name in happened.figures}
    if not found.is_complete:  # then nobody has told everything: the sums are right, and what is not known is unknown
        lost = [name for name in figures if name.startswith("lost_")]
        assert sum(figures[name] for name in lost) == sum(happened.figures[name] for name in lost)
        for name in (*lost, "duplicated_upstream", "duplicated_downstream", "duplicated_unknown", "reordered_upstream"):
            if name in figures:
                figures[name] = happened.figures[name]
    assert figures == happened.figures
    assert dict(found.rejected) == dict(happened.rejected + world.forged)
    assert found.sent == sum(
        getattr(found, name)
        for name in (
            "received", "late", "corrupted", "refused", "lost_upstream", "lost_downstream", "lost_unknown", "pending",
        )
    )  # fmt: skip
    assert 0 <= found.loss <= 100
    assert again.sent == found.sent
    _check_events(events, found)
    if found.is_complete:
        named = {event.sequence: event.direction for event in events if isinstance(event, Lost)}
        unknown = Direction.UNKNOWN
        assert {sequence: way for sequence, way in named.items() if way is not unknown} == {
            sequence: way for sequence, way in happened.lost.items() if named[sequence] is not unknown
        }


def _check_events(events: list[Event], found: Summary) -> None:
    """The stream tells of each probe once, and of each duplicate."""
    replies = [event.sequence for event in events if isinstance(event, ReplyRecord)]
    assert len(replies) == len(set(replies)) == found.received
    lost = [event.sequence for event in events if isinstance(event, Lost)]
    assert len(lost) == len(set(lost)) == found.lost
    assert not any(isinstance(event, Late) for event in events)
    copies = Counter(event.direction for event in events if isinstance(event, Duplicate))
    assert copies[Direction.DOWNSTREAM] == found.duplicated_downstream
    assert copies[Direction.UPSTREAM] <= found.duplicated_upstream


@given(faults, st.floats(0, 1))
@example(EVERYTHING, 0.5)
@example(Faults(0.3, 0.0, 0.3, 0.3, 0.3, 38, 38), 0.9882315220976741)
def test_a_server_that_restarts_makes_directions_unknown_and_never_wrong(plan: Faults, when: float) -> None:
    """What it has forgotten nobody can know: but what is named is true."""
    net = SimNet(plan.seed)
    found, _, _, _ = simulate(partial(measure, crash_after=when), plan, net=net, seed=plan.seed)
    happened = happened_in(net).figures
    assert found.sent == happened["sent"]
    assert found.received == happened["received"]
    assert found.lost_downstream <= happened["lost_downstream"]
    assert found.lost_upstream <= happened["lost_upstream"]
    assert found.duplicated_downstream == happened["duplicated_downstream"]
    assert found.duplicated_upstream <= happened["duplicated_upstream"]
    assert found.lost == happened["lost_upstream"] + happened["lost_downstream"]


@given(faults)
@example(EVERYTHING)
def test_without_the_servers_last_word_what_is_named_downstream_is_true(plan: Faults) -> None:
    """And nothing is called complete; upstream is what had not arrived when the server last spoke."""
    net = SimNet(plan.seed)
    found, _, _, _ = simulate(partial(measure, has_last_word=False), plan, net=net, seed=plan.seed)
    happened = happened_in(net).figures
    assert not found.is_complete
    assert found.received == happened["received"]
    assert found.lost_downstream <= happened["lost_downstream"]
    assert found.lost == happened["lost_upstream"] + happened["lost_downstream"]
    assert found.duplicated_upstream <= happened["duplicated_upstream"]


def test_forged_icmp_and_forged_replies_end_nothing() -> None:
    """G5: forged for every probe, and among them the junk that everybody can send."""
    net = SimNet(1)
    plan = Faults(0, 0, 0, 0, 1.0, 1, 20)
    found, _, _, world = simulate(measure, plan, net=net, seed=1)
    assert found.received == 20
    assert dict(found.rejected) == world.forged
