"""At most once and cookies, over every network: what a handler with side effects may rely on, and what it costs."""

import contextlib
import functools
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from random import Random

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

import trio_udp
from trio_udp import (
    Address,
    Client,
    Key,
    NoReply,
    OutcomeUnknown,
    RemoteError,
    Request,
    RetryPolicy,
    ServerBusy,
    open_client,
    serve,
)
from trio_udp.proto import TU1, ClientProtocol, MessageType
from trio_udp.testing import Conditions, SimNet, simulate

from .networks import NetworkName, echo, network_fixture, plain_socket, read_all, serving  # noqa: F401 - found by name, network

PATIENT = RetryPolicy(initial=1, jitter=0, adaptive=False, attempts=5)
ONCE = RetryPolicy(initial=1, jitter=0, adaptive=False, attempts=1)
KEYS = [Key(1, bytes(32)), Key(2, bytes(range(32)), algorithm="hmac-sha-256-128")]
keys_or_none = pytest.mark.parametrize("keys", [None, KEYS], ids=["no key", "keys"])


class Counter:
    """A handler with a side effect."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.runs: list[bytes] = []
        self.seconds = seconds

    async def __call__(self, request: Request) -> bytes:
        """Count, and say the count."""
        self.runs.append(request.payload)
        number = len(self.runs)
        await trio.sleep(self.seconds)
        return b"%s is number %d" % (request.payload, number)


@contextlib.asynccontextmanager
async def asking_by_hand(
    server: Address, payload: bytes = b"pay", keys: Sequence[Key] | None = None
) -> AsyncIterator["ByHand"]:
    """A client that is no more than a socket, so that what it sends can be sent again. It has the last of the keys."""
    with plain_socket() as sock:
        yield ByHand(sock, server, payload, keys[-1] if keys else None)


class ByHand:
    """One request at most once, and its datagrams."""

    def __init__(self, sock: socket.socket, server: Address, payload: bytes, key: Key | None) -> None:
        self.sock = sock
        self.server = server
        seal = None if key is None else key.seal
        self.protocol = ClientProtocol(TU1(), [server], random=os.urandom(8), seal=seal)
        random = os.urandom(self.protocol.random_size)
        self.exchange = self.protocol.open_exchange(payload, PATIENT, random, at_most_once=True)

    async def send(self, now: float = 0.0) -> bytes:
        """Send what is next, and return it."""
        attempt = self.exchange.next_attempt(now)
        assert attempt is not None
        return await self.send_again(attempt.datagram)

    async def send_again(self, datagram: bytes) -> bytes:
        """Send it, and let the server work."""
        self.sock.sendto(datagram, (self.server.host, self.server.port))
        await wait_all_tasks_blocked()
        return datagram

    def take(self) -> bytes:
        """Read the one answer."""
        (answer,) = read_all(self.sock)
        self.protocol.receive_datagram(answer, self.server, 0.0)
        return answer

    async def run(self) -> tuple[bytes, bytes]:
        """Have it run: the datagram that did it, and its reply."""
        await self.send()
        self.take()
        datagram = await self.send()
        return datagram, self.take()


async def test_a_handler_that_takes_its_time_runs_once(network: NetworkName, autojump_clock: MockClock) -> None:
    """E1: retransmissions are absorbed while it runs, and the reply goes to the last of them."""
    handler = Counter(seconds=5)
    async with serving(handler) as server, open_client(*server.address, policy=PATIENT) as client:
        reply = await client.exchange(b"pay", at_most_once=True)
        assert (reply.payload, reply.attempts) == (b"pay is number 1", 4)
        assert reply.rtt == pytest.approx(2)
        assert handler.runs == [b"pay"]
        await wait_all_tasks_blocked()
        statistics = server.statistics()
        assert (statistics.replies, statistics.retries, statistics.absorbed, statistics.requests) == (1, 1, 2, 4)
        assert (statistics.cookies_granted, statistics.cookies_accepted, statistics.clients_held) == (1, 3, 1)
        assert statistics.reply_bytes_held > len(reply.payload)


async def test_without_it_the_same_handler_runs_again(network: NetworkName, autojump_clock: MockClock) -> None:
    """What the option is for."""
    handler = Counter(seconds=5)
    async with serving(handler) as server, open_client(*server.address, policy=PATIENT) as client:
        await client.request(b"pay")
        assert len(handler.runs) > 1


async def test_the_client_may_ask_for_it_once_for_all(network: NetworkName, autojump_clock: MockClock) -> None:
    """And a request may say otherwise; one round trip to learn what is to be learnt, in a minute."""
    async with serving(echo) as server, open_client(*server.address, at_most_once=True) as client:
        assert [(await client.exchange(b"?")).attempts for _ in range(3)] == [2, 1, 1]
        await client.request(b"!", at_most_once=False)
        assert server.statistics().cookies_accepted == 3
        await trio.sleep(60)
        assert (await client.exchange(b"?")).attempts == 2


@keys_or_none
@pytest.mark.parametrize("in_nursery", [False, True])
async def test_a_request_that_is_sent_again_gets_the_same_reply(
    network: NetworkName, autojump_clock: MockClock, in_nursery: bool, keys: list[Key] | None
) -> None:
    """E1, F6: a thousand times; the handler ran once."""
    handler = Counter()
    async with trio.open_nursery() as nursery:
        handlers = nursery if in_nursery else None
        server = await nursery.start(
            functools.partial(serve, handler, 0, host="127.0.0.1", handler_nursery=handlers, keys=keys)
        )
        async with asking_by_hand(server.address, keys=keys) as asking:
            datagram, reply = await asking.run()
            for _ in range(1000):
                await asking.send_again(datagram)
                assert asking.take() == reply
        assert len(handler.runs) == 1
        assert server.statistics().repeated == 1000
        nursery.cancel_scope.cancel()


@keys_or_none
async def test_a_captured_request_runs_nowhere_after_a_restart(
    network: NetworkName, autojump_clock: MockClock, keys: list[Key] | None
) -> None:
    """E3, F6: a thousand times, at the same port, under the same key; the answer is no longer than the request."""
    handler = Counter()
    async with (
        serving(handler, host="127.0.0.1", keys=keys) as server,
        asking_by_hand(server.address, keys=keys) as asking,
    ):
        datagram, _ = await asking.run()
        await server.drain()
        async with serving(handler, server.address.port, host="127.0.0.1", keys=keys) as restarted:
            for _ in range(1000):
                await asking.send_again(datagram)
                assert len(asking.take()) == (40 if keys else 24)
            assert restarted.statistics().outcome_unknown == 1000
    assert len(handler.runs) == 1


@keys_or_none
async def test_a_captured_request_is_worth_nothing_to_who_sends_it_from_elsewhere(
    network: NetworkName, autojump_clock: MockClock, keys: list[Key] | None
) -> None:
    """F6: a hundred addresses; each is asked for a cookie of its own, which has no place under the tag."""
    handler = Counter()
    async with (
        serving(handler, host="127.0.0.1", keys=keys) as server,
        asking_by_hand(server.address, keys=keys) as asking,
    ):
        await asking.send()
        asking.take()
        attempt = asking.exchange.next_attempt(0.0)
        assert attempt is not None
        for _ in range(100):
            with plain_socket() as asking.sock:
                await asking.send_again(attempt.datagram)
                (answer,) = read_all(asking.sock)
                assert answer[1] == MessageType.RETRY
                assert len(answer) <= len(attempt.datagram)
    assert handler.runs == []


async def test_a_key_that_changes_in_mid_request_runs_nothing_twice(
    network: NetworkName, autojump_clock: MockClock
) -> None:
    """E1, F5: retransmissions keep the key of the first, and the next request has the new one."""
    handler = Counter(seconds=5)
    async with (
        serving(handler, host="127.0.0.1", keys=KEYS) as server,
        open_client(*server.address, policy=PATIENT, at_most_once=True, key=KEYS[0]) as client,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(client.request, b"pay")
        await trio.sleep(0.5)
        client.set_key(KEYS[1])
        await trio.sleep(9.5)
        handler.seconds = 0
        server.set_keys(KEYS[1:])
        assert await client.request(b"pay more") == b"pay more is number 2"
        assert handler.runs == [b"pay", b"pay more"]
        assert server.statistics().absorbed == 2


async def test_a_captured_request_runs_nowhere_when_everything_about_it_is_forgotten(
    network: NetworkName, autojump_clock: MockClock
) -> None:
    """F6: every 10 seconds for a quarter of an hour."""
    handler = Counter()
    async with serving(handler, host="127.0.0.1") as server, asking_by_hand(server.address) as asking:
        datagram, _ = await asking.run()
        for _ in range(90):
            await trio.sleep(10)
            await asking.send_again(datagram)
        assert server.statistics().clients_held == 0
        assert len(handler.runs) == 1
        async with open_client(*server.address, at_most_once=True) as client:
            await client.request(b"another")
        assert server.statistics().clients_held == 1


async def test_a_reply_goes_to_where_its_client_is_now(network: NetworkName, autojump_clock: MockClock) -> None:
    """E1: a NAT has given it another address, and the cookie of the old one is worth nothing there."""
    handler = Counter(seconds=5)
    async with serving(handler, host="127.0.0.1") as server, asking_by_hand(server.address) as asking:
        await asking.send()
        asking.take()
        await asking.send()
        with plain_socket() as asking.sock:
            await asking.send(1.0)
            asking.take()
            await asking.send(1.0)
            await trio.sleep(5)
            await wait_all_tasks_blocked()
            asking.take()
        assert asking.exchange.outcome is not None
        assert (asking.exchange.outcome.payload, len(handler.runs)) == (b"pay is number 1", 1)


async def test_a_restart_is_learned_and_never_a_second_run(network: NetworkName, autojump_clock: MockClock) -> None:
    """E3: the request that is under way ends in OutcomeUnknown; the next one finds the new server."""
    handler = Counter(seconds=50)
    unknown: list[OutcomeUnknown] = []

    async def ask(client: Client) -> None:
        with pytest.raises(OutcomeUnknown, match="cannot tell whether the request has run") as caught:
            await client.request(b"pay", policy=PATIENT)
        unknown.append(caught.value)

    async with trio.open_nursery() as nursery:
        server = await nursery.start(functools.partial(serve, handler, 0, host="127.0.0.1"))
        async with open_client(*server.address, at_most_once=True) as client, trio.open_nursery() as asking:
            asking.start_soon(ask, client)
            await trio.sleep(2)
            with trio.move_on_after(0):
                await server.drain()
            handler.seconds = 0
            async with serving(handler, server.address.port, host="127.0.0.1"):
                await trio.sleep(10)
                assert (unknown[0].servers, unknown[0].peer) == ((server.address,), server.address)
                assert await client.request(b"next") == b"next is number 2"
            assert client.statistics().outcome_unknown == 1
    assert handler.runs == [b"pay", b"next"]


async def raises(request: Request) -> bytes:
    """Fail, and count it."""
    FAILED.append(request.payload)
    raise ValueError("the handler failed")


async def raises_later(request: Request) -> bytes:
    """The same, while somebody asks again."""
    await trio.sleep(1.5)
    return await raises(request)


FAILED: list[bytes] = []


@pytest.mark.parametrize("handler", [raises, raises_later])
async def test_a_failure_of_the_handler_is_repeated_too(
    network: NetworkName, autojump_clock: MockClock, handler: Callable[[Request], Awaitable[bytes]],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """E1, E8: it ran, and does not run again."""
    FAILED.clear()
    async with serving(handler, host="127.0.0.1") as server, asking_by_hand(server.address) as asking:
        await asking.send()
        asking.take()
        datagram = await asking.send()
        await trio.sleep(2)
        await asking.send_again(datagram)
        assert [answer[1] for answer in read_all(asking.sock)] == [0x87, 0x87]
        assert FAILED == [b"pay"]
        assert (server.statistics().errors, len(caplog.records)) == (2, 1)


async def test_a_handler_that_was_cancelled_does_not_run_again(network: NetworkName, autojump_clock: MockClock) -> None:
    """E1: nobody knows how far it came; who asks again is told that it failed."""
    handler = Counter(seconds=50)
    async with trio.open_nursery() as nursery:
        handlers = await nursery.start(open_a_nursery)
        start = functools.partial(serve, handler, 0, host="127.0.0.1", handler_nursery=handlers)
        server = await nursery.start(start)
        async with open_client(*server.address, at_most_once=True) as client:
            nursery.start_soon(cancel_soon, handlers)
            with pytest.raises(RemoteError, match="the handler failed"):
                await client.request(b"pay", policy=PATIENT)
        assert len(handler.runs) == 1
        nursery.cancel_scope.cancel()


async def open_a_nursery(task_status: trio.TaskStatus[trio.Nursery]) -> None:
    """For handlers, until it is cancelled."""
    async with trio.open_nursery() as nursery:
        task_status.started(nursery)
        await trio.sleep_forever()


async def cancel_soon(nursery: trio.Nursery) -> None:
    """After a second attempt, before the third."""
    await trio.sleep(2)
    nursery.cancel_scope.cancel()


async def test_silence_is_repeated_too(network: NetworkName, autojump_clock: MockClock) -> None:
    """E1: a handler that has nothing to say is not asked again."""
    ran: list[bytes] = []
    async with serving(lambda request: ran.append(request.payload)) as server, open_client(*server.address) as client:
        with pytest.raises(NoReply):
            await client.request(b"pay", at_most_once=True)
        assert ran == [b"pay"]


async def test_a_draining_server_answers_what_it_knows(network: NetworkName, autojump_clock: MockClock) -> None:
    """E10: the reply that was lost, and the one that is still to come; BUSY to what is new."""
    handler = Counter(seconds=5)
    async with trio.open_nursery() as nursery:
        server = await nursery.start(functools.partial(serve, handler, 0, host="127.0.0.1"))
        async with asking_by_hand(server.address) as known, asking_by_hand(server.address, b"run") as running:
            await known.send()
            known.take()
            datagram = await known.send()
            await trio.sleep(5)
            await running.send()
            running.take()
            await running.send()
            nursery.start_soon(server.drain)
            await wait_all_tasks_blocked()
            read_all(known.sock)
            await known.send_again(datagram)
            known.take()
            async with open_client(*server.address, at_most_once=True) as client:
                with pytest.raises(ServerBusy):
                    await client.request(b"new", policy=ONCE)
            await trio.sleep(5)
            await wait_all_tasks_blocked()
            running.take()
        assert known.exchange.outcome is not None
        assert running.exchange.outcome is not None
    assert handler.runs == [b"pay", b"run"]


async def test_a_server_that_is_full_of_clients_is_busy_to_others(network: NetworkName) -> None:
    """E2: and keeps its word to those that it knows."""
    once = RetryPolicy(attempts=1)
    async with serving(Counter(), max_clients=2) as server:
        address = "127.0.0.1", server.address.port
        async with (
            open_client(*address, at_most_once=True, policy=once) as one,
            open_client(*address, at_most_once=True, policy=once) as two,
            open_client(*address, at_most_once=True, policy=RetryPolicy(initial=0.1, attempts=1)) as three,
        ):
            await one.request(b"1")
            await two.request(b"2")
            with pytest.raises(ServerBusy):
                await three.request(b"3")
            assert await one.request(b"4") == b"4 is number 3"
            assert server.statistics().clients_held == 2


async def test_a_reply_that_is_not_kept_is_not_made_twice(network: NetworkName) -> None:
    """E1, E2: too long for the memory that is left."""
    runs: list[bytes] = []

    def handler(request: Request) -> bytes:
        runs.append(request.payload)
        return bytes(60_000)

    async with serving(handler, max_reply_bytes=5_000) as server:
        async with open_client("127.0.0.1", server.address.port, at_most_once=True, max_payload=65_000) as client:
            with pytest.raises(OutcomeUnknown):
                await client.request(b"pay")
            assert runs == [b"pay"]
        assert server.statistics().reply_bytes_held < 5_000


async def test_a_format_without_a_word_for_it_says_so(network: NetworkName) -> None:
    """At the first request: nothing was sent."""
    said = "expected a profile that can say at most once, got book"
    async with open_client("127.0.0.1", 9, profile=trio_udp.Book(), at_most_once=True) as client:
        with pytest.raises(ValueError, match=said):
            await client.request(b"?")
        async with client.request_many([b"?"]) as results:
            assert [str(result.error) async for result in results] == [said]
        assert client.statistics().endpoint.datagrams_sent == 0


async def test_of_several_servers_one_runs_it(network: NetworkName, autojump_clock: MockClock) -> None:
    """E1: a dead one is found out before anything is born, and a slow one is waited for."""
    handler = Counter(seconds=3)
    with plain_socket() as dead:
        async with serving(handler) as one, serving(handler) as two:
            servers = [("127.0.0.1", port) for port in (dead.getsockname()[1], one.address.port, two.address.port)]
            async with open_client(servers=servers, at_most_once=True) as client:
                for number in range(1, 6):
                    assert await client.request(b"pay") == b"pay is number %d" % number


@pytest.mark.parametrize("many", [False, True])
async def test_more_requests_than_a_server_remembers_wait_for_the_oldest(
    network: NetworkName, autojump_clock: MockClock, many: bool
) -> None:
    """E2: 64 from the oldest on; the others go when it is over, none of them is refused or forgotten."""
    slow = trio.Event()
    runs: list[bytes] = []

    async def handler(request: Request) -> bytes:
        runs.append(request.payload)
        if request.payload == b"0":
            await slow.wait()
        return request.payload

    async def ask(client: Client, payload: bytes) -> None:
        assert await client.request(payload) == payload

    async def ask_many(client: Client, payloads: list[bytes]) -> None:
        async with client.request_many(payloads) as results:
            assert sorted([result.payload async for result in results if result.reply]) == sorted(payloads)

    payloads = [b"%d" % number for number in range(200)]
    async with (
        serving(handler) as server,
        open_client(*server.address, at_most_once=True, max_in_flight=200) as client,
    ):
        await client.request(b"first")
        async with trio.open_nursery() as nursery:
            if many:
                nursery.start_soon(ask_many, client, payloads)
            else:
                nursery.start_soon(ask, client, b"0")
                await wait_all_tasks_blocked()
                for payload in payloads[1:]:
                    nursery.start_soon(ask, client, payload)
            await wait_all_tasks_blocked()
            assert len(runs) == 1 + 64
            slow.set()
        assert sorted(runs) == sorted([b"first", *payloads])
        assert server.statistics().busy == 0
        assert not client._protocol.held


@pytest.mark.parametrize("victim", ["the oldest", "one that is held"])
async def test_cancelling_a_request_lets_the_others_go(
    network: NetworkName, autojump_clock: MockClock, victim: str
) -> None:
    """G9: whoever reads, whoever waits, whoever is held."""
    answered: list[bytes] = []

    async def handler(request: Request) -> bytes:
        await trio.sleep(1000 if request.payload == b"0" else 0.1)
        return request.payload

    async def ask(client: Client, payload: bytes, scope: trio.CancelScope) -> None:
        with scope:
            answered.append(await client.request(payload, policy=RetryPolicy(initial=100, adaptive=False, attempts=2)))

    async with (
        serving(handler) as server,
        open_client(*server.address, at_most_once=True, max_in_flight=200) as client,
    ):
        await client.request(b"first")
        scopes = [trio.CancelScope() for _ in range(100)]
        async with trio.open_nursery() as nursery:
            for number, scope in enumerate(scopes):
                nursery.start_soon(ask, client, b"%d" % number, scope)
                if not number:
                    await wait_all_tasks_blocked()
            await trio.sleep(1)
            assert len(answered) == 63
            if victim == "one that is held":
                held, _ = client._protocol.held.popitem()
                client._protocol.held[held] = None
                scopes[int(held.payload)].cancel()
                await wait_all_tasks_blocked()
            scopes[0].cancel()
        assert len(answered) == (99 if victim == "the oldest" else 98)
        assert (len(client._protocol.exchanges), len(client._protocol.held)) == (0, 0)


async def test_a_longer_reply_takes_a_cookie_and_no_padding(network: NetworkName) -> None:
    """E4, F7: bytes out for bytes in, counted at the sockets, until the client has shown its cookie."""
    async with (
        serving(lambda request: bytes(1000), host="127.0.0.1") as server,
        open_client(*server.address) as client,
    ):
        payload = bytes(20)
        assert [(await client.exchange(payload)).attempts for _ in range(3)] == [2, 1, 1]
        statistics = server.statistics()
        assert (statistics.cookies_granted, statistics.cookies_accepted, statistics.retries) == (1, 3, 1)


async def test_whatever_comes_no_more_goes_to_who_has_shown_nothing(network: NetworkName) -> None:
    """E4: bytes and datagrams, on real sockets, for good requests, requests with extensions, and junk."""
    random = Random(4)
    async with (
        serving(lambda request: bytes(1000), host="127.0.0.1") as server,
        asking_by_hand(server.address) as asking,
    ):
        attempt = asking.exchange.next_attempt(0.0)
        assert attempt is not None
        good = [
            attempt.datagram,
            TU1().encode_request(b"hello", bytes(16), 1, 0),
            TU1().encode_request(bytes(16), bytes(16), 1, 0),
            TU1().encode_request(b"", bytes(16), 1, 1200),
            TU1().encode_extended(b"", bytes(16), 1, 0, cookie=bytes(16), once=b""),
            TU1().encode_extended(b"", bytes(16), 1, 0, cookie=bytes(16), once=bytes(range(20))),
        ]
        for _ in range(500):
            datagram = bytearray(random.choice(good))
            if random.random() < 0.5:
                datagram[random.randrange(len(datagram))] ^= 1 << random.randrange(8)
            if random.random() < 0.3:
                del datagram[random.randrange(len(datagram)) :]
            await asking.send_again(bytes(datagram))
            answers = read_all(asking.sock)
            assert len(answers) <= 1
            assert sum(map(len, answers)) <= len(datagram)
        assert server.statistics().clients_held == 0


@given(
    loss=st.sampled_from([0.0, 0.2, 0.4]), duplicate=st.sampled_from([0.0, 0.3]), seed=st.integers(0, 2**32),
    rebinds=st.booleans(), many=st.booleans(),
)  # fmt: skip
@settings(max_examples=15)
def test_no_handler_runs_twice_on_a_bad_network_behind_a_nat(
    loss: float, duplicate: float, seed: int, rebinds: bool, many: bool
) -> None:
    """E1: real clients and servers, on the simulated network; every reply is that of the one run."""
    runs: list[bytes] = []
    replies: list[tuple[bytes, bytes]] = []

    async def handler(request: Request) -> bytes:
        runs.append(request.payload)
        number = len(runs)
        await trio.sleep(0.3 * (number % 3))
        return b"%s was number %d" % (request.payload, number)

    async def ask(client: Client, payload: bytes) -> None:
        with contextlib.suppress(NoReply):
            replies.append((payload, await client.request(payload)))

    async def ask_all(client: Client) -> None:
        payloads = [b"%d" % number for number in range(40)]
        if many:
            async with client.request_many(payloads) as results:
                replies.extend([(result.payload, result.reply.payload) async for result in results if result.reply])
        else:
            async with trio.open_nursery() as nursery:
                for payload in payloads:
                    nursery.start_soon(ask, client, payload)

    async def world(net: SimNet) -> None:
        nat = net.nat("home", "203.0.113.1")
        server, inside = net.host("server", "192.0.2.80"), net.host("inside", nat=nat)
        net.link(Conditions(latency=0.02, loss=loss, duplicate=duplicate, reorder=0.2))

        async def rebind() -> None:
            while True:
                await trio.sleep(0.7)
                nat.rebind()

        async with trio.open_nursery() as nursery:
            with server.here():
                await nursery.start(serve, handler, 1060)
            if rebinds:
                nursery.start_soon(rebind)
            with inside.here():
                async with open_client("192.0.2.80", 1060, at_most_once=True) as client:
                    await ask_all(client)
            nursery.cancel_scope.cancel()

    simulate(world, seed=seed)
    assert len(set(runs)) == len(runs)
    numbers = {payload: number for number, payload in enumerate(runs, 1)}
    assert replies == [(payload, b"%s was number %d" % (payload, numbers[payload])) for payload, _ in replies]
