"""One host's run in `ping`: when it sends, whom it tells what happened, and whether it was good.

Each event goes first to whoever looks, then to the objectives, and then it is written once at most: for programs, or as
a line for people, or not at all.
"""

import argparse
import math
import random
from collections.abc import Callable
from typing import Final, NamedTuple

import trio

from .. import Address, Key
from ..measure import (
    Adaptive,
    Event,
    Fixed,
    Poisson,
    Prober,
    Schedule,
    Summary,
    TextWriter,
    flood,
)
from ._fingers import Until, Watched
from ._looks import Looks
from ._objectives import Objectives
from ._output import EventsOut, Tap, events_out

DEFAULT_INTERVAL: Final = 1.0
"""Seconds."""


class Shared(NamedTuple):
    """What all runs of one command have in common."""

    arguments: argparse.Namespace
    keys: list[Key] | None
    tap: Tap | None
    looks: Looks
    is_alone: bool
    """Whether one host is probed, and nothing else goes on in this process."""

    def with_arguments(self, arguments: argparse.Namespace) -> "Shared":
        """The same for a run that has less left to do."""
        return self._replace(arguments=arguments)


def _write(text: str) -> None:
    if text:
        print(text, end="", flush=True)


def _text_writer(host: str, arguments: argparse.Namespace, wall_clock: Callable[[], int]) -> TextWriter:
    """What makes the lines for people, as the letters want them."""
    return TextWriter(
        host,
        verbose=arguments.verbose,
        quiet=arguments.quiet,
        outstanding=arguments.outstanding,
        flood=arguments.flood,
        numeric=arguments.numeric,
        bell=arguments.audible,
        wait=arguments.wait,
        wall_clock=wall_clock if arguments.timestamps else None,
    )


def _schedule(arguments: argparse.Namespace) -> Schedule:
    """When to send: `-f` before `-A` before `--poisson`. Flooding at an interval is just that, as in iputils."""
    preload: int = arguments.preload
    interval: float = arguments.interval or DEFAULT_INTERVAL
    if arguments.flood and arguments.interval is None:
        return flood(preload=preload)
    if arguments.adaptive:
        return Adaptive(interval, preload=preload)
    if arguments.poisson:
        return Poisson(interval, random.SystemRandom().random, preload=preload)
    return Fixed(interval, preload=preload)


class PingRun:
    """One host's run."""

    def __init__(
        self,
        host: str,
        prober: Prober,
        shared: Shared,
        *,
        delay: float = 0.0,
        is_silent: bool = False,
    ) -> None:
        """`delay` is in seconds; for people a silent run is a row of the table and nothing else."""
        arguments = shared.arguments
        self._host = host
        self._prober = prober
        self._look = shared.looks.follow(host, prober)
        self._out: EventsOut | None = events_out(host, arguments)
        self._has_lines = self._out is None and not is_silent and not shared.looks.is_live
        self._text = _text_writer(host, arguments, prober.wall_clock)
        self._schedule = _schedule(arguments)
        if arguments.deadline < math.inf:
            self._schedule = Until(self._schedule, arguments.deadline - delay)
        if self._has_lines and (arguments.flood or arguments.outstanding):
            self._schedule = Watched(self._schedule, lambda sent: _write(self._text.due(sent)))
        self._tap = shared.tap
        self._every: float | None = arguments.every
        self._count: int | None = arguments.count
        self._wait: float = arguments.wait
        self._deadline: float = arguments.deadline
        self._objectives = Objectives(arguments)
        self._delay = delay
        self._is_silent = is_silent

    @property
    def peer(self) -> Address:
        """Whom it asks."""
        return self._prober.peer

    @property
    def sent(self) -> int:
        """Probes so far."""
        return self._prober.sent

    @property
    def sums(self) -> Summary:
        """What it counted so far."""
        return self._prober.summary()

    @property
    def rows(self) -> list[tuple[str, Summary]]:
        """Of the table."""
        return [(self._host, self.sums)]

    @property
    def has_reached(self) -> bool:
        """Whether what it waits for is so."""
        return self._objectives.is_reached(self.sums)

    @property
    def is_good(self) -> bool:
        """Whether the exit code may be 0: by what was waited for, or else by iputils' rule."""
        if self._objectives.has_goal:
            return self.has_reached
        wanted = self._count if self._count is not None and self._deadline < math.inf else 1
        return self.sums.received >= wanted

    async def ping(self) -> None:
        """Send all probes and wait for what comes back."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._stop_in_time)
            if self._objectives.has_goal:
                nursery.start_soon(self._stop_when_reached)
            await trio.sleep(self._delay)
            await self._prober.run(
                self._schedule,
                count=self._count,
                wait=self._wait,
                every=self._every,
                on_event=self._tell,
                on_datagram=self._tap,
            )
            nursery.cancel_scope.cancel()

    async def _stop_in_time(self) -> None:
        await trio.sleep(self._deadline)
        self._prober.stop()

    async def _stop_when_reached(self) -> None:
        await self._objectives.wait(self._prober.summary)
        self._prober.stop()

    def stop(self) -> None:
        """Send no more, and come to the summary."""
        self._prober.stop()

    def _tell(self, event: Event) -> None:
        self._look(event)
        self._objectives.note()
        if self._out is not None:
            self._out.tell(event)
        elif self._has_lines and not isinstance(event, Summary):  # which stands below the lines of all hosts
            _write(self._text.text(event))

    def end(self) -> None:
        """Write what stands at the end."""
        if self._out is not None:
            self._out.end(self.sums)
        elif not self._is_silent:
            _write(self._text.text(self.sums))

    def tell_broken(self) -> bool:
        """Say which objectives are broken; whether any is."""
        return self._objectives.tell_broken(self._host, self.sums)
