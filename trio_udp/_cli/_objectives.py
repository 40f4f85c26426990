"""What `ping` is told to hold, and to wait for: conditions of `trio_udp.measure` as options.

What must hold: nothing passes because it could not be told. A percentile of no replies breaks its objective.
"""

import argparse
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import trio

from ..measure import Summary

if TYPE_CHECKING:
    from ..measure import Condition

BROKEN: Final = 3
"""Exit code."""
_REST: Final = 0.01
"""Seconds between two looks at the sums, at least."""
_SHARE: Final = 10
"""And so many times as long as the last look took, because percentiles of many samples take milliseconds."""


def add_objectives(parser: argparse.ArgumentParser) -> None:
    """Add `--fail-if` and `--wait-for`."""
    for option, meaning in (
        ("--fail-if", "end with exit code 3 if this is so at the end, or cannot be told: p99>20ms, loss>1%%, ..."),
        ("--wait-for", "end as soon as this is so, and with exit code 1 if it never is: replies>=3, ..."),
    ):
        parser.add_argument(option, type=_condition, action="append", default=[], metavar="CONDITION", help=meaning)


def _condition(text: str) -> "Condition":
    from ..measure import parse_condition

    try:
        return parse_condition(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from None


class Objectives:
    """Those of one run."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._fail_if: list[Condition] = arguments.fail_if
        self._wait_for: list[Condition] = arguments.wait_for
        self._news = trio.Event()

    @property
    def has_goal(self) -> bool:
        """Whether there is something to wait for."""
        return bool(self._wait_for)

    def is_reached(self, found: Summary) -> bool:
        """Whether all of it is so."""
        return all(condition.holds(found) for condition in self._wait_for)

    def note(self) -> None:
        """Something has happened."""
        self._news.set()

    async def wait(self, sums: Callable[[], Summary]) -> None:
        """Return as soon as what is waited for is so."""
        while True:
            began = trio.current_time()
            if self.is_reached(sums()):
                return
            await trio.sleep(max(_REST, _SHARE * (trio.current_time() - began)))
            await self._news.wait()
            self._news = trio.Event()

    def tell_broken(self, host: str, found: Summary) -> bool:
        """Say on standard error which objectives are broken; whether any is."""
        broken = [condition for condition in self._fail_if if condition.holds(found) is not False]
        for condition in broken:
            print(f"{host}: broken objective {condition.text}: {condition.explain(found)}", file=sys.stderr, flush=True)
        return bool(broken)
