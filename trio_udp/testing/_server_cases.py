"""The cases of `check_server`, and the world they play in: a server with two addresses, clients, and a forger.

Nothing in here knows what the server speaks. It is given one good request, and what comes back is an answer.
"""

import errno
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import trio

from .._chaos import ICMP_KINDS, Packet, Rule, Verdict, refuse
from .._net import Address
from ._cases import JUNK, LATENCY, Case, CaseFailed, case, shown, unwrapped
from ._hosts import Host
from ._options import NotSimulated
from ._simnet import SimNet

Serve = Callable[..., Awaitable[object]]
"""`await nursery.start(serve, port)` starts it on all addresses of its host; cancelling stops it."""

SERVER: Final = "192.0.2.80"
OTHER_ADDRESS: Final = "192.0.2.81"
TWIN: Final = "192.0.2.82"
CLIENT: Final = "192.0.2.10"
_SERVERS: Final = (SERVER, OTHER_ADDRESS, TWIN)
_SOMEBODY: Final = Address("203.0.113.66", 6666)
"""Whose address a forger writes where it does not matter whose."""
_FLOOD: Final = 1_000
_BURST: Final = 64
"""So many of them, and as much junk, fit any receive buffer."""


@dataclass(frozen=True)
class ServerSubject:
    """What is checked, and how."""

    serve: Serve
    request: bytes
    is_answer: Callable[[bytes, bytes], bool]
    port: int
    answers_within: float


class ServerWorld:
    """A network, the server on a host with two addresses, and whoever talks to it."""

    def __init__(self, net: SimNet, subject: ServerSubject, nursery: trio.Nursery) -> None:
        self.net: Final = net
        self.subject: Final = subject
        self.host: Final = net.host("server", SERVER, OTHER_ADDRESS)
        self.twin: Final = net.host("twin", TWIN)
        self.sent: Final[list[Packet]] = []
        """What the servers have sent."""
        self._client = net.host("client", CLIENT)
        self._nursery = nursery
        self._error: Exception | None = None

    # What cases do

    def address(self, host: str = SERVER) -> Address:
        """Where a server listens."""
        return Address(host, self.subject.port)

    async def start(self, host: Host) -> trio.CancelScope:
        """Start the server on a host, and return what stops it."""
        scope = trio.CancelScope()
        has_started = False

        async def run(*, task_status: trio.TaskStatus[object]) -> None:
            try:
                with scope:
                    await self.subject.serve(self.subject.port, task_status=task_status)
            except Exception as exc:
                if not has_started:
                    raise
                self._error = unwrapped(exc)

        try:
            with host.here():
                await self._nursery.start(run)
        except NotSimulated:
            raise
        except Exception as exc:
            raise CaseFailed(f"could not be started: {shown(exc)}") from exc
        has_started = True
        return scope

    def throw(self, data: bytes, source: Address) -> None:
        """Send something to the server from any address."""
        self.net.inject(data, source, self.address())

    async def expect_answer(self, after: str = "", *, host: str = SERVER) -> bytes:
        """Ask from a new port. Fails unless the answer comes, and from where it was asked."""
        with self.socket() as sock:
            await sock.sendto(self.subject.request, self.address(host))
            return await self.next_answer(sock, after, host=host)

    def socket(self) -> trio.socket.SocketType:
        """A client's socket."""
        with self._client.here():
            return trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM)

    async def next_answer(self, sock: trio.socket.SocketType, after: str = "", *, host: str = SERVER) -> bytes:
        """The next datagram to this socket. Fails unless it is an answer and comes from where it was asked."""
        context = f" after {after}" if after else ""
        with trio.move_on_after(self.subject.answers_within):
            data, source = await sock.recvfrom(65_535)
            if source != self.address(host):
                raise CaseFailed(f"asked at {self.address(host)}, answered from {Address(*source)}{context}")
            if not self.subject.is_answer(self.subject.request, data):
                raise CaseFailed(f"sent {shown(data)}, which is no answer{context}")
            return bytes(data)
        if isinstance(self._error, NotSimulated):
            raise self._error
        ended = "" if self._error is None else f": the server raised {shown(self._error)}"
        raise CaseFailed(f"no answer{context} within {self.subject.answers_within:g} virtual seconds{ended}")

    async def sent_after(self, data: bytes, source: Address) -> list[Packet]:
        """What the servers send within some time because of this datagram."""
        before = len(self.sent)
        self.throw(data, source)
        await trio.sleep(self.subject.answers_within)
        return self.sent[before:]

    def watch(self, packet: Packet) -> None:
        """A rule without a verdict: keep what the servers send."""
        if packet.icmp is None and packet.source.host in _SERVERS:
            self.sent.append(packet)


@asynccontextmanager
async def open_server_world(net: SimNet, subject: ServerSubject) -> AsyncIterator[ServerWorld]:
    """A world in which nothing has been started yet."""
    async with trio.open_nursery() as nursery:
        world = ServerWorld(net, subject, nursery)
        with net.rule(world.watch):
            yield world
        nursery.cancel_scope.cancel()


def _running(found: Case[ServerWorld]) -> Case[ServerWorld]:
    """The same case with a server that runs from the beginning."""

    async def run(world: ServerWorld) -> str | None:
        await world.start(world.host)
        return await found.run(world)

    return found._replace(run=run)


# Answers


async def undisturbed(world: ServerWorld) -> str:
    """The request is answered."""
    return f"answered {shown(await world.expect_answer())}"


async def address_asked(world: ServerWorld) -> None:
    """On a host with two addresses, the answer comes from the one that was asked: clients check that."""
    for host in (SERVER, OTHER_ADDRESS):
        await world.expect_answer(host=host)


async def port_that_asked(world: ServerWorld) -> None:
    """Two clients ask at the same time: each is answered, at its own port."""
    with world.socket() as one, world.socket() as other:
        for sock in (one, other):
            await sock.sendto(world.subject.request, world.address())
        for sock in (other, one):
            await world.next_answer(sock)


async def duplicate(world: ServerWorld) -> None:
    """An answer was lost and the client asks again with the same datagram: it is answered again."""
    with world.socket() as sock:
        for count in ("", "a first answer"):
            await sock.sendto(world.subject.request, world.address())
            await world.next_answer(sock, count)


# What not to die of


def _junk_case(name: str, data: bytes) -> Case[ServerWorld]:
    async def run(world: ServerWorld) -> None:
        world.throw(data, _SOMEBODY)
        await world.expect_answer(f"{name.replace('_', ' ')}")

    reason = f"Somebody sends junk ({name.replace('_', ' ')}): the next request is answered, and in time."
    return Case(f"junk_{name}", reason, run)


async def truncated_request(world: ServerWorld) -> None:
    """Requests that are cut off at every length: the next request is answered."""
    for length in range(len(world.subject.request)):
        world.throw(world.subject.request[:length], _SOMEBODY)
        await trio.lowlevel.checkpoint()
    await world.expect_answer("truncated requests")


async def source_port_zero(world: ServerWorld) -> None:
    """A request whose source port is 0 cannot be answered: the call that tries fails, and the server goes on."""
    world.throw(world.subject.request, _SOMEBODY._replace(port=0))
    await world.expect_answer("a request from port 0")


async def sending_fails(world: ServerWorld) -> None:
    """The system refuses to send an answer, for a full queue or a firewall's sake: the next request is answered."""
    for number in (errno.ENOBUFS, errno.EPERM, errno.ENETUNREACH):
        with world.net.rule(_refuse_to_servers(number)):
            world.throw(world.subject.request, _SOMEBODY)
            await trio.sleep(LATENCY)
        await world.expect_answer(errno.errorcode[number])


def _refuse_to_servers(number: int) -> Rule:
    def refuse_to_servers(packet: Packet) -> Verdict | None:
        return refuse(number) if packet.source.host in _SERVERS else None

    return refuse_to_servers


async def icmp_errors(world: ServerWorld) -> None:
    """Anybody can forge ICMP errors about answers, and clients that are gone cause genuine ones."""
    for kind in ICMP_KINDS:
        await world.expect_answer()
        world.net.inject_icmp(kind, world.sent[-1], mtu=1280)
        await world.expect_answer(f"ICMP {kind}")


async def thousand_sources(world: ServerWorld) -> None:
    """A thousand requests from as many forged addresses, and junk between them: the next request is answered."""
    random = world.net.random
    for number in range(_FLOOD):
        source = Address(f"10.66.{number // 250}.{number % 250 + 1}", 1024 + number)
        world.throw(world.subject.request, source)
        world.throw(random.randbytes(int(random.random() * 64)), source)
        if number % _BURST == 0:
            await trio.sleep(LATENCY)
    await trio.sleep(LATENCY)
    await world.expect_answer("a flood")


# When to be silent


async def silent_to_junk(world: ServerWorld) -> None:
    """Whatever is not a request gets no answer: there is nobody to tell, and its source may be forged."""
    for name, data in JUNK.items():
        if await world.sent_after(data, _SOMEBODY):
            raise CaseFailed(f"answered junk ({name.replace('_', ' ')}) with {shown(world.sent[-1].data)}")


async def silent_to_answers(world: ServerWorld) -> None:
    """Its own answer comes back, as from another such server: an answer is never answered (CVE-2024-2169)."""
    answer = await world.expect_answer()
    if await world.sent_after(answer, _SOMEBODY):
        raise CaseFailed(f"answered its own answer with {shown(world.sent[-1].data)}")


async def two_servers(world: ServerWorld) -> None:
    """One datagram with another such server's address as source leads to one datagram at most, and not to a loop."""
    await world.start(world.twin)
    answer = await world.expect_answer()
    for name, data in {"a request": world.subject.request, "an answer": answer, **JUNK}.items():
        count = len(await world.sent_after(data, world.address(TWIN)))
        if count > 1:
            seconds = world.subject.answers_within
            raise CaseFailed(f"{name} led to {count} datagrams between two servers in {seconds:g} virtual seconds")


async def amplification(world: ServerWorld) -> str:
    """A request's source may be forged, and its victim gets no more bytes than the forger has spent."""
    return _describe(await _factor(world, world.subject.request))


async def amplification_of_junk(world: ServerWorld) -> str:
    """The same for whatever is not a good request."""
    return _describe(max([await _factor(world, data) for data in (*JUNK.values(), world.subject.request[:-1])]))


async def _factor(world: ServerWorld, data: bytes) -> float:
    """Bytes out for each byte in."""
    sent = sum(len(packet.data) for packet in await world.sent_after(data, _SOMEBODY))
    if not data:
        return math.inf if sent else 0.0
    return sent / len(data)


def _describe(factor: float) -> str:
    happened = f"{factor:.2f} bytes out for each byte in"
    if factor > 1:
        raise CaseFailed(happened)
    return happened


# The end


async def cancelled(world: ServerWorld) -> None:
    """Cancelling it frees the port at once: it can be started again, and answers."""
    scope = await world.start(world.host)
    await world.expect_answer()
    scope.cancel()
    await trio.sleep(LATENCY)
    if world.host.sockets:
        raise CaseFailed(f"left {len(world.host.sockets)} sockets open")
    await world.start(world.host)
    await world.expect_answer("a second start")


UNDISTURBED: Final = _running(case(undisturbed))
SERVER_CASES: Final[tuple[Case[ServerWorld], ...]] = (
    *map(_running, map(case, (address_asked, port_that_asked, duplicate))),
    *(_running(_junk_case(name, data)) for name, data in JUNK.items()),
    *map(_running, map(case, (truncated_request, source_port_zero, sending_fails, icmp_errors, thousand_sources))),
    *map(_running, map(case, (silent_to_junk, silent_to_answers, two_servers, amplification, amplification_of_junk))),
    case(cancelled),
)
