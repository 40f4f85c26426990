"""The world in which `check_client` tries a client: a server that does as it is told, the client, and a stranger.

What a case does to the client happens when its request has arrived at the server, before the server answers. Whoever
attacks knows the client's address and port, and no more of the request than the case says.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import trio

from .._chaos import Packet
from .._net import Address, normalise, to_sockaddr
from ._cases import CaseFailed, shown, unwrapped
from ._options import NotSimulated
from ._simnet import SimNet

Client = Callable[[str, int], Awaitable[Any]]
"""Asks the server at this address and port once, and returns what it was told. Its timeouts are its own."""

_CLIENT: Final = ("192.0.2.10", "2001:db8::10")
_STRANGERS: Final = ("203.0.113.66", "2001:db8:bad::66")
_STORM: Final = 1_000
"""Transmissions after which a client is stopped."""
_PATIENCE: Final = 10
"""How many times what one request may take a case may take."""


class Ending(NamedTuple):
    """How a call of the client ended."""

    how: str
    value: Any = None

    def __str__(self) -> str:
        return self.how if self.value is None and self.how != RETURNED else f"{self.how} {shown(self.value)}"


RETURNED: Final = "returned"


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
                ending = Ending(RETURNED, await subject.client(*subject.server))
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
        if ending.how != RETURNED or ending.value != self.subject.honest:
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
