"""Who measures believes what answers a probe, and who has a key what that vouches for: forgeries of every kind again.

The forger against a key has more than anybody outside could have: the request, the genuine answer, and what the server
would have made of it if it had been asked, or keyed, otherwise. Each kind is wrong in one thing (A1, F1).
"""

from collections.abc import Callable
from random import Random
from typing import Final, NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trio_udp.proto import (
    MAX_DATAGRAM,
    REPORT,
    TU1,
    AnswerKind,
    Book,
    ClientProtocol,
    DropReason,
    Heard,
    Message,
    MessageType,
    Peer,
    Probe,
    ProbeProtocol,
    Question,
    RetryPolicy,
    Seal,
    ServerProtocol,
    Times,
    blake2b_seal,
    encode_message,
    hmac_seal,
)
from trio_udp.proto._seal import ANSWER, REQUEST
from trio_udp.proto._times import with_check

from .forge import KINDS, Forgery, Target

SERVER: Final[Peer] = ("192.0.2.53", 1060)
SECRET: Final = bytes(range(32))
MAKERS: Final = {"blake2b": blake2b_seal, "hmac": hmac_seal}
TAG: Final = 16
TIMES: Final = slice(24, 76)
BAD: Final = DropReason.BAD_SEAL
UNKNOWN: Final = DropReason.UNKNOWN_REQUEST

makers = st.sampled_from(sorted(MAKERS))
randoms = st.randoms(use_true_random=False)
payloads = st.binary(min_size=1, max_size=40)


# Keys


class Keyed(NamedTuple):
    """Somebody with a key who waits, what it has sent, and the answer to the last of it."""

    receive: Callable[[bytes], object]
    sent: list[bytes]
    plain: bytes
    """The answer as the wire format writes it."""
    make: Callable[[int, bytes], Seal]

    @property
    def seal(self) -> Seal:
        """Its key, which is the server's too."""
        return self.make(7, SECRET)

    def sealed(self, plain: bytes | None = None, *, request: int = -1, seal: Seal | None = None) -> bytes:
        """What a server with a key answers to one of the transmissions."""
        tag = self.sent[request][-TAG:]
        return (seal or self.seal).seal(ANSWER, self.plain if plain is None else plain, tag)


def asking(make: Callable[[int, bytes], Seal], payload: bytes) -> Keyed:
    """A client that has asked twice."""
    client = ClientProtocol(TU1(), [SERVER], random=b"instance", seal=make(7, SECRET))
    exchange = client.open_exchange(b"question", RetryPolicy(jitter=0.0), b"\0\0" + b"requests")
    sent = []
    for now in (0.0, 1.0):
        attempt = exchange.next_attempt(now)
        assert attempt is not None
        sent.append(attempt.datagram)
    plain = encode_message(Message(MessageType.REPLY, 2, b"instancerequests", payload))
    return Keyed(lambda data: client.receive_datagram(data, SERVER, 1.1), sent, plain, make)


def measuring(make: Callable[[int, bytes], Seal], payload: bytes) -> Keyed:
    """One who measures, whose probe is out; without times, which `test_whoever_measures…` below are about."""
    protocol = ProbeProtocol(TU1(), SERVER, random=b"instance", size=len(payload), seal=make(7, SECRET))
    _, datagram = protocol.open(1, payload[: protocol.payload_size], b"requests")
    plain = encode_message(Message(MessageType.REPLY, 1, b"instancerequests", payload))
    return Keyed(lambda data: protocol.match_untrusted(data, SERVER), [datagram], plain, make)


WHO: Final = {"client": asking, "prober": measuring}
Kind = Callable[[Keyed, Random], tuple[bytes, DropReason]]


def at(offset: int, data: bytes, *values: int) -> bytes:
    """With these bytes there."""
    return data[:offset] + bytes(values) + data[offset + len(values) :]


def _bound_to_nothing(who: Keyed, random: Random) -> tuple[bytes, DropReason]:
    """Under the right key, yet to no request in particular."""
    return who.seal.seal(ANSWER, who.plain), BAD


def _flipped_tag(who: Keyed, random: Random) -> tuple[bytes, DropReason]:
    """One bit of the tag."""
    data = who.sealed()
    place = random.randrange(len(data) - TAG, len(data))
    return at(place, data, data[place] ^ 1 << random.randrange(8)), BAD


def _flipped_payload(who: Keyed, random: Random) -> tuple[bytes, DropReason]:
    """One bit of what is covered."""
    data = who.sealed()
    place = random.randrange(24, len(data) - TAG)
    return at(place, data, data[place] ^ 1 << random.randrange(8)), BAD


def _never_made(who: Keyed, random: Random) -> tuple[bytes, DropReason]:
    """Right in all but the attempt, and bound to the last transmission."""
    attempt = random.choice([0, *range(len(who.sent) + 1, 256)])
    return who.sealed(at(3, who.plain, attempt)), UNKNOWN


KEYED: Final[dict[str, Kind]] = {
    "no tag": lambda who, random: (who.plain, BAD),
    "other secret": lambda who, random: (who.sealed(seal=who.make(7, bytes(32))), BAD),
    "other key id, right secret": lambda who, random: (who.sealed(seal=who.make(8, SECRET)), BAD),
    "bound to nothing": _bound_to_nothing,
    "bound to another request": lambda who, random: (who.seal.seal(ANSWER, who.plain, random.randbytes(TAG)), BAD),
    "other direction": lambda who, random: (who.seal.seal(REQUEST, who.plain, who.sent[-1][-TAG:]), BAD),
    "reflected": lambda who, random: (who.sent[-1], BAD),
    "tag flipped": _flipped_tag,
    "payload flipped": _flipped_payload,
    "attempt never made": _never_made,
    "other ids": lambda who, random: (who.sealed(at(random.randrange(8, 24), who.plain, 255)), UNKNOWN),
    "other version": lambda who, random: (at(0, who.sealed(), 8), DropReason.WRONG_VERSION),
    "shorter than a tag": lambda who, random: (who.sealed()[: random.randrange(40)], DropReason.MALFORMED),
    "nothing": lambda who, random: (b"", DropReason.MALFORMED),
    "noise": lambda who, random: (b"\x08" + random.randbytes(random.randrange(23, 90)), DropReason.WRONG_VERSION),
    "malformed, no tag": lambda who, random: (
        who.plain + random.randbytes(random.randint(16, 40)),
        DropReason.MALFORMED,
    ),
    "malformed, under the right key": lambda who, random: (who.sealed(who.plain + b"!"), DropReason.MALFORMED),
    "a question, under the right key": lambda who, random: (
        who.sealed(at(1, who.plain, 1)),
        DropReason.WRONG_DIRECTION,
    ),
}


@pytest.mark.parametrize("role", WHO)
@pytest.mark.parametrize("kind", KEYED)
@given(random=randoms, algorithm=makers, payload=payloads)
def test_whoever_has_a_key_ignores_every_kind_of_forgery_and_believes_the_sealed_answer_after_it(
    role: str, kind: str, random: Random, algorithm: str, payload: bytes
) -> None:
    """A1, F1: each under its own reason; and what the key does vouch for is believed."""
    who = WHO[role](MAKERS[algorithm], payload)
    data, reason = KEYED[kind](who, random)
    assert who.receive(data) is reason
    assert not isinstance(who.receive(who.sealed()), DropReason)


@given(random=randoms, algorithm=makers, payload=payloads)
def test_an_answer_moved_to_another_transmission_is_a_bad_seal(random: Random, algorithm: str, payload: bytes) -> None:
    """F1: in both directions; each transmission has its own tag."""
    who = asking(MAKERS[algorithm], payload)
    for attempt, bound in ((1, 1), (2, 0)):
        assert who.receive(who.sealed(at(3, who.plain, attempt), request=bound)) is BAD
    assert not isinstance(who.receive(who.sealed(at(3, who.plain, 1), request=0)), DropReason)


@given(algorithm=makers, payload=payloads)
def test_a_probe_is_still_known_by_its_sealed_answer_when_it_is_closed(algorithm: str, payload: bytes) -> None:
    """So that what comes late is told from what was forged; a probe forgotten or never sent has no answer."""
    protocol = ProbeProtocol(
        TU1(), SERVER, random=b"instance", size=len(payload), remembered=1, seal=MAKERS[algorithm](7, SECRET)
    )
    server = ServerProtocol(TU1(), seals=[MAKERS[algorithm](7, SECRET)])
    probe, datagram = protocol.open(1, payload, b"requests")
    question = server.receive_datagram(datagram)
    assert isinstance(question, Question)
    _, answer = server.reply(question, payload)
    assert answer is not None
    for _ in range(2):
        heard = protocol.match_untrusted(answer, SERVER)
        assert isinstance(heard, Heard)
        assert (heard.probe, heard.is_right) == (probe, True)
        if probe.is_open:
            protocol.close(probe)
    protocol.close(protocol.open(2, payload, b"another!")[0])
    assert protocol.match_untrusted(answer, SERVER) is UNKNOWN


@given(payload=payloads, cookie=st.booleans())
def test_whoever_has_no_key_believes_nothing_that_has_a_tag(payload: bytes, *, cookie: bool) -> None:
    """A1: also if all else is right, and whichever extensions it has; nor times in what was no probe."""
    client = ClientProtocol(TU1(), [SERVER], random=b"instance")
    exchange = client.open_exchange(b"question", RetryPolicy(), b"\0\0" + b"requests")
    assert exchange.next_attempt(0.0) is not None
    plain = Message(MessageType.REPLY, 1, b"instancerequests", payload)
    retry = Message(MessageType.RETRY, 1, plain.ids, cookie=bytes(16 * cookie), once=bytes(20 * (not cookie)))
    for message in (plain, retry):
        sealed = encode_message(message._replace(key_id=1, tag=bytes(TAG)))
        assert client.receive_datagram(sealed, SERVER, 0.1) is BAD
    timed = encode_message(plain._replace(times=bytes(52)))
    assert client.receive_datagram(timed, SERVER, 0.1) is DropReason.MALFORMED
    assert client.receive_datagram(encode_message(retry), SERVER, 0.1) is exchange
    assert client.receive_datagram(encode_message(plain), SERVER, 0.1) is exchange


@given(payload=payloads, cookie=st.sampled_from([b"", bytes(16)]), once=st.sampled_from([b"", bytes(20)]))
@example(payload=b"x", cookie=bytes(16), once=b"")
@example(payload=b"x", cookie=b"", once=bytes(20))
@example(payload=b"x", cookie=b"", once=b"")
def test_extensions_of_an_answer_are_handed_on_if_there_are_any(payload: bytes, cookie: bytes, once: bytes) -> None:
    """A1: a RETRY gives what it gives; a question with times has neither."""
    retry = Message(MessageType.RETRY, 1, bytes(16), cookie=cookie, once=once)
    answer = TU1().decode_answer_untrusted(encode_message(retry))
    assert not isinstance(answer, DropReason)
    assert answer.message == (retry if cookie or once else None)
    times = with_check(1, bytes(16), bytes(4) + (3).to_bytes(4, "big") + bytes(44), payload)
    asked = Message(MessageType.REQUEST, 1, bytes(16), payload, cookie=cookie, once=once, times=times)
    for padding in (0, 4):  # what is padded is read by other code
        found = TU1().decode_question_untrusted(encode_message(asked._replace(padding=padding)))
        assert found is DropReason.MALFORMED if cookie or once else isinstance(found, Question)


@pytest.mark.parametrize("decode", [TU1().decode_answer_untrusted, TU1().decode_probe_answer_untrusted])
def test_more_than_a_datagram_carries_is_malformed(decode: Callable[[bytes], object]) -> None:
    """A1: by the header all is right, and only the length of the whole is not."""
    size = MAX_DATAGRAM - 24 + 1
    assert decode(bytes([9, 0x81, 0, 1, 0, 0, *size.to_bytes(2, "big")]) + bytes(16 + size)) is DropReason.MALFORMED


# Measuring


class Measured:
    """One who measures, a probe of it, and its server's answer."""

    def __init__(self, payload: bytes, *, has_times: bool = True, sequence: int = 3) -> None:
        self.payload = payload
        self.protocol = ProbeProtocol(
            TU1(), SERVER, random=b"instance", size=len(payload) + (52 if has_times else 0), remembered=1
        )
        assert self.protocol.has_times is has_times
        self.probe, self.datagram = self.protocol.open(sequence, payload, b"requests")
        server = ServerProtocol(TU1())
        self.server = server
        question = server.receive_datagram(self.datagram)
        assert isinstance(question, Question)
        self.question = question
        if has_times:
            question = server.leaving(server.receive_probe(question, SERVER, arrived=1000, by_kernel=True), 1500)
        _, answer = server.reply(question, payload)
        assert answer is not None
        self.answer = answer

    def receive(self, data: bytes, peer: Peer = SERVER) -> Heard | DropReason:
        """What it makes of a datagram."""
        return self.protocol.match_untrusted(data, peer)

    def heard(self, data: bytes) -> tuple[Probe, bool, bool, Times | None]:
        """The same, of one that belongs to the probe."""
        heard = self.receive(data)
        assert isinstance(heard, Heard)
        assert heard.size == len(data)
        return heard.probe, heard.is_right, heard.is_intact, heard.times

    def assert_believes_the_answer(self, times: Times | None) -> None:
        """Every byte of it, once and again; when it is late too; and not for another probe."""
        assert self.heard(self.answer) == (self.probe, True, True, times)
        self.protocol.close(self.probe)
        assert self.heard(self.answer) == (self.probe, True, True, times)
        self.protocol.close(self.protocol.open(4, self.payload, b"another!")[0])
        assert self.receive(self.answer) is UNKNOWN


TOLD: Final = Times(1, 0, 1, 0, 0, 3, 0, 1000, 500, by_kernel=True)


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"guessed ids"}))
@given(random=randoms, payload=st.binary(min_size=1, max_size=40))
def test_whoever_measures_without_times_ignores_every_kind_of_forgery(
    kind: str, random: Random, payload: bytes
) -> None:
    """A1: as a client does, with the same forger, and believes the answer after it."""
    scene = Measured(payload, has_times=False)
    forgery = KINDS[kind](Target(scene.datagram, scene.answer, SERVER, 1), random)
    assert scene.receive(forgery.data, forgery.peer) is forgery.reason
    wrong = scene.answer[:-1] + bytes([scene.answer[-1] ^ 1])
    for _ in range(2):
        assert scene.heard(wrong) == (scene.probe, False, True, None)
        if scene.probe.is_open:
            assert scene.heard(scene.answer) == (scene.probe, True, True, None)
            scene.protocol.close(scene.probe)


def resaid(scene: Measured, message: Message) -> bytes:
    """A message with times whose check is right."""
    times = with_check(message.attempt, message.ids, message.times, message.payload)
    return encode_message(message._replace(times=times))


@given(payload=payloads, random=randoms)
def test_whoever_measures_with_times_believes_only_what_answers_the_probe(payload: bytes, random: Random) -> None:
    """A1: peer, direction, ids, the one attempt that is made, times in a reply, and neither tag nor at-most-once."""
    scene = Measured(payload)
    reply = Message(MessageType.REPLY, 1, b"instancerequests", payload, times=scene.answer[TIMES])
    assert resaid(scene, reply) == scene.answer
    other = (SERVER[0], SERVER[1] ^ random.randint(1, 65_535))
    plain, bare = b"instancerequests", Message(MessageType.BUSY, 1, b"instancerequests")
    spoilt = [
        Forgery(scene.answer, other, DropReason.WRONG_PEER),
        Forgery(scene.answer[: random.randrange(len(scene.answer))], SERVER, DropReason.MALFORMED),
        Forgery(at(0, scene.answer, 8), SERVER, DropReason.WRONG_VERSION),
        Forgery(scene.datagram, SERVER, DropReason.WRONG_DIRECTION),
        Forgery(encode_message(reply._replace(times=b"")), SERVER, DropReason.MALFORMED),
        Forgery(encode_message(Message(MessageType.RETRY, 1, plain, once=bytes(20))), SERVER, DropReason.MALFORMED),
        Forgery(encode_message(bare._replace(key_id=1, tag=bytes(TAG))), SERVER, BAD),
        Forgery(resaid(scene, reply._replace(ids=random.randbytes(16))), SERVER, UNKNOWN),
        Forgery(at(random.randrange(8, 24), scene.answer, 255), SERVER, DropReason.CORRUPTED),
        Forgery(resaid(scene, reply._replace(attempt=random.randint(2, 255))), SERVER, UNKNOWN),
        Forgery(encode_message(bare._replace(attempt=2)), SERVER, UNKNOWN),
    ]
    for forgery in spoilt:
        assert scene.receive(forgery.data, forgery.peer) is forgery.reason
    assert scene.heard(encode_message(bare))[2:] == (True, None)
    scene.assert_believes_the_answer(TOLD)


@given(payload=payloads, bit=st.integers(0, 8 * (52 + 40) - 1))
def test_one_flipped_bit_behind_the_header_of_a_timed_answer_takes_its_figures_away(payload: bytes, bit: int) -> None:
    """A1: it is told from a forgery, and nothing that it says is believed; also if the bit is the attempt's."""
    scene = Measured(payload)
    place = 24 + bit // 8 % (52 + len(payload))
    data = at(place, scene.answer, scene.answer[place] ^ 1 << bit % 8)
    probe, is_right, is_intact, times = scene.heard(data)
    assert (probe, is_right, is_intact, times) == (scene.probe, place < 76, False, None)
    assert scene.heard(at(3, scene.answer, 2 + bit % 254))[2:] == (False, None)
    scene.assert_believes_the_answer(TOLD)


@given(payload=payloads, lag=st.integers(0, 2**24 - 1), is_of_one=st.booleans())
@example(payload=b"x", lag=0, is_of_one=True)
@example(payload=b"x", lag=1, is_of_one=True)
@example(payload=b"x", lag=2, is_of_one=False)
@example(payload=b"x", lag=2**24 - 1, is_of_one=True)
def test_how_late_replies_left_is_known_if_that_can_be_said(payload: bytes, lag: int, is_of_one: bool) -> None:
    """Nothing at all is told apart from no time at all, what is too long from what just fits, and one from a mean."""
    scene = Measured(payload)
    times = scene.answer[TIMES][:-4] + (lag << 8 | is_of_one << 2 | 1).to_bytes(4, "big")
    found = scene.heard(resaid(scene, Message(MessageType.REPLY, 1, b"instancerequests", payload, times=times)))[3]
    assert found == TOLD._replace(lag=lag - 1 if is_of_one and 0 < lag < 2**24 - 1 else None)


@given(bit=st.integers(0, 8 * 52 - 1))
def test_one_flipped_bit_in_a_report_makes_it_none(bit: int) -> None:
    """It is no answer to a probe that somebody would have to be told of; the right one is believed after it."""
    scene = Measured(b"", sequence=REPORT)
    place = 24 + bit // 8
    assert scene.receive(at(place, scene.answer, scene.answer[place] ^ 1 << bit % 8)) is DropReason.CORRUPTED
    scene.assert_believes_the_answer(None)


@given(payload=payloads, received=st.integers(0, 5), duplicates=st.integers(0, 3), highest=st.integers(0, 3))
@example(payload=b"x", received=1, duplicates=0, highest=0)
@example(payload=b"x", received=2, duplicates=1, highest=3)
@example(payload=b"x", received=1, duplicates=1, highest=3)
def test_figures_that_no_server_can_mean_are_none(payload: bytes, received: int, duplicates: int, highest: int) -> None:
    """A1, with the check right: what came is more than what came twice or late, and has a greatest number."""
    scene = Measured(payload)
    fields = (0, 1, 0, received, duplicates, 1, highest)
    times = b"".join(field.to_bytes(4, "big") for field in fields) + bytes(16) + b"\xff" * 4 + bytes(4)
    reply = Message(MessageType.REPLY, 1, b"instancerequests", payload, times=times)
    *_, found = scene.heard(resaid(scene, reply))
    if highest and received > duplicates + 1:
        assert found is not None
        assert (found.received, found.duplicates, found.highest, found.turnaround) == (*fields[3:5], highest, None)
    else:
        assert found is None


@given(text=st.text(st.characters(max_codepoint=127)).map(str.encode), random=randoms)
def test_who_measures_with_the_book_checks_the_source_and_that_it_is_text(text: bytes, random: Random) -> None:
    """That is all this format can check; its servers do not echo, so any text is right."""
    protocol = ProbeProtocol(Book(), SERVER, random=b"instance", size=60)
    probe, _ = protocol.open(1, b"x" * 60, b"")
    assert protocol.match_untrusted(text, (SERVER[0], 1)) is DropReason.WRONG_PEER
    assert protocol.match_untrusted(text + bytes([random.randint(128, 255)]), SERVER) is DropReason.MALFORMED
    heard = protocol.match_untrusted(text, SERVER)
    assert isinstance(heard, Heard)
    assert (heard.probe, heard.kind, heard.is_right) == (probe, AnswerKind.REPLY, True)
