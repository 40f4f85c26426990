"""What the benchmarks share: interleaved rounds, and tables that show their spread.

Figures from a machine with neighbours are worth little, so: candidates take turns (A B C, A B C, …), a ratio is taken
within one round, where the neighbours were the same for both, and the table says how often somebody else was running.
"""

import os
import resource
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

DISTURBED: Final = 0.1
"""Processor seconds a second, used by processes that are not ours, from which a measurement counts as disturbed."""
_SHORTEST: Final = 0.4
"""Seconds; in less the kernel's counters of 10 ms say too little about others."""


class Options(NamedTuple):
    """How long to measure."""

    rounds: int = 7
    seconds: float = 0.5
    """Of each measurement, after a quarter of it as warm-up."""
    smoke: bool = False
    """Whether only to see that everything works."""

    @property
    def warm_up(self) -> float:
        """Seconds of each measurement that do not count."""
        return self.seconds / 4


class Sample(NamedTuple):
    """One measurement."""

    value: float
    lost: int
    """Requests that had no answer in time."""
    others: float | None
    """Processor seconds a second that others used meanwhile; None where that is not known."""


Measurement = Callable[[], tuple[float, int]]
"""Returns its figure, and how many requests were lost."""


@dataclass
class Comparison:
    """Candidates measured side by side."""

    title: str
    unit: str
    base: str
    """The candidate the others are divided by."""
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    """Candidates that cannot run here, and why."""
    notes: list[str] = field(default_factory=list)

    def values(self, name: str) -> list[float]:
        """A candidate's figures, round by round."""
        return [sample.value for sample in self.samples[name]]

    def ratios(self, name: str, base: str | None = None) -> list[float]:
        """A candidate's figures divided by the base's of the same round."""
        return [a / b for a, b in zip(self.values(name), self.values(base or self.base), strict=True)]

    def disturbed(self, name: str) -> str:
        """In how many of a candidate's measurements somebody else was running."""
        others = [sample.others for sample in self.samples[name] if sample.others is not None]
        return f"{sum(share >= DISTURBED for share in others)} of {len(others)}" if others else "not known"

    def as_dict(self) -> dict[str, object]:
        """Everything measured, for JSON."""
        samples = {name: [sample._asdict() for sample in taken] for name, taken in self.samples.items()}
        return {**vars(self), "samples": samples}

    def problem(self) -> None:
        """None: a comparison is not judged."""

    def table(self) -> str:
        """Everything measured, in Markdown."""
        lines = [
            f"### {self.title}",
            "",
            f"| candidate | {self.unit} | min-max | ÷ {self.base} | min-max | lost | disturbed |",
            "|---|--:|--:|--:|--:|--:|--:|",
            *(self._row(name) for name in self.samples),
        ]
        lines += [f"| {name} | skipped: {reason} | | | | | |" for name, reason in self.skipped.items()]
        return "\n".join([*lines, "", *self.notes]).rstrip()

    def _row(self, name: str) -> str:
        values, samples = self.values(name), self.samples[name]
        ratios = self.ratios(name) if self.base in self.samples else []
        digits = 0 if median(values) >= 1000 else 1 if median(values) >= 10 else 3
        cells = (
            name,
            f"{median(values):,.{digits}f}",
            f"{min(values):,.{digits}f}-{max(values):,.{digits}f}",
            f"{median(ratios):.2f}" if ratios else "",
            f"{min(ratios):.2f}-{max(ratios):.2f}" if ratios else "",
            str(sum(sample.lost for sample in samples)),
            self.disturbed(name),
        )
        return f"| {' | '.join(cells)} |"


def interleave(comparison: Comparison, candidates: Mapping[str, Measurement], rounds: int) -> Comparison:
    """Measure every candidate once a round, but those that the comparison says are skipped."""
    for number in range(1, rounds + 1):
        print(f"{comparison.title}: round {number} of {rounds}", file=sys.stderr)
        for name, measure in candidates.items():
            if name in comparison.skipped:
                continue
            before = _Processor.now()
            value, lost = measure()
            comparison.samples.setdefault(name, []).append(Sample(value, lost, _Processor.now().others_since(before)))
    return comparison


class _Processor(NamedTuple):
    """Seconds of processor time used so far: by all, and by us and our children that have ended."""

    wall: float
    busy: float | None
    ours: float

    @classmethod
    def now(cls) -> "_Processor":
        """Read the counters."""
        usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return cls(time.perf_counter(), _busy_seconds(), sum(usage.ru_utime + usage.ru_stime for usage in usages))

    def others_since(self, before: "_Processor") -> float | None:
        """Processor seconds a second that neither we nor our children used."""
        if self.busy is None or before.busy is None or self.wall - before.wall < _SHORTEST:
            return None
        return max((self.busy - before.busy) - (self.ours - before.ours), 0.0) / (self.wall - before.wall)


def _busy_seconds() -> float | None:
    try:
        first = Path("/proc/stat").read_text(encoding="ascii").partition("\n")[0]
    except OSError:
        return None
    user, nice, system, _idle, _wait, _irq, _softirq, steal = map(int, first.split()[1:9])
    return (user + nice + system + steal) / os.sysconf("SC_CLK_TCK")
