"""Chance in Trio's scheduler, drawn from a seed: in the thread that simulates, and nowhere else.

Trio has one source of random numbers for all its runs, and no public name for it. While something is simulated, one of
ours stands in its place, which draws from the seed in the threads that simulate, and from Trio's own in all others.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Any, Final

from trio._core import _run  # the scheduler's random source has no public name; a test holds this use of it


class _BySeed(threading.local):
    """Whose attributes are those of this thread's source."""

    source: Random = _run._r  # noqa: SLF001 - see the import

    def __getattr__(self, name: str) -> Any:
        return getattr(self.source, name)


_here: Final = _BySeed()
_lock: Final = threading.Lock()
_before: list[tuple[Any, bool]] = []
"""What was there before, once for each simulation that runs: the first is what was there before them all."""


@contextmanager
def seeded_scheduler(seed: int) -> Iterator[None]:
    """Let Trio choose the order of this thread's tasks from this seed; with the last such block, all is as before."""
    outer, _here.source = _here.source, Random(seed)  # noqa: S311 - a simulation has to be repeatable
    with _lock:
        _before.append((_run._r, _run._ALLOW_DETERMINISTIC_SCHEDULING))  # noqa: SLF001
        _install(_here, is_ordered=True)
    try:
        yield
    finally:
        with _lock:
            # The last of several leaves with what the first found, in whatever order they end.
            last = _before.pop()
            if not _before:
                _install(last[0], is_ordered=last[1])
        _here.source = outer


def _install(source: Any, *, is_ordered: bool) -> None:
    _run._r = source  # noqa: SLF001
    _run._ALLOW_DETERMINISTIC_SCHEDULING = is_ordered  # type: ignore[misc]  # noqa: SLF001 - Final, but for Trio's own plugin
