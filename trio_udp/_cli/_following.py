"""A name whose addresses change: `ping` follows it, a run for each address.

What must hold: whatever the name service says or does not say, nothing ends but the run whose address is not the name's
any more; and what is counted for one address is not mixed with what is counted for another.
"""

import argparse
import copy
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import trio

from .._net import Address, loopback_of, resolve
from ..measure import Summary


class Run(Protocol):
    """A run as `ping` has it."""

    @property
    def peer(self) -> Address:
        """Whom it asks."""

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
        host: str,
        arguments: argparse.Namespace,
        run_at: Callable[[Address, argparse.Namespace, Callable[[Run], Awaitable[None]]], Awaitable[None]],
        *,
        text: bool,
        say: Callable[[Sequence[str]], None],
    ) -> None:
        """`run_at` opens a run for an address and calls a function with it.

        `text` is whether people read the output, who are told that there was no run at all. `say` is for what is to be
        known at once.
        """
        self._host = host
        self._arguments = arguments
        self._run_at = run_at
        self._has_text = text
        self._say_now = say
        self._every: float = arguments.resolve_every
        self._runs: list[Run] = []
        self._scope = trio.CancelScope()
        self._is_over = False
        self._said = ""

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
        return [(f"{self._host} ({run.peer.host})", run.sums) for run in self._runs]

    async def ping(self) -> None:
        """Follow the name until all is sent, the deadline has come, or somebody stops it."""
        self._began = trio.current_time()
        while not self._is_over:
            address = await self._find()
            if address is not None:
                self._is_over = True  # unless the run ends because the name has moved
                await self._run_at(address, self._left(), self._follow)

    def stop(self) -> None:
        """Come to the end."""
        self._is_over = True
        self._scope.cancel()
        if self._runs:
            self._runs[-1].stop()

    def end(self) -> None:
        """Write what stands at the end of each run; or that there was none."""
        for run in self._runs:
            run.end()
        if not self._runs and self._has_text:
            nothing = "0 packets transmitted, no address to send to"
            print(f"\n--- {self._host} ping statistics ---\n{nothing}", flush=True)

    def tell_broken(self) -> bool:
        """Say which objectives are broken; whether any is. What cannot be told is broken, so no run at all is."""
        if not self._runs and self._arguments.fail_if:
            self._say(f"{self._host}: broken objectives: there was no address to send to")
            return True
        return bool(sum(run.tell_broken() for run in self._runs))

    def _left(self) -> argparse.Namespace:
        left = copy.copy(self._arguments)
        if left.count is not None:
            left.count -= sum(run.sums.sent for run in self._runs)
        left.deadline -= trio.current_time() - self._began
        return left

    async def _find(self) -> Address | None:
        """The name's first address, as soon as it has one; None if it is all over before."""
        left = self._left()
        if (left.count is not None and left.count <= 0) or left.deadline <= 0:
            self._is_over = True
            return None
        with trio.move_on_after(left.deadline) as self._scope:
            while True:
                addresses = await self._resolve()
                if addresses:
                    return addresses[0]
                await trio.sleep(self._every)
        self._is_over = True
        return None

    async def _follow(self, run: Run) -> None:
        self._runs.append(run)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch, run)
            await run.ping()
            nursery.cancel_scope.cancel()

    async def _watch(self, run: Run) -> None:
        while True:
            await trio.sleep(self._every)
            addresses = await self._resolve()
            if addresses and run.peer not in addresses:
                self._say(f"{self._host}: is now {addresses[0].host}, and no more {run.peer.host}")
                self._is_over = False
                run.stop()
                return

    async def _resolve(self) -> list[Address]:
        """All addresses, or none: that is said, once, and is no reason to stop."""
        try:
            found = await resolve(self._host, self._arguments.port, self._arguments.family)
        except (OSError, ValueError) as exc:
            self._say(f"{self._host}: cannot be resolved: {getattr(exc, 'strerror', None) or exc}")
            return []
        self._said = ""
        return [loopback_of(address) for address in found]

    def _say(self, line: str) -> None:
        if line != self._said:
            self._say_now([line])
        self._said = line
