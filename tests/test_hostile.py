"""Attacks on loopback, over every network: the book's unwelcome reply, forged sources and ICMP, floods and loops.

Nothing here sleeps. Loopback delivers within the call that sends, so what was sent has been read once all tasks wait.
"""

import functools
import logging
import os
import signal
import socket
import struct
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import Final

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

import trio_udp
from trio_udp import Address, Attempt, Book, Client, DropReason, Profile, Request, RetryPolicy, Server, open_client
from trio_udp._server import Handler
from trio_udp.testing import Packet

from .cli.command import Running
from .cli.command import serving as serving_in_a_process
from .networks import (
    NetworkName,
    address_of,
    direct,
    echo,
    kernel,
    network_fixture,  # noqa: F401 - pytest finds it by its name, network
    next_datagram,
    plain_socket,
    read_all,
    reply_to,
    serving,
    simulated_net,
)

PATIENT = RetryPolicy(initial=60, jitter=0, attempts=1)
FLOOD = 10_000
CHUNK = 64
"""Datagrams sent before the reader gets its turn: fewer than the smallest receive buffer holds."""


# The forger's tools. On the simulated network everybody has them.


@contextmanager
def raw_socket(protocol: int) -> Iterator[socket.socket]:
    """A socket that writes what it likes where the kernel would write the truth."""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, protocol) as sock:
        yield sock


def _may_forge() -> bool:
    try:
        with raw_socket(socket.IPPROTO_UDP):
            return True
    except PermissionError:
        return False


@pytest.fixture
def raw_sockets(request: pytest.FixtureRequest) -> None:
    """What a forger needs; skip where there is none."""
    if request.node.callspec.params["network"] != "simnet" and not _may_forge():
        pytest.skip("forging needs CAP_NET_RAW: run as root, or in `unshare -Urn` with the loopback up")


needs_raw_sockets = pytest.mark.usefixtures("raw_sockets")

Forge = Callable[[bytes, Address, Address], object]
"""Sends a datagram that says it comes from that address and port, to this one."""


@contextmanager
def forger() -> Iterator[Forge]:
    """Somebody who writes what they like where the network would write the truth."""
    net = simulated_net()
    if net is not None:
        yield net.inject
        return
    with raw_socket(socket.IPPROTO_UDP) as raw:

        def forge(data: bytes, source: Address, destination: Address) -> None:
            raw.bind((source.host, 0))
            header = struct.pack("!HHHH", source.port, destination.port, 8 + len(data), 0)
            raw.sendto(header + data, (destination.host, 0))

        yield forge


def forge_datagram(data: bytes, source: Address, destination: Address) -> None:
    """Send one such datagram."""
    with forger() as forge:
        forge(data, source, destination)


ICMP: Final = {3: "port unreachable", 4: "fragmentation needed"}


def forge_icmp(code: int, quoted: bytes, sender: Address, receiver: Address) -> None:
    """Tell the sender of a datagram, quoted, that its receiver cannot be reached; code 3: port, 4: too long."""
    net = simulated_net()
    if net is not None:
        net.inject_icmp(ICMP[code], Packet(quoted, sender, receiver), mtu=68)
        return
    udp = struct.pack("!HHHH", sender.port, receiver.port, 8 + len(quoted), 0) + quoted
    ends = socket.inet_aton(sender.host) + socket.inet_aton(receiver.host)
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, socket.IPPROTO_UDP, 0) + ends
    message = struct.pack("!BBHHH", 3, code, 0, 0, 68) + ip + udp
    with raw_socket(socket.IPPROTO_ICMP) as raw:
        raw.sendto(message[:2] + checksum(message) + message[4:], (sender.host, 0))


def checksum(data: bytes) -> bytes:
    """The Internet's (RFC 1071)."""
    total = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + bytes(len(data) % 2)))
    total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF)


class Question:
    """A request under way in a task of its own, as the forger's accomplice sees it."""

    def __init__(self, client: Client, nursery: trio.Nursery, payload: bytes = b"What time is it?") -> None:
        self.attempts: list[Attempt] = []
        self.reply: trio_udp.Reply | None = None
        self._client = client
        self._payload = payload
        nursery.start_soon(self._ask)

    async def _ask(self) -> None:
        self.reply = await self._client.exchange(self._payload, policy=PATIENT, on_attempt=self.attempts.append)

    @property
    def asker(self) -> Address:
        """Where the client waits for its answer."""
        return Address("127.0.0.1", self._client.address.port)

    async def dropped(self) -> dict[DropReason, int]:
        """The client's counters once it has read all there is; it must not have believed any of it."""
        await wait_all_tasks_blocked()
        assert self.reply is None
        return dict(self._client.statistics().dropped)


async def stop(server: Running) -> None:
    """Press ^Z, and wait until it has stopped."""
    server.process.send_signal(signal.SIGSTOP)
    await trio.to_thread.run_sync(os.waitid, os.P_PID, server.process.pid, os.WSTOPPED)


# The book's demonstrations


@kernel
@pytest.mark.parametrize(
    ("connect", "counted"), [(False, {DropReason.WRONG_PEER: 2}), (True, {})], ids=["unconnected", "connected"]
)
async def test_the_promiscuous_client_does_not_believe_the_unwelcome_reply(
    network: NetworkName, connect: bool, counted: dict[DropReason, int]
) -> None:
    """A1: the server is stopped, FAKE comes from another socket; after SIGCONT the real answer comes, and is believed.

    An unconnected client counts the stranger; for a connected one the kernel filters.
    """
    async with serving_in_a_process() as (server, port):
        await stop(server)
        opening = open_client("127.0.0.1", int(port), connect=connect)
        async with opening as client, trio.open_nursery() as nursery:
            question = Question(client, nursery)
            assert await question.dropped() == {}
            with plain_socket() as forger:
                forger.sendto(b"FAKE", question.asker)
                forger.sendto(reply_to(question.attempts[0].datagram, b"FAKE"), question.asker)
            assert await question.dropped() == counted
            server.process.send_signal(signal.SIGCONT)
        assert question.reply is not None
        assert (question.reply.payload, question.reply.peer) == (b"What time is it?", Address("127.0.0.1", int(port)))


@kernel
@needs_raw_sockets
@pytest.mark.parametrize("connect", [False, True])
async def test_a_forger_with_the_servers_own_address_is_not_believed(network: NetworkName, connect: bool) -> None:
    """A1, A5: `connect()` does not help against a raw socket; 128 bits that the forger cannot see do."""
    async with serving_in_a_process() as (server, port):
        real = Address("127.0.0.1", int(port))
        await stop(server)
        async with open_client(*real, connect=connect) as client, trio.open_nursery() as nursery:
            question = Question(client, nursery)
            assert await question.dropped() == {}
            reply = reply_to(question.attempts[0].datagram, b"FAKE")
            for forged in (b"FAKE", b"", reply[:8] + os.urandom(16) + reply[24:], question.attempts[0].datagram):
                forge_datagram(forged, real, question.asker)
            assert await question.dropped() == {
                DropReason.MALFORMED: 2,
                DropReason.UNKNOWN_REQUEST: 1,
                DropReason.WRONG_DIRECTION: 1,
            }
            server.process.send_signal(signal.SIGCONT)
        assert question.reply is not None
        assert question.reply.payload == b"What time is it?"


@kernel
@needs_raw_sockets
@pytest.mark.parametrize("connect", [False, True])
async def test_the_books_format_believes_a_forger_with_the_servers_own_address(
    network: NetworkName, connect: bool
) -> None:
    """The documented weakness, `verified: weak`: without an id, the source address is all there is to check."""
    async with serving_in_a_process("--profile", "book") as (server, port):
        real = Address("127.0.0.1", int(port))
        await stop(server)
        opening = open_client(*real, connect=connect, profile=Book())
        async with opening as client, trio.open_nursery() as nursery:
            question = Question(client, nursery)
            assert await question.dropped() == {}
            forge_datagram(b"FAKE", real, question.asker)
        assert question.reply is not None
        assert question.reply.payload == b"FAKE"


@needs_raw_sockets
async def test_who_sees_the_request_can_forge_its_reply(network: NetworkName) -> None:
    """The documented limit of a reply that is not authenticated: no secret is left."""
    with plain_socket() as silent:
        async with open_client(*address_of(silent)) as client, trio.open_nursery() as nursery:
            question = Question(client, nursery)
            assert await question.dropped() == {}
            seen = question.attempts[0].datagram
            forge_datagram(reply_to(seen, b"FAKE"), address_of(silent), question.asker)
        assert question.reply is not None
        assert (question.reply.payload, question.reply.authenticated) == (b"FAKE", False)


# ICMP


@needs_raw_sockets
@pytest.mark.parametrize("code", [3, 4], ids=["port unreachable", "fragmentation needed"])
@pytest.mark.parametrize("connect", [False, True])
async def test_forged_icmp_about_the_right_datagram_is_only_a_hint(
    network: NetworkName, autojump_clock: MockClock, connect: bool, code: int
) -> None:
    """G4, G5: a hundred of them end nothing and cost nothing; the next attempt leaves, and its reply is believed."""
    with plain_socket("127.83.7.4") as server:  # the kernel remembers a path MTU for minutes: not for 127.0.0.1
        opening = open_client(*address_of(server), connect=connect)
        async with opening as client, trio.open_nursery() as nursery:
            question = Question(client, nursery)
            data, peer = await next_datagram(server)
            for _ in range(100):
                forge_icmp(code, data, peer, address_of(server))
            assert await question.dropped() == {}
            other = Question(client, nursery, bytes(1000))  # longer than the forged path MTU
            other_data, _ = await next_datagram(server)
            assert client.statistics().endpoint.send_errors == {}
            server.sendto(reply_to(data, b"real"), peer)
            server.sendto(reply_to(other_data, b"real too"), peer)
        assert question.reply is not None
        assert other.reply is not None
        assert (question.reply.payload, other.reply.payload) == (b"real", b"real too")
        assert (question.reply.attempts, other.reply.attempts) == (1, 1)


@direct
@needs_raw_sockets
@pytest.mark.parametrize("connect", [False, True])
async def test_forged_icmp_about_other_datagrams_is_nothing(
    network: NetworkName, autojump_clock: MockClock, connect: bool
) -> None:
    """G5: it has to quote the request's ids to be so much as mentioned."""
    with plain_socket() as server, plain_socket() as stranger:
        opening = open_client(*address_of(server), connect=connect)
        async with opening as client, trio.open_nursery() as nursery:
            question = Question(client, nursery)
            data, peer = await next_datagram(server)
            for quote in (b"", data[:8], data[:23], data[:8] + bytes(16), os.urandom(100), reply_to(data, b"")):
                forge_icmp(3, quote, peer, address_of(server))
            forge_icmp(3, data, peer, address_of(stranger))
            assert await question.dropped() == {}
            (asked,) = client._protocol.exchanges._open[address_of(server)].values()
            hints = [asked.exchange.hint]
            forge_icmp(3, data, peer, address_of(server))
            assert await question.dropped() == {}
            hints.append(asked.exchange.hint)
            assert hints == [None, "ECONNREFUSED"]
            server.sendto(reply_to(data, b"real"), peer)
        assert question.reply is not None
        assert question.reply.payload == b"real"


# Floods


def junk(count: int) -> Iterator[bytes]:
    """Datagrams of all kinds that ask and answer nothing, the same ones every time."""
    random = Random(4)
    for number in range(count):
        data = random.randbytes(random.randrange(100))
        match number % 5:
            case 0:
                yield b""
            case 1:
                yield b"\x09" + data  # our version
            case 2:
                yield b"\x09\x81\0\1\0\0" + struct.pack("!H", len(data)) + random.randbytes(16) + data  # a whole REPLY
            case 3:
                yield b"\x09\x84\0\1\0\0\0\0" + random.randbytes(16)  # a whole BUSY
            case _:
                yield data


async def flood(sock: socket.socket, target: Address, datagrams: Iterator[bytes]) -> None:
    """Send them all, in portions that the target's receive buffer holds."""
    for number, data in enumerate(datagrams):
        sock.sendto(data, target)
        if number % CHUNK == CHUNK - 1:
            await wait_all_tasks_blocked()
    await wait_all_tasks_blocked()


@contextmanager
def at_most_one_mebibyte() -> Iterator[None]:
    """The block may not leave more memory behind than that (E7)."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        yield
        assert tracemalloc.get_traced_memory()[0] - before <= 2**20
    finally:
        tracemalloc.stop()


async def test_ten_thousand_junk_datagrams_at_a_client_change_only_counters(
    network: NetworkName, autojump_clock: MockClock
) -> None:
    """A1, A2, E7: half from the server's own address, half from a stranger; then the real reply is believed."""
    with plain_socket() as server, plain_socket() as stranger:
        opening = open_client(*address_of(server), connect=False)
        async with opening as client, trio.open_nursery() as nursery:
            question = Question(client, nursery)
            data, peer = await next_datagram(server)
            with at_most_one_mebibyte():
                await flood(server, peer, junk(FLOOD // 2))
                await flood(stranger, peer, junk(FLOOD // 2))
            dropped = await question.dropped()
            assert sum(dropped.values()) == FLOOD == client.statistics().endpoint.datagrams_received
            assert dropped[DropReason.WRONG_PEER] == FLOOD // 2
            assert client.statistics().in_flight == 1
            assert len(client._protocol.exchanges) == 1
            server.sendto(reply_to(data, b"real"), peer)
        assert question.reply is not None
        assert (question.reply.payload, question.reply.attempts) == (b"real", 1)


async def test_ten_thousand_junk_datagrams_at_a_server_change_only_counters(
    network: NetworkName, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """E5, E7: none is answered, none is logged, and honest requests between them are answered as ever."""
    with caplog.at_level(logging.DEBUG):
        async with serving(echo, host="127.0.0.1") as server, open_client(*server.address) as client:
            with plain_socket() as stranger, at_most_one_mebibyte():
                for portion in range(10):
                    await flood(stranger, server.address, junk(FLOOD // 10))
                    assert await client.request(bytes([portion])) == bytes([portion])
                assert read_all(stranger) == []
            statistics = server.statistics()
    assert sum(statistics.dropped.values()) == FLOOD
    assert (statistics.requests, statistics.errors, statistics.handlers) == (10, 0, 0)
    assert caplog.records == []


@needs_raw_sockets
async def test_ten_thousand_spoofed_sources_leave_no_trace(network: NetworkName, autojump_clock: MockClock) -> None:
    """E2, E7: whole requests, each from another address and port; each is answered, and none remembered."""
    with plain_socket() as server:
        async with open_client(*address_of(server)) as client, trio.open_nursery() as nursery:
            question = Question(client, nursery)
            assert await question.dropped() == {}
            request = question.attempts[0].datagram
            nursery.cancel_scope.cancel()
    async with serving(echo, host="127.0.0.1") as victim:
        with forger() as forge, at_most_one_mebibyte():
            for number in range(FLOOD):
                if number % CHUNK == 0:
                    await wait_all_tasks_blocked()
                forge(request, Address("127.0.0.1", 1 + number), victim.address)
            await wait_all_tasks_blocked()
        assert victim.statistics().requests >= FLOOD - 1


async def test_thousands_of_forged_replies_before_the_real_one(network: NetworkName, autojump_clock: MockClock) -> None:
    """A1, A2, A5: from the right address, of the right shape, with everything right but the ids."""
    with plain_socket() as server:
        async with open_client(*address_of(server)) as client, trio.open_nursery() as nursery:
            question = Question(client, nursery)
            data, peer = await next_datagram(server)
            reply = reply_to(data, b"FAKE")
            random = Random(5)
            forged = (
                [reply[:8] + random.randbytes(16) + reply[24:] for _ in range(2000)]  # both ids wrong
                + [reply[:16] + random.randbytes(8) + reply[24:] for _ in range(2000)]  # the request's
                + [reply[:8] + random.randbytes(8) + reply[16:] for _ in range(2000)]  # the client's
            )
            await flood(server, peer, iter(forged))
            assert await question.dropped() == {DropReason.UNKNOWN_REQUEST: 6000}
            server.sendto(reply_to(data, b"real"), peer)
        assert question.reply is not None
        assert question.reply.payload == b"real"


# The server as a weapon


def books_sentence(request: Request) -> bytes:
    """What `udp_local.py` answers."""
    return f"Your data was {len(request.payload)} bytes long".encode()


@needs_raw_sockets
@pytest.mark.parametrize(
    ("profile", "handler", "injected"),
    [
        (trio_udp.TU1(), echo, b"\x09\x01\0\1\0\0\0\5" + bytes(16) + b"hello"),
        (trio_udp.TU1(), echo, b"\x09\x81\0\1\0\0\0\5" + bytes(16) + b"hello"),
        (trio_udp.TU1(), lambda request: bytes(1000), b"\x09\x01\0\1\0\0\0\5" + bytes(16) + b"hello"),
        (trio_udp.TU1(), echo, b"junk"),
        (Book(), books_sentence, b"hello"),
        (Book(), books_sentence, b"Your data was 5 bytes long"),
        (Book(), books_sentence, b"\x80"),
    ],
    ids=["request", "reply", "request answered RETRY", "junk", "book", "book's answer", "book's junk"],
)
async def test_two_servers_do_not_answer_each_other(
    network: NetworkName, autojump_clock: MockClock, profile: Profile, handler: Handler, injected: bytes
) -> None:
    """E5: after a datagram that says it comes from the other, at most one follows (two of the book's: 75,418)."""
    start = functools.partial(serving, handler, host="127.0.0.1", profile=profile)
    async with start() as one, start() as other:
        forge_datagram(injected, other.address, one.address)
        await wait_all_tasks_blocked()
        assert sent_by(one) + sent_by(other) <= 1
        forge_datagram(injected, one.address, one.address)
        await wait_all_tasks_blocked()
        assert sent_by(one) + sent_by(other) <= 2


def sent_by(server: Server) -> int:
    """Datagrams that left its sockets."""
    return sum(endpoint.datagrams_sent for endpoint in server.statistics().endpoints.values())


@needs_raw_sockets
async def test_a_server_survives_a_source_that_cannot_be_answered(
    network: NetworkName, autojump_clock: MockClock
) -> None:
    """E7, G6: port 0 is no place to send to; the next request is answered."""
    async with serving(echo, host="127.0.0.1") as server:
        forge_datagram(b"\x09\x01\0\1\0\0\0\5" + bytes(16) + b"hello", Address("127.0.0.1", 0), server.address)
        await wait_all_tasks_blocked()
        assert (server.statistics().requests, server.statistics().unanswered) == (1, 1)
        async with open_client(*server.address) as client:
            assert await client.request(b"?") == b"?"


async def test_a_stranger_gets_no_more_than_it_sent(network: NetworkName, autojump_clock: MockClock) -> None:
    """E4: bytes out ≤ bytes in, datagrams out ≤ datagrams in, whatever the handler returns or does."""

    def whatever(request: Request) -> bytes:
        if request.payload.startswith(b"f"):
            raise KeyError("a bug of the handler's")
        return bytes(1200)

    async with serving(whatever, host="127.0.0.1") as server:
        with plain_socket() as stranger:
            for size in (0, 1, 2, 10, 100, 1175, 1176, 1200, 1300):
                for first in (b"f", b"x"):
                    payload = (first * size)[:size]
                    request = b"\x09\x01\0\1\0\0" + struct.pack("!H", size) + bytes(16) + payload
                    stranger.sendto(request, server.address)
                    await wait_all_tasks_blocked()
                    answers = read_all(stranger)
                    assert len(answers) <= 1
                    assert sum(map(len, answers)) <= len(request)
