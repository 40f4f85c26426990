"""The window and the budget at work: as many turns as they allow, in the order in which they were asked for."""

import functools

import pytest
import trio
from hypothesis import example, given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

import trio_udp
from trio_udp import NoReply, RetryPolicy, ServerBusy, open_client
from trio_udp._turns import Turns
from trio_udp.proto import Window
from trio_udp.proto._retry_budget import RESERVE, SHARE

from .networks import (
    LOST,
    NetworkName,
    address_of,
    echo,
    faults_of,
    network_fixture,  # noqa: F401 - pytest finds it by its name, network
    plain_socket,
    read_all,
    serving,
)

STEADY = RetryPolicy(initial=1, jitter=0, adaptive=False)
TWICE = RetryPolicy(initial=1, jitter=0, adaptive=False, attempts=2)


async def take_turn(turns: Turns) -> None:
    """As the client does it."""
    if not turns.acquire_nowait():
        await turns.acquire()


def shrink(window: Window) -> None:
    """Halve it, whenever that was done the last time."""
    window.lose(window._halved_at, window._halved_at + 1)


async def test_a_smaller_window_waits_until_enough_turns_came_back() -> None:
    """C6: four are taken, then there are two; the third that comes back is the next one's."""
    window = Window(4)
    turns = Turns(window)
    for _ in range(4):
        await take_turn(turns)
    window.lose(0.0, 1.0)
    assert (turns.value, turns.max_value) == (-2, 4)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(take_turn, turns)
        await wait_all_tasks_blocked()
        for _ in range(2):
            turns.release()
            assert turns.awake == 0
        turns.release()
        assert turns.awake == 1
    assert (turns.taken, turns.value, turns.awake) == (2, 0, 0)


async def test_a_larger_window_lets_two_in_for_one() -> None:
    """C6: in the order in which they came; and nobody who comes later overtakes them."""
    window = Window(2)
    window.lose(0.0, 1.0)
    turns = Turns(window)
    order: list[str] = []

    async def take(name: str) -> None:
        await take_turn(turns)
        order.append(name)

    await take("first")
    async with trio.open_nursery() as nursery:
        for name in ("second", "third"):
            nursery.start_soon(take, name)
            await wait_all_tasks_blocked()
        window.answer()
        nursery.start_soon(take, "fourth")
        await wait_all_tasks_blocked()
        assert order == ["first"]
        turns.release()
        await wait_all_tasks_blocked()
        assert order[0] == "first"
        assert set(order[1:]) == {"second", "third"}  # let in together, and Trio runs them in any order
        turns.release()
    assert order[3:] == ["fourth"]
    assert turns.taken == 2


class Line:
    """Some who want turns, and what can happen to them."""

    def __init__(self, window: Window, nursery: trio.Nursery) -> None:
        self.window = window
        self.turns = Turns(window)
        self.inside: list[int] = []
        self.waiting: dict[int, trio.CancelScope] = {}
        self._nursery = nursery
        self._asked = 0

    def ask(self) -> None:
        """One more comes."""
        self._asked += 1
        self._nursery.start_soon(self._ask, self._asked)

    async def _ask(self, number: int) -> None:
        self.waiting[number] = scope = trio.CancelScope()
        with scope:
            await take_turn(self.turns)
            self.inside.append(number)
        del self.waiting[number]

    def release(self) -> None:
        """One is done."""
        if self.inside:
            self.inside.pop()
            self.turns.release()

    def cancel(self) -> None:
        """The last one in line goes away."""
        if self.waiting:
            self.waiting[max(self.waiting)].cancel()

    def lose(self) -> None:
        """Something was lost."""
        shrink(self.window)

    def answer(self) -> None:
        """Something was answered."""
        self.window.answer()


@given(st.integers(1, 5), st.lists(st.sampled_from(["ask", "release", "cancel", "lose", "answer"]), max_size=60))
@example(1, ["ask", "ask", "cancel", "release"])
def test_no_more_are_let_in_than_there_is_room_for_and_nobody_is_forgotten(most: int, events: list[str]) -> None:
    """G9: whatever comes in whatever order; who stands in line is let in, in order, when enough have come back."""

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            line = Line(Window(most), nursery)
            for event in events:
                before = len(line.inside)
                getattr(line, event)()
                await wait_all_tasks_blocked()
                assert len(line.inside) <= max(before, line.window.size)
                assert line.turns.taken == len(line.inside)
                assert max(line.inside, default=0) < min(line.waiting, default=10**9)
                if event == "release" and before:
                    assert not line.waiting or len(line.inside) >= line.window.size
            while line.inside:
                line.release()
                await wait_all_tasks_blocked()
            assert not line.waiting
        assert (line.turns.taken, line.turns.awake) == (0, 0)

    trio.run(main)


# In the client


async def test_a_silent_server_gets_fewer_and_fewer_requests_at_a_time(
    network: NetworkName, autojump_clock: MockClock
) -> None:
    """C6, RFC 8085 section 3.1: sixteen under way, then as many as the window allows; in the end one."""
    with plain_socket() as silent:
        async with open_client(*address_of(silent), policy=TWICE, max_in_flight=16) as client:
            seen: dict[float, int] = {}

            async def ask() -> None:
                with pytest.raises(NoReply):
                    await client.request(b"?", policy=TWICE)

            began = trio.current_time()
            async with trio.open_nursery() as nursery:
                for _ in range(40):
                    nursery.start_soon(ask)
                while client.statistics().no_replies < 40:
                    await wait_all_tasks_blocked()
                    statistics = client.statistics()
                    seen.setdefault(trio.current_time() - began, statistics.in_flight)
                    assert statistics.in_flight <= max(16, statistics.window)
                    await trio.sleep(0.5)
            assert [seen[time] for time in (0.0, 3.0, 6.0, 9.0, 12.0)] == [16, 8, 4, 2, 1]
            assert client.statistics().window == 1
            assert len(read_all(silent)) == 80


async def test_the_window_opens_again_when_the_server_answers(network: NetworkName, autojump_clock: MockClock) -> None:
    """C6: by one for as many answers as it allows; the statistics show it."""
    async with serving(echo, host="127.0.0.1") as server, open_client(*server.address, max_in_flight=8) as client:
        assert client.statistics().window == 8
        faults_of(client._endpoint._transport).sends.append(LOST)
        assert (await client.exchange(b"?", policy=STEADY)).attempts == 2
        windows = []
        for _ in range(4 + 5 + 6 + 7 + 10):
            windows.append(client.statistics().window)
            await client.request(b"?")
    assert windows == [4] * 3 + [5] * 5 + [6] * 6 + [7] * 7 + [8] * 11


async def test_many_requests_from_one_task_go_on_with_a_window_of_one(
    network: NetworkName, autojump_clock: MockClock
) -> None:
    """C6, G10: beside others that want turns as well."""
    async with serving(echo, host="127.0.0.1") as server, open_client(*server.address, max_in_flight=16) as client:
        for _ in range(5):
            shrink(client._protocol.window)
        assert client.statistics().window == 1
        answers: list[bytes] = []

        async def ask(number: int) -> None:
            answers.append(await client.request(b"%d" % number))

        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(ask, number)
            async with client.request_many([b"%d" % number for number in range(20, 100)]) as results:
                answers.extend([result.reply.payload async for result in results if result.reply is not None])
        assert sorted(map(int, answers)) == list(range(100))
        assert client._turns.taken == 0


async def test_a_busy_server_is_not_asked_again_without_end(network: NetworkName, autojump_clock: MockClock) -> None:
    """E9, C6: 1,000 requests that are all refused are sent 1,300 times at most, and not 5,000 times."""

    async def handler(_request: trio_udp.Request) -> None:
        await trio.sleep_forever()

    async def ask() -> None:
        with pytest.raises(ServerBusy):
            await client.request(b"?", policy=STEADY)

    async with (
        serving(handler, host="127.0.0.1", max_handlers=1) as server,
        open_client(*server.address, max_in_flight=1001) as client,
        trio.open_nursery() as nursery,
    ):
        patient = RetryPolicy(initial=1e6, attempts=1, adaptive=False)
        nursery.start_soon(functools.partial(client.request, b"the one that runs", policy=patient))
        await wait_all_tasks_blocked()
        async with trio.open_nursery() as asking:
            for _ in range(1000):
                asking.start_soon(ask)
        statistics = client.statistics()
        assert statistics.remote_errors == 1000
        assert server.statistics().busy <= 1000 + RESERVE + SHARE * 1001
        assert statistics.endpoint.datagrams_sent - 1 + statistics.withheld == 5000
        nursery.cancel_scope.cancel()
