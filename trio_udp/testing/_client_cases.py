"""The cases of `check_client`: whom to believe, what not to die of, when to ask again, and when to stop."""

from collections.abc import Callable
from itertools import pairwise
from random import Random
from typing import Final

import trio

from .._chaos import ICMP_KINDS, Packet, Verdict, drop
from ._cases import JUNK, Case, CaseFailed, case
from ._client_world import RETURNED, ClientWorld

_FLOOD: Final = 1_000
_JUNK_A_TRANSMISSION: Final = 100
_SERVER_LATE: Final = 0.05


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
    if elapsed >= world.subject.ends_within or (ending.how, ending.value) == (RETURNED, world.subject.honest):
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
    if ending.how != RETURNED:
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
