"""What a conformance suite found, and the error that carries it.

Failures that are known are listed by name. A known failure that passes is an error too, so that the list stays true.
"""

from collections.abc import Collection, Iterator
from textwrap import indent
from typing import Final, NamedTuple


class CaseResult(NamedTuple):
    """What came of one case."""

    name: str
    reason: str
    passed: bool
    happened: str
    """In words; may be empty where it passed."""
    trace: str
    """The last packets of its world, a line each; empty where it passed."""


class Report:
    """What a suite found. Iterates over its results; prints as a table, with the last packets of what failed."""

    def __init__(self, title: str, results: Collection[CaseResult]) -> None:
        self.title: Final = title
        self.results: Final = tuple(results)

    def __iter__(self) -> Iterator[CaseResult]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)

    def __getitem__(self, name: str) -> CaseResult:
        """The result of the case with this name."""
        for result in self.results:
            if result.name == name:
                return result
        raise KeyError(name)

    @property
    def passed(self) -> tuple[str, ...]:
        """Names of the cases that passed."""
        return tuple(result.name for result in self.results if result.passed)

    @property
    def failed(self) -> tuple[str, ...]:
        """Names of the cases that failed."""
        return tuple(result.name for result in self.results if not result.passed)

    @property
    def table(self) -> str:
        """A line a case: its name, whether it passed, what happened."""
        width = max((len(name) for name, *_ in self.results), default=0)
        return "\n".join(
            f"{name:{width}}  {'passed' if passed else 'FAILED'}  {happened}".rstrip()
            for name, _, passed, happened, _ in self.results
        )

    def __str__(self) -> str:
        parts = [f"{self.title}: {len(self.passed)} of {len(self)} cases passed", self.table]
        parts += [
            f"\n{name}: {reason}\n  {happened}\n{indent(trace, '  ')}"
            for name, reason, passed, happened, trace in self.results
            if not passed
        ]
        return "\n".join(parts)


class NotConformant(AssertionError):
    """A suite failed in other cases than those that are known to fail."""

    def __init__(self, report: Report, known: Collection[str]) -> None:
        super().__init__(report, known)
        self.report: Final = report
        self.unexpected: Final = tuple(name for name in report.failed if name not in known)
        """Failed, and not known to."""
        self.mended: Final = tuple(name for name in report.passed if name in known)
        """Known to fail, and passed: take them out of the list."""

    def __str__(self) -> str:
        parts = [
            f"{what}: {', '.join(names)}"
            for what, names in (("failed", self.unexpected), ("known to fail, but passed", self.mended))
            if names
        ]
        return "; ".join(parts) + f"\n{self.report}"


def check_names(known: Collection[str], names: Collection[str]) -> None:
    """`ValueError` for a known failure that is no case: a list with a slip in it would hide nothing and say nothing."""
    if isinstance(known, str):
        raise ValueError(f"expected names of cases, got one string, {known!r}")
    for name in known:
        if name not in names:
            raise ValueError(f"expected one of {', '.join(names)}, got {name!r}")


def judge(report: Report, known: Collection[str]) -> Report:
    """The report, if exactly those cases failed that are known to; `NotConformant` otherwise."""
    __tracebackhide__ = True  # pytest shows the line of the test
    if set(report.failed) != set(known):
        raise NotConformant(report, known)
    return report
