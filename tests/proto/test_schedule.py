"""When to send again, and when to stop, by numbers from the sources of the presets."""

import itertools
import math

import pytest

from trio_udp.proto import BOOK, COAP, PRESETS, STUN, RetryPolicy


def times(policy: RetryPolicy, rto: float | None = None, draw: float = 0.0) -> list[float]:
    """When each attempt is sent, and last when it is given up, in seconds rounded to a nanosecond."""
    return [0.0, *(round(at, 9) for at in itertools.accumulate(policy.waits(rto, draw)))]


SENDS = {
    "book": (BOOK, 0.0, [0, 0.1, 0.3, 0.7, 1.5, 3.1]),
    "stun": (STUN, 0.0, [0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5, 39.5]),
    "coap": (COAP, 0.0, [0, 2, 6, 14, 30, 62]),
    "coap, stretched": (COAP, 1.0, [0, 3, 9, 21, 45, 93]),
    "ours": (RetryPolicy(), 0.0, [0, 1, 3, 7, 15, 31]),
    "ours, stretched": (RetryPolicy(), 1.0, [0, 1.5, 4.5, 10.5, 22.5, 46.5]),
}


@pytest.mark.parametrize(("policy", "draw", "expected"), SENDS.values(), ids=SENDS)
def test_sends_happen_at_these_times(policy: RetryPolicy, draw: float, expected: list[float]) -> None:
    """C5, C3: the last number is when the request is given up."""
    assert times(policy, draw=draw) == expected


@pytest.mark.parametrize("policy", [BOOK, STUN])
def test_presets_without_jitter_ignore_the_draw(policy: RetryPolicy) -> None:
    """C5: equality, for every request."""
    assert times(policy, draw=1.0) == times(policy, draw=0.0)


def test_presets_have_names() -> None:
    """As the command line calls them."""
    assert PRESETS == {"book": BOOK, "stun": STUN, "coap": COAP}


def test_measured_timeout_replaces_the_first_one_only_where_the_policy_is_adaptive() -> None:
    """C1: from the RTO once there is one."""
    assert times(RetryPolicy(attempts=3), rto=0.25) == [0, 0.25, 0.75, 1.75]
    assert times(RetryPolicy(attempts=3, adaptive=False), rto=0.25) == [0, 1, 3, 7]


def test_waits_stop_growing_at_the_longest_interval() -> None:
    """RFC 6298 section 2.5."""
    assert list(RetryPolicy(maximum_interval=3.0).waits()) == [1.0, 2.0, 3.0, 3.0, 3.0]


def test_longest_interval_gives_way_to_a_longer_timeout() -> None:
    """C3: never below the RTO, whatever the limit."""
    assert list(RetryPolicy(maximum_interval=3.0, attempts=3).waits(5.0, 1.0)) == [5.0, 5.0, 5.0]


@pytest.mark.parametrize(
    "policy",
    [
        RetryPolicy(),
        RetryPolicy(adaptive=False),
        RetryPolicy(maximum_interval=0.25),
        RetryPolicy(attempts=1, final_wait=9.0),
        RetryPolicy(attempts=2, final_wait=9.0),
        RetryPolicy(give_up_after=0.125),
        *PRESETS.values(),
    ],
)
@pytest.mark.parametrize("rto", [None, 0.2, 60.0])
@pytest.mark.parametrize("draw", [0.0, 0.3, 1.0])
def test_first_wait_is_the_first_of_the_waits(policy: RetryPolicy, rto: float | None, draw: float) -> None:
    """C3: to the bit; it is all that most requests need."""
    assert policy.first_wait(rto, draw) == next(policy.waits(rto, draw))
    assert policy.first_wait() == next(policy.waits())


def test_final_wait_follows_the_last_attempt_only() -> None:
    """RFC 8489 section 6.2.1: Rm * RTO after the last request."""
    assert list(RetryPolicy(attempts=3, final_wait=0.5).waits()) == [1.0, 2.0, 0.5]
    assert list(RetryPolicy(attempts=1, final_wait=0.5).waits()) == [0.5]


@pytest.mark.parametrize(
    ("give_up_after", "expected"),
    [
        (0.5, [0.5]),
        (1.0, [1.0]),
        (1.25, [1.0, 0.25]),
        (3.0, [1.0, 2.0]),
        (31.0, [1.0, 2.0, 4.0, 8.0, 16.0]),
        (1000.0, [1.0, 2.0, 4.0, 8.0, 16.0]),
    ],
)
def test_give_up_after_ends_the_schedule_exactly_there(give_up_after: float, expected: list[float]) -> None:
    """Nothing is sent at the moment of giving up, nor later."""
    assert list(RetryPolicy(give_up_after=give_up_after).waits()) == expected


def test_nothing_is_sent_at_the_moment_of_giving_up_for_want_of_a_rounding_error() -> None:
    """Eight tenths of a second hold eight waits of a tenth, although floats disagree by 10^-16."""
    policy = RetryPolicy(initial=0.1, adaptive=False, multiplier=1.0, jitter=0.0, attempts=20, give_up_after=0.8)
    assert times(policy) == [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]


def test_give_up_after_cuts_the_final_wait_too() -> None:
    """Whatever the rule for the last wait."""
    assert list(RetryPolicy(attempts=1, final_wait=10.0, give_up_after=2.0).waits()) == [2.0]


@pytest.mark.parametrize("attempts", [1, 2, 5, 254])
def test_there_are_as_many_waits_as_attempts(attempts: int) -> None:
    """C4."""
    assert len(list(RetryPolicy(attempts=attempts).waits())) == attempts


SECONDS = ("initial", "maximum_interval", "final_wait", "give_up_after")
NOT_FINITE = (math.inf, math.nan)
NONSENSE: list[tuple[str, float, str]] = [
    *((name, value, "a positive number of seconds") for name in SECONDS for value in (0, 0.0, -1.0, *NOT_FINITE)),
    *(("multiplier", value, "at least 1") for value in (0.99, -2.0, *NOT_FINITE)),
    *(("jitter", value, "at least 0") for value in (-0.1, *NOT_FINITE)),
]


@pytest.mark.parametrize(("name", "value", "expected"), NONSENSE)
def test_policy_that_makes_no_sense_is_refused(name: str, value: float, expected: str) -> None:
    """At once, by name, with the value: not when the first datagram is lost."""
    with pytest.raises(ValueError, match="expected") as caught:
        RetryPolicy(**{name: value})  # type: ignore[arg-type]  # the table holds floats only
    assert str(caught.value) == f"expected {name} to be {expected}, got {value}"


@pytest.mark.parametrize("attempts", [0, -1, 255, 5.0, 1.5, "5", None])
def test_number_of_attempts_that_does_not_fit_its_byte_is_refused(attempts: object) -> None:
    """One of 255 is kept for the transmission that RETRY may ask for. What is no whole number counts no attempts."""
    with pytest.raises(ValueError, match="expected") as caught:
        RetryPolicy(attempts=attempts)  # type: ignore[arg-type]  # the point of the test
    assert str(caught.value) == f"expected 1 to 254 attempts, got {attempts}"


def test_policy_is_a_value() -> None:
    """Frozen and comparable, so that one may serve any number of requests."""
    assert RetryPolicy(attempts=3) == RetryPolicy(attempts=3) != RetryPolicy()
    assert len({RetryPolicy(), RetryPolicy(), BOOK}) == 2
    with pytest.raises(AttributeError):
        RetryPolicy().attempts = 3  # type: ignore[misc]  # the point of the test
