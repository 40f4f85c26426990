"""Keyed authentication: a tag behind every datagram that only who has the key can have made.

A seal turns the datagram that the wire format wrote into one with a tag, and back. So nothing else in the core knows of
keys but three hooks: the server opens what it reads and seals what it says, and the client does the same the other way
round. What lies between the header and the tag, extensions and padding too, is covered without being looked at.

What must hold (F1): the tag covers every byte before it, and the direction; an answer's tag covers the tag of its
request as well, so that an answer which was recorded belongs to no other transmission. The algorithm belongs to the
key, never to the datagram (F2). Tags are compared in constant time (F3), before anything they cover is believed.
"""

import abc
import hashlib
import hmac
import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Self

from ._codec import (
    AUTHENTICATED,
    HEADER_SIZE,
    IDS_SIZE,
    MAX_ATTEMPT,
    MAX_DATAGRAM,
    MAX_KEY_ID,
    PLAIN_HEADER,
    TAG_SIZE,
    VERSION,
    MessageType,
    plain_word,
)
from ._drop_reason import DropReason
from ._profile import Plain, Profile, Question
from ._tu1 import TU1

LEAST_SIZE: Final = HEADER_SIZE + TAG_SIZE
"""Bytes of the smallest datagram with a tag."""
SECRET_SIZES: Final = range(16, 65)
"""Bytes of a key. Fewer can be guessed some day, and BLAKE2b takes no more."""

REQUEST: Final = b"tu1 request"
ANSWER: Final = b"tu1 answer"
"""What separates the directions. With BLAKE2b it is the personalisation; HMAC reads it first, and a zero byte."""

IDS: Final = slice(HEADER_SIZE - IDS_SIZE, HEADER_SIZE)
"""Where a datagram, sealed or not, says which request it belongs to."""

_UNBOUND: Final = b""
_BAD_SEAL: Final = DropReason.BAD_SEAL  # looked up once, because that is slow
_FLAGS_AT: Final = 2
_ATTEMPT_AT: Final = 3
_KEY_ID_AT: Final = 4

# version, type, flags and attempt as one number; key id, reserved and payload length as another
_MARKS: Final = struct.Struct("!II")
_SEALED: Final = AUTHENTICATED << 8
"""The flag's place in the first of these numbers."""
_KEY_ID: Final = 24
"""The key id's place in the second."""
_UNMARKED: Final = (1 << _KEY_ID) - 1
_BEHIND_MARKS: Final = _MARKS.size
_PLAIN_REQUEST: Final = plain_word(MessageType.REQUEST) | _SEALED


class Seal(abc.ABC):
    """One key at work. How it makes tags is its own affair; a further algorithm is a further subclass."""

    __slots__ = ("_mark", "key_id")

    def __init__(self, key_id: int) -> None:
        if not 1 <= key_id <= MAX_KEY_ID:
            raise ValueError(f"expected a key id from 1 to {MAX_KEY_ID}, got {key_id}")
        self.key_id: Final = key_id
        self._mark: Final = key_id << _KEY_ID

    def seal(self, direction: bytes, datagram: bytes, bound: bytes = _UNBOUND) -> bytes:
        """The datagram with a tag.

        Args:
            direction: `REQUEST` or `ANSWER`.
            datagram: as the wire format wrote it.
            bound: the tag of the request, for an answer.
        """
        first, second = _MARKS.unpack_from(datagram)
        marked = _MARKS.pack(first | _SEALED, second | self._mark) + datagram[_BEHIND_MARKS:]
        return self.protect(direction, marked, bound)

    def open_untrusted(self, direction: bytes, data: bytes, bound: bytes = _UNBOUND) -> bytes | None:
        """The datagram as the wire format wrote it, if its tag is good. At least `LEAST_SIZE` bytes are wanted."""
        datagram = self.unprotect(direction, data, bound)
        return None if datagram is None else _unmark(datagram)

    @abc.abstractmethod
    def protect(self, direction: bytes, datagram: bytes, bound: bytes) -> bytes:
        """What leaves: this, or this with its payload enciphered, and behind it 16 bytes of tag."""

    @abc.abstractmethod
    def unprotect(self, direction: bytes, data: bytes, bound: bytes) -> bytes | None:
        """The opposite, None if the tag is not the one that belongs there."""


def _unmark(datagram: bytes) -> bytes:
    first, second = _MARKS.unpack_from(datagram)
    return _MARKS.pack(first & ~_SEALED, second & _UNMARKED) + datagram[_BEHIND_MARKS:]


def check_sealable(profile: Profile) -> None:
    """Raise `ValueError` for a format that has no room for a tag."""
    if not isinstance(profile, TU1):
        raise ValueError(f"expected no key: profile {profile.name} has no room for a tag")


class MACSeal(Seal):
    """A seal that hides nothing: the datagram in clear, and a message authentication code."""

    __slots__ = ("_answer", "_request")

    def __init__(self, key_id: int, state: Callable[[bytes], "hashlib.blake2b | hmac.HMAC"]) -> None:
        super().__init__(key_id)
        # The state after the key was read is copied for each datagram, which is cheaper than to read the key again.
        self._request = state(REQUEST)
        self._answer = state(ANSWER)

    def protect(self, direction: bytes, datagram: bytes, bound: bytes) -> bytes:
        """See `Seal.protect`."""
        state = (self._request if direction is REQUEST else self._answer).copy()
        state.update(bound + datagram)
        return datagram + state.digest()[:TAG_SIZE]

    def unprotect(self, direction: bytes, data: bytes, bound: bytes) -> bytes | None:
        """See `Seal.unprotect`."""
        datagram = data[:-TAG_SIZE]
        state = (self._request if direction is REQUEST else self._answer).copy()
        state.update(bound + datagram)
        return datagram if hmac.compare_digest(state.digest()[:TAG_SIZE], data[-TAG_SIZE:]) else None


def blake2b_seal(key_id: int, secret: bytes) -> Seal:
    """Keyed BLAKE2b with 128 bits (RFC 7693): the fastest there is."""
    return MACSeal(key_id, lambda way: hashlib.blake2b(key=secret, digest_size=TAG_SIZE, person=way))


def hmac_seal(key_id: int, secret: bytes) -> Seal:
    """HMAC-SHA-256 cut to 128 bits (RFC 2104 section 5): for those whose rules name it."""
    return MACSeal(key_id, lambda way: hmac.new(secret, way + b"\0", hashlib.sha256))


Stamp = tuple[Seal, bytes]
"""What a transmission was sealed with, and its tag: all that is needed to seal its answer, or to open it."""


def stamp(seal: Seal, data: bytes) -> Stamp:
    """Of a sealed request."""
    return seal, data[-TAG_SIZE:]


Decode = Callable[[bytes], Question | DropReason]
"""What reads questions: a profile's `decode_question_untrusted`, or a key ring's around it."""


class SealedQuestion(Question):
    """A question that came under a key, which its answer has to be sealed with. Otherwise a question like any other."""

    stamp: Stamp

    def _replace(self, **changes: Any) -> Self:
        replaced = super()._replace(**changes)
        replaced.stamp = self.stamp
        return replaced


_MORE_FIELDS: Final = tuple(Question._field_defaults.values())
"""What a question has beside the first four fields, if its datagram says nothing else."""

SealedPlain = tuple[bytes, bytes, int, Stamp]
"""`Plain` that came under a key: a key, a payload, an attempt, and the stamp."""


def question_of_sealed(plain: SealedPlain) -> SealedQuestion:
    """The same as a question like any other."""
    ids, payload, attempt, stamp_ = plain
    fields = (ids, payload, attempt, HEADER_SIZE + len(payload)) + _MORE_FIELDS  # noqa: RUF005 - faster
    question: SealedQuestion = tuple.__new__(SealedQuestion, fields)
    question.stamp = stamp_
    return question


def encode_sealed_plain(
    plain: SealedPlain, payload: bytes, encode: Callable[[Plain, bytes], bytes | None]
) -> bytes | None:
    """The reply to it, under the same key, if the format's own `encode_plain` has one."""
    ids, asked, attempt, (seal, tag) = plain
    datagram = encode((ids, asked, attempt), payload)
    return None if datagram is None else seal.seal(ANSWER, datagram, tag)


class KeyRing:
    """The keys that a server accepts: as many as there are ids, each once. A decoder of questions, around another."""

    def __init__(self, seals: Iterable[Seal], decode: Decode, *, allow_unkeyed: bool = False) -> None:
        self._seals: dict[int, Seal] = {}
        self._decode = decode
        """What reads the datagram inside."""
        self._allow_unkeyed = allow_unkeyed
        for seal in seals:
            if self._seals.setdefault(seal.key_id, seal) is not seal:
                raise ValueError(f"expected every key to have an id of its own, got {seal.key_id} twice")

    def decode_question_untrusted(self, data: bytes) -> Question | DropReason:
        """What the datagram asks, if a key vouches for it or need not. Never raises."""
        found = self._decode_plain_untrusted(data)
        if found is None:
            return self._decode_any_untrusted(data)
        return question_of_sealed(found) if isinstance(found, tuple) else found

    def decode_batch_untrusted(self, batch: Sequence[bytes], most: int) -> list[SealedPlain | Question | DropReason]:
        """The same for each of a batch; as plain where there is nothing in it but a payload, of this length at most."""
        found: list[SealedPlain | Question | DropReason] = []
        for data in batch:
            plain = self._decode_plain_untrusted(data)
            if plain is None:
                found.append(self._decode_any_untrusted(data))
            elif isinstance(plain, tuple) and len(plain[1]) > most:
                found.append(question_of_sealed(plain))
            else:
                found.append(plain)
        return found

    def _decode_plain_untrusted(self, data: bytes) -> SealedPlain | DropReason | None:
        """What is asked by a sealed datagram with nothing in it but a payload, as most are; None if this is another."""
        size = len(data)
        if LEAST_SIZE <= size <= MAX_DATAGRAM:
            first, second, ids = PLAIN_HEADER.unpack_from(data)
            attempt = first - _PLAIN_REQUEST
            if 0 < attempt <= MAX_ATTEMPT and second & _UNMARKED == size - LEAST_SIZE:
                seal = self._seals.get(second >> _KEY_ID)
                datagram = None if seal is None else seal.unprotect(REQUEST, data, _UNBOUND)
                if seal is None or datagram is None:
                    return _BAD_SEAL
                return ids, datagram[HEADER_SIZE:], attempt, (seal, data[-TAG_SIZE:])
        return None

    def _decode_any_untrusted(self, data: bytes) -> Question | DropReason:
        """The same the long way, for datagrams of all kinds."""
        if not is_sealed_untrusted(data):
            question = self._decode(data)
            keyless = isinstance(question, Question) and not self._allow_unkeyed
            return _BAD_SEAL if keyless else question
        seal = self._seals.get(data[_KEY_ID_AT])
        datagram = None if seal is None else seal.open_untrusted(REQUEST, data)
        if seal is None or datagram is None:
            return _BAD_SEAL
        question = self._decode(datagram)
        if not isinstance(question, Question):
            return question
        sealed: SealedQuestion = tuple.__new__(SealedQuestion, question)
        sealed.stamp = stamp(seal, data)
        return sealed


def seal_answer(question: Question, datagram: bytes) -> bytes:
    """The answer under the key its question came with; as it is, if that came with none."""
    if question.__class__ is SealedQuestion:
        seal, tag = question.stamp
        return seal.seal(ANSWER, datagram, tag)
    return datagram


def is_sealed(question: Question) -> bool:
    """Whether the question came under a key."""
    return question.__class__ is SealedQuestion


def key_id_of(question: Question) -> int:
    """Which key the question came with; 0 if it came with none."""
    return question.stamp[0].key_id if question.__class__ is SealedQuestion else 0


def is_sealed_untrusted(data: bytes) -> bool:
    """Whether these bytes claim to have a tag, and have room for one."""
    return len(data) >= LEAST_SIZE and data[_FLAGS_AT] & AUTHENTICATED == AUTHENTICATED and data[0] == VERSION


def open_answer_untrusted(data: bytes, stamps: Sequence[Stamp]) -> bytes | DropReason:
    """The sealed answer inside, if it answers one of these transmissions, in their order, under that one's key."""
    attempt = data[_ATTEMPT_AT]
    if not 1 <= attempt <= len(stamps):
        return DropReason.UNKNOWN_REQUEST
    seal, tag = stamps[attempt - 1]
    datagram = seal.open_untrusted(ANSWER, data, tag) if data[_KEY_ID_AT] == seal.key_id else None
    return _BAD_SEAL if datagram is None else datagram
