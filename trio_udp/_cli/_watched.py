"""What the workers of `serve --workers` have counted so far, summed for who watches.

Nobody counts anything for it: when somebody wants to know, the parent asks all workers. What must hold: a sum that only
grows never becomes less, whatever becomes of a worker. What one had told before its end stays in it.
"""

from typing import Final

import trio

from ._figures_out import Figure, summed
from ._pipe import TELL, Post

PATIENCE: Final = 1.0
"""Seconds that the workers have to tell; who has not by then counts with what he told before."""


class Mate:
    """One process of a crew: what it is to be told, and what it has told."""

    def __init__(self) -> None:
        self.post: Final = Post()
        self._figures: list[Figure] = []
        self._told = trio.Event()
        self._is_asked = False

    @property
    def figures(self) -> list[Figure]:
        """What it had counted when it told so last."""
        return self._figures

    @property
    def is_silent(self) -> bool:
        """Whether it was asked since."""
        return self._is_asked

    def ask(self) -> trio.Event:
        """Ask it; what is set when it has told, or has ended."""
        self.post.put(TELL)
        self._is_asked = True
        return self._told

    def take(self, figures: list[Figure]) -> None:
        """It has told."""
        self._figures, self._is_asked = figures, False
        self.end()

    def end(self) -> None:
        """Nobody need wait for it."""
        self._told.set()
        self._told = trio.Event()


class Watched:
    """All processes of one crew."""

    def __init__(self) -> None:
        self._running: set[Mate] = set()
        self._gone: list[Figure] = []
        self._ended = 0

    def begin(self) -> Mate:
        """A process has begun."""
        mate = Mate()
        self._running.add(mate)
        return mate

    def end(self, mate: Mate) -> None:
        """It has ended. What it had counted remains counted, and it holds nothing any more."""
        self._running.remove(mate)
        self._gone = summed([self._gone, [figure for figure in mate.figures if figure.grows]])
        self._ended += 1
        mate.end()

    def tell_all(self, order: bytes) -> None:
        """Give an order to all that run."""
        for mate in self._running:
            mate.post.put(order)

    async def refresh(self) -> None:
        """Ask all that run, and wait until they have told, within reason."""
        asked = [mate.ask() for mate in self._running]
        with trio.move_on_after(PATIENCE):
            for told in asked:
                await told.wait()

    def figures(self) -> list[Figure]:
        """The sums."""
        about = {
            "workers": (False, len(self._running)),
            "workers_silent": (False, sum(mate.is_silent for mate in self._running)),
            "workers_ended": (True, self._ended),
        }
        sums = summed([self._gone, *(mate.figures for mate in self._running)])
        return sums + [Figure(f"trio_udp_server_{name}", grows, {}, value) for name, (grows, value) in about.items()]
