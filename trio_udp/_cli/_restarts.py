"""When to start a worker again, and when to give up: arithmetic."""

from typing import Final

QUICK: Final = 10.0
"""Seconds. A worker that lived longer has worked; what ended it is news."""
MOST_QUICK_ENDS: Final = 5
"""In a row. These two are systemd's: no more than 5 starts within 10 s."""
FIRST_WAIT: Final = 0.1
"""Seconds, doubled at each further quick end: four restarts within a second and a half."""


class Restarts:
    """One worker's."""

    def __init__(self, quick_ends: int = 0) -> None:
        self._quick_ends = quick_ends

    def wait_after(self, lived: float) -> float | None:
        """How long to wait after a worker has ended that lived so many seconds; None to give up."""
        self._quick_ends = self._quick_ends + 1 if lived < QUICK else 0
        if self._quick_ends == MOST_QUICK_ENDS:
            return None
        return FIRST_WAIT * 2.0 ** max(0, self._quick_ends - 1)
