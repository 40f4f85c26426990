"""Why a server refuses: what is said is what is read, in words that people understand."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_udp.proto import Refusal, RefusalReason, rate_refusal, read_refusal_untrusted
from trio_udp.proto._codec import REFUSAL_SIZE

REASONS = st.sampled_from(RefusalReason)
LIMITS = st.integers(0, 2**32 - 1)


@given(REASONS, LIMITS)
def test_what_is_said_is_what_is_read(reason: RefusalReason, limit: int) -> None:
    """In as many bytes as the format has for it."""
    said = Refusal(reason, limit).encode()
    assert len(said) == REFUSAL_SIZE
    assert read_refusal_untrusted(said) == Refusal(reason, limit)


@pytest.mark.parametrize("limit", [-1, 2**32, 10**12])
def test_a_limit_that_does_not_fit_is_left_out(limit: int) -> None:
    """The reason is still said."""
    assert read_refusal_untrusted(Refusal(RefusalReason.SIZE, limit).encode()) == Refusal(RefusalReason.SIZE)


@given(st.binary(max_size=8))
def test_whatever_comes_is_a_reason_or_none(data: bytes) -> None:
    """And a reason is read from no other bytes than those that say it."""
    refusal = read_refusal_untrusted(data)
    assert refusal is None or refusal.encode() == data


def test_a_flipped_bit_makes_no_other_reason() -> None:
    """Any two codes differ in two bits at least."""
    codes = [Refusal(reason).encode()[0] for reason in RefusalReason]
    assert all((one ^ other).bit_count() >= 2 for one, other in combinations(codes, 2))
    assert all(codes)


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        (Refusal(RefusalReason.DRAINING), "it is stopping"),
        (Refusal(RefusalReason.HANDLERS, 1024), "no more of its handlers may run (limit 1024)"),
        (Refusal(RefusalReason.MEMORY), "it has no room to remember more requests"),
        (Refusal(RefusalReason.SIZE, 1200), "it takes no longer payload (limit 1200 bytes)"),
        (rate_refusal(RefusalReason.RATE, 10_000.0), "it takes no more requests from one source (limit 10000/s)"),
        (rate_refusal(RefusalReason.RATE, 0.25), "it takes no more requests from one source (limit 0.25/s)"),
        (
            rate_refusal(RefusalReason.OVERALL_RATE, 1e7),
            "it takes no more requests from all sources together",
        ),
    ],
)
def test_a_refusal_has_words(refusal: Refusal, words: str) -> None:
    """With the limit, in its unit, if it is told."""
    assert str(read_refusal_untrusted(refusal.encode())) == words
