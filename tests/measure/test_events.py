"""The events of a run, for one who takes them at his own pace."""

from collections.abc import Awaitable, Callable

import pytest
import trio

from trio_udp.measure import Event, ReplyRecord, Skipped
from trio_udp.measure._events import Events

from .records import reply_record


async def test_who_is_quick_loses_no_event_of_a_run_that_seldom_lets_him_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A prober that naps goes through Trio's loop once in ten events or so; more than wait for a few turns are lost."""
    monkeypatch.setattr("trio_udp.measure._events.EVENTS_KEPT", 64)

    async def run(tell: Callable[[Event], None]) -> None:
        for number in range(1000):
            tell(reply_record(sequence=number))
            if number % 10 == 9:
                await trio.lowlevel.checkpoint()

    assert [event.sequence for event in await taken(run) if isinstance(event, ReplyRecord)] == [*range(1000)]


async def test_who_takes_events_leaves_others_their_turn_and_can_be_cancelled() -> None:
    """However many events there are: else none but this task would run until they are taken."""
    events = Events()
    await events.fill(lambda tell: tell_many(tell, 1000))
    found = []
    with trio.CancelScope() as scope:
        scope.cancel()
        async for event in events:
            found.append(event)
    assert scope.cancelled_caught
    assert len(found) < 100


async def test_what_nobody_took_in_time_is_counted_in_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the oldest that was kept."""
    monkeypatch.setattr("trio_udp.measure._events.EVENTS_KEPT", 3)
    found = await taken(lambda tell: tell_many(tell, 8))
    assert found == [Skipped(events=5), *(reply_record(sequence=number) for number in (5, 6, 7))]


async def tell_many(tell: Callable[[Event], None], count: int) -> None:
    """All at once."""
    for number in range(count):
        tell(reply_record(sequence=number))


async def taken(run: Callable[[Callable[[Event], None]], Awaitable[None]]) -> list[Event]:
    """What somebody gets who does nothing else."""
    events = Events()
    found: list[Event] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(events.fill, run)
        found += [event async for event in events]
    return found
