"""`ping --resolve-every`: a name whose addresses change is followed, and each of its runs has its lines.

Whom to ask and when is the business of `trio_udp.measure.Follower`.
"""

import argparse
import copy
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import trio

from .. import Address
from ..measure import Follower, Summary


class Run(Protocol):
    """A run as `ping` has it."""

    @property
    def peer(self) -> Address:
        """Whom it asks."""

    @property
    def sent(self) -> int:
        """Probes so far."""

    @property
    def sums(self) -> Summary:
        """What it counted so far."""

    @property
    def has_reached(self) -> bool:
        """Whether what it waited for is so."""

    async def ping(self) -> None:
        """Run it."""

    def stop(self) -> None:
        """Come to its end."""

    def end(self) -> None:
        """Write what stands at the end."""

    def tell_broken(self) -> bool:
        """Say which objectives are broken; whether any is."""


class Following:
    """One name, and its runs so far."""

    def __init__(
        self,
        label: str,
        host: str,
        arguments: argparse.Namespace,
        run_at: Callable[[Address, argparse.Namespace, Callable[[Run], Awaitable[None]]], Awaitable[None]],
        *,
        text: bool,
        say: Callable[[Sequence[str]], None],
    ) -> None:
        """`label` is what to call the name `host`. `run_at` opens a run for an address and calls a function with it.

        `text` is whether people read the output, who are told that there was no run at all. `say` is for what is to be
        known at once.
        """
        self._label = label
        self._arguments = arguments
        self._run_at = run_at
        self._has_text = text
        self._say = say
        self._runs: list[Run] = []
        self._follower = Follower(
            host,
            arguments.port,
            every=arguments.resolve_every,
            family=arguments.family,
            count=arguments.count,
            on_news=lambda news: say([str(news)]),
        )

    @property
    def is_good(self) -> bool:
        """By what was waited for, or by the replies of all runs together."""
        if self._arguments.wait_for:
            return any(run.has_reached for run in self._runs)
        has_both = self._arguments.count is not None and self._arguments.deadline < math.inf
        return sum(run.sums.received for run in self._runs) >= (self._arguments.count if has_both else 1)

    @property
    def rows(self) -> list[tuple[str, Summary]]:
        """Of the table."""
        return [(f"{self._label} ({run.peer.host})", run.sums) for run in self._runs]

    async def ping(self) -> None:
        """Follow the name until all is sent, the deadline has come, or somebody stops it."""
        self._ends = trio.current_time() + self._arguments.deadline
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._stop_in_time)
            async for address in self._follower:
                left = self._left()
                if left.deadline > 0:
                    await self._run_at(address, left, self._watch)
            nursery.cancel_scope.cancel()

    def stop(self) -> None:
        """Come to the end."""
        self._follower.stop()

    def end(self) -> None:
        """Write what stands at the end of each run; or that there was none."""
        for run in self._runs:
            run.end()
        if not self._runs and self._has_text:
            nothing = "0 packets transmitted, no address to send to"
            print(f"\n--- {self._label} ping statistics ---\n{nothing}", flush=True)

    def tell_broken(self) -> bool:
        """Say which objectives are broken; whether any is. What cannot be told is broken, so no run at all is."""
        if not self._runs and self._arguments.fail_if:
            self._say([f"{self._label}: broken objectives: there was no address to send to"])
            return True
        return bool(sum(run.tell_broken() for run in self._runs))

    def _left(self) -> argparse.Namespace:
        """The arguments of the next run."""
        left = copy.copy(self._arguments)
        left.count = self._follower.left
        left.deadline = self._ends - trio.current_time()
        return left

    async def _stop_in_time(self) -> None:
        await trio.sleep_until(self._ends)
        self._follower.stop()

    async def _watch(self, run: Run) -> None:
        self._runs.append(run)
        async with self._follower.watching(run):
            await run.ping()
