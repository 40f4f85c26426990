"""Plans and scripts: what they do to packets, and that they print as what makes them."""

import math
from functools import partial
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from trio_udp.testing import Fate, Host, SimNet, SimSocket, simulate, simulated
from trio_udp.testing._plans import (
    Ask,
    Corrupt,
    Delay,
    Duplicate,
    Ending,
    IcmpError,
    Inject,
    Lose,
    Plan,
    Script,
    Swap,
    Truncate,
)

FORGER = ("203.0.113.66", 53)
Arrival = tuple[float, bytes, str]
"""When, what, and the host it claims to come from."""


async def listen(sock: trio.socket.SocketType, heard: list[Arrival]) -> None:
    """Note everything that arrives."""
    while True:
        data, sockaddr = await sock.recvfrom(2000)
        heard.append((trio.current_time(), data, sockaddr[0]))


async def send_all(net: SimNet, plan: Plan, *datagrams: bytes, apart: float = 1.0) -> tuple[list[Arrival], SimSocket]:
    """Send these from one host to another under a plan, a second apart, and return what arrived."""
    client, server = net.host("client"), net.host("server")
    heard: list[Arrival] = []
    with server.here():
        sink = trio.socket.socket(type=trio.socket.SOCK_DGRAM)
        await sink.bind(("0.0.0.0", 1060))  # noqa: S104 - simulated
    with client.here():
        sock = trio.socket.socket(type=trio.socket.SOCK_DGRAM)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen, sink, heard)
        with plan.on(net):
            for data in datagrams:
                await sock.sendto(data, (server.addresses[0], 1060))
                await trio.sleep(apart)
        await trio.sleep(100)
        nursery.cancel_scope.cancel()
    assert isinstance(sock, SimSocket)
    return heard, sock


def arrivals(plan: Plan, *datagrams: bytes) -> list[tuple[float, bytes]]:
    """When and what arrives of these."""
    heard, _ = simulate(send_all, plan, *datagrams)
    return [(round(at, 6), data) for at, data, _ in heard]


ABC = b"a", b"b", b"c"


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        (Plan(), [(0, b"a"), (1, b"b"), (2, b"c")]),
        (Plan(Lose(2)), [(0, b"a"), (2, b"c")]),
        (Plan(Lose(1), Lose(3), Lose(4)), [(1, b"b")]),
        (Plan(Delay(1, seconds=0.5)), [(0.5, b"a"), (1, b"b"), (2, b"c")]),
        (Plan(Delay(1, seconds=1.5)), [(1, b"b"), (1.5, b"a"), (2, b"c")]),
        (Plan(Duplicate(2)), [(0, b"a"), (1, b"b"), (1, b"b"), (2, b"c")]),
        (Plan(Duplicate(1, copies=3, apart=4.0)), [(0, b"a"), (1, b"b"), (2, b"c"), (4, b"a"), (8, b"a")]),
        (Plan(Swap(1)), [(1, b"b"), (1, b"a"), (2, b"c")]),
        (Plan(Swap(1), Swap(2)), [(2, b"c"), (2, b"a"), (2, b"b")]),
        (Plan(Swap(3)), [(0, b"a"), (1, b"b")]),
        (Plan(Swap(1), Lose(2)), [(1, b"a"), (2, b"c")]),
        (Plan(Swap(1), Delay(2, seconds=0.5)), [(1.5, b"b"), (1.5, b"a"), (2, b"c")]),
        (Plan(Corrupt(1, bit=1)), [(0, b"c"), (1, b"b"), (2, b"c")]),
        (Plan(Corrupt(1, bit=9), Truncate(2)), [(0, b"c"), (1, b""), (2, b"c")]),
        (Plan(Truncate(1, size=1), Corrupt(1), Corrupt(1, bit=1)), [(0, b"b"), (1, b"b"), (2, b"c")]),
        (Plan(Truncate(2), Corrupt(2)), [(0, b"a"), (1, b""), (2, b"c")]),
        (Plan(Delay(3), Duplicate(3, apart=1.0), Delay(3)), [(0, b"a"), (1, b"b"), (2.2, b"c"), (3.2, b"c")]),
        (Plan(Duplicate(1), Lose(1)), [(1, b"b"), (2, b"c")]),
    ],
    ids=repr,
)
def test_plan_does_what_it_says(plan: Plan, expected: list[tuple[float, bytes]]) -> None:
    """Each action by itself, and several on one packet in their order."""
    assert arrivals(plan, *ABC) == expected


def test_forged_datagram_arrives_when_the_packet_is_sent_and_before_it() -> None:
    """The forger is faster than any answer; by default it speaks for whoever was asked, to whoever asked."""
    inject = Inject(after=2, source=FORGER, to=("192.0.2.3", 1060), data=b"FAKE")
    heard, _ = simulate(send_all, Plan(inject), *ABC)
    assert [(data, source) for _, data, source in heard] == [
        (b"a", "192.0.2.2"),
        (b"FAKE", "203.0.113.66"),
        (b"b", "192.0.2.2"),
        (b"c", "192.0.2.2"),
    ]
    _, sock = simulate(send_all, Plan(Inject(after=1, data=b"FAKE"), Inject(after=1, seconds=3.0)), b"a")
    assert [sock.kernel.recvfrom(10), sock.kernel.recvfrom(10)] == [
        (b"FAKE", ("192.0.2.3", 1060)),
        (b"", ("192.0.2.3", 1060)),
    ]


def test_forged_datagram_does_not_change_the_ip_version() -> None:
    """It would be a bug in the test; the plan says so, where the packet is sent."""
    with pytest.raises(ExceptionGroup) as caught:
        simulate(send_all, Plan(Inject(after=1, source=("::1", 1))), b"a")
    (error,) = caught.value.exceptions
    assert str(error).startswith("expected a source of the same IP version as 192.0.2.2:")
    assert str(error).endswith(", got [::1]:1")


async def connected(net: SimNet, plan: Plan) -> tuple[int, list[Fate]]:
    """Send one datagram on a connected socket under a plan; its pending error, and the fates of what was sent."""
    client, server = net.host("client"), net.host("server")
    with server.here():
        sink = trio.socket.socket(type=trio.socket.SOCK_DGRAM)
        await sink.bind(("0.0.0.0", 1060))  # noqa: S104 - simulated
    with client.here():
        sock = trio.socket.socket(type=trio.socket.SOCK_DGRAM)
        await sock.connect((server.addresses[0], 1060))
    with plan.on(net):
        await sock.send(b"question")
        await trio.sleep(1)
    error = sock.getsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_ERROR)
    return error, next(iter(net.trace)).fates


def test_forged_icmp_error_reaches_the_sender_and_the_packet_its_destination() -> None:
    """It is a lie: nothing happened to the packet."""
    for kind, expected in (("port unreachable", 111), ("prohibited", 113), ("host unreachable", 0)):
        error, fates = simulate(connected, Plan(IcmpError(after=1, kind=kind, router="198.51.100.1")))
        assert error == expected
        assert [fate.what for fate in fates] == ["delivered"]


@simulated()
async def test_plan_counts_what_goes_its_way_and_no_icmp(net: SimNet) -> None:
    """One plan for the requests and one for the answers: each has numbers of its own."""
    client, server = net.host("client"), net.host("server")
    socks = []
    for host in (client, server):
        with host.here():
            socks.append(trio.socket.socket(type=trio.socket.SOCK_DGRAM))
            await socks[-1].bind((host.addresses[0], 1060))
    with Plan(Lose(2)).on(net, client), Plan(Lose(1)).on(net, server, client):
        await socks[0].sendto(b"nobody listens there", (server.addresses[0], 9))  # and an ICMP error comes back
        for _ in range(2):
            await socks[0].sendto(b"request", (server.addresses[0], 1060))
            await socks[1].sendto(b"answer", (client.addresses[0], 1060))
    lost = [record.packet.data for record in net.trace if "Lose" in record.fates[0].what]
    assert lost == [b"request", b"answer"]
    assert sum(record.packet.icmp is not None for record in net.trace) == 1


@simulated()
async def test_plan_is_over_after_its_block_and_begins_anew_in_the_next(net: SimNet) -> None:
    """The value has no memory; only what carries it out has."""
    sock = trio.socket.socket(type=trio.socket.SOCK_DGRAM)
    await sock.bind(("127.0.0.1", 0))
    plan = Plan(Lose(1))
    for _ in range(2):
        with plan.on(net):
            for data in (b"lost", b"kept"):
                await sock.sendto(data, sock.getsockname())
    await sock.sendto(b"after", sock.getsockname())
    assert [(await sock.recvfrom(10))[0] for _ in range(3)] == [b"kept", b"kept", b"after"]


WRITTEN = [
    ("Plan()", Plan()),
    ("Plan(Lose(3), Delay(2, seconds=0.5))", Plan(Lose(3), Delay(2, seconds=0.5))),
    (
        "Plan(Delay(2), Duplicate(1), Corrupt(1))",
        Plan(Delay(2, seconds=0.1), Duplicate(1, copies=2), Corrupt(1, bit=0)),
    ),
    ("Plan(Swap(1), Truncate(4), Truncate(4, size=2))", Plan(Swap(1), Truncate(4, size=0), Truncate(4, size=2))),
    ("Plan(Duplicate(1, copies=3, apart=0.25))", Plan(Duplicate(1, copies=3, apart=0.25))),
    ("Plan(Corrupt(1, bit=13))", Plan(Corrupt(1, bit=13))),
    ("Plan(Inject(after=1))", Plan(Inject(after=1, source=None, data=b"", to=None, seconds=0.0))),
    ("Plan(Inject(after=1, source=('203.0.113.66', 53), data=b'A'))", Plan(Inject(after=1, source=FORGER, data=b"A"))),
    ("Plan(IcmpError(after=2))", Plan(IcmpError(after=2, kind="port unreachable"))),
    ("Script(Ask(), Ask(b'a', at=0.5, client=1))", Script(Ask(b""), Ask(b"a", at=0.5, client=1))),
    ("Script(Ask(patience=1.0))", Script(Ask(patience=1.0))),
]


@pytest.mark.parametrize(("text", "value"), WRITTEN)
def test_plans_and_scripts_print_as_the_code_that_makes_them(text: str, value: Plan | Script) -> None:
    """With no defaults in it; and the code makes an equal value again."""
    assert repr(value) == text
    assert eval(text) == value  # noqa: S307 - our own
    assert hash(eval(text)) == hash(value)  # noqa: S307


NONSENSE: list[tuple[Any, str]] = [
    (partial(Lose, 0), "number of a packet, from 1, got 0"),
    (partial(Inject, after=0), "number of a packet, from 1, got 0"),
    (partial(IcmpError, after=-1), "number of a packet, from 1, got -1"),
    (partial(Delay, 0), "number of a packet"),
    (partial(Delay, 1, seconds=-1.0), "0 or more seconds, got -1.0"),
    (partial(Delay, 1, seconds=math.nan), "0 or more seconds, got nan"),
    (partial(Duplicate, 1, apart=math.inf), "0 or more seconds, got inf"),
    (partial(Duplicate, 1, copies=0), "at least 1 copy, got 0"),
    (partial(Corrupt, 1, bit=-1), "a bit from 0, got -1"),
    (partial(Truncate, 1, size=-1), "a size from 0 bytes, got -1"),
    (partial(Inject, after=1, seconds=-1.0), "0 or more seconds"),
    (partial(IcmpError, after=1, seconds=-1.0), "0 or more seconds"),
    (partial(IcmpError, after=1, kind="rain"), "expected one of port unreachable, .*, got 'rain'"),
]


@pytest.mark.parametrize(("make", "message"), NONSENSE, ids=lambda value: str(value) if isinstance(value, str) else "")
def test_nonsense_is_refused_where_it_is_written(make: Any, message: str) -> None:
    """And not in the middle of a simulation."""
    with pytest.raises(ValueError, match=message):
        make()


@given(numbers=st.sets(st.integers(1, 6)))
def test_what_is_lost_is_what_the_plan_numbers(numbers: set[int]) -> None:
    """For any set of packets."""
    sent = [bytes([n]) for n in range(1, 6)]
    heard, _ = simulate(partial(send_all, apart=0.01), Plan(*map(Lose, sorted(numbers))), *sent)
    assert [data for _, data, _ in heard] == [data for data in sent if data[0] not in numbers]


# Scripts


async def play(net: SimNet, script: Script) -> list[Ending]:
    """Ask somebody who needs as many seconds as the number in the question, and is unreachable for none."""

    async def ask(each: Ask) -> tuple[int, bytes]:
        if not each.data:
            raise ConnectionRefusedError
        await trio.sleep(int(each.data))
        return each.client, each.data

    return await script.play(ask)


def test_script_lets_everybody_ask_at_their_time_and_says_how_it_ended() -> None:
    """In the order of the script: a result, a cancelled request, an error of the network."""
    script = Script(Ask(b"3", at=1.0, client=2), Ask(b"3", patience=1.5), Ask(at=0.25))
    first, second, third = simulate(play, script)
    assert first == Ending(script[0], 1.0, 4.0, (2, b"3"))
    assert second == Ending(script[1], 0.0, 1.5, was_cancelled=True)
    assert (third.began, third.ended, third.result, type(third.error)) == (0.25, 0.25, None, ConnectionRefusedError)


def test_error_that_is_no_ending_ends_the_script() -> None:
    """A bug in the test or the client is not an answer."""
    with pytest.raises(ExceptionGroup) as caught:
        simulate(play, Script(Ask(b"x")))
    assert isinstance(caught.value.exceptions[0], ValueError)


def test_hosts_are_what_plans_and_scripts_name() -> None:
    """A plan for a place that sends nothing never acts."""
    net = SimNet()
    idle: Host = net.host("idle")

    async def main(net: SimNet) -> None:
        sock = trio.socket.socket(type=trio.socket.SOCK_DGRAM)
        await sock.bind(("127.0.0.1", 0))
        with Plan(Lose(1)).on(net, idle), Plan(Lose(1)).on(net, None, idle):
            await sock.sendto(b"kept", sock.getsockname())
        assert await sock.recv(10) == b"kept"

    simulate(main, net=net)
