"""What Trio adds: waiting, cancelling, closing, resolving, and its errors about addresses."""

import socket
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

import pytest
import trio
import trio.testing

from trio_udp.testing._options import IPV6, IPV6_V6ONLY

from ..networks import needs_ipv6
from .both import HOSTS, ONE, SIX, Seen, Sockets, named, on_both, tried, tried_sync

Call = Callable[[trio.socket.SocketType], Awaitable[Any]]
THERE: Final = (ONE, 9)
CALLS: Final[dict[str, Call]] = {
    "bind": lambda sock: sock.bind((ONE, 0)),
    "connect": lambda sock: sock.connect(THERE),
    "send": lambda sock: sock.send(b"?"),
    "sendto": lambda sock: sock.sendto(b"?", THERE),
    "sendmsg": lambda sock: sock.sendmsg([b"?"]),
    "sendmsg to": lambda sock: sock.sendmsg([b"?"], [], 0, THERE),
    "recv": lambda sock: sock.recv(10),
    "recvfrom": lambda sock: sock.recvfrom(10),
    "recvmsg": lambda sock: sock.recvmsg(10),
    "recv_into": lambda sock: sock.recv_into(bytearray(10)),
    "recvfrom_into": lambda sock: sock.recvfrom_into(bytearray(10)),
}
RECEIVING: Final = [name for name in CALLS if name.startswith("recv")]


@pytest.mark.parametrize("name", CALLS)
@on_both
async def test_use_after_close(sockets: Sockets, name: str) -> Seen:
    """EBADF, as the kernel says."""
    sock = await sockets.bound()
    sock.close()
    return await tried(CALLS[name], sock)


@on_both
async def test_names_and_options_after_close(sockets: Sockets) -> Seen:
    """EBADF as well; fileno is -1; closing again is fine."""
    sock = await sockets.bound()
    sock.close()
    sock.close()
    return (
        tried_sync(sock.getsockname),
        tried_sync(sock.getpeername),
        tried_sync(sock.getsockopt, socket.SOL_SOCKET, socket.SO_ERROR),
        tried_sync(sock.setsockopt, socket.SOL_SOCKET, socket.SO_REUSEADDR, 1),
        sock.fileno(),
        (sock.family, sock.type, sock.proto, sock.did_shutdown_SHUT_WR),
    )


@on_both
async def test_what_a_socket_says_of_itself(sockets: Sockets) -> Seen:
    """Family, kind, protocol, and that it has a descriptor."""
    with sockets.new() as sock:
        seen = sock.family, sock.type, sock.proto, sock.did_shutdown_SHUT_WR, sock.fileno() > 0, sock.is_readable()
    return seen, sock.fileno()


@pytest.mark.parametrize("name", RECEIVING)
@on_both
async def test_closing_wakes_whoever_waits(sockets: Sockets, name: str) -> Seen:
    """With `trio.ClosedResourceError`."""
    sock = await sockets.bound()
    async with trio.open_nursery() as nursery:
        seen: list[Seen] = []
        nursery.start_soon(_note, seen, partial(CALLS[name], sock))
        await trio.testing.wait_all_tasks_blocked()
        sock.close()
    return seen


async def _note(seen: list[Seen], call: Callable[[], Awaitable[Seen]]) -> None:
    try:
        seen.append(await call())
    except (OSError, trio.ClosedResourceError, trio.BusyResourceError) as exc:
        seen.append(named(exc))


@on_both
async def test_two_readers_are_one_too_many(sockets: Sockets) -> Seen:
    """`trio.BusyResourceError` for the second; the first waits on."""
    server = await sockets.bound()
    client = await sockets.connected(server)
    seen: list[Seen] = []
    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(_note, seen, partial(server.recv, 10))
        await trio.testing.wait_all_tasks_blocked()
        before = list(seen)
        await client.send(b"?")
    return before, seen


@on_both
async def test_a_second_reader_may_take_what_is_there(sockets: Sockets) -> Seen:
    """Nobody has to wait for it."""
    server = await sockets.bound()
    client = await sockets.connected(server)
    await client.send(b"?")
    await client.send(b"!")
    seen: list[Seen] = []
    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(_note, seen, partial(server.recv, 10))
    return sorted(seen)


@pytest.mark.parametrize("name", CALLS)
@on_both
async def test_every_async_call_can_be_cancelled(sockets: Sockets, name: str) -> Seen:
    """At the latest when it starts; it has done nothing then, but that a cancelled connect closes its socket."""
    server = await sockets.bound()
    sock = sockets.new() if name in ("bind", "connect") else await sockets.connected(server)
    await server.sendto(b"waiting", sock.getsockname()) if name in RECEIVING else None
    with trio.CancelScope() as scope:
        scope.cancel()
        await CALLS[name](sock)
    assert scope.cancelled_caught
    after = await tried(sock.recv, 10) if name in RECEIVING else tried_sync(sock.getsockname)
    return after, server.is_readable()


@pytest.mark.parametrize("name", CALLS)
@on_both
async def test_every_async_call_is_a_checkpoint(sockets: Sockets, name: str) -> Seen:
    """Whether it has to wait or not, fails or not."""
    server = await sockets.bound()
    sock = sockets.new() if name in ("bind", "connect") else await sockets.connected(server)
    await server.sendto(b"waiting", sock.getsockname()) if name in RECEIVING else None
    with trio.testing.assert_checkpoints():
        seen = await CALLS[name](sock)
    closed = sockets.new()
    closed.close()
    with trio.testing.assert_checkpoints(), pytest.raises(OSError, match="Bad file descriptor"):
        await CALLS[name](closed)
    return seen


@on_both
async def test_cancelling_a_reader_loses_nothing(sockets: Sockets) -> Seen:
    """What comes later is there for the next."""
    server = await sockets.bound()
    client = await sockets.connected(server)
    cancelled = []
    for _ in range(3):
        with trio.move_on_after(0.01) as scope:
            await server.recv(10)
        cancelled.append(scope.cancelled_caught)
        await client.send(b"later")
    return cancelled, [await tried(server.recv, 10) for _ in range(4)]


@on_both
async def test_a_reader_that_is_woken_and_cancelled_at_once_loses_nothing(sockets: Sockets) -> Seen:
    """Whichever wins: the datagram is read, or it is still there."""
    server = await sockets.bound()
    client = await sockets.connected(server)
    heard: list[Seen] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_note, heard, partial(server.recv, 10))
        await trio.testing.wait_all_tasks_blocked()
        await client.send(b"?")
        nursery.cancel_scope.cancel()
    rest = await tried(server.recv, 10)
    return [*heard, *([rest] if rest == b"?" else [])]


@on_both
async def test_a_socket_is_always_writable(sockets: Sockets) -> Seen:
    """Its datagrams leave at once."""
    sock = await sockets.bound()
    with trio.testing.assert_checkpoints():
        return await tried(sock.wait_writable)


ADDRESSES: Final[list[Any]] = [
    *(None, "", "127.0.0.1", 9, (), (ONE,), (ONE, 9, 0), (ONE, 9, 0, 0), (SIX, 9), (SIX, 9, 0, 0, 0), [ONE, 9]),
    *((ONE, -1), (ONE, 65_536), (ONE, 9.0), (9, 9), (b"127.0.0.1", 9), ("127.1", 9)),
    *(("", 9), (None, 9), (ONE, "9"), (ONE, "domain"), (ONE, "no-service")),
    *((ONE, None), ("::ffff:127.0.0.1", 9), ("::1%1", 9), (SIX, 9, -1), (SIX, 9, 2**20)),
    *((SIX, 9, 5, 0), ("::", 9), ("0.0.0.0", 9)),  # noqa: S104 - an address like any other
]
"""Names other than localhost are not asked for: they would leave this host."""


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("address", ADDRESSES, ids=repr)
@on_both
async def test_where_to_send(sockets: Sockets, host: str, address: Any) -> Seen:
    """Every shape of address, right and wrong, by sendto and connect."""
    sock = sockets.new(host)
    sent = await _patiently(sock.sendto, b"", address)
    connected = await _patiently(sock.connect, address)
    return sent, connected, tried_sync(sock.getpeername)


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("address", [a for a in ADDRESSES if a != (ONE, "domain")], ids=repr)
@on_both
async def test_where_to_bind(sockets: Sockets, host: str, address: Any) -> Seen:
    """Every shape of address, right and wrong; on a port that anybody may have."""
    if isinstance(address, tuple):
        address = tuple(0 if part in (9, "9") else part for part in address)
    sock = sockets.new(host)
    return await _patiently(sock.bind, address), sock.getsockname()


async def _patiently(async_fn: Callable[..., Awaitable[Seen]], *args: Any) -> Seen:
    """What it returns or raises, however long it takes: names are looked up in a thread."""
    seen: list[Seen] = []

    async def call() -> None:
        try:
            seen.append(await async_fn(*args))
        except (OSError, TypeError, ValueError, OverflowError, AttributeError) as exc:
            seen.append(named(exc))

    await call()
    return seen


@on_both
async def test_a_name_to_look_up(sockets: Sockets) -> Seen:
    """The one that every host has."""
    server = await sockets.bound()
    port = server.getsockname()[1]
    sock, client = sockets.new(), sockets.new()
    await sock.sendto(b"?", ("localhost", port))
    await client.connect(("localhost", port))
    await sock.bind(("localhost", 0)) if sock.getsockname()[1] == 0 else None
    return await tried(server.recv, 10), client.getpeername()


@needs_ipv6
@on_both
async def test_a_link_local_address_needs_its_link(sockets: Sockets) -> Seen:
    """EINVAL without one. Connecting sends nothing; the port is one that anybody may bind."""
    return [await tried(call, ("fe80::1", 9999)) for call in (sockets.new(SIX).connect, sockets.new(SIX).bind)]


@needs_ipv6
@on_both
async def test_a_name_of_version_4_on_a_socket_of_version_6(sockets: Sockets) -> Seen:
    """Is mapped, unless the socket is of version 6 only."""
    seen = []
    for only in (0, 1):
        sock = sockets.new(SIX, (IPV6, IPV6_V6ONLY, only))
        seen.append((await _patiently(sock.connect, ("127.0.0.1", 9)), tried_sync(sock.getpeername)))
    return seen


@on_both
async def test_the_wrong_number_of_arguments(sockets: Sockets) -> Seen:
    """`TypeError`."""
    sock = await sockets.bound()
    return [await _patiently(sock.sendto, *args) for args in ((b"?",), (b"?", 0, THERE, 0))]


@pytest.mark.parametrize("data", ["text", None, 5, [b"x"]])
@on_both
async def test_data_that_is_no_bytes(sockets: Sockets, data: Any) -> Seen:
    """`TypeError`."""
    sock = await sockets.bound()
    return (
        await _patiently(sock.sendto, data, sock.getsockname()),
        await _patiently(sock.sendmsg, [data], [], 0, sock.getsockname()),
    )
