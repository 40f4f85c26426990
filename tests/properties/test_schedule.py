"""Schedules and the RTT estimator, whatever their parameters: C1, C2, C3, C4."""

import dataclasses
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_udp.proto import (
    PRESETS,
    TU1,
    AnswerKind,
    Book,
    ClientProtocol,
    Exchange,
    Peer,
    Profile,
    Question,
    RetryPolicy,
    RTTEstimator,
)

from .paper_shell import Event, Sent, run

SERVER: Peer = ("192.0.2.53", 1060)

seconds = st.floats(1e-3, 1e3)
rtos = st.none() | st.floats(0.2, 60.0)
draws = st.floats(0.0, 1.0)


@st.composite
def policies(draw: st.DrawFn, *, may_give_up: bool = True) -> RetryPolicy:
    """Any policy without a rule of its own for the last wait."""
    return RetryPolicy(
        initial=draw(seconds),
        adaptive=draw(st.booleans()),
        multiplier=draw(st.floats(1.0, 10.0)),
        jitter=draw(st.floats(0.0, 4.0)),
        maximum_interval=draw(seconds),
        attempts=draw(st.integers(1, 254)),
        give_up_after=draw(st.none() | seconds) if may_give_up else None,
    )


def base_of(policy: RetryPolicy, rto: float | None) -> float:
    """What the first wait starts from."""
    return rto if policy.adaptive and rto is not None else policy.initial


@given(policy=policies(may_give_up=False), rto=rtos, draw=draws)
def test_waits_are_the_formula_and_never_below_the_rto(policy: RetryPolicy, rto: float | None, draw: float) -> None:
    """C3: wait k is RTO * multiplier^(k-1) * U with one U in [1, 1 + jitter], capped, and never below the RTO."""
    waits, base = list(policy.waits(rto, draw)), base_of(policy, rto)
    assert len(waits) == policy.attempts
    longest = max(policy.maximum_interval, base)
    for k, wait in enumerate(waits, start=1):
        growth: float = policy.multiplier ** (k - 1)
        assert wait == pytest.approx(min(base * growth * (1 + policy.jitter * draw), longest))
        assert base <= wait <= longest
    assert waits == sorted(waits)


@given(rto=rtos, draw=draws)
def test_default_policy_is_the_promised_one(rto: float | None, draw: float) -> None:
    """C1, C3, C4: from 1 s or the RTO, doubling, stretched by U[1, 1.5], five transmissions."""
    waits, base = list(RetryPolicy().waits(rto, draw)), 1.0 if rto is None else rto
    assert waits == pytest.approx([min(base * 2**k * (1 + draw / 2), 60.0) for k in range(5)])


@given(policy=policies(may_give_up=False), rto=rtos)
def test_jitter_only_ever_stretches(policy: RetryPolicy, rto: float | None) -> None:
    """C3: the draw moves every wait between the unstretched and the fully stretched one."""
    shortest, middle, longest = (list(policy.waits(rto, draw)) for draw in (0.0, 0.5, 1.0))
    assert all(a <= b <= c for a, b, c in zip(shortest, middle, longest, strict=True))


@given(policy=policies(), rto=rtos, draw=draws)
def test_attempts_are_a_bound_and_giving_up_is_exact(policy: RetryPolicy, rto: float | None, draw: float) -> None:
    """C4: never more waits than attempts; `give_up_after` cuts the schedule off there and changes nothing before."""
    whole = list(policy.waits(rto, draw))
    assert 1 <= len(whole) <= policy.attempts
    limit = policy.give_up_after
    if limit is None:
        return
    expected = list(dataclasses.replace(policy, give_up_after=None).waits(rto, draw))
    assert whole[:-1] == expected[: len(whole) - 1]
    assert sum(whole) == pytest.approx(min(limit, sum(expected)))


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
@given(rto=rtos)
def test_presets_keep_their_times_whatever_was_measured(preset: RetryPolicy, rto: float | None) -> None:
    """C5: a preset is what its source says, not an estimate."""
    assert list(preset.waits(rto)) == list(preset.waits())


@given(policy=policies(), final_wait=st.none() | seconds, rto=rtos, draw=draws)
def test_first_wait_is_the_first_of_the_waits_whatever_the_policy(
    policy: RetryPolicy, final_wait: float | None, rto: float | None, draw: float
) -> None:
    """C3: to the bit."""
    policy = dataclasses.replace(policy, final_wait=final_wait)
    assert policy.first_wait(rto, draw) == next(policy.waits(rto, draw))


# The estimator


@given(st.lists(st.floats(0.0, 1e3), min_size=1, max_size=50))
def test_rto_stays_within_its_clamps_and_srtt_within_the_samples(samples: list[float]) -> None:
    """C1: 0.2 to 60 s whatever is measured; the smoothed RTT is never outside of what was measured."""
    estimator = RTTEstimator()
    for sample in samples:
        estimator.update(sample)
        assert estimator.rto is not None
        assert 0.2 <= estimator.rto <= 60.0
        assert estimator.rttvar >= 0
    assert estimator.srtt is not None
    assert min(samples) <= estimator.srtt * (1 + 1e-9)
    assert estimator.srtt <= max(samples) * (1 + 1e-9)


@given(st.floats(0.001, 50.0))
def test_steady_peer_brings_the_rto_down_to_its_round_trip(sample: float) -> None:
    """C1: with equal samples the variance dies out, and what is left is the RTT, within the clamps."""
    estimator = RTTEstimator()
    for _ in range(200):
        estimator.update(sample)
    assert estimator.rto == pytest.approx(min(max(sample, 0.2), 60.0))


# Exact samples, in a small simulation


class Line:
    """A client and a server with a line between that loses, delays, duplicates and reorders."""

    def __init__(self, profile: Profile, seed: int, loss: float) -> None:
        self.random, self.loss = Random(seed), loss
        self.profile = profile
        self.client = ClientProtocol(profile, [SERVER], random=self.random.randbytes(8))
        self.answered: Sent | None = None
        """The transmission whose answer arrived last: what the client has to find out by itself."""

    def answers(self, sent: Sent) -> list[Event]:
        """What comes back for one transmission."""
        question = self.profile.decode_question_untrusted(sent.attempt.datagram)
        assert isinstance(question, Question)
        reply = self.profile.encode_answer(question, AnswerKind.REPLY, b"answer")
        assert reply is not None

        def arrive(now: float) -> None:
            if isinstance(self.client.receive_datagram(reply, SERVER, now), Exchange):
                self.answered = sent

        copies = self.random.choice([1, 1, 2])
        delays = [self.random.uniform(0.001, 8.0) for _ in range(copies) if self.random.random() >= self.loss]
        return [Event(sent.at + delay, arrive) for delay in delays]


@given(seed=st.integers(0, 2**32), loss=st.floats(0.0, 0.7))
def test_every_rtt_sample_is_exact_under_loss_duplication_and_retransmission(seed: int, loss: float) -> None:
    """C2: the error is 0, for whichever transmission the reply belongs to; and exactly these feed the estimator."""
    line, start, shadow = Line(TU1(), seed, loss), 0.0, RTTEstimator()
    for _ in range(6):
        exchange = line.client.open_exchange(b"", RetryPolicy(attempts=8), line.random.randbytes(10))
        finished = run(exchange, start=start, on_send=line.answers)
        exchange.close()
        if exchange.outcome is not None:
            assert line.answered is not None
            assert exchange.outcome.rtt == finished.ended - line.answered.at
            shadow.update(exchange.outcome.rtt)
        estimator = line.client.servers[0].estimator
        assert (estimator.srtt, estimator.rttvar, estimator.rto) == (shadow.srtt, shadow.rttvar, shadow.rto)
        start = finished.ended + 60.0


@given(seed=st.integers(0, 2**32), loss=st.floats(0.0, 0.7))
def test_without_an_echoed_number_only_a_request_sent_once_gives_a_sample(seed: int, loss: float) -> None:
    """Karn's rule (RFC 6298 section 3), for formats such as the book's; the RTT told is never too small."""
    line, start = Line(Book(), seed, loss), 0.0
    for _ in range(6):
        before = line.client.servers[0].estimator.srtt, line.client.servers[0].estimator.rttvar
        exchange = line.client.open_exchange(b"text", RetryPolicy(attempts=8), bytes(2))
        finished = run(exchange, start=start, on_send=line.answers)
        exchange.close()
        estimator = line.client.servers[0].estimator
        sampled = exchange.outcome is not None and len(finished.sent) == 1
        assert ((estimator.srtt, estimator.rttvar) != before) == sampled
        if exchange.outcome is not None:
            assert line.answered is not None
            assert exchange.outcome.rtt == finished.ended - start >= finished.ended - line.answered.at
        start = finished.ended + 60.0
