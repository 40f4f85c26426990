"""The answering side, over every network: where it listens, what handlers may do, how it refuses and how it ends."""

import contextlib
import errno
import functools
import inspect
import logging
import re
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

import trio_udp
from trio_udp import (
    Address,
    Book,
    DropReason,
    Request,
    RetryPolicy,
    Server,
    ServerBusy,
    ServerStatistics,
    open_client,
    serve,
)
from trio_udp._endpoint import Endpoint
from trio_udp._server import Handler

from .networks import (
    LOOPBACKS,
    LOST,
    DelegatingFactory,
    Names,
    NetworkName,
    awaitable,
    descriptors,
    echo,
    faults_of,
    needs_ipv6,
    network_fixture,  # noqa: F401 - pytest finds it by its name, network
    next_datagram,
    plain_socket,
    read_all,
    serving,
)

ANY4 = "0.0.0.0"  # noqa: S104 - servers that listen everywhere
STEADY = RetryPolicy(initial=1, jitter=0, adaptive=False, attempts=5)
ONCE = RetryPolicy(initial=100, jitter=0, attempts=1)


async def ask(server: Server, payload: bytes = b"?", policy: RetryPolicy | None = None) -> bytes:
    """Ask with a client of its own."""
    async with open_client("127.0.0.1", server.address.port) as client:
        return await client.request(payload, policy=policy)


async def settled(server: Server) -> ServerStatistics:
    """The counters once nothing is on its way: a reply may be here before its sender has counted it."""
    await wait_all_tasks_blocked()
    return server.statistics()


async def ask_and_leave(server: Server) -> None:
    """Ask, and go away as soon as the handler runs."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, server)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()


def whoami(name: str) -> Handler:
    """A handler that says whose it is."""
    return lambda _request: name.encode()


@contextlib.asynccontextmanager
async def open_shared(count: int) -> AsyncIterator[list[Server]]:
    """Servers that share one port of 127.0.0.1."""
    async with contextlib.AsyncExitStack() as stack:
        servers: list[Server] = []
        for _ in range(count):
            port = servers[0].address.port if servers else 0
            servers.append(await stack.enter_async_context(serving(echo, port, host="127.0.0.1", reuse_port=True)))
        yield servers


# Where it listens


@needs_ipv6
async def test_a_server_listens_on_all_addresses_and_one_port(network: NetworkName) -> None:
    """Port 0 takes a port that is free for IPv4 and IPv6."""
    async with serving(echo) as server:
        assert {address.host for address in server.addresses} == {ANY4, "::"}
        assert {address.port for address in server.addresses} == {server.address.port}
        assert server.address == server.addresses[0]
        for host in ("127.0.0.1", "127.0.0.2", "::1", ANY4, "::"):
            async with open_client(host, server.address.port) as client:
                assert await client.request(b"?") == b"?"


@pytest.mark.parametrize("host", LOOPBACKS)
async def test_a_server_listens_where_it_is_told(network: NetworkName, host: str) -> None:
    """And `open_client(*server.address)` reaches it."""
    async with serving(echo, host=host) as server:
        assert [address.host for address in server.addresses] == [host]
        async with open_client(*server.address) as client:
            assert await client.request(b"?") == b"?"


async def test_an_empty_host_is_any_interface(network: NetworkName) -> None:
    """As in the book."""
    async with serving(echo, host="", family=socket.AF_INET) as server:
        assert [address.host for address in server.addresses] == [ANY4]


@needs_ipv6
async def test_a_name_is_listened_on_at_all_its_addresses(network: NetworkName) -> None:
    """Whichever of them a client tries first."""
    trio.socket.set_custom_hostname_resolver(Names({"here": ["::1", "127.0.0.1", "127.0.0.2"]}))
    async with serving(echo, host="here") as server:
        port = server.address.port
        assert server.addresses == (Address("::1", port), Address("127.0.0.1", port), Address("127.0.0.2", port))


@pytest.mark.parametrize("good", [0, 1])
async def test_a_socket_that_cannot_be_used_is_closed_with_the_others(
    network: NetworkName, monkeypatch: pytest.MonkeyPatch, good: int
) -> None:
    """G9: with those before it and behind it. It met a full table of descriptors, say."""
    endpoints: list[Endpoint] = []

    def make(sock: trio.socket.SocketType, **options: Any) -> Endpoint:
        if len(endpoints) == good:
            raise OSError(errno.EMFILE, "injected")
        endpoints.append(Endpoint(sock, **options))
        return endpoints[-1]

    trio.socket.set_custom_hostname_resolver(Names({"here": ["127.0.0.1", "127.0.0.2"]}))
    monkeypatch.setattr("trio_udp._server.Endpoint", make)
    before = descriptors()
    with pytest.raises(OSError, match="injected") as caught:
        await serve(echo, 0, host="here")
    assert caught.value.errno == errno.EMFILE
    assert descriptors() == before  # and the error, whose frames know the sockets, is still here


@pytest.mark.parametrize("host", [None, "127.0.0.1"])
async def test_a_port_that_is_taken_is_an_error(network: NetworkName, host: str | None) -> None:
    """G8: nobody's port is shared or stolen, and no descriptor is left."""
    async with serving(echo, host=host) as server:
        before = descriptors()
        with pytest.raises(OSError, match=f"in use: {re.escape(str(server.address))}$") as caught:
            await serve(echo, server.address.port, host=host)
        assert caught.value.errno == errno.EADDRINUSE
        assert descriptors() == before


@pytest.mark.parametrize("host", [None, "127.0.0.1"])
async def test_servers_that_ask_for_it_share_a_port(network: NetworkName, host: str | None) -> None:
    """All that comes is answered; a client stays with one of them, transmission after transmission."""
    async with (
        serving(whoami("one"), host=host, reuse_port=True) as one,
        serving(whoami("other"), one.address.port, host=host, reuse_port=True) as other,
    ):
        assert other.addresses == one.addresses
        for _ in range(20):
            async with open_client("127.0.0.1", one.address.port) as client:
                assert len({await client.request(b"?") for _ in range(3)}) == 1
        counts = [(await settled(server)).replies for server in (one, other)]
        assert sum(counts) == 60
        assert all(counts)  # which fails by chance once in 500,000 times


async def test_who_shares_a_port_may_go(network: NetworkName) -> None:
    """Its clients are answered by those who stay; and by whoever comes next."""
    async with open_shared(3) as servers, contextlib.AsyncExitStack() as clients:
        port = servers[0].address.port
        asking = [await clients.enter_async_context(open_client("127.0.0.1", port)) for _ in range(20)]
        for _ in range(2):
            await servers.pop(0).drain()
            assert [await client.request(b"?") for client in asking] == [b"?"] * 20
        async with serving(echo, port, host="127.0.0.1", reuse_port=True):
            await servers.pop().drain()
            assert [await client.request(b"?") for client in asking] == [b"?"] * 20


@pytest.mark.parametrize("reuse_port", [True, False])
async def test_a_port_that_one_side_only_would_share_is_an_error(network: NetworkName, reuse_port: bool) -> None:
    """G8: whichever side it is."""
    async with serving(echo, host="127.0.0.1", reuse_port=reuse_port) as server:
        with pytest.raises(OSError, match="in use"):
            await serve(echo, server.address.port, host="127.0.0.1", reuse_port=not reuse_port)


async def test_an_address_that_is_not_ours_is_an_error(network: NetworkName) -> None:
    """The kernel's own, and which address it is about."""
    with pytest.raises(OSError, match=r"assign requested address: 192\.0\.2\.222:0$") as caught:
        await serve(echo, 0, host="192.0.2.222")
    assert caught.value.errno == errno.EADDRNOTAVAIL


BAD_ARGUMENTS: dict[str, tuple[dict[str, Any], str]] = {
    "port": ({"port": 65_536}, r"^expected a port from 0 to 65535, got 65536$"),
    "handlers": ({"port": 0, "max_handlers": 0}, r"^expected max_handlers to be at least 1, got 0$"),
    "scope": ({"port": 0, "host": "fe80::1"}, r"^expected a link-local address with a scope"),
    "payload": ({"port": 0, "max_payload": -1}, r"^expected max_payload to be at least 0, got -1$"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD_ARGUMENTS.values(), ids=BAD_ARGUMENTS)
async def test_arguments_without_sense_are_refused(arguments: dict[str, Any], message: str) -> None:
    """Each with a sentence that says what was expected."""
    with pytest.raises(ValueError, match=message):
        await serve(echo, **arguments)


class PoorFactory(DelegatingFactory):
    """Sockets of a host that lacks a family, or where one family's ports are taken for some time."""

    def __init__(self, *, missing: tuple[int, ...] = (), taken: int = 0) -> None:
        self._missing = missing
        self._taken = taken

    def socket(self, family: int = socket.AF_INET, kind: int = socket.SOCK_STREAM, proto: int = 0) -> Any:
        """See `trio.abc.SocketFactory.socket`."""
        if family in self._missing:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        sock = super().socket(family, kind, proto)
        if family == socket.AF_INET6 and self._taken:
            self._taken -= 1
            sock.bind = self._bind
        return sock

    async def _bind(self, address: tuple[Any, ...]) -> None:
        await trio.lowlevel.checkpoint()
        raise OSError(errno.EADDRINUSE, "Address already in use")


@awaitable
@pytest.mark.parametrize(
    ("missing", "host"), [(socket.AF_INET6, ANY4), pytest.param(socket.AF_INET, "::", marks=needs_ipv6)]
)
async def test_a_host_with_one_family_listens_on_that(network: NetworkName, missing: int, host: str) -> None:
    """Unless an address of the other was asked for."""
    trio.socket.set_custom_socket_factory(PoorFactory(missing=(missing,)))
    async with serving(echo) as server:
        assert [address.host for address in server.addresses] == [host]


@awaitable
async def test_a_host_without_ip_says_so(network: NetworkName) -> None:
    """Nothing to listen on is an error, and so is an address of a family that is missing."""
    trio.socket.set_custom_socket_factory(PoorFactory(missing=(socket.AF_INET, socket.AF_INET6)))
    with pytest.raises(OSError, match="Address family not supported") as caught:
        await serve(echo, 0)
    assert caught.value.errno == errno.EAFNOSUPPORT
    with pytest.raises(OSError, match="Address family not supported"):
        await serve(echo, 0, host="127.0.0.1")


async def test_a_name_is_served_on_those_of_its_addresses_that_this_host_has(network: NetworkName) -> None:
    """localhost is often ::1 as well, where IPv6 is switched off; a name with no address of ours is an error."""
    names = {"here.example": ["203.0.113.1", "127.0.0.1"], "elsewhere.example": ["203.0.113.1", "203.0.113.2"]}
    trio.socket.set_custom_hostname_resolver(Names(names))
    async with serving(echo, host="here.example") as server:
        assert [address.host for address in server.addresses] == ["127.0.0.1"]
    with pytest.raises(OSError, match="assign requested address") as caught:
        await serve(echo, 0, host="elsewhere.example")
    assert caught.value.errno == errno.EADDRNOTAVAIL


@awaitable
@needs_ipv6
async def test_a_port_that_is_free_for_one_family_only_is_not_taken(network: NetworkName) -> None:
    """Another one is looked for, 20 times; sockets that were opened meanwhile are closed."""
    before = descriptors()
    trio.socket.set_custom_socket_factory(PoorFactory(taken=19))
    async with serving(echo) as server:
        assert len(server.addresses) == 2
        assert descriptors() == before + 2
    trio.socket.set_custom_socket_factory(PoorFactory(taken=20))
    with pytest.raises(OSError, match=r"no port is free for all of 0\.0\.0\.0, ::") as caught:
        await serve(echo, 0)
    assert caught.value.errno == errno.EADDRINUSE
    assert descriptors() == before


# From where it answers


@pytest.mark.parametrize("asked", ["127.0.0.1", "127.0.0.2", "127.3.2.1", pytest.param("::1", marks=needs_ipv6)])
@pytest.mark.parametrize("connect", [True, False])
async def test_a_reply_leaves_from_the_address_that_was_asked(network: NetworkName, asked: str, connect: bool) -> None:
    """E6: a wildcard server, a client connected to one of its addresses; the handler is told which."""

    def where(request: Request) -> bytes:
        return request.local.host.encode()

    async with serving(where) as server, open_client(asked, server.address.port, connect=connect) as client:
        reply = await client.exchange(b"a long question")
        assert reply.payload == asked.encode()
        assert (reply.peer, reply.attempts) == (Address(asked, server.address.port), 1)


async def test_a_request_carries_what_is_known_of_it(network: NetworkName, autojump_clock: MockClock) -> None:
    """Payload, peer, the address of ours, and the attempt."""
    requests: list[Request] = []

    def keep(request: Request) -> bytes | None:
        requests.append(request)
        return b"" if request.attempt == 3 else None

    async with serving(keep, host="127.0.0.1") as server, open_client(*server.address) as client:
        await client.request(b"?", policy=STEADY)
        peer = Address("127.0.0.1", client.address.port)
        assert requests == [Request(b"?", peer, server.address, attempt) for attempt in (1, 2, 3)]


# Handlers


class Greeter:
    """Handlers that are not plain functions."""

    def method(self, request: Request) -> bytes:
        """Bound."""
        return request.payload

    async def async_method(self, request: Request) -> bytes:
        """Bound, and awaited."""
        await trio.lowlevel.checkpoint()
        return request.payload


class PlainCallable:
    """An object that is called."""

    def __call__(self, request: Request) -> bytes:  # noqa: D102 - a handler
        return request.payload


class AsyncCallable:
    """An object that is called and awaited."""

    async def __call__(self, request: Request) -> bytes:  # noqa: D102 - a handler
        await trio.lowlevel.checkpoint()
        return request.payload


async def async_echo(request: Request, *, seconds: float = 0) -> bytes:
    """Echo, later."""
    await trio.sleep(seconds)
    return request.payload


HANDLERS: dict[str, Handler] = {
    "def": echo,
    "async def": async_echo,
    "lambda": lambda request: request.payload,
    "method": Greeter().method,
    "async method": Greeter().async_method,
    "object": PlainCallable(),
    "async object": AsyncCallable(),
    "partial": functools.partial(echo),
    "async partial": functools.partial(async_echo, seconds=0.1),
    "partial of an async object": functools.partial(AsyncCallable()),
}


@pytest.mark.parametrize("handler", HANDLERS.values(), ids=HANDLERS)
async def test_anything_callable_is_a_handler(
    network: NetworkName, autojump_clock: MockClock, handler: Handler
) -> None:
    """Plain or async, however it is wrapped."""
    async with serving(handler) as server:
        assert await ask(server, b"payload") == b"payload"
        assert (await settled(server)).errors == 0


async def test_a_plain_handler_runs_in_the_task_that_reads(network: NetworkName) -> None:
    """One after the other, in the order of arrival, without a task each."""
    tasks = set()

    def note(request: Request) -> bytes:
        tasks.add(trio.lowlevel.current_task())
        return request.payload

    async with serving(note, host="127.0.0.1") as server, open_client(*server.address) as client:
        for _ in range(5):
            await client.request(b"?")
    assert len(tasks) == 1


async def test_async_handlers_run_side_by_side(network: NetworkName, autojump_clock: MockClock) -> None:
    """Ten of a second each take a second."""
    began = trio.current_time()
    async with serving(functools.partial(async_echo, seconds=1)) as server, trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(ask, server, b"?", ONCE)
        await trio.sleep(0.5)
        assert (await settled(server)).handlers == 10
    assert trio.current_time() - began == pytest.approx(1)
    assert (await settled(server)).handlers == 0


async def test_a_handler_that_says_nothing_is_silence(network: NetworkName, autojump_clock: MockClock) -> None:
    """The client goes on asking; each attempt is a request."""
    async with serving(lambda request: None) as server:
        with pytest.raises(trio_udp.NoReply):
            await ask(server, policy=RetryPolicy(attempts=3))
        statistics = await settled(server)
        assert (statistics.requests, statistics.unanswered) == (3, 3)


# Handlers that fail


def raises(request: Request) -> bytes:
    """Fail."""
    raise KeyError("a bug of the handler's")


async def raises_later(request: Request) -> bytes:
    """Fail in a task."""
    await trio.lowlevel.checkpoint()
    raise KeyError("a bug of the handler's")


async def raises_in_a_nursery(request: Request) -> bytes:
    """Fail in a task of a task."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(raises_later, request)
    return b""


def returns_text(request: Request) -> bytes:
    """Forget to encode."""
    return "text"  # type: ignore[return-value]  # the mistake under test


def returns_too_much(request: Request) -> bytes:
    """More than any datagram holds."""
    return bytes(65_507)


def returns_a_coroutine(request: Request) -> bytes:
    """Forget that it was to be async."""
    return async_echo(request)  # type: ignore[return-value]  # the mistake under test


async def returns_a_coroutine_later(request: Request) -> bytes:
    """Forget to await."""
    await trio.lowlevel.checkpoint()
    return returns_a_coroutine(request)


FAILURES: dict[str, tuple[Handler, str]] = {
    "def": (raises, 'KeyError: "a bug of the handler\'s"'),
    "async def": (raises_later, 'KeyError: "a bug of the handler\'s"'),
    "nursery": (raises_in_a_nursery, "ExceptionGroup: Exceptions from Trio nursery"),
    "text": (returns_text, "TypeError: expected the handler to return bytes or None, got str"),
    "coroutine": (returns_a_coroutine, "TypeError: expected the handler to return bytes or None, got coroutine"),
    "async coroutine": (
        returns_a_coroutine_later,
        "TypeError: expected the handler to return bytes or None, got coroutine",
    ),
    "too much": (returns_too_much, "PayloadTooLarge: payload is too large: expected at most 65483 bytes, got 65507"),
}


@pytest.mark.parametrize(("handler", "text"), FAILURES.values(), ids=FAILURES)
async def test_a_failing_handler_hurts_its_own_request_only(
    network: NetworkName, caplog: pytest.LogCaptureFixture, handler: Handler, text: str
) -> None:
    """E8: ERROR to that peer, one log record with the traceback, counted; and serving goes on.

    A coroutine is closed: that it was never awaited would be a warning, and here an error.
    """

    def fail_once(request: Request) -> Any:
        return echo(request) if request.payload == b"well" else handler(request)

    async def fail_once_later(request: Request) -> Any:
        return echo(request) if request.payload == b"well" else await handler(request)  # type: ignore[misc]  # async

    with caplog.at_level(logging.DEBUG):
        async with serving(fail_once_later if inspect.iscoroutinefunction(handler) else fail_once) as server:
            with pytest.raises(trio_udp.RemoteError, match="the handler failed") as caught:
                await ask(server, b"ill")
            assert not isinstance(caught.value, ServerBusy)
            assert await ask(server, b"well") == b"well"
            statistics = await settled(server)
            assert (statistics.errors, statistics.replies) == (1, 1)
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("trio_udp", "ERROR")
    assert record.getMessage().startswith("handler failed for a request from 127.0.0.1:")
    assert text in caplog.text
    assert "Traceback" in caplog.text


async def test_a_format_without_a_word_for_errors_is_silent(
    network: NetworkName, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """E8: the book's client would take anything for the answer; a reply that is not ASCII is the handler's fault."""
    async with serving(lambda request: b"\xff", profile=Book()) as server:
        async with open_client("127.0.0.1", server.address.port, profile=Book()) as client:
            with pytest.raises(trio_udp.NoReply):
                await client.request(b"?", policy=RetryPolicy(attempts=2))
        assert (await settled(server)).errors == 2
    assert len(caplog.records) == 2


async def test_a_handler_that_fails_while_it_is_cancelled_does_not_break_the_server(
    network: NetworkName, caplog: pytest.LogCaptureFixture
) -> None:
    """E8: an exception in a `finally` is logged like any other; `serve` ends as it was told to."""

    async def fails_in_its_cleanup(request: Request) -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise KeyError("a bug of the handler's")

    async with serving(fails_in_its_cleanup) as server:
        await ask_and_leave(server)
        assert (await settled(server)).handlers == 1
    assert (await settled(server)).errors == 1
    assert len(caplog.records) == 1


async def test_a_handler_of_many_tasks_that_fails_while_it_is_cancelled_does_not_break_the_server(
    network: NetworkName, caplog: pytest.LogCaptureFixture
) -> None:
    """E8: what comes out of its nursery is a group of the cancellation and the error; only the first goes on."""

    async def fails_in_its_cleanup() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise KeyError("a bug of the handler's")

    async def handler(request: Request) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fails_in_its_cleanup)
            nursery.start_soon(trio.sleep_forever)

    async with serving(handler) as server:
        await ask_and_leave(server)
        assert (await settled(server)).handlers == 1
    assert (await settled(server)).unanswered == 1
    assert ["handler failed" in record.message for record in caplog.records] == [True]


# Limits


async def test_requests_beyond_the_limit_are_refused(network: NetworkName, autojump_clock: MockClock) -> None:
    """E9: BUSY at once, so that the client asks again; if it never finds room, its schedule's end says so."""
    async with serving(functools.partial(async_echo, seconds=100), max_handlers=2) as server:
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(ask, server, b"?", RetryPolicy(initial=200, attempts=1))
            await wait_all_tasks_blocked()
            began = trio.current_time()
            words = r"^127\.0\.0\.1:\d+: the server refuses: no more of its handlers may run \(limit 2\)$"
            with pytest.raises(ServerBusy, match=words) as caught:
                await ask(server, b"room for a reason", policy=trio_udp.BOOK)
            assert trio.current_time() - began == pytest.approx(3.1)
            assert isinstance(caught.value, trio_udp.RemoteError)
            assert (await settled(server)).handlers == 2
        statistics = await settled(server)
    assert (statistics.requests, statistics.busy, statistics.replies) == (7, 5, 2)


async def test_a_request_that_was_refused_is_answered_when_there_is_room(
    network: NetworkName, autojump_clock: MockClock
) -> None:
    """E9: BUSY is not the last word."""
    async with serving(functools.partial(async_echo, seconds=0.5), max_handlers=1) as server:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, server, b"?", ONCE)
            await wait_all_tasks_blocked()
            began = trio.current_time()
            assert await ask(server, b"!", policy=trio_udp.BOOK) == b"!"
            assert trio.current_time() - began == pytest.approx(0.7 + 0.5)
        assert (await settled(server)).busy == 3


async def test_a_payload_longer_than_taken_is_dropped(network: NetworkName, autojump_clock: MockClock) -> None:
    """Met with silence, and counted."""
    async with serving(echo, max_payload=10) as server:
        assert await ask(server, bytes(10)) == bytes(10)
        with pytest.raises(trio_udp.NoReply):
            await ask(server, bytes(11), policy=RetryPolicy(attempts=2))
        assert (await settled(server)).dropped == {DropReason.TOO_LARGE: 2}


async def test_who_has_a_key_is_told_that_a_payload_is_too_long(
    network: NetworkName, autojump_clock: MockClock
) -> None:
    """At once, and how long it may be: no retransmission makes it shorter."""
    key = trio_udp.Key.generate(1)
    async with (
        serving(echo, host="127.0.0.1", max_payload=10, keys=[key]) as server,
        open_client(*server.address, key=key) as client,
    ):
        assert await client.request(bytes(10)) == bytes(10)
        began = trio.current_time()
        with pytest.raises(trio_udp.RemoteError, match=r"it takes no longer payload \(limit 10 bytes\)$"):
            await client.request(bytes(11))
        assert trio.current_time() == pytest.approx(began, abs=0.1)
        statistics = await settled(server)
        assert (statistics.requests, statistics.replies, statistics.errors, statistics.dropped) == (2, 1, 1, {})


async def test_a_truncated_request_is_dropped(
    network: NetworkName, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G2: a part of a request is no request."""
    monkeypatch.setattr("trio_udp._net._transports._LARGEST", 60)
    async with serving(echo) as server:
        with pytest.raises(trio_udp.NoReply):
            await ask(server, bytes(100), policy=RetryPolicy(attempts=2))
        assert await ask(server, b"short") == b"short"
        assert (await settled(server)).dropped == {DropReason.TRUNCATED: 2}


async def test_an_answer_that_cannot_be_sent_is_lost(network: NetworkName, autojump_clock: MockClock) -> None:
    """G6: it is counted as unanswered, and the client asks again."""
    async with serving(echo, host="127.0.0.1") as server:
        faults_of(server._endpoints[0]._transport).sends.extend([errno.EPERM, errno.ENOBUFS, LOST])
        assert await ask(server, policy=STEADY) == b"?"
        statistics = await settled(server)
    assert (statistics.requests, statistics.unanswered, statistics.replies) == (4, 2, 2)
    assert statistics.endpoints[server.address].send_errors == {"EPERM": 1, "ENOBUFS": 1}


# Answers that nobody may be sent


async def test_replies_and_junk_are_met_with_silence(network: NetworkName) -> None:
    """E5: nothing is ever sent in answer to a reply or to what is no message."""
    async with serving(echo, host="127.0.0.1") as server, open_client(*server.address) as client:
        seen: list[bytes] = []
        await client.exchange(b"?", on_attempt=lambda attempt: seen.append(attempt.datagram))
        request = seen[0]
        with plain_socket() as stranger:
            for data in (b"", b"\x09", request[:-1], request + b"!", b"\x09\x81" + request[2:], bytes(1200)):
                stranger.sendto(data, server.address)
            await wait_all_tasks_blocked()
            assert read_all(stranger) == []
            stranger.sendto(request, server.address)
            await next_datagram(stranger)  # the handler may run again for a copy: that is the contract
    assert sum((await settled(server)).dropped.values()) == 6
    assert (await settled(server)).requests == 2


# The end


async def test_cancelling_serve_closes_its_sockets(network: NetworkName) -> None:
    """G9: the port is free again, running handlers are cancelled and counted."""
    before = descriptors()
    async with serving(functools.partial(async_echo, seconds=1000)) as server:
        await ask_and_leave(server)
        assert (await settled(server)).handlers == 1
    assert descriptors() == before
    statistics = await settled(server)
    assert (statistics.handlers, statistics.unanswered) == (0, 1)
    async with serving(echo, server.address.port):
        pass


async def test_draining_an_idle_server_ends_it_at_once(network: NetworkName, autojump_clock: MockClock) -> None:
    """E10: `serve` returns when `drain` does, without an exception; draining again changes nothing."""
    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve, echo, 0)
        began = trio.current_time()
        await server.drain()
        await server.drain()
        assert trio.current_time() == began
        assert not (await _tasks_in(nursery))
    with plain_socket("127.0.0.1", server.address.port):
        pass


async def _tasks_in(nursery: trio.Nursery) -> frozenset[trio.lowlevel.Task]:
    await wait_all_tasks_blocked()
    return frozenset(nursery.child_tasks)


async def test_draining_refuses_the_new_and_finishes_the_running(
    network: NetworkName, autojump_clock: MockClock
) -> None:
    """E10: BUSY to whoever comes now; the answer to whoever was here."""
    answers: list[bytes] = []

    async def keep() -> None:
        answers.append(await ask(server, b"running", ONCE))

    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve, functools.partial(async_echo, seconds=10), 0)
        nursery.start_soon(keep)
        await wait_all_tasks_blocked()
        began = trio.current_time()
        async with trio.open_nursery() as drainers:
            drainers.start_soon(server.drain)
            drainers.start_soon(server.drain)
            await wait_all_tasks_blocked()
            with pytest.raises(ServerBusy):
                await ask(server, b"new", trio_udp.BOOK)
        assert trio.current_time() - began == pytest.approx(10)
    assert answers == [b"running"]
    statistics = await settled(server)
    assert (statistics.busy, statistics.replies) == (5, 1)


@pytest.mark.parametrize("own_nursery", [True, False])
async def test_a_drain_out_of_time_stops_at_once(
    network: NetworkName, autojump_clock: MockClock, own_nursery: bool
) -> None:
    """E10: within the grace, exactly; handlers in the server's own nursery are cancelled, those in yours are yours."""
    before = descriptors()
    async with trio.open_nursery() as handlers, trio.open_nursery() as nursery:
        options: dict[str, Any] = {} if own_nursery else {"handler_nursery": handlers}
        server = await nursery.start(
            functools.partial(serve, functools.partial(async_echo, seconds=1000), 0, **options)
        )
        await ask_and_leave(server)
        began = trio.current_time()
        with trio.move_on_after(5) as scope:
            await server.drain()
        assert scope.cancelled_caught
        assert trio.current_time() - began == pytest.approx(5)
        assert not await _tasks_in(nursery)
        assert descriptors() == before
        assert (await settled(server)).handlers == (0 if own_nursery else 1)
        # There is nothing more to wait for: the server has stopped, and handlers in your nursery are yours.
        await server.drain()
        assert trio.current_time() - began == pytest.approx(5)
    statistics = await settled(server)
    assert (statistics.handlers, statistics.unanswered) == (0, 1)


async def test_handlers_run_in_the_nursery_that_is_given(network: NetworkName, autojump_clock: MockClock) -> None:
    """As `trio.serve_tcp` has it: cancelling that nursery cancels them, and the server serves on."""
    slow = functools.partial(async_echo, seconds=10)
    async with trio.open_nursery() as handlers, serving(slow, handler_nursery=handlers) as server:
        await ask_and_leave(server)
        assert len(handlers.child_tasks) == (await settled(server)).handlers == 1
        await server.drain()
        assert not handlers.child_tasks
    assert (await settled(server)).replies == 1


async def test_a_cancelled_handler_is_an_unanswered_request(network: NetworkName, autojump_clock: MockClock) -> None:
    """In whosever nursery."""
    slow = functools.partial(async_echo, seconds=10)
    async with trio.open_nursery() as outer:
        handlers = await outer.start(_open_nursery)
        async with serving(slow, handler_nursery=handlers) as server:
            await ask_and_leave(server)
            handlers.cancel_scope.cancel()
            await wait_all_tasks_blocked()
            statistics = await settled(server)
            assert (statistics.handlers, statistics.unanswered) == (0, 1)


async def test_a_handler_nursery_that_has_ended_ends_the_server(
    network: NetworkName, autojump_clock: MockClock
) -> None:
    """As with `trio.serve_tcp`, and loudly: no handler can ever run again. The request is counted all the same."""
    async with trio.open_nursery() as handlers:
        pass
    with pytest.RaisesGroup(RuntimeError, flatten_subgroups=True):
        async with serving(async_echo, handler_nursery=handlers) as server:
            await ask_and_leave(server)
    statistics = server.statistics()
    assert (statistics.requests, statistics.unanswered, statistics.handlers) == (1, 1, 0)


async def _open_nursery(task_status: trio.TaskStatus[trio.Nursery]) -> None:
    async with trio.open_nursery() as nursery:
        task_status.started(nursery)
        await trio.sleep_forever()


@awaitable
async def test_draining_lets_a_plain_handlers_answer_leave(network: NetworkName, autojump_clock: MockClock) -> None:
    """E10: a reply that waits for room in the send buffer belongs to a handler that has run."""
    room = trio.Event()
    async with trio.open_nursery() as nursery:
        server = await nursery.start(functools.partial(serve, echo, 0, host="127.0.0.1"))
        faults_of(server._endpoints[0]._transport).sends.append(room)
        answers: list[bytes] = []

        async def keep() -> None:
            answers.append(await ask(server, b"?", ONCE))

        nursery.start_soon(keep)
        await wait_all_tasks_blocked()
        nursery.start_soon(server.drain)
        await wait_all_tasks_blocked()
        room.set()
    assert answers == [b"?"]


@awaitable
async def test_a_request_whose_answer_was_cancelled_is_counted_as_unanswered(
    network: NetworkName, autojump_clock: MockClock
) -> None:
    """The counters add up whenever the server is stopped."""
    async with serving(echo, host="127.0.0.1") as server:
        faults_of(server._endpoints[0]._transport).sends.append(trio.Event())
        with trio.move_on_after(1):
            await ask(server)
    statistics = await settled(server)
    assert (statistics.requests, statistics.unanswered) == (1, 1)


class Stop(BaseException):
    """Nothing that a server may take for a mere bug of its handler's."""


@pytest.mark.parametrize("later", [True, False])
async def test_draining_a_server_that_has_died_returns(
    network: NetworkName, autojump_clock: MockClock, later: bool
) -> None:
    """E10: as a `finally` does that cannot know; whatever its handler died of, there is nothing to wait for."""

    def die(request: Request) -> bytes:
        raise Stop

    async def die_later(request: Request) -> bytes:
        await trio.lowlevel.checkpoint()
        raise Stop

    with pytest.RaisesGroup(Stop, flatten_subgroups=True):
        async with trio.open_nursery() as nursery:
            server = await nursery.start(serve, die_later if later else die, 0)
            await ask(server)
    with trio.fail_after(1):
        await server.drain()
    assert server.statistics().unanswered == 1


async def test_a_server_stopped_by_an_exception_of_its_parent_leaves_nothing(network: NetworkName) -> None:
    """G9: whatever ends it."""
    before = descriptors()
    with pytest.RaisesGroup(KeyError):
        async with trio.open_nursery() as nursery:
            await nursery.start(serve, echo, 0)
            raise KeyError("mine")
    assert descriptors() == before


def test_serving_needs_no_task_status() -> None:
    """`await serve(handler, port)` alone is a program."""

    async def main() -> None:
        with trio.move_on_after(1):
            await serve(echo, 0)

    trio.run(main, clock=MockClock(autojump_threshold=0))
