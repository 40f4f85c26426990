"""Our own wire format, version 1, as a profile: 128 random bits in every request, repeated by every answer."""

import functools
import struct
from collections.abc import Sequence
from itertools import repeat
from operator import sub
from typing import Final, Literal, NamedTuple

from ._codec import (
    COOKIE_SIZE,
    HEADER_SIZE,
    IDS_SIZE,
    MAX_ATTEMPT,
    MAX_DATAGRAM,
    MAX_PAYLOAD,
    PLAIN_HEADER,
    TIMES,
    TIMES_SIZE,
    VERSION,
    Message,
    MessageType,
    decode_message_untrusted,
    encode_message,
    plain_word,
)
from ._drop_reason import DropReason
from ._profile import Answer, AnswerKind, Extensions, Plain, Question
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
    MessageType.OUTCOME_UNKNOWN: AnswerKind.OUTCOME_UNKNOWN,
}
_TYPES: Final = {kind: message_type for message_type, kind in _KINDS.items()}
_REPLY: Final = AnswerKind.REPLY  # looked up once, because that is slow
_WRONG_VERSION: Final = DropReason.WRONG_VERSION
_PLAIN_REQUEST: Final = plain_word(MessageType.REQUEST)
_PLAIN_ANSWERS: Final = {kind: plain_word(message_type) for kind, message_type in _TYPES.items()}
_PLAIN_REPLY: Final = _PLAIN_ANSWERS[_REPLY]
_PLAIN_KINDS: Final = {word >> 8: kind for kind, word in _PLAIN_ANSWERS.items()}
_TIMED: Final = TIMES << 8
_TIMED_REQUEST: Final = _PLAIN_REQUEST | _TIMED
_TIMED_REPLY: Final = _PLAIN_REPLY | _TIMED
_TIMED_SIZE: Final = HEADER_SIZE + TIMES_SIZE
_MAX_TIMED_PAYLOAD: Final = MAX_PAYLOAD - TIMES_SIZE
_pack: Final = PLAIN_HEADER.pack
_unpack: Final = PLAIN_HEADER.unpack_from
_new: Final = tuple.__new__
"""For one object a datagram: two thirds of the price of calling the class."""
_IDS: Final = slice(HEADER_SIZE - IDS_SIZE, HEADER_SIZE)


@functools.lru_cache(maxsize=16)
def _alike(length: int, count: int) -> struct.Struct:
    """Plain headers, each with a payload of this length behind it. About 8 KiB for 64."""
    return struct.Struct("!" + f"II{IDS_SIZE}s{length}s" * count)


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

    def new_key(self, payload: bytes, instance: bytes, random: bytes) -> bytes:
        """Instance id and request id, 16 bytes."""
        return instance + random

    def encode_request(self, payload: bytes, key: bytes, attempt: int, room: int) -> bytes:
        """A REQUEST, padded to `room` bytes if it is shorter."""
        length = len(payload)
        fits = room <= HEADER_SIZE + length <= MAX_DATAGRAM and 0 < attempt <= MAX_ATTEMPT
        if fits and len(key) == IDS_SIZE:
            return _pack(_PLAIN_REQUEST + attempt, length, key) + payload
        padding = max(room - HEADER_SIZE - length, 0)
        return encode_message(Message(MessageType.REQUEST, attempt, key, payload, padding))

    def encode_extended(
        self, payload: bytes, key: bytes, attempt: int, room: int, *, cookie: bytes, once: bytes
    ) -> bytes:
        """A REQUEST with a cookie, or that must not run twice, or both. Never too short for a RETRY that gives both."""
        room = max(room, HEADER_SIZE + COOKIE_SIZE + len(once))
        padding = max(room - HEADER_SIZE - len(cookie) - len(once) - len(payload), 0)
        return encode_message(Message(MessageType.REQUEST, attempt, key, payload, padding, cookie, once))

    def decode_answer_untrusted(self, data: bytes) -> Answer | DropReason:
        """Any message with the direction bit."""
        size = len(data)
        if HEADER_SIZE <= size <= MAX_DATAGRAM:
            word, length, ids = _unpack(data)
            attempt = word & MAX_ATTEMPT
            plain = _PLAIN_KINDS.get(word >> 8)
            if plain is not None and attempt and length == size - HEADER_SIZE and (plain is _REPLY or not length):
                return _new(Answer, (ids, data[HEADER_SIZE:], attempt, plain, None))
            if word >> 24 != VERSION:  # as most junk
                return _WRONG_VERSION
        message = decode_message_untrusted(data)
        if isinstance(message, DropReason):
            return message
        unspoken = _unspoken(message)
        if unspoken is not None or message.times:
            return unspoken or DropReason.MALFORMED
        kind = _KINDS.get(message.type)
        if kind is None:
            return DropReason.WRONG_DIRECTION
        more = message if message.cookie or message.once else None
        return Answer(message.ids, message.payload + message.refusal, message.attempt, kind, more)

    # Measuring

    def encode_probe(self, payload: bytes, key: bytes, sequence: int) -> bytes:
        """A REQUEST that asks for times; sequence 0 asks for a report."""
        return _encode_timed(_TIMED_REQUEST, 1, key, encode_sequence(sequence), payload)

    def decode_probe_answer_untrusted(self, data: bytes) -> "TimedAnswer | DropReason":
        """Any message with the direction bit, and what is in its times."""
        timed = _decode_timed_untrusted(data, _TIMED_REPLY)
        if timed is not None:
            ids, payload, attempt, times = timed
            intact = is_intact(attempt, ids, times, payload)
            answer = Answer(ids, payload, attempt, _REPLY)
            return TimedAnswer(answer, decode_times_untrusted(times) if intact else None, intact)
        message = decode_message_untrusted(data)
        if isinstance(message, DropReason):
            return message
        kind = _KINDS.get(message.type)
        if message.tag:
            return DropReason.BAD_SEAL
        if kind is None:
            return DropReason.WRONG_DIRECTION
        if message.once or kind is _REPLY:  # one with times, and no more, has been read above
            return DropReason.MALFORMED
        return TimedAnswer(Answer(message.ids, message.refusal, message.attempt, kind), None, is_intact=True)

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
            word, length, ids = _unpack(data)
            attempt = word - _PLAIN_REQUEST
            if length == size - HEADER_SIZE and 0 < attempt <= MAX_ATTEMPT:
                return _new(Question, (ids, data[HEADER_SIZE:], attempt, size, None, b""))
            if data[0] != VERSION:
                return _WRONG_VERSION  # most junk: a third of what it takes to look at all of it
        timed = _decode_timed_untrusted(data, _TIMED_REQUEST)
        if timed is not None:
            ids, payload, attempt, times = timed
            return _probing(Question(ids, payload, attempt, size, None, times))
        message = decode_message_untrusted(data)
        return message if isinstance(message, DropReason) else _question_of(message, size)

    def encode_answer(self, question: Question, kind: AnswerKind, payload: bytes) -> bytes:
        """A message that repeats the request's ids and attempt."""
        key, _, attempt, _, _, times = question
        if times and kind is _REPLY:
            return _encode_timed(_TIMED_REPLY, attempt, key, times, payload)
        size = len(payload)
        if size <= (MAX_PAYLOAD if kind is _REPLY else 0) and 0 < attempt <= MAX_ATTEMPT and len(key) == IDS_SIZE:
            return _pack(_PLAIN_ANSWERS[kind] + attempt, size, key) + payload
        return encode_message(Message(_TYPES[kind], attempt, key, payload))  # which says what is wrong

    # The server's side, for a batch

    def decode_batch_untrusted(self, batch: Sequence[bytes], most: int) -> list[Plain | Question | DropReason]:
        """See `decode_question_untrusted`. All in one call where all are alike, as they are under load."""
        most = min(HEADER_SIZE + most, MAX_DATAGRAM)
        size, count = len(batch[0]), len(batch)
        may_be_alike = HEADER_SIZE <= size <= most and batch[0][0] == VERSION  # which junk rarely is
        if may_be_alike and [*map(len, batch)].count(size) == count:
            flat = _alike(size - HEADER_SIZE, count).unpack(b"".join(batch))
            words, lengths = flat[::4], flat[1::4]
            are_plain = min(words) > _PLAIN_REQUEST and max(words) <= _PLAIN_REQUEST + MAX_ATTEMPT
            if are_plain and lengths.count(size - HEADER_SIZE) == count:
                return [*zip(flat[2::4], flat[3::4], map(sub, words, repeat(_PLAIN_REQUEST)), strict=False)]
        return self._decode_each_untrusted(batch, most)

    def _decode_each_untrusted(self, batch: Sequence[bytes], most: int) -> list[Plain | Question | DropReason]:
        """The same one by one, with the most bytes of a plain datagram."""
        found: list[Plain | Question | DropReason] = []
        for data in batch:
            size = len(data)
            if HEADER_SIZE <= size <= most:
                if data[0] != VERSION:
                    found.append(_WRONG_VERSION)
                    continue
                word, length, ids = _unpack(data)
                attempt = word - _PLAIN_REQUEST
                if length == size - HEADER_SIZE and 0 < attempt <= MAX_ATTEMPT:
                    found.append((ids, data[HEADER_SIZE:], attempt))
                    continue
            found.append(self.decode_question_untrusted(data))
        return found

    def encode_plain(self, plain: Plain, payload: bytes) -> bytes | None:
        """No more than the request brought (E4): the headers are of one length."""
        ids, asked, attempt = plain
        size = len(payload)
        return _pack(_PLAIN_REPLY + attempt, size, ids) + payload if size <= len(asked) else None

    def question_of(self, plain: Plain) -> Question:
        """With its length, which is that of a header more."""
        ids, payload, attempt = plain
        return Question(ids, payload, attempt, HEADER_SIZE + len(payload))

    # The server's side, extensions

    def encode_retry(self, question: Question, cookie: bytes, once: bytes) -> bytes:
        """A RETRY that gives something to ask again with."""
        return encode_message(Message(MessageType.RETRY, question.attempt, question.key, cookie=cookie, once=once))

    def encode_refusal(self, question: Question, kind: AnswerKind, refusal: bytes) -> bytes:
        """A BUSY or an ERROR that says why."""
        return encode_message(Message(_TYPES[kind], question.attempt, question.key, refusal=refusal))

    def reply_budget(self, question: Question) -> int:
        """No more than the request brought (E4)."""
        return question.size


def _unspoken(message: Message) -> DropReason | None:
    """Why this message is none of those that are spoken here; what has a tag is opened before it comes here."""
    if message.tag:
        return DropReason.BAD_SEAL
    return DropReason.MALFORMED if message.times and (message.cookie or message.once) else None


def _question_of(message: Message, size: int) -> Question | DropReason:
    """What a message of so many bytes asks."""
    unspoken = _unspoken(message)
    if unspoken is not None:
        return unspoken
    if message.type is not MessageType.REQUEST:
        return DropReason.WRONG_DIRECTION
    more = Extensions(message) if message.cookie or message.once else None
    question = Question(message.ids, message.payload, message.attempt, size, more, message.times)
    return _probing(question) if message.times else question


def _probing(question: Question) -> Question | DropReason:
    """The question of one who measures, or why it is none."""
    if not is_intact(question.attempt, question.key, question.times, question.payload):
        return DropReason.CORRUPTED
    return DropReason.MALFORMED if decode_sequence_untrusted(question.times) is None else question


def _encode_timed(word: int, attempt: int, key: bytes, times: bytes, payload: bytes) -> bytes:
    """A message with times, to which their check is added, and nothing else: a quarter of what the codec takes."""
    size = len(payload)
    checked = with_check(attempt, key, times, payload)
    if size <= _MAX_TIMED_PAYLOAD and 0 < attempt <= MAX_ATTEMPT and len(key) == IDS_SIZE and len(times) == TIMES_SIZE:
        return _pack(word + attempt, size, key) + checked + payload
    kind = MessageType.REQUEST if word == _TIMED_REQUEST else MessageType.REPLY
    return encode_message(Message(kind, attempt, key, payload, times=checked))  # which says what is wrong


def _decode_timed_untrusted(data: bytes, word: int) -> tuple[bytes, bytes, int, bytes] | None:
    """Ids, payload, attempt and times of such a message, None if it is none."""
    size = len(data)
    if _TIMED_SIZE <= size <= MAX_DATAGRAM:
        found, length, ids = _unpack(data)
        attempt = found - word
        if 0 < attempt <= MAX_ATTEMPT and length == size - _TIMED_SIZE:
            return ids, data[_TIMED_SIZE:], attempt, data[HEADER_SIZE:_TIMED_SIZE]
    return None
