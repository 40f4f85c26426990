"""Arithmetic for the eye: what pictures of times show, on a screen or on paper. All scales of times are logarithmic."""

import math
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

LEAST_RATIO: Final = 2.0
"""A scale's end is at least that many times its beginning: a nanosecond more or less is no mountain."""
_UNITS: Final = ((1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "µs"), (1, "ns"))

Counts = Sequence[tuple[int, int]]
"""Times in nanoseconds, ascending, and how often each came."""


class Bar(NamedTuple):
    """One bar of a histogram: the times from `low` to below `high`, the last one with its end."""

    low: float
    high: float
    replies: int


def time_text(ns: float) -> str:
    """A time with three digits and its unit."""
    if -0.5 < ns < 0.5:
        return "0 ns"
    # What would be rounded to a thousand of the smaller unit is one of the greater.
    size, unit = next((pair for pair in _UNITS if abs(ns) >= pair[0] * 0.9995), _UNITS[-1])
    value = ns / size
    whole = len(str(int(abs(value) * 1.0005)))
    return f"{value:.{max(3 - whole, 0) if size > 1 else 0}f} {unit}"


def span(times: Iterable[int]) -> tuple[float, float]:
    """Beginning and end of a scale for these times, of which there is at least one."""
    positive = [max(time, 1) for time in times]
    low, high = min(positive), max(positive)
    return float(low), max(float(high), low * LEAST_RATIO)


def place(time: float, scale: tuple[float, float]) -> float:
    """Where on a scale a time stands: from 0 to 1."""
    low, high = scale
    return min(max(math.log(max(time, 1) / low) / math.log(high / low), 0.0), 1.0)


def bars(counts: Counts, number: int) -> list[Bar]:
    """A histogram of so many bars, each as many times as long as the one before; empty for no times."""
    if not counts:
        return []
    low, high = span((counts[0][0], counts[-1][0]))
    edges = [low * (high / low) ** (step / number) for step in range(number + 1)]
    heights = [0] * number
    each = number / math.log(high / low)  # rather than `place`, because there are thousands of times
    for time, count in counts:
        heights[min(int(math.log(max(time, 1) / low) * each), number - 1)] += count
    return [Bar(*bar) for bar in zip(edges, edges[1:], heights, strict=False)]
