"""One world from one seed: real clients and servers on a simulated network where all goes wrong that can.

`python -m trio_udp sim` prints what it comes to. What is drawn from the seed: losses, duplicates, reordering, delays;
when the network is cut in two, when a server loses power and comes back, when address translators forget; how often who
asks, and when one loses patience. Beside every request that passes stands a forger, who sees it and throws replies that
are right in all but one thing.

What must hold, whatever the seed: a reply is what the server that it came from has said to this request, and nothing
else; a server is asked nothing that nobody asked (A1, A8); a request ends without a reply when its schedule does, and
not before (A2, C4); each server is sent a datagram when the wait for the one before is over, and not before (C3, C6); a
server sends no more datagrams than good requests came (E4, E5); at the end nothing is left open (A9, G9), and when all
has been mended every server answers.
"""

import math
import socket
from collections import Counter
from functools import partial
from random import Random
from typing import Final

import trio

from .._chaos import Conditions, GilbertElliott
from .._client import Client, open_client
from .._errors import NoReply, RemoteError
from .._net import Address
from .._server import Request, Server, serve
from ..proto import BOOK, COAP, STUN, Attempt, DropReason, RetryPolicy
from ._forger import Forger
from ._hosts import Host
from ._simnet import SimNet
from ._simulate import simulate
from ._trace import Trace
from ._world_report import Outage, WorldPlan, WorldReport

_PORT: Final = 1060
_MOST_SERVERS: Final = 3
_POLICIES: Final = (RetryPolicy(), RetryPolicy(attempts=8, initial=0.5), BOOK, STUN, COAP)
_ONCE: Final = RetryPolicy(attempts=1)
_QUESTIONS: Final = 10
"""About so many questions a client, however long the world lasts."""
_AFTERWARDS: Final = 86_400.0
"""Seconds of virtual time for the last requests to end; a world that goes on for longer has come to a standstill."""
_SLACK: Final = 1e-6
"""Seconds."""
_TRACED: Final = 200
"""Packets kept to be read after an exception; the digest covers all."""
_REPORTED: Final = 100
"""Violations whose sentences are kept."""


def draw_plan(random: Random, *, clients: int, seconds: float, loss: float | None = None) -> WorldPlan:
    """A world of this size; `loss` instead of a share of losses that is drawn."""

    def between(least: float, most: float) -> float:
        return least + (most - least) * random.random()

    def outages(longest: float) -> tuple[Outage, ...]:
        return tuple(
            Outage(between(0, seconds), between(1, min(longest, 1 + seconds / 10)), int(between(0, servers)))
            for _ in range(int(between(1, 4)))
        )

    servers = int(between(1, _MOST_SERVERS + 1))
    drawn_loss = between(0.02, 0.3)
    conditions = Conditions(
        loss=round(drawn_loss if loss is None else loss, 3),
        burst=GilbertElliott(0.01, 0.2) if random.random() < 0.3 else None,
        latency=round(between(0.001, 0.15), 3),
        jitter=round(between(0, 0.05), 3),
        duplicate=round(between(0.02, 0.2), 3),
        reorder=round(between(0.02, 0.2), 3),
        reorder_by=round(between(0.02, 0.8), 3),
    )
    return WorldPlan(
        clients,
        seconds,
        servers,
        conditions,
        behind_nat=between(0.1, 0.6),
        impatient=between(0, 0.1),
        forged=between(0.5, 2.0),
        partitions=outages(60.0),
        crashes=outages(120.0),
        rebindings=tuple(sorted(between(0, seconds) for _ in range(int(between(1, 5))))),
    )


def run_world(seed: int, *, clients: int, seconds: float, loss: float | None = None) -> WorldReport:
    """Live through the world of this seed, in virtual time. Equal arguments give equal reports, on every machine.

    It runs Trio by itself, so it is not for async functions, and no cancel scope reaches into it.

    Args:
        seed: decides everything that is left to chance.
        clients: how many there are.
        seconds: how long they ask, of virtual time.
        loss: share of the packets that are lost each way, from 0 to 1; drawn from the seed by default.

    Raises:
        ValueError: an argument makes no sense.

    Whatever else comes out is a bug, with the last packets of the world as a note.
    """
    _check(clients, seconds, loss)
    net = SimNet(seed=seed, trace_limit=_TRACED)
    plan = draw_plan(net.random, clients=clients, seconds=seconds, loss=loss)
    world = _World(net, plan)
    simulate(world.live, net=net, seed=seed, time_limit=seconds + _AFTERWARDS)
    return world.findings.report(plan, net.trace)


def _check(clients: int, seconds: float, loss: float | None) -> None:
    if clients < 1:
        raise ValueError(f"expected 1 client or more, got {clients}")
    if not 0 < seconds < math.inf:
        raise ValueError(f"expected more than 0 seconds, and an end, got {seconds}")
    if loss is not None and not 0 <= loss <= 1:
        raise ValueError(f"expected a share of losses from 0 to 1, got {loss}")


class _Findings:
    """A report that is being written."""

    def __init__(self) -> None:
        self.requests = self.replies = self.given_up = self.cancelled = self.wrong = self.forged = self.violations = 0
        self.dropped: Counter[DropReason] = Counter()
        self.said: list[str] = []

    def violation(self, what: str) -> None:
        """Note that something did not hold."""
        self.violations += 1
        if len(self.said) < _REPORTED:
            self.said.append(what)

    def report(self, plan: WorldPlan, trace: Trace) -> WorldReport:
        """What it has come to."""
        return WorldReport(
            plan=plan,
            requests=self.requests,
            replies=self.replies,
            given_up=self.given_up,
            cancelled=self.cancelled,
            wrong=self.wrong,
            packets=trace.count,
            forged=self.forged,
            dropped=dict(self.dropped),
            violations=self.violations,
            said=tuple(self.said),
            digest=trace.digest,
        )


class _World:
    """The hosts, the programs on them, and what happens to them."""

    def __init__(self, net: SimNet, plan: WorldPlan) -> None:
        self.net, self.plan = net, plan
        self.findings = _Findings()
        self._random = net.random
        self._asked: set[bytes] = set()
        self._running: list[Server] = []
        """Every server that was started, those that have lost power among them."""
        net.link(plan.conditions)
        self._servers = [net.host(f"server-{number}") for number in range(plan.servers)]
        self._owner = {address: number for number, host in enumerate(self._servers) for address in host.addresses}
        self._nats = [net.nat(f"nat-{number}") for number in range(2)]
        self._clients = [self._settle(number) for number in range(plan.clients)]
        self._forger = Forger(net, frozenset(self._owner), _PORT, plan.forged)

    async def live(self, net: SimNet) -> None:
        """Until every client has gone."""
        async with trio.open_nursery() as nursery:
            for number, host in enumerate(self._servers):
                nursery.start_soon(host.run, self._serve, number)
            for outage in self.plan.partitions:
                nursery.start_soon(self._partition, outage)
            for outage in self.plan.crashes:
                nursery.start_soon(self._crash, outage)
            nursery.start_soon(self._rebind)
            with net.rule(self._forger.watch):
                async with trio.open_nursery() as programs:
                    for number, host in enumerate(self._clients):
                        programs.start_soon(host.run, self._ask_now_and_then, number)
            await self._ask_everybody_once_more()
            nursery.cancel_scope.cancel()
        self.findings.forged = self._forger.thrown
        self._check_servers()

    def _settle(self, number: int) -> Host:
        behind = self._random.random() < self.plan.behind_nat
        return self.net.host(f"client-{number}", nat=self._nats[number % len(self._nats)] if behind else None)

    # What happens

    async def _partition(self, outage: Outage) -> None:
        """One server is cut off from one half of the clients."""
        await trio.sleep(outage.begins)
        half = [host.nat or host for host in self._clients[outage.which % 2 :: 2]]
        with self.net.partition([self._servers[outage.which]], half):
            await trio.sleep(outage.lasts)

    async def _crash(self, outage: Outage) -> None:
        """One server loses power, and comes back with no memory of what was."""
        await trio.sleep(outage.begins)
        host = self._servers[outage.which]
        host.crash()
        await trio.sleep(outage.lasts)
        host.restart()

    async def _rebind(self) -> None:
        for at in self.plan.rebindings:
            await trio.sleep(max(at - self.net.now, 0))
            for nat in self._nats:
                nat.rebind()

    # The servers

    async def _serve(self, number: int) -> None:
        async with trio.open_nursery() as nursery:
            self._running.append(await nursery.start(partial(serve, partial(self._answer, number), _PORT)))

    def _answer(self, number: int, request: Request) -> bytes:
        """What that server says to a question, and no other server to no other question."""
        if request.payload not in self._asked:
            self.findings.violation(f"server {number} was asked {request.payload!r}, which nobody has asked")
        return _said(number, request.payload)

    def _check_servers(self) -> None:
        for server in self._running:
            statistics = server.statistics()
            sent = sum(endpoint.datagrams_sent for endpoint in statistics.endpoints.values())
            if sent > statistics.requests:
                self.findings.violation(f"a server sent {sent} datagrams in answer to {statistics.requests} requests")
            self.findings.dropped.update(statistics.dropped)

    # The clients

    async def _ask_now_and_then(self, number: int) -> None:
        draw = self._random.random
        is_connected = self.plan.servers == 1 and draw() < 0.5
        policy = _POLICIES[int(draw() * len(_POLICIES))]
        by_v6 = draw() < 0.3 and self._clients[number].nat is None
        opening = open_client(
            servers=[(host.name, _PORT) for host in self._servers],
            family=socket.AF_INET6 if by_v6 else socket.AF_INET,
            connect=is_connected,
            policy=policy,
        )
        pause = 2 * self.plan.seconds / _QUESTIONS
        async with opening as client:
            await trio.sleep(pause * draw())
            while self.net.now < self.plan.seconds:
                await self._ask(client, b"client %d asks %d: ?" % (number, len(self._asked)), policy)
                await trio.sleep(pause * draw())
            self._check_client(client)

    async def _ask(self, client: Client, question: bytes, policy: RetryPolicy) -> None:
        """One request, however it ends."""
        findings = self.findings
        findings.requests += 1
        self._asked.add(question)
        schedule = _Schedule(policy, findings)
        is_impatient = self._random.random() < self.plan.impatient
        with trio.move_on_after(3 * self._random.random() if is_impatient else math.inf) as patience:
            try:
                reply = await client.exchange(question, on_attempt=schedule.note)
            except NoReply:
                findings.given_up += 1
                schedule.check_end()
            except RemoteError as exc:
                findings.violation(f"a request ended with {exc!r}, and no server has refused any")
            else:
                findings.replies += 1
                if reply.payload != _said(self._owner[reply.peer.host], question):
                    findings.wrong += 1
                    findings.violation(f"{question!r} was answered {reply.payload!r} by {reply.peer}")
        if patience.cancelled_caught:
            findings.cancelled += 1

    async def _ask_everybody_once_more(self) -> None:
        """When all has been mended, every server answers at once."""
        outages = (*self.plan.partitions, *self.plan.crashes)
        mended_at = max(outage.begins + outage.lasts for outage in outages)
        await trio.sleep(max(mended_at - self.net.now, 0) + 1)
        self.net.link(Conditions())
        with self._clients[0].here():
            for host in self._servers:
                async with open_client(host.addresses[0], _PORT) as client:
                    question = b"client 0 asks %d: ?" % len(self._asked)
                    self._asked.add(question)
                    try:
                        await client.request(question, policy=_ONCE)
                    except (NoReply, RemoteError) as exc:
                        self.findings.violation(f"all is mended, and {host} says nothing: {exc!r}")

    def _check_client(self, client: Client) -> None:
        statistics = client.statistics()
        ends = statistics.replies + statistics.no_replies + statistics.remote_errors + statistics.cancelled
        if statistics.in_flight or statistics.requests != ends:
            self.findings.violation(f"{statistics.requests} requests, {ends} ended, {statistics.in_flight} still open")
        self.findings.dropped.update(statistics.dropped)


def _said(number: int, question: bytes) -> bytes:
    """As long as the question, so that it always fits."""
    return question[:-1] + b"%d" % number


class _Schedule:
    """When one request was sent, held against when it should have been."""

    def __init__(self, policy: RetryPolicy, findings: _Findings) -> None:
        self._policy = policy
        self._findings = findings
        self._turns: dict[Address, tuple[int, float]] = {}
        """For each server the number of its last transmission, and when the wait for that is over."""

    def note(self, attempt: Attempt) -> None:
        """A transmission is made now."""
        now, peer = trio.current_time(), Address(*attempt.peer)
        number, due = self._turns.get(peer, (0, now))
        if abs(now - due) > _SLACK or attempt.number != number + 1 or attempt.number > self._policy.attempts:
            self._findings.violation(f"attempt {attempt.number} to {peer} at {now} s, and it was due at {due} s")
        if attempt.wait <= 0:
            self._findings.violation(f"attempt {attempt.number} to {peer} is waited for {attempt.wait} s")
        self._turns[peer] = (attempt.number, now + attempt.wait)

    def check_end(self) -> None:
        """The request is given up now."""
        now, made = trio.current_time(), {number for number, _ in self._turns.values()}
        end = max(due for _, due in self._turns.values())
        if abs(now - end) > _SLACK or made != {self._policy.attempts}:
            self._findings.violation(f"given up at {now} s, and the schedule ends at {end} s")
