"""A server's memory of one start: what it makes of a cookie and of an at-most-once request."""

from typing import Any

import pytest

from trio_udp.proto import (
    TU1,
    VALIDATION_SIZE,
    AnswerKind,
    Extensions,
    Message,
    MessageType,
    Once,
    Peer,
    Question,
    Validation,
    encode_message,
    read_once_untrusted,
)
from trio_udp.proto._reply_cache import Kept

PEER: Peer = ("192.0.2.1", 1060)
KEY = b"instancerequest!"
NOW = 6000.0
RANDOM = bytes(range(1, VALIDATION_SIZE + 1))


def question(**extensions: Any) -> tuple[Question, Extensions]:
    """A request with these extensions, as a server reads it."""
    read = TU1().decode_question_untrusted(encode_message(Message(MessageType.REQUEST, 1, KEY, **extensions)))
    assert isinstance(read, Question)
    assert read.extensions is not None
    return read, read.extensions


def test_a_good_cookie_proves_the_address_and_is_counted() -> None:
    """F7: and any other, or none, proves nothing."""
    validation = Validation(RANDOM)
    asked, _ = question(once=bytes(20))
    cookie, _ = validation.grant(asked, PEER, NOW)
    shown = question(cookie=cookie)
    proven = validation.prove(*shown, PEER, NOW)
    assert proven.extensions == shown[1]._replace(is_proven=True)
    assert validation.prove(*shown, ("192.0.2.2", 1060), NOW) is shown[0]
    assert validation.prove(*shown, PEER, NOW + 120) is shown[0]
    assert validation.prove(*question(once=bytes(20)), PEER, NOW).extensions == question(once=bytes(20))[1]
    assert validation.accepted == 1


def test_who_asks_at_most_once_is_told_the_start_and_the_minute() -> None:
    """Nobody else is: there are more bytes to pay for."""
    validation = Validation(RANDOM)
    once = validation.grant(question(once=bytes(20))[0], PEER, NOW)[1]
    assert read_once_untrusted(once) == Once(RANDOM[:8], 100)
    assert validation.grant(question(cookie=bytes(16))[0], PEER, NOW)[1] == b""
    assert validation.grant(Question(KEY, b"", 1, 24), PEER, NOW)[1] == b""


def test_a_proven_request_is_let_through_once() -> None:
    """E1, E2: an unproven one is told to prove itself."""
    validation = Validation(RANDOM)
    asked, extensions = question(once=Once(RANDOM[:8], 100).encode())
    assert validation.admit(asked, extensions, NOW, may_run=True) is AnswerKind.RETRY
    proven = extensions._replace(is_proven=True)
    kept = validation.admit(asked, proven, NOW, may_run=True)
    assert isinstance(kept, Kept)
    assert validation.admit(asked, proven, NOW + 60, may_run=True) is kept
    assert validation.admit(asked, proven, NOW + 360, may_run=True) is AnswerKind.OUTCOME_UNKNOWN


def test_limits_are_those_of_its_memory() -> None:
    """E2."""
    validation = Validation(RANDOM, max_clients=0)
    asked, extensions = question(once=Once(RANDOM[:8], 100).encode())
    proven = extensions._replace(is_proven=True)
    assert validation.admit(asked, proven, NOW, may_run=True) is AnswerKind.BUSY


@pytest.mark.parametrize("size", [0, VALIDATION_SIZE - 1, VALIDATION_SIZE + 1])
def test_random_bytes_have_one_length(size: int) -> None:
    """Half a secret would be none."""
    with pytest.raises(ValueError, match="random bytes"):
        Validation(RANDOM[:size].ljust(size, b"x"))
