"""The asking side, over every network: what a request gives, when it is sent again, whom it believes, how it ends."""

import errno
import itertools
import socket
from typing import Any, cast

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

import trio_udp
from trio_udp import BOOK, Address, Attempt, Book, Client, DropReason, NoReply, Request, RetryPolicy, open_client
from trio_udp._endpoint import _TRIES
from trio_udp._net._ancillary import NOTHING
from trio_udp._net._batch import Batch, Datagram
from trio_udp._pump import BACKLOG

from .networks import (
    LOOPBACKS,
    LOST,
    DelegatingFactory,
    Names,
    NetworkName,
    address_of,
    at_most_steps,
    awaitable,
    dead_address,
    descriptors,
    direct,
    echo,
    faults_of,
    needs_ipv6,
    network_fixture,  # noqa: F401 - pytest finds it by its name, network
    next_datagram,
    plain_socket,
    read_all,
    reply_to,
    serving,
)

ONCE = RetryPolicy(initial=100, jitter=0, attempts=1)
STEADY = RetryPolicy(initial=1, jitter=0, adaptive=False, attempts=5)


class Attempts:
    """When attempts were made, in seconds from the first."""

    def __init__(self) -> None:
        self._made: list[float] = []

    def note(self, attempt: Attempt) -> None:
        """An `on_attempt`."""
        self._made.append(trio.current_time())

    @property
    def at(self) -> list[float]:
        """Rounded to the microsecond: sums of floats are compared."""
        return [round(moment - self._made[0], 6) for moment in self._made]


async def ask(client: Client, payload: bytes, answers: dict[bytes, bytes]) -> None:
    """Ask in a task of its own, and write the answer down."""
    answers[payload] = await client.request(payload)


def nothing_is_open(client: Client) -> bool:
    """Whether no request has left anything behind (A9, G9)."""
    return (
        len(client._protocol.exchanges) == 0
        and not client._pump.parked
        and client._pump.reader is None
        and client._turns.taken == 0
    )


# Asking


@pytest.mark.parametrize("host", LOOPBACKS)
@pytest.mark.parametrize("connect", [True, False])
@pytest.mark.parametrize("payload", [b"", b"What time is it?", bytes(1200)], ids=["empty", "short", "longest"])
async def test_a_request_is_answered_with_its_reply(
    network: NetworkName, host: str, connect: bool, payload: bytes
) -> None:
    """G3: a zero-length payload is a payload, both ways; the longest fits."""
    async with serving(echo, host=host) as server, open_client(*server.address, connect=connect) as client:
        assert await client.request(payload) == payload
        reply = await client.exchange(payload)
    assert (reply.payload, reply.attempts, reply.peer, reply.authenticated) == (payload, 1, server.address, False)
    assert 0 <= reply.rtt < 60
    assert reply.hop_limit is None or 0 < reply.hop_limit <= 255
    assert client.servers == (server.address,)
    assert client.address.port != 0
    assert client.profile.name == "tu1"
    assert nothing_is_open(client)


@pytest.mark.parametrize("limit", [0, 10, 1200])
async def test_a_payload_too_large_is_refused_before_anything_is_sent(network: NetworkName, limit: int) -> None:
    """G1: with size and limit in the error, which is a `ValueError`."""
    with plain_socket() as server:
        async with open_client(*address_of(server), max_payload=limit) as client:
            with pytest.raises(trio_udp.PayloadTooLarge, match=f"at most {limit} bytes, got {limit + 1}$") as caught:
                await client.request(bytes(limit + 1))
            assert (caught.value.size, caught.value.limit) == (limit + 1, limit)
            assert isinstance(caught.value, ValueError)
            assert nothing_is_open(client)
        assert read_all(server) == []


async def test_a_payload_the_profile_cannot_carry_is_refused_before_anything_is_sent(network: NetworkName) -> None:
    """The book's format is ASCII text."""
    with plain_socket() as server:
        async with open_client(*address_of(server), profile=Book()) as client:
            with pytest.raises(ValueError, match="expected ASCII text"):
                await client.request(b"\x80")
            assert nothing_is_open(client)
        assert read_all(server) == []


async def test_a_payload_that_is_not_bytes_is_refused_before_anything_is_sent(network: NetworkName) -> None:
    """With a sentence that says so, and not from within the wire format."""
    with plain_socket() as server:
        async with open_client(*address_of(server)) as client:
            with pytest.raises(TypeError, match=r"^expected the payload to be bytes, got str$"):
                await client.request(cast("bytes", "text"))
            assert nothing_is_open(client)
        assert read_all(server) == []


async def test_a_reply_longer_than_its_request_comes_after_padding(network: NetworkName) -> None:
    """E4: a stranger is sent no more than it sent; the client learns it, and pads the next request at once."""

    def describe(request: Request) -> bytes:
        return b"a long story " * 50

    async with serving(describe) as server, open_client("127.0.0.1", server.address.port) as client:
        first = await client.exchange(b"?")
        second = await client.exchange(b"?")
        assert (len(first.payload), first.attempts) == (650, 2)
        assert (len(second.payload), second.attempts) == (650, 1)
        statistics = server.statistics()
    assert (statistics.requests, statistics.retries, statistics.replies) == (3, 1, 2)


async def test_a_reply_that_never_fits_is_an_error_that_says_what_to_do(network: NetworkName) -> None:
    """At once, not at the schedule's end."""
    async with (
        serving(lambda request: bytes(2000)) as server,
        open_client(*server.address, max_payload=100) as client,
    ):
        with pytest.raises(trio_udp.RemoteError, match=r"does not fit: raise max_payload, which is 100 bytes$"):
            await client.request(b"?")
        assert nothing_is_open(client)


@pytest.mark.parametrize("any_host", ["0.0.0.0", pytest.param("::", marks=needs_ipv6)])  # noqa: S104 - asked, not bound
async def test_the_unspecified_address_can_be_asked(network: NetworkName, any_host: str) -> None:
    """A7: it is this host, and its reply is believed though it comes from the loopback address."""
    async with serving(echo, host=any_host) as server:
        for connect in (True, False):
            async with open_client(any_host, server.address.port, connect=connect) as client:
                assert await client.request(b"?") == b"?"
            async with open_client(*server.address, connect=connect) as client:
                assert await client.request(b"!") == b"!"


@pytest.mark.parametrize("port", [0, -1, 65_536])
async def test_a_port_that_cannot_be_asked_is_refused(network: NetworkName, port: int) -> None:
    """A7: port 0 is no place."""
    with pytest.raises(ValueError, match=f"^expected a port from 1 to 65535, got {port}$"):
        async with open_client("127.0.0.1", port):
            pytest.fail("opened")
    with pytest.raises(ValueError, match=r"^expected a port from 1 to 65535"):
        async with open_client(servers=[("127.0.0.1", 1060), ("127.0.0.1", port)]):
            pytest.fail("opened")


BAD_ARGUMENTS: dict[str, tuple[dict[str, Any], str]] = {
    "nobody": ({}, "expected a host and a port, or servers="),
    "no port": ({"host": "127.0.0.1"}, "expected a host and a port, or servers="),
    "no host": ({"port": 1060}, "expected a host and a port, or servers="),
    "both": ({"host": "127.0.0.1", "servers": [("127.0.0.1", 1060)]}, "expected either a host and a port or servers="),
    "no servers": ({"servers": []}, "expected at least one server, got none"),
    "max_payload": ({"host": "::1", "port": 9, "max_payload": -1}, "expected max_payload to be at least 0, got -1"),
    "in_flight": ({"host": "::1", "port": 9, "max_in_flight": 0}, "expected max_in_flight to be at least 1, got 0"),
    "no scope": (
        {"host": "fe80::1", "port": 9},
        "expected a link-local address with a scope, as fe80::1%eth0, got fe80::1",
    ),
    "connect to two": (
        {"servers": [("127.0.0.1", 9), ("127.0.0.2", 9)], "connect": True},
        "expected one address to connect to, got 2: 127.0.0.1:9, 127.0.0.2:9",
    ),
}


@pytest.mark.parametrize(("arguments", "message"), BAD_ARGUMENTS.values(), ids=BAD_ARGUMENTS)
async def test_arguments_without_sense_are_refused(arguments: dict[str, Any], message: str) -> None:
    """Each with a sentence that says what was expected."""
    with pytest.raises(ValueError, match=message):
        async with open_client(**arguments):
            pytest.fail("opened")


# Sending again


async def test_the_books_schedule_is_kept_to_the_tick(network: NetworkName, autojump_clock: MockClock) -> None:
    """C5: sends at 0, 0.1, 0.3, 0.7 and 1.5 s, and gives up at 3.1 s, with the facts in the error."""
    with plain_socket() as silent:
        async with open_client(*address_of(silent)) as client:
            attempts = Attempts()
            began = trio.current_time()
            with pytest.raises(NoReply) as caught:
                await client.exchange(b"?", policy=BOOK, on_attempt=attempts.note)
            assert trio.current_time() - began == pytest.approx(3.1)
            assert nothing_is_open(client)
        assert attempts.at == [0, 0.1, 0.3, 0.7, 1.5]
        assert len(read_all(silent)) == 5
        error = caught.value
    assert isinstance(error, trio.TooSlowError)
    assert error.elapsed == pytest.approx(3.1)
    assert (error.servers, error.attempts, error.hint) == (client.servers, 5, None)
    assert str(error) == f"no reply from {client.servers[0]} after 5 attempts in 3.1 s"


async def test_the_default_schedule_backs_off_with_one_factor_of_jitter(
    network: NetworkName, autojump_clock: MockClock
) -> None:
    """C1, C3, C4: waits of 1, 2, 4, 8 and 16 s, all stretched by the same factor from 1 to 1.5."""
    with plain_socket() as silent:
        async with open_client(*address_of(silent)) as client:
            attempts = Attempts()
            with pytest.raises(NoReply) as caught:
                await client.exchange(b"?", on_attempt=attempts.note)
    factor = caught.value.elapsed / 31
    assert 1 <= factor <= 1.5
    assert attempts.at == [round(share * factor, 6) for share in (0, 1, 3, 7, 15)]


@pytest.mark.parametrize("seconds", [0.05, 0.1, 0.25, 1.5, 3.0])
@pytest.mark.parametrize("connect", [True, False])
async def test_the_callers_deadline_wins_exactly(
    network: NetworkName, autojump_clock: MockClock, seconds: float, connect: bool
) -> None:
    """C4: Trio's own error, at that time, whatever the schedule says."""
    with plain_socket() as silent:
        async with open_client(*address_of(silent), connect=connect, policy=BOOK) as client:
            began = trio.current_time()
            with pytest.raises(trio.TooSlowError) as caught, trio.fail_after(seconds):
                await client.request(b"?")
            assert trio.current_time() - began == pytest.approx(seconds)
            assert not isinstance(caught.value, NoReply)
            assert nothing_is_open(client)


async def test_a_cancelled_request_may_be_cancelled_from_the_start(
    network: NetworkName, autojump_clock: MockClock
) -> None:
    """C4: it ends at its first checkpoint, and the client is as before."""
    async with serving(echo) as server, open_client(*server.address) as client:
        with trio.move_on_after(0) as scope:
            await client.request(b"?")
        assert scope.cancelled_caught
        assert nothing_is_open(client)
        assert await client.request(b"!") == b"!"


async def test_a_lost_request_is_sent_again(network: NetworkName, autojump_clock: MockClock) -> None:
    """C2: the echoed attempt makes the RTT sample exact, however long the request took."""

    async def third_time_lucky(request: Request) -> bytes | None:
        await trio.sleep(0.25)
        return str(request.attempt).encode() if request.attempt == 3 else None

    async with serving(third_time_lucky) as server, open_client(*server.address) as client:
        attempts = Attempts()
        reply = await client.exchange(b"?", policy=STEADY, on_attempt=attempts.note)
        assert attempts.at == [0, 1, 3]
        assert (reply.payload, reply.attempts) == (b"3", 3)
        assert reply.rtt == pytest.approx(0.25)
        assert client.statistics().smoothed_rtt == {client.servers[0]: pytest.approx(0.25)}


async def test_the_measured_round_trip_sets_the_next_timeout(network: NetworkName, autojump_clock: MockClock) -> None:
    """C1: RFC 6298: 0.4 s measured once make a timeout of 0.4 + 4 * 0.2 s."""

    async def slow_or_silent(request: Request) -> bytes | None:
        await trio.sleep(0.4)
        return request.payload or None

    async with serving(slow_or_silent) as server, open_client(*server.address) as client:
        await client.request(b"measure")
        attempts = Attempts()
        with pytest.raises(NoReply):
            await client.exchange(b"", policy=RetryPolicy(jitter=0, attempts=3), on_attempt=attempts.note)
    assert attempts.at == [0, 1.2, 3.6]


async def test_a_lost_reply_is_made_good(network: NetworkName, autojump_clock: MockClock) -> None:
    """The server's handler runs once for each attempt that arrives."""
    async with serving(echo) as server, open_client(*server.address) as client:
        faults_of(server._endpoints[0]._transport).sends.extend([LOST, LOST])
        reply = await client.exchange(b"?", policy=STEADY)
        assert reply.attempts == 3
        assert server.statistics().requests == 3


@pytest.mark.parametrize("name", ["ENOBUFS", "EPERM", "ENETUNREACH", "EHOSTUNREACH"])
async def test_a_datagram_that_cannot_be_sent_costs_one_attempt(
    network: NetworkName, autojump_clock: MockClock, name: str
) -> None:
    """G6: the next one comes on schedule, and the error is counted."""
    async with serving(echo) as server, open_client(*server.address) as client:
        own = name in ("ENOBUFS", "EPERM")  # the others may be about an earlier datagram: tried again
        faults_of(client._endpoint._transport).sends.extend([getattr(errno, name)] * (4 if own else 2 * _TRIES))
        attempts = Attempts()
        reply = await client.exchange(b"?", policy=STEADY, on_attempt=attempts.note)
        lost = 4 if own else 2
        assert reply.attempts == lost + 1
        assert attempts.at == [0, 1, 3, 7, 15][: lost + 1]
        assert client.statistics().endpoint.send_errors == {name: lost}


async def test_a_request_that_can_never_be_sent_says_why(network: NetworkName, autojump_clock: MockClock) -> None:
    """G6: it ends with its schedule, and the last error is in the sentence."""
    with plain_socket() as silent:
        async with open_client(*address_of(silent)) as client:
            faults_of(client._endpoint._transport).sends.extend([errno.EPERM] * 5)
            with pytest.raises(NoReply, match=r"after 5 attempts in 3\.1 s \(last error: EPERM\)$") as caught:
                await client.request(b"?", policy=BOOK)
    assert caught.value.hint == "EPERM"


async def test_one_pending_emsgsize_changes_nothing(network: NetworkName, autojump_clock: MockClock) -> None:
    """G4: the datagram it was reported for instead of being sent is sent again, as the same attempt."""
    async with serving(echo) as server, open_client(*server.address) as client:
        faults_of(client._endpoint._transport).sends.append(errno.EMSGSIZE)
        assert (await client.exchange(b"?")).attempts == 1


async def test_a_request_that_waits_for_its_turn_makes_no_attempt_once_the_client_is_closed(
    network: NetworkName, autojump_clock: MockClock
) -> None:
    """G10: it ends with `ClosedResourceError` as the others do, and `on_attempt` does not hear of it."""
    with plain_socket() as server:
        attempts = Attempts()
        async with open_client(*address_of(server), max_in_flight=1) as client, trio.open_nursery() as nursery:

            async def ask() -> None:
                with pytest.raises(trio.ClosedResourceError):
                    await client.exchange(b"?", on_attempt=attempts.note)

            nursery.start_soon(ask)
            nursery.start_soon(ask)
            await wait_all_tasks_blocked()
            client.close_nowait()
        assert attempts.at == [0]


@awaitable
async def test_a_reply_that_comes_during_a_failing_send_ends_the_request(
    network: NetworkName, autojump_clock: MockClock
) -> None:
    """A2: the reply is read by another task while attempt 2 hangs in a full buffer; then that send fails."""
    room = trio.Event()
    with plain_socket() as server:
        async with open_client(*address_of(server), connect=False) as client, trio.open_nursery() as nursery:
            nursery.start_soon(_no_reply, client, b"another request, which reads for both", ONCE)
            await next_datagram(server)
            faults_of(client._endpoint._transport).sends.extend([None, room, errno.ENOBUFS])
            attempts = Attempts()
            began = trio.current_time()

            async def ask() -> None:
                reply = await client.exchange(b"?", policy=STEADY, on_attempt=attempts.note)
                assert (reply.payload, reply.attempts) == (b"!", 2)
                assert trio.current_time() - began == pytest.approx(1.5)

            nursery.start_soon(ask)
            data, peer = await next_datagram(server)
            await trio.sleep(1.25)  # attempt 2 was made at 1 s
            server.sendto(reply_to(data, b"!"), peer)
            await trio.sleep(0.25)
            room.set()


async def _no_reply(client: Client, payload: bytes, policy: RetryPolicy) -> None:
    with pytest.raises(NoReply):
        await client.request(payload, policy=policy)


# ICMP


async def test_a_dead_port_is_hinted_at_and_the_schedule_goes_on(
    network: NetworkName, autojump_clock: MockClock
) -> None:
    """G5: anyone can forge an ICMP error, so it ends nothing."""
    dead = dead_address()
    async with open_client(*dead) as client:
        attempts = Attempts()
        with at_most_steps(1_000), pytest.raises(NoReply) as caught:
            await client.exchange(b"?", policy=BOOK, on_attempt=attempts.note)
        assert attempts.at == [0, 0.1, 0.3, 0.7, 1.5]
        assert caught.value.elapsed == pytest.approx(3.1)
        assert client.statistics().endpoint.hints == {"ECONNREFUSED": 5}
        assert client.statistics().endpoint.send_errors == {}


@direct
@pytest.mark.parametrize("host", LOOPBACKS)
@pytest.mark.parametrize("connect", [True, False])
async def test_the_kernel_says_which_request_met_a_dead_port(
    network: NetworkName, autojump_clock: MockClock, host: str, connect: bool
) -> None:
    """G5: the error queue quotes the request, so the hint is in its error."""
    dead = dead_address(host)
    async with open_client(*dead, connect=connect) as client:
        with pytest.raises(NoReply, match=r"\(last error: ECONNREFUSED\)$") as caught:
            await client.request(b"?", policy=BOOK)
        assert (caught.value.attempts, caught.value.hint) == (5, "ECONNREFUSED")
        assert client.statistics().endpoint.hints == {"ECONNREFUSED": 5}


async def test_a_server_that_comes_up_late_is_still_heard(network: NetworkName, autojump_clock: MockClock) -> None:
    """G5: the book's client dies of ECONNREFUSED; this one waits for the server to start."""
    dead = dead_address()
    with at_most_steps(2_000):
        async with open_client(*dead) as client, trio.open_nursery() as nursery:
            answers: dict[bytes, bytes] = {}
            nursery.start_soon(ask, client, b"?", answers)
            await trio.sleep(0.5)
            async with serving(echo, dead.port, host=dead.host):
                while not answers:
                    await trio.sleep(1)
    assert answers == {b"?": b"?"}


# Several servers


async def test_a_dead_server_fails_over(network: NetworkName, autojump_clock: MockClock) -> None:
    """At once where ICMP says so, after an even share of the wait where nobody does."""
    dead = dead_address()
    async with serving(echo) as server:
        with at_most_steps(2_000):
            async with open_client(servers=[dead, ("127.0.0.1", server.address.port)], policy=BOOK) as client:
                began = trio.current_time()
                reply = await client.exchange(b"?")
                elapsed = trio.current_time() - began
    assert reply.peer == Address("127.0.0.1", server.address.port)
    assert reply.attempts == 2
    assert elapsed == 0 if network == "kernel" else elapsed <= 0.05


async def test_a_silent_server_fails_over_and_the_one_that_answers_is_asked_first(
    network: NetworkName, autojump_clock: MockClock
) -> None:
    """The dead one costs a fraction of a wait, once."""
    with plain_socket() as silent:
        async with serving(echo) as server:
            living = Address("127.0.0.1", server.address.port)
            async with open_client(servers=[address_of(silent), living], policy=BOOK) as client:
                attempts = Attempts()
                reply = await client.exchange(b"?", on_attempt=attempts.note)
                assert (reply.peer, reply.attempts) == (living, 2)
                assert attempts.at == [0, 0.05]
                assert client.servers == (living, address_of(silent))
                assert (await client.exchange(b"?")).attempts == 1
            assert len(read_all(silent)) == 1


async def test_servers_that_are_all_silent_are_all_in_the_error(
    network: NetworkName, autojump_clock: MockClock
) -> None:
    """C6: each has the whole schedule to itself, the second one's begins half a wait later."""
    with plain_socket() as one, plain_socket("127.0.0.2") as two:
        servers = (address_of(one), address_of(two))
        async with open_client(servers=servers) as client:
            with pytest.raises(NoReply) as caught:
                await client.request(b"?", policy=BOOK)
        assert len(read_all(one)) == len(read_all(two)) == 5
    assert (caught.value.servers, caught.value.attempts) == (servers, 10)
    assert str(caught.value).startswith(f"no reply from {servers[0]}, {servers[1]} after 10 attempts in 3.")
    assert caught.value.elapsed == pytest.approx(3.15)


async def test_the_first_good_answer_wins(network: NetworkName, autojump_clock: MockClock) -> None:
    """A3: the other server's comes too late."""
    with plain_socket() as one, plain_socket("127.0.0.2") as two:
        async with open_client(servers=[address_of(one), address_of(two)], policy=STEADY) as client:
            answers: dict[bytes, bytes] = {}
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask, client, b"?", answers)
                to_one, peer = await next_datagram(one)
                to_two, _ = await next_datagram(two)
                two.sendto(reply_to(to_two, b"two"), peer)
                one.sendto(reply_to(to_one, b"one"), peer)
            assert answers == {b"?": b"two"}
            two.sendto(reply_to(to_two, b"two"), peer)
            one.sendto(reply_to(to_one, b"one"), peer)
            await _read_what_came(client)
            assert client.statistics().dropped == {DropReason.DUPLICATE: 1, DropReason.LATE: 2}


async def test_a_server_cannot_answer_for_another(network: NetworkName, autojump_clock: MockClock) -> None:
    """A8: each has ids of its own, and knowing another's does not help."""
    with plain_socket() as one, plain_socket("127.0.0.2") as two:
        async with open_client(servers=[address_of(one), address_of(two)], policy=STEADY) as client:
            answers: dict[bytes, bytes] = {}
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask, client, b"?", answers)
                to_one, peer = await next_datagram(one)
                to_two, _ = await next_datagram(two)
                one.sendto(reply_to(to_two, b"liar"), peer)
                two.sendto(reply_to(to_one, b"liar"), peer)
                await wait_all_tasks_blocked()
                assert client.statistics().dropped == {DropReason.UNKNOWN_REQUEST: 2}
                one.sendto(reply_to(to_one, b"honest"), peer)
            assert answers == {b"?": b"honest"}


async def _read_what_came(client: Client) -> None:
    """Have the client read what waits in its socket: it reads only while it asks."""
    with trio.move_on_after(0.1):
        await client.request(b"anything", policy=ONCE)


@needs_ipv6
async def test_all_addresses_of_a_name_are_asked(network: NetworkName, autojump_clock: MockClock) -> None:
    """The order is the resolver's; the family can be chosen."""
    trio.socket.set_custom_hostname_resolver(Names({"service": ["::1", "127.0.0.2", "127.0.0.1"]}))
    async with serving(echo, host="127.0.0.1") as server:
        port = server.address.port
        with at_most_steps(2_000):
            async with open_client("service", port) as client:
                assert client.servers == (Address("::1", port), Address("127.0.0.2", port), Address("127.0.0.1", port))
                assert (await client.exchange(b"?")).peer == server.address
        async with open_client("service", port, family=socket.AF_INET6) as client:
            assert client.servers == (Address("::1", port),)


async def test_an_address_named_twice_is_one_server(network: NetworkName) -> None:
    """A6: by whichever spelling."""
    servers = [("127.0.0.1", 9), ("::ffff:127.0.0.1", 9), ("0.0.0.0", 9)]  # noqa: S104 - asked, not bound
    async with open_client(servers=servers) as client:
        assert client.servers == (Address("127.0.0.1", 9),)


async def test_a_name_without_address_is_the_resolvers_error(network: NetworkName) -> None:
    """Before any socket is opened."""
    trio.socket.set_custom_hostname_resolver(Names({}))
    with pytest.raises(socket.gaierror):
        async with open_client("nobody", 1060):
            pytest.fail("opened")


# Hosts that lack something


class PoorFactory(DelegatingFactory):
    """Sockets of a host where opening or connecting some of them fails with this errno."""

    def __init__(self, error: int, *, no_ipv6: bool = False, no_connect: bool = False) -> None:
        self._error = error
        self._no_ipv6 = no_ipv6
        self._no_connect = no_connect

    def socket(self, family: int = socket.AF_INET, kind: int = socket.SOCK_STREAM, proto: int = 0) -> Any:
        """See `trio.abc.SocketFactory.socket`."""
        if self._no_ipv6 and family == socket.AF_INET6:
            raise OSError(self._error, "injected")
        sock = super().socket(family, kind, proto)
        if self._no_connect:
            sock.connect = self._connect
        return sock

    async def _connect(self, address: tuple[Any, ...]) -> None:
        await trio.lowlevel.checkpoint()
        raise OSError(self._error, "injected")


@awaitable
async def test_a_kernel_without_ipv6_asks_a_names_ipv4_addresses(network: NetworkName) -> None:
    """A name may have both."""
    trio.socket.set_custom_hostname_resolver(Names({"service": ["::1", "127.0.0.1"], "modern": ["::1"]}))
    trio.socket.set_custom_socket_factory(PoorFactory(errno.EAFNOSUPPORT, no_ipv6=True))
    async with serving(echo) as server:
        async with open_client("service", server.address.port) as client:
            assert client.servers == (Address("127.0.0.1", server.address.port),)
            assert await client.request(b"?") == b"?"
        with pytest.raises(OSError, match="injected"):
            async with open_client("modern", server.address.port):
                pytest.fail("opened")


@awaitable
@pytest.mark.parametrize("name", ["ENETUNREACH", "EHOSTUNREACH"])
async def test_a_host_without_a_route_opens_the_client_all_the_same(network: NetworkName, name: str) -> None:
    """G6: there may be one by the time of the next attempt; the socket is not connected then."""
    trio.socket.set_custom_socket_factory(PoorFactory(getattr(errno, name), no_connect=True))
    async with serving(echo) as server, open_client(*server.address) as client:
        assert await client.request(b"?") == b"?"


async def test_another_error_of_connect_is_the_callers(network: NetworkName) -> None:
    """G9: and no descriptor is left."""
    before = descriptors()
    with pytest.raises(PermissionError):
        async with open_client("127.255.255.255", 1060):
            pytest.fail("opened")
    assert descriptors() == before


# Strangers


@pytest.mark.parametrize("connect", [True, False])
async def test_a_stranger_is_not_believed(network: NetworkName, autojump_clock: MockClock, connect: bool) -> None:
    """A1: the right ids from the wrong address: dropped by the kernel if connected, counted by us otherwise."""
    with plain_socket() as server, plain_socket() as stranger, plain_socket("127.0.0.2") as other_host:
        async with open_client(*address_of(server), connect=connect) as client:
            answers: dict[bytes, bytes] = {}
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask, client, b"?", answers)
                data, peer = await next_datagram(server)
                stranger.sendto(reply_to(data, b"FAKE"), peer)
                other_host.sendto(reply_to(data, b"FAKE"), peer)
                await wait_all_tasks_blocked()
                assert client.statistics().dropped == ({} if connect else {DropReason.WRONG_PEER: 2})
                server.sendto(reply_to(data, b"real"), peer)
            assert answers == {b"?": b"real"}


async def test_a_late_answer_is_dropped_after_its_request_was_cancelled(
    network: NetworkName, autojump_clock: MockClock
) -> None:
    """A9: nobody gets it, and it is counted as late, every time it comes."""
    with plain_socket() as server:
        async with open_client(*address_of(server)) as client:
            with trio.move_on_after(0.5):
                await client.request(b"?")
            data, peer = await next_datagram(server)
            server.sendto(reply_to(data, b"late"), peer)
            server.sendto(reply_to(data, b"later"), peer)
            await _read_what_came(client)
            assert client.statistics().dropped == {DropReason.LATE: 2}


@pytest.mark.parametrize("many", [False, True], ids=["one", "many"])
@pytest.mark.parametrize("connect", [True, False])
async def test_what_came_during_a_pause_does_not_cost_the_next_reply(
    network: NetworkName, autojump_clock: MockClock, connect: bool, many: bool
) -> None:
    """A2: nobody reads while nobody asks, and a buffer full of junk has no room for a reply."""
    async with (
        serving(echo, host="127.0.0.1") as server,
        open_client(*server.address, connect=connect, policy=ONCE) as client,
    ):
        client._endpoint._transport.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        for asked in (b"first", b"second"):
            await trio.sleep(1)
            for _ in range(200):
                await server._endpoints[0].send(b"junk", client.address._replace(host="127.0.0.1"))
            if many:
                async with client.request_many([asked]) as results:
                    assert [result.reply and result.reply.payload async for result in results] == [asked]
            else:
                assert await client.request(asked) == asked
        assert 0 < client.statistics().dropped[DropReason.MALFORMED] < 400
        assert nothing_is_open(client)


async def test_a_truncated_reply_is_dropped(
    network: NetworkName, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G2: what is left of it is not looked at; it is counted, and waiting goes on."""
    monkeypatch.setattr("trio_udp._net._transports._LARGEST", 60)
    with plain_socket() as server:
        async with open_client(*address_of(server)) as client, trio.open_nursery() as nursery:
            answers: dict[bytes, bytes] = {}
            nursery.start_soon(ask, client, b"?", answers)
            data, peer = await next_datagram(server)
            server.sendto(reply_to(data, bytes(100)), peer)
            await wait_all_tasks_blocked()
            server.sendto(reply_to(data, b"short"), peer)
    assert answers == {b"?": b"short"}
    assert client.statistics().dropped == {DropReason.TRUNCATED: 1}
    assert client.statistics().endpoint.truncated == 1


# Many requests, one socket


async def test_no_more_requests_are_in_flight_than_allowed(network: NetworkName, autojump_clock: MockClock) -> None:
    """C6: the others wait for their turn, in order."""
    running: list[bytes] = []
    most = 0

    async def slow(request: Request) -> bytes:
        nonlocal most
        running.append(request.payload)
        most = max(most, len(running))
        await trio.sleep(0.1)
        running.remove(request.payload)
        return request.payload

    async with serving(slow) as server, open_client(*server.address, max_in_flight=3) as client:
        answers: dict[bytes, bytes] = {}
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(ask, client, bytes([number]), answers)
        assert answers == {bytes([number]): bytes([number]) for number in range(20)}
        assert most == 3
        assert nothing_is_open(client)


async def test_the_books_format_has_one_request_outstanding(network: NetworkName, autojump_clock: MockClock) -> None:
    """Without ids nothing else tells two answers apart."""
    with plain_socket() as server:
        async with open_client(*address_of(server), profile=Book()) as client, trio.open_nursery() as nursery:
            answers: dict[bytes, bytes] = {}
            for text in (b"one", b"two", b"three"):
                nursery.start_soon(ask, client, text, answers)
            for _ in range(3):
                text, peer = await next_datagram(server)
                await wait_all_tasks_blocked()
                assert read_all(server) == []
                server.sendto(b"Re: " + text, peer)
    assert answers == {b"one": b"Re: one", b"two": b"Re: two", b"three": b"Re: three"}


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
async def test_the_role_of_reader_is_handed_over_by_each_who_is_answered(
    network: NetworkName, autojump_clock: MockClock, order: tuple[int, ...]
) -> None:
    """G9: whoever leaves, in whatever order, the rest is read for."""
    with plain_socket() as server:
        async with open_client(*address_of(server), policy=ONCE) as client, trio.open_nursery() as nursery:
            answers: dict[bytes, bytes] = {}
            asked = []
            for number in range(3):
                nursery.start_soon(ask, client, bytes([number]), answers)
                asked.append(await next_datagram(server))
            for number in order:
                data, peer = asked[number]
                server.sendto(reply_to(data, b"!"), peer)
                await wait_all_tasks_blocked()
                assert bytes([number]) in answers


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
async def test_the_role_of_reader_is_handed_over_by_each_who_is_cancelled(
    network: NetworkName, autojump_clock: MockClock, order: tuple[int, ...]
) -> None:
    """G9: two leave by cancellation, reader or not; the third gets its answer without waiting for a timeout."""
    with plain_socket() as server:
        async with open_client(*address_of(server), policy=ONCE) as client, trio.open_nursery() as nursery:
            answers: dict[bytes, bytes] = {}
            asked = []
            scopes = [trio.CancelScope() for _ in range(3)]
            for number, scope in enumerate(scopes):
                nursery.start_soon(_ask_within, scope, client, bytes([number]), answers)
                asked.append(await next_datagram(server))
            scopes[order[0]].cancel()
            scopes[order[1]].cancel()
            data, peer = asked[order[2]]
            began = trio.current_time()
            server.sendto(reply_to(data, b"!"), peer)
            await wait_all_tasks_blocked()
            assert answers == {bytes([order[2]]): b"!"}
            assert trio.current_time() == began
            assert nothing_is_open(client)


async def _ask_within(scope: trio.CancelScope, client: Client, payload: bytes, answers: dict[bytes, bytes]) -> None:
    with scope:
        await ask(client, payload, answers)


async def test_requests_of_different_patience_do_not_wait_for_each_other(
    network: NetworkName, autojump_clock: MockClock
) -> None:
    """The reader gives up first, or last; every other keeps its own schedule, exactly."""
    with plain_socket() as silent:
        async with open_client(*address_of(silent)) as client, trio.open_nursery() as nursery:
            for seconds in (0.1, 3.0, 0.5, 2.0, 0.5, 1.0):
                nursery.start_soon(_gives_up_after, client, seconds)
    assert nothing_is_open(client)


async def _gives_up_after(client: Client, seconds: float) -> None:
    with pytest.raises(NoReply) as caught:
        await client.request(b"?", policy=RetryPolicy(initial=seconds, jitter=0, attempts=1))
    assert caught.value.elapsed == pytest.approx(seconds)


async def test_a_request_that_ends_while_others_wait_for_a_turn_lets_the_next_one_in(
    network: NetworkName, autojump_clock: MockClock
) -> None:
    """G9: cancelled in flight or in the queue, no turn is lost."""
    async with serving(echo) as server, open_client(*server.address, max_in_flight=1, policy=STEADY) as client:
        faults_of(client._endpoint._transport).sends.append(LOST)
        answers: dict[bytes, bytes] = {}
        scopes = [trio.CancelScope() for _ in range(4)]
        async with trio.open_nursery() as nursery:
            for number, scope in enumerate(scopes):
                nursery.start_soon(_ask_within, scope, client, bytes([number]), answers)
                await wait_all_tasks_blocked()
            scopes[2].cancel()
            scopes[0].cancel()
        assert answers == {b"\1": b"\1", b"\3": b"\3"}
        assert nothing_is_open(client)


@awaitable
async def test_a_flood_does_not_keep_a_request_from_its_times(network: NetworkName, autojump_clock: MockClock) -> None:
    """C4, E7: however fast junk comes, and though every wait for it ends at once: no transmission is a batch late."""
    async with open_client("127.0.0.1", 9) as client, trio.open_nursery() as nursery:

        async def receive(*, may_wait: bool = True) -> Batch:
            if not may_wait:
                return Batch([], [], [], 0)
            await trio.lowlevel.checkpoint()
            autojump_clock.jump(0.01)
            return Batch([Datagram(b"junk", client.servers[0], NOTHING)] * 64, [], [], 0)

        cast("Any", client._endpoint._transport).receive = receive
        for wait in (0.5, 0.75):
            nursery.start_soon(_ask_on_schedule, client, RetryPolicy(initial=wait, jitter=0, attempts=4))
    assert client.statistics().dropped[DropReason.MALFORMED] > 64 * 700


@awaitable
async def test_a_flood_does_not_keep_a_request_from_being_sent(network: NetworkName) -> None:
    """E7: before it no more is read than the buffer can have held, and other tasks run meanwhile."""
    with plain_socket() as server:
        async with open_client(*address_of(server)) as client, trio.open_nursery() as nursery:

            async def receive(*, may_wait: bool = True) -> Batch:
                if may_wait:
                    await trio.sleep_forever()
                return Batch([Datagram(b"junk", client.servers[0], NOTHING)] * 64, [], [], 0)

            cast("Any", client._endpoint._transport).receive = receive
            nursery.start_soon(client.request, b"?")
            with at_most_steps(1000):
                await wait_all_tasks_blocked()
            assert len(read_all(server)) == 1
            assert BACKLOG <= client.statistics().dropped[DropReason.MALFORMED] < BACKLOG + 64
            nursery.cancel_scope.cancel()


async def _ask_on_schedule(client: Client, policy: RetryPolicy) -> None:
    attempts = Attempts()
    with pytest.raises(NoReply) as caught:
        await client.exchange(b"?", policy=policy, on_attempt=attempts.note)
    waits = list(policy.waits())
    expected = [sum(waits[:made]) for made in range(len(waits) + 1)]
    assert [*attempts.at, caught.value.elapsed] == cast("list[float]", pytest.approx(expected, abs=0.05))


async def test_a_request_that_is_due_earlier_than_all_others_is_not_late(
    network: NetworkName, autojump_clock: MockClock
) -> None:
    """C4: the reader, who waited for longer, is told; whoever comes first."""
    with plain_socket() as silent:
        async with open_client(*address_of(silent)) as client, trio.open_nursery() as nursery:
            for wait in (8.0, 4.0, 6.0, 1.0, 2.0):
                nursery.start_soon(_ask_exactly, client, wait)
                await trio.sleep(0.25)
    assert nothing_is_open(client)


async def _ask_exactly(client: Client, seconds: float) -> None:
    began = trio.current_time()
    await _no_reply(client, b"?", RetryPolicy(initial=seconds, jitter=0, attempts=1))
    assert trio.current_time() == began + seconds


# Closing


async def test_closing_wakes_every_waiter_once(network: NetworkName, autojump_clock: MockClock) -> None:
    """G10: the reader, those who are read for, and those who wait for their turn; in the same words."""
    ended: list[int] = []

    async def wait_for_closing(number: int) -> None:
        with pytest.raises(trio.ClosedResourceError, match=r"^this client was closed$"):
            await client.request(b"?", policy=ONCE)
        ended.append(number)

    with plain_socket() as silent:
        async with open_client(*address_of(silent), max_in_flight=3) as client, trio.open_nursery() as nursery:
            for number in range(6):
                nursery.start_soon(wait_for_closing, number)
            await wait_all_tasks_blocked()
            began = trio.current_time()
            await client.aclose()
            await client.aclose()
            with pytest.raises(trio.ClosedResourceError, match=r"^this client was closed$"):
                await client.request(b"?")
        assert sorted(ended) == list(range(6))
        assert trio.current_time() == began
        assert len(read_all(silent)) == 3
    assert nothing_is_open(client)
    assert client.statistics().cancelled == 6


async def test_leaving_the_block_closes_the_client(network: NetworkName, autojump_clock: MockClock) -> None:
    """G10: for tasks outside it too, and its descriptor is free."""
    before = descriptors()
    with plain_socket() as silent:
        async with trio.open_nursery() as nursery, open_client(*address_of(silent)) as client:
            nursery.start_soon(_closed, client)
            await wait_all_tasks_blocked()
    assert descriptors() == before
    assert client.statistics().endpoint.receive_buffer is None


async def _closed(client: Client) -> None:
    with pytest.raises(trio.ClosedResourceError):
        await client.request(b"?")


async def test_a_callback_may_close_the_client(network: NetworkName, autojump_clock: MockClock) -> None:
    """G10: even the one that is about to send."""
    with plain_socket() as silent:
        async with open_client(*address_of(silent)) as client:
            with pytest.raises(trio.ClosedResourceError):
                await client.exchange(b"?", on_attempt=lambda attempt: client.close_nowait())
            assert nothing_is_open(client)
        assert read_all(silent) == []


# Exceptions of the user's


async def test_an_exception_in_the_block_stays_what_it_is(network: NetworkName) -> None:
    """No hidden nursery makes an `ExceptionGroup` of it."""
    with pytest.raises(KeyError, match="mine"):
        async with open_client("127.0.0.1", 9):
            raise KeyError("mine")


async def test_an_exception_of_the_callback_stays_what_it_is(network: NetworkName, autojump_clock: MockClock) -> None:
    """G9: at any attempt, and it leaves nothing behind."""

    def fail(attempt: Attempt) -> None:
        if attempt.number == 2:
            raise KeyError("mine")

    with plain_socket() as silent:
        async with open_client(*address_of(silent)) as client:
            with pytest.raises(KeyError, match="mine"):
                await client.exchange(b"?", on_attempt=fail)
            assert nothing_is_open(client)


async def test_the_callback_sees_each_attempt_before_it_is_sent(
    network: NetworkName, autojump_clock: MockClock
) -> None:
    """Number, peer, datagram and wait."""
    seen: list[Attempt] = []
    with plain_socket() as silent:
        async with open_client(*address_of(silent)) as client:
            with pytest.raises(NoReply):
                await client.exchange(b"?", policy=BOOK, on_attempt=seen.append)
        assert [attempt.datagram for attempt in seen] == read_all(silent)
        assert {attempt.peer for attempt in seen} == {address_of(silent)}
    assert [attempt.number for attempt in seen] == [1, 2, 3, 4, 5]
    assert [attempt.wait for attempt in seen] == cast("list[float]", pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6]))


async def test_a_client_is_one_descriptor(network: NetworkName, autojump_clock: MockClock) -> None:
    """G7: however many requests are in flight, connected or not."""
    with plain_socket() as silent:
        before = descriptors()
        for connect in (True, False):
            opening = open_client(*address_of(silent), connect=connect, max_in_flight=100)
            async with opening as client, trio.open_nursery() as nursery:
                for _ in range(100):
                    nursery.start_soon(_no_reply, client, b"?", BOOK)
                await wait_all_tasks_blocked()
                assert descriptors() == before + 1
                assert client.statistics().in_flight == 100
        assert descriptors() == before
