"""What knows a wire format, and the only thing that does.

A profile turns a request into bytes and a key, and a datagram into a key or a drop reason. The exchange table, the
schedule, the client and the server know only keys. So a further protocol (echo, DNS, NTP, STUN, STAMP) is one class of
about a page, and everything that makes replies hard to forge is written once.

A *key* is whatever bytes of a request the reply must repeat. Within one exchange table it belongs to one peer, so a
profile never looks at addresses.
"""

import enum
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, Protocol, runtime_checkable

from ._codec import Message
from ._drop_reason import DropReason
from ._schedule import RetryPolicy

if TYPE_CHECKING:
    from ._reply_cache import Kept

INSTANCE_SIZE: Final = 8
"""Random bytes that `Profile.new_key` is given for one client and peer."""


class AnswerKind(enum.StrEnum):
    """What a server says to a request. Formats without a word for one of these never produce it."""

    REPLY = "reply"
    RETRY = "retry"
    """The reply did not fit what an unproven address may be sent: ask again, with room for it, or with a cookie."""
    BUSY = "busy"
    ERROR = "error"
    OUTCOME_UNKNOWN = "outcome_unknown"
    """Nobody can tell whether an at-most-once request has run."""


class Answer(NamedTuple):
    """What a client reads in a datagram from a server."""

    key: bytes
    payload: bytes
    """In what is no reply, why not: see `read_refusal_untrusted`."""
    attempt: int
    """The transmission it answers; 0 where the format does not say."""
    kind: AnswerKind = AnswerKind.REPLY
    message: Message | None = None
    """The whole message, where it says more than that."""


class Extensions(NamedTuple):
    """What is known of a request that says more than its payload."""

    message: Message
    is_proven: bool = False
    """Whether the address it came from has shown that it receives there."""
    kept: "Kept | None" = None
    """What an at-most-once request is remembered by."""
    is_too_large: bool = False
    """Whether its payload is longer than the server takes. Then it is left out here, and the question is refused."""


class Question(NamedTuple):
    """What a server reads in a datagram from a client."""

    key: bytes
    payload: bytes
    attempt: int
    """The transmission it came with; 0 where the format does not say."""
    size: int
    """Length of the whole datagram in bytes: what an unproven address has paid for."""
    extensions: Extensions | None = None
    """None for nearly all: there is nothing else in the datagram."""
    times: bytes = b""
    """What a measurement wants to know; empty for an ordinary request, and in formats that cannot ask for it."""


Plain = tuple[bytes, bytes, int]
"""A question that is a key, a payload and an attempt and nothing else, as nearly all are.

A bare tuple, because an object of a class costs as much as reading the datagram.
"""


@runtime_checkable
class Profile(Protocol):
    """One wire format, both sides. Stateless: one object serves any number of clients and servers."""

    @property
    def name(self) -> str:
        """As the command line and the statistics call it."""

    @property
    def verified(self) -> Literal["strong", "weak"]:
        """Strong: a forger who cannot see the request has at least 64 random bits to guess. Weak: fewer."""

    @property
    def policy(self) -> RetryPolicy:
        """The schedule of a client that was given none."""

    @property
    def overhead(self) -> int:
        """Bytes of a request datagram that are not its payload."""

    @property
    def max_payload(self) -> int:
        """The longest payload the format can say, in bytes."""

    @property
    def random_size(self) -> int:
        """Random bytes that `new_key` wants for each request."""

    @property
    def max_outstanding(self) -> int | None:
        """Requests that may be open to one peer at a time; None where keys tell them apart."""

    # The client's side

    def new_key(self, payload: bytes, instance: bytes, random: bytes) -> bytes:
        """The key of a new request.

        Args:
            payload: the user's bytes; `ValueError` when the format cannot carry them.
            instance: 8 random bytes that stay the same for one client and peer.
            random: `random_size` fresh random bytes.
        """

    def encode_request(self, payload: bytes, key: bytes, attempt: int, room: int) -> bytes:
        """The datagram of one transmission, padded to at least `room` bytes where the format can be padded."""

    def decode_answer_untrusted(self, data: bytes) -> Answer | DropReason:
        """What the datagram answers, or why it answers nothing. Never raises."""

    def decode_quote_untrusted(self, data: bytes) -> bytes | None:
        """The key of a request of ours that an ICMP error quotes, perhaps cut short. Never raises."""

    # The server's side

    def decode_question_untrusted(self, data: bytes) -> Question | DropReason:
        """What the datagram asks, or why it asks nothing. Never raises."""

    def encode_answer(self, question: Question, kind: AnswerKind, payload: bytes) -> bytes | None:
        """The datagram of an answer; None where the format has no such answer.

        Raises `ValueError` for a payload the format cannot carry.
        """

    def reply_budget(self, question: Question) -> int:
        """The most bytes an answer to an unproven address may have: `question.size`, unless the format is a toy."""


@runtime_checkable
class Validating(Profile, Protocol):
    """A format that has words for cookies, for at-most-once requests, and for why a request is refused."""

    def encode_extended(
        self, payload: bytes, key: bytes, attempt: int, room: int, *, cookie: bytes, once: bytes
    ) -> bytes:
        """The datagram of one transmission that says more; as `encode_request` otherwise."""

    def encode_retry(self, question: Question, cookie: bytes, once: bytes) -> bytes:
        """The datagram of a RETRY that gives a cookie, and what at-most-once needs to know where that is not empty."""

    def encode_refusal(self, question: Question, kind: AnswerKind, refusal: bytes) -> bytes:
        """The datagram of a BUSY or an ERROR that says why."""


@runtime_checkable
class Batching(Profile, Protocol):
    """A format most of whose requests are plain. It says of them what it says of others, for less."""

    def decode_batch_untrusted(self, batch: Sequence[bytes], most: int) -> list[Plain | Question | DropReason]:
        """What each datagram of a batch asks, or why it asks nothing. Never raises.

        Args:
            batch: the datagrams, one at least.
            most: the longest payload of what is given as plain, in bytes; what is longer is given as a question.
        """

    def encode_plain(self, plain: Plain, payload: bytes) -> bytes | None:
        """The datagram of a reply to a plain question; None where it would be longer than that was."""

    def question_of(self, plain: Plain) -> Question:
        """The same as a question like any other."""
