"""The benchmarks' own judgements: a goal that was missed, a cost that grows too fast and a slower core are noticed."""

import importlib
import socket
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture(name="load")
def load_fixture(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Imports a module of the benchmarks, which find each other because they are scripts."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


def growth_of(load: Any, exponent: float) -> Any:
    """A cost that grows as the work to this power."""
    growth = load("growth")
    works = (1.0, 10.0, 100.0, 1000.0)
    points = {str(work): [growth.Point(1.0, 1.0, 1.0, 0.0, work**exponent, 1.0)] for work in works}
    return growth.Growth("a title", "what", False, points, {str(work): work for work in works})


@pytest.mark.parametrize(("exponent", "is_linear"), [(0.0, True), (1.0, True), (1.2, True), (1.5, False), (2.0, False)])
def test_a_cost_that_grows_faster_than_the_work_fails_the_run(load: Any, exponent: float, is_linear: bool) -> None:
    """Twenty times the cost for ten times the work is the most."""
    found = growth_of(load, exponent)
    assert found.exponent() == pytest.approx(exponent)
    assert (found.problem() is None) is is_linear


def test_a_knee_at_the_end_is_not_averaged_away(load: Any) -> None:
    """The steepest step counts, not the mean of all."""
    found = growth_of(load, 0.5)
    found.points["1000.0"] = [found.points["1000.0"][0]._replace(cost=1000.0)]
    assert found.problem() == "the cost grows faster than the work"


def comparison_of(load: Any, ours: list[float], base: list[float]) -> Any:
    """Two candidates, round by round."""
    measure = load("measure")
    samples = {
        name: [measure.Sample(value, 0, None) for value in values] for name, values in (("a", ours), ("b", base))
    }
    return measure.Comparison("a title", "unit", "b", samples, {"c": "c is not installed"})


def test_a_goal_is_judged_by_the_median_of_ratios_within_a_round(load: Any) -> None:
    """Not by the ratio of medians, which a neighbour in one round can move."""
    goals = load("goals")
    comparisons = {"a title": comparison_of(load, [1.0, 20.0, 3.0], [1.0, 10.0, 1.0])}
    goal = goals.Goal("what", "a title", "a", 2.0, "b")
    values = goal.measured(comparisons)
    assert values == [1.0, 2.0, 3.0]
    assert goal.is_met(values)
    assert not goals.Goal("what", "a title", "a", 2.1, "b").is_met(values)
    assert not goals.Goal("what", "a title", "a", 1.9, "b", at_most=True).is_met(values)


def test_a_goal_that_nothing_measured_says_why(load: Any) -> None:
    """It is never called met."""
    goals = load("goals")
    comparisons = {"a title": comparison_of(load, [1.0], [1.0])}
    assert goals.Goal("what", "another title", "a").measured(comparisons) == "not in this run"
    assert goals.Goal("what", "", missing="there are none").measured(comparisons) == "there are none"
    assert goals.Goal("what", "a title", "c").measured(comparisons) == "c is not installed"
    assert goals.Goal("what", "a title", "a", 1.0, "c").measured(comparisons) == "c is not installed"


def test_every_goal_names_a_row_that_its_benchmark_has(load: Any) -> None:
    """A goal whose row was renamed would be reported as not measured for ever."""
    goals = load("goals")
    names = {
        load("servers").TITLE: {load("servers").PLAIN, load("servers").C_MANY, *load("servers").SERVERS},
        load("imports").TITLE: {*load("imports").BEYOND.values(), *load("imports").ARGUMENTS},
        load("tools").ON_TIME: {*load("probers").TOOLS},
        load("tools").ROUND_TRIPS: {*load("probers").TOOLS},
    }
    for goal in goals.GOALS:
        assert goal.comparison or goal.missing
        assert {goal.candidate, goal.base or goal.candidate} <= names.get(goal.comparison, {goal.candidate, goal.base})


def test_a_slower_core_fails_the_run_and_a_slower_interpreter_does_not(load: Any) -> None:
    """What counts is the quotient by the reference."""
    instructions = load("instructions")
    before = {"reference": 100.0, "encode": 200.0}
    assert instructions.Instructions(counts={"reference": 300.0, "encode": 600.0}, before=before).problem() is None
    slower = instructions.Instructions(counts={"reference": 100.0, "encode": 230.0}, before=before)
    assert slower.problem() == "more instructions than before: encode by 15.0%"


@pytest.mark.parametrize(("again", "said"), [(0, None), (2_000_000, "more instructions than before: encode by 100.0%")])
def test_what_looks_slower_is_counted_again(
    load: Any, monkeypatch: pytest.MonkeyPatch, again: int, said: str | None
) -> None:
    """A process that took more before it came to anything of ours is no slower core, and a slower core is one twice."""
    instructions = load("instructions")
    more = {"encode": iter([2_000_000, again])}
    monkeypatch.setattr(
        instructions, "_count", lambda name: (name != "nothing") * 2_000_000 + next(more.get(name, iter([0])))
    )
    assert instructions._compared(dict.fromkeys(instructions.PATHS, 1000.0)).problem() == said


PRINTED = {
    "trio_udp `ping`": (
        '{"kind":"start"}\n{"kind":"summary","received":9,"stamps":{"kernel":9},'
        '"network":{"count":9,"p50_ns":2000,"p99_ns":7500}}\n',
        "",
    ),
    "irtt": (
        '{"round_trips":[{"delay":{"rtt":1000}},{"delay":{}},{"delay":{"rtt":2000}},{"delay":{"rtt":7500}}]}',
        "",
    ),
    "sockperf": ("sockperf: ---> percentile 99.000 =    7.500\nsockperf: ---> percentile 50.000 =    2.000\n", ""),
    "ping (iputils)": (
        "".join(f"64 bytes from 127.0.0.1: icmp_seq=1 ttl=64 time=0.00{time} ms\n" for time in (2, 75, 1)),
        "",
    ),
    "fping": ("", "127.0.0.1 : 0.001 - 0.002 0.0075\n"),
}
"""What each tool prints, shortened: half of its round trips took 2 µs at most, and the longest 7.5."""


@pytest.mark.parametrize("name", PRINTED)
def test_what_a_tool_prints_is_read_as_it_is_meant(load: Any, name: str) -> None:
    """Whatever unit it has, what comes out are microseconds; and what was lost took no time."""
    read = load("probers").TOOLS[name].read
    assert read(*PRINTED[name]) == pytest.approx((2.0, 7.5))


@pytest.mark.parametrize("name", PRINTED)
def test_a_tool_that_reports_nothing_has_no_figure(load: Any, name: str) -> None:
    """Wherever its probes went: that is an error and not a zero."""
    nothing = {
        "trio_udp `ping`": '{"received":0,"stamps":{},"network":{"count":0}}',
        "irtt": '{"round_trips":[]}',
    }
    with pytest.raises(load("children").WrongAnswerError):
        load("probers").TOOLS[name].read(nothing.get(name, ""), "")


def test_a_round_trip_by_our_own_clock_is_not_the_networks(load: Any) -> None:
    """Where the kernel does not stamp, the figure would be another one than the table says."""
    said = '{"received":9,"stamps":{"user":9},"network":{"count":9,"p50_ns":2000,"p99_ns":7500}}'
    with pytest.raises(load("children").WrongAnswerError, match="expected the kernel's stamps"):
        load("probers").read_ours(said, "")


def test_a_probe_is_on_time_in_its_own_slot(load: Any) -> None:
    """Some jitter does not matter, a slot that was missed does, and so does falling behind all the time."""
    share = load("ping").share_on_time
    on_time = [slot + 0.2 + 0.3 * (slot % 2) for slot in range(100)]
    assert share(on_time, 1.0, 100) == 100
    assert share([time + (time > 50) for time in on_time], 1.0, 100) == pytest.approx(100 * 100 / 101)
    assert share(on_time[:50] + on_time[51:], 1.0, 100) == 99
    assert share([time * 1.1 for time in on_time], 1.0, 110) < 92


def test_a_probe_is_paired_with_its_own_answer(load: Any) -> None:
    """By the number that both have, however late the answer comes; the first of each counts."""
    packet = load("tap").Packet
    packets = [
        packet(1.0, True, b"headA"),
        packet(2.0, True, b"headB"),
        packet(3.0, False, b"HEADB"),
        packet(4.0, True, b"headA"),
        packet(5.0, False, b"HEADA"),
    ]
    found = load("tools")._crossed(packets, slice(4, 5))
    assert found.probes == {b"A": 1.0, b"B": 2.0}
    assert found.answers == {b"B": 3.0, b"A": 5.0}


def test_the_table_of_tools_says_what_was_skipped_and_why(load: Any) -> None:
    """And what the goals are about is in it: the round trip that is reported, and who is on time."""
    tools, measure, ours = load("tools"), load("measure"), load("probers").OURS
    on_time = measure.Comparison(tools.ON_TIME, "% on time", ours, skipped={"irtt": "irtt is not installed"})
    on_time.samples[ours] = [measure.Sample(99.0, 0, 0.5), measure.Sample(100.0, 1, 0.0)]
    figures = [tools.Figures(8.0, 9.0, 20.0, 30.0, share, 12.0, 10.0, 300.0, 0) for share in (99.0, 100.0)]
    found = tools.Tools(tools.TITLE.format("1 ms"), on_time, {ours: figures})
    lines = found.table().splitlines()
    assert any(line.startswith(f"| {ours} | 8.0 (8.0-8.0) | 9.0 |") and line.endswith("1 of 2 |") for line in lines)
    assert any(line.startswith("| irtt | skipped: irtt is not installed |") for line in lines)
    assert [one.title for one in found.comparisons()] == [tools.ON_TIME, tools.ROUND_TRIPS]
    assert found.comparisons()[1].values(ours) == [8.0, 8.0]
    assert found.as_dict()["skipped"] == {"irtt": "irtt is not installed"}


def test_the_tap_hears_its_own_address_and_no_other(load: Any) -> None:
    """Both ways, with the kernel's time; what others on this machine send meanwhile is not in it."""
    tap = load("tap")
    if reason := tap.why_not():
        pytest.skip(reason)
    address = tap.own_address()
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
        tap.listening_for(address) as heard,
    ):
        server.bind((address, 0))
        client.bind(("127.0.0.1", 0))
        client.sendto(b"to itself", client.getsockname())
        client.sendto(b"probe", server.getsockname())
        server.sendto(b"answer", server.recvfrom(100)[1])
        assert client.recv(100) == b"to itself"
        assert client.recv(100) == b"answer"
        heard.wait(5)
        packets = heard.read()
    assert [(packet.is_probe, packet.data[8:]) for packet in packets] == [(True, b"probe"), (False, b"answer")]
    assert packets[0].at <= packets[1].at
