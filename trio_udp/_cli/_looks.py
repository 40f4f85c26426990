"""What can be looked at while and after `ping` measures: `--live`, `--plot`, progress, and what `^\\` asks for.

All of it follows the events of the runs, and changes nothing about them.
"""

import argparse
import contextlib
import functools
import math
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

from ..measure import Event, Prober, Snapshot, progress_line
from ._output import is_for_programs

if TYPE_CHECKING:
    from ..measure import Series, View, Watch
    from ._live import Live

_EVERY: Final = 0.5
"""Seconds between two lines of progress."""
_ERASE: Final = "\r\x1b[K"


def add_looks(parser: argparse.ArgumentParser) -> None:
    """Add `--live` and `--plot`."""
    parser.add_argument("--live", action="store_true", help="show the figures on the terminal as they change")
    plot = "draw round-trip times, losses and the distribution into this .svg or .png"
    parser.add_argument("--plot", type=Path, metavar="FILE", help=plot)


@dataclass(slots=True, eq=False, repr=False)
class _Followed:
    """A run that is looked at."""

    host: str
    prober: Prober
    watch: "Watch | None"
    series: "Series | None"
    snapshot: Snapshot

    def take(self, event: Event) -> None:
        """Something happened."""
        self.snapshot.take(event)
        if self.watch is not None:
            self.watch.take(event)
        if self.series is not None:
            self.series.take(event)


def _begin_live() -> bool:
    """Whether there can be a picture on the terminal; missing rich if there could be one."""
    from ._live import check_live, is_possible

    if is_possible():
        check_live()
        return True
    return False


def _watch(host: str) -> "Watch":
    from ..measure import Watch

    return Watch(host)


def _series(title: str, before: int) -> "Series | None":
    """What is kept of a run for the picture; None if there are as many before it as it has room for."""
    from ..measure import Series
    from ._plot import MOST_RUNS

    return Series(title) if before < MOST_RUNS else None


def _is_progress_wanted(count: int | None, deadline: float) -> bool:
    """Whether there is an end to wait for, and somebody who sees nothing else: who sees the replies sees that."""
    return (count is not None or deadline < math.inf) and sys.stderr.isatty() and not sys.stdout.isatty()


class Looks:
    """Everything that somebody wants to see, for all hosts of one command."""

    def __init__(self, arguments: argparse.Namespace, paths: int) -> None:
        """Raise `BadInput` for what cannot be shown or drawn of so many paths."""
        self._paths = paths
        self._count: int | None = arguments.count
        self._deadline: float = arguments.deadline
        self._plot: Path | None = arguments.plot
        self.is_live: bool = arguments.live and not is_for_programs(arguments) and _begin_live()
        """Whether there is a picture on the terminal instead of lines."""
        if self._plot is not None:
            from ._plot import check_plot

            check_plot(self._plot, paths)
        self._followed: list[_Followed] = []
        self._live: Live | None = None
        self._began = 0.0

    def follow(self, host: str, prober: Prober) -> Callable[[Event], None]:
        """Look at this run too: call what this returns with each of its events.

        A name that moves has more runs than it is paths; the picture has the first ones.
        """
        watch = _watch(host) if self.is_live else None
        series = None if self._plot is None else _series(f"{host} ({prober.peer})", len(self._followed))
        self._followed.append(_Followed(host, prober, watch, series, Snapshot()))
        return self._followed[-1].take

    @contextlib.asynccontextmanager
    async def shown(self) -> AsyncIterator[None]:
        """Show it while the block runs."""
        self._began = trio.current_time()
        async with trio.open_nursery() as nursery:
            if self.is_live:
                from ._live import Live

                self._live = Live(self._views)
                nursery.start_soon(self._live.run)
            elif _is_progress_wanted(self._count, self._deadline):
                nursery.start_soon(self._show_progress)
            nursery.start_soon(self._answer_quits)
            yield
            nursery.cancel_scope.cancel()
        self._live = None  # what is said from now on stands below the picture

    async def _answer_quits(self) -> None:
        """`^\\`: say on standard error how far each run is."""
        with trio.open_signal_receiver(signal.SIGQUIT) as quits:
            async for _ in quits:
                self._say_snapshot()

    def _say_snapshot(self) -> None:
        lines = [one.snapshot.line(one.prober.summary()) for one in self._followed]
        if len(lines) > 1:
            lines = [f"{one.host}: {line}" for one, line in zip(self._followed, lines, strict=True)]
        self.say(lines)

    def say(self, lines: Sequence[str]) -> None:
        """Write this to standard error, where it does not spoil the picture."""
        if self._live is not None:
            self._live.say(lines)
        else:
            print("\n".join(lines), file=sys.stderr, flush=True)

    async def draw(self) -> None:
        """Draw what is to be drawn, when all has been measured."""
        if self._plot is not None:
            from ._plot import draw

            drawn = [one.series for one in self._followed if one.series is not None]
            await trio.to_thread.run_sync(functools.partial(draw, self._plot, drawn))

    def _views(self) -> Sequence["View"]:
        elapsed = trio.current_time() - self._began
        return [
            one.watch.view(sent=one.prober.sent, waiting=one.prober.unanswered, elapsed=elapsed)
            for one in self._followed
            if one.watch is not None
        ]

    async def _show_progress(self) -> None:
        try:
            while True:
                elapsed = trio.current_time() - self._began
                count = None if self._count is None else self._count * self._paths
                sent = sum(one.prober.sent for one in self._followed)
                _show(progress_line(elapsed, sent, count, self._deadline))
                await trio.sleep(_EVERY)
        finally:
            _show("")


def _show(progress: str) -> None:
    """In place of what stood there. A terminal that has gone is no reason to stop what is written elsewhere."""
    with contextlib.suppress(OSError):
        print(f"{_ERASE}{progress}", end="", file=sys.stderr, flush=True)
