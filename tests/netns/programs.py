"""What the tests here have in common: our server and client, on hosts or on this thread's own."""

import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from functools import partial
from typing import Any, Final

import trio

import trio_udp
from trio_udp import Client, Request, RetryPolicy, Server, open_client
from trio_udp._server import Handler

from .namespaces import Host, HostSockets, cable

PORT: Final = 1060
ONE: Final = ("192.0.2.1/24", "2001:db8::1/64")
OTHER: Final = ("192.0.2.2/24", "192.0.2.3/24", "2001:db8::2/64", "2001:db8::3/64")
"""Addresses at the ends of a cable."""
SERVER: Final = "192.0.2.2"
SERVERS: Final = (SERVER, "2001:db8::2")
QUICK: Final = RetryPolicy(initial=0.1, adaptive=False, multiplier=1, jitter=0, attempts=50)
"""Asks again ten times a second, for five seconds."""


@contextlib.asynccontextmanager
async def cabled() -> AsyncIterator[tuple[Host, Host]]:
    """Two hosts with a cable between them; programs in the block can be on them."""
    earlier = trio.socket.set_custom_socket_factory(HostSockets())
    try:
        with cable(ONE, OTHER) as hosts:
            yield hosts
    finally:
        trio.socket.set_custom_socket_factory(earlier)


def upper(request: Request) -> bytes:
    """What the servers here answer."""
    return request.payload.upper()


@contextlib.asynccontextmanager
async def serving(on: Host | None, handler: Handler = upper, **options: Any) -> AsyncIterator[Server]:
    """Our server on that host."""
    async with trio.open_nursery() as nursery:
        with standing(on):
            server = await nursery.start(partial(trio_udp.serve, handler, PORT, **options))
        yield server
        nursery.cancel_scope.cancel()


@contextlib.asynccontextmanager
async def asking(on: Host | None, host: str, **options: Any) -> AsyncIterator[Client]:
    """Our client on that host."""
    with standing(on):
        async with open_client(host, PORT, **{"policy": QUICK, **options}) as client:
            yield client


def standing(on: Host | None) -> contextlib.AbstractContextManager[None]:
    """On that host; where this program is if it is None."""
    return contextlib.nullcontext() if on is None else on.here()


class CountingHandler:
    """Answers like `upper`, and counts how often it ran for each payload."""

    def __init__(self) -> None:
        self.runs: Counter[bytes] = Counter()

    def __call__(self, request: Request) -> bytes:
        """Answer."""
        self.runs[request.payload] += 1
        return upper(request)
