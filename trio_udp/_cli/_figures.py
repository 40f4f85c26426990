"""What `serve` prints when it has stopped: one server's counters, or the sum of many."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from .. import ServerStatistics
from .._layout import counted

_NAMES: Final = ("requests", "replies", "retries", "busy", "errors", "unanswered")
_RARE: Final = ("outcome_unknown", "absorbed")
"""Of at-most-once requests: shown where there are any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The part of a server's statistics that is printed, of types that JSON has."""

    ended: Mapping[str, int]
    dropped: Mapping[str, int]
    kernel_drops: int


def figures_of(statistics: ServerStatistics) -> Figures:
    """One server's."""
    return Figures(
        ended={name: getattr(statistics, name) for name in (*_NAMES, *_RARE)},
        dropped={str(reason): count for reason, count in statistics.dropped.items()},
        kernel_drops=sum(endpoint.kernel_drops for endpoint in statistics.endpoints.values()),
    )


def total(several: Iterable[Figures]) -> Figures:
    """All of them together."""
    ended: Counter[str] = Counter(dict.fromkeys((*_NAMES, *_RARE), 0))
    dropped: Counter[str] = Counter()
    kernel_drops = 0
    for figures in several:
        ended.update(figures.ended)
        dropped.update(figures.dropped)
        kernel_drops += figures.kernel_drops
    return Figures(ended=ended, dropped=dropped, kernel_drops=kernel_drops)


def figures_from_json(value: object) -> Figures | None:
    """What `dataclasses.asdict` has made of them, or None for anything else."""
    match value:
        case {"ended": dict(ended), "dropped": dict(dropped), "kernel_drops": int(kernel_drops), **rest} if not rest:
            if set(ended) == {*_NAMES, *_RARE} and all(
                type(count) is int for count in (*ended.values(), *dropped.values())
            ):
                return Figures(ended=ended, dropped=dropped, kernel_drops=kernel_drops)
    return None


def report(figures: Figures, missing: int = 0) -> list[str]:
    """The lines, an empty one first; and of how many workers the last word is missing."""
    shown = [*_NAMES, *(name for name in _RARE if figures.ended[name])]
    lines = ["", "--- server statistics ---", ", ".join(f"{name} {figures.ended[name]}" for name in shown)]
    if figures.dropped:
        lines.append(f"dropped: {counted(figures.dropped)}")
    if figures.kernel_drops:
        lines.append(f"lost in a full receive buffer: {figures.kernel_drops}")
    if missing:
        lines.append(f"workers that ended without a report, counted as far as they had told: {missing}")
    return lines
