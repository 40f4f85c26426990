"""Bursts: what many tasks, or one task with many payloads, have to send at a time leaves together.

What must hold is what holds for each request by itself, so other files have most of it. Where every
step is interrupted once, a crowd of one is enough for a burst.
"""

import contextlib
import errno
import functools
import math
from collections.abc import Callable
from typing import Final

import pytest
import trio
from trio.testing import MockClock

from trio_udp import Client, Request, RetryPolicy, open_client, serve
from trio_udp._pump import Pump
from trio_udp.proto import Exchange

from .networks import (
    DIRECT,
    NETWORKS,
    AtStep,
    NetworkName,
    descriptors,
    echo,
    faults_of,
    installed,
    kernel,
    network_fixture,  # noqa: F401 - pytest finds it by its name, network
    serving,
)

CROWD: Final = 3
ROUNDS: Final = 4
POLICY: Final = RetryPolicy(initial=0.1, jitter=0, adaptive=False, attempts=4)
EPSILON: Final = 1e-6


class Bursts:
    """Counts what `Client` hands to the kernel together, by way of its endpoint."""

    def __init__(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sizes: list[int] = []
        self._send_some = client._endpoint.send_some
        monkeypatch.setattr(client._endpoint, "send_some", self._note)

    async def _note(self, outgoing: list[tuple[bytes, None, None]], **options: bool) -> tuple[int, str | None]:
        self.sizes.append(len(outgoing))
        return await self._send_some(outgoing, **options)


@pytest.mark.parametrize("in_flight", [20, 10])
async def test_requests_of_tasks_that_are_answered_together_leave_together(
    network: NetworkName, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, in_flight: int
) -> None:
    """Those who were answered, and those who were given their turns."""
    answers: list[bytes] = []

    async def ask(client: Client, number: int) -> None:
        for again in range(ROUNDS):
            payload = b"%d %d" % (number, again)
            assert await client.request(payload) == payload
            answers.append(payload)

    async with (
        serving(echo, host="127.0.0.1") as server,
        open_client(*server.address, max_in_flight=in_flight) as client,
    ):
        bursts = Bursts(client, monkeypatch)
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(ask, client, number)
        counts = client.statistics()
    assert len(set(answers)) == counts.replies == counts.endpoint.datagrams_sent == 20 * ROUNDS
    if network in ("kernel", "portable"):  # elsewhere answers come one by one
        assert max(bursts.sizes) > in_flight // 2


@kernel
async def test_requests_of_one_task_leave_together(network: NetworkName, monkeypatch: pytest.MonkeyPatch) -> None:
    """And in one piece, where the kernel can."""
    payloads = [b"%03d" % number for number in range(100)]
    async with serving(echo, host="127.0.0.1") as server, open_client(*server.address) as client:
        bursts = Bursts(client, monkeypatch)
        async with client.request_many(payloads) as results:
            assert {result.reply.payload async for result in results if result.reply is not None} == set(payloads)
        assert max(bursts.sizes) == 64
        runs = client._endpoint._transport
        assert client.statistics().endpoint.segments_sent >= (64 if getattr(runs, "_sends_runs", False) else 0)


SHUFFLES: Final = 10


class Crowd:
    """Three tasks that ask again and again, one of them the victim; and what came of it."""

    def __init__(self) -> None:
        self.everything = trio.CancelScope()
        self.victim = trio.CancelScope()
        self.client: Client | None = None
        self.seen: set[bytes] = set()
        """Payloads that reached the server."""
        self.answered: dict[bytes, float] = {}
        self.unsent: set[bytes] = set()
        """What was left to the reader, and not sent, when its task had to leave."""

    def close(self) -> None:
        """Close the client in the middle of it."""
        if self.client is not None:
            self.client.close_nowait()

    def run(self, network: NetworkName, step: int, interrupt: Callable[[], object]) -> bool:
        """Interrupt it just before this task step; whether there still was such a step."""
        before = descriptors()
        instrument = AtStep(step, interrupt)
        trio.run(self._main, network, clock=MockClock(autojump_threshold=0), instruments=[instrument])
        assert descriptors() == before
        self._check_that_nothing_is_left()
        return instrument.steps >= step

    async def _main(self, network: NetworkName) -> None:
        async with installed(network):
            with self.everything:
                await self._serve_and_ask(network)
            assert math.isinf(trio.lowlevel.current_statistics().seconds_to_next_deadline)  # no timer is left

    async def _serve_and_ask(self, network: NetworkName) -> None:
        async with trio.open_nursery() as nursery:
            server = await nursery.start(functools.partial(serve, self._answer, 0, host="127.0.0.1"))
            async with open_client(*server.address, policy=POLICY, max_in_flight=CROWD - 1) as self.client:
                if network in DIRECT:
                    faults_of(self.client._endpoint._transport).sends.extend([None, None, errno.EAGAIN, None])
                self._watch(self.client._pump)
                async with trio.open_nursery() as asking:
                    for number in range(CROWD):
                        asking.start_soon(self._ask, self.client, number)
            nursery.cancel_scope.cancel()

    def _watch(self, pump: Pump) -> None:
        forget = pump.forget

        def note(exchange: Exchange) -> None:
            if exchange in list(pump._outbox)[1:]:  # the first may be on its way, waiting for room
                self.unsent.add(exchange.payload)
            forget(exchange)

        setattr(pump, "forget", note)  # noqa: B010 - a method is no attribute, says mypy

    def _answer(self, request: Request) -> bytes:
        self.seen.add(request.payload)
        return request.payload

    async def _ask(self, client: Client, number: int) -> None:
        with self.victim if number == 0 else trio.CancelScope(), contextlib.suppress(trio.ClosedResourceError):
            for again in range(ROUNDS):
                payload = b"%d %d" % (number, again)
                assert await client.request(payload) == payload
                self.answered[payload] = trio.current_time()

    def _check_that_nothing_is_left(self) -> None:
        client = self.client
        if client is not None:
            pump, turns = client._pump, client._turns
            assert (len(client._protocol.exchanges), pump.parked, pump.reader, pump._outbox) == (0, {}, None, {})
            assert (turns.value, turns.awake, pump._awake) == (turns.max_value, 0, 0)
            counts = client.statistics()
            assert counts.replies + counts.no_replies + counts.remote_errors + counts.cancelled == counts.requests


INTERRUPTIONS: Final[dict[str, Callable[[Crowd], Callable[[], object]]]] = {
    "everything": lambda crowd: crowd.everything.cancel,
    "victim": lambda crowd: crowd.victim.cancel,
    "closing": lambda crowd: crowd.close,
}


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("what", INTERRUPTIONS)
def test_whatever_interrupts_a_burst_at_whichever_step_leaves_nothing_and_disturbs_nobody(
    network: NetworkName, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A9, G9, G10: what was cancelled before it left is not sent; the others are answered, and no later than ever."""
    monkeypatch.setattr("trio_udp._pump.RUSH", 1)
    others = {b"%d %d" % (number, again) for number in range(1, CROWD) for again in range(ROUNDS)}
    undisturbed = Crowd()
    assert not undisturbed.run(network, 10**9, undisturbed.close)
    assert others < set(undisturbed.answered)
    latest = max(undisturbed.answered.values())
    steps = unsent = 0
    for _ in range(SHUFFLES):  # Trio runs tasks in another order every time, and not in each does a victim wait in line
        step, goes_on = 1, True
        while goes_on:
            crowd = Crowd()
            goes_on = crowd.run(network, step, INTERRUPTIONS[what](crowd))
            assert not crowd.unsent & crowd.seen, step
            unsent += len(crowd.unsent)
            if what == "victim":
                assert others <= set(crowd.answered), step
                assert max(crowd.answered.values()) <= latest + EPSILON, step
            step += 1
        steps = max(steps, step)
        if unsent or what != "victim":
            break
    assert steps > 50  # the scenario is not a trifle
    if what == "victim" and network in DIRECT:  # elsewhere one answer at a time wakes one task at a time
        assert unsent  # nor is what is asked about it
