"""The limits of a server, over every network: who is answered, and what the others hear and cost."""

import functools
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

import trio_udp
from trio_udp import DropReason, NoReply, RateLimit, Request, RetryPolicy, Server, ServerBusy, open_client
from trio_udp.proto import TU1

from .networks import (
    NetworkName,
    echo,
    network_fixture,  # noqa: F401 - pytest finds it by its name, network
    plain_socket,
    read_all,
    serving,
)

ONCE = RetryPolicy(initial=1, jitter=0, adaptive=False, attempts=1)
REQUEST = TU1().encode_request(b"hello", bytes(16), 1, 0)
ANSWER_SIZE = len(REQUEST)


async def ask_at_once(server: Server, count: int, host: str = "127.0.0.1") -> int:
    """Send so many requests from one address; how many are answered."""
    with plain_socket(host) as source:
        for _ in range(count):
            source.sendto(REQUEST, server.address)
        await wait_all_tasks_blocked()
        answers = read_all(source)
    assert all(len(answer) <= ANSWER_SIZE for answer in answers)
    return len(answers)


async def test_what_one_source_sends_too_much_is_dropped_and_counted(
    network: NetworkName, autojump_clock: MockClock
) -> None:
    """E4, E7: silence, under one counter; its burst is answered, and a second later what its rate allows."""
    async with serving(echo, host="127.0.0.1", rate_limit=RateLimit(per_source=10, burst=20)) as server:
        assert await ask_at_once(server, 50) == 20
        await trio.sleep(1)
        assert await ask_at_once(server, 50) == 10
        statistics = server.statistics()
    assert statistics.dropped == {DropReason.OVER_BUDGET: 70}
    assert (statistics.requests, statistics.replies, statistics.unanswered) == (30, 30, 0)


async def test_other_sources_are_answered_meanwhile(network: NetworkName, autojump_clock: MockClock) -> None:
    """E7: another port is the same source, another address is not."""
    async with serving(echo, host="127.0.0.1", rate_limit=RateLimit(per_source=10)) as server:
        assert await ask_at_once(server, 100) == 10
        assert await ask_at_once(server, 10) == 0
        assert await ask_at_once(server, 10, "127.0.0.2") == 10


async def test_all_sources_together_have_a_limit_too(network: NetworkName, autojump_clock: MockClock) -> None:
    """However many they are: as many as in half a second at once, if nobody knows them."""
    async with serving(echo, host="127.0.0.1", rate_limit=RateLimit(per_source=10, overall=50)) as server:
        answers = [await ask_at_once(server, 10, f"127.0.0.{number}") for number in range(1, 5)]
        assert answers == [10, 10, 5, 0]
        assert server.statistics().dropped == {DropReason.OVER_BUDGET: 15}


async def test_a_flood_of_strangers_leaves_room_for_who_has_a_key_or_a_cookie(
    network: NetworkName, autojump_clock: MockClock
) -> None:
    """E7, F1, F7: they are answered at once, all of them, while who is new to the server has nothing to show."""
    limit = RateLimit(overall=40)
    key = trio_udp.Key(1, bytes(range(32)))
    async with (
        serving(echo, host="127.0.0.1", rate_limit=limit, keys=[key], allow_unkeyed=True) as server,
        open_client(*server.address, key=key) as keyed,
        open_client(*server.address, at_most_once=True) as known,
        open_client(*server.address) as new,
    ):
        await known.request(b"give me a cookie")
        for _ in range(3):
            await trio.sleep(1)
            answers = [await ask_at_once(server, 100, f"127.0.0.{number}") for number in range(1, 5)]
            assert answers == [20, 0, 0, 0]
            assert [await client.request(b"?", policy=ONCE) for client in [keyed, known] * 10] == [b"?"] * 20
            with pytest.raises(NoReply):
                await new.request(b"?", policy=ONCE)


async def test_junk_costs_its_source_nothing_of_its_limit(network: NetworkName, autojump_clock: MockClock) -> None:
    """E5, E7: it is dropped before anybody is counted, so that nobody's limit is eaten by it."""
    async with serving(echo, host="127.0.0.1", rate_limit=RateLimit(per_source=5)) as server:
        with plain_socket() as stranger:
            for _ in range(50):
                stranger.sendto(b"\x80junk", server.address)
        assert await ask_at_once(server, 5) == 5
        assert server.statistics().dropped == {DropReason.MALFORMED: 50}


async def test_a_client_above_the_limit_is_answered_when_it_asks_again(
    network: NetworkName, autojump_clock: MockClock
) -> None:
    """What is dropped is a lost datagram to it; what it sends again counts as well, and costs nothing if dropped."""
    limit = RateLimit(per_source=1, burst=1)
    async with (
        serving(echo, host="127.0.0.1", rate_limit=limit) as server,
        open_client(*server.address, policy=RetryPolicy(initial=0.4, jitter=0, adaptive=False)) as client,
    ):
        assert (await client.exchange(b"first")).attempts == 1
        assert (await client.exchange(b"second")).attempts == 3  # at 0, 0.4 and 1.2 s
        with pytest.raises(NoReply):
            await client.exchange(b"third", policy=ONCE)


async def test_who_has_a_key_is_told_which_limit_it_was(network: NetworkName, autojump_clock: MockClock) -> None:
    """E4, E7: and asks again all the same; each request ends under one counter, and no stranger hears a word."""
    key = trio_udp.Key(1, bytes(range(32)))
    limit = RateLimit(per_source=0.5, burst=1)
    async with (
        serving(echo, host="127.0.0.1", rate_limit=limit, keys=[key], allow_unkeyed=True) as server,
        open_client(*server.address, key=key) as client,
    ):
        assert await client.request(b"first") == b"first"
        with pytest.raises(ServerBusy, match=r"it takes no more requests from one source \(limit 0\.5/s\)$"):
            await client.request(b"second", policy=ONCE)
        statistics = server.statistics()
        assert (statistics.requests, statistics.replies, statistics.busy, statistics.dropped) == (2, 1, 1, {})
        assert await ask_at_once(server, 3) == 0
        assert server.statistics().dropped == {DropReason.OVER_BUDGET: 3}


async def test_without_a_limit_everything_is_answered(network: NetworkName, autojump_clock: MockClock) -> None:
    """The default."""
    async with serving(echo, host="127.0.0.1") as server:
        assert await ask_at_once(server, 100) == 100


async def test_the_limit_holds_while_draining(network: NetworkName, autojump_clock: MockClock) -> None:
    """E4, E10: BUSY is an answer as well."""

    async def handler(_request: object) -> None:
        await trio.sleep(10)

    limit = RateLimit(per_source=5, burst=5)
    async with serving(handler, host="127.0.0.1", rate_limit=limit) as server, trio.open_nursery() as nursery:
        assert await ask_at_once(server, 1) == 0
        nursery.start_soon(server.drain)
        await wait_all_tasks_blocked()
        assert await ask_at_once(server, 10) == 4


# Handlers, and their end


@pytest.mark.parametrize("own_nursery", [True, False])
async def test_no_flood_runs_more_handlers_than_the_limit(
    network: NetworkName, autojump_clock: MockClock, own_nursery: bool
) -> None:
    """E9: the default of 1,024, against 3,000 requests that all wait; each of the others is refused with BUSY."""
    running = most = 0

    async def handler(request: Request) -> bytes:
        nonlocal running, most
        running += 1
        most = max(most, running)
        try:
            await trio.sleep(10)
        finally:
            running -= 1
        return request.payload

    async with trio.open_nursery() as nursery:
        options: dict[str, Any] = {"handler_nursery": None if own_nursery else nursery}
        async with serving(handler, host="127.0.0.1", **options) as server:
            refused = 0
            for _ in range(30):
                refused += await ask_at_once(server, 100)
            assert (most, server.statistics().handlers) == (1024, 1024)
            assert refused == server.statistics().busy == 3000 - 1024
            await trio.sleep(20)
            assert server.statistics().replies == 1024
            assert running == server.statistics().handlers == 0


async def test_a_drain_keeps_to_its_grace_with_all_handlers_running_and_under_a_flood(
    network: NetworkName, autojump_clock: MockClock
) -> None:
    """E10: grace + 0.1 s is promised; on the virtual clock it is the grace. Whoever comes meanwhile hears BUSY."""

    async def handler(_request: Request) -> None:
        await trio.sleep(1000)

    async def keep_asking() -> None:
        while True:
            refused.append(await ask_at_once(server, 10))
            await trio.sleep(0.4)  # never just as the server ends, which may have read then and not answered

    refused: list[int] = []
    async with trio.open_nursery() as nursery:
        server = await nursery.start(functools.partial(trio_udp.serve, handler, 0, host="127.0.0.1", max_handlers=200))
        await ask_at_once(server, 100)
        await ask_at_once(server, 100)
        nursery.start_soon(keep_asking)
        await wait_all_tasks_blocked()
        began = trio.current_time()
        with trio.move_on_after(5):
            await server.drain()
        assert trio.current_time() - began == 5
        nursery.cancel_scope.cancel()
    statistics = server.statistics()
    assert set(refused[:10]) == {10}
    assert (statistics.handlers, statistics.unanswered, statistics.busy) == (0, 200, sum(refused))
