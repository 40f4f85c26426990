"""Faults as rules: what `Conditions` promise about any stream of packets, and the verdicts one writes by hand."""

import errno
import math
from itertools import pairwise
from random import Random
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_udp._chaos import Link, first_verdict, ip_length
from trio_udp._net import Address
from trio_udp.testing import (
    DROP,
    PASS,
    Conditions,
    Delivery,
    GilbertElliott,
    Packet,
    Verdict,
    by_number,
    copies,
    delay,
    drop,
    flip_bit,
    refuse,
    reject,
    replace,
)

HERE: Final = Address("192.0.2.1", 1)
THERE: Final = Address("192.0.2.2", 2)
shares = st.floats(0, 1)
seconds = st.floats(0, 10)
bursts = st.builds(GilbertElliott, shares, shares, shares, shares)
conditions = st.builds(
    Conditions,
    loss=shares,
    burst=st.none() | bursts,
    mtu=st.none() | st.integers(68, 2_000),
    latency=seconds,
    jitter=seconds,
    bandwidth=st.none() | st.floats(1, 1e9),
    queue=seconds,
    duplicate=shares,
    reorder=shares,
    reorder_by=seconds,
    corrupt=shares,
)


def packets(gaps: list[float], data: bytes = b"data") -> list[Packet]:
    """One after the other, with these pauses between them."""
    now, found = 0.0, []
    for number, gap in enumerate(gaps):
        now += gap
        found.append(Packet(data, HERE, THERE, sent_at=now, number=number))
    return found


def arrivals(link: Link, sent: list[Packet]) -> list[tuple[float, int]]:
    """When each copy arrives, and of which packet it is, in the order in which they were sent."""
    return [(packet.sent_at + delivery.after, packet.number) for packet in sent for delivery in link(packet).deliveries]


def share_lost(link: Link, count: int = 10_000) -> float:
    """The share of so many packets that never arrives."""
    return 1 - sum(bool(link(packet).deliveries) for packet in packets([0.001] * count)) / count


@given(conditions, st.integers(), st.lists(st.floats(0, 1), max_size=30))
def test_equal_seeds_give_equal_verdicts(said: Conditions, seed: int, gaps: list[float]) -> None:
    """Nothing else decides."""
    first, second = said.rule(Random(seed)), said.rule(Random(seed))
    assert [first(packet) for packet in packets(gaps)] == [second(packet) for packet in packets(gaps)]


@given(conditions, st.integers(), st.lists(st.floats(0, 1), max_size=30), st.binary(max_size=20))
def test_every_verdict_is_possible(said: Conditions, seed: int, gaps: list[float], data: bytes) -> None:
    """Two copies at most, none before it was sent, none changed by more than a bit, and never an error of the call."""
    link = said.rule(Random(seed))
    for packet in packets(gaps, data):
        verdict = link(packet)
        assert len(verdict.deliveries) <= 2
        assert verdict.errno is None
        for after, changed in verdict.deliveries:
            assert after >= said.latency - 1e-6
            if changed is not None:
                assert len(changed) == len(data)
                (difference,) = [one ^ other for one, other in zip(data, changed, strict=True) if one != other]
                assert difference.bit_count() == 1


@given(conditions, st.integers(), st.lists(st.floats(0, 1), max_size=30))
def test_packets_keep_their_order_unless_reordering_picks_them(said: Conditions, seed: int, gaps: list[float]) -> None:
    """Jitter alone does not overtake."""
    kept = Conditions(**{**vars(said), "reorder": 0.0})
    times = [time for time, _ in arrivals(kept.rule(Random(seed)), packets(gaps))]
    assert all(earlier <= later + 1e-9 for earlier, later in pairwise(times))


def test_a_reordered_packet_arrives_late() -> None:
    """By what was said, behind those sent after it."""
    link = Conditions(latency=0.01, reorder=1.0, reorder_by=0.5).rule(Random(0))
    (verdict,) = [link(packet) for packet in packets([0.0])]
    assert verdict == Verdict((Delivery(0.51),), "reordered")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("field", ["loss", "duplicate", "reorder", "corrupt"])
def test_shares_converge(field: str, share: float) -> None:
    """To what was said, within three in two hundred for ten thousand packets."""
    said: dict[str, Any] = {field: share}
    link = Conditions(**said).rule(Random(4))
    verdicts = [link(packet) for packet in packets([0.1] * 10_000)]
    seen = {
        "loss": sum(not verdict.deliveries for verdict in verdicts),
        "duplicate": sum(len(verdict.deliveries) == 2 for verdict in verdicts),
        "reorder": sum("reordered" in verdict.why for verdict in verdicts),
        "corrupt": sum("corrupted" in verdict.why for verdict in verdicts),
    }
    assert seen.pop(field) / 10_000 == pytest.approx(share, abs=0.015)
    assert not any(seen.values()), "only that"


@pytest.mark.parametrize(
    "burst", [GilbertElliott(0.05, 0.2), GilbertElliott(0.02, 0.5, 0.8, 0.05), GilbertElliott(0.3, 0.1, 0.5)]
)
def test_bursts_have_their_averages(burst: GilbertElliott) -> None:
    """The share of the bad state is enter / (enter + leave)."""
    bad = burst.enter / (burst.enter + burst.leave)
    expected = bad * burst.loss_when_bad + (1 - bad) * burst.loss_when_good
    assert share_lost(Conditions(burst=burst).rule(Random(1)), 40_000) == pytest.approx(expected, abs=0.01)


def test_a_bad_spell_has_its_length() -> None:
    """1 / leave packets, on average."""
    link = Conditions(burst=GilbertElliott(0.05, 0.2)).rule(Random(2))
    fates = [bool(link(packet).deliveries) for packet in packets([0.0] * 40_000)]
    spells = sum(before and not after for before, after in pairwise(fates))
    assert fates.count(False) / spells == pytest.approx(5, rel=0.1)


@given(st.integers(1, 50), st.integers(0, 1_000), st.floats(1_000, 1e8))
def test_bandwidth_is_never_exceeded(count: int, size: int, bandwidth: float) -> None:
    """However many are sent at once, each takes its time on the wire."""
    link = Conditions(bandwidth=bandwidth, queue=1e9).rule(Random(0))
    times = [time for time, _ in arrivals(link, packets([0.0] * count, bytes(size)))]
    assert len(times) == count
    assert times[-1] == pytest.approx(count * 8 * (size + 28) / bandwidth)


def test_a_queue_that_is_too_long_loses_its_end() -> None:
    """What would wait for more than `queue` is lost, and later there is room again."""
    link = Conditions(bandwidth=8_000, queue=0.1).rule(Random(0))  # a kilobyte a second
    sent = packets([0.0] * 8, bytes(12))  # 40 bytes each, with headers: 40 ms
    assert [number for _, number in arrivals(link, sent)] == [0, 1, 2]
    assert link(sent[3]) == drop("lost in a full queue")
    assert link(Packet(b"", HERE, THERE, sent_at=0.1)).deliveries


def test_what_is_too_long_is_lost_and_reported() -> None:
    """Unless it may be divided."""
    link = Conditions(mtu=100).rule(Random(0))
    small, large = Packet(bytes(72), HERE, THERE, may_fragment=False), Packet(bytes(73), HERE, THERE)
    assert (ip_length(small), ip_length(large)) == (100, 101)
    assert link(small).deliveries
    assert link(large).deliveries
    kept_whole = large._replace(may_fragment=False)
    assert link(kept_whole) == reject(kept_whole, "fragmentation needed", mtu=100)


def test_headers_are_those_of_the_version() -> None:
    """20 bytes more in version 6."""
    assert ip_length(Packet(b"", Address("::1", 1), Address("::1", 2))) == 48


@given(conditions)
def test_conditions_print_as_what_makes_them(said: Conditions) -> None:
    """A falsifying example can be pasted."""
    assert eval(repr(said)) == said  # noqa: S307 - of our own making


def test_defaults_are_not_printed() -> None:
    """So that one sees at a glance what matters."""
    assert repr(Conditions(loss=0.2, burst=GilbertElliott(0.1, 0.5))) == (
        "Conditions(loss=0.2, burst=GilbertElliott(enter=0.1, leave=0.5))"
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *((field, value) for field in ("loss", "duplicate", "reorder", "corrupt") for value in (-0.1, 1.1, math.nan)),
        *(
            (field, value)
            for field in ("latency", "jitter", "queue", "reorder_by")
            for value in (-1, math.inf, math.nan)
        ),
        *(("bandwidth", value) for value in (0, -1, math.inf, math.nan)),
        *(("mtu", value) for value in (0, 67)),
    ],
)
def test_nonsense_is_refused_by_name(field: str, value: float) -> None:
    """When the conditions are made, not when a packet comes."""
    said: dict[str, Any] = {field: value}
    with pytest.raises(ValueError, match=f"expected {field} to be"):
        Conditions(**said)
    with pytest.raises(ValueError, match="expected leave to be a share"):
        GilbertElliott(0.1, 2.0)


def test_verdicts_by_hand() -> None:
    """Each word makes the verdict it says."""
    packet = packets([0.0])[0]
    assert drop("rain") == Verdict((), "rain")
    assert Verdict((), "lost") == DROP
    assert Verdict((Delivery(0.0, None),)) == PASS
    assert delay(2) == Verdict((Delivery(2),), "delayed")
    assert copies(3, apart=0.5).deliveries == (Delivery(0.0), Delivery(0.5), Delivery(1.0))
    assert copies(0).deliveries == ()
    assert replace(b"other") == Verdict((Delivery(0.0, b"other"),), "changed")
    assert refuse(errno.ENOBUFS).errno == errno.ENOBUFS
    rejected = reject(packet, "prohibited")
    assert rejected.icmp is not None
    assert (rejected.icmp.kind, rejected.icmp.about, rejected.deliveries) == ("prohibited", packet, ())


@pytest.mark.parametrize("answer", [True, False, b"other bytes", ()])
def test_a_rule_with_another_answer_is_named(answer: Any) -> None:
    """Also where it would count as false: it is no opinion only if it is None."""

    def mistaken(_: Packet) -> Verdict | None:
        return answer  # type: ignore[no-any-return]  # what is tested

    with pytest.raises(TypeError, match=r"expected a Verdict or None from the rule <function .*mistaken.*, got"):
        first_verdict([mistaken], Packet(b"", HERE, THERE))


def test_the_first_verdict_wins() -> None:
    """None is no opinion."""
    packet = packets([0.0])[0]
    assert first_verdict([], packet) is None
    assert first_verdict([lambda _: None], packet) is None
    assert first_verdict([lambda _: None, lambda _: DROP, lambda _: PASS], packet) is DROP


@given(st.binary(min_size=1), st.data())
def test_a_flipped_bit_flips_back(data: bytes, choice: st.DataObject) -> None:
    """And is one bit."""
    bit = choice.draw(st.integers(0, 8 * len(data) - 1))
    assert flip_bit(data, bit) != data
    assert flip_bit(flip_bit(data, bit), bit) == data


def test_a_script_is_for_the_packets_it_names() -> None:
    """By their number; a step is a verdict, or makes one of the packet."""
    script = by_number({1: DROP, 3: lambda packet: replace(flip_bit(packet.data, 0))})
    sent = [Packet(b"data", HERE, THERE, number=number) for number in range(1, 5)]
    assert [script(packet) for packet in sent] == [DROP, None, replace(b"eata"), None]
    with pytest.raises(ValueError, match="expected the number of a packet, from 1, got 0"):
        by_number({0: DROP})
