"""The loop of `trio_udp._client`, on paper: it sends, waits and acts on news, with numbers for a clock and no network.

Whatever a property says about when things are sent, it says about this loop around the core.
"""

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from trio_udp.proto import Attempt, Exchange

MOST_TURNS: Final = 10_000
"""Of a loop that has something to send, or to wait for, at each."""


class Sent(NamedTuple):
    """One transmission, and when it was made."""

    at: float
    attempt: Attempt


class Event(NamedTuple):
    """Something that arrives, whatever the loop is doing then."""

    at: float
    happen: Callable[[float], object]
    """Called with the time."""


class Run(NamedTuple):
    """One exchange from its first transmission to its end."""

    sent: list[Sent]
    ended: float


def run(
    exchange: Exchange,
    events: Iterable[Event] = (),
    *,
    start: float = 0.0,
    on_send: Callable[[Sent], Iterable[Event]] = lambda sent: (),
) -> Run:
    """Drive the exchange to its end; what arrives comes from `events`, and from `on_send` for each transmission.

    What arrives at one time arrives in one batch: the exchange acts on it when all of it was taken in.
    """
    now = start
    sent: list[Sent] = []
    pending = sorted(events, key=_time)
    for _ in range(MOST_TURNS):
        while (attempt := exchange.next_attempt(now)) is not None:
            sent.append(Sent(now, attempt))
            pending = sorted([*pending, *on_send(sent[-1])], key=_time)
        if exchange.is_over:
            return Run(sent, now)
        deadline = now + exchange.next_timeout(now)
        while not exchange.news:
            if not pending or pending[0].at > deadline:
                now = deadline
                break
            now = max(now, pending[0].at)
            while pending and pending[0].at <= now:
                pending.pop(0).happen(now)
    raise AssertionError("it never ends")


def _time(event: Event) -> float:
    return event.at
