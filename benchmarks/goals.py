"""The goals, and whether a run met them. Each names the row of a table of this run that it is about."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Final

import clients
import imports
import junk
import offload
import ping
import probers
import servers
import tools
from measure import Comparison


@dataclass(frozen=True)
class Goal:
    """A bound on the median of a candidate, or of what it is in relation to another one of the same round."""

    what: str
    comparison: str
    """Title of the table; empty while nothing can measure it."""
    candidate: str = ""
    bound: float = 0.0
    base: str | None = None
    """Divided by this one; by none if None."""
    at_most: bool = False
    missing: str = ""
    """Why nothing can measure it."""

    @property
    def sentence(self) -> str:
        """The bound in words."""
        comparison = "≤" if self.at_most else "≥"
        return f"{comparison} {self.bound:,g}" + (f" x {self.base}" if self.base else "")

    def measured(self, comparisons: Mapping[str, Comparison]) -> list[float] | str:
        """What was measured, round by round; or why nothing was."""
        found = comparisons.get(self.comparison)
        if found is None:
            return self.missing or "not in this run"
        for name in (self.candidate, self.base or self.candidate):
            if name not in found.samples:
                return found.skipped.get(name, "not in this run")
        return found.ratios(self.candidate, self.base) if self.base else found.values(self.candidate)

    def is_met(self, values: list[float]) -> bool:
        """Whether the median keeps within the bound."""
        return median(values) <= self.bound if self.at_most else median(values) >= self.bound


GOALS: Final = (
    Goal("endpoint echo, no protocol", servers.TITLE, servers.ENDPOINT, 1.3, servers.PLAIN),
    Goal("the same", servers.TITLE, servers.ENDPOINT, 8, servers.BY_HAND),
    Goal("the same", servers.TITLE, servers.ENDPOINT, 0.65, servers.C_MANY),
    Goal("`serve`, whole protocol, built-in echo", servers.TITLE, servers.BUILT_IN, 1.2, servers.PLAIN),
    Goal("`serve`, `def` handler", servers.TITLE, servers.DEF, 1.0, servers.PLAIN),
    Goal("`serve`, `async def` that does not wait", servers.TITLE, servers.ASYNC, 0.6, servers.PLAIN),
    Goal("`serve`, `async def` that awaits once", servers.TITLE, servers.WAITING, 0.4, servers.PLAIN),
    Goal("`serve`, `def` handler, keyed", servers.TITLE, servers.KEYED, 0.6, servers.DEF),
    Goal("client, 1 task", clients.title(1), clients.OURS, 1.0, clients.BY_HAND),
    Goal("client, 100 tasks", clients.title(100), clients.OURS, 3, clients.BY_HAND),
    Goal("the same", clients.title(100), clients.OURS, 1.3, clients.UVLOOP),
    Goal("client, 10,000 tasks", clients.title(10_000), clients.OURS, 4, clients.BY_HAND),
    Goal("the same", clients.title(10_000), clients.OURS, 1.0, clients.UVLOOP),
    Goal("client, `request_many`", clients.MANY_TITLE, clients.OURS_MANY, 0.8, clients.PIPELINED),
    Goal("the same, offload on both ends", offload.TITLE, offload.MANY, 2, offload.PIPELINED),
    Goal("1000 tasks, one client, our `serve`, offload", offload.TITLE, offload.TASKS, 2, offload.TASKS_WITHOUT),
    Goal("the same", offload.TITLE, offload.TASKS, 1.0, offload.TASKS_C),
    Goal("memory a request, task each, bytes", clients.MEMORY_TITLE, clients.OURS, 2355, at_most=True),
    Goal("memory a request, `request_many`, bytes", clients.MEMORY_TITLE, clients.OURS_MANY, 400, at_most=True),
    Goal("import beyond trio's own, to ask, ms", imports.TITLE, imports.BEYOND[imports.ASKING], 15, at_most=True),
    Goal("the same, to answer", imports.TITLE, imports.BEYOND[imports.ANSWERING], 15, at_most=True),
    Goal("`ping -c 1`", imports.TITLE, imports.PING, 1.3, imports.TRIO, at_most=True),
    Goal("ping's round trip, back to back", ping.ROUND_TRIP_TITLE, ping.OURS, 0.7, ping.C, at_most=True),
    Goal("probes on time at 1 ms, percent", ping.ON_TIME_TITLE, ping.OURS_PING, 99.5),
    Goal("probes on time at 200 µs, percent", ping.ON_TIME_TITLE, ping.OURS_FAST, 99),
    *(
        Goal("round trip that is reported, at 1 ms", tools.ROUND_TRIPS, probers.OURS, 1.0, other, at_most=True)
        for other in (probers.IRTT, probers.SOCKPERF)
    ),
    *(
        Goal("probes on time at 1 ms, beside other tools", tools.ON_TIME, probers.OURS, 1.0, other)
        for other in (probers.IRTT, probers.SOCKPERF, probers.PING, probers.FPING)
    ),
    *(
        Goal("the same of one that spins, beside others that do", tools.ON_TIME, probers.SPINNING, 1.0, other)
        for other in (probers.SOCKPERF, probers.PING)
    ),
    Goal("junk, server, µs each beyond the batch", junk.TITLE, junk.SERVER, 0.5, at_most=True),
    Goal("junk, client, µs each beyond the batch", junk.TITLE, junk.CLIENT, 0.5, at_most=True),
)


def table(comparisons: Iterable[Comparison], *, is_judged: bool) -> str:
    """Every goal beside what this run says, in Markdown; a short run says nothing about goals."""
    by_title = {comparison.title: comparison for comparison in comparisons}
    lines = ["### Goals", "", "| what | goal | measured | min-max | |", "|---|---|--:|--:|---|"]
    return "\n".join([*lines, *(_row(goal, by_title, is_judged=is_judged) for goal in GOALS)])


def _row(goal: Goal, comparisons: Mapping[str, Comparison], *, is_judged: bool) -> str:
    values = goal.measured(comparisons)
    if isinstance(values, str):
        return f"| {goal.what} | {goal.sentence} | | | not measured: {values} |"
    spread = f"{min(values):,.2f}-{max(values):,.2f}"
    verdict = ("met" if goal.is_met(values) else "**not met**") if is_judged else "too short to say"
    return f"| {goal.what} | {goal.sentence} | {median(values):,.2f} | {spread} | {verdict} |"
