"""The strategies: what they promise of each value, that it prints as code, and that it shrinks to what can be read."""

import subprocess
import sys
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st

from trio_udp import testing
from trio_udp._net import normalise
from trio_udp.testing import (
    Ask,
    Conditions,
    Corrupt,
    Delay,
    Duplicate,
    IcmpError,
    Inject,
    Lose,
    Plan,
    Script,
    SimNet,
    Swap,
    Truncate,
    strategies,
)
from trio_udp.testing.strategies import (
    FORGERIES,
    LARGEST,
    PEER_KINDS,
    Forged,
    client_scripts,
    conditions,
    datagrams,
    forged_replies,
    peers,
    plans,
)

SERVER = ("192.0.2.53", 53)
REQUEST, REPLY = b"\x12\x34question", b"\x12\x34answer"
SEARCH = settings(
    max_examples=2000,
    database=None,
    deadline=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)


def smallest(strategy: st.SearchStrategy[Any], condition: Callable[[Any], bool] = lambda value: True) -> Any:
    """What a failure that meets this condition is shrunk to."""
    return find(strategy, condition, settings=SEARCH, random=Random(1))


def sample(strategy: st.SearchStrategy[Any], count: int = 100) -> list[Any]:
    """Many values of it, the same ones each time."""
    seen: list[Any] = []

    @settings(max_examples=count, database=None, derandomize=True, phases=[Phase.generate])
    @given(value=strategy)
    def look(value: Any) -> None:
        seen.append(value)

    look()
    return seen


def never(strategy: st.SearchStrategy[Any], condition: Callable[[Any], bool]) -> bool:
    """Whether none of many values meets this condition."""
    return not any(condition(value) for value in sample(strategy))


def falsifying_example(strategy: st.SearchStrategy[Any], seed: int) -> tuple[Any, str]:
    """A drawn value, and how Hypothesis prints it when a test fails with it."""
    failed: list[Any] = []

    @settings(database=None, derandomize=True, phases=[Phase.generate], deadline=None, max_examples=20)
    @given(value=strategy)
    def always_fails_at_some_point(value: Any) -> None:
        failed.append(value)
        assert len(failed) <= seed

    with pytest.raises(AssertionError) as caught:
        always_fails_at_some_point()
    (note,) = [note for note in caught.value.__notes__ if "\n    value=" in note]
    text = note.partition("\n    value=")[2].rpartition(",\n)")[0]
    return failed[-1], text


# They print as code


@pytest.mark.parametrize(
    "strategy",
    [conditions(), plans(), forged_replies(REQUEST, REPLY, SERVER), peers(), datagrams(max_size=100), client_scripts()],
    ids=["conditions", "plans", "forged_replies", "peers", "datagrams", "client_scripts"],
)
@pytest.mark.parametrize("seed", range(0, 20, 4))
def test_falsifying_example_is_code_that_makes_it_again(strategy: st.SearchStrategy[Any], seed: int) -> None:
    """What Hypothesis prints, pasted behind `from trio_udp.testing import *`, is an equal value."""
    value, text = falsifying_example(strategy, seed)
    names = {**vars(testing), "Forged": Forged}
    assert eval(text, names) == value  # noqa: S307 - our own
    assert repr(eval(text, names)) == repr(value)  # noqa: S307


def test_plans_print_without_what_nobody_needs_to_read() -> None:
    """No defaults, no positions in lists, no remarks of Hypothesis' in between."""
    for seed in range(15):
        value, text = falsifying_example(plans(), seed)
        assert text == repr(value)


# They shrink


@pytest.mark.parametrize(
    ("strategy", "condition", "expected"),
    [
        (plans(), lambda plan: True, Plan()),
        (plans(), lambda plan: len(plan) >= 2, Plan(Lose(1), Lose(1))),
        (plans(), lambda plan: any(isinstance(action, Lose) and action.packet > 2 for action in plan), Plan(Lose(3))),
        (plans(Delay), bool, Plan(Delay(1, seconds=0.001))),
        (plans(Duplicate), bool, Plan(Duplicate(1))),
        (plans(Swap), bool, Plan(Swap(1))),
        (plans(Corrupt), bool, Plan(Corrupt(1))),
        (plans(Corrupt), lambda plan: any(action.bit > 12 for action in plan), Plan(Corrupt(1, bit=13))),
        (plans(Truncate), bool, Plan(Truncate(1))),
        (plans(Inject), bool, Plan(Inject(after=1, source=("198.51.100.1", 1060)))),
        (plans(IcmpError), bool, Plan(IcmpError(after=1))),
        (
            plans(),
            lambda plan: any(isinstance(action, Inject) and action.data for action in plan),
            Plan(Inject(after=1, source=("198.51.100.1", 1060), data=b"\0")),
        ),
        (client_scripts(), lambda script: True, Script(Ask())),
        (client_scripts(), lambda script: any(ask.patience is not None for ask in script), Script(Ask(patience=0.0))),
        (client_scripts(), lambda script: any(ask.client for ask in script), Script(Ask(client=1))),
        (conditions(), lambda found: True, Conditions()),
        (conditions(), lambda found: found.loss > 0, Conditions(loss=0.01)),
        (conditions(), lambda found: found.latency + found.jitter >= 0.25, None),
        (peers(), lambda peer: True, ("198.51.100.1", 1060)),
        (peers(), lambda peer: ":" in peer[0], ("2001:db8:ffff::1", 1060)),
        (datagrams(), lambda data: True, b""),
        (datagrams(), lambda data: len(data) > 3, bytes(4)),
        (datagrams(), lambda data: len(data) > 2000, bytes(2001)),
        (
            forged_replies(REQUEST, REPLY, SERVER),
            lambda forged: forged.data == REPLY,
            Forged(REPLY, ("192.0.2.53", 54), "other port"),
        ),
        (
            forged_replies(REQUEST, REPLY, SERVER),
            lambda forged: forged.source == SERVER,
            Forged(REQUEST, SERVER, "reflected"),
        ),
    ],
)  # fmt: skip
def test_failure_shrinks_to_what_is_read_at_a_glance(
    strategy: st.SearchStrategy[Any], condition: Callable[[Any], bool], expected: Any
) -> None:
    """Fewer actions, smaller numbers, the plain kind before the exotic one."""
    found = smallest(strategy, condition)
    assert condition(found)
    if expected is not None:
        assert found == expected


# Conditions


@given(found=conditions(loss=0.2, latency=0.05, jitter=0.0, duplicate=0.1, reorder=0.4, corrupt=0.02))
def test_conditions_keep_their_bounds(found: Conditions) -> None:
    """So that a test can say what must still work; the losses in bursts too, in the long run."""
    assert found.loss <= 0.2
    assert found.latency <= 0.05
    assert (found.jitter, found.bandwidth, found.mtu) == (0.0, None, None)
    assert found.duplicate <= 0.1
    assert found.reorder <= 0.4
    assert found.corrupt <= 0.02
    if found.burst is not None:
        enter, leave = found.burst.enter, found.burst.leave
        assert enter / (enter + leave) <= 0.2 + 1e-9


def test_conditions_can_be_mild() -> None:
    """No bursts where none are wanted, and a loss of everything is nothing that could be bounded."""
    assert never(conditions(bursts=False), lambda found: found.burst is not None)
    assert smallest(conditions(), lambda found: found.burst is not None).loss == 0
    with pytest.raises(ValueError, match="expected loss to be a share from 0 to below 1, got 1"):
        conditions(loss=1)


# Addresses and datagrams


@given(peer=peers())
def test_peers_are_numeric_addresses_that_no_host_of_a_network_has(peer: tuple[str, int]) -> None:
    """Each has a canonical form; a stranger is never a host that SimNet made."""
    net = SimNet()
    for name in "abc":
        net.host(name)
    address = normalise(peer)
    assert 1 <= address.port <= 65_535
    assert net.host_of(address.host) is None
    assert normalise((address.host, address.port)) == address


@pytest.mark.parametrize(
    ("kind", "holds"),
    [
        ("v4", lambda host: ":" not in host),
        ("v6", lambda host: host.startswith("2001:db8:")),
        ("mapped", lambda host: host.startswith("::ffff:") and ":" not in normalise((host, 1)).host),
        ("link-local", lambda host: host.startswith("fe80::") and host.endswith("%2")),
    ],
)
def test_peers_come_in_the_kinds_that_are_asked_for(kind: str, holds: Callable[[str], bool]) -> None:
    """And in all of them by default."""
    assert never(peers(kind), lambda peer: not holds(peer[0]))
    assert smallest(peers(), lambda peer: holds(peer[0]))
    assert set(PEER_KINDS) == {"v4", "v6", "mapped", "link-local"}
    with pytest.raises(ValueError, match=r"expected some of v4, v6, mapped, link-local, got v5"):
        peers("v4", "v5")


@given(data=st.data(), most=st.integers(0, 200))
def test_datagrams_are_no_longer_than_asked(data: st.DataObject, most: int) -> None:
    """Down to none at all; and every size up to the largest there is."""
    assert len(data.draw(datagrams(max_size=most))) <= most


@pytest.mark.parametrize("size", [-1, LARGEST + 1])
def test_impossible_sizes_are_refused(size: int) -> None:
    """UDP has a largest datagram."""
    with pytest.raises(ValueError, match=f"expected a size from 0 to 65507 bytes, got {size}"):
        datagrams(max_size=size)


def test_datagrams_are_of_every_kind() -> None:
    """Large ones, text, and other protocols'."""
    assert max(map(len, sample(datagrams(), 300))) > LARGEST / 4
    assert smallest(datagrams(), lambda data: data[4:8] == b"\x21\x12\xa4\x42")
    assert smallest(datagrams(), lambda data: len(data) > 8 and data.isascii() and data.decode().isalnum())


# Forged replies


OTHER_REPLY = b"\x56\x78another answer"


@pytest.mark.parametrize("source", [SERVER, ("192.0.2.53", 1), ("192.0.2.53", 65_535), ("2001:db8::1", 53)])
@given(data=st.data())
def test_forged_reply_is_never_the_reply(source: tuple[str, int], data: st.DataObject) -> None:
    """A client that believes one of them is wrong: bytes or source differ, and it says in what way."""
    made = data.draw(forged_replies(REQUEST, REPLY, source, others=[OTHER_REPLY, REPLY]))
    assert made.how in FORGERIES
    assert (made.data, normalise(made.source)) != (REPLY, source)
    assert (made.data == REPLY) == made.how.startswith("other ") == (made.source != source) or made.how == "other bytes"
    assert normalise(made.source).family == normalise(source).family


@pytest.mark.parametrize(
    ("way", "holds"),
    [
        ("other port", lambda made: made.source[0] == SERVER[0]),
        ("other host", lambda made: made.source[1] == SERVER[1]),
        ("replayed", lambda made: made.data == OTHER_REPLY),
        ("reflected", lambda made: made.data == REQUEST),
        ("empty", lambda made: made.data == b""),
        ("truncated", lambda made: REPLY.startswith(made.data) and made.data not in (b"", REPLY)),
        ("extended", lambda made: made.data.startswith(REPLY) and len(made.data) > len(REPLY)),
        (
            "flipped bit",
            lambda made: (
                len(made.data) == len(REPLY)
                and (int.from_bytes(made.data, "big") ^ int.from_bytes(REPLY, "big")).bit_count() == 1
            ),
        ),
        ("other bytes", lambda made: made.data != REPLY),
    ],
)
def test_forged_reply_is_wrong_in_the_way_it_says(way: str, holds: Callable[[Forged], bool]) -> None:
    """Each way can be asked for by itself, and is drawn by default."""
    strategy = forged_replies(REQUEST, REPLY, SERVER, ways=[way], others=[OTHER_REPLY])
    assert never(strategy, lambda made: made.how != way or not holds(made))
    assert smallest(forged_replies(REQUEST, REPLY, SERVER, others=[OTHER_REPLY]), lambda made: made.how == way)


def test_bits_are_flipped_where_the_client_looks() -> None:
    """Every bit of the id, and none of the payload that nothing protects."""
    strategy = forged_replies(REQUEST, REPLY, SERVER, ways=["flipped bit"], checked=slice(0, 2))
    assert never(strategy, lambda made: made.data[2:] != REPLY[2:])
    for bit in range(16):
        wanted = testing.flip_bit(REPLY, bit)
        assert smallest(strategy, lambda made, wanted=wanted: made.data == wanted)  # type: ignore[misc]  # a default


def test_ways_that_a_reply_does_not_allow_are_left_out() -> None:
    """Nothing is shorter than an empty reply, and an echo cannot be told from a reflection."""
    assert never(
        forged_replies(b"", b"", SERVER),
        lambda made: made.how in ("replayed", "reflected", "empty", "truncated", "flipped bit"),
    )
    with pytest.raises(ValueError, match="expected a way of forging that this reply allows"):
        forged_replies(b"", b"", SERVER, ways=["empty"])
    with pytest.raises(ValueError, match=r"expected some of other port, .*, got magic"):
        forged_replies(b"", b"", SERVER, ways=["magic"])


# Plans and scripts


@given(plan=plans(packets=3, max_size=2, seconds=0.5))
def test_plans_keep_their_bounds(plan: Plan) -> None:
    """Few actions, about early packets, with short delays."""
    assert len(plan) <= 2
    for action in plan:
        assert 1 <= (action.after if isinstance(action, Inject | IcmpError) else action.packet) <= 3
        assert getattr(action, "seconds", 0.0) <= 0.5
        assert getattr(action, "apart", 0.0) <= 0.5


def test_plans_are_of_the_kinds_that_are_asked_for() -> None:
    """All by default; and what is forged comes from where the test wants it."""
    kinds = [Lose, Delay, Duplicate, Swap, Corrupt, Truncate, Inject, IcmpError]
    assert {type(action) for plan in sample(plans(), 200) for action in plan} == set(kinds)
    for kind in kinds:
        assert {type(action) for plan in sample(plans(kind), 20) for action in plan} == {kind}
    spoofed = plans(Inject, sources=st.none(), data=st.just(b"FAKE"))
    assert smallest(spoofed, bool) == Plan(Inject(after=1, data=b"FAKE"))
    with pytest.raises(ValueError, match="expected classes of actions"):
        plans(Plan)  # type: ignore[arg-type]  # that is the point
    with pytest.raises(ValueError, match="expected at least 1 packet, got 0"):
        plans(packets=0)


@given(script=client_scripts(clients=2, max_size=3, seconds=1.0, patience=0.5, data=st.just(b"question")))
def test_client_scripts_keep_their_bounds(script: Script) -> None:
    """At least one request, by the clients there are, in time."""
    assert 1 <= len(script) <= 3
    for ask in script:
        assert ask.client in (0, 1)
        assert 0 <= ask.at <= 1.0
        assert 0 <= (ask.patience or 0.0) <= 0.5
        assert ask.data == b"question"


def test_script_needs_a_client() -> None:
    """As many as the test has."""
    with pytest.raises(ValueError, match="expected at least 1 client, got 0"):
        client_scripts(clients=0)


# Without Hypothesis


MISSING = """
import sys
sys.modules["hypothesis"] = None
import trio_udp.testing
import trio_udp.testing.strategies
"""


def test_package_needs_no_hypothesis_and_says_what_does() -> None:
    """In one line; everything else of trio_udp.testing works without."""
    done = subprocess.run([sys.executable, "-c", MISSING], capture_output=True, text=True, check=False)  # noqa: S603 - our own
    assert done.returncode == 1
    *_, last = done.stderr.splitlines()
    assert last == "ImportError: trio_udp.testing.strategies needs Hypothesis: pip install hypothesis"
    assert "testing/__init__" not in done.stderr.replace("\\", "/")


def test_importing_the_package_imports_no_hypothesis() -> None:
    """It would be half a second for everybody."""
    code = "import sys, trio_udp.testing; sys.exit('hypothesis' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0  # noqa: S603 - our own


def test_every_strategy_is_public() -> None:
    """And there is nothing in the list that does not exist."""
    assert all(hasattr(strategies, name) for name in strategies.__all__)
