"""`ping --ramp`: a line for each rate that is tried, and at the end where the path no longer keeps up."""

import argparse
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Final, TextIO

import trio

from ..measure import (
    FIRST_RATE,
    Event,
    Knee,
    Prober,
    ReplyRecord,
    Start,
    Step,
    TextWriter,
    find_knee,
    knee_line,
    step_line,
)
from ._arguments import BadInput
from ._output import Tap, events_out, notes_out
from ._signals import cancel_at_next_signal

_WITHOUT: Final = {
    "-A": "adaptive", "-c": "count", "-f": "flood", "--poisson": "poisson", "--ports": "ports", "--live": "live",
    "--resolve-every": "resolve_every", "--plot": "plot", "--metrics": "metrics", "--fail-if": "fail_if",
    "--wait-for": "wait_for", "--every": "every",
}  # fmt: skip
"""What has no meaning where there is a run for each rate."""


def check_ramp(arguments: argparse.Namespace, targets: int) -> None:
    """Refuse what has no meaning with `--ramp`."""
    given = {option for option, name in _WITHOUT.items() if getattr(arguments, name)}
    given |= {"-l"} if arguments.preload > 1 else set()
    if given:
        raise BadInput(f"argument --ramp: expected no {' and no '.join(sorted(given))} with it")
    if targets > 1:
        raise BadInput(f"argument --ramp: expected one host, got {targets}")


async def ping_ever_faster(
    arguments: argparse.Namespace,
    host: str,
    opening: Callable[[], AbstractAsyncContextManager[Prober]],
    signals: AsyncIterator[int],
    tap: Tap | None,
) -> int:
    """Exit code 0 if anything came back, and 1 if not."""
    ramp = _Ramp(host, arguments)
    interval: float = arguments.interval or 1 / FIRST_RATE
    with trio.move_on_after(arguments.deadline):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cancel_at_next_signal, signals, nursery.cancel_scope)
            knee = await find_knee(
                opening,
                first=min(1 / interval, arguments.ramp),
                most=arguments.ramp,
                wait=arguments.wait,
                on_event=ramp.tell,
                on_datagram=tap,
                on_step=ramp.show,
            )
            ramp.end(knee)
            nursery.cancel_scope.cancel()
    return ramp.close()


class _Ramp:
    """What is printed."""

    def __init__(self, host: str, arguments: argparse.Namespace) -> None:
        self._host = host
        self._out = events_out(host, arguments)
        self._notes: TextIO = notes_out(arguments)
        self._is_begun = self._is_answered = self._is_over = False

    def tell(self, event: Event) -> None:
        """The next event of a run."""
        if self._out is not None:
            self._out.tell(event)
        elif isinstance(event, Start) and not self._is_begun:
            print(TextWriter(self._host).text(event), end="", flush=True)
        self._is_begun = True
        self._is_answered |= isinstance(event, ReplyRecord)

    def show(self, step: Step) -> None:
        """A rate has been tried."""
        print(step_line(step), file=self._notes, flush=True)

    def end(self, knee: Knee) -> None:
        """The search is over."""
        self._is_over = True
        print(knee_line(self._host, knee), file=self._notes, flush=True)

    def close(self) -> int:
        """The exit code; says so if the search was ended before it was over."""
        if not self._is_over:
            print(f"knee of {self._host}: not found before the end", file=self._notes, flush=True)
        return 0 if self._is_answered else 1
