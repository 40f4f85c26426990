"""Our client and server on two hosts of a real kernel, and the wire between them at its worst."""

from random import Random
from typing import Any, Final

import pytest
import trio

from trio_udp import DropReason, Key, NoReply, Request, RetryPolicy
from trio_udp.proto import MessageType
from trio_udp.testing import Conditions, Packet, Verdict, drop

from .namespaces import Host
from .programs import PORT, QUICK, CountingHandler, asking, serving
from .wire import RIGHT, STRANGER, Nat, wire

pytestmark = pytest.mark.usefixtures("hosts")

TERRIBLE = Conditions(loss=0.2, duplicate=0.1, reorder=0.1, latency=0.002, jitter=0.002)
PERSISTENT = RetryPolicy(initial=0.2, adaptive=False, multiplier=1, attempts=60)
"""Sends again and again, and does not give up."""
UNWEARIED: Final = RetryPolicy(initial=0.05, adaptive=False, multiplier=1, attempts=60)
"""The same for requests of which 64 are under way at a time, so that none waits long for the oldest."""
KEY: Final = Key(1, bytes(range(32)))


def echo(request: Request) -> bytes:
    """The payload."""
    return request.payload


@pytest.mark.parametrize("host", RIGHT)
async def test_a_perfect_wire_carries_every_datagram_as_it_is(host: str) -> None:
    """The kernels on both ends find the checksums right, of every length, odd and even, and of none."""
    random = Random(7)
    async with wire() as between, serving(between.right, echo), asking(between.left, host) as client:
        for size in (0, 1, 2, 3, 100, 999, 1200):
            payload = random.randbytes(size)
            assert (await client.exchange(payload)).payload == payload
        assert between.trace.count >= 14


CLIENTS: Final = 50


async def crowd(on: Host, host: str, count: int, **options: Any) -> int:
    """As many from a crowd of clients: one by itself slows down on such a wire until it takes many minutes (C6)."""
    right = 0

    async def one(first: int) -> None:
        nonlocal right
        found = await swarm(on, host, count // CLIENTS, first, max_in_flight=8, **options)
        right += found

    async with trio.open_nursery() as nursery:
        for number in range(CLIENTS):
            nursery.start_soon(one, number * (count // CLIENTS))
    return right


async def swarm(on: Host, host: str, count: int, first: int = 0, **options: Any) -> int:
    """Ask so many different questions at once; how many of them got their own answer."""
    right = 0
    async with (
        asking(on, host, **{"policy": PERSISTENT, "max_in_flight": 1000, **options}) as client,
        client.request_many(b"question %d" % number for number in range(first, first + count)) as results,
    ):
        async for result in results:
            assert result.reply is not None, result.error
            right += result.reply.payload == result.payload.upper()
    return right


@pytest.mark.parametrize("host", RIGHT)
async def test_every_request_gets_its_own_answer_over_a_terrible_wire(host: str) -> None:
    """A1, A3: 20 % loss each way, duplicates, and datagrams that overtake each other."""
    handler = CountingHandler()
    async with wire() as between, serving(between.right, handler):
        between.link(TERRIBLE)
        assert await swarm(between.left, host, 500) == 500
    assert len(handler.runs) == 500
    assert handler.runs.total() > 500, "the wire lost no answer and doubled no request"


@pytest.mark.long
async def test_ten_thousand_requests_are_answered_over_a_terrible_wire() -> None:
    """A1, A3: ten thousand right answers. How often the handler ran is no promise yet: see at-most-once, E1."""
    handler = CountingHandler()
    async with wire() as between, serving(between.right, handler):
        between.link(TERRIBLE)
        assert await crowd(between.left, RIGHT[0], 10_000) == 10_000
    assert len(handler.runs) == 10_000


@pytest.mark.long
async def test_ten_thousand_requests_run_once_each_over_a_terrible_wire() -> None:
    """E1, F1: ten thousand right answers, and ten thousand runs; under a key, and nothing is taken for a forgery."""
    handler = CountingHandler()
    async with wire() as between, serving(between.right, handler, keys=[KEY]) as server:
        between.link(TERRIBLE)
        options: dict[str, Any] = {"at_most_once": True, "key": KEY, "policy": UNWEARIED}
        assert await crowd(between.left, RIGHT[0], 10_000, **options) == 10_000
        statistics = server.statistics()
    assert (len(handler.runs), handler.runs.total()) == (10_000, 10_000)
    assert statistics.repeated > 1000, "the wire lost no answer and doubled no request"
    assert statistics.dropped.get(DropReason.BAD_SEAL, 0) == 0


@pytest.mark.parametrize("host", RIGHT)
@pytest.mark.parametrize("key", [None, KEY], ids=["no key", "key"])
async def test_requests_that_must_not_run_twice_do_not_over_a_terrible_wire(host: str, key: Key | None) -> None:
    """E1: duplicates, lost answers, and datagrams that overtake each other."""
    handler = CountingHandler()
    async with wire() as between, serving(between.right, handler, keys=None if key is None else [key]):
        between.link(TERRIBLE)
        options: dict[str, Any] = {"at_most_once": True, "key": key, "policy": UNWEARIED}
        assert await swarm(between.left, host, 300, **options) == 300
    assert (len(handler.runs), handler.runs.total()) == (300, 300)


@pytest.mark.parametrize("host", RIGHT)
@pytest.mark.parametrize("at_most_once", [False, True])
async def test_a_key_notices_every_bit_that_a_good_checksum_hides(host: str, *, at_most_once: bool) -> None:
    """A1, F1: payloads too; whatever is flipped is dropped and counted, and every answer is the right one."""
    async with (
        wire() as between,
        serving(between.right, handler := CountingHandler(), keys=[KEY]) as server,
        asking(between.left, host, key=KEY, at_most_once=at_most_once, policy=UNWEARIED) as client,
    ):
        between.link(Conditions(corrupt=0.3))
        questions = [b"question %d, long enough to be hit" % number for number in range(200)]
        async with client.request_many(questions) as results:
            async for result in results:
                assert result.reply is not None, result.error
                assert result.reply.payload == result.payload.upper()
        dropped = client.statistics().dropped, server.statistics().dropped
    assert set(handler.runs) == set(questions), "something else was believed"
    assert all(counts[DropReason.BAD_SEAL] > 20 for counts in dropped)
    if at_most_once:
        assert handler.runs.total() == 200


@pytest.mark.parametrize("host", RIGHT)
async def test_a_flipped_bit_with_a_good_checksum_is_a_drop(host: str) -> None:
    """A1: every bit of a datagram without payload is the header's, and none of them may be wrong.

    In the payload only a key would notice it.
    """
    async with wire() as between, serving(between.right, echo) as server, asking(between.left, host) as client:
        between.link(Conditions(corrupt=0.3))
        async with client.request_many([b""] * 300, policy=QUICK) as results:
            async for result in results:
                assert result.reply is not None, result.error
                assert result.reply.payload == b""
        dropped = client.statistics().dropped, server.statistics().dropped
    assert all(sum(counts.values()) > 20 for counts in dropped)
    assert dropped[0][DropReason.UNKNOWN_REQUEST] > 10, "a third of the bits are the ids, and few others"


async def test_a_client_behind_a_nat_that_rebinds_in_mid_exchange_is_answered() -> None:
    """A1: the answer to the old port is lost; the next attempt leaves from another one, and is answered there."""
    async with wire() as between, serving(between.right, CountingHandler()) as server:
        between.nat = nat = Nat()

        def rebind(packet: Packet) -> Verdict | None:
            if packet.source.port != PORT or between.trace.count > 2:
                return None
            nat.rebind()
            return drop("went to a port that is forgotten")

        async with asking(between.left, RIGHT[0]) as client:
            with between.rule(rebind):
                reply = await client.exchange(b"question")
        ports = {record.packet.source.port for record in between.trace} - {PORT}
        assert (reply.payload, reply.attempts, server.statistics().requests) == (b"QUESTION", 2, 2)
        assert len(ports) == 2


@pytest.mark.parametrize("key", [None, KEY], ids=["no key", "key"])
async def test_a_request_that_must_not_run_twice_outlives_a_nat_that_rebinds(key: Key | None) -> None:
    """E1: it has run and its answer is lost with the port; at the new one it shows itself, and is told again."""
    async with (
        wire() as between,
        serving(between.right, handler := CountingHandler(), keys=None if key is None else [key]) as server,
    ):
        between.nat = nat = Nat()
        rebound: list[Packet] = []

        def rebind(packet: Packet) -> Verdict | None:
            if packet.source.port != PORT or packet.data[1] != MessageType.REPLY or rebound:
                return None
            rebound.append(packet)
            nat.rebind()
            return drop("went to a port that is forgotten")

        async with asking(between.left, RIGHT[0], at_most_once=True, key=key) as client:
            with between.rule(rebind):
                reply = await client.exchange(b"question")
        ports = {record.packet.source.port for record in between.trace} - {PORT}
        assert (reply.payload, handler.runs.total(), len(rebound), len(ports)) == (b"QUESTION", 1, 1, 2)
        statistics = server.statistics()
        assert (statistics.cookies_granted, statistics.repeated) == (2, 1)


@pytest.mark.parametrize("host", RIGHT)
async def test_a_datagram_that_does_not_fit_the_path_ends_nothing_but_itself(host: str) -> None:
    """G4, G5: the wire says what would have fitted; that is a hint, and what fits is answered meanwhile."""
    once = RetryPolicy(initial=0.2, jitter=0, adaptive=False, attempts=1)
    async with wire() as between, serving(between.right, echo), asking(between.left, host) as client:
        between.link(Conditions(mtu=700))
        with pytest.raises(NoReply) as caught:
            await client.request(bytes(1000), policy=once)
        assert caught.value.hint == "EMSGSIZE"
        assert await client.request(bytes(600)) == bytes(600)


async def test_a_silent_strangers_address_is_asked_until_the_schedule_ends() -> None:
    """A2, C4: nobody lives there, and the wire does not say so."""
    policy = RetryPolicy(initial=0.02, adaptive=False, multiplier=1, jitter=0, attempts=5)
    async with wire() as between, asking(between.left, STRANGER, policy=policy) as client:
        with pytest.raises(NoReply) as caught:
            await client.request(b"question")
        assert (caught.value.attempts, between.trace.count) == (5, 5)


async def test_what_is_held_by_the_wire_arrives_late_and_is_dropped() -> None:
    """A9: an answer to a request that was cancelled meanwhile."""
    async with wire() as between, serving(between.right), asking(between.left, RIGHT[0]) as client:
        between.link(Conditions(latency=0.05))
        with trio.move_on_after(0.06):
            await client.request(b"question")
        assert await client.request(b"another") == b"ANOTHER"
        assert client.statistics().dropped == {DropReason.LATE: 1}
