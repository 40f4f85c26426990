"""What every profile has to keep, whatever its wire format: the client, the table and the server rely on it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_udp.proto import TU1, Answer, AnswerKind, Book, Profile, Question, RetryPolicy

PROFILES: list[Profile] = [TU1(), Book()]
INSTANCE = bytes(range(8))

texts = st.text(st.characters(max_codepoint=127), max_size=100).map(str.encode).filter(lambda text: b"Your" not in text)
"""What both formats can carry: ASCII, and not the one sentence that the book's server answers with."""
any_profile = pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)


@any_profile
@given(payload=texts, random=st.binary(min_size=8, max_size=8), attempt=st.integers(1, 255))
def test_request_and_reply_carry_the_same_key_both_ways(
    profile: Profile, payload: bytes, random: bytes, attempt: int
) -> None:
    """The client finds the reply under the key it made; attempt numbers come back, or are 0 on both sides."""
    key = profile.new_key(payload, INSTANCE, random[: profile.random_size])
    question = profile.decode_question_untrusted(profile.encode_request(payload, key, attempt, 0))
    assert isinstance(question, Question)
    assert (question.key, question.payload) == (key, payload)
    assert question.attempt in (0, attempt)
    datagram = profile.encode_answer(question, AnswerKind.REPLY, payload)
    assert datagram is not None
    assert profile.decode_answer_untrusted(datagram) == Answer(key, payload, question.attempt)


@any_profile
@given(payload=texts, room=st.integers(0, 1300))
def test_request_is_as_long_as_its_overhead_and_payload_or_as_the_room_asked_for(
    profile: Profile, payload: bytes, room: int
) -> None:
    """`overhead` is exact, and padding changes nothing that is said."""
    key = profile.new_key(payload, INSTANCE, bytes(profile.random_size))
    datagram = profile.encode_request(payload, key, 1, room)
    assert len(datagram) in (profile.overhead + len(payload), room)
    question = profile.decode_question_untrusted(datagram)
    assert isinstance(question, Question)
    assert (question.payload, question.size) == (payload, len(datagram))
    assert profile.reply_budget(question) >= len(datagram)


@any_profile
def test_longest_payload_fits_one_datagram(profile: Profile) -> None:
    """`max_payload` is what the format can say, and no more than UDP carries."""
    payload = b"x" * profile.max_payload
    key = profile.new_key(payload, INSTANCE, bytes(profile.random_size))
    datagram = profile.encode_request(payload, key, 1, 0)
    assert len(datagram) == 65_507
    assert isinstance(profile.decode_question_untrusted(datagram), Question)


@any_profile
def test_quoted_request_is_known_by_its_key(profile: Profile) -> None:
    """What an ICMP error quotes of a request leads back to it."""
    key = profile.new_key(b"text", INSTANCE, bytes(profile.random_size))
    assert profile.decode_quote_untrusted(profile.encode_request(b"text", key, 1, 0)) == key


@any_profile
def test_profile_describes_itself(profile: Profile) -> None:
    """Strong means that a forger has 64 random bits to guess at least."""
    assert isinstance(profile.policy, RetryPolicy)
    assert (profile.verified == "strong") == (profile.random_size >= 8)
    assert profile.max_outstanding is None or profile.max_outstanding > 0
