"""The book's format: text, no ids, and what can be mended of its server."""

import pytest

from trio_udp.proto import BOOK, MAX_DATAGRAM, Answer, AnswerKind, Book, DropReason, Profile, Question

QUESTION = Question(b"", b"hello", 0, 5)


def test_profile_says_what_it_is() -> None:
    """Weak, with nothing random in it, one request at a time, and the book's own schedule."""
    profile: Profile = Book()
    assert (profile.name, profile.verified, profile.policy) == ("book", "weak", BOOK)
    assert (profile.overhead, profile.max_payload, profile.random_size) == (0, MAX_DATAGRAM, 0)
    assert profile.max_outstanding == 1


@pytest.mark.parametrize("text", [b"", b"hello", bytes(range(128))])
def test_text_is_the_datagram_both_ways(text: bytes) -> None:
    """Nothing is added: the book's own programs read it, and are read."""
    book = Book()
    assert book.new_key(text, b"instance", b"") == b""
    assert book.encode_request(text, b"", 3, 1200) == text
    assert book.decode_question_untrusted(text) == Question(b"", text, 0, len(text))
    assert book.encode_answer(QUESTION, AnswerKind.REPLY, text) == text
    assert book.decode_answer_untrusted(text) == Answer(b"", text, 0, AnswerKind.REPLY)


def test_byte_that_is_not_ascii_is_dropped_on_either_side() -> None:
    """A byte 0x80 kills the book's server."""
    assert Book().decode_question_untrusted(b"\x80") is DropReason.MALFORMED
    assert Book().decode_answer_untrusted(b"caf\xc3\xa9") is DropReason.MALFORMED


@pytest.mark.parametrize(
    "text",
    [b"Your data was 5 bytes long", b"Your data was 0 bytes long", b"Your data was 65507 bytes long",
     b"Your data was 38 bytes"],
)  # fmt: skip
def test_answer_of_such_a_server_is_no_question(text: bytes) -> None:
    """E5, CVE-2024-2169: two of the book's servers answer each other for ever; ours knows both their sentences."""
    assert Book().decode_question_untrusted(text) is DropReason.WRONG_DIRECTION
    assert isinstance(Book().decode_answer_untrusted(text), Answer)


@pytest.mark.parametrize(
    "text",
    [b"Your data was five bytes long", b"Your data was 5 bytes long\n", b"your data was 5 bytes long",
     b"Your data was 123456 bytes long", b"Your data was  bytes long", b">Your data was 5 bytes"],
)  # fmt: skip
def test_text_that_only_resembles_it_is_a_question(text: bytes) -> None:
    """The whole datagram has to be the sentence."""
    assert isinstance(Book().decode_question_untrusted(text), Question)


def test_payload_that_is_not_ascii_is_refused_before_sending() -> None:
    """Requests and replies alike, with the beginning of it in the sentence."""
    payload = b"\xff" * 50
    with pytest.raises(ValueError, match="ASCII") as request:
        Book().new_key(payload, b"instance", b"")
    with pytest.raises(ValueError, match="ASCII") as reply:
        Book().encode_answer(QUESTION, AnswerKind.REPLY, payload)
    sentence = f"expected ASCII text for the book's format, got {payload[:40]!r}"
    assert str(request.value) == str(reply.value) == sentence


@pytest.mark.parametrize("kind", [AnswerKind.RETRY, AnswerKind.BUSY, AnswerKind.ERROR])
def test_format_has_no_refusals(kind: AnswerKind) -> None:
    """What it cannot say is silence."""
    assert Book().encode_answer(QUESTION, kind, b"") is None


def test_every_quote_is_about_the_one_open_request() -> None:
    """G5: no ids to look for."""
    assert Book().decode_quote_untrusted(b"\xff\x00") == Book().decode_quote_untrusted(b"") == b""


@pytest.mark.parametrize(("size", "budget"), [(0, 30), (5, 30), (30, 30), (31, 31), (65_507, 65_507)])
def test_budget_is_the_request_or_the_books_one_sentence(size: int, budget: int) -> None:
    """E4's documented exception: the longest answer the book's server has is 30 bytes."""
    assert len(b"Your data was 65507 bytes long") == 30
    assert Book().reply_budget(QUESTION._replace(size=size)) == budget
