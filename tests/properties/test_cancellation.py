"""Cancellation at every checkpoint (G9): the same scenario again and again, interrupted one task step later each time.

The scenario has what can be interrupted: a server with a handler that waits and loses the first attempts, a client that
four tasks share and two at a time may use, so that there are a reader, one it reads for and some who wait for their
turn; retransmissions; a full send buffer; a drain that waits for a handler. What is interrupted is all of it, one
request, the drain, or the client by closing it. A run in which nothing was interrupted any more ends the enumeration.
"""

import errno
import functools
import math
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_udp import Client, NoReply, Request, RetryPolicy, Server, open_client, serve
from trio_udp.proto import _once

from ..networks import DIRECT, NETWORKS, AtStep, Names, NetworkName, descriptors, faults_of, installed

POLICY: Final = RetryPolicy(initial=0.1, jitter=0, adaptive=False, attempts=4)
OTHERS: Final = (b"first", b"second", b"third")
VICTIM: Final = b"victim"
LAST: Final = b"running while the server drains"
EPSILON: Final = 1e-6


async def answer_late(request: Request) -> bytes | None:
    """Lose each first attempt, and take some time for the second."""
    if request.attempt == 1:
        return None
    await trio.sleep(0.03)
    return request.payload[::-1]


async def answer_slowly(request: Request) -> bytes:
    """Take so much time that the client sends again."""
    await trio.sleep(0.13)
    return request.payload[::-1]


class Scenario:
    """One run, and what came of it."""

    handler: Callable[[Request], Awaitable[bytes | None]] = staticmethod(answer_late)
    at_most_once = False
    max_in_flight = 2

    def __init__(self, network: NetworkName) -> None:
        self.network = network
        self.everything = trio.CancelScope()
        self.victim = trio.CancelScope()
        self.draining = trio.CancelScope()
        self.server: Server | None = None
        self.client: Client | None = None
        self.answered: dict[bytes, float] = {}
        """When each request was answered; the answers themselves are checked on the spot."""
        self.closed: set[bytes] = set()
        """Requests that ended because the client was closed."""
        self.given_up: set[bytes] = set()
        """Requests that nobody answered."""
        self.running: set[bytes] = set()
        """Requests whose handler waits."""
        self.steps = 0

    def close(self) -> None:
        """Close the client in the middle of it, if it is open by then."""
        if self.client is not None:
            self.client.close_nowait()

    def run(self, step: int, interrupt: Callable[[], object]) -> bool:
        """Interrupt it just before this task step; whether there still was such a step."""
        before = descriptors()
        instrument = AtStep(step, interrupt)
        trio.run(self._main, clock=MockClock(autojump_threshold=0), instruments=[instrument])
        assert descriptors() == before
        self.steps = instrument.steps
        return instrument.steps >= step

    async def _main(self) -> None:
        async with installed(self.network):
            with self.everything:
                await self._serve_and_use()
            assert math.isinf(trio.lowlevel.current_statistics().seconds_to_next_deadline)  # no timer is left

    async def _serve_and_use(self) -> None:
        async with trio.open_nursery() as nursery:
            self.server = await nursery.start(functools.partial(serve, self._handle, 0, host="127.0.0.1"))
            async with open_client(
                *self.server.address, policy=POLICY, max_in_flight=self.max_in_flight, at_most_once=self.at_most_once
            ) as self.client:
                await self._use(self.client, self.server)

    async def _handle(self, request: Request) -> bytes | None:
        self.running.add(request.payload)
        try:
            return await self.handler(request)
        finally:
            self.running.discard(request.payload)

    async def _use(self, client: Client, server: Server) -> None:
        if self.network in DIRECT:
            faults_of(client._endpoint._transport).sends.extend([None, errno.EAGAIN, None, errno.EAGAIN])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._ask, client, OTHERS[0])
            nursery.start_soon(self._ask_as_the_victim, client)
            for payload in OTHERS[1:]:
                nursery.start_soon(self._ask, client, payload)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._ask, client, LAST)
            while LAST not in self.running | self.closed:
                await trio.sleep(0.01)
            with self.draining:
                await server.drain()

    async def _ask(self, client: Client, payload: bytes) -> None:
        try:
            assert await client.request(payload) == payload[::-1]
        except trio.ClosedResourceError:
            self.closed.add(payload)
        except NoReply:
            self.given_up.add(payload)
        else:
            self.answered[payload] = trio.current_time()

    async def _ask_as_the_victim(self, client: Client) -> None:
        with self.victim:
            await self._ask(client, VICTIM)

    def check_that_nothing_is_left(self) -> None:
        """No table entry, waiter, role, turn or handler; and every request is in one counter."""
        if self.client is not None:
            client = self.client
            assert len(client._protocol.exchanges) == 0
            assert not client._protocol.held
            assert client._protocol.servers[0].ledger.room == _once.WINDOW
            assert not client._pump.parked
            assert client._pump.reader is None
            assert client._turns.taken == 0
            counts = client.statistics()
            assert counts.replies + counts.no_replies + counts.remote_errors + counts.cancelled == counts.requests
        if self.server is not None:
            totals = self.server.statistics()
            ended = totals.replies + totals.retries + totals.busy + totals.errors + totals.unanswered + totals.absorbed
            assert (totals.handlers, ended) == (0, totals.requests)


class OnceScenario(Scenario):
    """The same with requests that run at most once, of which some are held: see `two_at_a_time`."""

    handler = staticmethod(answer_slowly)
    at_most_once = True
    max_in_flight = 4


@pytest.fixture
def two_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A third request is held until the oldest is over, instead of the 65th."""
    monkeypatch.setattr(_once, "WINDOW", 2)


def undisturbed(network: NetworkName, kind: type[Scenario] = Scenario) -> Scenario:
    """The scenario without an interruption."""
    scenario = kind(network)
    assert not scenario.run(10**9, scenario.close)
    scenario.check_that_nothing_is_left()
    assert set(scenario.answered) == {*OTHERS, VICTIM, LAST}
    return scenario


def enumerate_steps(
    network: NetworkName,
    interruption: Callable[[Scenario], Callable[[], object]],
    check: Callable[[Scenario], object],
    kind: type[Scenario] = Scenario,
) -> None:
    """Interrupt at every step there is."""
    step = 1
    while True:
        scenario = kind(network)
        interrupted = scenario.run(step, interruption(scenario))
        try:
            scenario.check_that_nothing_is_left()
            check(scenario)
        except AssertionError as failure:
            failure.add_note(f"interrupted before task step {step}")
            raise
        if not interrupted:
            break
        step += 1
    assert step > 50  # the scenario is not a trifle


@pytest.mark.parametrize("network", NETWORKS)
def test_cancelling_everything_leaves_nothing(network: NetworkName) -> None:
    """G9: no task, descriptor, table entry, turn or timer, at whichever checkpoint."""
    enumerate_steps(network, lambda scenario: scenario.everything.cancel, lambda scenario: None)


@pytest.mark.parametrize("network", NETWORKS)
def test_cancelling_one_request_disturbs_no_other(network: NetworkName) -> None:
    """G9, A9: the others are answered, and none of them any later: the role of reader and the turn are passed on."""
    answered = undisturbed(network).answered
    latest = max(answered[payload] for payload in OTHERS)

    def check(scenario: Scenario) -> None:
        assert {*OTHERS, LAST} <= set(scenario.answered)
        assert max(scenario.answered[payload] for payload in OTHERS) <= latest + EPSILON

    enumerate_steps(network, lambda scenario: scenario.victim.cancel, check)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.usefixtures("two_at_a_time")
def test_cancelling_everything_that_runs_at_most_once_leaves_nothing(network: NetworkName) -> None:
    """G9: nor a number that is never given back."""
    enumerate_steps(network, lambda scenario: scenario.everything.cancel, lambda scenario: None, OnceScenario)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.usefixtures("two_at_a_time")
def test_cancelling_one_request_that_runs_at_most_once_disturbs_no_other(network: NetworkName) -> None:
    """G9, A9: whoever is held behind it goes at once."""
    answered = undisturbed(network, OnceScenario).answered
    latest = max(answered[payload] for payload in OTHERS)

    def check(scenario: Scenario) -> None:
        assert {*OTHERS, LAST} <= set(scenario.answered)
        assert max(scenario.answered[payload] for payload in OTHERS) <= latest + EPSILON

    enumerate_steps(network, lambda scenario: scenario.victim.cancel, check, OnceScenario)


@pytest.mark.parametrize("network", NETWORKS)
def test_cancelling_the_drain_stops_the_server_and_nothing_else(network: NetworkName) -> None:
    """G9, E10: the requests before it are answered; the one that was running then may go unanswered."""

    def check(scenario: Scenario) -> None:
        assert {*OTHERS, VICTIM} <= set(scenario.answered)
        assert scenario.given_up <= {LAST}

    enumerate_steps(network, lambda scenario: scenario.draining.cancel, check)


@pytest.mark.parametrize("network", NETWORKS)
def test_closing_the_client_ends_every_request_once(network: NetworkName) -> None:
    """G10: with its answer or with `ClosedResourceError`, whatever each of them was doing."""

    def check(scenario: Scenario) -> None:
        ended = [*scenario.answered, *scenario.closed]
        assert sorted(ended) == sorted([*OTHERS, VICTIM, LAST])

    enumerate_steps(network, lambda scenario: scenario.close, check)


@pytest.mark.parametrize("network", NETWORKS)
def test_opening_can_be_cancelled_at_every_step(network: NetworkName) -> None:
    """G9: before there is a client or a server to speak of."""

    async def open_both(scope: trio.CancelScope) -> None:
        async with installed(network):
            trio.socket.set_custom_hostname_resolver(Names({"here": ["127.0.0.1", "127.0.0.2"]}))
            with scope:
                await serve_and_open()

    async def serve_and_open() -> None:
        async with trio.open_nursery() as nursery:
            server = await nursery.start(serve, answer_late, 0)
            async with open_client("here", server.address.port):
                await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()

    step = 1
    while True:
        before = descriptors()
        scope = trio.CancelScope()
        instrument = AtStep(step, scope.cancel)
        trio.run(open_both, scope, instruments=[instrument])
        assert descriptors() == before
        if instrument.steps < step:
            break
        step += 1


# Any crowd of tasks, each with its own patience


class Task(NamedTuple):
    """One request of many that share a client."""

    starts: float
    patience: float
    losses: int
    """Attempts the server does not answer."""
    delay: float
    """Seconds the server takes to answer the next one."""

    def ends(self) -> tuple[float, str]:
        """When, seconds from its start, and how, if no other request existed."""
        sends = [0, 0.1, 0.3, 0.7]
        answered = sends[self.losses] + self.delay if self.losses < len(sends) else math.inf
        return min((answered, "answered"), (1.5, "given up"), (self.patience, "cancelled"))


TENTHS: Final = st.integers(0, 30).map(lambda number: number / 10)
TASKS: Final = st.builds(
    Task,
    starts=TENTHS,
    patience=st.integers(0, 20).map(lambda number: number / 10 + 0.025),
    losses=st.integers(0, 4),
    delay=st.integers(0, 20).map(lambda number: number / 20 + 0.01),
)


@pytest.mark.parametrize("network", NETWORKS)
@given(tasks=st.lists(TASKS, min_size=1, max_size=8))
def test_each_request_ends_as_if_it_were_alone(network: NetworkName, tasks: list[Task]) -> None:
    """A2, C4, G9: to the tick, whoever reads for whom, and whoever leaves when."""

    async def answer(request: Request) -> bytes | None:
        task = tasks[request.payload[0]]
        if request.attempt <= task.losses:
            return None
        await trio.sleep(task.delay)
        return request.payload

    async def ask(client: Client, number: int) -> None:
        task = tasks[number]
        await trio.sleep(task.starts)
        began = trio.current_time()
        outcome = "cancelled"
        with trio.move_on_after(task.patience):
            try:
                assert await client.request(bytes([number])) == bytes([number])
                outcome = "answered"
            except NoReply:
                outcome = "given up"
        assert (round(trio.current_time() - began, 6), outcome) == (round(task.ends()[0], 6), task.ends()[1])

    async def main() -> None:
        async with installed(network), trio.open_nursery() as nursery:
            server = await nursery.start(functools.partial(serve, answer, 0, host="127.0.0.1"))
            # A window so wide that no loss makes anybody wait for his turn.
            async with open_client(*server.address, policy=POLICY, max_in_flight=2**60) as client:
                async with trio.open_nursery() as asking:
                    for number in range(len(tasks)):
                        asking.start_soon(ask, client, number)
                assert len(client._protocol.exchanges) == 0
            await server.drain()

    trio.run(main, clock=MockClock(autojump_threshold=0))
