"""A request under way, a server that waits, and somebody beside it who has seen the request."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import trio

from trio_udp import Address, Attempt, Client, DropReason, Reply, Request, RetryPolicy
from trio_udp.testing import Packet

from ..networks import reply_to
from .forgers import Forger, forger
from .namespaces import Host
from .programs import PORT, asking, serving

PATIENT: Final = RetryPolicy(initial=60, jitter=0, attempts=1)
_SMALLEST_PATH: Final = {False: 68, True: 1280}
"""By whether it is version 6."""


class Scene:
    """Made by `scene`."""

    def __init__(self, client: Client, asker: Address, server: Address, by: Forger, release: trio.Event) -> None:
        self.client: Final = client
        self.asker: Final = asker
        """Where the client waits for its answer."""
        self.server: Final = server
        self.forger: Final = by
        self.release: Final = release
        """Set it to have the server answer."""
        self.reply: Reply | None = None
        self._attempts: list[Attempt] = []

    @property
    def request(self) -> bytes:
        """What the client sent."""
        return self._attempts[0].datagram

    async def ask(self) -> None:
        """Ask once, and wait for long."""
        self.reply = await self.client.exchange(b"question", policy=PATIENT, on_attempt=self._attempts.append)

    async def ask_much(self) -> None:
        """Ask with a datagram as long as they may be, once."""
        reply = await self.client.exchange(bytes(1200), policy=PATIENT)
        assert (reply.payload, reply.attempts) == (b"real", 1)

    def forge_icmp(self, kind: str) -> None:
        """Tell the client what became of its request."""
        mtu = _SMALLEST_PATH[":" in self.server.host]
        self.forger.send_icmp(kind, Packet(self.request, self.asker, self.server), mtu=mtu)

    async def counted(self, count: int) -> dict[DropReason, int]:
        """What the client has dropped, once that is so many datagrams."""
        with trio.fail_after(5):
            while sum((dropped := self.client.statistics().dropped).values()) < count:
                await trio.sleep(0.005)
        assert self.reply is None
        return dict(dropped)

    async def hinted(self, kinds: int = 1) -> set[str]:
        """Of what errors the client has heard, once there are so many kinds of them."""
        with trio.fail_after(5):
            while len(hints := self.client.statistics().endpoint.hints) < kinds:
                await trio.sleep(0.005)
        assert self.reply is None
        return set(hints)


@asynccontextmanager
async def scene(
    here: Host | None, there: Host | None, client_host: str, server_host: str, *, connect: bool
) -> AsyncIterator[Scene]:
    """On these hosts, or on this thread's own. The server answers at the end of the block, and that is believed."""
    asked, released = trio.Event(), trio.Event()

    async def answer(request: Request) -> bytes:
        asked.set()
        await released.wait()
        return b"real"

    async with serving(there, answer), asking(here, server_host, connect=connect) as client:
        with forger(there) as by:
            asker = Address(client_host, client.address.port)
            play = Scene(client, asker, Address(server_host, PORT), by, released)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(play.ask)
                await asked.wait()
                yield play
                released.set()
    assert play.reply is not None
    assert (play.reply.payload, play.reply.attempts) == (b"real", 1)


def forgeries(request: bytes) -> list[bytes]:
    """What must not be believed though it comes from the server: everything right but one thing."""
    reply = reply_to(request, b"FAKE")
    return [
        *(b"", b"\x80", b"FAKE", reply[:-1], reply + b"!"),
        *(reply[:8] + os.urandom(8) + reply[16:], reply[:16] + os.urandom(8) + reply[24:]),
        request,
    ]
