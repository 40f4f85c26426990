"""The server's protocol: what is a question, what may be answered, and with how many bytes."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trio_udp.proto import (
    HEADER_SIZE,
    MAX_DATAGRAM,
    MAX_PAYLOAD,
    PROVEN_BUDGET,
    TU1,
    VALIDATION_SIZE,
    AnswerKind,
    Book,
    DropReason,
    Extensions,
    Limiter,
    Message,
    MessageType,
    Once,
    PayloadTooLarge,
    Peer,
    Profile,
    Question,
    RateLimit,
    Refusal,
    RefusalReason,
    ServerProtocol,
    TimedAnswer,
    Turned,
    Validation,
    blake2b_seal,
    decode_message_untrusted,
    encode_message,
    is_sealed,
    rate_refusal,
    read_once_untrusted,
    read_refusal_untrusted,
)
from trio_udp.proto._once import UNBORN
from trio_udp.proto._seal import REQUEST, open_answer_untrusted, stamp
from trio_udp.proto._server import EXPLAINED_A_SECOND
from trio_udp.proto._times import decode_times_untrusted

KEY = bytes(range(16))
LONGEST_SENTENCE = 30
"""Bytes of the book's longest answer, which may answer a shorter request: the documented exception to E4."""


def request(payload: bytes = b"hello", room: int = 0) -> bytes:
    """A request of our own format."""
    return TU1().encode_request(payload, KEY, 1, room)


def ask(server: ServerProtocol, datagram: bytes) -> Question:
    """What the server reads in a datagram that is a question."""
    question = server.receive_datagram(datagram)
    assert isinstance(question, Question)
    return question


# Questions


def test_request_is_a_question() -> None:
    """Nothing is counted for it."""
    server = ServerProtocol(TU1())
    assert ask(server, request()) == Question(KEY, b"hello", 1, HEADER_SIZE + 5)
    assert not server.dropped


@pytest.mark.parametrize("kind", AnswerKind)
def test_answer_is_met_with_silence(kind: AnswerKind) -> None:
    """E5: wrong direction, whatever it says."""
    server = ServerProtocol(TU1())
    datagram = TU1().encode_answer(Question(KEY, b"", 1, 0), kind, b"")
    assert server.receive_datagram(datagram) is DropReason.WRONG_DIRECTION
    assert server.dropped == {DropReason.WRONG_DIRECTION: 1}


def test_every_drop_is_counted_under_its_reason() -> None:
    """E7: a counter each, and nothing else."""
    server = ServerProtocol(TU1())
    for datagram in (b"", b"junk", b"\x80" * 24, b"x" * 24, request()[:-1]):
        assert isinstance(server.receive_datagram(datagram), DropReason)
    assert server.dropped == {DropReason.MALFORMED: 3, DropReason.WRONG_VERSION: 2}


@pytest.mark.parametrize("limit", [0, 5, 1200])
def test_longer_payload_than_the_limit_is_dropped_and_padding_does_not_count(limit: int) -> None:
    """The limit is on what the handler gets to see."""
    server = ServerProtocol(TU1(), max_payload=limit)
    assert isinstance(server.receive_datagram(request(bytes(limit))), Question)
    assert isinstance(server.receive_datagram(request(bytes(limit), room=9000)), Question)
    assert server.receive_datagram(request(bytes(limit + 1))) is DropReason.TOO_LARGE
    assert server.dropped == {DropReason.TOO_LARGE: 1}


SEAL = blake2b_seal(1, bytes(16))
READERS: dict[str, Callable[[], ServerProtocol]] = {
    "open": lambda: ServerProtocol(TU1()),
    "with extensions": lambda: ServerProtocol(TU1(), validation=Validation(bytes(range(VALIDATION_SIZE)))),
    "with a limit": lambda: ServerProtocol(TU1(), max_payload=4),
    "keyed": lambda: ServerProtocol(TU1(), seals=[SEAL]),
    "keyed or not": lambda: ServerProtocol(TU1(), seals=[SEAL], allow_unkeyed=True),
    "another format": lambda: ServerProtocol(Book()),
}
short_payloads = st.binary(max_size=6)
in_a_batch = st.one_of(
    st.builds(
        TU1().encode_request, short_payloads, st.just(KEY), st.sampled_from([1, 2, 255]), st.sampled_from([0, 40])
    ),
    st.builds(TU1().encode_probe, short_payloads, st.just(KEY), st.sampled_from([0, 1])),
    st.builds(lambda payload: SEAL.seal(REQUEST, request(payload)), short_payloads),
    st.builds(
        lambda payload: encode_message(Message(MessageType.REQUEST, 1, KEY, payload, cookie=bytes(16))), short_payloads
    ),
    st.builds(lambda payload: TU1().encode_answer(Question(KEY, b"", 1, 0), AnswerKind.REPLY, payload), short_payloads),
    st.builds(lambda payload, cut: request(payload)[:-cut], short_payloads, st.integers(1, 30)),
    st.builds(
        lambda at, byte: request()[:at] + byte + request()[at + 1 :],
        st.integers(0, 9),
        st.binary(min_size=1, max_size=1),
    ),
    st.binary(max_size=40),
    st.just(bytes(MAX_DATAGRAM + 1)),
)
alike = st.builds(lambda payload, count: [request(payload)] * count, short_payloads, st.integers(1, 64))
alike_but_one = st.builds(
    lambda all_alike, other, at: [*all_alike[:at], other, *all_alike[at:]], alike, in_a_batch, st.integers(0, 64)
)


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
@given(batch=st.lists(in_a_batch, min_size=1, max_size=12) | alike | alike_but_one)
@example(batch=[request(b"12345"), request(b"12345", room=29)])
@example(batch=[request()[:3] + b"\0" + request()[4:]] * 2)
@example(batch=[request()[:3] + b"\xff" + request()[4:]] * 2)
@example(batch=[request()[:7] + b"\4" + request()[8:]] * 2)
def test_a_batch_is_read_as_its_datagrams_are(reader: Callable[[], ServerProtocol], batch: list[bytes]) -> None:
    """Whatever is in it: the same questions in the same order, and the same counted; and so are they answered."""
    one_by_one, together = reader(), reader()
    questions = [one_by_one.receive_datagram(data) for data in batch]
    read = together.receive_batch(batch)
    assert [each if isinstance(each, DropReason) else together.question_of(each) for each in read] == questions
    assert together.dropped == one_by_one.dropped
    for asked, question in zip(read, questions, strict=True):
        if isinstance(asked, tuple) and not isinstance(asked, Question):
            assert isinstance(question, Question)
            for payload in (b"", question.payload[::-1]):
                assert together.encode_plain(asked, payload) == one_by_one.reply(question, payload)[1]


@pytest.mark.parametrize(
    ("reader", "plain"), [("open", 3), ("with extensions", 3), ("with a limit", 0), ("another format", 0)]
)
def test_most_questions_in_a_batch_are_plain(reader: str, plain: int) -> None:
    """Those of our own format that say nothing else, unless they may be too long; alike or not."""
    server = READERS[reader]()
    for last in (b"hello", b"hello!"):
        found = server.receive_batch([request(), request(), request(last)])
        assert [type(each) for each in found].count(tuple) == plain


def test_a_reply_that_is_longer_than_its_plain_request_is_not_plain() -> None:
    """E4: `reply` says what is sent then, whatever the format."""
    server = ServerProtocol(TU1())
    (asked,) = server.receive_batch([request()])
    assert not isinstance(asked, Question | DropReason)
    assert server.encode_plain(asked, b"hello") is not None
    assert server.encode_plain(asked, b"hello!") is None
    assert READERS["another format"]().encode_plain(asked, b"") is None


@pytest.mark.parametrize("profile", [TU1(), Book()], ids=lambda profile: profile.name)
def test_limit_is_the_formats_unless_a_smaller_one_is_asked_for(profile: Profile) -> None:
    """A limit the format cannot reach is no limit."""
    assert ServerProtocol(profile).max_payload == profile.max_payload
    assert ServerProtocol(profile, max_payload=10).max_payload == 10
    assert ServerProtocol(profile, max_payload=10**6).max_payload == profile.max_payload


@pytest.mark.parametrize("allow_unkeyed", [False, True])
def test_server_with_keys_takes_what_they_vouch_for_and_answers_under_the_same(*, allow_unkeyed: bool) -> None:
    """F1; `test_seal` has the rest."""
    seal = blake2b_seal(1, bytes(16))
    server = ServerProtocol(TU1(), seals=[seal], allow_unkeyed=allow_unkeyed)
    question = ask(server, seal.seal(REQUEST, request()))
    assert is_sealed(question)
    assert [len(server.reply(question, b"world")[1] or b""), len(server.reply(question, b"worlds")[1] or b"")] == [
        45,
        40,
    ]
    if allow_unkeyed:
        assert not is_sealed(ask(server, request()))
    else:
        assert server.receive_datagram(request()) is DropReason.BAD_SEAL
    server.set_seals([blake2b_seal(1, bytes(17))])
    assert server.receive_datagram(seal.seal(REQUEST, request())) is DropReason.BAD_SEAL


def test_server_of_a_format_without_room_for_a_tag_takes_no_keys() -> None:
    """It could not hold what they promise."""
    with pytest.raises(ValueError, match="profile book has no room for a tag"):
        ServerProtocol(Book(), seals=[blake2b_seal(1, bytes(16))])


# The rate limit


def test_question_above_the_rate_limit_is_dropped_and_counted() -> None:
    """E4, E7: by the host alone, whatever the port."""
    server = ServerProtocol(TU1(), limiter=Limiter(RateLimit(per_source=1, burst=2), bytes(16)))
    question = ask(server, request())
    assert [server.admits(question, ("192.0.2.1", port), 0.0) for port in range(4)] == [True, True, False, False]
    assert server.admits(question, ("192.0.2.2", 1), 0.0)
    assert server.dropped == {DropReason.OVER_BUDGET: 2}


def test_without_a_rate_limit_every_question_is_admitted() -> None:
    """And nothing is counted."""
    server = ServerProtocol(TU1())
    assert all(server.admits(ask(server, request()), ("192.0.2.1", 1), 0.0) for _ in range(100))
    assert not server.dropped


def exhausted(**options: Any) -> ServerProtocol:
    """A server from which strangers have taken all that they may have for now."""
    server = ServerProtocol(TU1(), limiter=Limiter(RateLimit(overall=10), bytes(16)), **options)
    stranger = Question(KEY, b"", 1, HEADER_SIZE)
    assert [server.admits(stranger, ("192.0.2.1", 1), 0.0) for _ in range(6)] == [True] * 5 + [False]
    return server


def test_a_key_or_a_good_cookie_has_a_part_of_the_limit_that_no_stranger_has() -> None:
    """F1, F7: under a key; and with a cookie from where it was sent to, and from nowhere else."""
    seal = blake2b_seal(1, bytes(16))
    keyed = exhausted(seals=[seal], allow_unkeyed=True)
    assert keyed.admits(ask(keyed, seal.seal(REQUEST, request())), ("192.0.2.2", 1), 0.0)
    assert not keyed.admits(ask(keyed, request()), ("192.0.2.2", 1), 0.0)
    server = exhausted(validation=Validation(bytes(range(1, VALIDATION_SIZE + 1))))
    peer = ("192.0.2.2", 1)
    first = ask(server, encode_message(Message(MessageType.REQUEST, 1, KEY, once=bytes(20), padding=16)))
    retry = decode_message_untrusted(server.retry(first, peer, 0.0) or b"")
    assert isinstance(retry, Message)
    shown = ask(server, encode_message(Message(MessageType.REQUEST, 1, KEY, cookie=retry.cookie)))
    assert not server.admits(first, peer, 0.0)
    assert not server.admits(shown, ("192.0.2.3", 1), 0.0)
    assert server.admits(shown, peer, 0.0)
    assert server.dropped == {DropReason.OVER_BUDGET: 3}


def test_extensions_prove_nothing_to_who_cannot_read_them() -> None:
    """A server without validation has no cookies."""
    server = exhausted()
    extended = Question(KEY, b"", 1, 100, Extensions(Message(MessageType.REQUEST, 1, KEY, cookie=bytes(16))))
    assert not server.admits(extended, ("192.0.2.2", 1), 0.0)


# Answers


def test_reply_repeats_the_ids_and_the_attempt() -> None:
    """C2, A1: what a client needs to believe it."""
    server = ServerProtocol(TU1())
    question = ask(server, TU1().encode_request(b"hello", KEY, 200, 0))
    kind, datagram = server.reply(question, b"world")
    assert kind is AnswerKind.REPLY
    assert datagram == bytes([9, 0x81, 0, 200, 0, 0, 0, 5]) + KEY + b"world"


def test_reply_longer_than_its_request_becomes_a_retry() -> None:
    """E4: the client is told to ask again with padding, and the padded request is answered."""
    server = ServerProtocol(TU1())
    kind, datagram = server.reply(ask(server, request(b"hello")), b"worlds")
    assert (kind, datagram) == (AnswerKind.RETRY, bytes([9, 0x82, 0, 1, 0, 0, 0, 0]) + KEY)
    assert server.dropped == {DropReason.OVER_BUDGET: 1}
    kind, datagram = server.reply(ask(server, request(b"hello", room=30)), b"worlds")
    assert kind is AnswerKind.REPLY
    assert server.dropped == {DropReason.OVER_BUDGET: 1}


@given(times=st.integers(1, 20))
def test_every_answer_that_is_over_budget_is_counted(times: int) -> None:
    """E7: not only that it has happened."""
    server = ServerProtocol(TU1())
    for _ in range(times):
        server.reply(ask(server, request(b"")), b"world")
    assert server.dropped == {DropReason.OVER_BUDGET: times}


@pytest.mark.parametrize("kind", [AnswerKind.RETRY, AnswerKind.BUSY, AnswerKind.ERROR])
def test_refusal_always_fits_the_smallest_request(kind: AnswerKind) -> None:
    """E4: 24 bytes for at least 24 bytes."""
    server = ServerProtocol(TU1())
    datagram = server.refuse(ask(server, request(b"")), kind)
    assert datagram is not None
    assert len(datagram) == HEADER_SIZE
    assert not server.dropped


def test_reply_the_format_cannot_carry_is_refused_by_its_size() -> None:
    """G1: with size and limit, and nothing is counted: it is the handler's error."""
    server = ServerProtocol(TU1())
    with pytest.raises(PayloadTooLarge) as caught:
        server.reply(ask(server, request()), bytes(MAX_PAYLOAD + 1))
    assert (caught.value.size, caught.value.limit) == (MAX_PAYLOAD + 1, MAX_PAYLOAD)
    assert not server.dropped


def test_book_server_replies_in_text_only_and_has_no_refusals() -> None:
    """What the format cannot say is silence; over budget is counted."""
    server = ServerProtocol(Book())
    question = ask(server, b"hi")
    assert server.reply(question, b"Your data was 2 bytes long") == (AnswerKind.REPLY, b"Your data was 2 bytes long")
    assert server.refuse(question, AnswerKind.BUSY) is None
    assert not server.dropped
    assert server.reply(question, b"x" * 31) == (AnswerKind.RETRY, None)
    assert server.dropped == {DropReason.OVER_BUDGET: 1}
    with pytest.raises(ValueError, match="ASCII"):
        server.reply(question, b"\xff")


# E4: bytes out are at most bytes in

sizes = st.integers(0, 100) | st.integers(0, MAX_PAYLOAD) | st.just(MAX_PAYLOAD)


@given(asked=sizes, room=st.integers(0, MAX_DATAGRAM), replied=sizes, attempt=st.integers(1, 255))
@example(asked=0, room=0, replied=MAX_PAYLOAD, attempt=1)
def test_no_answer_of_our_format_is_longer_than_its_request(asked: int, room: int, replied: int, attempt: int) -> None:
    """E4: every kind of answer to every request; a factor of 1.00 at the most."""
    server = ServerProtocol(TU1())
    datagram = TU1().encode_request(bytes(asked), KEY, attempt, room)
    question = ask(server, datagram)
    answers = [server.reply(question, bytes(replied))[1], *(server.refuse(question, kind) for kind in AnswerKind)]
    assert None not in answers
    assert all(answer is not None and len(answer) <= len(datagram) for answer in answers)


@given(asked=sizes, replied=sizes)
@example(asked=0, replied=LONGEST_SENTENCE)
@example(asked=0, replied=LONGEST_SENTENCE + 1)
def test_no_answer_of_the_book_is_longer_than_its_request_or_the_books_sentence(asked: int, replied: int) -> None:
    """E4, with its documented exception: an empty datagram may be answered by 30 bytes."""
    server = ServerProtocol(Book())
    question = ask(server, b"x" * asked)
    answers = [server.reply(question, b"y" * replied)[1], *(server.refuse(question, kind) for kind in AnswerKind)]
    assert all(len(answer) <= max(asked, LONGEST_SENTENCE) for answer in answers if answer is not None)


# E5: no two servers talk to each other

Handler = Callable[[bytes], bytes]

HANDLERS: dict[str, Handler] = {
    "echo": lambda text: text,
    "longer": lambda text: text + b"!",
    "shorter": lambda text: text[:1],
    "empty": lambda text: b"",
    "constant": lambda text: b"hello",
}
BOOKS_SENTENCES: dict[str, Handler] = {
    "udp_local.py": lambda text: b"Your data was %d bytes long" % len(text),
    "udp_remote.py": lambda text: b"Your data was %d bytes" % len(text),
}

injected = st.one_of(
    st.binary(max_size=64),
    st.text(st.characters(max_codepoint=127), max_size=64).map(str.encode),
    st.builds(request, st.binary(max_size=32), st.integers(0, 100)),
    st.builds(
        lambda kind, payload: TU1().encode_answer(
            Question(KEY, b"", 1, 0), kind, payload if kind is AnswerKind.REPLY else b""
        ),
        st.sampled_from(AnswerKind),
        st.binary(max_size=32),
    ),
    st.builds(BOOKS_SENTENCES["udp_local.py"], st.integers(0, 100).map(bytes)),
)


def ours(profile: Profile, handler: Handler) -> Callable[[bytes], bytes | None]:
    """What a server of ours sends back for a datagram."""
    server = ServerProtocol(profile)

    def respond(datagram: bytes) -> bytes | None:
        question = server.receive_datagram(datagram)
        return None if isinstance(question, DropReason) else server.reply(question, handler(question.payload))[1]

    return respond


def the_books(datagram: bytes) -> bytes | None:
    """What the book's own server sends back: it answers everything, and dies of what is not ASCII."""
    return BOOKS_SENTENCES["udp_local.py"](datagram) if datagram.isascii() else None


def talk(first: Callable[[bytes], bytes | None], second: Callable[[bytes], bytes | None], datagram: bytes) -> int:
    """Datagrams that two servers send each other after one was injected with the other's address; 100 is for ever."""
    sent, speaker, listener, answer = 0, first, second, first(datagram)
    while answer is not None and sent < 100:
        sent += 1
        speaker, listener = listener, speaker
        answer = speaker(answer)
    return sent


@given(
    datagram=injected, one=st.sampled_from(sorted(HANDLERS)), other=st.sampled_from(sorted(HANDLERS | BOOKS_SENTENCES))
)
def test_two_servers_of_our_format_go_quiet_after_one_datagram(datagram: bytes, one: str, other: str) -> None:
    """E5: whatever is injected, whatever their handlers say (CVE-2024-2169)."""
    handlers = HANDLERS | BOOKS_SENTENCES
    assert talk(ours(TU1(), handlers[one]), ours(TU1(), handlers[other]), datagram) <= 1


@given(datagram=injected, one=st.sampled_from(sorted(BOOKS_SENTENCES)), other=st.sampled_from(sorted(BOOKS_SENTENCES)))
def test_two_book_servers_of_ours_with_the_books_handler_go_quiet_after_one_datagram(
    datagram: bytes, one: str, other: str
) -> None:
    """E5: each knows the other's sentence."""
    assert talk(ours(Book(), BOOKS_SENTENCES[one]), ours(Book(), BOOKS_SENTENCES[other]), datagram) <= 1


@given(datagram=injected, handler=st.sampled_from(sorted(BOOKS_SENTENCES)))
def test_our_book_server_and_the_books_own_go_quiet(datagram: bytes, handler: str) -> None:
    """E5: ours sends one datagram at the most; two of the book's own never stop."""
    mine = ours(Book(), BOOKS_SENTENCES[handler])
    assert talk(mine, the_books, datagram) <= 2
    assert talk(the_books, mine, datagram) <= 1
    assert talk(the_books, the_books, b"hello") == 100


def test_two_book_servers_with_a_handler_of_ones_own_cannot_be_told_from_client_and_server() -> None:
    """Pinned, not promised (`verified: weak`): the format has no direction bit, so two echoes go on for ever."""
    echo = HANDLERS["echo"]
    assert talk(ours(Book(), echo), ours(Book(), echo), b"hello") == 100


# Cookies

PEER = ("192.0.2.1", 1060)
OTHER_PEER = ("192.0.2.1", 1061)
NOW = 6000.0


def validating(**limits: int) -> ServerProtocol:
    """A server that knows cookies and at-most-once requests."""
    return ServerProtocol(TU1(), validation=Validation(bytes(range(1, VALIDATION_SIZE + 1)), **limits))


def extended(payload: bytes = b"hello", *, cookie: bytes = b"", once: bytes = b"", attempt: int = 1) -> bytes:
    """A request with extensions."""
    return TU1().encode_extended(payload, KEY, attempt, 0, cookie=cookie, once=once)


def granted(server: ServerProtocol, peer: Peer = PEER, *, once: bytes = b"", now: float = NOW) -> Message:
    """The RETRY that such a request is answered with, which has a cookie."""
    turned = (
        server.admit(ask(server, extended(once=once)), peer, now)
        if once
        else Turned(AnswerKind.RETRY, server.retry(ask(server, request(bytes(16))), peer, now, bytes(100)))
    )
    assert isinstance(turned, Turned)
    assert turned.kind is AnswerKind.RETRY
    assert turned.datagram is not None
    message = decode_message_untrusted(turned.datagram)
    assert isinstance(message, Message)
    assert message.cookie
    return message


def admitted(server: ServerProtocol, datagram: bytes, peer: Peer = PEER, now: float = NOW) -> Question:
    """A question that is for the handler."""
    question = server.admit(ask(server, datagram), peer, now)
    assert isinstance(question, Question)
    return question


def turned(server: ServerProtocol, datagram: bytes, peer: Peer = PEER, **more: Any) -> Turned:
    """What is said to one that is not."""
    found = server.admit(ask(server, datagram), peer, NOW, **more)
    assert isinstance(found, Turned)
    return found


@pytest.mark.parametrize("extension", [{"cookie": bytes(16)}, {"once": bytes(20)}])
def test_server_without_validation_takes_extensions_for_junk(extension: dict[str, Any]) -> None:
    """It could not keep what they promise."""
    server = ServerProtocol(TU1())
    assert server.receive_datagram(extended(**extension)) is DropReason.MALFORMED
    assert server.dropped == {DropReason.MALFORMED: 1}


def test_plain_request_is_admitted_as_it_is() -> None:
    """And so is whatever a server without validation is asked about."""
    question = ask(validating(), request())
    assert validating().admit(question, PEER, NOW) is question
    assert ServerProtocol(TU1()).admit(question, PEER, NOW) is question
    strange = question._replace(extensions=Extensions(Message(MessageType.REQUEST, 1, KEY)))
    assert ServerProtocol(TU1()).admit(strange, PEER, NOW) is strange


def test_longer_reply_goes_to_who_shows_the_cookie_of_a_retry() -> None:
    """E4, F7: and to nobody else; the cookie is given where it fits."""
    server = validating()
    cookie = granted(server).cookie
    assert server.validation is not None
    assert server.validation.granted == 1
    proven = admitted(server, extended(cookie=cookie))
    kind, datagram = server.reply(proven, bytes(1200))
    assert kind is AnswerKind.REPLY
    assert datagram is not None
    assert len(datagram) == PROVEN_BUDGET
    unproven = admitted(server, extended(cookie=cookie), OTHER_PEER)
    assert server.reply(unproven, bytes(100))[0] is AnswerKind.RETRY


def test_reply_longer_than_any_path_carries_takes_a_request_that_is_as_long() -> None:
    """A cookie would be of no use, so none is given."""
    server = validating()
    proven = admitted(server, extended(cookie=granted(server).cookie))
    said = bytes(1201)
    assert server.reply(proven, said) == (AnswerKind.RETRY, server.retry(proven, PEER, NOW, said))
    unproven = ask(server, request(bytes(16)))
    assert server.retry(unproven, PEER, NOW, said) == server.refuse(unproven, AnswerKind.RETRY)
    padded = TU1().encode_extended(b"", KEY, 1, 5000, cookie=granted(server).cookie, once=b"")
    assert server.reply(admitted(server, padded), said)[0] is AnswerKind.REPLY


def test_retry_to_a_request_too_short_for_a_cookie_has_none() -> None:
    """E4: 24 bytes for 24 to 39."""
    server = validating()
    short = ask(server, request(bytes(15)))
    assert server.retry(short, PEER, NOW, bytes(100)) == server.refuse(short, AnswerKind.RETRY)
    assert not server.dropped


def test_book_has_no_word_for_a_cookie() -> None:
    """Nor for a RETRY."""
    server = ServerProtocol(Book(), validation=validating().validation)
    assert server.retry(ask(server, b"hello"), PEER, NOW) is None


# At most once


def born(server: ServerProtocol, sequence: int = 0, first: int = 0, *, attempt: int = 1, payload: bytes = b"") -> bytes:
    """A request that may run."""
    message = granted(server, once=UNBORN)
    once = read_once_untrusted(message.once)._replace(sequence=sequence, first=first)
    key = KEY[:8] + sequence.to_bytes(8, "big")
    return TU1().encode_extended(payload, key, attempt, 0, cookie=message.cookie, once=once.encode())


def test_handler_runs_once_and_who_asks_again_gets_the_same_reply() -> None:
    """E1: with the number of the attempt that asks."""
    server = validating()
    assert server.reply(admitted(server, born(server)), b"done")[0] is AnswerKind.REPLY
    again = turned(server, born(server, attempt=7))
    assert again.kind is AnswerKind.REPLY
    assert again.datagram == bytes([9, 0x81, 0, 7, 0, 0, 0, 4]) + KEY[:8] + bytes(8) + b"done"
    assert server.repeated == 1


def test_reply_goes_to_the_newest_attempt_of_a_request_that_is_running() -> None:
    """E1: where the client is now, whatever its NAT has done meanwhile."""
    server = validating()
    first = server.admit(ask(server, born(server)), PEER, NOW, "first")
    assert isinstance(first, Question)
    cookie = granted(server, OTHER_PEER, once=UNBORN).cookie
    once = first.extensions.message.once if first.extensions else b""
    moved = TU1().encode_extended(b"", first.key, 2, 0, cookie=cookie, once=once)
    assert server.admit(ask(server, moved), OTHER_PEER, NOW, "second") == Turned(None)
    newest, turn = server.newest(first, "first")
    assert (newest.attempt, turn) == (2, "second")
    server.reply(newest, b"done")
    assert server.newest(first, "first") == (first, "first")


def test_question_that_is_not_kept_is_its_own_newest_attempt() -> None:
    """For all others."""
    server = validating()
    question = ask(server, request())
    assert server.newest(question, "turn") == (question, "turn")
    server.settle(question, AnswerKind.ERROR)


def test_first_end_of_a_handler_is_what_counts() -> None:
    """A reply that cannot be sent has been said all the same."""
    server = validating()
    question = admitted(server, born(server))
    server.settle(question, AnswerKind.ERROR)
    server.reply(question, b"too late")
    assert turned(server, born(server)).kind is AnswerKind.ERROR


def test_silence_of_the_handler_is_repeated_too() -> None:
    """E1: nothing is sent, and nothing runs."""
    server = validating()
    server.settle(admitted(server, born(server)), AnswerKind.REPLY, None)
    assert turned(server, born(server)) == Turned(AnswerKind.REPLY, None)


def test_reply_over_budget_is_kept_until_there_is_room_for_it() -> None:
    """E1, E4: RETRY, and the handler does not run again for the padded request."""
    server = validating()
    kind, _ = server.reply(admitted(server, born(server)), bytes(2000))
    assert kind is AnswerKind.RETRY
    assert turned(server, born(server)).kind is AnswerKind.RETRY
    again = turned(server, born(server, payload=bytes(3000)))
    assert (again.kind, len(again.datagram or b"")) == (AnswerKind.REPLY, HEADER_SIZE + 2000)


def test_busy_server_answers_what_has_run() -> None:
    """E10: and takes nothing new."""
    server = validating()
    server.reply(admitted(server, born(server)), b"done")
    assert turned(server, born(server), may_run=False).kind is AnswerKind.REPLY
    assert turned(server, born(server, 1), may_run=False).kind is AnswerKind.BUSY


def test_replay_of_what_is_over_is_dropped_and_counted() -> None:
    """F6."""
    server = validating()
    server.reply(admitted(server, born(server)), b"done")
    server.reply(admitted(server, born(server, 1, 1)), b"done")
    assert server.admit(ask(server, born(server)), PEER, NOW) is DropReason.REPLAYED
    assert server.dropped == {DropReason.REPLAYED: 1}


def test_request_from_before_a_restart_runs_nowhere() -> None:
    """E3."""
    before, after = validating(), ServerProtocol(TU1(), validation=Validation(bytes(range(2, VALIDATION_SIZE + 2))))
    assert turned(after, born(before)).kind is AnswerKind.OUTCOME_UNKNOWN


def test_request_too_short_for_a_retry_with_everything_is_told_to_ask_again_bare() -> None:
    """E4: ours never are."""
    server = validating()
    short = encode_message(Message(MessageType.REQUEST, 1, KEY, once=UNBORN))
    assert turned(server, short).datagram == bytes([9, 0x82, 0, 1, 0, 0, 0, 0]) + KEY


@given(data=st.data(), size=st.integers(0, 3000))
def test_no_answer_to_an_unproven_address_is_longer_than_what_it_sent(data: st.DataObject, size: int) -> None:
    """E4: whatever the datagram, the extensions, the handler's end; one answer at most for one datagram."""
    server = validating()
    cookies = st.just(b"") | st.binary(min_size=16, max_size=16) | st.just(granted(server, OTHER_PEER).cookie)
    boot = granted(server, once=UNBORN).once[:8]
    numbers = st.integers(0, 2**32 - 1) | st.sampled_from([0, 99, 100])
    onces = st.builds(Once, st.just(bytes(8)) | st.just(boot) | st.binary(min_size=8, max_size=8), *[numbers] * 3)
    message = Message(
        MessageType.REQUEST,
        1,
        KEY,
        data.draw(st.binary(max_size=64)),
        data.draw(st.integers(0, 1500)),
        data.draw(cookies),
        data.draw(st.just(b"") | onces.map(Once.encode)),
    )
    datagram = encode_message(message)
    question = server.admit(ask(server, datagram), PEER, NOW, may_run=data.draw(st.booleans()))
    answers: list[bytes | None] = []
    if isinstance(question, Turned):
        answers = [question.datagram]
    elif isinstance(question, Question):
        answers = [server.reply(question, bytes(size))[1], server.retry(question, PEER, NOW, bytes(size))]
        answers += [server.refuse(question, kind) for kind in AnswerKind]
    assert all(len(answer) <= len(datagram) for answer in answers if answer is not None)
    assert server.validation is not None
    assert server.validation.replies.clients_held == 0  # E2


def test_probes_are_counted_and_the_reply_tells_of_them() -> None:
    """Who probes learns what came, when, and how long the answer took; a server that has begun again starts at one."""
    server = ServerProtocol(TU1())
    for began in (0, 2**20):
        server.begin(began)
        for sequence in (1, 2):
            question = ask(server, TU1().encode_probe(b"hello", KEY, sequence))
            question = server.receive_probe(question, PEER, arrived=began + 1000, by_kernel=True)
            _, datagram = server.reply(server.leaving(question, began + 1700), b"hello")
            assert datagram is not None
            found = TU1().decode_probe_answer_untrusted(datagram)
            assert isinstance(found, TimedAnswer)
            times = found.times
            assert times is not None
            assert (times.received, times.highest, times.duplicates) == (sequence, sequence, 0)
            assert (times.arrived, times.turnaround, times.by_kernel) == (began + 1000, 700, True)


def test_a_reply_tells_how_much_later_the_one_before_it_left() -> None:
    """Than that one said; who measures from the same address under another id is not told."""
    server = ServerProtocol(TU1())
    server.begin(0)
    lags = []
    for sequence, key in ((1, KEY), (2, KEY), (1, bytes(16))):
        question = server.receive_probe(
            ask(server, TU1().encode_probe(b"", key, sequence)), PEER, arrived=1000, by_kernel=True
        )
        leaving = server.leaving(question, 1700)
        _, datagram = server.reply(leaving, b"")
        assert datagram is not None
        found = TU1().decode_probe_answer_untrusted(datagram)
        assert isinstance(found, TimedAnswer)
        assert found.times is not None
        lags.append(found.times.lag)
        server.note_departure(leaving, PEER, 1730)
    assert lags == [None, 30, None]


def test_what_comes_without_a_key_adds_nothing_to_figures_that_a_key_vouches_for() -> None:
    """F1: not even from the same address with the same ids; so a report under a key is of that key's probes."""
    seal = blake2b_seal(1, bytes(range(32)))
    server = ServerProtocol(TU1(), seals=[seal], allow_unkeyed=True)

    def told(datagram: bytes) -> int | None:
        question = server.receive_probe(ask(server, datagram), PEER, arrived=1000, by_kernel=True)
        times = decode_times_untrusted(question.times)
        return None if times is None else times.received

    probe, report = (TU1().encode_probe(b"", KEY, sequence) for sequence in (1, 0))
    assert told(seal.seal(REQUEST, probe)) == 1
    assert [told(probe) for _ in range(3)] == [1, 2, 3]
    assert told(report) == 3
    assert told(seal.seal(REQUEST, report)) == 1


# Why a request is refused

SEAL = blake2b_seal(1, bytes(range(32)))


def refusal_in(datagram: bytes | None, kind: MessageType = MessageType.BUSY) -> Refusal | None:
    """What a server says."""
    message = decode_message_untrusted(datagram or b"")
    assert isinstance(message, Message)
    assert message.type is kind
    return read_refusal_untrusted(message.refusal)


def keyed(**options: Any) -> ServerProtocol:
    """A server with a key, that takes what has none as well."""
    random = bytes(range(1, VALIDATION_SIZE + 1))
    return ServerProtocol(TU1(), seals=[SEAL], allow_unkeyed=True, validation=Validation(random), **options)


def unsealed(datagram: bytes | None, asked: bytes) -> bytes:
    """What is under the tag of an answer to this request."""
    found = open_answer_untrusted(datagram or b"", [stamp(SEAL, asked)])
    assert isinstance(found, bytes)
    return found


@pytest.mark.parametrize(("payload", "is_said"), [(b"", False), (b"1234", False), (b"12345", True)])
def test_a_reason_is_given_where_it_fits(payload: bytes, *, is_said: bool) -> None:
    """E4: never more bytes than came. Where it does not fit, the refusal is said without it."""
    server, asked, why = ServerProtocol(TU1()), request(payload), Refusal(RefusalReason.HANDLERS, 9)
    datagram = server.refuse(ask(server, asked), AnswerKind.BUSY, why)
    assert refusal_in(datagram) == (why if is_said else None)
    assert len(datagram or b"") <= len(asked)
    assert not server.dropped


def test_a_format_without_words_for_reasons_gives_none() -> None:
    """Nor has it one for BUSY."""
    server = ServerProtocol(Book())
    assert server.refuse(ask(server, b"hello"), AnswerKind.BUSY, Refusal(RefusalReason.DRAINING)) is None


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"per_source": 2}, rate_refusal(RefusalReason.RATE, 2)),
        ({"per_source": 2, "overall": 100}, rate_refusal(RefusalReason.RATE, 2)),
        ({"per_source": 100, "overall": 2}, rate_refusal(RefusalReason.OVERALL_RATE, 2)),
        ({"overall": 2}, rate_refusal(RefusalReason.OVERALL_RATE, 2)),
    ],
)
def test_who_has_a_key_is_told_which_rate_limit_it_was(limits: dict[str, Any], expected: Refusal) -> None:
    """E7: then it was not dropped, but refused. Who has none hears nothing, and is dropped as before."""
    server = keyed(limiter=Limiter(RateLimit(**limits), bytes(16)))
    asked = SEAL.seal(REQUEST, request())
    question, stranger = ask(server, asked), ask(server, request())
    while admits(server, question):
        pass
    datagram = server.refuse_over_limit(question, PEER, NOW)
    assert refusal_in(unsealed(datagram, asked)) == expected
    assert len(datagram or b"") <= len(asked)
    assert not server.dropped
    for dropped in (1, 2):
        assert not admits(server, stranger)
        assert server.refuse_over_limit(stranger, PEER, NOW) is None
        assert server.dropped == {DropReason.OVER_BUDGET: dropped}
    assert not admits(server, question)
    assert server.refuse_over_limit(question, PEER, NOW) is not None
    assert server.dropped == {DropReason.OVER_BUDGET: 2}


def admits(server: ServerProtocol, question: Question) -> bool:
    """Whether the rate limit lets it through."""
    return server.admits(question, PEER, NOW)


def test_who_shows_a_good_cookie_is_told_too() -> None:
    """F7: from where it was sent to, and from nowhere else."""
    server = keyed(limiter=Limiter(RateLimit(per_source=1), bytes(16)))
    question = ask(server, extended(cookie=granted(server).cookie))
    assert [admits(server, question) for _ in range(2)] == [True, False]
    assert refusal_in(server.refuse_over_limit(question, PEER, NOW)) == rate_refusal(RefusalReason.RATE, 1)
    assert server.refuse_over_limit(question, OTHER_PEER, NOW) is None


def test_reasons_cost_no_more_than_so_many_answers_a_second() -> None:
    """However fast somebody asks who has a key, or has recorded a request of one who has."""
    server = keyed(limiter=Limiter(RateLimit(per_source=1), bytes(16)))
    question = ask(server, SEAL.seal(REQUEST, request()))
    for now, expected in ((NOW, EXPLAINED_A_SECOND), (NOW + 0.5, EXPLAINED_A_SECOND // 2)):
        told = [server.refuse_over_limit(question, PEER, now) for _ in range(300) if not admits(server, question)]
        assert len([datagram for datagram in told if datagram]) == expected


def test_without_a_limit_nobody_is_over_it() -> None:
    """As `admits` says."""
    server = keyed()
    assert server.refuse_over_limit(ask(server, SEAL.seal(REQUEST, request())), PEER, NOW) is None


def test_a_payload_that_is_too_long_is_refused_with_the_limit_to_who_is_proven() -> None:
    """E7: by a key or a cookie, with an ERROR, because it will be as long the next time; to all others silence."""
    server = keyed(max_payload=30)
    asked = SEAL.seal(REQUEST, request(bytes(31)))
    said = server.admit(ask(server, asked), PEER, NOW)
    assert isinstance(said, Turned)
    assert said.kind is AnswerKind.ERROR
    why = Refusal(RefusalReason.SIZE, 30)
    assert refusal_in(unsealed(said.datagram, asked), MessageType.ERROR) == why
    cookie = granted(server).cookie
    shown = ask(server, extended(bytes(31), cookie=cookie))
    assert not shown.payload
    said = server.admit(shown, PEER, NOW)
    assert isinstance(said, Turned)
    assert refusal_in(said.datagram, MessageType.ERROR) == why
    assert not server.dropped
    assert server.receive_datagram(request(bytes(31))) is DropReason.TOO_LARGE
    assert server.admit(ask(server, extended(bytes(31), cookie=cookie)), OTHER_PEER, NOW) is DropReason.TOO_LARGE
    assert server.admit(ask(server, extended(bytes(31), once=bytes(20))), PEER, NOW) is DropReason.TOO_LARGE
    assert server.dropped == {DropReason.TOO_LARGE: 3}


def test_a_server_without_validation_says_no_word_to_what_is_too_long() -> None:
    """It looks at nothing but the length."""
    server = ServerProtocol(TU1(), seals=[SEAL], max_payload=5)
    assert server.receive_datagram(SEAL.seal(REQUEST, request(bytes(6)))) is DropReason.TOO_LARGE


def test_an_at_most_once_request_is_refused_with_a_reason_too() -> None:
    """E2, E10: that there is no room, or what the caller says, if it may not run because of that."""
    full = validating(max_clients=0)
    message = granted(full, once=UNBORN)
    once = read_once_untrusted(message.once)
    fresh = extended(cookie=message.cookie, once=once._replace(sequence=1, first=1).encode())
    assert refusal_in(turned(full, fresh).datagram) == Refusal(RefusalReason.MEMORY)
    server = validating()
    message = granted(server, once=UNBORN)
    once = read_once_untrusted(message.once)
    fresh = extended(cookie=message.cookie, once=once._replace(sequence=1, first=1).encode())
    why = Refusal(RefusalReason.DRAINING)
    said = server.admit(ask(server, fresh), PEER, NOW, may_run=False, why_not=why)
    assert isinstance(said, Turned)
    assert refusal_in(said.datagram) == why
