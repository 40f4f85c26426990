"""In which task a handler runs, and that it cannot tell: by Trio's rules an async one has a task to itself (E8, E9).

It begins in the task that reads the socket. So whatever Trio ties to a task is tried on both sides of its first wait.
"""

import contextvars
import functools
import itertools
import math
import types
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import sniffio
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

import trio_udp
from trio_udp import Client, Request, RetryPolicy, Server, open_client
from trio_udp._endpoint import Endpoint
from trio_udp._handlers import AsyncHandler, Waiting, begin, go_on
from trio_udp._net import Outgoing
from trio_udp._reading import SPARE
from trio_udp.proto import TU1

from .networks import (
    NETWORKS,
    NetworkName,
    direct,
    installed,
    network_fixture,  # noqa: F401 - pytest finds it by its name, network
    plain_socket,
    read_all,
    serving,
)

ONCE = RetryPolicy(initial=1000, jitter=0, adaptive=False, attempts=1)
REQUEST = Request(b"payload", trio_udp.Address("127.0.0.1", 1), trio_udp.Address("127.0.0.1", 2), 1)
name = contextvars.ContextVar("name", default=b"nobody's")


@asynccontextmanager
async def asking(handler: AsyncHandler, **options: Any) -> AsyncIterator[tuple[Client, Server]]:
    """A server with this handler, and a client of it."""
    async with (
        serving(handler, host="127.0.0.1", **options) as server,
        open_client(*server.address, policy=ONCE, max_in_flight=10_000) as client,
    ):
        yield client, server


async def ask_all(client: Client, payloads: list[bytes]) -> dict[bytes, bytes]:
    """Ask all of these at once."""
    answers: dict[bytes, bytes] = {}

    async def ask(payload: bytes) -> None:
        answers[payload] = await client.request(payload)

    async with trio.open_nursery() as nursery:
        for payload in payloads:
            nursery.start_soon(ask, payload)
    return answers


def tasks_of(server: Server) -> list[trio.lowlevel.Task]:
    """All of them."""
    return list(server._reading._nursery.child_tasks)


NAMES = [bytes([letter]) * 9 for letter in b"abcdefgh"]
WAITS: dict[str, Callable[[], Awaitable[object]] | None] = {
    "not at all": None,
    "a checkpoint": trio.lowlevel.checkpoint,
    "a shielded checkpoint": trio.lowlevel.cancel_shielded_checkpoint,
    "a deadline": functools.partial(trio.sleep, 0),
    "the others": wait_all_tasks_blocked,
    "a thread": functools.partial(trio.to_thread.run_sync, int),
}
every_wait = pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS)


async def wait_for(wait: Callable[[], Awaitable[object]] | None) -> None:
    """Wait, or do not."""
    if wait is not None:
        await wait()


@every_wait
async def test_each_request_has_a_context_of_its_own(
    network: NetworkName, wait: Callable[[], Awaitable[object]] | None
) -> None:
    """What one handler sets, no other sees, before or after waiting; and a token still fits."""
    seen: list[bytes] = []

    async def handler(request: Request) -> bytes:
        seen.append(name.get())
        token = name.set(request.payload)
        await wait_for(wait)
        answer = name.get()
        name.reset(token)
        seen.append(name.get())
        await wait_for(wait)
        name.set(b"left behind")
        return answer

    name.set(b"the server's")
    async with asking(handler) as (client, _):
        for _ in range(3):
            assert await ask_all(client, NAMES) == {each: each for each in NAMES}
    assert Counter(seen) == {b"the server's": 6 * len(NAMES)}
    assert name.get() == b"the server's"


@every_wait
async def test_a_handler_stays_in_its_task(network: NetworkName, wait: Callable[[], Awaitable[object]] | None) -> None:
    """And while it waits no other is in it; Trio is the library that sniffio finds."""
    waiting: set[trio.lowlevel.Task] = set()

    async def handler(request: Request) -> bytes:
        task = trio.lowlevel.current_task()
        assert task not in waiting
        waiting.add(task)
        for _ in range(3):
            assert sniffio.current_async_library() == "trio"
            await wait_for(wait)
            assert trio.lowlevel.current_task() is task
        waiting.remove(task)
        return request.payload

    async with asking(handler) as (client, server):
        for _ in range(3):
            assert await ask_all(client, NAMES) == {each: each for each in NAMES}
        assert server.statistics().errors == 0


async def test_a_handler_that_does_not_wait_costs_no_task(network: NetworkName) -> None:
    """All run in the one that reads."""
    tasks = set()

    async def handler(request: Request) -> bytes:
        tasks.add(trio.lowlevel.current_task())
        return request.payload

    async with asking(handler) as (client, server):
        assert len(await ask_all(client, NAMES)) == len(NAMES)
        assert tasks == set(tasks_of(server))
    assert len(tasks) == 1


async def test_a_cancel_scope_is_its_handlers_only(network: NetworkName, autojump_clock: MockClock) -> None:
    """Entered before the first wait, left after it: by time, by hand, or from outside."""
    scopes: dict[bytes, trio.CancelScope] = {}

    async def handler(request: Request) -> bytes:
        with trio.move_on_after(10) as outer, trio.CancelScope() as inner:
            scopes[request.payload] = inner
            if request.payload == b"cancelled by hand":
                inner.cancel()
            await trio.sleep(1 if request.payload == b"in time" else 20)
            return b"slept"
        assert trio.current_effective_deadline() == math.inf
        return b"by the outer" if outer.cancelled_caught else b"by the inner" if inner.cancelled_caught else b""

    async def cancel_from_outside() -> None:
        await trio.sleep(2)
        scopes[b"from outside"].cancel()

    async with asking(handler) as (client, _), trio.open_nursery() as nursery:
        nursery.start_soon(cancel_from_outside)
        assert await ask_all(client, [b"in time", b"cancelled by hand", b"too late for that", b"from outside"]) == {
            b"in time": b"slept",
            b"cancelled by hand": b"by the inner",
            b"too late for that": b"by the outer",
            b"from outside": b"by the inner",
        }


async def test_a_nursery_in_a_handler_has_the_handlers_task_as_parent(
    network: NetworkName, autojump_clock: MockClock
) -> None:
    """Its children see the handler's context, and it ends with them."""

    async def child(answers: list[bytes]) -> None:
        await trio.sleep(1)
        answers.append(name.get())

    async def handler(request: Request) -> bytes:
        name.set(request.payload)
        answers: list[bytes] = []
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(child, answers)
            assert nursery.parent_task is trio.lowlevel.current_task()
        return b" ".join(answers)

    async with asking(handler) as (client, server):
        answers = await ask_all(client, NAMES)
        assert answers == {each: b" ".join([each] * 3) for each in NAMES}
        await wait_all_tasks_blocked()
        assert not any(task.child_nurseries for task in tasks_of(server))


@pytest.mark.parametrize("waits", [0, 1, 2])
async def test_an_exception_is_its_handlers_only(
    network: NetworkName, caplog: pytest.LogCaptureFixture, waits: int
) -> None:
    """E8: whether it comes before the first wait or after; and the traceback shows the handler."""

    async def handler(request: Request) -> bytes:
        for _ in range(waits):
            await trio.lowlevel.checkpoint()
        if request.payload == NAMES[0]:
            raise KeyError("a bug of the handler's")
        return request.payload

    async with asking(handler) as (client, server):
        with pytest.RaisesGroup(trio_udp.RemoteError):
            await ask_all(client, NAMES[:1])
        assert await ask_all(client, NAMES[1:]) == {each: each for each in NAMES[1:]}
        assert server.statistics().errors == 1
    (record,) = caplog.records
    assert record.exc_info is not None
    frames = []
    traceback = record.exc_info[2]
    while traceback is not None:
        frames.append(traceback.tb_frame.f_code.co_name)
        traceback = traceback.tb_next
    assert frames[-1] == "handler"


@pytest.mark.parametrize("waits", [0, 1])
async def test_a_scope_that_a_handler_leaves_open_stops_nobody(
    network: NetworkName, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, waits: int
) -> None:
    """E8: its deadline passes in the task that reads, at once or when that has its turn again; another one goes on."""
    left_open = []

    async def handler(request: Request) -> bytes:
        if request.payload == b"careless":
            for _ in range(waits):
                await trio.lowlevel.checkpoint()
            left_open.append(trio.move_on_after(10))
            left_open[0].__enter__()
        elif request.payload == b"slow":
            await trio.sleep(20)
        return request.payload

    async with asking(handler) as (client, server), trio.open_nursery() as nursery:
        assert await client.request(b"careless") == b"careless"
        await wait_all_tasks_blocked()
        if waits:  # a task that has nothing to do now, and that reads next
            nursery.start_soon(client.request, b"slow")
        await trio.sleep(15)
        assert left_open[0].cancel_called
        assert await ask_all(client, NAMES) == {each: each for each in NAMES}
    statistics = server.statistics()
    assert statistics.requests == statistics.replies == 1 + waits + len(NAMES)
    assert ["left a cancel scope open" in each.message for each in caplog.records] == [True]


async def test_a_scope_left_open_with_handlers_under_it_stops_nobody(
    network: NetworkName, autojump_clock: MockClock
) -> None:
    """E8: those that have begun in its task end with it, without an answer, even if they have tasks of their own."""
    left_open = []

    async def handler(request: Request) -> bytes:
        if request.payload == b"careless":
            left_open.append(trio.move_on_after(10))
            left_open[0].__enter__()
        else:
            async with trio.open_nursery() as nursery:
                for _ in range(2):
                    nursery.start_soon(trio.sleep, 20)
        return request.payload

    async with asking(handler) as (client, server), trio.open_nursery() as nursery:
        assert await client.request(b"careless") == b"careless"
        nursery.start_soon(client.request, b"unlucky")
        await trio.sleep(15)
        assert server.statistics().unanswered == 1
        assert await ask_all(client, NAMES) == {each: each for each in NAMES}
        nursery.cancel_scope.cancel()


async def test_what_is_nothing_to_trio_is_an_error_of_the_handlers(
    network: NetworkName, caplog: pytest.LogCaptureFixture
) -> None:
    """E8: something made for another library, awaited first thing. Trio says so, in the handler."""

    @types.coroutine
    def foreign() -> Generator[object, object, None]:
        yield "a future of another library"

    async def handler(request: Request) -> bytes:
        try:
            await foreign()
        except TypeError:
            await trio.lowlevel.checkpoint()
        return request.payload

    async with asking(handler) as (client, _):
        assert await ask_all(client, NAMES) == {each: each for each in NAMES}


async def test_any_awaitable_will_do(network: NetworkName) -> None:
    """A handler may be marked as a coroutine function and return something else to await."""

    class Later:
        def __init__(self, payload: bytes) -> None:
            self._payload = payload

        def __await__(self) -> Generator[Any, Any, bytes]:
            yield from trio.lowlevel.checkpoint().__await__()
            return self._payload

    waiting = begin(lambda request: Later(request.payload), REQUEST, contextvars.copy_context())
    assert isinstance(waiting, Waiting)
    assert await go_on(waiting) == REQUEST.payload


async def test_a_handler_that_is_thrown_away_is_closed() -> None:
    """As any coroutine: its `finally` runs."""
    closed = []

    async def handler(request: Request) -> None:
        try:
            await trio.lowlevel.checkpoint()
        finally:
            closed.append(request.payload)

    waiting = begin(handler, REQUEST, contextvars.copy_context())
    assert isinstance(waiting, Waiting)
    generator = go_on(waiting)
    generator.send(None)
    generator.close()
    assert closed == [b"payload"]


# When answers leave


@direct
@pytest.mark.parametrize(("seconds", "left"), [(0.0001, [0, 0, 0, 0]), (0.01, [0, 1, 1, 1])])
async def test_an_answer_does_not_wait_for_slow_handlers(
    network: NetworkName, monkeypatch: pytest.MonkeyPatch, seconds: float, left: list[int]
) -> None:
    """Those of a batch leave together, unless that takes longer than a millisecond."""
    now = 0.0
    seen: list[int] = []
    monkeypatch.setattr("trio_udp._answering.perf_counter", lambda: now)

    def handler(request: Request) -> bytes:
        nonlocal now
        now += seconds
        seen.append(len(read_all(stranger)))
        return request.payload

    async with serving(handler, host="127.0.0.1") as server:
        with plain_socket() as stranger:
            for _ in left:
                stranger.sendto(TU1().encode_request(b"?", bytes(16), 1, 0), server.address)
            await wait_all_tasks_blocked()
            assert seen == left
            assert len(read_all(stranger)) == len(left) - sum(left)


@direct
@pytest.mark.parametrize(
    "asked",
    [TU1().encode_request(b"?", bytes(16), 1, 0), TU1().encode_probe(b"?", bytes(16), 1)],
    ids=["request", "probe"],
)
@pytest.mark.parametrize(("takes", "together"), [(0.0, 10), (0.01, 2)])
async def test_other_tasks_have_their_turn_between_slow_handlers(
    network: NetworkName, monkeypatch: pytest.MonkeyPatch, asked: bytes, takes: float, together: int
) -> None:
    """They do not wait for a whole batch of them: a pass of Trio's loop has one, and two with the first of the next.
    Behind fast ones they do."""
    now = 0.0
    seen: list[str] = []
    monkeypatch.setattr("trio_udp._answering.perf_counter", lambda: now)

    def handler(request: Request) -> None:
        nonlocal now
        now += takes
        seen.append("handler")

    async def neighbour() -> None:
        while seen.count("handler") < 10:
            seen.append("neighbour")
            await trio.lowlevel.checkpoint()

    async with serving(handler, host="127.0.0.1") as server, trio.open_nursery() as nursery:
        with plain_socket() as stranger:
            for _ in range(10):
                stranger.sendto(asked, server.address)
            nursery.start_soon(neighbour)
            await wait_all_tasks_blocked()
    runs = [len(list(run)) for who, run in itertools.groupby(seen) if who == "handler"]
    assert sum(runs) == 10
    assert max(runs) <= together
    assert takes or max(runs) == together


@pytest.mark.parametrize("cancelled", [False, True])
async def test_answers_of_handlers_that_end_together_leave_together(
    network: NetworkName, monkeypatch: pytest.MonkeyPatch, *, cancelled: bool
) -> None:
    """In one call, and even if the server is cancelled in that moment; each is counted under what became of it."""
    send_batch = Endpoint.send_batch
    sent: list[int] = []
    together = trio.Event()

    async def count_and_send(endpoint: Endpoint, outgoing: Sequence[Outgoing], *, may_wait: bool) -> dict[int, str]:
        if together.is_set():
            sent.append(len(outgoing))
        return await send_batch(endpoint, outgoing, may_wait=may_wait)

    async def handler(request: Request) -> bytes:
        with trio.CancelScope(shield=True):
            await together.wait()
        return request.payload

    async with asking(handler) as (client, server), trio.open_nursery() as nursery:
        nursery.start_soon(ask_all, client, NAMES)
        await wait_all_tasks_blocked()
        monkeypatch.setattr(Endpoint, "send_batch", count_and_send)
        together.set()
        if cancelled:
            server._scope.cancel()
        await wait_all_tasks_blocked()
        statistics = server.statistics()
        nursery.cancel_scope.cancel()
    assert sent == [len(NAMES)]
    assert statistics.handlers == 0
    assert statistics.replies + statistics.unanswered == len(NAMES)


# How many tasks


@pytest.mark.parametrize("max_handlers", [1, 5, 200])  # the usual receive buffer holds 256 at once
async def test_there_are_no_more_tasks_than_handlers_that_wait(
    network: NetworkName, autojump_clock: MockClock, max_handlers: int
) -> None:
    """E9: and the one that reads; when they have ended only some spare ones stay, and those are used again."""

    async def handler(request: Request) -> bytes:
        await trio.sleep(1)
        return request.payload

    async with asking(handler, max_handlers=max_handlers) as (client, server):
        payloads = [number.to_bytes(2, "big") for number in range(max_handlers)]
        for _ in range(2):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask_all, client, payloads)
                await wait_all_tasks_blocked()
                assert server.statistics().handlers == max_handlers
                assert len(tasks_of(server)) == max_handlers + 1
            await wait_all_tasks_blocked()
            assert server.statistics().handlers == 0
            assert len(tasks_of(server)) == min(max_handlers, SPARE) + 1
            assert len(server._reading._spare) == min(max_handlers, SPARE)


# All of it together

STEPS = ["wait", "wait", "sleep", "shield", "timeout", "nursery", "raise", "silence"]
plans = st.lists(st.lists(st.sampled_from(STEPS), max_size=4), min_size=1, max_size=30)


@pytest.mark.parametrize("network", NETWORKS)
@given(plans=plans, stop=st.none() | st.floats(0, 3))
def test_every_request_gets_its_own_answer_whatever_the_handlers_do(
    network: NetworkName, plans: list[list[str]], stop: float | None
) -> None:
    """E8: each ends as its plan says, in one counter, and nothing is left; or all are stopped in the middle."""
    trio.run(follow, network, plans, stop, clock=MockClock(autojump_threshold=0))


async def follow(network: NetworkName, plans: list[list[str]], stop: float | None) -> None:
    """Ask once for each plan on this network, and compare."""
    async with installed(network):
        await follow_all(plans, stop)


async def follow_all(plans: list[list[str]], stop: float | None) -> None:
    """The same, on whichever network is installed."""
    ended = Counter[str]()

    async def handler(request: Request) -> bytes | None:
        number = int(request.payload)
        name.set(request.payload)
        for step in plans[number]:
            if step == "raise":
                raise KeyError(number)
            if step == "silence":
                return None
            await take(step)
            assert name.get() == request.payload
        return request.payload[::-1]

    async def ask(client: Client, number: int) -> None:
        payload = str(number).encode()
        try:
            assert (
                await client.request(payload, policy=RetryPolicy(initial=50, jitter=0, adaptive=False, attempts=1))
                == payload[::-1]
            )
            ended["replies"] += 1
        except trio_udp.RemoteError:
            ended["errors"] += 1
        except trio_udp.NoReply:
            ended["unanswered"] += 1

    async with serving(handler, host="127.0.0.1") as server, open_client(*server.address) as client:
        with trio.move_on_after(1000 if stop is None else stop):
            async with trio.open_nursery() as nursery:
                for number in range(len(plans)):
                    nursery.start_soon(ask, client, number)
    statistics = server.statistics()
    ends = {each: getattr(statistics, each) for each in ("replies", "errors", "unanswered")}
    assert sum(ends.values()) == statistics.requests
    assert statistics.handlers == 0
    if stop is None:
        firsts = [next((step for step in plan if step in {"raise", "silence"}), "") for plan in plans]
        assert ended == Counter({"": "replies", "raise": "errors", "silence": "unanswered"}[first] for first in firsts)
        assert Counter(ends) == ended


async def take(step: str) -> None:
    """One step of a plan that waits."""
    if step == "wait":
        await trio.lowlevel.checkpoint()
    elif step == "sleep":
        await trio.sleep(0.7)
    elif step == "shield":
        await trio.lowlevel.cancel_shielded_checkpoint()
    elif step == "timeout":
        with trio.move_on_after(0.3):
            await trio.sleep_forever()
    else:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep, 0.2)
            nursery.start_soon(trio.lowlevel.checkpoint)
