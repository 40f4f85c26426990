"""Turns: so many at a time, first come, first served, and nobody who leaves takes one along."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trio_udp._turns import Turns
from trio_udp.proto import Window


async def test_turns_are_given_in_the_order_of_the_line() -> None:
    """Two at a time; whoever has been let in and has not run yet is counted as awake."""
    turns = Turns(Window(2))
    assert turns.acquire_nowait()
    assert turns.acquire_nowait()
    assert not turns.acquire_nowait()
    served = []

    async def stand_in_line(number: int) -> None:
        await turns.acquire()
        served.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(stand_in_line, number)
            await wait_all_tasks_blocked()
        for number in range(3):
            turns.release()
            assert (turns.awake, served) == (1, list(range(number)))
            await wait_all_tasks_blocked()
            assert (turns.awake, turns.value) == (0, 0)
    assert served == [0, 1, 2]
    turns.release()
    turns.release()
    assert turns.value == turns.max_value == 2


@pytest.mark.parametrize("victim", range(3))
async def test_who_is_cancelled_in_line_leaves_it(victim: int) -> None:
    """G9: the turn goes to the next, or back."""
    turns = Turns(Window(1))
    assert turns.acquire_nowait()
    scopes = [trio.CancelScope() for _ in range(3)]
    served = []

    async def stand_in_line(number: int) -> None:
        with scopes[number]:
            await turns.acquire()
            served.append(number)
            turns.release()

    async with trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(stand_in_line, number)
            await wait_all_tasks_blocked()
        scopes[victim].cancel()
        await wait_all_tasks_blocked()
        turns.release()
    assert served == [number for number in range(3) if number != victim]
    assert (turns.value, turns.awake) == (1, 0)
