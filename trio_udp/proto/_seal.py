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
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from ._codec import AUTHENTICATED, HEADER_SIZE, IDS_SIZE, MAX_KEY_ID, TAG_SIZE, VERSION
from ._drop_reason import DropReason
from ._profile import Question

LEAST_SIZE: Final = HEADER_SIZE + TAG_SIZE
"""Bytes of the smallest datagram with a tag."""
SECRET_SIZES: Final = range(16, 65)
"""Bytes of a key. Fewer can be guessed some day, and BLAKE2b takes no more."""

REQUEST: Final = b"tu1 request"
ANSWER: Final = b"tu1 answer"
"""What separates the directions. With BLAKE2b it is the personalisation; HMAC reads it first, and a zero byte."""

IDS: Final = slice(HEADER_SIZE - IDS_SIZE, HEADER_SIZE)
"""Where a datagram, sealed or not, says which request it belongs to."""

_FLAGS: Final = 2
_ATTEMPT: Final = 3
_KEY_ID: Final = 4
_BEHIND_KEY_ID: Final = 5


class Seal(abc.ABC):
    """One key at work. How it makes tags is its own affair; a further algorithm is a further subclass."""

    __slots__ = ("key_id",)

    def __init__(self, key_id: int) -> None:
        if not 1 <= key_id <= MAX_KEY_ID:
            raise ValueError(f"expected a key id from 1 to {MAX_KEY_ID}, got {key_id}")
        self.key_id: Final = key_id

    def seal(self, direction: bytes, datagram: bytes, bound: bytes = b"") -> bytes:
        """The datagram with a tag.

        Args:
            direction: `REQUEST` or `ANSWER`.
            datagram: as the wire format wrote it.
            bound: the tag of the request, for an answer.
        """
        marks = bytes((datagram[_FLAGS] | AUTHENTICATED, datagram[_ATTEMPT], self.key_id))
        return self.protect(direction, datagram[:_FLAGS] + marks + datagram[_BEHIND_KEY_ID:], bound)

    def open_untrusted(self, direction: bytes, data: bytes, bound: bytes = b"") -> bytes | None:
        """The datagram as the wire format wrote it, if its tag is good. At least `LEAST_SIZE` bytes are wanted."""
        datagram = self.unprotect(direction, data, bound)
        if datagram is None:
            return None
        return b"%b%c%c\0%b" % (
            datagram[:_FLAGS],
            datagram[_FLAGS] & ~AUTHENTICATED,
            datagram[_ATTEMPT],
            datagram[_BEHIND_KEY_ID:],
        )

    @abc.abstractmethod
    def protect(self, direction: bytes, datagram: bytes, bound: bytes) -> bytes:
        """What leaves: this, or this with its payload enciphered, and behind it 16 bytes of tag."""

    @abc.abstractmethod
    def unprotect(self, direction: bytes, data: bytes, bound: bytes) -> bytes | None:
        """The opposite, None if the tag is not the one that belongs there."""


class MACSeal(Seal):
    """A seal that hides nothing: the datagram in clear, and a message authentication code."""

    __slots__ = ("_states",)

    def __init__(self, key_id: int, states: Mapping[bytes, "hashlib.blake2b | hmac.HMAC"]) -> None:
        super().__init__(key_id)
        self._states = states
        """For each direction, the state after the key was read: copied for each datagram, which is cheaper."""

    def protect(self, direction: bytes, datagram: bytes, bound: bytes) -> bytes:
        """See `Seal.protect`."""
        state = self._states[direction].copy()
        state.update(bound + datagram)
        return datagram + state.digest()[:TAG_SIZE]

    def unprotect(self, direction: bytes, data: bytes, bound: bytes) -> bytes | None:
        """See `Seal.unprotect`."""
        datagram = data[:-TAG_SIZE]
        state = self._states[direction].copy()
        state.update(bound + datagram)
        return datagram if hmac.compare_digest(state.digest()[:TAG_SIZE], data[-TAG_SIZE:]) else None


def blake2b_seal(key_id: int, secret: bytes) -> Seal:
    """Keyed BLAKE2b with 128 bits (RFC 7693): the fastest there is."""
    return MACSeal(
        key_id,
        {way: hashlib.blake2b(key=secret, digest_size=TAG_SIZE, person=way) for way in (REQUEST, ANSWER)},
    )


def hmac_seal(key_id: int, secret: bytes) -> Seal:
    """HMAC-SHA-256 cut to 128 bits (RFC 2104 section 5): for those whose rules name it."""
    return MACSeal(key_id, {way: hmac.new(secret, way + b"\0", hashlib.sha256) for way in (REQUEST, ANSWER)})


Decode = Callable[[bytes], Question | DropReason]
"""What reads questions: a profile's `decode_question_untrusted`, or a key ring's around it."""


class SealedQuestion(Question):
    """A question that came under a key, which its answer has to be sealed with. Otherwise a question like any other."""

    seal: Seal
    tag: bytes
    """The request's."""

    def _replace(self, **changes: Any) -> "SealedQuestion":  # the one of a named tuple would lose the seal
        changed = super()._replace(**changes)
        changed.seal = self.seal
        changed.tag = self.tag
        return changed


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
        if not is_sealed_untrusted(data):
            question = self._decode(data)
            keyless = isinstance(question, Question) and not self._allow_unkeyed
            return DropReason.BAD_SEAL if keyless else question
        seal = self._seals.get(data[_KEY_ID])
        datagram = None if seal is None else seal.open_untrusted(REQUEST, data)
        if seal is None or datagram is None:
            return DropReason.BAD_SEAL
        question = self._decode(datagram)
        if not isinstance(question, Question):
            return question
        sealed: SealedQuestion = tuple.__new__(SealedQuestion, question)
        sealed.seal = seal
        sealed.tag = data[-TAG_SIZE:]
        return sealed


def seal_answer(question: Question, datagram: bytes) -> bytes:
    """The answer under the key its question came with; as it is, if that came with none."""
    if question.__class__ is SealedQuestion:
        return question.seal.seal(ANSWER, datagram, question.tag)
    return datagram


def is_sealed(question: Question) -> bool:
    """Whether the question came under a key."""
    return question.__class__ is SealedQuestion


def key_id_of(question: Question) -> int:
    """Which key the question came with; 0 if it came with none."""
    return question.seal.key_id if question.__class__ is SealedQuestion else 0


Stamp = tuple[Seal, bytes]
"""What a client remembers of each transmission: what it was sealed with, and its tag."""


def stamp(seal: Seal, datagram: bytes) -> Stamp:
    """Of a request that was sealed."""
    return seal, datagram[-TAG_SIZE:]


def is_sealed_untrusted(data: bytes) -> bool:
    """Whether these bytes claim to have a tag, and have room for one."""
    return len(data) >= LEAST_SIZE and data[_FLAGS] & AUTHENTICATED == AUTHENTICATED and data[0] == VERSION


def open_answer_untrusted(data: bytes, stamps: Sequence[Stamp]) -> bytes | DropReason:
    """The sealed answer inside, if it answers one of these transmissions, in their order, under that one's key."""
    attempt = data[_ATTEMPT]
    if not 1 <= attempt <= len(stamps):
        return DropReason.UNKNOWN_REQUEST
    seal, tag = stamps[attempt - 1]
    datagram = seal.open_untrusted(ANSWER, data, tag) if data[_KEY_ID] == seal.key_id else None
    return DropReason.BAD_SEAL if datagram is None else datagram
