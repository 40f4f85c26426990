"""Measure a path: what is lost, on which way, how long things take, and how sure that is.

    async with open_prober("192.0.2.1", 1060) as prober:
        summary = await prober.run(Fixed(0.001), count=1000)
    print(summary.lost_upstream, summary.rtt.p99_ns)

The command `ping` is a thin layer over this. All but `_prober`, `_timer`, `_calibrate` and `_examine` is
arithmetic.
"""

from ._calibrate import noise_floor
from ._doctor import Finding, State
from ._examine import examine
from ._objectives import METRICS, Condition, parse_condition
from ._prober import DEFAULT_SIZE, DEFAULT_WAIT, Prober, open_prober
from ._ranking import rank_paths
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

__all__ = [
    "DEFAULT_SIZE",
    "DEFAULT_WAIT",
    "METRICS",
    "Adaptive",
    "ClockOffset",
    "Condition",
    "Corrupted",
    "Direction",
    "Distribution",
    "Duplicate",
    "Event",
    "Finding",
    "Fixed",
    "Interval",
    "Late",
    "Lost",
    "Missed",
    "Poisson",
    "Prober",
    "Progress",
    "Refused",
    "Rejected",
    "ReplyRecord",
    "Schedule",
    "Skipped",
    "Stamps",
    "Start",
    "State",
    "Summary",
    "Variation",
    "examine",
    "flood",
    "noise_floor",
    "open_prober",
    "parse_condition",
    "rank_paths",
]
