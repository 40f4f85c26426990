"""The cases of `check_client`, and the world they play in: a server, the client's host, and a stranger.

What a case does to the client happens when its request has arrived at the server, before the server answers. Whoever
attacks knows the client's address and port, and no more of the request than the case says.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from random import Random
from typing import Any, Final, NamedTuple

import trio

from .._chaos import ICMP_KINDS, Packet, Verdict, drop
from .._net import Address, normalise, to_sockaddr
from ._cases import JUNK, Case, CaseFailed, case, shown, unwrapped
from ._options import NotSimulated
from ._simnet import SimNet

Client = Callable[[str, int], Awaitable[Any]]
"""Asks the server at this address and port once, and returns what it was told. Its timeouts are its own."""

_CLIENT: Final = ("192.0.2.10", "2001:db8::10")
_STRANGERS: Final = ("203.0.113.66", "2001:db8:bad::66")
_FLOOD: Final = 1_000
_STORM: Final = 1_000
"""Transmissions after which a client is stopped."""
_JUNK_A_TRANSMISSION: Final = 100
_SERVER_LATE: Final = 0.05
_PATIENCE: Final = 10
"""How many times what one request may take a case may take."""


class Ending(NamedTuple):
    """How a call of the client ended."""

    how: str
    value: Any = None

    def __str__(self) -> str:
        return self.how if self.value is None and self.how != _RETURNED else f"{self.how} {shown(self.value)}"


_RETURNED: Final = "returned"


@dataclass
class ClientSubject:
    """What is checked, and how."""

    client: Client
    answer: Callable[[bytes], bytes]
    forge: Callable[[bytes], bytes]
    server: Address
    ends_within: float
    max_transmissions: int
    honest: Any = None
    """What the client returned when nobody disturbed it."""


Attack = Callable[[Packet], object]
"""Called with a request that has arrived at the server, before it is answered."""


def _no_attack(request: Packet) -> None:
    pass


class ClientWorld:
    """A network, a server that does as it is told, and the client."""

    def __init__(self, net: SimNet, subject: ClientSubject) -> None:
        self.net: Final = net
        self.subject: Final = subject
        self.calls: Final[list[list[Packet]]] = []
        """The requests that reached the server, for each call of the client."""
        self.sent = 0
        """Datagrams that the client has sent in its last call."""
        self.stranger: Final = Address(_STRANGERS[":" in subject.server.host], subject.server.port)
        self.host: Final = net.host("client", *_CLIENT)
        self._server = net.host("server", subject.server.host)
        self._listening = trio.CancelScope()
        self._scope = trio.CancelScope()
        self.answer: Callable[[bytes], bytes] = subject.answer
        """What the server says."""
        self._attack: Attack = _no_attack
        self._attacks = 0
        self._answers = 0

    # What cases do

    async def ask(self, attack: Attack = _no_attack, *, answers: int = 1, attacks: int = 1) -> Ending:
        """Let the client ask once: its first requests are attacked, and each is answered so many times."""
        self._attack, self._attacks, self._answers = attack, attacks, answers
        self.calls.append([])
        self.sent = 0
        subject = self.subject
        ending = Ending(f"was still waiting after {subject.ends_within:g} virtual seconds")
        with trio.move_on_after(subject.ends_within) as self._scope, self.host.here():
            try:
                ending = Ending(_RETURNED, await subject.client(*subject.server))
            except Exception as exc:
                if isinstance(unwrapped(exc), NotSimulated):
                    raise unwrapped(exc) from None
                ending = Ending("raised", exc)
        if self.sent > _STORM:
            return Ending(f"sent more than {_STORM} datagrams")
        return ending

    async def survive(self, attack: Attack = _no_attack, *, answers: int = 1) -> None:
        """Fail unless the client comes back with the honest answer all the same."""
        self.expect_honest(await self.ask(attack, answers=answers))

    def expect_honest(self, ending: Ending) -> None:
        """Fail unless a call ended with the honest answer."""
        if ending.how != _RETURNED or ending.value != self.subject.honest:
            raise CaseFailed(str(ending))

    def throw(self, request: Packet, *datagrams: bytes, source: Address | None = None) -> None:
        """Send datagrams to where a request came from, from the server's address unless another is given."""
        for data in datagrams:
            self.net.inject(data, source or self.subject.server, request.source)

    def forge(self, request: Packet) -> bytes:
        """A false answer to this request."""
        return self.subject.forge(request.data)

    # The server

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Answer as the case wants it, until the server is stopped."""
        server = self.subject.server
        with trio.CancelScope() as self._listening, self._server.here(), _udp_socket(server) as sock:
            await sock.bind(to_sockaddr(server, server.family))
            task_status.started()
            while True:
                data, peer = await sock.recvfrom(65_535)
                for reply in self._take(Packet(data, normalise(peer), server)):
                    await sock.sendto(reply, peer)

    async def stop_server(self) -> None:
        """Close the server's port."""
        self._listening.cancel()
        while self._server.sockets:
            await trio.lowlevel.checkpoint()

    def _take(self, request: Packet) -> list[bytes]:
        self.calls[-1].append(request)
        if self._attacks > 0:
            self._attacks -= 1
            self._attack(request)
        return [self.answer(request.data)] * self._answers

    async def pull_the_plug(self) -> None:
        """Close what the client still has open after a long time: that wakes even what cannot be cancelled."""
        await trio.sleep(_PATIENCE * self.subject.ends_within)
        self.host.crash()

    def watch(self, packet: Packet) -> None:
        """A rule without a verdict: count what the client sends, and stop it before it goes on for ever."""
        if packet.source.host in self.host.addresses and packet.icmp is None:
            self.sent += 1
            if self.sent > _STORM:
                self._scope.cancel()


def _udp_socket(address: Address) -> trio.socket.SocketType:
    return trio.socket.socket(address.family, trio.socket.SOCK_DGRAM)


@asynccontextmanager
async def open_client_world(net: SimNet, subject: ClientSubject) -> AsyncIterator[ClientWorld]:
    """A world with a server that answers."""
    world = ClientWorld(net, subject)
    with net.rule(world.watch):
        async with trio.open_nursery() as nursery:
            await nursery.start(world.serve)
            nursery.start_soon(world.pull_the_plug)
            yield world
            nursery.cancel_scope.cancel()


# Whom to believe


async def answer_from_another_host(world: ClientWorld) -> None:
    """A stranger knows all about the request and answers first: where a datagram comes from has to be checked."""
    await world.survive(lambda request: world.throw(request, world.forge(request), source=world.stranger))


async def answer_from_another_port(world: ClientWorld) -> None:
    """Another program on the server's host answers first: the port belongs to the address."""
    other = world.subject.server._replace(port=world.subject.server.port ^ 1)
    await world.survive(lambda request: world.throw(request, world.forge(request), source=other))


async def answer_to_another_request(world: ClientWorld) -> None:
    """A forger writes the server's address as source and answers a request of before: an id has to be checked."""
    await world.ask()
    old = world.calls[-1][0]
    await world.survive(lambda request: world.throw(request, world.forge(old)))


async def late_answer(world: ClientWorld) -> None:
    """The answers to a request that was given up come during the next one, to where it was sent from."""
    await world.ask(answers=0)
    old = world.calls[-1]

    def answer_late(_: Packet) -> None:
        for request in old:
            world.throw(request, world.forge(request))

    await world.survive(answer_late)


async def id_is_predictable(world: ClientWorld) -> str:
    """An id that is always the same, or counts, is known to a forger who sees nothing: RFC 5452."""
    first = await _first_requests(world)
    if _are_predictable([int.from_bytes(request.data) for request in first]):
        same = first[0].data == first[1].data
        raise CaseFailed(f"requests {'are all the same' if same else 'differ by a counter'}")
    return ""


async def port_is_predictable(world: ClientWorld) -> str:
    """A port that is always the same, or counts, is known to a forger who sees nothing: RFC 5452."""
    ports = [request.source.port for request in await _first_requests(world)]
    if _are_predictable(ports):
        raise CaseFailed(f"requests came from ports {', '.join(map(str, ports))}")
    return ""


async def _first_requests(world: ClientWorld) -> list[Packet]:
    for _ in range(4):
        await world.survive()
    return [requests[0] for requests in world.calls]


def _are_predictable(numbers: list[int]) -> bool:
    return len({following - number for number, following in pairwise(numbers)}) == 1


# What not to die of


def _junk_case(name: str, data: bytes) -> Case[ClientWorld]:
    async def run(world: ClientWorld) -> None:
        await world.survive(lambda request: world.throw(request, data))

    reason = f"{name.replace('_', ' ')} from the server's own address, which anybody can write: not an answer, no end."
    return Case(f"junk_{name}", reason, run)


async def junk_echo(world: ClientWorld) -> None:
    """The request itself comes back, from the server's own address: a request is no answer."""
    await world.survive(lambda request: world.throw(request, request.data))


async def junk_from_a_stranger(world: ClientWorld) -> None:
    """Whatever a stranger sends changes nothing."""
    await world.survive(lambda request: world.throw(request, *JUNK.values(), source=world.stranger))


async def truncated_answer(world: ClientWorld) -> None:
    """The answer without its last byte comes first: what is cut off is not believed, and waiting goes on."""
    await world.survive(lambda request: world.throw(request, world.answer(request.data)[:-1]))


async def flood_of_junk(world: ClientWorld) -> None:
    """A thousand random datagrams from the server's own address come before the answer."""
    random = Random(world.net.seed)  # noqa: S311 - of its own: the same junk, whatever else was drawn
    flood = [random.randbytes(int(random.random() * 64)) for _ in range(_FLOOD)]
    await world.survive(lambda request: world.throw(request, *flood))


def _icmp_case(kind: str) -> Case[ClientWorld]:
    async def run(world: ClientWorld) -> None:
        await world.survive(lambda request: world.net.inject_icmp(kind, request, mtu=1280))

    reason = f"Anybody can forge ICMP {kind}: a hint, not the end."
    return Case(f"icmp_{kind.replace(' ', '_')}", reason, run)


async def server_comes_up_later(world: ClientWorld) -> None:
    """The first request meets a closed port, whose ICMP error is genuine; a moment later the server is there."""
    await world.stop_server()
    async with trio.open_nursery() as nursery:

        async def come_up() -> None:
            await trio.sleep(_SERVER_LATE)
            await nursery.start(world.serve)

        nursery.start_soon(come_up)
        ending = await world.ask()
        nursery.cancel_scope.cancel()
    world.expect_honest(ending)


# Losses and copies


async def first_request_lost(world: ClientWorld) -> None:
    """UDP loses datagrams: ask again."""
    await _lose_first(world, lambda packet: packet.destination == world.subject.server)


async def first_answer_lost(world: ClientWorld) -> None:
    """UDP loses datagrams in either direction: ask again, and take the answer to what was asked again."""
    await _lose_first(world, lambda packet: packet.source == world.subject.server)


async def _lose_first(world: ClientWorld, is_meant: Callable[[Packet], bool]) -> None:
    losses = 0

    def lose(packet: Packet) -> Verdict | None:
        nonlocal losses
        if losses or packet.icmp is not None or not is_meant(packet):
            return None
        losses += 1
        return drop("lost on purpose")

    with world.net.rule(lose):
        await world.survive()


async def answer_twice(world: ClientWorld) -> None:
    """The answer arrives twice: it is taken once, and does not disturb the next request."""
    await world.survive(answers=2)
    await world.survive(answers=2)


# Ends


async def silence(world: ClientWorld) -> str:
    """Nobody answers: it ends by itself."""
    began = trio.current_time()
    ending = await world.ask(answers=0)
    elapsed = trio.current_time() - began
    if elapsed >= world.subject.ends_within or (ending.how, ending.value) == (_RETURNED, world.subject.honest):
        raise CaseFailed(str(ending))
    return f"{ending} after {elapsed:g} virtual seconds and {_transmissions(world.sent)}"


async def storm(world: ClientWorld) -> str:
    """Nobody answers, and each transmission is met with junk: that must not make it send more."""

    junk = [bytes([number]) for number in range(_JUNK_A_TRANSMISSION)]
    limit = world.subject.max_transmissions
    await world.ask(lambda request: world.throw(request, *junk), answers=0, attacks=limit)
    if world.sent > limit:
        raise CaseFailed(_transmissions(world.sent))
    return _transmissions(world.sent)


async def cancelled(world: ClientWorld) -> None:
    """The caller cancels: it ends at once, and leaves no more sockets open than a request that was answered."""
    await world.survive()
    before = len(world.host.sockets)
    cancelled_at = trio.current_time()
    with trio.CancelScope() as scope:

        def cancel(request: Packet) -> None:
            nonlocal cancelled_at
            cancelled_at = trio.current_time()
            scope.cancel()

        ending = await world.ask(cancel, answers=0)
    late = trio.current_time() - cancelled_at
    if late:
        raise CaseFailed(f"went on for {late:g} virtual seconds")
    if not scope.cancelled_caught:
        raise CaseFailed(f"{ending} instead of passing the cancellation on")
    leaked = len(world.host.sockets) - before
    if leaked > 0:
        raise CaseFailed(f"left {leaked} more sockets open than before")


def _transmissions(count: int) -> str:
    return f"{count} transmission{'s' * (count != 1)}"


async def undisturbed(world: ClientWorld) -> str:
    """The honest answer to the first request; in every other case the client has to come back with the same."""
    ending = await world.ask()
    if ending.how != _RETURNED:
        raise CaseFailed(str(ending))
    world.subject.honest = ending.value
    return str(ending)


async def all_forged(world: ClientWorld) -> None:
    """Not a case: a server whose every answer is forged. Fails if the client takes them for something else."""
    world.answer = world.subject.forge
    await world.survive()


CLIENT_CASES: Final[tuple[Case[ClientWorld], ...]] = (
    *map(case, (answer_from_another_host, answer_from_another_port, answer_to_another_request, late_answer)),
    *map(case, (id_is_predictable, port_is_predictable)),
    *(_junk_case(name, data) for name, data in JUNK.items()),
    *map(case, (junk_echo, junk_from_a_stranger, truncated_answer, flood_of_junk)),
    *map(_icmp_case, ICMP_KINDS),
    *map(case, (server_comes_up_later, first_request_lost, first_answer_lost, answer_twice)),
    *map(case, (silence, storm, cancelled)),
)
