"""Our own wire format, version 1, as a profile: 128 random bits in every request, repeated by every answer."""

from typing import Final, Literal, NamedTuple

from ._codec import (
    HEADER_SIZE,
    IDS_SIZE,
    MAX_ATTEMPT,
    MAX_DATAGRAM,
    MAX_PAYLOAD,
    PLAIN_HEADER,
    VERSION,
    Message,
    MessageType,
    decode_message_untrusted,
    encode_message,
    plain_word,
)
from ._drop_reason import DropReason
from ._profile import Answer, AnswerKind, Question
from ._schedule import RetryPolicy
from ._times import (
    Times,
    decode_sequence_untrusted,
    decode_times_untrusted,
    encode_sequence,
    is_intact,
    with_check,
)

_KINDS: Final = {
    MessageType.REPLY: AnswerKind.REPLY,
    MessageType.RETRY: AnswerKind.RETRY,
    MessageType.BUSY: AnswerKind.BUSY,
    MessageType.ERROR: AnswerKind.ERROR,
}
_TYPES: Final = {kind: message_type for message_type, kind in _KINDS.items()}
_REPLY: Final = AnswerKind.REPLY  # looked up once, because that is slow
_PLAIN_REQUEST: Final = plain_word(MessageType.REQUEST)
_PLAIN_ANSWERS: Final = {kind: plain_word(message_type) for kind, message_type in _TYPES.items()}
_IDS: Final = slice(HEADER_SIZE - IDS_SIZE, HEADER_SIZE)


class TimedAnswer(NamedTuple):
    """What one who measures reads in a datagram from a server."""

    answer: Answer
    times: Times | None
    """What the server tells; None where it tells nothing."""
    is_intact: bool
    """Whether nothing has changed it on its way, as far as its check can tell."""


class TU1:
    """trio_udp's own format. A forger who cannot see the request has 128 bits to guess (A5)."""

    name: Final = "tu1"
    verified: Final[Literal["strong"]] = "strong"
    policy: Final = RetryPolicy()
    overhead: Final = HEADER_SIZE
    max_payload: Final = MAX_PAYLOAD
    random_size: Final = 8
    max_outstanding: Final = None
    has_times: Final = True
    """Whether probes can ask for times."""

    def new_key(self, payload: bytes, instance: bytes, random: bytes) -> bytes:
        """Instance id and request id, 16 bytes."""
        return instance + random

    def encode_request(self, payload: bytes, key: bytes, attempt: int, room: int) -> bytes:
        """A REQUEST, padded to `room` bytes if it is shorter."""
        padding = max(room - HEADER_SIZE - len(payload), 0)
        return encode_message(Message(MessageType.REQUEST, attempt, key, payload, padding))

    def decode_answer_untrusted(self, data: bytes) -> Answer | DropReason:
        """Any message with the direction bit."""
        message = decode_message_untrusted(data)
        if isinstance(message, DropReason):
            return message
        if not _is_plain(message) or message.times:
            return DropReason.MALFORMED
        kind = _KINDS.get(message.type)
        if kind is None:
            return DropReason.WRONG_DIRECTION
        return Answer(message.ids, message.payload, message.attempt, kind)

    # Measuring

    def encode_probe(self, payload: bytes, key: bytes, sequence: int) -> bytes:
        """A REQUEST that asks for times; sequence 0 asks for a report."""
        times = with_check(1, key, encode_sequence(sequence), payload)
        return encode_message(Message(MessageType.REQUEST, 1, key, payload, times=times))

    def decode_probe_answer_untrusted(self, data: bytes) -> "TimedAnswer | DropReason":
        """Any message with the direction bit, and what is in its times."""
        message = decode_message_untrusted(data)
        if isinstance(message, DropReason):
            return message
        kind = _KINDS.get(message.type)
        if message.cookie or message.once or message.tag or (kind is _REPLY and not message.times):
            return DropReason.MALFORMED
        if kind is None:
            return DropReason.WRONG_DIRECTION
        answer = Answer(message.ids, message.payload, message.attempt, kind)
        if not message.times:
            return TimedAnswer(answer, None, is_intact=True)
        if not is_intact(message):
            return TimedAnswer(answer, None, is_intact=False)
        return TimedAnswer(answer, decode_times_untrusted(message.times), is_intact=True)

    # Hints, and the server's side

    def decode_quote_untrusted(self, data: bytes) -> bytes | None:
        """The ids of a quoted REQUEST; routers may quote as little as its first 8 bytes, which is too little."""
        if len(data) < HEADER_SIZE or data[0] != VERSION or data[1] != MessageType.REQUEST:
            return None
        return data[_IDS]

    def decode_question_untrusted(self, data: bytes) -> Question | DropReason:
        """A REQUEST and nothing else: what has the direction bit is never answered (E5)."""
        size = len(data)
        if HEADER_SIZE <= size <= MAX_DATAGRAM:
            word, length, ids = PLAIN_HEADER.unpack_from(data)
            attempt = word - _PLAIN_REQUEST
            if length == size - HEADER_SIZE and 0 < attempt <= MAX_ATTEMPT:
                return tuple.__new__(Question, (ids, data[HEADER_SIZE:], attempt, size, b""))
        message = decode_message_untrusted(data)
        if isinstance(message, DropReason):
            return message
        if not _is_plain(message):
            return DropReason.MALFORMED
        if message.type is not MessageType.REQUEST:
            return DropReason.WRONG_DIRECTION
        question = Question(message.ids, message.payload, message.attempt, len(data), message.times)
        return _probing(message, question) if message.times else question

    def encode_answer(self, question: Question, kind: AnswerKind, payload: bytes) -> bytes:
        """A message that repeats the request's ids and attempt."""
        key, _, attempt, _, times = question
        if times and kind is _REPLY:
            checked = with_check(attempt, key, times, payload)
            return encode_message(Message(MessageType.REPLY, attempt, key, payload, times=checked))
        fits = len(payload) <= (MAX_PAYLOAD if kind is _REPLY else 0) and 0 < attempt <= MAX_ATTEMPT
        if fits and len(key) == IDS_SIZE:
            return PLAIN_HEADER.pack(_PLAIN_ANSWERS[kind] + attempt, len(payload), key) + payload
        return encode_message(Message(_TYPES[kind], attempt, key, payload))  # which says what is wrong

    def reply_budget(self, question: Question) -> int:
        """No more than the request brought (E4)."""
        return question.size


def _probing(message: Message, question: Question) -> Question | DropReason:
    """The question of one who measures, or why it is none."""
    if not is_intact(message):
        return DropReason.CORRUPTED
    return DropReason.MALFORMED if decode_sequence_untrusted(message.times) is None else question


def _is_plain(message: Message) -> bool:
    """Whether it has nothing that is not spoken here yet."""
    return not (message.cookie or message.once or message.tag)
