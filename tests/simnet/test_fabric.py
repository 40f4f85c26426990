"""Packets under way: times, order, rules, and what is handed to whom."""

import math
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_udp._net import Address
from trio_udp.testing import DROP, PASS, Delivery, Fabric, Packet, Rule, Trace, Verdict, copies, delay, drop, replace

HERE: Final = Address("192.0.2.1", 1)
THERE: Final = Address("192.0.2.2", 2)


def packet(number: int = 1, sent_at: float = 0.0) -> Packet:
    """A packet with its number in it."""
    return Packet(b"%d" % number, HERE, THERE, sent_at, number)


class World:
    """A fabric, and what it has delivered."""

    def __init__(self) -> None:
        self.fabric = Fabric(Trace())
        self.heard: list[bytes] = []

    def deliver(self, arriving: Packet) -> str:
        """Hear it."""
        self.heard.append(arriving.data)
        return "delivered"

    def send(self, sent: Packet, link: Rule) -> Verdict:
        """Let it leave."""
        return self.fabric.transmit(sent, link, self.deliver)


def test_what_needs_no_time_arrives_at_once() -> None:
    """As on a loopback."""
    world = World()
    assert world.send(packet(), lambda _: PASS) == PASS
    assert (world.heard, len(world.fabric), world.fabric.next_due) == ([b"1"], 0, math.inf)


def test_a_link_without_an_opinion_lets_pass() -> None:
    """It is a rule like any other."""
    world = World()
    world.send(packet(), lambda _: None)
    assert world.heard == [b"1"]


def test_what_is_under_way_arrives_when_it_is_due() -> None:
    """And not before."""
    world = World()
    world.send(packet(sent_at=1.0), lambda _: delay(0.5))
    assert (world.heard, len(world.fabric), world.fabric.next_due) == ([], 1, 1.5)
    assert world.fabric.advance(1.499) == 0
    assert world.fabric.advance(1.5) == 1
    assert (world.heard, world.fabric.now) == ([b"1"], 1.5)


@given(st.lists(st.sampled_from([0.0, 0.1, 0.2, 0.3]), max_size=30))
def test_packets_due_together_arrive_in_the_order_they_were_sent(delays: list[float]) -> None:
    """Earlier ones first; so equal runs are equal."""
    world = World()
    for number, seconds in enumerate(delays):
        world.send(packet(number, 1.0), lambda _, seconds=seconds: delay(seconds))  # type: ignore[misc]  # a default
    assert world.fabric.advance(2.0) == sum(seconds > 0 for seconds in delays)
    order = sorted(range(len(delays)), key=lambda number: delays[number])
    assert world.heard == [b"%d" % number for number in order]


def test_losses_copies_and_changes() -> None:
    """As the verdict says."""
    world = World()
    for verdict in (DROP, copies(2, apart=0.5), replace(b"other"), Verdict((Delivery(0.1), Delivery(0.2, b"late")))):
        world.send(packet(), lambda _, verdict=verdict: verdict)  # type: ignore[misc]  # a default
    world.fabric.advance(10)
    assert world.heard == [b"1", b"other", b"1", b"late", b"1"]


def test_rules_come_before_the_link_and_the_newest_first() -> None:
    """For the length of their blocks."""
    world = World()
    asked = []

    def outer(_: Packet) -> Verdict | None:
        asked.append("outer")
        return None

    def inner(_: Packet) -> Verdict | None:
        asked.append("inner")
        return None

    with world.fabric.rule(outer), world.fabric.rule(inner) as installed:
        assert installed is inner
        world.send(packet(), lambda _: PASS)
        with world.fabric.rule(lambda _: drop("here")):
            world.send(packet(), lambda _: PASS)
    world.send(packet(), lambda _: PASS)
    assert (asked, world.heard) == (["inner", "outer"], [b"1", b"1"])


def test_a_rule_goes_away_by_itself_even_among_equals() -> None:
    """Blocks may end in any order, and rules may be equal or the same."""

    class Same:
        def __init__(self, why: str) -> None:
            self.why = why

        def __call__(self, _: Packet) -> Verdict:
            return drop(self.why)

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Same)

        def __hash__(self) -> int:
            return 0

    world = World()
    one, other = world.fabric.rule(Same("one")), world.fabric.rule(Same("other"))
    one.__enter__()
    other.__enter__()
    one.__exit__(None, None, None)
    assert world.send(packet(), lambda _: PASS).why == "other"
    other.__exit__(None, None, None)
    assert world.send(packet(), lambda _: PASS) == PASS


def test_injected_and_resent_packets_pass_every_rule() -> None:
    """Now or later."""
    world = World()
    with world.fabric.rule(lambda _: DROP):
        world.fabric.inject(packet(1, 1.0), world.deliver)
        world.fabric.inject(packet(2, 1.0), world.deliver, after=0.5)
        world.fabric.resend(packet(3, 1.0), world.deliver)
        world.fabric.advance(1.5)
    assert world.heard == [b"1", b"3", b"2"]
    assert [record.injected for record in world.fabric.trace] == [True, True, False]


def test_a_rule_can_ask_who_gets_the_packet() -> None:
    """Before the first packet nobody does."""
    world = World()
    with pytest.raises(AssertionError, match="no packet"):
        world.fabric.deliver(packet())
    world.send(packet(), lambda _: DROP)
    assert world.fabric.deliver == world.deliver


def test_a_late_packet_does_not_turn_back_time() -> None:
    """`now` is the latest there was."""
    world = World()
    world.send(packet(1, 5.0), lambda _: delay(1))
    world.send(packet(2, 4.0), lambda _: delay(1))
    world.fabric.advance(10)
    assert (world.heard, world.fabric.now) == ([b"2", b"1"], 6.0)
