"""Many requests from one task: what comes out, when payloads are taken, and that nothing is left whatever ends it."""

import contextlib
import errno
import functools
import math
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final, cast

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

import trio_udp
from trio_udp import BOOK, Book, Client, DropReason, NoReply, Request, Result, RetryPolicy, open_client
from trio_udp._net._ancillary import NOTHING
from trio_udp._net._batch import Batch, Datagram

from .networks import (
    DIRECT,
    NETWORKS,
    AtStep,
    NetworkName,
    address_of,
    at_most_steps,
    awaitable,
    descriptors,
    echo,
    faults_of,
    installed,
    network_fixture,  # noqa: F401 - pytest finds it by its name, network
    next_datagram,
    plain_socket,
    read_all,
    reply_to,
    serving,
)

STEADY: Final = RetryPolicy(initial=1, jitter=0, adaptive=False, attempts=3)
ONCE: Final = RetryPolicy(initial=1, jitter=0, attempts=1)


def nothing_is_open(client: Client) -> bool:
    """Whether nothing is left behind, and every request is in one counter (A9, G9)."""
    counts = client.statistics()
    return (
        len(client._protocol.exchanges) == 0
        and not client._pump.parked
        and client._pump.reader is None
        and client._turns.taken == 0
        and math.isinf(client._protocol.next_due)
        and counts.replies + counts.no_replies + counts.remote_errors + counts.cancelled == counts.requests
    )


def numbers(count: int) -> list[bytes]:
    """As payloads."""
    return [b"%d" % number for number in range(count)]


class Payloads:
    """An iterable that knows how many were taken, and may fail behind the last."""

    def __init__(self, count: int, error: Exception | None = None) -> None:
        self.taken = 0
        self._count = count
        self._error = error

    def __iter__(self) -> Iterator[bytes]:
        for number in range(self._count):
            self.taken += 1
            yield b"%d" % number
        if self._error is not None:
            raise self._error


class SlowPayloads(Payloads):
    """The same, with some seconds before each one."""

    def __init__(self, count: int, error: Exception | None = None, *, seconds: float = 0.0) -> None:
        super().__init__(count, error)
        self.ended = False
        self._seconds = seconds

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            for payload in self:
                await trio.sleep(self._seconds)
                yield payload
            await trio.sleep(self._seconds)
        finally:
            self.ended = True


# What comes out


@pytest.mark.parametrize("count", [0, 1, 63, 64, 500])
async def test_every_payload_has_one_result_with_its_own_reply(
    network: NetworkName, autojump_clock: MockClock, count: int
) -> None:
    """A3: numbered as they were taken."""
    async with serving(lambda request: request.payload[::-1]) as server, open_client(*server.address) as client:
        found: dict[int, Result] = {}
        async with client.request_many(Payloads(count)) as results:
            async for result in results:
                assert result.number not in found
                found[result.number] = result
        assert nothing_is_open(client)
        assert client.statistics().replies == count
    assert {number: result.payload for number, result in found.items()} == dict(enumerate(numbers(count)))
    for result in found.values():
        assert (result.reply is not None, result.error) == (True, None)
        assert result.reply is not None
        assert (result.reply.payload, result.reply.peer) == (result.payload[::-1], client.servers[0])


async def test_results_come_in_the_order_in_which_requests_end(network: NetworkName, autojump_clock: MockClock) -> None:
    """C4: each at its own time, to the tick."""

    async def wait(request: Request) -> bytes:
        await trio.sleep(int(request.payload) / 10)
        return request.payload

    came: list[tuple[int, float]] = []
    async with serving(wait) as server, open_client(*server.address) as client:
        began = trio.current_time()
        async with client.request_many([b"5", b"1", b"9", b"3"], policy=ONCE) as results:
            async for result in results:
                came.append((result.number, round(trio.current_time() - began, 6)))
    assert came == [(1, 0.1), (3, 0.3), (0, 0.5), (2, 0.9)]


async def test_one_requests_error_ends_no_other(network: NetworkName, autojump_clock: MockClock) -> None:
    """A2: what `exchange` would raise is in the result, and is counted as it would be there."""

    def choose(request: Request) -> bytes | None:
        if request.payload == b"raise":
            raise KeyError("mine")
        return None if request.payload == b"ignore" else request.payload

    payloads = [b"ignore", b"good", b"raise", bytes(2000), b"better"]
    async with serving(choose) as server, open_client(*server.address, policy=STEADY) as client:
        found: dict[int, Result] = {}
        async with client.request_many(payloads) as results:
            async for result in results:
                found[result.number] = result
        counts = client.statistics()
        assert nothing_is_open(client)
    assert [found[number].payload for number in range(5)] == payloads
    assert [found[number].reply is not None for number in range(5)] == [False, True, False, False, True]
    no_reply = found[0].error
    assert isinstance(no_reply, NoReply)
    assert (no_reply.attempts, no_reply.elapsed, no_reply.servers) == (3, 7.0, client.servers)
    assert isinstance(found[2].error, trio_udp.RemoteError)
    assert isinstance(found[3].error, trio_udp.PayloadTooLarge)
    assert (counts.replies, counts.no_replies, counts.remote_errors, counts.cancelled) == (2, 1, 1, 1)


async def test_payloads_that_cannot_be_sent_do_not_keep_other_tasks_from_running(
    network: NetworkName, autojump_clock: MockClock
) -> None:
    """G9: an endless row of them can be cancelled, and is taken no faster than results are."""

    def endless() -> Iterator[bytes]:
        while True:
            yield bytes(2000)

    came = 0
    async with open_client("127.0.0.1", 9) as client:
        async with client.request_many(endless(), max_in_flight=10) as results:
            with at_most_steps(10_000), trio.CancelScope() as scope:
                async for result in results:
                    assert isinstance(result.error, ValueError)
                    came += 1
                    if came == 1000:
                        scope.cancel()
        assert came <= 1010
        assert client.statistics().requests <= 1020


async def test_lost_requests_are_sent_again_on_schedule(network: NetworkName, autojump_clock: MockClock) -> None:
    """C2, C4: each of them, while the others are answered."""

    def third_time_lucky(request: Request) -> bytes | None:
        lost = 2 if request.payload == b"1" else 0
        return request.payload if request.attempt > lost else None

    async with serving(third_time_lucky) as server, open_client(*server.address) as client:
        came = {}
        began = trio.current_time()
        async with client.request_many(numbers(3), policy=STEADY) as results:
            async for number, _, reply, _ in results:
                assert reply is not None
                came[number] = (trio.current_time() - began, reply.attempts)
    assert came == {0: (0, 1), 1: (3, 3), 2: (0, 1)}


# Room


async def test_payloads_are_taken_only_as_room_appears(network: NetworkName, autojump_clock: MockClock) -> None:
    """C6: no more in flight, or waiting to be looked at, than allowed; none before the first wait for a result."""
    payloads = Payloads(40)
    running = most = 0

    async def slow(request: Request) -> bytes:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await trio.sleep(0.1)
        running -= 1
        return request.payload

    async with (
        serving(slow) as server,
        open_client(*server.address) as client,
        client.request_many(payloads, max_in_flight=4) as results,
    ):
        await trio.sleep(1)
        assert payloads.taken == 0
        looked_at = 0
        async for _ in results:
            assert payloads.taken <= looked_at + 4
            looked_at += 1
            await trio.sleep(0.01)
    assert (most, looked_at) == (4, 40)


@pytest.mark.parametrize("number", [0, -1])
async def test_room_for_nobody_is_refused(number: int) -> None:
    """With what was expected."""
    async with open_client("127.0.0.1", 9) as client:
        with pytest.raises(ValueError, match=f"^expected max_in_flight to be at least 1, got {number}$"):
            async with client.request_many([], max_in_flight=number):
                pytest.fail("opened")


async def test_a_format_without_ids_has_one_request_in_flight(network: NetworkName, autojump_clock: MockClock) -> None:
    """With the book's format, beside requests of other tasks."""
    async with serving(echo, profile=Book()) as server:
        async with open_client(*server.address, profile=Book()) as client, trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(client.request, b"alone")
            async with client.request_many(numbers(5)) as results:
                assert sorted([result.payload async for result in results]) == numbers(5)
        assert nothing_is_open(client)


async def test_a_loop_that_is_busy_leaves_others_a_turn_and_they_read_for_it(
    network: NetworkName, autojump_clock: MockClock
) -> None:
    """G7: and what was read for it gives its turn back at once."""
    async with (
        serving(echo) as server,
        open_client(*server.address, max_in_flight=4) as client,
        client.request_many(Payloads(100)) as results,
    ):
        await anext(results)
        for number in range(10):
            with trio.fail_after(0.1):
                assert await client.request(b"other %d" % number) == b"other %d" % number
        assert client.statistics().in_flight == 0
        assert len([result async for result in results]) == 99


async def test_where_others_have_all_turns_it_waits_for_one(network: NetworkName, autojump_clock: MockClock) -> None:
    """C6: in the order in which they came."""
    with plain_socket() as silent:
        opening = open_client(*address_of(silent), max_in_flight=2, policy=ONCE)
        async with opening as client, trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(_no_reply, client)
            await wait_all_tasks_blocked()
            began = trio.current_time()
            async with client.request_many([b"?"]) as results:
                assert isinstance((await anext(results)).error, NoReply)
            assert trio.current_time() - began == 2
            async with client.request_many([]) as results:
                assert [result async for result in results] == []
        assert nothing_is_open(client)


async def _no_reply(client: Client) -> None:
    with pytest.raises(NoReply):
        await client.request(b"?")


@pytest.mark.parametrize("loops", [1, 2, 3])
async def test_a_turn_that_was_waited_for_is_not_lost_to_others_who_wait(
    network: NetworkName, autojump_clock: MockClock, loops: int
) -> None:
    """C6, G9: each gets its own, in the order in which they came, and nobody is left waiting for ever."""
    ended: list[str] = []

    async def loop(client: Client) -> None:
        async with client.request_many(numbers(2)) as results:
            assert [result.reply is None async for result in results] == [True, True]
        ended.append("loop")

    async def ask(client: Client) -> None:
        await _no_reply(client)
        ended.append("task")

    with plain_socket() as silent, trio.fail_after(100):
        opening = open_client(*address_of(silent), max_in_flight=1, policy=ONCE)
        async with opening as client, trio.open_nursery() as nursery:
            for number in range(loops):
                for act in (ask, loop, ask):
                    nursery.start_soon(act, client)
                    await trio.sleep(0.001 * number)
        assert nothing_is_open(client)
    assert sorted(ended) == ["loop"] * loops + ["task"] * 2 * loops


# A loop with other things to do


@pytest.mark.parametrize("answered", [2, 200])
async def test_answers_that_came_while_the_loop_was_busy_are_taken_before_anything_is_given_up(
    network: NetworkName, autojump_clock: MockClock, answered: int
) -> None:
    """A2: all of them, though nobody read for longer than the whole schedule."""
    with plain_socket() as server:
        async with open_client(*address_of(server), max_in_flight=300) as client:
            async with client.request_many(numbers(answered + 1), policy=ONCE) as results:
                with trio.move_on_after(0.5):
                    await anext(results)
                for _ in range(answered):
                    data, peer = await next_datagram(server)
                    server.sendto(reply_to(data, b"in time"), peer)
                await trio.sleep(1000)
                came = {result.number: result async for result in results}
            assert [came[number].reply is not None for number in range(answered + 1)] == [True] * answered + [False]
            assert isinstance(came[answered].error, NoReply)


@awaitable
async def test_a_steady_stream_of_answers_does_not_keep_lost_requests_waiting(
    network: NetworkName, autojump_clock: MockClock
) -> None:
    """C4: though every read brings an answer at once, what is due is sent and given up on time."""
    sent: list[bytes] = []
    async with open_client("127.0.0.1", 9, connect=False) as client:

        async def send(data: bytes, *_: object, **__: object) -> None:
            if not data.endswith(b"lost"):
                sent.append(data)

        async def receive(*, may_wait: bool = True) -> Batch:
            if not may_wait:
                return Batch([], [], [], 0)
            await trio.lowlevel.checkpoint()
            autojump_clock.jump(0.01)
            batch = [Datagram(reply_to(data, b""), client.servers[0], NOTHING) for data in sent]
            sent.clear()
            return Batch(batch or [Datagram(b"junk", client.servers[0], NOTHING)], [], [], 0)

        transport = cast("Any", client._endpoint._transport)
        transport.send, transport.receive = send, receive
        payloads = [b"lost", *numbers(2000)]
        began = trio.current_time()
        async with client.request_many(payloads, policy=STEADY, max_in_flight=2) as results:
            async for result in results:
                if result.number == 0:
                    break
        assert trio.current_time() - began == pytest.approx(7, abs=0.05)
        assert isinstance(result.error, NoReply)
        assert result.error.attempts == 3
        assert client.statistics().replies > 600


# Ends


async def test_leaving_the_block_forgets_what_is_in_flight_at_once(
    network: NetworkName, autojump_clock: MockClock
) -> None:
    """A9: by `break` as by anything else; an answer that still comes is late."""
    with plain_socket() as server:
        async with open_client(*address_of(server)) as client:
            async with client.request_many(Payloads(10), max_in_flight=5) as results, trio.open_nursery() as nursery:
                nursery.start_soon(_answer_once, server)
                async for result in results:
                    assert result.reply is not None
                    break
            assert nothing_is_open(client)
            counts = client.statistics()
            assert (counts.requests, counts.replies, counts.cancelled) == (5, 1, 4)
            data, peer = await next_datagram(server)
            server.sendto(reply_to(data, b"late"), peer)
            with pytest.raises(NoReply):
                await client.request(b"?", policy=ONCE)
            assert client.statistics().dropped == {DropReason.LATE: 1}
            with pytest.raises(trio.ClosedResourceError, match=r"^the block of these results was left$"):
                await anext(results)


async def _answer_once(server: Any) -> None:
    data, peer = await next_datagram(server)
    server.sendto(reply_to(data, b""), peer)


async def test_leaving_the_block_ends_a_wait_in_another_task(network: NetworkName, autojump_clock: MockClock) -> None:
    """G10: it is told, at once or when it gets the turn that it waits for, and takes no more payloads."""
    with plain_socket() as silent:
        for others in (0, 1):
            for many in (Payloads(5), SlowPayloads(5, seconds=math.inf)):
                async with (
                    open_client(*address_of(silent), max_in_flight=1) as client,
                    trio.open_nursery() as others_nursery,
                    trio.open_nursery() as nursery,
                ):
                    for _ in range(others):
                        others_nursery.start_soon(client.request, b"?")
                    await wait_all_tasks_blocked()
                    async with client.request_many(cast("Any", many), nursery=others_nursery) as results:
                        nursery.start_soon(_ends_with_closed_block, results)
                        await wait_all_tasks_blocked()
                    taken = many.taken
                    await wait_all_tasks_blocked()
                    assert len(nursery.child_tasks) == others
                    others_nursery.cancel_scope.cancel()
                assert many.taken == taken
                assert nothing_is_open(client)


async def _ends_with_closed_block(results: AsyncIterator[Result]) -> None:
    with pytest.raises(trio.ClosedResourceError, match=r"^the block of these results was left$"):
        await anext(results)


async def test_an_exception_in_the_loop_stays_what_it_is(network: NetworkName, autojump_clock: MockClock) -> None:
    """G9: the user's own, also with payloads from an async iterable: no hidden nursery makes a group of it."""
    async with serving(echo) as server, open_client(*server.address) as client, trio.open_nursery() as nursery:
        slow = SlowPayloads(9, seconds=1)
        for payloads in (Payloads(9), slow):
            with pytest.raises(KeyError, match="mine"):
                await _fail(client, payloads, nursery)
            assert nothing_is_open(client)
        assert slow.ended


async def _fail(client: Client, payloads: Any, nursery: trio.Nursery) -> None:
    async with client.request_many(payloads, nursery=nursery) as results:
        async for _ in results:
            raise KeyError("mine")


async def test_an_exception_of_the_payloads_is_raised_in_the_loop(
    network: NetworkName, autojump_clock: MockClock
) -> None:
    """G9: as it is, and the results of those before it can still be had."""
    async with serving(echo) as server, open_client(*server.address) as client, trio.open_nursery() as nursery:
        for payloads in (Payloads(3, KeyError("mine")), SlowPayloads(3, KeyError("mine"))):
            came: list[bytes] = []
            async with client.request_many(cast("Any", payloads), nursery=nursery) as results:
                with pytest.raises(KeyError, match="mine"):
                    await _collect(results, came)
                await _collect(results, came)
            assert sorted(came) == numbers(3)


@pytest.mark.parametrize("wrong", [None, "text"])
async def test_a_payload_that_is_not_bytes_is_no_end_of_the_payloads(network: NetworkName, wrong: object) -> None:
    """It is said where results are waited for, and those before it have theirs; behind it an iterator goes on."""

    async def one_by_one(payloads: list[bytes]) -> AsyncIterator[bytes]:
        for payload in payloads:
            await trio.lowlevel.checkpoint()
            yield payload

    payloads = [b"0", cast("bytes", wrong), b"1"]
    async with serving(echo) as server, open_client(*server.address) as client, trio.open_nursery() as nursery:
        for source, expected in ((payloads, [b"0", b"1"]), (one_by_one(payloads), [b"0"])):
            came: list[bytes] = []
            async with client.request_many(cast("Any", source), nursery=nursery) as results:
                with pytest.raises(TypeError, match=f"^expected payloads to be bytes, got {type(wrong).__name__}$"):
                    await _collect(results, came)
                await _collect(results, came)
            assert sorted(came) == expected
            assert nothing_is_open(client)


async def _collect(results: AsyncIterator[Result], payloads: list[bytes]) -> None:
    async for result in results:
        payloads.append(result.payload)


async def test_closing_the_client_ends_the_loop(network: NetworkName, autojump_clock: MockClock) -> None:
    """G10: with `ClosedResourceError`, whether its task reads or another one does."""
    with plain_socket() as silent:
        for others in (0, 1):
            async with open_client(*address_of(silent)) as client, trio.open_nursery() as nursery:
                for _ in range(others):
                    nursery.start_soon(_closed, client)
                await wait_all_tasks_blocked()
                async with client.request_many(Payloads(5)) as results:
                    nursery.start_soon(_close_soon, client)
                    for _ in range(2):
                        with pytest.raises(trio.ClosedResourceError):
                            await anext(results)
            assert nothing_is_open(client)
            assert client.statistics().cancelled == 5 + others


async def _closed(client: Client) -> None:
    with pytest.raises(trio.ClosedResourceError):
        await client.request(b"?")


async def _close_soon(client: Client) -> None:
    await trio.sleep(0.1)
    client.close_nowait()


async def test_one_task_at_a_time_waits_for_results(network: NetworkName, autojump_clock: MockClock) -> None:
    """G9: the other one is told, and disturbs nothing."""
    disturbed = 0

    async def disturb(results: AsyncIterator[Result]) -> None:
        nonlocal disturbed
        with pytest.raises(trio.BusyResourceError):
            await anext(results)
        disturbed += 1

    with plain_socket() as server:
        async with (
            open_client(*address_of(server)) as client,
            client.request_many([b"?"]) as results,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(_answer_after, server, disturb, results)
            assert (await anext(results)).reply is not None
    assert disturbed == 1


async def _answer_after(server: Any, act: Callable[..., Any], *arguments: object) -> None:
    data, peer = await next_datagram(server)
    await act(*arguments)
    server.sendto(reply_to(data, b""), peer)


async def test_a_wait_that_is_cancelled_loses_nothing(network: NetworkName, autojump_clock: MockClock) -> None:
    """G9: whenever it is cancelled, also in a full send buffer: the next wait goes on with the same requests."""

    async def slow(request: Request) -> bytes:
        await trio.sleep(0.35)
        return request.payload

    async with serving(slow) as server, open_client(*server.address) as client:
        if network in DIRECT:
            faults_of(client._endpoint._transport).sends.extend([None, errno.EAGAIN, None, errno.EAGAIN])
        else:
            faults_of(client._endpoint._transport).sends.extend([None, trio.Event(), None])
        came = []
        async with client.request_many(numbers(20), max_in_flight=3) as results:
            while True:
                with trio.move_on_after(0.1):
                    try:
                        came.append((await anext(results)).payload)
                    except StopAsyncIteration:
                        break
        assert sorted(came) == sorted(numbers(20))
        assert nothing_is_open(client)


async def test_what_a_cancelled_wait_had_no_room_to_send_leaves_with_the_next_one(
    network: NetworkName, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G9: at once, not when it would be sent again."""
    async with serving(lambda request: request.payload) as server, open_client(*server.address) as client:
        async with client.request_many(numbers(3), policy=STEADY) as results:
            with monkeypatch.context() as full, trio.move_on_after(0.1):
                full.setattr(client._endpoint, "send_some", _wait_for_room)
                await anext(results)
            came = [result.reply async for result in results]
        assert [reply and (reply.payload, reply.attempts) for reply in came] == [(b"%d" % n, 1) for n in range(3)]


async def _wait_for_room(*_: object, **__: object) -> tuple[int, str | None]:
    await trio.sleep_forever()
    raise AssertionError("there is none")


# Payloads that have to be waited for


async def test_payloads_of_an_async_iterable_need_a_nursery(network: NetworkName) -> None:
    """No task is hidden: the one that waits for payloads is in a nursery of the user's."""
    async with open_client("127.0.0.1", 9) as client:
        with pytest.raises(
            ValueError, match=r"^expected a nursery, in which to wait for payloads of an async iterable$"
        ):
            async with client.request_many(SlowPayloads(1)):
                pytest.fail("opened")


@pytest.mark.parametrize("seconds", [0, 0.1, 10])
async def test_a_slow_payload_delays_no_result(network: NetworkName, autojump_clock: MockClock, seconds: float) -> None:
    """C4: answers are read and lost requests sent again while the next payload is waited for."""

    def second_time_lucky(request: Request) -> bytes | None:
        return request.payload if request.attempt == 2 else None

    async with (
        serving(second_time_lucky) as server,
        open_client(*server.address) as client,
        trio.open_nursery() as nursery,
    ):
        began = trio.current_time()
        payloads = SlowPayloads(5, seconds=seconds)
        async with client.request_many(payloads, policy=STEADY, nursery=nursery) as results:
            async for result in results:
                assert result.reply is not None
                expected = seconds * (result.number + 1) + 1
                assert trio.current_time() - began == pytest.approx(expected)
        assert payloads.ended
    assert nothing_is_open(client)


async def test_payloads_of_a_channel_are_taken_only_as_room_appears(
    network: NetworkName, autojump_clock: MockClock
) -> None:
    """C6: who sends into it waits meanwhile."""
    sent = 0

    async def fill(channel: trio.MemorySendChannel[bytes]) -> None:
        nonlocal sent
        async with channel:
            for payload in numbers(50):
                await channel.send(payload)
                sent += 1

    send, receive = trio.open_memory_channel[bytes](0)
    async with serving(echo) as server, open_client(*server.address) as client, trio.open_nursery() as nursery:
        nursery.start_soon(fill, send)
        looked_at = 0
        async with client.request_many(receive, max_in_flight=4, nursery=nursery) as results:
            await trio.sleep(1)
            assert sent == 0
            async for _ in results:
                looked_at += 1
                await trio.sleep(0.1)
                assert sent <= looked_at + 5
        assert looked_at == 50


async def test_a_nursery_that_is_cancelled_ends_the_loop_when_the_payloads_before_have_results(
    network: NetworkName, autojump_clock: MockClock
) -> None:
    """G9: with an error, because nobody knows whether there would have been more."""
    async with (
        serving(echo) as server,
        open_client(*server.address) as client,
        trio.open_nursery() as nursery,
        client.request_many(SlowPayloads(9, seconds=1), nursery=nursery) as results,
    ):
        assert (await anext(results)).number == 0
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True), pytest.raises(trio.BrokenResourceError, match="nursery"):
            await anext(results)


# Whatever happens


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("wait", [False, True])
def test_cancelling_at_any_step_leaves_nothing(network: NetworkName, wait: bool) -> None:
    """G9: no task, table entry, turn, timer or descriptor, with payloads at hand and with such as are waited for."""

    async def answer_late(request: Request) -> bytes | None:
        await trio.sleep(0.03)
        return None if request.attempt == 1 else request.payload

    clients: list[Client] = []

    async def main(scope: trio.CancelScope) -> None:
        async with installed(network):
            with scope:
                await use()
            assert math.isinf(trio.lowlevel.current_statistics().seconds_to_next_deadline)

    async def use() -> None:
        async with trio.open_nursery() as nursery:
            server = await nursery.start(functools.partial(trio_udp.serve, answer_late, 0, host="127.0.0.1"))
            async with open_client(*server.address, policy=BOOK, max_in_flight=3) as client:
                clients.append(client)
                if network in DIRECT:
                    faults_of(client._endpoint._transport).sends.extend([None, errno.EAGAIN, None])
                await _use(client, wait)
            nursery.cancel_scope.cancel()

    step = 1
    while _run_until(step, main):
        assert all(nothing_is_open(client) for client in clients), step
        clients.clear()
        step += 1
    assert step > 50


async def _use(client: Client, wait: bool) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.request, b"beside it")
        payloads: Any = SlowPayloads(4, seconds=0.01) if wait else Payloads(4)
        async with client.request_many(payloads, nursery=nursery) as results:
            async for result in results:
                assert result.reply is not None


def _run_until(step: int, main: Callable[..., Any]) -> bool:
    before = descriptors()
    scope = trio.CancelScope()
    instrument = AtStep(step, scope.cancel)
    trio.run(main, scope, clock=MockClock(autojump_threshold=0), instruments=[instrument])
    assert descriptors() == before
    return instrument.steps >= step


@pytest.mark.parametrize("network", NETWORKS)
@given(
    losses=st.lists(st.integers(0, 3), min_size=1, max_size=12),
    max_in_flight=st.integers(1, 5),
    others=st.integers(0, 3),
    patience=st.sampled_from([math.inf, 0.25, 0.5]),
    leave_after=st.integers(0, 12),
)
def test_each_payload_has_its_one_result_until_the_block_is_left(
    *, network: NetworkName, losses: list[int], max_in_flight: int, others: int, patience: float, leave_after: int
) -> None:
    """A3, A9, G9: beside requests of other tasks, and though waits for results are cancelled again and again."""

    def lose(request: Request) -> bytes | None:
        return request.payload if request.attempt > losses[int(request.payload) % len(losses)] else None

    async def ask(client: Client, number: int) -> None:
        with trio.move_on_after(1):
            await client.request(b"%d" % number)

    async def main() -> None:
        async with installed(network), serving(lose, host="127.0.0.1") as server:
            async with open_client(*server.address, policy=STEADY, max_in_flight=3) as client:
                async with trio.open_nursery() as nursery:
                    for number in range(others):
                        nursery.start_soon(_ignore_no_reply, ask, client, number)
                    payloads = numbers(len(losses))
                    came: list[Result] = []
                    async with client.request_many(payloads, max_in_flight=max_in_flight) as results:
                        while len(came) < leave_after:
                            with trio.move_on_after(patience):
                                try:
                                    came.append(await anext(results))
                                except StopAsyncIteration:
                                    break
                assert nothing_is_open(client)
            _check(came, losses, leave_after)

    trio.run(main, clock=MockClock(autojump_threshold=0))


async def _ignore_no_reply(ask: Callable[..., Any], *arguments: object) -> None:
    with contextlib.suppress(NoReply):
        await ask(*arguments)


def _check(came: list[Result], losses: list[int], leave_after: int) -> None:
    assert len(came) == min(len(losses), leave_after)
    assert len({result.number for result in came}) == len(came)
    for number, payload, reply, error in came:
        assert payload == b"%d" % number
        if losses[number] < 3:
            assert reply is not None
            assert (reply.payload, reply.attempts, error) == (payload, losses[number] + 1, None)
        else:
            assert (reply, type(error)) == (None, NoReply)


async def test_thousands_of_requests_in_flight_need_one_task(network: NetworkName, autojump_clock: MockClock) -> None:
    """G7: and one descriptor."""
    with plain_socket() as silent:
        before = descriptors()
        async with open_client(*address_of(silent), max_in_flight=5_001, policy=ONCE) as client:
            async with client.request_many(Payloads(6_000)) as results:
                tasks = trio.lowlevel.current_statistics().tasks_living
                with trio.move_on_after(0.5):
                    await anext(results)
                assert client.statistics().in_flight == 5_000
                assert trio.lowlevel.current_statistics().tasks_living == tasks
                assert descriptors() == before + 1
            assert nothing_is_open(client)
        read_all(silent)
