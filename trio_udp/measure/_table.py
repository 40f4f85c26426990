"""Several runs, a line each."""

from collections.abc import Sequence
from typing import Final

from .._layout import milliseconds
from ._records import Summary

_HEAD: Final = ("", "sent", "received", "loss", "up/down/unknown", "p50 ms", "p99 ms", "max ms")


def table_lines(rows: Sequence[tuple[str, Summary]]) -> list[str]:
    """Several runs by their names, a line each below a head: names to the left, figures to the right."""
    cells = [_HEAD, *((name, *_cells(found)) for name, found in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [_line(row, widths) for row in cells]


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    name, *figures = row
    return "  ".join([name.ljust(widths[0]), *(map(str.rjust, figures, widths[1:]))])


def _cells(found: Summary) -> list[str]:
    times = (found.rtt.p50_ns, found.rtt.p99_ns, found.rtt.max_ns)
    return [
        str(found.sent),
        str(found.received),
        f"{found.loss:.4g}%",
        f"{found.lost_upstream}/{found.lost_downstream}/{found.lost_unknown}",
        *("-" if time is None else milliseconds(time / 1e9) for time in times),
    ]
