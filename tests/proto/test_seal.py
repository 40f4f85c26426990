"""Keys: what has a good tag, what has not, and that nothing else about a datagram can be changed either (F1, F2)."""

import hashlib
import hmac
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from trio_udp.proto import (
    HEADER_SIZE,
    MAX_PAYLOAD,
    TU1,
    VALIDATION_SIZE,
    AnswerKind,
    Attempt,
    Book,
    ClientProtocol,
    DropReason,
    Exchange,
    Message,
    MessageType,
    Question,
    RetryPolicy,
    Seal,
    ServerProtocol,
    Turned,
    Validation,
    blake2b_seal,
    decode_message_untrusted,
    encode_message,
    hmac_seal,
    is_sealed,
    key_id_of,
)
from trio_udp.proto._seal import ANSWER, REQUEST, KeyRing, SealedQuestion

from .talk import Honest

Maker = Callable[[int, bytes], Seal]

HERE = ("192.0.2.1", 1060)
SECRET, OTHER_SECRET = bytes(range(32)), bytes(32)
TAG_SIZE = 16
MAKERS: dict[str, Maker] = {"blake2b-128": blake2b_seal, "hmac-sha-256-128": hmac_seal}
TAGS: dict[str, Callable[[bytes, bytes], bytes]] = {
    "blake2b-128": lambda way, covered: hashlib.blake2b(covered, key=SECRET, digest_size=16, person=way).digest(),
    "hmac-sha-256-128": lambda way, covered: hmac.digest(SECRET, way + b"\0" + covered, "sha256")[:16],
}
"""The same tags, computed as the documentation says it."""
STEADY = RetryPolicy(jitter=0.0)

algorithms = pytest.mark.parametrize("algorithm", MAKERS)


@pytest.fixture(params=MAKERS)
def make(request: pytest.FixtureRequest) -> Maker:
    """What makes seals of one algorithm; the test runs with each."""
    return MAKERS[request.param]


class Pair:
    """A client with a key, one request of it, and a server."""

    def __init__(self, seal: Seal | None, *accepted: Seal, allow_unkeyed: bool = False) -> None:
        self.client = ClientProtocol(TU1(), [HERE], random=b"instance", seal=seal)
        self.server = ServerProtocol(TU1(), seals=accepted or None, allow_unkeyed=allow_unkeyed)
        self.drawn = 0
        self.exchange = self.ask(b"question")

    def ask(self, payload: bytes) -> Exchange:
        """Open a request."""
        self.drawn += 1
        return self.client.open_exchange(payload, STEADY, bytes(2) + self.drawn.to_bytes(8, "big"))

    def send(self, now: float = 0.0, exchange: Exchange | None = None) -> Attempt:
        """The next transmission, which has to come."""
        attempt = (exchange or self.exchange).next_attempt(now)
        assert attempt is not None
        return attempt

    def question(self, datagram: bytes) -> Question:
        """What the server reads, which has to be a question."""
        question = self.server.receive_datagram(datagram)
        assert isinstance(question, Question)
        return question

    def answer(self, datagram: bytes, kind: AnswerKind = AnswerKind.REPLY, payload: bytes = b"") -> bytes:
        """What the server sends for it."""
        question = self.question(datagram)
        data = self.server.reply(question, payload)[1] if kind is AnswerKind.REPLY else None
        data = data or self.server.refuse(question, kind)
        assert data is not None
        return data

    def receive(self, data: bytes, now: float = 0.1) -> Exchange | DropReason:
        """What the client makes of it."""
        return self.client.receive_datagram(data, HERE, now)


# What is believed


def test_request_and_reply_under_one_key_are_authenticated(make: Maker) -> None:
    """F1: both sides know."""
    pair = Pair(make(7, SECRET), make(7, SECRET))
    sent = pair.send()
    question = pair.question(sent.datagram)
    assert (question.payload, is_sealed(question), key_id_of(question)) == (b"question", True, 7)
    assert pair.receive(pair.answer(sent.datagram, payload=b"answer")) is pair.exchange
    assert pair.exchange.outcome is not None
    assert (pair.exchange.outcome.payload, pair.exchange.outcome.authenticated) == (b"answer", True)
    assert not pair.client.dropped
    assert not pair.server.dropped


def test_without_keys_nothing_is_authenticated() -> None:
    """F8."""
    pair = Pair(None)
    sent = pair.send()
    question = pair.question(sent.datagram)
    assert (is_sealed(question), key_id_of(question)) == (False, 0)
    pair.receive(pair.answer(sent.datagram))
    assert pair.exchange.outcome is not None
    assert not pair.exchange.outcome.authenticated


@algorithms
def test_tags_are_what_the_documentation_says(algorithm: str) -> None:
    """F1, F2: everything before it, the direction, and for a reply its request's tag in front."""
    seal = MAKERS[algorithm](5, SECRET)
    pair = Pair(seal, seal)
    request = pair.send().datagram
    reply = pair.answer(request, payload=b"answer")
    assert request[-TAG_SIZE:] == TAGS[algorithm](b"tu1 request", request[:-TAG_SIZE])
    assert reply[-TAG_SIZE:] == TAGS[algorithm](b"tu1 answer", request[-TAG_SIZE:] + reply[:-TAG_SIZE])


def test_sealed_datagrams_are_messages_of_the_wire_format(make: Maker) -> None:
    """Key id and tag stand where the codec expects them, and all else is as without them."""
    pair = Pair(make(255, SECRET), make(255, SECRET))
    request = pair.send().datagram
    for data, kind, payload in (
        (request, MessageType.REQUEST, b"question"),
        (pair.answer(request, payload=b"answer"), MessageType.REPLY, b"answer"),
        (pair.answer(request, AnswerKind.BUSY), MessageType.BUSY, b""),
    ):
        ids = request[8:24]
        assert decode_message_untrusted(data) == Message(kind, 1, ids, payload, key_id=255, tag=data[-TAG_SIZE:])


sizes = st.integers(0, 64)


@given(
    algorithm=st.sampled_from(sorted(MAKERS)),
    payload=st.binary(max_size=64),
    padding=sizes,
    cookie=st.sampled_from([0, 16]),
    once=st.sampled_from([0, 20]),
    times=st.sampled_from([0, 52]),
    key_id=st.integers(1, 255),
    bound=st.binary(max_size=16),
    direction=st.sampled_from([REQUEST, ANSWER]),
)
def test_what_was_sealed_opens_to_what_it_was(  # noqa: PLR0917 - all of a message
    algorithm: str,
    payload: bytes,
    padding: int,
    cookie: int,
    once: int,
    times: int,
    key_id: int,
    bound: bytes,
    direction: bytes,
) -> None:
    """With any extensions and any padding; and for nothing else than what it was sealed for."""
    seal = MAKERS[algorithm](key_id, SECRET)
    plain = encode_message(
        Message(
            MessageType.REQUEST, 3, bytes(16), payload, padding,
            cookie=b"c" * cookie, once=b"o" * once, times=b"t" * times,
        )
    )  # fmt: skip
    data = seal.seal(direction, plain, bound)
    assert len(data) == len(plain) + TAG_SIZE
    assert isinstance(decode_message_untrusted(data), Message)
    assert seal.open_untrusted(direction, data, bound) == plain
    assert seal.open_untrusted(ANSWER if direction is REQUEST else REQUEST, data, bound) is None
    assert seal.open_untrusted(direction, data, bound + b"x") is None
    assert MAKERS[algorithm](key_id, OTHER_SECRET).open_untrusted(direction, data, bound) is None


attempts, ids = st.sampled_from([1, 2, 255]), st.binary(min_size=16, max_size=16)
payloads, cookies = st.binary(max_size=40), st.sampled_from([b"", bytes(16)])
requests = st.tuples(st.just(MessageType.REQUEST), attempts, ids, payloads, st.integers(0, 20), cookies)
replies = st.tuples(st.just(MessageType.REPLY), attempts, ids, payloads)
messages = (requests | replies | st.tuples(st.sampled_from(MessageType), attempts, ids)).map(
    lambda each: Message(*each)
)
"""Not by `builds`, which would fill in the other fields too, with what nobody can say."""


@given(
    allow_unkeyed=st.booleans(),
    key_id=st.sampled_from([1, 2, 3]),
    message=messages,
    spoil=st.none() | st.integers(0, 1000),
)
def test_the_short_way_to_read_a_sealed_request_comes_to_the_same_as_the_long_one(
    allow_unkeyed: bool, key_id: int, message: Message, spoil: int | None
) -> None:
    """For whatever has a good tag, and for what has one bit turned."""
    plain = encode_message(message)
    ring = KeyRing(
        [blake2b_seal(1, SECRET), hmac_seal(2, SECRET)], TU1().decode_question_untrusted, allow_unkeyed=allow_unkeyed
    )
    data = (blake2b_seal if key_id == 1 else hmac_seal)(key_id, SECRET).seal(REQUEST, plain)
    if spoil is not None:
        data = flipped(data)[spoil % (8 * len(data))]
    short, long = ring.decode_question_untrusted(data), ring._decode_any_untrusted(data)
    assert short == long
    assert short.__class__ is long.__class__
    if isinstance(short, SealedQuestion) and isinstance(long, SealedQuestion):
        assert short.stamp == long.stamp == (ring._seals[key_id], data[-TAG_SIZE:])


def test_a_question_under_a_key_stays_so_when_it_is_changed() -> None:
    """Whoever replaces a field still has the key that the answer has to be sealed with."""
    pair = Pair(blake2b_seal(3, SECRET), blake2b_seal(3, SECRET))
    question = pair.question(pair.send().datagram)
    changed = question._replace(payload=b"")
    assert (changed.payload, key_id_of(changed)) == (b"", 3)
    assert pair.server.refuse(changed, AnswerKind.BUSY) == pair.server.refuse(question, AnswerKind.BUSY)


# One flipped bit


def flipped(data: bytes) -> list[bytes]:
    """The datagram with each of its bits turned, one at a time."""
    number = int.from_bytes(data, "big")
    return [(number ^ 1 << bit).to_bytes(len(data), "big") for bit in range(8 * len(data))]


@pytest.mark.parametrize("allow_unkeyed", [False, True])
@pytest.mark.parametrize("padded", [False, True])
def test_one_flipped_bit_anywhere_in_a_request_is_a_counted_drop(
    make: Maker, *, padded: bool, allow_unkeyed: bool
) -> None:
    """F1: every bit of the header, the payload, the padding and the tag."""
    pair = Pair(make(1, SECRET), *(make(key_id, SECRET) for key_id in (1, 2)), allow_unkeyed=allow_unkeyed)
    datagram = pair.send().datagram
    if padded:
        pair.receive(pair.answer(datagram, AnswerKind.RETRY))
        pair.client.max_payload = 12
        datagram = pair.send().datagram
        assert len(datagram) == HEADER_SIZE + 12 + TAG_SIZE
    for count, data in enumerate(flipped(datagram), start=1):
        assert isinstance(pair.server.receive_datagram(data), DropReason)
        assert sum(pair.server.dropped.values()) == count
    assert isinstance(pair.server.receive_datagram(datagram), Question)


@given(
    algorithm=st.sampled_from(sorted(MAKERS)),
    message=st.builds(
        Message,
        st.just(MessageType.REQUEST),
        st.sampled_from([1, 255]),
        st.just(bytes(16)),
        st.binary(max_size=20),
        st.integers(0, 8),
        st.sampled_from([b"", b"c" * 16]),
        st.sampled_from([b"", b"o" * 20]),
        *map(st.just, (b"", 0, b"", b"")),  # `test_probes` has those with times
    ),
    allow_unkeyed=st.booleans(),
)
@settings(max_examples=30)
def test_one_flipped_bit_anywhere_in_any_request_is_a_counted_drop(
    algorithm: str, message: Message, *, allow_unkeyed: bool
) -> None:
    """F1: with a cookie and a number as well, and padding."""
    make = MAKERS[algorithm]
    pair = Pair(make(1, SECRET), *(make(key_id, SECRET) for key_id in (1, 2, 129)), allow_unkeyed=allow_unkeyed)
    pair.server.validation = Validation(b"1" * VALIDATION_SIZE)
    sealed = make(1, SECRET).seal(REQUEST, encode_message(message))
    for count, data in enumerate(flipped(sealed), start=1):
        assert isinstance(pair.server.receive_datagram(data), DropReason)
        assert sum(pair.server.dropped.values()) == count
    assert isinstance(pair.server.receive_datagram(sealed), Question)


def test_one_flipped_bit_anywhere_in_what_at_most_once_takes_is_a_counted_drop(make: Maker) -> None:
    """E1, F1: the request without a start, RETRY with a cookie, the request with both, and every end it may have.

    No bit runs a handler, spoils the client's numbers, or ends its request; the datagram as it was still does.
    """
    for kind in (AnswerKind.REPLY, AnswerKind.BUSY, AnswerKind.ERROR, AnswerKind.OUTCOME_UNKNOWN):
        honest = Honest(HERE, seals=[make(1, SECRET), make(2, SECRET), make(129, SECRET)])
        server, exchange = honest.servers[HERE], honest.ask()
        for now in (0.0, 1.0):
            attempt = exchange.next_attempt(now)
            assert attempt is not None
            has = decode_message_untrusted(attempt.datagram)
            assert isinstance(has, Message)
            assert (bool(has.cookie), bool(has.once), bool(has.tag)) == (now > 0, True, True)
            for count, data in enumerate(flipped(attempt.datagram), start=sum(server.dropped.values()) + 1):
                assert isinstance(server.receive_datagram(data), DropReason)
                assert sum(server.dropped.values()) == count
            question = server.receive_datagram(attempt.datagram)
            assert isinstance(question, Question)
            answer = server.refuse(question, kind) if now and kind is not AnswerKind.REPLY else None
            answer = answer or honest.serve(attempt, now)
            known, dropped = honest.client.servers[0], honest.client.dropped.total()
            before = known.cookie, known.ledger.token
            for count, data in enumerate(flipped(answer), start=1):
                assert isinstance(honest.client.receive_datagram(data, HERE, now), DropReason)
                assert honest.client.dropped.total() == dropped + count
            assert (known.cookie, known.ledger.token, exchange.is_over, exchange.news) == (*before, False, False)
            assert honest.client.receive_datagram(answer, HERE, now) is exchange
            assert known.cookie
        assert exchange.is_over is (kind is not AnswerKind.BUSY)


@pytest.mark.parametrize("kind", AnswerKind)
def test_one_flipped_bit_anywhere_in_an_answer_is_a_counted_drop(make: Maker, kind: AnswerKind) -> None:
    """F1: of every kind, also while several transmissions could be the answered one; and it moves nothing."""
    pair = Pair(make(1, SECRET), make(1, SECRET))
    sent = [pair.send(now) for now in (0.0, 1.0, 3.0)]
    data = pair.answer(sent[1].datagram, kind, b"answer")
    dropped = pair.client.dropped.total()
    for count, forged in enumerate(flipped(data), start=1):
        assert isinstance(pair.receive(forged, 3.5), DropReason)
        assert pair.client.dropped.total() == dropped + count
    assert not pair.exchange.news
    assert (pair.exchange.outcome, pair.exchange.failure) == (None, None)
    assert pair.receive(data, 3.5) is pair.exchange


# What belongs to what


def test_an_answer_to_another_transmission_is_a_bad_seal(make: Maker) -> None:
    """F1: an answer's tag covers its request's, so a number that was changed cannot make it another's."""
    seal = make(1, SECRET)
    pair = Pair(seal, seal)
    first, second = pair.send(0.0), pair.send(1.0)
    answer = pair.answer(first.datagram, payload=b"answer")
    opened = seal.open_untrusted(ANSWER, answer, first.datagram[-TAG_SIZE:])
    assert opened is not None
    moved = opened[:3] + b"\2" + opened[4:]
    for bound in (b"", first.datagram[-TAG_SIZE:]):
        assert pair.receive(seal.seal(ANSWER, moved, bound)) is DropReason.BAD_SEAL
    assert pair.receive(seal.seal(ANSWER, moved, second.datagram[-TAG_SIZE:])) is pair.exchange


def test_an_answer_to_a_transmission_that_was_never_made_is_dropped(make: Maker) -> None:
    """A1, with the right ids and a tag that nothing could check."""
    pair = Pair(make(1, SECRET), make(1, SECRET))
    data = bytearray(pair.answer(pair.send().datagram))
    for attempt in (0, 2, 255):
        data[3] = attempt
        assert pair.receive(bytes(data)) is DropReason.UNKNOWN_REQUEST


def test_a_recorded_answer_is_a_duplicate_or_unknown(make: Maker) -> None:
    """F6: it completes nothing again, and nothing else."""
    pair = Pair(make(1, SECRET), make(1, SECRET))
    data = pair.answer(pair.send().datagram)
    assert pair.receive(data) is pair.exchange
    assert pair.receive(data) is DropReason.DUPLICATE
    another = pair.ask(b"question")
    pair.send(5.0, another)
    assert pair.receive(data) is DropReason.DUPLICATE
    assert another.outcome is None
    assert Pair(make(1, SECRET), make(1, SECRET)).receive(data) is DropReason.UNKNOWN_REQUEST


def test_a_request_reflected_is_no_answer(make: Maker) -> None:
    """F1: directions are separated, so what the client has sealed itself is worth nothing to it."""
    seal = make(1, SECRET)
    pair = Pair(seal, seal)
    request = pair.send().datagram
    assert pair.receive(request) is DropReason.BAD_SEAL
    plain = seal.open_untrusted(REQUEST, request)
    assert plain is not None
    as_answer = plain[:1] + b"\x81" + plain[2:]
    assert pair.receive(seal.seal(REQUEST, as_answer, request[-TAG_SIZE:])) is DropReason.BAD_SEAL


def test_an_answer_is_no_request_to_a_server_with_the_key(make: Maker) -> None:
    """E5: two servers with one key do not answer each other."""
    pair = Pair(make(1, SECRET), make(1, SECRET))
    for kind in AnswerKind:
        data = pair.answer(pair.send(100.0, pair.ask(b"question")).datagram, kind)
        assert pair.server.receive_datagram(data) is DropReason.BAD_SEAL
        sealed_as_request = make(1, SECRET).seal(
            REQUEST, TU1().encode_answer(Question(bytes(16), b"", 1, 24), kind, b"")
        )
        assert pair.server.receive_datagram(sealed_as_request) is DropReason.WRONG_DIRECTION


# Who has which key


def test_another_key_under_the_same_id_is_a_bad_seal(make: Maker) -> None:
    """In both directions."""
    pair = Pair(make(1, SECRET), make(1, OTHER_SECRET))
    sent = pair.send()
    assert pair.server.receive_datagram(sent.datagram) is DropReason.BAD_SEAL
    liar = Pair(make(1, OTHER_SECRET), make(1, OTHER_SECRET))
    assert pair.receive(liar.answer(liar.send().datagram)) is DropReason.BAD_SEAL


def test_an_unknown_key_id_is_a_bad_seal(make: Maker) -> None:
    """Also if the secret behind it is a good one."""
    pair = Pair(make(1, SECRET), make(2, SECRET))
    sent = pair.send()
    assert pair.server.receive_datagram(sent.datagram) is DropReason.BAD_SEAL
    plain = make(1, SECRET).open_untrusted(REQUEST, sent.datagram)
    assert plain is not None
    reply = plain[:1] + b"\x81" + plain[2:]
    assert pair.receive(make(2, SECRET).seal(ANSWER, reply, sent.datagram[-TAG_SIZE:])) is DropReason.BAD_SEAL
    assert pair.receive(make(1, SECRET).seal(ANSWER, reply, sent.datagram[-TAG_SIZE:])) is pair.exchange


def test_the_algorithm_belongs_to_the_key() -> None:
    """F2: nothing in a datagram chooses it."""
    pair = Pair(blake2b_seal(1, SECRET), hmac_seal(1, SECRET))
    assert pair.server.receive_datagram(pair.send().datagram) is DropReason.BAD_SEAL


def test_where_a_key_is_required_a_datagram_without_one_is_a_bad_seal() -> None:
    """Server and client; junk stays what it is."""
    seal = blake2b_seal(1, SECRET)
    plain, keyed = Pair(None), Pair(seal, seal)
    request = plain.send().datagram
    answer = plain.answer(request)
    assert keyed.send().datagram[8:24] == request[8:24]
    assert keyed.server.receive_datagram(request) is DropReason.BAD_SEAL
    assert keyed.receive(answer) is DropReason.BAD_SEAL
    for data, reason in (
        (b"", DropReason.MALFORMED),
        (b"x" * 64, DropReason.WRONG_VERSION),
        (b"\x08" + request[1:], DropReason.WRONG_VERSION),
        (request[:2] + b"\1" + request[3:], DropReason.MALFORMED),
        (request[:2] + b"\1" + request[3:24], DropReason.MALFORMED),
    ):
        assert keyed.server.receive_datagram(data) is reason
        assert keyed.receive(data) is reason
    assert keyed.server.receive_datagram(answer) is DropReason.WRONG_DIRECTION
    assert keyed.receive(request) is DropReason.WRONG_DIRECTION


def test_where_there_is_no_key_a_datagram_with_one_is_a_bad_seal() -> None:
    """The other way round: what cannot be checked is not believed."""
    seal = blake2b_seal(1, SECRET)
    plain, keyed = Pair(None), Pair(seal, seal)
    plain.send()
    request = keyed.send().datagram
    assert plain.server.receive_datagram(request) is DropReason.BAD_SEAL
    assert plain.receive(keyed.answer(request)) is DropReason.BAD_SEAL


def test_a_server_may_be_told_to_take_requests_without_a_key_too() -> None:
    """For the days on which keys are introduced; a bad tag stays a bad tag."""
    seal = blake2b_seal(1, SECRET)
    pair = Pair(None, seal, allow_unkeyed=True)
    sent = pair.send()
    assert key_id_of(pair.question(sent.datagram)) == 0
    assert pair.receive(pair.answer(sent.datagram)) is pair.exchange
    assert (
        pair.server.receive_datagram(blake2b_seal(1, OTHER_SECRET).seal(REQUEST, sent.datagram)) is DropReason.BAD_SEAL
    )
    assert is_sealed(pair.question(seal.seal(REQUEST, sent.datagram)))


def test_rotation_with_overlapping_keys_drops_nothing() -> None:
    """F5: also not what is under way, in either direction, at any of its steps."""
    old, new = blake2b_seal(1, OTHER_SECRET), hmac_seal(2, SECRET)
    pair = Pair(old, old)
    first = pair.send()
    pair.server.set_seals([new, old])
    answer = pair.answer(first.datagram, payload=b"old")
    question = pair.question(first.datagram)
    pair.client.set_seal(new)
    second = pair.ask(b"question")
    assert key_id_of(pair.question(pair.send(0.0, second).datagram)) == 2
    pair.server.set_seals([new])
    assert pair.server.receive_datagram(first.datagram) is DropReason.BAD_SEAL
    assert pair.server.reply(question, b"old") == (AnswerKind.REPLY, answer)
    again = pair.send(1.0)
    assert key_id_of(pair.question(again.datagram)) == 2
    assert pair.receive(answer) is pair.exchange
    assert not pair.client.dropped


# What makes no sense


@pytest.mark.parametrize("key_id", [0, 256, -1])
def test_a_key_id_has_a_byte_and_is_not_zero(make: Maker, key_id: int) -> None:
    """Zero means that there is none."""
    with pytest.raises(ValueError, match=f"expected a key id from 1 to 255, got {key_id}$"):
        make(key_id, SECRET)


def test_two_keys_of_one_id_are_refused() -> None:
    """Nobody could say which one is meant."""
    with pytest.raises(ValueError, match="expected every key to have an id of its own, got 3 twice"):
        ServerProtocol(TU1(), seals=[blake2b_seal(3, SECRET), hmac_seal(3, SECRET)])


def test_a_format_without_room_for_a_tag_takes_no_key() -> None:
    """It would promise what it cannot hold."""
    seal = blake2b_seal(1, SECRET)
    with pytest.raises(ValueError, match="profile book has no room for a tag"):
        ServerProtocol(Book(), seals=[seal])
    with pytest.raises(ValueError, match="profile book has no room for a tag"):
        ClientProtocol(Book(), [HERE], random=bytes(8), seal=seal)


def test_a_client_without_a_key_cannot_be_given_one_later() -> None:
    """What it has sent already went out without."""
    with pytest.raises(ValueError, match="expected a client that was opened with a key"):
        Pair(None).client.set_seal(blake2b_seal(1, SECRET))


# Sizes


def test_the_longest_payload_is_shorter_by_the_tag() -> None:
    """The datagram as a whole is what has a limit."""
    client = ClientProtocol(TU1(), [HERE], random=b"instance", seal=blake2b_seal(1, SECRET), max_payload=MAX_PAYLOAD)
    assert client.max_payload == MAX_PAYLOAD - TAG_SIZE


@given(asked=st.integers(0, 200), replied=st.integers(0, 250))
@example(asked=0, replied=0)
@example(asked=100, replied=100)
@example(asked=100, replied=101)
def test_no_answer_under_a_key_is_longer_than_its_request(asked: int, replied: int) -> None:
    """E4: a key does not prove where somebody receives, because anybody can send again what he has seen."""
    seal = blake2b_seal(1, SECRET)
    pair = Pair(seal, seal)
    sent = pair.send(0.0, pair.ask(bytes(asked)))
    question = pair.question(sent.datagram)
    kind, answer = pair.server.reply(question, bytes(replied))
    assert kind is (AnswerKind.REPLY if replied <= asked else AnswerKind.RETRY)
    answers = [answer, *(pair.server.refuse(question, kind) for kind in AnswerKind)]
    assert all(data is not None and HEADER_SIZE + TAG_SIZE <= len(data) <= len(sent.datagram) for data in answers)


def test_at_most_once_and_cookies_go_under_the_key_like_all_else() -> None:
    """E1, F1: RETRY, cookie, the one run and the repeated answer are sealed with the key that the request came with."""
    seal = blake2b_seal(7, bytes(32))
    validation = Validation(bytes([1]) * VALIDATION_SIZE)
    server = ServerProtocol(TU1(), validation=validation, seals=[seal])
    client = ClientProtocol(TU1(), [("192.0.2.53", 1060)], random=bytes(8), seal=seal)
    exchange = client.open_exchange(b"once", RetryPolicy(), bytes(client.random_size), at_most_once=True)
    runs, answers = 0, []
    while (attempt := exchange.next_attempt(1.0)) is not None:
        for _ in range(2):  # each transmission twice
            question = server.receive_datagram(attempt.datagram)
            assert isinstance(question, Question)
            admitted = server.admit(question, ("192.0.2.1", 9), 1.0)
            if isinstance(admitted, Question):
                runs += 1
                _, datagram = server.reply(admitted, b"done")
            else:
                assert isinstance(admitted, Turned)
                datagram = admitted.datagram
            assert datagram is not None
            answers.append(datagram)
        client.receive_datagram(answers[-2], ("192.0.2.53", 1060), 1.0)
    assert runs == 1
    assert all(answer[4] == 7 and answer[2] & 0x01 for answer in answers)
    assert answers[-1] == answers[-2]
    assert exchange.outcome is not None
    assert (exchange.outcome.payload, exchange.outcome.authenticated) == (b"done", True)


@algorithms
def test_a_captured_request_runs_once_however_often_and_whenever_it_comes_again(algorithm: str) -> None:
    """E1, E3, F6: a thousand times in two hours, to the server that ran it and to its next start with the same keys."""
    honest = Honest(HERE, seals=[MAKERS[algorithm](key_id, SECRET) for key_id in (1, 2)])
    captured = honest.converse(honest.ask(), 0.0)[-1]
    first, restarted = honest.servers[HERE], honest.server(2)
    assert honest.ran == [b"question"]
    for number in range(1000):
        for honest.servers[HERE] in (first, restarted):
            data = honest.serve(captured, 7.2 * number)
            assert len(data) <= len(captured.datagram)
            assert data[1] in {MessageType.REPLY, MessageType.RETRY, MessageType.OUTCOME_UNKNOWN}
    assert honest.ran == [b"question"]
    assert restarted.repeated == 0 < first.repeated


@algorithms
def test_two_keys_are_two_clients_whatever_ids_they_use(algorithm: str) -> None:
    """E1: who has one key cannot have a request of another's taken for one that has run, nor have it run again."""
    one, other = (MAKERS[algorithm](key_id, bytes([key_id]) * 32) for key_id in (1, 2))
    honest = Honest(HERE, seals=[one, other])
    twin = Honest(HERE, seals=[other, one])
    twin.servers = honest.servers
    assert honest.client.servers[0].instance == twin.client.servers[0].instance
    sent = [honest.converse(honest.ask(b"one"), 0.0)[-1], twin.converse(twin.ask(b"other"), 0.0)[-1]]
    assert (honest.ran, twin.ran) == ([b"one"], [b"other"])
    for attempt in sent:
        honest.serve(attempt, 1.0)
    assert honest.ran == [b"one"]
    moved = bytearray(sent[0].datagram)
    moved[4] = 2
    assert honest.servers[HERE].receive_datagram(bytes(moved)) is DropReason.BAD_SEAL


# Batches


def test_each_datagram_of_a_batch_is_opened_as_it_is_by_itself(make: Maker) -> None:
    """A stranger's key, a changed byte, and no key at all are as bad there; the reply has the same seal."""
    seal = make(1, SECRET)
    sealed = [seal.seal(REQUEST, TU1().encode_request(payload, bytes(16), 1, 0)) for payload in (b"hello", b"hello!")]
    others = [
        make(2, SECRET).seal(REQUEST, TU1().encode_request(b"hello", bytes(16), 1, 0)),
        sealed[0][:-1] + bytes([sealed[0][-1] ^ 1]),
        TU1().encode_request(b"hello", bytes(16), 1, 0),
        b"",
    ]
    one_by_one = ServerProtocol(TU1(), seals=[seal])
    together = ServerProtocol(TU1(), seals=[seal], max_payload=5)
    plain, longer, *dropped = together.receive_batch([*sealed, *others])
    assert dropped == [one_by_one.receive_datagram(data) for data in others]
    assert longer is DropReason.TOO_LARGE
    assert not isinstance(plain, Question | DropReason)
    question = one_by_one.receive_datagram(sealed[0])
    assert isinstance(question, Question)
    assert together.question_of(plain) == question
    assert is_sealed(together.question_of(plain))
    assert together.encode_plain(plain, b"HELLO") == one_by_one.reply(question, b"HELLO")[1]
    assert together.encode_plain(plain, b"hello!") is None
