"""The counters add up, whatever happened, as their docstrings say; and nobody can change them."""

import dataclasses
import errno
import json
from collections import Counter
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

import trio_udp
from trio_udp import (
    ClientStatistics,
    DropReason,
    EndpointStatistics,
    Request,
    RetryPolicy,
    ServerStatistics,
    open_client,
)

from .networks import (
    LOST,
    NetworkName,
    address_of,
    echo,
    faults_of,
    network_fixture,  # noqa: F401 - pytest finds it by its name, network
    next_datagram,
    plain_socket,
    reply_to,
    serving,
)

QUICK = RetryPolicy(initial=0.1, jitter=0, adaptive=False, attempts=2)


def ended(statistics: ClientStatistics) -> int:
    """Requests of a client that are over."""
    return statistics.replies + statistics.no_replies + statistics.remote_errors + statistics.cancelled


def answered(statistics: ServerStatistics) -> int:
    """Requests of a server that it has done with."""
    done = (statistics.replies, statistics.retries, statistics.busy, statistics.errors, statistics.unanswered)
    return sum(done)


async def every_kind(request: Request) -> bytes | None:
    """Do what the request says."""
    match request.payload:
        case b"fail":
            raise KeyError("a bug of the handler's")
        case b"silence":
            return None
        case b"slow":
            await trio.sleep(1000)
        case b"long":
            return bytes(500)
        case b"longer":
            return bytes(5000)
    return request.payload


WAYS = [b"fast", b"fail", b"silence", b"slow", b"long", b"longer", b"too large" * 1000]


async def test_a_clients_counters_add_up(network: NetworkName, autojump_clock: MockClock) -> None:
    """Each request is in flight, waiting for its turn, or in one of four ends."""
    outcomes: Counter[str] = Counter()

    async def ask(payload: bytes) -> None:
        try:
            await client.request(payload, policy=QUICK)
        except Exception as exc:
            outcomes[type(exc).__name__] += 1
        else:
            outcomes["Reply"] += 1

    async with serving(every_kind) as server, open_client("127.0.0.1", server.address.port, max_in_flight=4) as client:
        async with trio.open_nursery() as nursery:
            for payload in WAYS * 3:
                nursery.start_soon(ask, payload)
            await wait_all_tasks_blocked()
            during = client.statistics()
            assert during.requests == len(WAYS) * 3
            assert during.in_flight == 4
            assert ended(during) + during.in_flight < during.requests  # the rest wait for their turn
        with trio.move_on_after(0.05):
            await client.request(b"slow")
        after = client.statistics()
    assert (after.requests, ended(after), after.in_flight) == (len(WAYS) * 3 + 1, len(WAYS) * 3 + 1, 0)
    assert after.replies == outcomes["Reply"] == 2 * 3
    assert after.no_replies == outcomes["NoReply"] == 2 * 3
    assert after.remote_errors == outcomes["RemoteError"] == 2 * 3
    assert after.cancelled == outcomes["PayloadTooLarge"] + 1
    answers = server.statistics()
    assert after.endpoint.datagrams_received == answers.replies + answers.retries + answers.errors
    assert set(after.smoothed_rtt) == set(client.servers)


async def test_a_servers_counters_add_up(network: NetworkName, autojump_clock: MockClock) -> None:
    """Each request is with its handler, or in one of five ends."""

    async def ask(payload: bytes) -> None:
        with pytest.raises((trio_udp.UDPError, trio.TooSlowError)) if payload != b"fast" else trio.CancelScope():
            async with open_client("127.0.0.1", server.address.port) as client:
                await client.request(payload, policy=QUICK)

    async with serving(every_kind, max_handlers=4) as server:
        faults = [faults_of(endpoint._transport) for endpoint in server._endpoints]
        async with trio.open_nursery() as nursery:
            for number in range(6):
                nursery.start_soon(ask, b"slow" if number else b"longer")
        await wait_all_tasks_blocked()
        during = server.statistics()
        assert answered(during) + during.handlers == during.requests
        assert during.handlers == 4
        faults[0].sends.append(errno.EPERM)
        await ask(b"silence")
        await wait_all_tasks_blocked()
    after = server.statistics()
    assert answered(after) == after.requests
    assert after.handlers == 0
    assert after.busy > 0
    assert after.unanswered >= 4
    received = sum(endpoint.datagrams_received for endpoint in after.endpoints.values())
    assert received == after.requests + sum(after.dropped.values()) - after.dropped.get(DropReason.OVER_BUDGET, 0)


async def test_every_datagram_that_came_is_accounted_for(network: NetworkName, autojump_clock: MockClock) -> None:
    """Believed, or dropped for a reason."""
    with plain_socket() as server:
        async with open_client(*address_of(server)) as client, trio.open_nursery() as nursery:
            nursery.start_soon(client.request, b"?")
            data, peer = await next_datagram(server)
            answer = reply_to(data, b"!")
            spoiled = {
                DropReason.MALFORMED: [b"", answer[:-1], answer + b"!"],
                DropReason.WRONG_VERSION: [b"\x08" + answer[1:]],
                DropReason.WRONG_DIRECTION: [data],
                DropReason.UNKNOWN_REQUEST: [answer[:8] + bytes(16) + answer[24:]],
            }
            for datagrams in spoiled.values():
                for datagram in datagrams:
                    server.sendto(datagram, peer)
            await wait_all_tasks_blocked()
            assert client.statistics().dropped == {reason: len(found) for reason, found in spoiled.items()}
            server.sendto(answer, peer)
    statistics = client.statistics()
    assert statistics.endpoint.datagrams_received == 7 == sum(statistics.dropped.values()) + statistics.replies


async def test_every_datagram_sent_is_accounted_for(network: NetworkName, autojump_clock: MockClock) -> None:
    """Sent, or not sent for a reason: together as many as attempts were made."""
    attempts: list[trio_udp.Attempt] = []
    with plain_socket() as silent:
        async with open_client(*address_of(silent)) as client:
            faults_of(client._endpoint._transport).sends.extend([errno.ENOBUFS, LOST, errno.EPERM, None])
            with pytest.raises(trio_udp.NoReply):
                await client.exchange(b"?", policy=trio_udp.BOOK, on_attempt=attempts.append)
            endpoint = client.statistics().endpoint
    assert endpoint.datagrams_sent + sum(endpoint.send_errors.values()) == len(attempts) == 5
    assert endpoint.send_errors == {"ENOBUFS": 1, "EPERM": 1}


async def test_statistics_are_a_copy(network: NetworkName) -> None:
    """What was taken does not change later, and its fields cannot be changed."""
    async with serving(echo, host="127.0.0.1") as server, open_client(*server.address) as client:
        snapshots: list[Any] = [client.statistics(), server.statistics(), client.statistics().endpoint]
        kept = [repr(snapshot) for snapshot in snapshots]
        await client.request(b"?")
        assert [repr(snapshot) for snapshot in snapshots] == kept
        assert repr(client.statistics()) != kept[0]
        for snapshot in snapshots:
            name = dataclasses.fields(snapshot)[0].name
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(snapshot, name, 0)
            assert not hasattr(snapshot, "__dict__")


@pytest.mark.parametrize("kind", [ClientStatistics, ServerStatistics, EndpointStatistics])
def test_counters_are_given_by_name(kind: Any) -> None:
    """Nobody can mistake one number for another."""
    with pytest.raises(TypeError):
        kind(*range(len(dataclasses.fields(kind))))


async def test_a_drop_reason_reads_as_its_name(network: NetworkName, autojump_clock: MockClock) -> None:
    """One word in the enum, the counter and the output."""
    async with serving(echo, host="127.0.0.1") as server:
        with plain_socket() as stranger:
            stranger.sendto(b"junk", server.address)
            await wait_all_tasks_blocked()
        statistics = server.statistics()
    assert statistics.dropped["malformed"] == 1  # type: ignore[index]  # the enum's members are strings
    assert [f"{reason}" for reason in statistics.dropped] == ["malformed"]


async def test_the_round_trip_is_published_per_server(network: NetworkName, autojump_clock: MockClock) -> None:
    """Of those that have answered."""

    async def slow(request: Request) -> bytes:
        await trio.sleep(0.02)
        return request.payload

    with plain_socket() as silent:
        async with (
            serving(slow, host="127.0.0.1") as server,
            open_client(servers=[address_of(silent), server.address], policy=QUICK) as client,
        ):
            await client.request(b"?")
            rtts = client.statistics().smoothed_rtt
    assert rtts == {server.address: pytest.approx(0.02)}


async def test_statistics_are_copies_that_can_be_made_into_json(
    network: NetworkName, autojump_clock: MockClock
) -> None:
    """What was taken does not change any more, and `dataclasses.asdict` takes it apart."""
    async with serving(echo, host="127.0.0.1") as server, open_client(*server.address) as client:
        before = client.statistics()
        await client.request(b"?")
        assert (before.replies, client.statistics().replies) == (0, 1)
        taken_apart = dataclasses.asdict(client.statistics()), dataclasses.asdict(server.statistics())
        assert json.loads(json.dumps(taken_apart, default=str, skipkeys=True))[0]["replies"] == 1
