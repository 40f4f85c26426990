"""Our own format as a profile: what a client and a server make of its messages."""

from typing import Any

import pytest

from trio_udp.proto import (
    HEADER_SIZE,
    MAX_PAYLOAD,
    TU1,
    Answer,
    AnswerKind,
    DropReason,
    Message,
    MessageType,
    Profile,
    ProtocolError,
    Question,
    RetryPolicy,
    TimedAnswer,
    encode_message,
)
from trio_udp.proto._times import ProbeTable, decode_times_untrusted, with_check

INSTANCE, RANDOM = b"instance", b"randomly"
KEY = INSTANCE + RANDOM
REQUEST = TU1().encode_request(b"hello", KEY, 2, 0)
QUESTION = Question(KEY, b"hello", 2, len(REQUEST))


@pytest.fixture
def no_long_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads or writes a message field by field fails."""

    def refuse(argument: object) -> None:
        raise AssertionError(f"the short way would have done for {argument!r}")

    monkeypatch.setattr("trio_udp.proto._tu1.decode_message_untrusted", refuse)
    monkeypatch.setattr("trio_udp.proto._tu1.encode_message", refuse)


ATTEMPTS = (1, 2, 254, 255)


@pytest.mark.parametrize("size", [0, 1, MAX_PAYLOAD - 1, MAX_PAYLOAD])
def test_request_without_padding_is_read_the_short_way_and_so_is_its_reply_written(
    size: int, request: pytest.FixtureRequest
) -> None:
    """Whatever its length and its attempt; the properties of the codec say that the long way comes to the same."""
    payload = bytes(size)
    requests = [TU1().encode_request(payload, KEY, attempt, 0) for attempt in ATTEMPTS]
    replies = [bytes([9, 0x81, 0, attempt, 0, 0, *size.to_bytes(2, "big")]) + KEY + payload for attempt in ATTEMPTS]
    request.getfixturevalue("no_long_way")
    questions = [TU1().decode_question_untrusted(data) for data in requests]
    assert questions == [Question(KEY, payload, attempt, HEADER_SIZE + size) for attempt in ATTEMPTS]
    for question, reply in zip(questions, replies, strict=True):
        assert isinstance(question, Question)
        assert TU1().encode_answer(question, AnswerKind.REPLY, payload) == reply


@pytest.mark.usefixtures("no_long_way")
@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_refusal_is_written_the_short_way(attempt: int) -> None:
    """It is what a server under attack says most."""
    question = QUESTION._replace(attempt=attempt)
    for kind, code in ((AnswerKind.RETRY, 0x82), (AnswerKind.BUSY, 0x84), (AnswerKind.ERROR, 0x87)):
        assert TU1().encode_answer(question, kind, b"") == bytes([9, code, 0, attempt, 0, 0, 0, 0]) + KEY


def test_profile_says_what_it_is() -> None:
    """A5: strong, with 64 random bits a request on top of the 64 of its client."""
    profile: Profile = TU1()
    assert (profile.name, profile.verified, profile.policy) == ("tu1", "strong", RetryPolicy())
    assert (profile.overhead, profile.max_payload, profile.random_size) == (HEADER_SIZE, MAX_PAYLOAD, 8)
    assert profile.max_outstanding is None


def test_key_is_all_random_bytes() -> None:
    """A5: 128 bits, and none of them from the payload."""
    assert TU1().new_key(b"hello", INSTANCE, RANDOM) == KEY == TU1().new_key(b"", INSTANCE, RANDOM)


def test_overhead_is_what_a_request_has_beside_its_payload() -> None:
    """Padding is reckoned with it."""
    assert len(REQUEST) - len(b"hello") == TU1().overhead


def test_server_reads_a_request() -> None:
    """With the attempt to echo, and the size that was paid for."""
    assert TU1().decode_question_untrusted(REQUEST) == QUESTION


@pytest.mark.parametrize(("room", "size"), [(0, 29), (28, 29), (29, 29), (30, 30), (1224, 1224)])
def test_request_is_padded_to_the_room_wanted_and_never_cut(room: int, size: int) -> None:
    """E4: padding pays for a longer reply, and the server sees it as size and not as payload."""
    data = TU1().encode_request(b"hello", KEY, 2, room)
    assert len(data) == size
    assert TU1().decode_question_untrusted(data) == QUESTION._replace(size=size)


@pytest.mark.parametrize("kind", AnswerKind)
def test_client_reads_an_answer_which_repeats_key_and_attempt(kind: AnswerKind) -> None:
    """And the server that is sent one stays silent (E5)."""
    payload = b"world" if kind is AnswerKind.REPLY else b""
    data = TU1().encode_answer(QUESTION, kind, payload)
    assert TU1().decode_answer_untrusted(data) == Answer(KEY, payload, 2, kind)
    assert TU1().decode_question_untrusted(data) is DropReason.WRONG_DIRECTION


@pytest.mark.parametrize("size", [0, 1, MAX_PAYLOAD])
def test_request_is_written_and_a_plain_answer_read_the_short_way(size: int, request: pytest.FixtureRequest) -> None:
    """Whatever its length and its attempt; the properties of the codec say that the long way comes to the same."""
    payload = bytes(size)
    request.getfixturevalue("no_long_way")
    for attempt in ATTEMPTS:
        header = bytes([9, 0x01, 0, attempt, 0, 0, *size.to_bytes(2, "big")]) + KEY
        assert TU1().encode_request(payload, KEY, attempt, 0) == header + payload
        for kind in AnswerKind if not size else (AnswerKind.REPLY,):
            answer = TU1().encode_answer(QUESTION._replace(attempt=attempt), kind, payload)
            assert TU1().decode_answer_untrusted(answer) == Answer(KEY, payload, attempt, kind)
    assert TU1().decode_answer_untrusted(bytes(24)) is DropReason.WRONG_VERSION


@pytest.mark.parametrize(
    ("code", "attempt", "length", "rest"),
    [(0x81, 1, 5, b"hello\0"), (0x81, 1, 6, b"hello"), (0x81, 0, 5, b"hello"), (0x84, 1, 5, b"hello")],
)
def test_what_is_no_plain_answer_is_not_taken_for_one(code: int, attempt: int, length: int, rest: bytes) -> None:
    """A1: too long, too short, without an attempt, or a payload where there is none."""
    data = bytes([9, code, 0, attempt, 0, 0, 0, length]) + KEY + rest
    assert TU1().decode_answer_untrusted(data) is DropReason.MALFORMED


def test_client_that_is_sent_a_request_drops_it() -> None:
    """A1: wrong direction; its own request, reflected, is no answer."""
    assert TU1().decode_answer_untrusted(REQUEST) is DropReason.WRONG_DIRECTION


@pytest.mark.parametrize(("data", "reason"), [(b"", DropReason.MALFORMED), (b"x" * 24, DropReason.WRONG_VERSION)])
def test_junk_is_neither_question_nor_answer(data: bytes, reason: DropReason) -> None:
    """The codec's reason is handed on."""
    assert TU1().decode_answer_untrusted(data) is reason
    assert TU1().decode_question_untrusted(data) is reason


@pytest.mark.parametrize("kind", [AnswerKind.RETRY, AnswerKind.BUSY, AnswerKind.ERROR])
def test_refusal_with_a_payload_cannot_be_said(kind: AnswerKind) -> None:
    """Only a reply has one."""
    with pytest.raises(ProtocolError):
        TU1().encode_answer(QUESTION, kind, b"why")


@pytest.mark.parametrize("kind", [AnswerKind.BUSY, AnswerKind.ERROR])
def test_refusal_may_say_why(kind: AnswerKind) -> None:
    """Whoever reads it finds that where a reply has its payload, whether he measures or not."""
    said = TU1().encode_refusal(QUESTION, kind, b"\x09\0\0\0\1")
    answer = Answer(KEY, b"\x09\0\0\0\1", QUESTION.attempt, kind)
    assert TU1().decode_answer_untrusted(said) == answer
    assert TU1().decode_probe_answer_untrusted(said) == TimedAnswer(answer, None, is_intact=True)
    assert len(said) == HEADER_SIZE + 5


def test_quoted_request_has_its_key_even_when_cut_behind_the_header() -> None:
    """G5: ICMP quotes at least 8 bytes of a datagram, and usually all of a small one."""
    assert [TU1().decode_quote_untrusted(REQUEST[:size]) for size in (29, 25, 24)] == [KEY] * 3


@pytest.mark.parametrize(
    "quote",
    [b"", REQUEST[:8], REQUEST[:23], b"\x08" + REQUEST[1:], TU1().encode_answer(QUESTION, AnswerKind.REPLY, b"x")],
    ids=["nothing", "eight bytes", "a header but for one byte", "another version", "an answer"],
)
def test_quote_of_anything_else_has_no_key(quote: bytes) -> None:
    """G5: only a request of ours says which exchange it was."""
    assert TU1().decode_quote_untrusted(quote) is None


def test_budget_is_what_the_request_brought() -> None:
    """E4."""
    assert TU1().reply_budget(QUESTION) == len(REQUEST)


@pytest.mark.parametrize("change", [{"key": KEY[1:]}, {"attempt": 0}, {"attempt": 256}])
def test_an_answer_to_what_was_no_request_cannot_be_said(change: dict[str, Any]) -> None:
    """Not every `Question` came out of a datagram."""
    with pytest.raises(ProtocolError):
        TU1().encode_answer(QUESTION._replace(**change), AnswerKind.REPLY, b"")


def test_a_tag_is_not_believed_by_who_has_no_key() -> None:
    """A1, F1: nor is what it covers."""
    request = encode_message(Message(MessageType.REQUEST, 1, KEY, b"hello", key_id=1, tag=bytes(16)))
    assert TU1().decode_question_untrusted(request) is DropReason.BAD_SEAL
    reply = encode_message(Message(MessageType.REPLY, 1, KEY, b"hello", key_id=1, tag=bytes(16)))
    assert TU1().decode_answer_untrusted(reply) is DropReason.BAD_SEAL


@pytest.mark.parametrize("extension", [{"times": bytes(52), "cookie": bytes(16)}])
def test_who_measures_asks_for_nothing_else(extension: dict[str, Any]) -> None:
    """A1: what this client and server do not understand they do not believe."""
    request = encode_message(Message(MessageType.REQUEST, 1, KEY, b"hello", **extension))
    assert TU1().decode_question_untrusted(request) is DropReason.MALFORMED


def test_who_does_not_measure_believes_no_times() -> None:
    """A1: they were not asked for."""
    reply = encode_message(Message(MessageType.REPLY, 1, KEY, b"hello", times=bytes(52)))
    assert TU1().decode_answer_untrusted(reply) is DropReason.MALFORMED


def test_extensions_are_read_where_there_are_any() -> None:
    """And cost nothing where there are none."""
    cookie, once = bytes(range(16)), bytes(range(20))
    request = TU1().encode_extended(b"hello", KEY, 3, 0, cookie=cookie, once=once)
    assert request == encode_message(Message(MessageType.REQUEST, 3, KEY, b"hello", cookie=cookie, once=once))
    question = TU1().decode_question_untrusted(request)
    assert isinstance(question, Question)
    assert question.extensions is not None
    assert (question.extensions.message.cookie, question.extensions.message.once) == (cookie, once)
    retry = TU1().encode_retry(question, cookie, once)
    answer = TU1().decode_answer_untrusted(retry)
    assert isinstance(answer, Answer)
    assert answer.message == Message(MessageType.RETRY, 3, KEY, cookie=cookie, once=once)
    assert len(retry) == HEADER_SIZE + 36 <= len(request)


@pytest.mark.parametrize(("room", "size"), [(0, 60), (60, 60), (100, 100)])
def test_request_without_a_cookie_is_padded_for_a_retry_with_one(room: int, size: int) -> None:
    """E4: or the server could not give it."""
    assert len(TU1().encode_extended(b"", KEY, 1, room, cookie=b"", once=bytes(20))) == size


# Measuring

PROBE = TU1().encode_probe(b"hello", KEY, 7)
TOLD = ProbeTable(began=0).receive(("192.0.2.1", 1060), INSTANCE, 7, arrived=5)


def probing(datagram: bytes) -> Question:
    """What a server reads in a probe."""
    question = TU1().decode_question_untrusted(datagram)
    assert isinstance(question, Question)
    return question


def test_a_probe_is_a_question_and_its_reply_tells_times() -> None:
    """Both with a check of their own, and of one size (E4)."""
    question = probing(PROBE)
    assert (question.key, question.payload, question.attempt, question.size) == (KEY, b"hello", 1, len(PROBE))
    reply = TU1().encode_answer(question._replace(times=TOLD), AnswerKind.REPLY, b"hello")
    assert len(reply) == len(PROBE) == HEADER_SIZE + 52 + 5
    times = decode_times_untrusted(with_check(1, KEY, TOLD, b"hello"))
    assert times is not None
    assert TU1().decode_probe_answer_untrusted(reply) == TimedAnswer(
        Answer(KEY, b"hello", 1, AnswerKind.REPLY), times, is_intact=True
    )
    busy = TU1().encode_answer(question, AnswerKind.BUSY, b"")
    assert TU1().decode_probe_answer_untrusted(busy) == TimedAnswer(
        Answer(KEY, b"", 1, AnswerKind.BUSY), None, is_intact=True
    )


def test_a_probe_that_was_changed_on_its_way_is_corrupted() -> None:
    """Neither side takes its numbers; who measures is told that this was an accident."""
    assert TU1().decode_question_untrusted(PROBE[:-1] + b"?") is DropReason.CORRUPTED
    reply = TU1().encode_answer(probing(PROBE)._replace(times=TOLD), AnswerKind.REPLY, b"hello")
    found = TU1().decode_probe_answer_untrusted(reply[:-1] + b"?")
    assert found == TimedAnswer(Answer(KEY, b"hell?", 1, AnswerKind.REPLY), None, is_intact=False)


def test_a_probe_says_its_sequence_and_nothing_else() -> None:
    """What a server does not understand it does not answer."""
    times = with_check(1, KEY, TOLD, b"hello")
    data = encode_message(Message(MessageType.REQUEST, 1, KEY, b"hello", times=times))
    assert TU1().decode_question_untrusted(data) is DropReason.MALFORMED


def test_a_probe_or_its_reply_that_is_too_long_is_refused() -> None:
    """As the codec does, and with its words."""
    too_long = bytes(MAX_PAYLOAD - 52 + 1)
    with pytest.raises(ProtocolError, match="expected at most 65431 bytes of payload"):
        TU1().encode_probe(too_long, KEY, 1)
    with pytest.raises(ProtocolError, match="expected at most 65431 bytes of payload"):
        TU1().encode_answer(probing(PROBE)._replace(times=TOLD), AnswerKind.REPLY, too_long)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (Message(MessageType.REPLY, 1, KEY, b"hello"), DropReason.MALFORMED),
        (Message(MessageType.RETRY, 1, KEY, once=bytes(20)), DropReason.MALFORMED),
        (Message(MessageType.BUSY, 1, KEY, key_id=1, tag=bytes(16)), DropReason.BAD_SEAL),
        (Message(MessageType.REQUEST, 1, KEY, b"hello"), DropReason.WRONG_DIRECTION),
    ],
)
def test_what_does_not_answer_a_probe_says_why(message: Message, reason: DropReason) -> None:
    """A1: a reply tells times, at most once was not asked for, and no tag is believed that nobody has opened."""
    assert TU1().decode_probe_answer_untrusted(encode_message(message)) is reason
    assert TU1().decode_probe_answer_untrusted(b"") is DropReason.MALFORMED


# Batches


@pytest.mark.parametrize(
    "batch",
    [
        [REQUEST] * 3,
        [REQUEST, REQUEST[:-1]],
        [REQUEST[:3] + b"\0" + REQUEST[4:]] * 2,
        [REQUEST, REQUEST[:7] + b"\4" + REQUEST[8:]],
        [REQUEST, TU1().encode_answer(QUESTION, AnswerKind.REPLY, b"hello")],
        [REQUEST, bytes(len(REQUEST))],
        [b"", REQUEST],
        [bytes(len(REQUEST))] * 2,
        [TU1().encode_request(b"hello!", KEY, 2, 0), REQUEST, TU1().encode_request(b"", KEY, 255, 0)],
        [TU1().encode_request(b"", KEY, 2, 29), REQUEST],
    ],
)
@pytest.mark.parametrize("most", [4, 5, MAX_PAYLOAD])
def test_each_datagram_of_a_batch_asks_what_it_asks_by_itself(batch: list[bytes], most: int) -> None:
    """Alike or not; and what is longer than the caller takes as plain is given as a question."""
    found = TU1().decode_batch_untrusted(batch, most)
    for data, each in zip(batch, found, strict=True):
        question = TU1().decode_question_untrusted(data)
        if isinstance(each, tuple) and not isinstance(each, Question):
            assert TU1().question_of(each) == question
            assert len(each[1]) <= most
        else:
            assert each == question


def test_a_plain_reply_is_the_same_and_never_longer_than_its_request() -> None:
    """E4: what would be longer is none."""
    plain = (KEY, b"hello", 2)
    for payload in (b"", b"HELLO"):
        assert TU1().encode_plain(plain, payload) == TU1().encode_answer(QUESTION, AnswerKind.REPLY, payload)
    assert TU1().encode_plain(plain, b"hello!") is None
