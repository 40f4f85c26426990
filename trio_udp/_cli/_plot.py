"""`--plot`: the picture of one or several runs, drawn by matplotlib into a file.

Each run has its round-trip times over time, their distribution beside it on the same logarithmic axis, and below it,
in a lane for each way of getting lost, what has no time. Shapes and places tell them apart; colour only helps.
"""

import datetime as dt
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from ..measure import Series, Spot, Summary, percentiles
from ._arguments import BadInput, missed_politely, writing_to
from ._scales import bars, place, span, time_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES: Final = (".svg", ".png")
MOST_RUNS: Final = 32
"""A picture of more would be too tall to look at."""
_BARS: Final = 40
_PERCENTILES: Final = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999}
_WIDTH, _HEIGHT = 10.0, 4.6
"""Inches for one run."""
_INK, _PALE, _FAINT = "#1f4e79", "#9dbbd8", "#e5e8eb"
_LEAST_COUNT: Final = 0.7
"""Where bars begin, so that a single reply is one to see."""
_FEW: Final = 8.0
"""Below this ratio of greatest to least time, all ticks between powers of ten have labels; else 2 and 5."""
_LINE: Final = 0.055
"""A label's height, as a share of the axis."""


class _Lane(NamedTuple):
    """Where and how one fate is drawn."""

    fate: str
    name: str
    marker: str
    colour: str
    is_always: bool
    """Whether it is there also if nothing of that kind happened."""


_LANES: Final = (
    _Lane("upstream", "lost upstream", "^", "#c0392b", is_always=True),
    _Lane("downstream", "lost downstream", "v", "#8e44ad", is_always=True),
    _Lane("unknown", "lost, unknown", "x", "#333333", is_always=True),
    _Lane("changed", "changed", "D", "#b9770e", is_always=False),
    _Lane("refused", "refused", "s", "#117864", is_always=False),
)


def check_plot(path: Path, runs: int = 1) -> None:
    """Refuse what could only fail when everything has been measured or read."""
    if path.suffix not in SUFFIXES:
        raise BadInput(f"argument --plot: expected a file name that ends in .svg or .png, got {str(path)!r}")
    if not path.parent.is_dir():
        raise BadInput(f"argument --plot: expected a file in a directory that exists, got {str(path)!r}")
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise BadInput(f"argument --plot: expected a file that can be written, got {str(path)!r}")
    if runs > MOST_RUNS:
        raise BadInput(f"argument --plot: expected at most {MOST_RUNS} runs, got {runs}")
    with missed_politely("plot"):
        import matplotlib.figure  # noqa: F401 - whether it is there


def draw(path: Path, shown: Sequence[Series]) -> None:
    """Draw these runs, one below the other."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    # Text as text, and neither times nor random names inside: the same figures are the same file.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "trio-udp", "font.size": 9}):
        figure = Figure(figsize=(_WIDTH, _HEIGHT * len(shown)), layout="constrained")
        for part, series in zip(figure.subfigures(len(shown), 1, squeeze=False)[:, 0], shown, strict=True):
            _draw_run(part, series)
        metadata = {"Date": None} if path.suffix == ".svg" else {}
        with writing_to(str(path)):
            figure.savefig(path, dpi=110, metadata=metadata)


def headline(series: Series) -> str:
    """What happened, in a line. The summary knows more than the marks: the server has had the last word by then."""
    parts = [series.title]
    found = series.summary
    if found is None:
        parts.append(f"{series.counts['received']} received")
    else:
        parts += [f"{found.sent} sent, {found.received} received", f"{found.loss:.3g} % without a reply in time"]
        parts += [f"{found.late} late"] if found.late else []
    missed, rejected = series.counts["missed_slots"], series.rejected
    parts += [f"{missed} slots missed"] if missed else []
    parts += [f"{rejected} rejected"] if rejected else []
    return " · ".join(parts)


def lane_counts(series: Series) -> dict[str, int]:
    """How many of each fate, as the summary knows them where there is one."""
    counts = {lane.fate: series.counts[lane.fate] for lane in _LANES}
    found: Summary | None = series.summary
    if found is not None:
        counts |= {"upstream": found.lost_upstream, "downstream": found.lost_downstream}
        counts |= {"unknown": found.lost_unknown, "changed": found.changed, "refused": found.refused}
    return counts


def _draw_run(figure: "Figure", series: Series) -> None:
    lanes = [lane for lane in _LANES if lane.is_always or series.counts[lane.fate]]
    grid = figure.add_gridspec(2, 2, width_ratios=(4, 1), height_ratios=(10, 1 + len(lanes)))
    times = figure.add_subplot(grid[0, 0])
    distribution = figure.add_subplot(grid[0, 1], sharey=times)
    lost = figure.add_subplot(grid[1, 0], sharex=times)
    figure.suptitle(headline(series), fontsize=10, fontweight="bold", parse_math=False)  # a host may be called $x$
    spots = list(series.spots())
    _draw_times(times, series, spots)
    _draw_distribution(distribution, series)
    _draw_lanes(lost, series, spots, lanes)


def _draw_times(axes: "Axes", series: Series, spots: list[tuple[float, Spot]]) -> None:
    answered = [(second, spot) for second, spot in spots if spot.replies]
    seconds = [second for second, _ in answered]
    means = [spot.total / spot.replies for _, spot in answered]
    axes.tick_params(labelbottom=False)
    if not answered:
        axes.text(0.5, 0.5, "no reply", transform=axes.transAxes, ha="center", va="center", fontsize=14)
        axes.set_yticks([])
        return
    _scale_times(axes, series)
    if series.is_exact:
        axes.plot(seconds, means, ".", color=_INK, markersize=4, label="one reply")
    else:
        lows, highs = [spot.least for _, spot in answered], [spot.most for _, spot in answered]
        axes.vlines(seconds, lows, highs, color=_PALE, linewidth=1.0, label="least to greatest")
        axes.plot(seconds, means, ".", color=_INK, markersize=2.5, label=f"mean of {time_text(series.width_ns)} each")
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, frameon=False, fontsize=8, borderpad=0.1)


def _scale_times(axes: "Axes", series: Series) -> None:
    ascending = [time for time, _ in series.times.ascending()]
    low, high = span((ascending[0], ascending[-1]))
    axes.set_ylabel("round-trip time (log scale)")
    axes.set_yscale("log")
    axes.set_ylim(low / 1.2, high * 1.2)
    few = high / low < _FEW
    axes.yaxis.set_major_formatter(lambda time, _: tick_text(time))
    axes.yaxis.set_minor_formatter(lambda time, _: tick_text(time) if few or f"{time:.0e}"[0] in "25" else "")
    axes.grid(visible=True, which="both", color=_FAINT, linewidth=0.6)


def tick_text(time: float) -> str:
    """A round time, without the digits that say nothing."""
    value, unit = time_text(time).split()
    return f"{float(value):g} {unit}"


def _draw_distribution(axes: "Axes", series: Series) -> None:
    axes.tick_params(which="both", labelleft=False)
    counts = list(series.times.ascending())
    if not counts:
        axes.set_axis_off()
        return
    for low, high, replies in bars(counts, _BARS):
        if replies:
            axes.fill_betweenx([low, high], _LEAST_COUNT, replies, color=_PALE, edgecolor=_INK, linewidth=0.4)
    axes.set_xscale("log")
    axes.set_xlim(left=_LEAST_COUNT)
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.xaxis.set_major_formatter(lambda count, _: f"{count:g}")
    axes.set_xlabel("replies (log scale)")
    _draw_percentiles(axes, percentiles(counts, list(_PERCENTILES.values())))


def _draw_percentiles(axes: "Axes", times: list[int]) -> None:
    places = spread([place(time, axes.get_ylim()) for time in times], _LINE)
    for name, time, height in zip(_PERCENTILES, times, places, strict=True):
        axes.axhline(time, color="#222222", linewidth=0.8, linestyle=(0, (4, 2)))
        axes.text(1.03, height, f"{name} {time_text(time)}", transform=axes.transAxes, va="center", fontsize=8)


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Ascending places, moved up as far as it takes for labels not to cover each other."""
    moved: list[float] = []
    for wanted in places:
        moved.append(max(wanted, moved[-1] + gap) if moved else wanted)
    return moved


def _draw_lanes(axes: "Axes", series: Series, spots: list[tuple[float, Spot]], lanes: list[_Lane]) -> None:
    """A mark for each lost probe; where probes were put together, a line as high as the share that was lost."""
    counts = lane_counts(series)
    axes.set_ylim(len(lanes) - 0.5, -0.5)
    axes.set_yticks(range(len(lanes)), [f"{lane.name}: {counts[lane.fate]}" for lane in lanes])
    axes.grid(visible=True, axis="y", color=_FAINT, linewidth=0.6)
    for row, lane in enumerate(lanes):
        hit = [(second, spot.fates[lane.fate] / spot.probes) for second, spot in spots if spot.fates[lane.fate]]
        seconds = [second for second, _ in hit]
        if series.is_exact:
            axes.plot(seconds, [row] * len(hit), lane.marker, color=lane.colour, markersize=5)
        elif hit:
            _draw_shares(axes, row, lane.colour, seconds, [share for _, share in hit])
    if not spots:
        axes.set_xlim(0, 1)
    began = dt.datetime.fromtimestamp((series.began_ns or 0) / 1e9, tz=dt.UTC)
    axes.set_xlabel(f"seconds since {began:%Y-%m-%d %H:%M:%S} UTC, when each probe was sent")


def _draw_shares(axes: "Axes", row: int, colour: str, seconds: list[float], shares: list[float]) -> None:
    highest = max(shares)
    tops = [row + 0.4 - 0.8 * max(share / highest, 0.2) for share in shares]
    axes.vlines(seconds, row + 0.4, tops, color=colour, linewidth=1.2)
    axes.text(1.01, row, f"up to {100 * highest:.3g} %", transform=axes.get_yaxis_transform(), va="center", fontsize=8)
