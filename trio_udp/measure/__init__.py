"""Measure a path: what is lost, on which way, how long things take, and how sure that is.

    async with open_prober("192.0.2.1", 1060) as prober:
        summary = await prober.run(Fixed(0.001), count=1000)
    print(summary.lost_upstream, summary.rtt.p99_ns)

The command `ping` is a thin layer over this. All but `_prober`, `_run`, `_events`, `_ramp`, `_follow`, `_timer`,
`_calibrate` and `_examine` is arithmetic. What a run by itself does not need is imported when any of it is first asked
for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

from ..proto import RefusalReason
from ._capture import Captured, pcapng_header, pcapng_packet
from ._prober import DEFAULT_SIZE, DEFAULT_WAIT, Prober, open_prober
from ._records import (
    ClockOffset,
    Corrupted,
    Direction,
    Distribution,
    Duplicate,
    Event,
    Interval,
    Late,
    Lost,
    Missed,
    Refused,
    Rejected,
    ReplyRecord,
    Reported,
    Skipped,
    Stamps,
    Start,
    Summary,
    Variation,
)
from ._schedules import Adaptive, Fixed, Poisson, Progress, Schedule, flood

if TYPE_CHECKING:
    from ._calibrate import noise_floor
    from ._compare import (
        CONFIDENCE,
        Between,
        Comparison,
        Figure,
        Sample,
        compare,
        comparison_lines,
        percentile,
        proportion,
    )
    from ._corrected import Correction
    from ._csv import CSV_COLUMNS, CsvWriter
    from ._distribution import Buckets, percentiles
    from ._doctor import Finding, State, finding_line
    from ._examine import examine
    from ._follow import Followed, Follower, Moved, News, Unresolved
    from ._hdr import HdrRun
    from ._irtt import IrttRun
    from ._knee import Knee, KneeSearch, Step, Strain, knee_line, step_line
    from ._ndjson import STREAM_VERSION, BadLine, Line, Lines, from_json, json_schema, to_json
    from ._objectives import METRICS, Condition, parse_condition
    from ._progress import progress_line
    from ._ramp import FIRST_RATE, MOST_RATE, find_knee
    from ._ranking import rank_paths
    from ._recordings import Recording, TakesEvents, runs_of
    from ._series import Series, Spot
    from ._table import table_lines
    from ._text import Snapshot, TextWriter, noise_line, summary_lines
    from ._watch import Cell, Mark, View, Watch

__all__ = [
    "CONFIDENCE",
    "CSV_COLUMNS",
    "DEFAULT_SIZE",
    "DEFAULT_WAIT",
    "FIRST_RATE",
    "METRICS",
    "MOST_RATE",
    "STREAM_VERSION",
    "Adaptive",
    "BadLine",
    "Between",
    "Buckets",
    "Captured",
    "Cell",
    "ClockOffset",
    "Comparison",
    "Condition",
    "Correction",
    "Corrupted",
    "CsvWriter",
    "Direction",
    "Distribution",
    "Duplicate",
    "Event",
    "Figure",
    "Finding",
    "Fixed",
    "Followed",
    "Follower",
    "HdrRun",
    "Interval",
    "IrttRun",
    "Knee",
    "KneeSearch",
    "Late",
    "Line",
    "Lines",
    "Lost",
    "Mark",
    "Missed",
    "Moved",
    "News",
    "Poisson",
    "Prober",
    "Progress",
    "Recording",
    "RefusalReason",
    "Refused",
    "Rejected",
    "ReplyRecord",
    "Reported",
    "Sample",
    "Schedule",
    "Series",
    "Skipped",
    "Snapshot",
    "Spot",
    "Stamps",
    "Start",
    "State",
    "Step",
    "Strain",
    "Summary",
    "TakesEvents",
    "TextWriter",
    "Unresolved",
    "Variation",
    "View",
    "Watch",
    "compare",
    "comparison_lines",
    "examine",
    "find_knee",
    "finding_line",
    "flood",
    "from_json",
    "json_schema",
    "knee_line",
    "noise_floor",
    "noise_line",
    "open_prober",
    "parse_condition",
    "pcapng_header",
    "pcapng_packet",
    "percentile",
    "percentiles",
    "progress_line",
    "proportion",
    "rank_paths",
    "runs_of",
    "step_line",
    "summary_lines",
    "table_lines",
    "to_json",
]

_LATE: Final = {
    "_calibrate": ("noise_floor",),
    "_compare": (
        "CONFIDENCE",
        "Between",
        "Comparison",
        "Figure",
        "Sample",
        "compare",
        "comparison_lines",
        "percentile",
        "proportion",
    ),
    "_corrected": ("Correction",),
    "_csv": ("CSV_COLUMNS", "CsvWriter"),
    "_distribution": ("Buckets", "percentiles"),
    "_doctor": ("Finding", "State", "finding_line"),
    "_examine": ("examine",),
    "_follow": ("Followed", "Follower", "Moved", "News", "Unresolved"),
    "_hdr": ("HdrRun",),
    "_irtt": ("IrttRun",),
    "_knee": ("Knee", "KneeSearch", "Step", "Strain", "knee_line", "step_line"),
    "_ndjson": ("STREAM_VERSION", "BadLine", "Line", "Lines", "from_json", "json_schema", "to_json"),
    "_objectives": ("METRICS", "Condition", "parse_condition"),
    "_progress": ("progress_line",),
    "_ramp": ("FIRST_RATE", "MOST_RATE", "find_knee"),
    "_ranking": ("rank_paths",),
    "_recordings": ("Recording", "TakesEvents", "runs_of"),
    "_series": ("Series", "Spot"),
    "_table": ("table_lines",),
    "_text": ("Snapshot", "TextWriter", "noise_line", "summary_lines"),
    "_watch": ("Cell", "Mark", "View", "Watch"),
}
"""What is imported when it is asked for: the names of each module."""
_WHERE: Final = {name: module for module, names in _LATE.items() for name in names}

if not TYPE_CHECKING:  # a checker that saw it would believe every misspelt name

    def __getattr__(name: str) -> object:
        """Import the module that this is a name of (decision 0042)."""
        if name not in _WHERE:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = found = getattr(import_module(f".{_WHERE[name]}", __name__), name)
        return found

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
