"""One host's run in `ping`: when it sends, whom it tells what happened, and whether it was good.

Each event goes first to whoever looks, then to the objectives, and then it is written once at most: for programs, or as
a line for people, or not at all.
"""

import argparse
import math
import random
from typing import Final, NamedTuple

import trio

from .. import Address, Key
from ..measure import (
    Adaptive,
    Corrupted,
    Event,
    Fixed,
    Lost,
    Poisson,
    Prober,
    Refused,
    ReplyRecord,
    Schedule,
    Start,
    Summary,
    flood,
)
from ..measure._text import headline, missing_line, reply_line, report
from ._fingers import Fingers, Until
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

    def with_arguments(self, arguments: argparse.Namespace) -> "Shared":
        """The same for a run that has less left to do."""
        return self._replace(arguments=arguments)


def _write(text: str) -> None:
    print(text, end="", flush=True)


def _leave_out(text: str) -> None:
    """Where there are no lines, there are no dots either."""


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
        write = _write if self._has_lines else _leave_out
        schedule = _schedule(arguments)
        if arguments.deadline < math.inf:
            schedule = Until(schedule, arguments.deadline - delay)
        self._fingers = Fingers(arguments, schedule, write, prober.wall_clock)
        self._tap = shared.tap
        self._every: float | None = arguments.every
        self._count: int | None = arguments.count
        self._wait: float = arguments.wait
        self._deadline: float = arguments.deadline
        self._quiet: bool = arguments.quiet
        self._verbose: bool = arguments.verbose
        self._objectives = Objectives(arguments)
        self._delay = delay
        self._is_silent = is_silent

    @property
    def peer(self) -> Address:
        """Whom it asks."""
        return self._prober.peer

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
                self._fingers.schedule,
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
        elif self._has_lines:
            self._print(event)

    def _print(self, event: Event) -> None:
        if isinstance(event, Start):
            print(headline(self._host, event), flush=True)
        elif not self._quiet:
            self._show(event)

    def _show(self, event: Event) -> None:
        match event:
            case ReplyRecord() | Corrupted():
                name = self._fingers.name(self._host, self._prober.peer)
                self._fingers.show_reply(reply_line(name, self._prober.peer, event), event)
            case Lost() | Refused() if self._verbose:
                self._fingers.show(missing_line(event, self._wait))
            case _:
                pass

    def end(self) -> None:
        """Write what stands at the end."""
        if self._out is not None:
            self._out.end(self.sums)
        elif not self._is_silent:
            print("\n".join(report(self._host, self.sums, verbose=self._verbose)), flush=True)

    def tell_broken(self) -> bool:
        """Say which objectives are broken; whether any is."""
        return self._objectives.tell_broken(self._host, self.sums)
