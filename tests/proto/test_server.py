"""The server's protocol: what is a question, what may be answered, and with how many bytes."""

from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trio_udp.proto import (
    HEADER_SIZE,
    MAX_DATAGRAM,
    MAX_PAYLOAD,
    TU1,
    AnswerKind,
    Book,
    DropReason,
    PayloadTooLarge,
    Profile,
    Question,
    ServerProtocol,
    blake2b_seal,
    is_sealed,
)
from trio_udp.proto._seal import REQUEST

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
