"""The server's protocol: which datagrams are questions, and which answers may leave.

Arithmetic only, and no state for strangers but for those who measure, a bounded number of them: a server that remembers
nothing about them cannot be made to remember too much. What must hold: nothing is ever sent in answer to a reply or to
a malformed datagram (E5), and to an address that has not proved that it receives there, never more bytes than came from
it (E4). Both are held here, in one place each, for every profile.

An address proves itself by a cookie, and is sent up to `PROVEN_BUDGET` bytes then: what fits any Internet path. Who
wants a longer reply says so with a request that is as long.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final, NamedTuple, TypeVar, cast

from ._codec import HEADER_SIZE, INSTANCE_ID_SIZE, Message, MessageType
from ._drop_reason import DropReason
from ._errors import PayloadTooLarge
from ._exchanges import Peer
from ._limits import Bucket, Limiter
from ._profile import AnswerKind, Batching, Extensions, Plain, Profile, Question, Validating
from ._refusal import Refusal, RefusalReason
from ._reply_cache import Kept
from ._seal import (
    Decode,
    KeyRing,
    Seal,
    SealedPlain,
    check_sealable,
    encode_sealed_plain,
    is_sealed,
    key_id_of,
    question_of_sealed,
    seal_answer,
)
from ._times import ProbeTable, decode_sequence_untrusted, with_turnaround
from ._validation import Validation

_REPLY: Final = AnswerKind.REPLY
"""Looked up once: Python's enums take longer for it than the rest of an answer takes."""
PROVEN_BUDGET: Final = HEADER_SIZE + 1200
"""Bytes of an answer to a proven address, however short its request: as many as a request has at most by default."""
EXPLAINED_A_SECOND: Final = 100
"""Requests above a limit to which that is said, of all clients together: refusing must not cost what answering does."""


_ALL_PLAIN: Final = {tuple}
"""The types of what is read in a batch with nothing special in it."""

_SEALED_PLAIN: Final = 4
"""Parts of a plain question that came under a key: one more than of others."""

Asked = Plain | SealedPlain | Question
"""What a datagram asks, as `ServerProtocol.receive_batch` gives it."""
DecodeBatch = Callable[[Sequence[bytes], int], Sequence[Asked | DropReason]]
"""`Batching.decode_batch_untrusted`, or a key ring's."""
Turn = TypeVar("Turn")


class Turned(NamedTuple):
    """A request that is not for the handler."""

    kind: AnswerKind | None
    """What is said to it; None: nothing now, the handler is running and its answer will be for this attempt."""
    datagram: bytes | None = None
    """None where nothing is sent."""


class ServerProtocol:
    """Reads questions and writes answers for one server."""

    def __init__(
        self,
        profile: Profile,
        *,
        max_payload: int | None = None,
        validation: Validation | None = None,
        seals: Iterable[Seal] | None = None,
        allow_unkeyed: bool = False,
        limiter: Limiter | None = None,
    ) -> None:
        """Make the protocol of one server.

        Args:
            profile: the wire format.
            max_payload: the longest payload of a request, in bytes; what the format can carry by default.
            validation: for formats with words for cookies and at-most-once requests. Without it such a request is
                malformed.
            seals: the keys that are accepted; None for a server without keys.
            allow_unkeyed: whether a server with keys believes requests that came without one as well.
            limiter: for `admits`; None takes everything.
        """
        self.profile = profile
        self.limiter = limiter
        self.max_payload = profile.max_payload if max_payload is None else min(max_payload, profile.max_payload)
        self.validation = validation
        self._validating = profile if isinstance(profile, Validating) else None
        self._batching = profile if isinstance(profile, Batching) else None
        self._decode_batch: DecodeBatch | None = None
        if self._batching is not None:
            self._decode_batch = self._batching.decode_batch_untrusted
        self._allow_unkeyed = allow_unkeyed
        self._decode: Decode = profile.decode_question_untrusted
        self._longest_reply = profile.max_payload
        if seals is not None:
            self.set_seals(seals)
        self.dropped: defaultdict[DropReason, int] = defaultdict(int)  # for a flood: a Counter takes twice as long
        self._explaining = Bucket(EXPLAINED_A_SECOND)
        self._explained_until = -math.inf
        self.repeated = 0
        """Answers of at-most-once requests that were given again, to who asked again."""
        self.probes = ProbeTable(began=0)
        """Those who measure."""

    def begin(self, now: int) -> None:
        """Count those who measure from now on, nanoseconds of the server's wall clock: nobody before was forgotten."""
        self.probes = ProbeTable(began=now)

    def set_seals(self, seals: Iterable[Seal]) -> None:
        """Accept these keys from now on, and no others. What was asked under another one is answered under it."""
        check_sealable(self.profile)
        ring = KeyRing(seals, self.profile.decode_question_untrusted, allow_unkeyed=self._allow_unkeyed)
        self._decode = ring.decode_question_untrusted
        self._decode_batch = ring.decode_batch_untrusted

    def receive_datagram(self, data: bytes) -> Question | DropReason:
        """The question this datagram asks, or why it must be met with silence, counted.

        One that has extensions goes to `admit` next.
        """
        return self._sift(self._decode(data))

    def receive_batch(self, batch: Sequence[bytes]) -> list[Asked | DropReason]:
        """The same for each of many datagrams, in their order. What is plain is given as that: see `encode_plain`."""
        if self._decode_batch is None:
            return [*map(self.receive_datagram, batch)]
        found: list[Asked | DropReason] = [*self._decode_batch(batch, self.max_payload)]
        if {*map(type, found)} != _ALL_PLAIN:
            for place, each in enumerate(found):
                if isinstance(each, str):  # a drop reason, but Python takes longer to see that
                    self.dropped[each] += 1
                elif isinstance(each, Question):
                    found[place] = self._sift(each)
        return found

    def encode_plain(self, plain: Plain | SealedPlain, payload: bytes) -> bytes | None:
        """The datagram that replies to a plain question; None where `reply` has to say what is sent."""
        if self._batching is None:
            return None
        if len(plain) == _SEALED_PLAIN:
            return encode_sealed_plain(plain, payload, self._batching.encode_plain)
        return self._batching.encode_plain(plain, payload)

    def question_of(self, asked: Asked) -> Question:
        """What `receive_batch` gave, as a question in any case."""
        if isinstance(asked, Question) or self._batching is None:
            return cast("Question", asked)
        return question_of_sealed(asked) if len(asked) == _SEALED_PLAIN else self._batching.question_of(asked)

    def _sift(self, question: Question | DropReason) -> Question | DropReason:
        """What was read, unless this server does not take it; what is dropped is counted."""
        if isinstance(question, Question):  # not: `DropReason`, for which Python takes five times as long
            if question.extensions is not None and self.validation is None:
                question = DropReason.MALFORMED
            elif len(question.payload) <= self.max_payload:
                return question
            else:
                question = self._too_large(question)
                if isinstance(question, Question):
                    return question
        self.dropped[question] += 1
        return question

    def admits(self, question: Question, peer: Peer, now: float) -> bool:
        """Whether this question from there is within the rate limit; if not, that is counted, and it gets no answer.

        Not BUSY either, but for what `refuse_over_limit` says: that would cost as much as an answer, and tell whoever
        sends too much, or the victim whose address was put on it, nothing that silence does not.
        """
        if self.limiter is None or self.limiter.admits(peer[0], now, partial(self._is_proven, question, peer, now)):
            return True
        self.dropped[DropReason.OVER_BUDGET] += 1
        return False

    def refuse_over_limit(self, question: Question, peer: Peer, now: float) -> bytes | None:
        """What is said to a question that `admits` has just refused: to the proven which limit it was, at times.

        Then it was not dropped after all.
        """
        if self.limiter is None or not self._may_explain(question, peer, now):
            return None
        self.dropped[DropReason.OVER_BUDGET] -= 1
        if not self.dropped[DropReason.OVER_BUDGET]:
            del self.dropped[DropReason.OVER_BUDGET]
        return self.refuse(question, AnswerKind.BUSY, self.limiter.refusal(peer[0], now))

    def admit(
        self,
        question: Question,
        peer: Peer,
        now: float,
        turn: object = None,
        *,
        may_run: bool = True,
        why_not: Refusal | None = None,
    ) -> Question | Turned | DropReason:
        """Look at the extensions of a question before anything else is done about it.

        Gives the question for the handler; or, where it must not run twice, perhaps what is said instead, or why
        nothing is, counted.

        Args:
            question: what was read.
            peer: where it came from.
            now: the time.
            turn: the caller's, to be had back from `newest`.
            may_run: whether the handler may be called now.
            why_not: what is said if that is why it is refused.
        """
        if question.extensions is None or self.validation is None:
            return question
        question = self.validation.prove(question, question.extensions, peer, now)
        extensions = question.extensions
        if extensions is not None and extensions.is_too_large:
            return self._refuse_too_large(question, peer, now)
        if extensions is None or not extensions.message.once:
            return question
        kept = self.validation.admit(question, extensions, now, may_run=may_run)
        if isinstance(kept, Kept):
            question = question._replace(extensions=extensions._replace(kept=kept))
            return self._go_on(question, kept, turn)
        why = Refusal(RefusalReason.MEMORY) if may_run else why_not
        return self._turn_away(question, kept, why, peer, now)

    def newest(self, question: Question, turn: Turn) -> tuple[Question, Turn]:
        """The attempt to answer, with its turn, of a request that the handler has been running for: the newest."""
        kept = question.extensions and question.extensions.kept
        if not kept or kept.newest is None:
            return question, turn
        return cast("tuple[Question, Turn]", kept.newest)

    def receive_probe(self, question: Question, peer: Peer, *, arrived: int, by_kernel: bool) -> Question:
        """Count a question that has times, and put into them what to answer.

        If it only `asks_for_report`, answer without asking a handler, who may be silent or slow. What comes under a key
        is counted by itself: whoever has none adds nothing to those figures, and has them forgotten no sooner.
        """
        sequence = decode_sequence_untrusted(question.times) or 0
        times = self.probes.receive(peer, _prober_of(question), sequence, arrived=arrived, by_kernel=by_kernel)
        return question._replace(times=times)

    def leaving(self, question: Question, now: int) -> Question:
        """The same question, its reply's times as they are when it leaves now."""
        return question._replace(times=with_turnaround(question.times, now))

    def note_departure(self, leaving: Question, peer: Peer, left: int) -> None:
        """The kernel has said when the reply to this one left, nanoseconds of the wall clock: to tell with the next."""
        self.probes.note_departure(peer, _prober_of(leaving), leaving.times, left)

    def reply(self, question: Question, payload: bytes) -> tuple[AnswerKind, bytes | None]:
        """The datagram to send for this reply, and what it is: a RETRY where the reply would be over budget.

        None where nothing may be sent. Raises `ValueError` for a payload that no reply of this format can carry,
        `PayloadTooLarge` if that is because of its length.
        """
        if len(payload) > self._longest_reply:
            raise PayloadTooLarge(len(payload), self._longest_reply)
        datagram = self._answer(question, _REPLY, payload)
        if question.extensions is not None:
            self.settle(question, _REPLY, payload)
        if datagram is not None:
            return _REPLY, datagram
        return AnswerKind.RETRY, self.refuse(question, AnswerKind.RETRY)

    def refuse(self, question: Question, kind: AnswerKind, why: Refusal | None = None) -> bytes | None:
        """The datagram of an answer without payload, with the reason if that fits; None where nothing does."""
        if why is not None and self._validating is not None:
            datagram = self._validating.encode_refusal(question, kind, why.encode())
            if self._is_within_budget(question, datagram):
                return seal_answer(question, datagram)
        return self._answer(question, kind, b"")

    def retry(self, question: Question, peer: Peer, now: float, payload: bytes | None = None) -> bytes | None:
        """The datagram of a RETRY, with a cookie if that helps and fits; None where none does.

        It helps if the payload that is to be replied, if there is one, could be sent to who has a cookie.
        """
        lacks_proof = question.extensions is None or not question.extensions.is_proven
        helps = payload is None or (lacks_proof and HEADER_SIZE + len(payload) <= PROVEN_BUDGET)
        if helps and self._validating is not None and self.validation is not None:
            cookie, start = self.validation.grant(question, peer, now)
            datagram = self._validating.encode_retry(question, cookie, start)
            if self._is_within_budget(question, datagram):
                self.validation.granted += 1
                return seal_answer(question, datagram)
        return self.refuse(question, AnswerKind.RETRY)

    def settle(self, question: Question, kind: AnswerKind, payload: bytes | None = b"") -> None:
        """The handler has ended. If its request must not run twice, keep what is answered; None is silence.

        What was said first stays.
        """
        kept = question.extensions and question.extensions.kept
        if kept and kept.kind is None and self.validation is not None:
            self.validation.replies.settle(kept, kind, payload)

    def _is_proven(self, question: Question, peer: Peer, now: float) -> bool:
        """Whether no stranger can have made it up: it has a good seal, or a cookie that went to where it comes from."""
        if question.extensions is None or self.validation is None:
            return is_sealed(question)
        return is_sealed(question) or self.validation.accepts(question, question.extensions, peer, now)

    def _may_explain(self, question: Question, peer: Peer, now: float) -> bool:
        """Whether it is said why a question is refused: to who is proven, and not too often; if so, that is counted."""
        full_at = self._explaining.take(self._explained_until, now) if self._is_proven(question, peer, now) else None
        if full_at is not None:
            self._explained_until = full_at
        return full_at is not None

    def _too_large(self, question: Question) -> Question | DropReason:
        """What is left of a question that is: enough to refuse it, if somebody may vouch for it."""
        if self.validation is None or not (is_sealed(question) or question.extensions):
            return DropReason.TOO_LARGE
        extensions = question.extensions or Extensions(Message(MessageType.REQUEST, question.attempt, question.key))
        return question._replace(payload=b"", extensions=extensions._replace(is_too_large=True))

    def _refuse_too_large(self, question: Question, peer: Peer, now: float) -> Turned | DropReason:
        if not self._may_explain(question, peer, now):
            self.dropped[DropReason.TOO_LARGE] += 1
            return DropReason.TOO_LARGE
        why = Refusal(RefusalReason.SIZE, self.max_payload)
        return Turned(AnswerKind.ERROR, self.refuse(question, AnswerKind.ERROR, why))

    def _go_on(self, question: Question, kept: Kept, turn: object) -> Question | Turned:
        """Run it, or have its handler's answer go to this attempt, or answer again."""
        if kept.kind is None:
            is_new = kept.newest is None
            kept.newest = question, turn
            return question if is_new else Turned(None)
        self.repeated += 1
        if kept.kind is not _REPLY:
            return Turned(kept.kind, self.refuse(question, kept.kind))
        return Turned(_REPLY) if kept.payload is None else Turned(*self.reply(question, kept.payload))

    def _turn_away(
        self, question: Question, what: AnswerKind | DropReason, why: Refusal | None, peer: Peer, now: float
    ) -> Turned | DropReason:
        if isinstance(what, DropReason):
            self.dropped[what] += 1
            return what
        if what is AnswerKind.RETRY:
            return Turned(what, self.retry(question, peer, now))
        return Turned(what, self.refuse(question, what, why if what is AnswerKind.BUSY else None))

    def _answer(self, question: Question, kind: AnswerKind, payload: bytes) -> bytes | None:
        datagram = self.profile.encode_answer(question, kind, payload)
        if datagram is not None and not self._is_within_budget(question, datagram):
            self.dropped[DropReason.OVER_BUDGET] += 1
            return None
        return None if datagram is None else seal_answer(question, datagram)  # 16 bytes more, as its request has

    def _is_within_budget(self, question: Question, datagram: bytes) -> bool:
        """Whether so many bytes may be sent (E4)."""
        budget = self.profile.reply_budget(question)
        if question.extensions is not None and question.extensions.is_proven:
            budget = max(budget, PROVEN_BUDGET)
        return len(datagram) <= budget


def _prober_of(question: Question) -> bytes:
    """What tells those who measure from one address apart."""
    return bytes([key_id_of(question)]) + question.key[:INSTANCE_ID_SIZE]
