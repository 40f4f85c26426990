"""What `--live` looks like: a view becomes lines of pieces of text, each with its style. Arithmetic, and no terminal.

Everything can be read without colours: each way of getting lost has a sign of its own.
"""

import re
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Final, TypeAlias

from .._layout import clock_text, counted
from ..measure import Cell, Direction, Mark, View, percentiles
from ._scales import Counts, bars, place, span, time_text

Line: TypeAlias = list[tuple[str, str]]
"""Pieces of text, and rich's word for the style of each."""

LEVELS: Final = ("▁▂▃▄▅▆▇█", "_-=*")
"""Signs for short to long times."""
_BARS: Final = 8
_SHARES: Final = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999}
_COLUMNS: Final = ("min", *_SHARES, "max")
_LABEL: Final = len("corrected  ")
_WORD: Final = re.compile(r"\s*\S+|\s+")
_NAMES: Final = {
    Mark.UPSTREAM: "upstream",
    Mark.DOWNSTREAM: "downstream",
    Mark.UNKNOWN: "unknown",
    Mark.LATE: "late",
    Mark.CHANGED: "changed",
    Mark.REFUSED: "refused",
    Mark.WAITING: "waiting",
}
_STYLES: Final = {
    Mark.UPSTREAM: "bold red",
    Mark.DOWNSTREAM: "bold magenta",
    Mark.UNKNOWN: "bold yellow",
    Mark.LATE: "bold cyan",
    Mark.CHANGED: "bold yellow",
    Mark.REFUSED: "bold yellow",
    Mark.WAITING: "dim",
}
_LOST: Final = {
    Mark.UPSTREAM: Direction.UPSTREAM,
    Mark.DOWNSTREAM: Direction.DOWNSTREAM,
    Mark.UNKNOWN: Direction.UNKNOWN,
}
_BAR: Final = ("▏▎▍▌▋▊▉█", "#")
"""Parts of a column, up to a whole one."""
_IN_ASCII: Final = str.maketrans({"µ": "u"})


def screen(view: View, width: int, *, ascii_only: bool = False) -> list[Line]:
    """One run, the most important lines first."""
    counts = list(view.times.ascending())
    what = f" ({view.peer})  {view.size} bytes of data" if view.peer else ""  # nothing is known before it begins
    lines: list[Line] = [
        [(f"PING {view.host}{what}  {clock_text(view.elapsed)}", "bold")],
        _sums(view),
        _lost(view, ascii_only=ascii_only),
    ]
    lines += [[(f"rejected  {counted(view.rejected)}", "yellow")]] if view.rejected else []
    lines += _last_probes(view.cells[-width:], ascii_only=ascii_only)
    lines += _percentiles(counts, list(view.corrected.ascending()), width)
    lines += _histogram(counts, width, ascii_only=ascii_only)
    if ascii_only:
        lines = [[(text.translate(_IN_ASCII), style) for text, style in line] for line in lines]
    return [row for line in lines for row in broken(line, width)]


def broken(line: Line, width: int) -> list[Line]:
    """As many lines as it takes, between words: who erases the picture counts its lines; none is broken later."""
    if sum(len(text) for text, _ in line) <= width:
        return [line]
    rows: list[Line] = [[]]
    room = width
    for text, style in line:
        kept = ""
        for word in _WORD.findall(text):
            if len(word) > room and (kept or rows[-1]):
                rows[-1].append((kept, style))
                rows.append([])
                kept, room = "", width
            kept += word if kept or rows[-1] else word.lstrip()
            room = width - sum(len(before) for before, _ in rows[-1]) - len(kept)
        rows[-1].append((kept, style))
    return rows


def fit(screens: Sequence[list[Line]], height: int) -> list[Line]:
    """All of them with an empty line in between; the first lines of each, where there is no room for more."""
    if not screens:
        return []
    each = (height + 1) // len(screens) - 1
    if each < 1:
        return [lines[0] for lines in screens[:height]]
    rows = [row for lines in screens for row in (*lines[:each], [])]
    return rows[:-1]


def _sums(view: View) -> Line:
    line = [(f"sent {view.sent}  received {view.received}  waiting {view.waiting}  ", "")]
    line += [(f"loss {view.loss:.3g} %", "bold red" if view.loss else "")]
    rest = {"late": view.late, "changed": view.changed, "refused": view.refused, "slots missed": view.missed_slots}
    return line + [(f"  {name} {count}", "yellow") for name, count in rest.items() if count]


def _lost(view: View, *, ascii_only: bool) -> Line:
    line = [("lost", "")]
    for mark, direction in _LOST.items():
        count = view.lost[direction]
        line += [("  ", ""), (f"{mark.value[ascii_only]} {_NAMES[mark]} {count}", _STYLES[mark] if count else "")]
    return line


def _last_probes(cells: tuple[Cell, ...], *, ascii_only: bool) -> list[Line]:
    """The newest one at the right, and what the signs mean that are not explained above."""
    scale, levels = scale_of(cells), LEVELS[ascii_only]
    title = [(f"last {len(cells)} probes", "bold")]
    if scale:
        low, high = map(time_text, scale)
        title += [(f"  {levels[0]} {low} to {levels[-1]} {high}, log scale", "")]
    seen = [mark for mark in Mark if mark in cells and mark not in _LOST]
    title += [(f"  {mark.value[ascii_only]} {_NAMES[mark]}", _STYLES[mark]) for mark in seen]
    drawn = groupby(cells, lambda cell: _STYLES[cell] if isinstance(cell, Mark) else "green")
    signs = [("".join(sign_of(cell, scale, ascii_only=ascii_only) for cell in group), style) for style, group in drawn]
    return [[], title, signs]


def _percentiles(counts: Counts, corrected: Counts, width: int) -> list[Line]:
    """Raw ones, and below them those from when each probe was due."""
    if not counts:
        return [[], [("round trip", "bold"), ("  no reply yet", "")]]
    column = min(max((width - 1 - _LABEL) // len(_COLUMNS), len("1.00 ms") + 1), 13)
    rows = {"raw": counts, "corrected": corrected}
    title = [
        ("round trip", "bold"),
        ("  percentiles to half a percent; replies by time, log scale", ""),
    ]
    head = " " * _LABEL + "".join(name.ljust(column) for name in _COLUMNS)
    return [[], title, [(head.rstrip(), "dim")], *(_times(name, row, column) for name, row in rows.items() if row)]


def _times(name: str, counts: Counts, column: int) -> Line:
    times = [counts[0][0], *percentiles(counts, list(_SHARES.values())), counts[-1][0]]
    text = "".join(time_text(time).ljust(column) for time in times)
    return [(name.ljust(_LABEL), "dim"), (text.rstrip(), "")]


def _histogram(counts: Counts, width: int, *, ascii_only: bool) -> list[Line]:
    """A bar for each step; what is not nothing can be seen."""
    found = bars(counts, _BARS)
    most = max((bar.replies for bar in found), default=0)
    digits = len(str(most))
    room = max(width - len("1.00 ms") - digits - 3, 1)
    lines: list[Line] = []
    for bar in found:
        label = f"{time_text(bar.low):>7} "
        drawn = drawn_bar(bar.replies / most, room, ascii_only=ascii_only)
        lines.append([(label, "dim"), (drawn, "green"), (f" {bar.replies}" if bar.replies else "", "")])
    return lines


def drawn_bar(share: float, room: int, *, ascii_only: bool = False) -> str:
    """A bar of that share of the columns, to an eighth of one; never nothing for something."""
    parts = _BAR[ascii_only]
    eighths = max(round(share * room * len(parts)), 1 if share else 0)
    whole, rest = divmod(eighths, len(parts))
    return parts[-1] * whole + (parts[rest - 1] if rest else "")


def scale_of(cells: Iterable[Cell]) -> tuple[float, float] | None:
    """The logarithmic scale of all times among them; None if there are none."""
    times = [cell for cell in cells if isinstance(cell, int)]
    return span(times) if times else None


def sign_of(cell: Cell, scale: tuple[float, float] | None, *, ascii_only: bool = False) -> str:
    """A bar as high as the time is long, or the mark."""
    if isinstance(cell, Mark) or scale is None:
        return cell.value[ascii_only] if isinstance(cell, Mark) else ""
    levels = LEVELS[ascii_only]
    return levels[min(int(place(cell, scale) * len(levels)), len(levels) - 1)]
