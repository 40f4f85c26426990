"""What a task has in hand that reads a socket of a server: what is left of a batch, and answers that have not left yet.

What must hold: an answer leaves at once or not at all, and its request is counted when it is known which.
"""

from collections.abc import Collection, Iterable
from typing import NamedTuple

from ._endpoint import Endpoint
from ._net import Address, Ancillary, Outgoing
from ._tally import Tally
from .proto import AnswerKind, Asked, DropReason, Question, ServerProtocol

Read = tuple[Asked | DropReason, Address, Ancillary]
"""What one datagram of a batch asks, whence it came, and what the kernel said beside it."""


class Turn(NamedTuple):
    """One request that takes more than a look: its handler waits, say."""

    endpoint: Endpoint
    question: Question
    peer: Address
    ancillary: Ancillary


class Role:
    """Reading one socket. One task has it at a time."""

    __slots__ = ("_protocol", "_tally", "answers", "endpoint", "is_slow", "kinds", "leaving", "reads", "rest")

    def __init__(
        self,
        endpoint: Endpoint,
        protocol: ServerProtocol,
        tally: Tally,
        *,
        rest: Iterable[Read] = (),
        reads: bool = True,
    ) -> None:
        self._protocol = protocol
        self._tally = tally
        self.endpoint = endpoint
        self.rest = iter(rest)
        """What is left of its batch."""
        self.reads = reads
        """Whether the next batch is to be read when this one is through; or another task does that."""
        self.is_slow = False
        """Whether handlers have just run for so long that other tasks should have their turn before the next one."""
        self.answers: list[Outgoing] = []
        """What has not left yet."""
        self.kinds: list[AnswerKind] = []
        """What each of them is."""
        self.leaving: Turn | None = None
        """Whose answer is the last one, if that says when it leaves."""

    def is_through(self) -> bool:
        """Whether nothing is left of the batch."""
        rest = list(self.rest)
        self.rest = iter(rest)
        return not rest

    def halve(self) -> "tuple[Role | None, Role | None]":
        """The role in two, for two tasks: half of what is left, if that is any, and all else, if there is anything."""
        rest = list(self.rest)
        middle = len(rest) // 2
        self.rest = iter(rest[middle:])
        half = Role(self.endpoint, self._protocol, self._tally, rest=rest[:middle], reads=False) if middle else None
        return half, self if self.reads or rest or self.answers else None

    def put(self, turn: Turn, kind: AnswerKind, answer: bytes | None) -> None:
        """Keep an answer until the batch is through; None is one that may not be given."""
        if answer is None:
            self._tally.fail(kind)
        else:
            self.answers.append((answer, turn.peer, turn.ancillary.local))
            self.kinds.append(kind)

    async def send(self) -> None:
        """Send what was kept.

        Never waits: one neighbour that cannot be reached fills the send buffer for seconds, and all others would wait
        behind it. What is lost so is lost as on the wire: the client asks again.
        """
        if not self.answers:
            return
        answers, kinds, leaving = self.answers, self.kinds, self.leaving
        self.answers, self.kinds, self.leaving = [], [], None
        failed: Collection[int] = range(len(answers))  # until we are told otherwise
        try:
            if leaving is not None and len(answers) == 1:
                failed = await self._send_stamped(leaving, answers[0][0])
            else:
                failed = await self.endpoint.send_batch(answers, may_wait=False)
        finally:
            self._tally.end_all(kinds, failed)

    async def _send_stamped(self, turn: Turn, answer: bytes) -> Collection[int]:
        """Send the one answer to a probe; if the kernel says when it has left, the next one tells that."""
        error, left = await turn.endpoint.send_stamped(answer, turn.peer, turn.ancillary.local)
        if left is not None:
            self._protocol.note_departure(turn.question, turn.peer, left)
        return () if error is None else (0,)

    def give_up(self) -> None:
        """Count what was kept, which will not leave any more."""
        self._tally.end_all(self.kinds, range(len(self.kinds)))
        self.answers, self.kinds, self.leaving = [], [], None
