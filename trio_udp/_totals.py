"""What servers have counted, in few words: one of them, or several that share a port, added up."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from ._layout import counted
from ._record import Record
from ._statistics import ServerStatistics
from .proto import DropReason

_SHOWN: Final = ("requests", "replies", "retries", "busy", "errors", "unanswered")
_RARE: Final = ("outcome_unknown", "absorbed")
"""Of at-most-once requests: shown where there are any."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class ServerTotals(Record):
    """What `serve` prints when it has stopped. Those of servers that share a port can be added: `one + other`.

    The counters are those of `ServerStatistics`, with the same names.
    """

    requests: int = 0
    replies: int = 0
    retries: int = 0
    busy: int = 0
    errors: int = 0
    unanswered: int = 0
    outcome_unknown: int = 0
    absorbed: int = 0
    dropped: Mapping[DropReason, int] = field(default_factory=dict)
    kernel_drops: int = 0
    """Of all endpoints: what did not fit into a receive buffer, as far as the kernel has told."""

    @classmethod
    def of(cls, statistics: ServerStatistics) -> "ServerTotals":
        """One server's."""
        return cls(
            **{name: getattr(statistics, name) for name in (*_SHOWN, *_RARE)},
            dropped=dict(statistics.dropped),
            kernel_drops=sum(endpoint.kernel_drops for endpoint in statistics.endpoints.values()),
        )

    def __add__(self, other: "ServerTotals") -> "ServerTotals":
        return ServerTotals(
            **{name: getattr(self, name) + getattr(other, name) for name in (*_SHOWN, *_RARE, "kernel_drops")},
            dropped=dict(Counter(self.dropped) + Counter(other.dropped)),
        )

    def lines(self, missing: int = 0) -> list[str]:
        """The lines that `serve` prints, an empty one first; and of how many processes the last word is missing."""
        shown = [*_SHOWN, *(name for name in _RARE if getattr(self, name))]
        lines = ["", "--- server statistics ---", ", ".join(f"{name} {getattr(self, name)}" for name in shown)]
        if self.dropped:
            lines.append(f"dropped: {counted(self.dropped)}")
        if self.kernel_drops:
            lines.append(f"lost in a full receive buffer: {self.kernel_drops}")
        if missing:
            lines.append(f"workers that ended without a report, counted as far as they had told: {missing}")
        return lines
