"""Search for a path's knee by probing it: a run for each rate, so that queues are empty when the next one begins."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Final

from ._capture import Captured
from ._knee import Knee, KneeSearch, Step
from ._prober import DEFAULT_WAIT, Prober
from ._records import Event
from ._schedules import Fixed

FIRST_RATE: Final = 10.0
"""Probes a second: slow enough for any path."""
MOST_RATE: Final = 10_000.0
_LEAST_PROBES: Final = 20


def _nothing(_: object) -> None:
    """What to do with what nobody wants."""


async def find_knee(
    opening: Callable[[], AbstractAsyncContextManager[Prober]],
    *,
    # What to try
    first: float = FIRST_RATE,
    most: float = MOST_RATE,
    seconds: float = 1.0,
    wait: float = DEFAULT_WAIT,
    # Whom to tell
    on_event: Callable[[Event], None] = _nothing,
    on_datagram: Callable[[Captured], None] | None = None,
    on_step: Callable[[Step], None] = _nothing,
) -> Knee:
    """Probe ever faster until more is lost or everybody waits, and find the rate where that begins, to ten percent.

    Args:
        opening: opens a prober, such as `lambda: open_prober(host, port)`; called once for each rate that is tried.
        first: probes a second to begin with.
        most: probes a second to end with.
        seconds: how long each rate is tried; twenty probes at least.
        wait: seconds that each reply is waited for.
        on_event: called with each event of each run.
        on_datagram: called with each datagram.
        on_step: called with each `Step`, a rate and what came of it.

    Raises:
        ValueError: an argument makes no sense.

    And what `opening` and `Prober.run` raise. It may be cancelled at any time; what `on_step` was told stays true.
    """
    search = KneeSearch(first, most)
    while (rate := search.next_rate) is not None:
        async with opening() as prober:
            count = max(round(rate * seconds), _LEAST_PROBES)
            schedule = Fixed(1 / rate)
            found = await prober.run(schedule, count=count, wait=wait, on_event=on_event, on_datagram=on_datagram)
        on_step(search.take(found))
    return search.knee
