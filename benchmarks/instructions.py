"""`instructions`: how many instructions the hot paths of the core take, by callgrind, beside what they took before.

They do not depend on who else is running. They do depend on how the interpreter was built: so they are divided by those
of a path of the same make that never changes, and what is compared is that quotient. Each path runs in two processes
that differ only in how often, so that what comes before it cancels out. Now and then a process takes a million
instructions more before it comes to anything of ours. So of two processes the lesser count is taken: of what all others
are held against, and of what looks slower than it was.

Run as a script this counts, and makes the counts the new baseline of this Python.
"""

import json
import os
import platform
import re
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import children
import measure
import peers
from hot_paths import PATHS, reference

BASELINE: Final = children.HERE / "instructions.json"
TOLERANCE: Final = 0.10
"""By how much a quotient may grow; in two environments of one interpreter it differed by up to 0.043."""
TIMES: Final = 20
MORE: Final = 2000
REPEATS: Final = 2
NOTHING: Final = "nothing"
LONGEST: Final = 120
"""Seconds for one process; on an idle machine it takes three."""
VERSION: Final = "{}.{}".format(*sys.version_info)


@dataclass
class Instructions:
    """What was counted, for each run of a path."""

    title: str = "Instructions of the core"
    counts: dict[str, float] = field(default_factory=dict)
    before: dict[str, float] = field(default_factory=dict)
    """The baseline's; empty if this Python has none."""
    skipped: str = ""

    def change(self, name: str) -> float:
        """By how much it has grown, as a share, in relation to the reference."""
        now = self.counts[name] / self.counts[reference.__name__]
        return now / (self.before[name] / self.before[reference.__name__]) - 1 if name in self.before else 0.0

    def slower(self) -> list[str]:
        """What takes more than it did."""
        return [name for name in self.counts if self.change(name) > TOLERANCE]

    def problem(self) -> str | None:
        """What has become slower, if anything has."""
        slower = ", ".join(f"{name} by {self.change(name):.1%}" for name in self.slower())
        return f"more instructions than before: {slower}" if slower else None

    def as_dict(self) -> dict[str, object]:
        """Everything measured, for JSON."""
        return asdict(self)

    def table(self) -> str:
        """Everything measured, in Markdown."""
        lines = [f"### {self.title}", ""]
        if self.skipped:
            return "\n".join([*lines, f"Skipped: {self.skipped}."])
        lines += ["| path | instructions | ÷ reference | before | change |", "|---|--:|--:|--:|--:|"]
        lines += [self._row(name) for name in self.counts]
        if not self.before:
            lines += ["", f"There is no baseline for Python {VERSION}; `python benchmarks/instructions.py` makes one."]
        return "\n".join(lines)

    def _row(self, name: str) -> str:
        count, of = self.counts[name], self.counts[reference.__name__]
        before, of_before = self.before.get(name), self.before.get(reference.__name__)
        past = f"{before / of_before:.3f} | {self.change(name):+.1%}" if before and of_before else "- | -"
        return f"| {name} | {count:,.0f} | {count / of:.3f} | {past} |"


def run(options: measure.Options) -> list[Instructions]:
    """Count, and compare with the baseline."""
    reason = peers.why_no_program("valgrind")
    if reason:
        return [Instructions(skipped=reason)]
    return [_compared(_baselines().get(VERSION, {}).get("instructions", {}))]


def _compared(before: dict[str, float]) -> Instructions:
    counts = _count_all({**dict.fromkeys(PATHS, 1), NOTHING: REPEATS, reference.__name__: REPEATS})
    found = Instructions(counts=_of_each(counts), before=before)
    again = _count_all(dict.fromkeys(slower, 1)) if (slower := found.slower()) else {}
    found.counts = _of_each({name: min(count, again.get(name, count)) for name, count in counts.items()})
    return found


def _of_each(counts: dict[str, int]) -> dict[str, float]:
    return {name: (counts[name] - counts[NOTHING]) / MORE for name in PATHS}


def _count_all(repeats: dict[str, int]) -> dict[str, int]:
    """The least count of each path, of as many processes as this says."""
    print(f"instructions: {', '.join(repeats)}", file=sys.stderr)
    # Two at a time: who else is running makes no difference
    with ThreadPoolExecutor(2) as pool:
        counting = {name: [pool.submit(_count, name) for _ in range(times)] for name, times in repeats.items()}
    return {name: min(count.result() for count in counts) for name, counts in counting.items()}


def _count(name: str) -> int:
    """Instructions of a process that does all the paths, and this one more often."""
    with tempfile.TemporaryDirectory() as directory:
        result = Path(directory) / "callgrind.out"
        tool = ("valgrind", "--tool=callgrind", f"--callgrind-out-file={result}", "--quiet")
        program = (sys.executable, "-S", children.HERE / "without_trio.py", str(TIMES), name, str(MORE))
        children.run((*tool, *program), LONGEST, environment=_environment())
        found = re.search(r"^(?:summary|totals): (\d+)", result.read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        raise children.WrongAnswerError("callgrind counted nothing")
    return int(found[1])


def _environment() -> dict[str, str]:
    """What has to be the same each time; and where the package is, which `-S` would not find."""
    return {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def _baselines() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(BASELINE.read_text(encoding="utf-8")) if BASELINE.exists() else {}
    return found


def main() -> None:
    """Make what is counted now the baseline of this Python."""
    least = _count_all(dict.fromkeys((NOTHING, *PATHS), REPEATS))
    counts = {name: round(count, 1) for name, count in _of_each(least).items()}
    build = f"{platform.python_version()}, {platform.python_compiler()}, {platform.machine()}"
    baselines = {**_baselines(), VERSION: {"python": build, "instructions": counts}}
    BASELINE.write_text(json.dumps(dict(sorted(baselines.items())), indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
