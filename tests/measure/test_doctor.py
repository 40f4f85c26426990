"""What is said about a host: the words fit the facts, and there is advice where something can be done."""

from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from trio_udp._net._abilities import Abilities
from trio_udp.measure import Distribution, Stamps, State, Summary, examine
from trio_udp.measure import _examine as examining
from trio_udp.measure._doctor import Facts, judge

from .records import summary

NAMES = (
    "batches", "runs", "timestamps", "timer", "receive buffer", "wall clock", "error queue", "IPv6", "descriptors",
    "noise floor",
)  # fmt: skip
ALL = Abilities(
    has_batches=True, sends_runs=True, receives_runs=True, has_error_queue=True, has_ipv6=True,
    receive_wanted=4_194_304, receive_granted=4_194_304, receive_limit=4_194_304,
)  # fmt: skip
RTT = Distribution(count=200, p50_ns=20_000, p99_ns=90_000)


def quiet(**changes: Any) -> Summary:
    """A noise floor as on an idle machine."""
    values: dict[str, Any] = {"sent": 200, "received": 200, "on_time": 200, "stamps": {Stamps.KERNEL: 200}, "rtt": RTT}
    return summary(**(values | changes))


def facts(**changes: Any) -> Facts:
    """A host that has everything, but for this."""
    values: dict[str, Any] = {
        "abilities": ALL, "has_timer": True, "is_synchronised": True, "clock_error_ns": 1_500_000,
        "descriptors": 1024, "noise": quiet(),
    }  # fmt: skip
    return Facts(**(values | changes))


def test_a_good_host_is_ok_in_everything() -> None:
    """And nothing is to be done."""
    findings = judge(facts())
    assert [finding.name for finding in findings] == list(NAMES)
    assert {finding.state for finding in findings} == {State.OK}
    assert {finding.advice for finding in findings} == {""}
    what = {finding.name: finding.what for finding in findings}
    assert what["wall clock"] == "synchronised, off by 1.500 ms at most"
    assert what["noise floor"] == "p50 0.020 ms, p99 0.090 ms, 100.0% of 1 ms slots on time"


LACKS = [
    ("batches", {"abilities": ALL._replace(has_batches=False)}, "missing", "neither recvmmsg"),
    ("runs", {"abilities": ALL._replace(sends_runs=False)}, "limited", "only UDP_GRO"),
    ("runs", {"abilities": ALL._replace(receives_runs=False)}, "limited", "only UDP_SEGMENT"),
    ("runs", {"abilities": ALL._replace(sends_runs=False, receives_runs=False)}, "missing", "neither UDP_SEGMENT"),
    ("timestamps", {"noise": quiet(stamps={Stamps.USER: 9})}, "missing", "by this program's clock"),
    ("timestamps", {"noise": quiet(stamps={Stamps.KERNEL: 7, Stamps.RECEIVE: 2})}, "limited", "7 of 9 by kernel"),
    ("timer", {"has_timer": False}, "missing", "no timerfd"),
    ("receive buffer", {"abilities": ALL._replace(receive_granted=9, receive_limit=9)}, "limited", "rmem_max is 9"),
    ("receive buffer", {"abilities": ALL._replace(receive_granted=1, receive_limit=None)}, "limited", "1 of 4194304"),
    ("wall clock", {"is_synchronised": False, "clock_error_ns": None}, "limited", "not synchronised"),
    ("error queue", {"abilities": ALL._replace(has_error_queue=False)}, "missing", "no error queue"),
    ("IPv6", {"abilities": ALL._replace(has_ipv6=False)}, "missing", "none"),
    ("descriptors", {"descriptors": 256}, "limited", "256"),
    ("noise floor", {"noise": quiet(on_time=100)}, "limited", "50.0% of 1 ms slots"),
    ("noise floor", {"noise": quiet(on_time=200, missed_slots=200)}, "limited", "50.0% of 1 ms slots"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "changes", "state", "what"), LACKS)
def test_what_a_host_lacks_is_said_with_advice(name: str, changes: dict[str, Any], state: str, what: str) -> None:
    """And nothing else is said to be lacking."""
    findings = {finding.name: finding for finding in judge(facts(**changes))}
    found = findings.pop(name)
    assert (found.state, what in found.what, bool(found.advice)) == (state, True, True)
    assert all(finding.state == State.OK for finding in findings.values())


def test_what_cannot_be_found_out_is_unknown() -> None:
    """It is neither good nor bad."""
    nothing = facts(
        abilities=ALL._replace(receive_granted=None),
        is_synchronised=None,
        clock_error_ns=None,
        descriptors=None,
        noise=None,
    )
    unknown = [finding.name for finding in judge(nothing) if finding.state == State.UNKNOWN]
    assert unknown == ["timestamps", "receive buffer", "wall clock", "noise floor"]
    assert judge(facts(noise=summary()))[-1].state == State.UNKNOWN
    assert next(finding for finding in judge(nothing) if finding.name == "descriptors").what == "no limit that is known"
    assert judge(facts(clock_error_ns=None))[5].what == "synchronised"


@given(
    st.builds(
        Facts,
        abilities=st.builds(Abilities),
        has_timer=st.booleans(),
        is_synchronised=st.none() | st.booleans(),
        clock_error_ns=st.none() | st.integers(0),
        descriptors=st.none() | st.integers(0),
        noise=st.none()
        | st.builds(
            quiet, on_time=st.integers(0, 200), stamps=st.dictionaries(st.sampled_from(Stamps), st.integers(0, 9))
        ),
    )
)
def test_whatever_the_facts_the_same_things_are_said_in_one_line_each(some: Facts) -> None:
    """And what is good needs no advice, what is lacking has one."""
    findings = judge(some)
    assert [finding.name for finding in findings] == list(NAMES)
    for finding in findings:
        assert "\n" not in finding.what + finding.meaning + finding.advice
        assert finding.what
        assert finding.meaning
        assert finding.state == State.UNKNOWN or bool(finding.advice) == (finding.state != State.OK)


async def test_a_host_is_examined_in_a_moment() -> None:
    """This one, over its own loopback."""
    with trio.fail_after(30):
        findings = await examine()
    assert [finding.name for finding in findings] == list(NAMES)


async def test_a_host_where_nothing_can_be_asked_is_examined_too(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    """No sockets, no kernel that knows its clock."""

    async def fail() -> Summary:
        await trio.lowlevel.checkpoint()
        raise OSError

    monkeypatch.setattr(examining, "noise_floor", fail)
    monkeypatch.setattr("sys.platform", "plan9")
    states = {finding.name: finding.state for finding in await examine()}
    assert states["noise floor"] == states["wall clock"] == State.UNKNOWN
    assert states["timer"] == State.MISSING
