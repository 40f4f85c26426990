"""One direction with faults: one passage for each datagram, and it says what really left, in which order."""

import math
from random import Random
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_udp._direction import NO_ROOM, Direction, Passage, Stream, changed_bits
from trio_udp._net import Address
from trio_udp.testing import DROP, Conditions, Delivery, Packet, Rule, Verdict, by_number, copies, flip_bit, replace
from trio_udp.testing.strategies import conditions

HERE: Final = Address("192.0.2.1", 1)
THERE: Final = Address("192.0.2.2", 2)
FLOWS: Final = 3


class Line:
    """A direction, and somebody who sends what it lets leave: a clock, and what left."""

    def __init__(self, *rules: Rule, limit: int = 1_000, refuses: Rule | None = None) -> None:
        self.passages: list[Passage] = []
        self.left: list[tuple[int, bytes]] = []
        self.most_waiting = 0
        self._streams = [Stream(flow) for flow in range(1, FLOWS + 1)]
        self._random = Random(1)
        self.direction: Direction[int] = Direction("up", rules, limit=limit, on_passage=self.passages.append)

    def arrive(self, data: bytes, now: float, flow: int = 1) -> None:
        """A datagram comes, and what is due leaves."""
        self.run_until(now)
        self.direction.enter(Packet(data, HERE, THERE, sent_at=now), self._streams[flow - 1], flow)
        self.most_waiting = max(self.most_waiting, len(self.direction._waiting))
        self.run_until(now)

    def run_until(self, now: float, fails: float = 0.0) -> None:
        """What is due leaves, but for this share."""
        while (leaving := self.direction.take(now)) is not None:
            error = "EPERM" if self._random.random() < fails else ""
            if not error:
                self.left.append((leaving.way, leaving.data))
            self.direction.settle(leaving, at=max(leaving.due, now if now < math.inf else leaving.due), error=error)


traffic = st.lists(st.tuples(st.floats(0, 0.1), st.integers(1, FLOWS)), max_size=40)


def run(said: Conditions, seed: int, sent: list[tuple[float, int]], *, limit: int, fails: float) -> Line:
    """Let this traffic pass, each datagram with its number in it."""
    line, now = Line(said.rule(Random(seed)), limit=limit), 0.0
    for number, (gap, flow) in enumerate(sent, start=1):
        now += gap
        line.arrive(number.to_bytes(4, "big"), now, flow)
    line.run_until(now + 0.1, fails)
    line.direction.abandon("stopped", lambda flow: flow == FLOWS)
    line.run_until(math.inf)
    return line


@given(conditions(corrupt=0.3), st.integers(0, 9), traffic, st.integers(1, 20), st.sampled_from([0.0, 0.5]))
def test_what_the_passages_say_is_what_left(
    said: Conditions, seed: int, sent: list[tuple[float, int]], limit: int, fails: float
) -> None:
    """Each datagram has one passage; the copies of all, in their order, are what left; the counters are their sums."""
    line = run(said, seed, sent, limit=limit, fails=fails)
    assert sorted(passage.packet.number for passage in line.passages) == list(range(1, len(sent) + 1))
    all_left = [
        (copy.order, passage.flow, copy.data) for passage in line.passages for copy in passage.copies if copy.order
    ]
    assert [(flow, data) for _, flow, data in sorted(all_left)] == line.left
    assert sorted(order for order, _, _ in all_left) == list(range(1, len(all_left) + 1))
    assert line.most_waiting <= limit
    check_counters(line)


def check_counters(line: Line) -> None:
    """They are what one counts in the passages."""
    found = line.direction.statistics()
    left = [(passage, copy) for passage in line.passages for copy in passage.copies if copy.left_at is not None]
    assert found.received == len(line.passages) == found.forwarded + found.dropped
    assert found.forwarded == sum(passage.has_left for passage in line.passages)
    assert found.sent == len(left) == found.forwarded + found.duplicated
    assert found.corrupted == sum(copy.data != passage.packet.data for passage, copy in left)
    assert found.delayed == sum(copy.due > passage.packet.sent_at for passage, copy in left)
    assert found.reordered == sum(copy.reordered for _, copy in left)
    assert sum(found.reasons.values()) == found.dropped
    assert sum(found.unsent.values()) == sum(len(passage.copies) for passage in line.passages) - found.sent
    assert found.waiting == found.forged == 0


@given(conditions(), st.integers(0, 9), traffic)
def test_reordered_is_what_a_receiver_calls_reordered(
    said: Conditions, seed: int, sent: list[tuple[float, int]]
) -> None:
    """RFC 4737: its number is below one that came before; told of first copies, within a flow."""
    line = run(said, seed, sent, limit=1_000, fails=0.0)
    reordered = {passage.packet.number for passage in line.passages if any(copy.reordered for copy in passage.copies)}
    seen: set[int] = set()
    expected = set()
    highest = dict.fromkeys(range(1, FLOWS + 1), 0)
    for flow, data in line.left:
        number = int.from_bytes(data, "big")
        if number not in seen and number < highest[flow]:
            expected.add(number)
        seen.add(number)
        highest[flow] = max(highest[flow], number)
    assert reordered == expected


def test_a_full_line_loses_what_exceeds_it() -> None:
    """And says so; what left before goes on."""
    line = Line(lambda packet: Verdict((Delivery(1.0),) * 3), limit=2)
    line.arrive(b"data", 0.0)
    line.arrive(b"more", 0.5)
    line.run_until(2.0)
    found = line.direction.statistics()
    assert (found.received, found.forwarded, found.dropped, found.sent) == (2, 1, 1, 2)
    assert (found.unsent, found.reasons) == ({NO_ROOM: 4}, {NO_ROOM: 1})


def test_what_is_forged_is_told_apart() -> None:
    """It has no number, and counts by itself."""
    line = Line(by_number({1: DROP}))
    line.direction.inject("junk", Packet(b"FAKE", THERE, HERE, sent_at=1.0), Stream(1), 1)
    line.arrive(b"data", 1.0)
    forged, lost = line.passages
    assert (forged.forged, forged.packet.number, forged.has_left) == ("junk", 0, True)
    assert (lost.forged, lost.packet.number, lost.has_left) == ("", 1, False)
    found = line.direction.statistics()
    assert (found.forged, found.sent, found.received, found.dropped) == (1, 0, 1, 1)


def test_a_passage_in_json_has_times_and_bits_and_no_payload() -> None:
    """Whole nanoseconds."""
    script = by_number(
        {
            1: Verdict((Delivery(0.25), Delivery(0.5, flip_bit(b"data", 13)))),
            2: lambda packet: replace(b"longer than it was"),
            3: copies(2),
        }
    )
    line = Line(script, limit=2)
    line.arrive(b"data", 1.0, flow=2)
    line.arrive(b"data", 1.25)
    line.arrive(b"data", 1.25)
    line.run_until(1.5)
    as_it_came = {"reordered": False, "size": 4}
    written = [passage.as_json(since=1.0) for passage in sorted(line.passages, key=lambda each: each.packet.number)]
    assert written[0] == {
        "event": "datagram",
        "direction": "up",
        "flow": 2,
        "number": 1,
        "source": "192.0.2.1:1",
        "destination": "192.0.2.2:2",
        "at_ns": 0,
        "size": 4,
        "fate": "forwarded",
        "why": "",
        "copies": [as_it_came | left_after(250_000_000, 1), as_it_came | left_after(500_000_000, 4, 13)],
    }
    assert written[1]["copies"][0]["size"] == 18  # type: ignore[index]  # a list of objects
    assert written[2]["copies"] == [{"error": "overflow"}, as_it_came | left_after(0, 3)]


def left_after(nanoseconds: int, order: int, *bits: int) -> dict[str, object]:
    """What is said of a copy that left when it was due."""
    return {"order": order, "delay_ns": nanoseconds, "left_after_ns": nanoseconds, "changed_bits": list(bits)}


@given(st.binary(min_size=1, max_size=50), st.data())
def test_changed_bits_are_those_that_were_flipped(data: bytes, drawn: st.DataObject) -> None:
    """Counted as `flip_bit` counts them, the first 16."""
    bits = sorted(drawn.draw(st.sets(st.integers(0, 8 * len(data) - 1))))
    changed = data
    for bit in bits:
        changed = flip_bit(changed, bit)
    assert changed_bits(data, changed) == bits[:16]


def test_a_refused_datagram_is_counted_with_its_reason() -> None:
    """It never gets to a rule."""
    line = Line(lambda packet: pytest.fail("asked"))
    line.direction.refuse(Packet(b"", HERE, THERE), Stream(), "too many flows")
    assert line.direction.statistics().reasons == {"too many flows": 1}
    assert [passage.why for passage in line.passages] == ["too many flows"]


def test_statistics_say_in_words_what_was_done() -> None:
    """What was not done has no word; why datagrams were dropped is a line for each reason."""
    line = Line(by_number({1: DROP, 3: copies(2)}))
    for number in range(1, 4):
        line.arrive(bytes([number]), float(number))
    assert line.direction.statistics().lines("up") == [
        "chaos up: 3 received, 1 dropped, 3 sent (1 duplicated)",
        "  dropped 1: lost",
    ]
    assert Line().direction.statistics().lines("down") == ["chaos down: 0 received, 0 dropped, 0 sent"]


def test_what_was_forged_has_its_place_in_the_words() -> None:
    """Beside what came, with the kinds below."""
    line = Line()
    line.direction.inject("junk", Packet(b"?", HERE, THERE, sent_at=0.0), Stream(1), 1)
    line.run_until(1.0)
    assert line.direction.statistics().lines("up") == [
        "chaos up: 0 received, 0 dropped, 0 sent, 1 forged",
        "  forged 1: junk",
    ]
