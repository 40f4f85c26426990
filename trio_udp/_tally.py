"""What became of the requests of one server, and whether any is still under way.

What must hold: each request that is counted ends under one counter, once, whatever is cancelled when. So a server that
is told to stop knows when the last of them has ended (E10).
"""

from collections.abc import Collection
from typing import Final

import trio

from .proto import AnswerKind

_COUNTERS: Final = {
    AnswerKind.REPLY: "replies",
    AnswerKind.RETRY: "retries",
    AnswerKind.BUSY: "busy",
    AnswerKind.ERROR: "errors",
    AnswerKind.OUTCOME_UNKNOWN: "outcome_unknown",
}

_FAILED: Final = {kind: "errors" if kind is AnswerKind.ERROR else "unanswered" for kind in _COUNTERS}
"""Under which counter a request goes that could not be answered so."""


class Tally:
    """Requests, and under what they have ended."""

    __slots__ = ("draining", "ended", "handlers", "idle", "requests")

    def __init__(self) -> None:
        self.requests = 0
        self.handlers = 0
        """Async handlers that wait, or run in somebody else's nursery."""
        self.ended = dict.fromkeys((*_COUNTERS.values(), "absorbed", "unanswered"), 0)
        self.draining = False
        """Whether no new request is taken."""
        self.idle = trio.Event()
        """Set once that is so and every request that came has ended."""

    def end(self, counter: str) -> None:
        """Count a request under what became of it."""
        self.ended[counter] += 1
        self.notice_if_idle()

    def fail(self, kind: AnswerKind) -> None:
        """Count a request that could not be answered so."""
        self.end(_FAILED[kind])

    def end_all(self, kinds: list[AnswerKind], failed: Collection[int]) -> None:
        """Count many that were answered so, but for those at these places."""
        for place in failed:
            self.ended[_FAILED[kinds[place]]] += 1
        answered = [kind for place, kind in enumerate(kinds) if place not in failed] if failed else kinds
        for kind in {*answered}:
            self.ended[_COUNTERS[kind]] += answered.count(kind)
        self.notice_if_idle()

    def notice_if_idle(self) -> None:
        """Wake who waits for the end, when every request that came has ended."""
        if self.draining and self.requests == sum(self.ended.values()):
            self.idle.set()
