"""Measure a path: what is lost, on which way, how long things take, and how sure that is.

    async with open_prober("192.0.2.1", 1060) as prober:
        summary = await prober.run(Fixed(0.001), count=1000)
    print(summary.lost_upstream, summary.rtt.p99_ns)

The command `ping` is a thin layer over this. All but `_prober`, `_timer`, `_calibrate` and `_examine` is
arithmetic. What a run by itself does not need is imported when any of it is first asked for.
"""

from typing import TYPE_CHECKING

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
    Skipped,
    Stamps,
    Start,
    Summary,
    Variation,
)
from ._schedules import Adaptive, Fixed, Poisson, Progress, Schedule, flood

if TYPE_CHECKING:
    from ._calibrate import noise_floor
    from ._compare import CONFIDENCE, Between, Comparison, Figure, Sample, compare, percentile, proportion
    from ._csv import CSV_COLUMNS, CsvWriter
    from ._doctor import Finding, State
    from ._examine import examine
    from ._irtt import IrttRun
    from ._ndjson import STREAM_VERSION, BadLine, Line, Lines, from_json, json_schema, to_json
    from ._objectives import METRICS, Condition, parse_condition
    from ._ranking import rank_paths
    from ._recordings import Recording, TakesEvents, runs_of

__all__ = [
    "CONFIDENCE",
    "CSV_COLUMNS",
    "DEFAULT_SIZE",
    "DEFAULT_WAIT",
    "METRICS",
    "STREAM_VERSION",
    "Adaptive",
    "BadLine",
    "Between",
    "Captured",
    "ClockOffset",
    "Comparison",
    "Condition",
    "Corrupted",
    "CsvWriter",
    "Direction",
    "Distribution",
    "Duplicate",
    "Event",
    "Figure",
    "Finding",
    "Fixed",
    "Interval",
    "IrttRun",
    "Late",
    "Line",
    "Lines",
    "Lost",
    "Missed",
    "Poisson",
    "Prober",
    "Progress",
    "Recording",
    "Refused",
    "Rejected",
    "ReplyRecord",
    "Sample",
    "Schedule",
    "Skipped",
    "Stamps",
    "Start",
    "State",
    "Summary",
    "TakesEvents",
    "Variation",
    "compare",
    "examine",
    "flood",
    "from_json",
    "json_schema",
    "noise_floor",
    "open_prober",
    "parse_condition",
    "pcapng_header",
    "pcapng_packet",
    "percentile",
    "proportion",
    "rank_paths",
    "runs_of",
    "to_json",
]

if not TYPE_CHECKING:  # a checker that saw it would believe every misspelt name

    def __getattr__(name: str) -> object:
        """Import the rest, all of it together (decision 0042)."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from . import (  # noqa: PLC0415 - that is what this is for
            _calibrate,
            _compare,
            _csv,
            _doctor,
            _examine,
            _irtt,
            _ndjson,
            _objectives,
            _ranking,
            _recordings,
        )

        rest = (_calibrate, _compare, _csv, _doctor, _examine, _irtt, _ndjson, _objectives, _ranking, _recordings)
        for module in rest:
            globals().update({known: value for known, value in vars(module).items() if known in __all__})
        return globals()[name]

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
