"""What `tests/test_machine.py` has done in processes of their own: `python -m tests.processes NAME [PORT]`.

Each prints what it found, as one line of JSON, for the test to look at.
"""

import contextlib
import errno
import functools
import json
import os
import resource
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Final

import trio

from trio_udp import Client, RetryPolicy, Server, open_client, serve

from .networks import descriptors, echo, serving

ONCE: Final = RetryPolicy(initial=0.2, jitter=0, adaptive=False, attempts=1)
FORKS: Final = 1000


@contextlib.contextmanager
def none_left(but: int = 0) -> Iterator[None]:
    """Use up all descriptors that this process may have, but so many."""
    taken: list[int] = []
    with contextlib.suppress(OSError):
        while True:
            taken.append(os.dup(0))
    for _ in range(but):
        os.close(taken.pop())
    try:
        yield
    finally:
        for descriptor in taken:
            os.close(descriptor)


async def said(fn: Callable[[], Awaitable[object]]) -> str | None:
    """The errno or the name of what this raises."""
    try:
        await fn()
    except OSError as exc:
        return errno.errorcode.get(exc.errno or 0, type(exc).__name__)
    return None


@contextlib.asynccontextmanager
async def pair() -> AsyncIterator[tuple[Server, Client]]:
    """A server and a client of it."""
    async with serving(echo, host="127.0.0.1") as server, open_client(*server.address) as client:
        yield server, client


async def run_out_of_descriptors() -> dict[str, Any]:
    """Try to open what there is no descriptor for, while others are at work."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))

    async def open_and_ask(**options: Any) -> None:
        async with open_client(*server.address, **options) as another:
            await another.request(b"?")

    found: dict[str, Any] = {}
    async with pair() as (server, client):
        before = descriptors()
        with none_left():
            found["connected"] = await said(functools.partial(open_and_ask, connect=True))
            found["unconnected"] = await said(functools.partial(open_and_ask, connect=False))
            found["server"] = await said(functools.partial(serve, echo, 0, host="127.0.0.1"))
            found["answered"] = (await client.request(b"still here")).decode()
        with none_left(but=1):  # for the first of a server's two sockets
            found["half a server"] = await said(functools.partial(serve, echo, 0))
            found["the other half"] = await said(functools.partial(os_dup_and_close))
        found["leaked"] = descriptors() - before
        found["afterwards"] = await said(open_and_ask)
    return found


async def os_dup_and_close() -> None:
    """Take the one descriptor that should be left, and give it back."""
    await trio.lowlevel.checkpoint()
    os.close(os.dup(0))


async def ask(port: int) -> dict[str, Any]:
    """Ask once, on a schedule that ends soon."""
    async with open_client("127.0.0.1", port) as client:
        reply = await client.exchange(b"hello", policy=ONCE)
        return {"payload": reply.payload.decode(), "attempts": reply.attempts}


def first_datagram(client: Client) -> bytes:
    """What the next request would send."""
    protocol = client._protocol
    exchange = protocol.open_exchange(b"", ONCE, client._pump._random_bytes(protocol.random_size))
    attempt = exchange.next_attempt(trio.current_time())
    assert attempt is not None
    return attempt.datagram


def in_fork(fn: Callable[[], bytes]) -> bytes:
    """What this returns, called in a forked process."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.write(writer, fn())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(pid, 0)
    return answer


async def fork_a_thousand_times() -> dict[str, Any]:
    """Draw ids in forks of this process and in itself, all from one client."""
    async with pair() as (_, client):
        await client.request(b"before")
        drawn = [in_fork(lambda: first_datagram(client)) for _ in range(FORKS)]
        drawn += [first_datagram(client) for _ in range(FORKS)]
    ids = [datagram[16:24] for datagram in drawn]
    return {"drawn": len(ids), "different": len(set(ids)), "empty": ids.count(b"")}


async def use_a_parents_client() -> dict[str, Any]:
    """Ask in a fork with the client of this process, and go on with it here."""

    def begin_to_ask() -> bytes:
        try:
            client.request(b"?").send(None)
        except trio.ClosedResourceError as exc:
            return str(exc).encode()
        return b"it was let"

    async with pair() as (_, client):
        in_child = in_fork(begin_to_ask).decode()
        return {"in the child": in_child, "in the parent": (await client.request(b"hello")).decode()}


async def main() -> None:
    """Do one of these."""
    name, *arguments = sys.argv[1:]
    found = await globals()[name](*map(int, arguments))
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    trio.run(main)
