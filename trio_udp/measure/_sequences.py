"""A set of sequences, which are mostly neighbours: a bit for each."""

import math
from typing import Final

_PAGE_BITS: Final = 10


class Sequences:
    """Sequences, of which those far behind the greatest are forgotten."""

    def __init__(self, most: float = math.inf) -> None:
        """Keep those that are no further behind than this, and some more."""
        self._most = most
        self._pages: dict[int, int] = {}

    def add(self, sequence: int) -> None:
        """Put one in."""
        page, bit = sequence >> _PAGE_BITS, 1 << (sequence & (1 << _PAGE_BITS) - 1)
        if page not in self._pages:
            self._pages[page] = 0
            self._forget(sequence - self._most)
        self._pages[page] |= bit

    def __contains__(self, sequence: int) -> bool:
        return bool(self._pages.get(sequence >> _PAGE_BITS, 0) >> (sequence & (1 << _PAGE_BITS) - 1) & 1)

    def _forget(self, least: float) -> None:
        for page in [page for page in self._pages if page + 1 << _PAGE_BITS <= least]:
            del self._pages[page]
