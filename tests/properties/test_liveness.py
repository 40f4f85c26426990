"""Liveness over the simulated network, against two models small enough to be obviously right.

The first is arithmetic: of the transmissions whose request and answer both come through, the earliest ends the exchange
a round trip after it was sent; if there is none, `NoReply` comes at the schedule's end and not before. The second reads
the trace: whatever the faults and the forgers do, a request ends with the first genuine answer that reached its
client, and at that instant; or by its caller's patience, or at the schedule's end, to the microsecond (A1, A2, A3, A9,
C4).
"""

import contextlib
import itertools
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from random import Random
from typing import Final, NamedTuple

import pytest
import trio
from hypothesis import Phase, example, find, given, settings
from hypothesis import strategies as st

import trio_udp
from trio_udp import Client, NoReply, Reply, RetryPolicy
from trio_udp.testing import (
    Ask,
    Conditions,
    Corrupt,
    Delay,
    Duplicate,
    Ending,
    Host,
    IcmpError,
    Inject,
    Lose,
    OffPath,
    OnPath,
    Packet,
    Plan,
    Record,
    Script,
    SimNet,
    Swap,
    Trace,
    any_of,
    any_port,
    guess,
    simulate,
)
from trio_udp.testing.strategies import client_scripts, conditions, datagrams, peers, plans

POLICY: Final = RetryPolicy(initial=1.0, adaptive=False, jitter=0.0, attempts=4)
SENT: Final = [0.0, *itertools.accumulate(list(POLICY.waits())[:-1])]
"""When each attempt is sent."""
END: Final = sum(POLICY.waits())
SLACK: Final = 1e-6
SERVER_PORT: Final = 1060
STRANGER: Final = "203.0.113.66", 53
_IDS: Final = slice(8, 24)


class World:
    """A server that echoes, and a client host with the clients on it."""

    def __init__(self, net: SimNet, rtt: float = 0.0) -> None:
        self.net = net
        self.server, self.host = net.host("server"), net.host("client")
        self.address = self.server.addresses[0], SERVER_PORT
        net.link(Conditions(latency=rtt / 2))

    async def serve(self, task_status: trio.TaskStatus[trio_udp.Server]) -> None:
        """Echo: the reply is as long as the request, so that no request needs padding."""
        with self.server.here():
            await trio_udp.serve(lambda request: request.payload, SERVER_PORT, task_status=task_status)


# The arithmetic model


class Fate(NamedTuple):
    """How a request ended, and when."""

    at: float
    attempts: int
    was_answered: bool


def expected_fate(lost_requests: set[int], lost_answers: set[int], rtt: float) -> Fate:
    """The model. Requests are numbered by their attempts, answers by the requests that arrived."""
    arrived = [attempt for attempt in range(1, len(SENT) + 1) if attempt not in lost_requests]
    for number, attempt in enumerate(arrived, start=1):
        at = SENT[attempt - 1] + rtt
        if number not in lost_answers and at < END:
            return Fate(at, sum(sent < at for sent in SENT), was_answered=True)
    return Fate(END, len(SENT), was_answered=False)


async def ask_once(net: SimNet, asked: Plan, answered: Plan, rtt: float, *, is_attacked: bool) -> Fate:
    """The same, by the client itself."""
    world = World(net, rtt)
    async with trio.open_nursery() as nursery:
        await nursery.start(world.serve)
        with world.host.here():
            async with trio_udp.open_client(*world.address, policy=POLICY) as client:
                if is_attacked:
                    nursery.start_soon(harass, OffPath(net), client, world.address)
                with asked.on(net, world.host), answered.on(net, world.server, world.host):
                    fate = await _fate(client)
        nursery.cancel_scope.cancel()
    return fate


async def _fate(client: Client) -> Fate:
    began = trio.current_time()
    try:
        reply = await client.exchange(b"question")
    except NoReply as exc:
        attempts, payload = exc.attempts, None
    else:
        attempts, payload = reply.attempts, reply.payload
    assert payload in (None, b"question")
    return Fate(trio.current_time() - began, attempts, was_answered=payload is not None)


async def harass(forger: OffPath, client: Client, server: tuple[str, int]) -> None:
    """Twenty times a second, for longer than any schedule: guessed ids, wrong sources, and every ICMP error."""
    own = client.address
    answer = guess(b"\x09\x81\x00\x01\x00\x00\x00\x08" + bytes(16) + b"question", _IDS)
    kinds = any_of("port unreachable", "host unreachable", "network unreachable", "prohibited", "fragmentation needed")

    def strike() -> None:
        forger.send(answer, source=server, to=own)
        forger.send(answer, source=any_port(server[0]), to=own)
        forger.icmp(kinds, source=own, destination=server, quote=answer, mtu=576)

    await forger.flood(strike, count=400, rate=20)


numbers = st.sets(st.integers(1, len(SENT)))


@given(lost_requests=numbers, lost_answers=numbers, rtt=st.sampled_from([0.01, 0.04, 0.9, 2.5]), attacked=st.booleans())
@example(lost_requests={1, 2, 3}, lost_answers=set(), rtt=2.5, attacked=True)
@example(lost_requests={1, 2, 3, 4}, lost_answers=set(), rtt=0.01, attacked=True)
@example(lost_requests={2}, lost_answers={1, 2, 3}, rtt=0.01, attacked=True)
@settings(max_examples=60)
def test_any_attempt_that_comes_through_with_its_answer_gets_the_reply_and_else_the_end_is_exact(
    lost_requests: set[int], lost_answers: set[int], rtt: float, attacked: bool
) -> None:
    """Liveness, C4, A2: for every pattern of losses, by attempt and direction, with and without a forger."""
    asked, answered = (Plan(*map(Lose, sorted(lost))) for lost in (lost_requests, lost_answers))
    fate = simulate(partial(ask_once, is_attacked=attacked), asked, answered, rtt)
    expected = expected_fate(lost_requests, lost_answers, rtt)
    assert fate.at == pytest.approx(expected.at, abs=SLACK)
    assert fate[1:] == expected[1:]


# The trace as a model


def genuine_answers(trace: Trace, world: World) -> dict[bytes, list[float]]:
    """When answers with ids that a client made reached it unharmed, by their payload: what it has to believe."""
    made = {record.packet.data[_IDS] for record in trace if _comes_from(record, world.host)}
    found: dict[bytes, list[float]] = {}
    # What arrived counts and not what was sent: `Swap` brings an earlier answer, and two flips of one bit are none.
    for fate in (fate for record in trace if _comes_from(record, world.server) for fate in record.fates):
        if fate.what == "delivered" and fate.data is not None and fate.data[_IDS] in made:
            found.setdefault(fate.data[_IDS.stop :], []).append(fate.at)
    return {payload: sorted(times) for payload, times in found.items()}


def _comes_from(record: Record, host: Host) -> bool:
    return record.packet.icmp is None and not record.injected and record.packet.source.host in host.addresses


def expected_end(ask: Ask, began: float, answers: list[float]) -> tuple[float, set[str]]:
    """The model: what comes first of the first answer, the schedule's end and that of the caller's patience.

    At one and the same instant it may be either.
    """
    ends = [(at, "answered") for at in answers if at >= began - SLACK][:1]
    ends.append((began + END, "no reply"))
    if ask.patience is not None:
        ends.append((began + ask.patience, "cancelled"))
    first = min(ends)[0]
    return first, {what for at, what in ends if at <= first + SLACK}


def what_happened(ending: Ending) -> str:
    """In the model's words."""
    if ending.was_cancelled:
        return "cancelled"
    return "no reply" if isinstance(ending.error, NoReply) else "answered"


async def play(net: SimNet, script: Script, asked: Plan, answered: Plan, link: Conditions) -> None:
    """Let clients ask by a script, each request with a payload of its own, under faults both ways; check every end."""
    world = World(net)
    net.link(link)
    script = Script(*(replace(ask, data=b"%d" % number) for number, ask in enumerate(script)))
    async with trio.open_nursery() as nursery, contextlib.AsyncExitStack() as stack:
        await nursery.start(world.serve)
        with world.host.here():
            # The first is not connected, so that it has to tell strangers from its server by itself.
            clients = [
                await stack.enter_async_context(trio_udp.open_client(*world.address, policy=POLICY, connect=number > 0))
                for number in range(CLIENTS)
            ]
        began, spy = net.now, OnPath(net, world.host, world.server)
        mirror = spy.doing(partial(send_from_elsewhere, net), source=world.server)
        with asked.on(net, world.host), answered.on(net, world.server, world.host), mirror:
            endings = await script.play(lambda ask: clients[ask.client].exchange(ask.data))
        check_ends(endings, genuine_answers(net.trace, world), began)
        check_counts(clients, endings)
        # Whoever saw everything sends it all again, to clients that wait for something else.
        net.link(Conditions())
        for packet in spy.seen:
            spy.replay(packet)
        for client in clients:
            assert await client.request(b"something else") == b"something else"
        nursery.cancel_scope.cancel()


def send_from_elsewhere(net: SimNet, packet: Packet) -> None:
    """Every genuine answer comes from other places before it comes from its server, and even where that one is lost."""
    host, port = packet.source
    for source in (STRANGER, (STRANGER[0], port), (host, port + 1)):
        net.inject(packet.data, source, packet.destination)


def check_ends(endings: list[Ending], answers: dict[bytes, list[float]], began: float) -> None:
    """Each request ended as the model says, when the model says."""
    for ending in endings:
        arrived = [at - began for at in answers.get(ending.ask.data, ())]
        at, what = expected_end(ending.ask, ending.began, arrived)
        assert ending.began == pytest.approx(ending.ask.at, abs=SLACK)
        assert ending.ended == pytest.approx(at, abs=SLACK)
        happened = what_happened(ending)
        assert happened in what
        if happened == "answered":
            assert isinstance(ending.result, Reply)
            assert ending.result.payload == ending.ask.data
            assert ending.result.peer.port == SERVER_PORT


def check_counts(clients: list[Client], endings: list[Ending]) -> None:
    """Every request ended once, and nothing is left open (A3, A9)."""
    happened = Counter(map(what_happened, endings))
    found: Counter[str] = Counter()
    for client in clients:
        counts = client.statistics()
        assert counts.in_flight == 0
        found += Counter({"answered": counts.replies, "no reply": counts.no_replies, "cancelled": counts.cancelled})
    assert found == happened


CLIENTS: Final = 3
FAULTS: Final = (Lose, Delay, Duplicate, Swap, Corrupt, Inject, IcmpError)
faults: Final = plans(
    *FAULTS,
    packets=12,
    max_size=8,
    seconds=6.0,
    bits=st.integers(8 * _IDS.start, 8 * _IDS.stop - 1),
    sources=st.none() | peers("v4"),
    data=datagrams(max_size=64),
)
"""Everything that this format can tell from a genuine answer: a flipped bit of the payload it cannot."""


@given(
    script=client_scripts(clients=CLIENTS),
    asked=faults,
    answered=faults,
    link=conditions(loss=0.5, latency=2.0, jitter=1.0),
    seed=st.integers(0, 1000),
)
@example(Script(Ask(patience=0.0)), Plan(), Plan(), Conditions(), 0)
@example(Script(Ask(patience=0.5)), Plan(Delay(1, seconds=0.5)), Plan(), Conditions(), 0)
@example(Script(Ask()), Plan(), Plan(*(Delay(number, seconds=6.0) for number in range(1, 5))), Conditions(), 0)
@example(Script(Ask()), Plan(), Plan(*(Lose(number) for number in range(1, 5))), Conditions(), 0)
@example(Script(Ask()), Plan(), Plan(Swap(1), Lose(2)), Conditions(), 0)
@example(Script(Ask()), Plan(Corrupt(1, bit=101)), Plan(Corrupt(1, bit=101)), Conditions(), 0)
@example(Script(Ask()), Plan(Lose(1), Lose(2), Lose(3), Swap(4)), Plan(), Conditions(), 0)
@example(Script(Ask(), Ask()), Plan(), Plan(Swap(1)), Conditions(), 0)
@example(
    Script(Ask(), Ask(client=1, at=0.5)), Plan(Swap(1), IcmpError(after=2)), Plan(Inject(after=1)), Conditions(), 0
)
@settings(max_examples=60)
def test_every_request_ends_with_its_first_genuine_answer_or_at_its_end_and_never_otherwise(
    script: Script, asked: Plan, answered: Plan, link: Conditions, seed: int
) -> None:
    """A1, A2, A3, A9, C4, liveness: for whatever the network does in both directions, and the forgers add."""
    simulate(play, script, asked, answered, link, seed=seed)


# The properties can fail: clients that anybody can fool are found, and the plan that fools them is read at a glance


BareClient = Callable[[trio.socket.SocketType, tuple[str, int]], Awaitable[bytes]]


async def promiscuous(sock: trio.socket.SocketType, server: tuple[str, int]) -> bytes:
    """The book's first client: it believes whoever is first."""
    await sock.sendto(b"question", server)
    return (await sock.recvfrom(2000))[0]


async def nervous(sock: trio.socket.SocketType, server: tuple[str, int]) -> bytes:
    """The book's connected client: it dies of an ICMP error that anybody can forge."""
    await sock.connect(server)
    await sock.send(b"question")
    return await sock.recv(2000)


async def careful(sock: trio.socket.SocketType, server: tuple[str, int]) -> bytes:
    """A client that looks at the source, which is all that a format without ids can do."""
    await sock.sendto(b"question", server)
    while True:
        data, source = await sock.recvfrom(2000)
        if source[:2] == server:
            return data


async def is_fooled(net: SimNet, client: BareClient, plan: Plan) -> bool:
    """Whether it returns anything but the server's answer, or dies, when strangers do this; waiting on is fine."""
    server, host = net.host("server"), net.host("client")
    net.link(Conditions(latency=1))  # so that what a stranger sends has some time to arrive before the answer
    address = server.addresses[0], SERVER_PORT

    async def serve(task_status: trio.TaskStatus[None]) -> None:
        with server.here():
            sock = trio.socket.socket(type=trio.socket.SOCK_DGRAM)
        await sock.bind(address)
        task_status.started()
        data, peer = await sock.recvfrom(2000)
        await sock.sendto(data.upper(), peer)

    with host.here():
        sock = trio.socket.socket(type=trio.socket.SOCK_DGRAM)
    answer = b"QUESTION"
    async with trio.open_nursery() as nursery:
        await nursery.start(serve)
        with plan.on(net), trio.move_on_after(10):
            try:
                answer = await client(sock, address)
            except OSError:
                answer = b""
        nursery.cancel_scope.cancel()
    return answer != b"QUESTION"


strangers: Final = plans(Lose, Delay, Duplicate, Swap, Inject, IcmpError)
"""What even a format without ids and checksums can be expected to survive."""


SEARCH: Final = settings(max_examples=300, database=None, deadline=None, phases=[Phase.generate, Phase.shrink])
"""Without the phase that explains, which traces every line and takes ten times as long."""


@pytest.mark.parametrize(
    ("client", "smallest"),
    [
        (promiscuous, Plan(Inject(after=1, source=("198.51.100.1", 1060)))),
        (nervous, Plan(IcmpError(after=1))),
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_client_that_anybody_can_fool_is_found_and_the_plan_shrinks_to_one_action(
    client: BareClient, smallest: Plan, seed: int
) -> None:
    """Within three hundred examples, whatever the seed."""

    def fools(plan: Plan) -> bool:
        return simulate(is_fooled, client, plan)

    assert find(strangers, fools, settings=SEARCH, random=Random(seed)) == smallest


@given(plan=strangers)
def test_client_that_looks_at_the_source_is_not_fooled_by_strangers(plan: Plan) -> None:
    """So the test above does not fail for everything."""
    assert not simulate(is_fooled, careful, plan)
