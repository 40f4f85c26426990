"""One exchange, step by step: what is sent, to whom, how long is waited, what ends it.

The forgeries are in `tests/properties`; here is what honest servers, and a network that loses, do to an exchange.
"""

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trio_udp.proto import (
    BOOK,
    HEADER_SIZE,
    TU1,
    AnswerKind,
    Book,
    ClientProtocol,
    DropReason,
    Exchange,
    Failure,
    Outcome,
    Question,
    Refusal,
    RefusalReason,
    RetryPolicy,
    blake2b_seal,
    hmac_seal,
)
from trio_udp.proto._retry_budget import RESERVE, SHARE

from .talk import ONCE, PADDED_SIZE, STEADY, A, B, C, Honest, Talk

KEYS = (blake2b_seal(1, bytes(32)), hmac_seal(2, bytes(32)))

# One server


def test_silent_server_is_asked_on_schedule_and_given_up() -> None:
    """C1, C4: five transmissions at 0, 1, 3, 7, 15 s, numbered; then NO_REPLY at 31 s, and nothing more."""
    talk = Talk(A)
    attempts, ended = talk.run_out(0.0)
    assert [attempt.number for attempt in attempts] == [1, 2, 3, 4, 5]
    assert [attempt.wait for attempt in attempts] == [1.0, 2.0, 4.0, 8.0, 16.0]
    assert {attempt.peer for attempt in attempts} == {A}
    assert ended == 31.0
    assert (talk.exchange.failure, talk.exchange.outcome, talk.exchange.attempts) == (Failure.NO_REPLY, None, 5)
    assert talk.exchange.next_attempt(32.0) is None


def test_new_exchange_has_no_news_and_waits_for_nothing() -> None:
    """Nothing has happened to it; what it has to do first is asked of it, as at any other time."""
    exchange = Talk(A).exchange
    assert exchange.news is False
    assert (exchange.outcome, exchange.failure, exchange.hint, exchange.owner) == (None, None, None, None)
    assert exchange.attempts == 0
    assert (exchange.due, exchange.began, exchange.is_over) == (math.inf, math.inf, False)


def test_nothing_is_sent_before_it_is_due() -> None:
    """C6: however often the exchange is asked, with the time that is left as the timeout."""
    talk = Talk(A)
    assert talk.exchange.next_timeout(0.0) == 0.0
    talk.send(0.0)
    for now, left in ((0.0, 1.0), (0.25, 0.75), (0.9999, 0.0001)):
        assert talk.exchange.next_attempt(now) is None
        assert talk.exchange.next_timeout(now) == pytest.approx(left)
        assert not talk.exchange.is_over
    assert talk.send(1.0).number == 2


def test_timeout_that_is_over_but_for_a_rounding_error_is_over() -> None:
    """Clocks and sums of floats disagree by less than a nanosecond, and nobody waits for that."""
    talk = Talk(A)
    talk.send(0.0)
    assert talk.send(1.0 - 1e-12).number == 2
    talk = Talk(A, policy=ONCE)
    talk.send(0.0)
    assert talk.exchange.next_attempt(0.0) is None
    assert talk.exchange.next_attempt(1.0 - 1e-12) is None
    assert talk.exchange.failure is Failure.NO_REPLY
    assert talk.exchange.next_timeout(1.0 - 1e-12) == 0.0


@given(
    draw=st.integers(0, 65_535),
    sample=st.none() | st.sampled_from([0.25, 0.5, 1.0]),
    attempts=st.integers(1, 6),
    give_up_after=st.none() | st.sampled_from([5.0, 1000.0]),
)
def test_waits_are_all_those_of_the_policy_for_this_peer_and_this_draw(
    draw: int, sample: float | None, attempts: int, give_up_after: float | None
) -> None:
    """C1, C3: from the first to the last, also where only the first is computed at once."""
    talk = Talk(A)
    if sample is not None:
        talk.answer(talk.send(0.0), sample)
    policy = RetryPolicy(attempts=attempts, give_up_after=give_up_after)
    talk.exchange = talk.client.open_exchange(b"", policy, draw.to_bytes(2, "big") + bytes(8))
    waits = [attempt.wait for attempt in talk.run_out(10.0)[0]]
    assert waits == list(policy.waits(None if sample is None else 3 * sample, draw / 65_535))


def test_answered_request_has_computed_its_first_wait_only() -> None:
    """Most are answered at once, and pay for no other wait."""
    talk = Talk(A)
    attempt = talk.send(0.0)
    assert talk.exchange._waits == ()
    talk.answer(attempt, 0.25)
    assert talk.exchange._waits == ()


@given(turns=st.lists(st.floats(0.0, 100.0), min_size=1, max_size=4).map(sorted))
def test_exchange_began_when_its_first_transmission_was_made(turns: list[float]) -> None:
    """The time that passed without a reply is reckoned from there."""
    talk = Talk(A)
    assert talk.exchange.began == math.inf
    for turn in turns:
        talk.exchange.next_attempt(turn)
        assert talk.exchange.began == turns[0]


def test_nothing_is_given_up_that_has_not_waited() -> None:
    """A2: who was stopped behind its last transmission looks at what has arrived, and is then told to give up."""
    talk = Talk(A, policy=ONCE)
    talk.send(0.0)
    assert talk.exchange.next_attempt(3600.0) is None
    assert not talk.exchange.is_over
    assert talk.client.next_due == 1.0
    assert talk.client.take_due(3600.0) == [talk.exchange]
    assert talk.exchange.next_attempt(3600.0) is None
    assert talk.exchange.failure is Failure.NO_REPLY


SAID = st.sampled_from(["nothing", "hint", *(kind for kind in AnswerKind if kind is not AnswerKind.REPLY)])


@given(
    peers=st.integers(1, 3),
    attempts=st.integers(1, 3),
    give_up_after=st.none() | st.sampled_from([0.5, 2.5]),
    said=st.lists(st.tuples(SAID, st.floats(0.0, 4.0)), max_size=8),
)
@example(peers=1, attempts=2, give_up_after=None, said=[("nothing", 0.0), (AnswerKind.RETRY, 0.25)])
def test_who_has_made_an_attempt_and_waits_has_nothing_else_to_do_before_its_time(
    peers: int, attempts: int, give_up_after: float | None, said: list[tuple[str, float]]
) -> None:
    """C4, C6: whoever is not asked again, because `due` is finite, would have said the same."""
    policy = RetryPolicy(jitter=0.0, attempts=attempts, give_up_after=give_up_after)
    talk = Talk(*(A, B, C)[:peers], policy=policy)
    now = 0.0
    for word, later in said:
        while (attempt := talk.exchange.next_attempt(now)) is not None:
            latest, due = attempt, talk.exchange.due
            if due < math.inf:
                assert due > now
                assert talk.exchange.next_attempt(now) is None
                assert talk.exchange.due == due
        now += later
        if word == "hint":
            talk.exchange.take_hint("ECONNREFUSED")
        elif word == "nothing":
            talk.client.take_due(now)
        else:
            talk.answer(latest, now, AnswerKind(word))


def test_ordinary_request_waits_from_its_first_attempt_on() -> None:
    """Most have one server and are answered at once: nobody has to come back for the time at which they are due."""
    talk = Talk(A)
    assert talk.send(3.0).wait == 1.0
    assert (talk.exchange.due, talk.client.next_due) == (4.0, 4.0)


def test_late_wake_up_moves_what_follows_and_sends_nothing_twice() -> None:
    """C6: after a suspended laptop wakes, one transmission, and a whole wait behind it."""
    talk = Talk(A)
    talk.send(0.0)
    assert talk.send(100.0).number == 2
    assert talk.exchange.next_attempt(100.0) is None
    assert talk.exchange.next_timeout(100.0) == 2.0


def test_give_up_after_ends_the_request_whatever_is_still_to_come() -> None:
    """C4: also what a RETRY asked for."""
    talk = Talk(A, policy=RetryPolicy(jitter=0.0, give_up_after=1.25))
    talk.send(0.0)
    second = talk.send(1.0)
    talk.answer(second, 1.125, AnswerKind.RETRY)
    assert talk.send(1.125).number == 3
    assert talk.exchange.next_timeout(1.125) == 0.125
    assert talk.exchange.next_attempt(1.125) is None
    assert talk.exchange.next_attempt(1.25) is None
    assert talk.exchange.failure is Failure.NO_REPLY


def test_retransmission_differs_from_the_first_transmission_in_its_number_only() -> None:
    """C2: the same ids, so that any answer to the request will do."""
    talk = Talk(A)
    first, second = talk.send(0.0), talk.send(1.0)
    assert first.datagram[:3] + first.datagram[4:] == second.datagram[:3] + second.datagram[4:]
    assert (first.datagram[3], second.datagram[3]) == (1, 2)
    assert first.datagram[24:] == b"question"


def test_reply_ends_the_exchange() -> None:
    """A1, A3: with all that is known about it; the table forgets the request at once."""
    talk = Talk(A)
    attempt = talk.send(0.0)
    assert len(talk.client.exchanges) == 1
    assert talk.answer(attempt, 0.25, payload=b"answer") is talk.exchange
    assert talk.exchange.outcome == Outcome(b"answer", 0.25, 1, A, 57)
    assert (talk.exchange.news, talk.exchange.is_over, talk.exchange.next_timeout(0.25)) == (True, True, 0.0)
    assert len(talk.client.exchanges) == 0
    assert talk.exchange.next_attempt(0.25) is None
    assert talk.exchange.failure is None
    assert not talk.client.dropped


@pytest.mark.parametrize(("answered", "rtt"), [(0, 3.5), (1, 2.5), (2, 0.5)])
def test_round_trip_is_measured_from_the_transmission_that_was_answered(answered: int, rtt: float) -> None:
    """C2: exact after retransmissions, whichever of them came through."""
    talk = Talk(A)
    attempts = [talk.send(now) for now in (0.0, 1.0, 3.0)]
    talk.answer(attempts[answered], 3.5)
    assert talk.exchange.outcome is not None
    assert (talk.exchange.outcome.rtt, talk.exchange.outcome.attempts) == (rtt, 3)
    assert talk.client.servers[0].estimator.srtt == rtt


@pytest.mark.parametrize(("read", "sample"), [(0.25, 0.25), (1.0, 1.0), (3600.0, 1.0)])
def test_reply_that_was_read_late_is_no_sample_of_more_than_it_was_waited_for(read: float, sample: float) -> None:
    """C1: after an hour of sleep the next loss must not cost a minute. The reply itself says the truth."""
    talk = Talk(A)
    talk.answer(talk.send(0.0), read)
    assert talk.client.servers[0].estimator.srtt == sample
    assert talk.exchange.outcome is not None
    assert talk.exchange.outcome.rtt == read


def test_reply_to_an_earlier_attempt_that_was_read_late_is_a_sample_up_to_the_next_turn() -> None:
    """C1: sent at 0, asked again at 1, read an hour after the turn at 3."""
    talk = Talk(A)
    first = talk.send(0.0)
    talk.send(1.0)
    talk.answer(first, 3600.0)
    assert talk.client.servers[0].estimator.srtt == 3.0


def test_reply_behind_a_retry_is_a_sample() -> None:
    """C1: the padded transmission is due at once, and not made yet."""
    talk = Talk(A)
    first = talk.send(0.0)
    talk.answer(first, 0.25, AnswerKind.RETRY)
    talk.answer(first, 0.5)
    assert talk.client.servers[0].estimator.srtt == 0.5


def test_exchange_that_is_closed_waits_for_nothing_and_may_be_closed_again() -> None:
    """A9: as the shell does after every end."""
    talk = Talk(A)
    talk.send(0.0)
    assert talk.exchange.next_attempt(0.0) is None
    assert talk.client.next_due == 1.0
    for _ in range(2):
        talk.exchange.close()
        assert (talk.exchange.due, talk.client.next_due, len(talk.client.exchanges)) == (math.inf, math.inf, 0)


def test_exchange_that_is_closed_has_nothing_to_send_or_to_wait_for() -> None:
    """A9: whoever still looks at it is not told to wait for an end that is far away."""
    talk = Talk(A, B)
    talk.send(0.0)
    talk.exchange.close()
    assert talk.exchange.next_timeout(0.25) == 0.0
    assert talk.exchange.next_attempt(0.25) is None
    assert talk.exchange.failure is Failure.NO_REPLY


# RETRY: the reply needs room


def test_retry_makes_the_client_pad_and_ask_once_more() -> None:
    """E4's other end: a new attempt number, the same ids, as long as this client may send."""
    talk = Talk(A)
    first = talk.send(0.0)
    assert talk.answer(first, 0.25, AnswerKind.RETRY) is talk.exchange
    assert talk.exchange.news
    second = talk.send(0.25)
    assert (second.number, len(first.datagram), len(second.datagram)) == (2, HEADER_SIZE + 8, PADDED_SIZE)
    assert second.datagram[8:32] == first.datagram[8:32]
    talk.answer(second, 0.5, payload=bytes(1200))
    assert talk.exchange.outcome == Outcome(bytes(1200), 0.25, 2, A, 57)


def test_padded_transmission_is_one_on_top_of_the_schedule() -> None:
    """C4: RETRY may not be used to make a client send more and more."""
    talk = Talk(A)
    talk.answer(talk.send(0.0), 0.25, AnswerKind.RETRY)
    attempts, ended = talk.run_out(0.25)
    assert [attempt.number for attempt in attempts] == [2, 3, 4, 5, 6]
    assert [attempt.wait for attempt in attempts] == [1.0, 2.0, 4.0, 8.0, 16.0]
    assert {len(attempt.datagram) for attempt in attempts} == {PADDED_SIZE}
    assert ended == 31.25
    assert talk.exchange.failure is Failure.NO_REPLY


def test_stale_retry_to_an_attempt_that_was_not_padded_is_ignored() -> None:
    """Copies, and answers to older attempts, say nothing new."""
    talk = Talk(A)
    first, second = talk.send(0.0), talk.send(1.0)
    talk.answer(second, 1.1, AnswerKind.RETRY)
    third = talk.send(1.1)
    for stale in (first, second, second):
        assert talk.answer(stale, 1.2, AnswerKind.RETRY) is talk.exchange
        assert not talk.exchange.news
    assert talk.exchange.failure is None
    talk.answer(third, 1.3, payload=b"answer")
    assert talk.exchange.outcome is not None


def test_retry_to_a_padded_attempt_is_the_servers_last_word() -> None:
    """NO_ROOM: this client may not send as much as the reply would need."""
    talk = Talk(A)
    talk.answer(talk.send(0.0), 0.1, AnswerKind.RETRY)
    talk.answer(talk.send(0.1), 0.2, AnswerKind.RETRY)
    assert (talk.exchange.failure, talk.exchange.news) == (Failure.NO_ROOM, True)
    assert talk.exchange.next_attempt(0.2) is None


def test_most_attempts_and_a_retry_still_fit_the_attempt_byte() -> None:
    """254 and one: the highest number on the wire is 255."""
    talk = Talk(A, policy=RetryPolicy(attempts=254, multiplier=1.0, jitter=0.0))
    talk.answer(talk.send(0.0), 0.5, AnswerKind.RETRY)
    attempts, _ = talk.run_out(0.5)
    assert [attempts[-1].number, attempts[-1].datagram[3]] == [255, 255]


def test_retry_to_a_request_that_is_as_long_as_it_may_be_is_the_last_word() -> None:
    """Padding could not make it longer, and the handler need not run again for nothing."""
    talk = Talk(A)
    exchange = talk.ask(payload=bytes(talk.client.max_payload))
    talk.answer(talk.send(0.0, exchange), 0.1, AnswerKind.RETRY)
    assert exchange.failure is Failure.NO_ROOM
    assert exchange.next_attempt(0.1) is None


def test_padded_transmission_is_waited_for_an_rto() -> None:
    """C3: a reply that takes as long as the RETRY did is still in time, and nothing is sent again before it."""
    talk = Talk(A, policy=ONCE)
    talk.answer(talk.send(0.0), 0.75, AnswerKind.RETRY)
    assert talk.send(0.75).wait == 1.0
    assert talk.exchange.next_timeout(0.75) == 1.0


# BUSY and ERROR


def test_busy_server_is_asked_until_the_schedule_ends() -> None:
    """BUSY may pass; it changes neither the waits nor the end, only the last word."""
    talk = Talk(A)
    for now, wait in ((0.0, 1.0), (1.0, 2.0)):
        talk.answer(talk.send(now), now, AnswerKind.BUSY)
        assert (talk.exchange.next_timeout(now), talk.exchange.news, talk.exchange.failure) == (wait, False, None)
    assert talk.run_out(3.0)[1] == 31.0
    assert talk.exchange.failure is Failure.BUSY


@pytest.mark.parametrize("kind", [AnswerKind.BUSY, AnswerKind.ERROR])
def test_the_last_reason_that_a_server_gives_is_known(kind: AnswerKind) -> None:
    """None where it gives none, or one that is not known here."""
    talk = Talk(A)
    reasons = [Refusal(RefusalReason.RATE, 7000), Refusal(RefusalReason.DRAINING), None]
    for now, reason in enumerate(reasons if kind is AnswerKind.BUSY else reasons[:1]):
        attempt = talk.send(float(now * 100))
        question = Question(attempt.datagram[8:24], b"", attempt.number, 99)
        said = TU1().encode_refusal(question, kind, reason.encode() if reason else b"\1" + bytes(4))
        talk.client.receive_datagram(said, A, now * 100 + 0.1)
        assert talk.exchange.refusal == reason


def test_reply_after_busy_is_a_reply() -> None:
    """The server had room in the end."""
    talk = Talk(A)
    talk.answer(talk.send(0.0), 0.1, AnswerKind.BUSY)
    talk.answer(talk.send(1.0), 1.1, payload=b"answer")
    assert talk.exchange.outcome is not None
    assert talk.exchange.failure is None


def test_error_of_the_only_server_ends_the_request() -> None:
    """E8: its handler failed, and would again."""
    talk = Talk(A)
    talk.answer(talk.send(0.0), 0.1, AnswerKind.ERROR)
    assert (talk.exchange.failure, talk.exchange.news, talk.exchange.outcome) == (Failure.ERROR, True, None)
    assert talk.exchange.next_attempt(0.1) is None


def test_error_of_one_of_two_servers_moves_on_and_leaves_it_out() -> None:
    """The other one may do better; if it stays silent to the end, the error is all there is to say."""
    talk = Talk(A, B)
    talk.answer(talk.send(0.0), 0.25, AnswerKind.ERROR)
    assert (talk.exchange.news, talk.exchange.failure) == (True, None)
    attempts, ended = talk.run_out(0.25)
    assert [attempt.peer for attempt in attempts] == [B] * 5
    assert ended == 31.25
    assert talk.exchange.failure is Failure.ERROR


def test_error_of_the_server_that_was_asked_last_brings_the_end_nearer() -> None:
    """C4: what is left is to wait for the other one, and whoever waits is told to look at the clock."""
    talk = Talk(A, B, policy=ONCE)
    talk.send(0.0)
    talk.answer(talk.send(0.5), 0.75, AnswerKind.ERROR)
    assert talk.exchange.news
    assert talk.exchange.next_attempt(0.75) is None
    assert talk.exchange.next_timeout(0.75) == 0.25
    assert talk.exchange.next_attempt(1.0) is None
    assert talk.exchange.failure is Failure.ERROR


def test_error_of_a_server_whose_turn_is_yet_to_come_changes_nothing_for_the_others() -> None:
    """C3: its answer to an earlier attempt came late; it is not asked again, and the others keep their times."""
    talk = Talk(A, B)
    talk.send(0.0)
    to_b = talk.send(0.5)
    talk.send(1.0)
    talk.answer(to_b, 1.25, AnswerKind.ERROR)
    assert talk.exchange.next_attempt(1.25) is None
    assert talk.exchange.next_timeout(1.25) == 1.75
    attempts, ended = talk.run_out(1.25)
    assert {attempt.peer for attempt in attempts} == {A}
    assert ended == 31.0


def test_server_that_is_out_is_not_waited_for() -> None:
    """What is left to wait for is the other server, which was asked before it."""
    talk = Talk(A, B, policy=ONCE)
    talk.send(0.0)
    talk.answer(talk.send(0.5), 0.75, AnswerKind.ERROR)
    assert talk.run_out(0.75) == ([], 1.0)


@pytest.mark.parametrize("kind", [AnswerKind.BUSY, AnswerKind.RETRY])
def test_older_answer_behind_an_error_does_not_take_it_back(kind: AnswerKind) -> None:
    """The network reorders: ERROR is the server's last word whatever comes in after it."""
    talk = Talk(A, B)
    first = talk.send(0.0)
    talk.send(0.5)
    second = talk.send(1.0)
    talk.answer(second, 1.25, AnswerKind.ERROR)
    talk.answer(first, 1.25, kind)
    attempts, _ = talk.run_out(1.25)
    assert {attempt.peer for attempt in attempts} == {B}


def test_error_behind_a_retry_calls_the_padded_transmission_off() -> None:
    """Both were read in one batch: nothing more is sent to that server."""
    talk = Talk(A, B)
    first, other = talk.send(0.0), talk.send(0.5)
    assert other.peer == B
    talk.answer(first, 0.6, AnswerKind.RETRY)
    talk.answer(first, 0.6, AnswerKind.ERROR)
    attempts, _ = talk.run_out(1.0)
    assert {attempt.peer for attempt in attempts} == {B}


@pytest.mark.parametrize(
    ("first", "second", "failure"),
    [
        (AnswerKind.ERROR, AnswerKind.RETRY, Failure.ERROR),
        (AnswerKind.RETRY, AnswerKind.ERROR, Failure.ERROR),
        (AnswerKind.RETRY, AnswerKind.RETRY, Failure.NO_ROOM),
        (AnswerKind.ERROR, AnswerKind.ERROR, Failure.ERROR),
    ],
)
def test_last_words_of_several_servers_add_up_the_same_in_any_order(
    first: AnswerKind, second: AnswerKind, failure: Failure
) -> None:
    """What the caller is told does not depend on whose datagram was faster."""
    talk = Talk(A, B)
    for server in talk.client.servers:
        server.needs_room = True
    exchange = talk.ask()
    to_a, to_b = talk.send(0.0, exchange), talk.send(0.5, exchange)
    talk.answer(to_a, 0.6, first)
    assert exchange.failure is None
    talk.answer(to_b, 0.7, second)
    assert exchange.failure is failure


def test_retries_of_two_servers_in_one_batch_are_both_acted_on() -> None:
    """Both are asked once more, with room."""
    talk = Talk(A, B, policy=ONCE)
    to_a, to_b = talk.send(0.0), talk.send(0.5)
    talk.answer(to_a, 0.6, AnswerKind.RETRY)
    talk.answer(to_b, 0.6, AnswerKind.RETRY)
    again = [talk.send(0.6), talk.send(0.6)]
    assert {attempt.peer for attempt in again} == {A, B}
    assert {len(attempt.datagram) for attempt in again} == {PADDED_SIZE}


def test_reply_behind_an_error_in_one_batch_is_the_outcome() -> None:
    """A retransmission's handler succeeded where the first one's failed: the caller gets the reply."""
    talk = Talk(A)
    first, second = talk.send(0.0), talk.send(1.0)
    talk.answer(first, 1.1, AnswerKind.ERROR)
    talk.answer(second, 1.1, payload=b"answer")
    assert talk.exchange.outcome is not None
    assert talk.exchange.outcome.payload == b"answer"


# Several servers


def test_each_server_has_the_whole_schedule_from_its_own_first_turn() -> None:
    """C6: with two servers and a first wait of 1 s, the second one follows half a second behind the first."""
    talk = Talk(A, B)
    attempts, ended = talk.run_out(0.0)
    assert [(attempt.peer, attempt.number) for attempt in attempts[:5]] == [(A, 1), (B, 1), (A, 2), (B, 2), (A, 3)]
    assert [attempt.wait for attempt in attempts[:5]] == [1.0, 1.0, 2.0, 2.0, 4.0]
    assert (len(attempts), ended) == (10, 31.5)
    assert talk.exchange.failure is Failure.NO_REPLY


def test_of_two_servers_whose_turn_has_come_the_preferred_one_is_asked_first() -> None:
    """A RETRY of the first and a hint that hurries the second, in one batch."""
    talk = Talk(A, B)
    attempt = talk.send(0.0)
    talk.client.receive_hint(attempt.datagram, A, "ECONNREFUSED")
    talk.answer(attempt, 0.125, AnswerKind.RETRY)
    assert [talk.send(0.125).peer, talk.send(0.125).peer] == [A, B]


def test_first_good_answer_wins_and_the_other_servers_is_late() -> None:
    """A3: one outcome; attempts are counted over all servers."""
    talk = Talk(A, B)
    to_a, to_b = talk.send(0.0), talk.send(0.5)
    talk.answer(to_b, 0.75, payload=b"from b")
    assert talk.exchange.outcome == Outcome(b"from b", 0.25, 2, B, 57)
    assert talk.answer(to_a, 0.8) is DropReason.LATE
    assert talk.answer(to_b, 0.9) is DropReason.DUPLICATE
    assert len(talk.client.exchanges) == 0


# Hints and lost sends


def test_hint_gives_the_next_server_its_first_turn_at_once() -> None:
    """G5: fails over and ends nothing; those behind it, and the one it is about, keep their times."""
    talk = Talk(A, B, C)
    talk.client.receive_hint(talk.send(0.0).datagram, A, "ECONNREFUSED")
    assert talk.exchange.news
    assert talk.send(0.25).peer == B
    assert talk.exchange.next_attempt(0.25) is None
    assert talk.exchange.next_timeout(0.25) == pytest.approx(2 / 3 - 0.25)
    assert talk.send(2 / 3).peer == C
    assert talk.send(1.0).peer == A


def test_hint_hurries_nobody_who_was_asked_before() -> None:
    """C6: a forger of hints cannot make a client send faster."""
    talk = Talk(A, B)
    talk.send(0.0)
    to_b = talk.send(0.5)
    for _ in range(3):
        talk.client.receive_hint(to_b.datagram, B, "EHOSTUNREACH")
        assert not talk.exchange.news
        assert talk.exchange.next_timeout(0.5) == 0.5


def test_attempt_that_could_not_be_sent_is_a_lost_one() -> None:
    """G6: it costs its wait with one server, and with several the next one's turn comes at once."""
    talk = Talk(A)
    talk.send(0.0)
    talk.exchange.take_hint("ENOBUFS")
    assert (talk.exchange.hint, talk.exchange.news, talk.exchange.next_timeout(0.0)) == ("ENOBUFS", False, 1.0)
    talk = Talk(A, B)
    talk.send(0.0)
    talk.exchange.take_hint("ENETUNREACH")
    assert talk.send(0.0).peer == B
    talk.exchange.take_hint("ENETUNREACH")
    assert not talk.exchange.news


def test_send_error_does_not_hide_the_reply_that_came_meanwhile() -> None:
    """G6: sending may wait, and the answer to the attempt before may arrive in that time."""
    talk = Talk(A)
    first = talk.send(0.0)
    talk.send(1.0)
    talk.answer(first, 1.0, payload=b"answer")
    talk.exchange.take_hint("ENOBUFS")
    assert talk.exchange.news


# The book's format


def test_book_client_measures_only_what_was_sent_once() -> None:
    """Karn's rule: after a retransmission the RTT is an upper bound, and no sample."""
    talk = Talk(A, profile=Book(), policy=BOOK)
    first = talk.send(0.0)
    talk.send(0.125)
    talk.answer(first, 0.25, payload=b"text")
    assert talk.exchange.outcome is not None
    assert talk.exchange.outcome.rtt == 0.25
    assert talk.client.servers[0].estimator.srtt is None
    exchange = talk.ask(BOOK)
    talk.answer(talk.send(1.0, exchange), 1.0625, payload=b"text")
    assert talk.client.servers[0].estimator.srtt == 0.0625


# Cookies


def test_cookie_is_shown_at_once_and_from_then_on() -> None:
    """F7: one round trip the first time, none afterwards, and no padding."""
    honest = Honest(A)
    first, second = (honest.ask(b"a longer question", at_most_once=False) for _ in range(2))
    sizes = [len(attempt.datagram) for attempt in honest.converse(first, 0.0, bytes(500))]
    assert sizes == [HEADER_SIZE + 17, HEADER_SIZE + 16 + 17]
    assert len(honest.converse(second, 1.0, bytes(500))) == 1
    assert honest.client.servers[0].needs_room is False


def test_cookie_that_is_too_old_is_replaced() -> None:
    """F7: a round trip again, every minute or two."""
    honest = Honest(A)
    made = [
        len(honest.converse(honest.ask(b"a longer question", at_most_once=False), now, bytes(500)))
        for now in (0.0, 59.0, 119.0, 120.0, 121.0)
    ]
    assert made == [2, 1, 1, 2, 1]


def test_transmission_with_a_cookie_is_one_on_top_of_the_schedule() -> None:
    """C4: what the server asks for takes no attempt away; and what is said to an earlier one is old."""
    honest = Honest(A)
    exchange = honest.ask(b"a longer question", at_most_once=False)
    first = exchange.next_attempt(0.0)
    assert first is not None
    retry = honest.serve(first, 0.0, bytes(500))
    honest.client.receive_datagram(retry, A, 0.1)
    second = exchange.next_attempt(0.1)
    assert second is not None
    assert (second.number, second.wait) == (2, 1.0)
    honest.client.receive_datagram(retry, A, 0.2)
    assert exchange.next_attempt(0.2) is None
    left, ended = [], 0.2
    while not exchange.is_over:
        ended += exchange.next_timeout(ended)
        left += [attempt.number for attempt in iter(lambda: exchange.next_attempt(ended), None)]  # noqa: B023 - now
    assert left == [3, 4, 5, 6]
    assert ended == pytest.approx(31.1)


def test_network_that_spoils_every_cookie_does_not_make_the_client_hurry_for_ever() -> None:
    """C6: four times at once, then each is waited for."""
    honest = Honest(A)
    exchange, now, at = honest.ask(b"a longer question", at_most_once=False), 0.0, []
    while not exchange.is_over:
        while (attempt := exchange.next_attempt(now)) is not None:
            at.append(now)
            elsewhere = ("203.0.113.1", 50_000 + len(at))
            honest.client.receive_datagram(honest.serve(attempt, now, bytes(500), elsewhere), A, now)
        now += exchange.next_timeout(now)
    assert at == [0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 3.0, 7.0, 15.0]
    assert exchange.failure is Failure.NO_REPLY


def test_most_attempts_and_every_cookie_still_fit_the_attempt_byte() -> None:
    """After the first one there is no number left to ask again at once with."""
    honest = Honest(A)
    policy = RetryPolicy(initial=0.1, attempts=254, multiplier=1.0, jitter=0.0)
    exchange, now, numbers = honest.ask(b"a longer question", policy, at_most_once=False), 0.0, []
    while not exchange.is_over:
        while (attempt := exchange.next_attempt(now)) is not None:
            numbers.append(attempt.number)
            elsewhere = ("203.0.113.1", 50_000 + attempt.number)
            honest.client.receive_datagram(honest.serve(attempt, now, bytes(500), elsewhere), A, now)
        now += exchange.next_timeout(now)
    assert numbers == list(range(1, 256))


# At most once


def test_request_asks_for_a_boot_id_and_runs_then() -> None:
    """E1: one round trip the first time, none within the minute."""
    honest = Honest(A)
    assert [len(attempt.datagram) for attempt in honest.converse(honest.ask(b""), 0.0)] == [60, 60]
    assert [len(honest.converse(honest.ask(), now)) for now in (1.0, 59.0, 60.0, 61.0)] == [1, 1, 2, 1]
    assert len(honest.ran) == 5


def test_request_keeps_its_birth_when_its_cookie_is_replaced() -> None:
    """E1: what the NAT has done is no reason to be born again."""
    honest = Honest(A)
    honest.converse(honest.ask(), 0.0)
    exchange = honest.ask()
    lost = exchange.next_attempt(50.0)
    honest.source = ("203.0.113.1", 40_001)
    first, second = honest.converse(exchange, 125.0)
    assert lost is not None
    onces = [datagram[40:60] for datagram in (lost.datagram, first.datagram, second.datagram)]
    assert len(set(onces)) == 1
    assert first.datagram[24:40] == lost.datagram[24:40] != second.datagram[24:40]
    assert exchange.outcome is not None


def test_request_that_may_have_run_keeps_its_key() -> None:
    """E1, F5: under another one it would be somebody else's for the server, who would run it again."""
    honest = Honest(A, seals=KEYS)
    honest.converse(honest.ask(), 0.0)
    exchange = honest.ask(b"pay")
    lost = exchange.next_attempt(1.0)
    assert lost is not None
    honest.serve(lost, 1.0)
    honest.client.set_seal(KEYS[1])
    (again,) = honest.converse(exchange, 3.0)
    assert (lost.datagram[4], again.datagram[4]) == (1, 1)
    assert exchange.outcome is not None
    assert exchange.outcome.authenticated
    (after,) = honest.converse(honest.ask(b"next"), 4.0)
    assert after.datagram[4] == 2
    assert honest.ran == [b"question", b"pay", b"next"]


def test_request_that_only_asked_is_born_under_the_key_there_is_by_then() -> None:
    """F5: it has run nowhere; and from then on it keeps that one."""
    honest = Honest(A, seals=KEYS)
    exchange = honest.ask()
    asked = exchange.next_attempt(0.0)
    assert asked is not None
    honest.client.set_seal(KEYS[1])
    honest.client.receive_datagram(honest.serve(asked, 0.0), A, 0.0)
    born = exchange.next_attempt(0.0)
    assert born is not None
    honest.client.set_seal(KEYS[0])
    (again,) = honest.converse(exchange, 2.0)
    assert [attempt.datagram[4] for attempt in (asked, born, again)] == [1, 2, 2]
    assert honest.ran == [b"question"]


def test_request_that_a_restart_has_overtaken_ends_in_outcome_unknown() -> None:
    """E3: and the next one asks first."""
    honest = Honest(A)
    honest.converse(honest.ask(), 0.0)
    honest.servers[A] = honest.server(9)
    exchange = honest.ask()
    assert len(honest.converse(exchange, 1.0)) == 1
    assert (exchange.failure, exchange.outcome) == (Failure.OUTCOME_UNKNOWN, None)
    exchange.close()
    assert len(honest.converse(honest.ask(), 2.0)) == 2
    assert len(honest.ran) == 2


def test_request_that_only_asked_may_go_to_the_server_that_has_started_since() -> None:
    """E3: it cannot have run."""
    honest = Honest(A)
    exchange = honest.ask()
    assert exchange.next_attempt(0.0) is not None
    honest.servers[A] = honest.server(9)
    honest.converse(exchange, 1.0)
    assert exchange.outcome is not None


def test_ordinary_request_takes_outcome_unknown_for_an_error() -> None:
    """No server of ours says so."""
    talk = Talk(A)
    talk.answer(talk.send(0.0), 0.1, AnswerKind.OUTCOME_UNKNOWN)
    assert talk.exchange.failure is Failure.ERROR


def test_request_is_bound_to_the_first_server_that_is_there() -> None:
    """E1: before that it may ask all of them, and afterwards nobody else."""
    honest = Honest(A, B)
    exchange = honest.ask()
    to_a, to_b = exchange.next_attempt(0.0), exchange.next_attempt(0.5)
    assert to_a is not None
    assert to_b is not None
    assert (to_a.peer, to_b.peer) == (A, B)
    honest.client.receive_datagram(honest.serve(to_b, 0.5), B, 0.6)
    bound = exchange.next_attempt(0.6)
    assert bound is not None
    assert bound.peer == B
    honest.client.receive_datagram(honest.serve(to_a, 0.6), A, 0.7)  # too late
    exchange.take_hint("ECONNREFUSED")
    assert exchange.next_attempt(0.7) is None
    last = exchange.next_attempt(1.6)
    assert last is not None
    assert last.peer == B


def test_silence_makes_the_next_request_ask_all_servers_again() -> None:
    """A dead server is failed over by requests that come after, not by those that may have run there."""
    honest = Honest(A, B)
    honest.converse(honest.ask(), 0.0)
    exchange, now, asked = honest.ask(), 1.0, set()
    while not exchange.is_over:
        while (attempt := exchange.next_attempt(now)) is not None:
            asked.add(attempt.peer)
        now += exchange.next_timeout(now)
    exchange.close()
    assert asked == {A}
    after = honest.ask()
    peers = [attempt.peer for when in (40.0, 40.9) if (attempt := after.next_attempt(when))]
    assert peers == [A, B]


def test_busy_of_a_server_that_it_was_not_bound_to_is_not_its_last_word() -> None:
    """Only what the one server says counts."""
    honest = Honest(A, B)
    exchange = honest.ask(policy=ONCE)
    to_a = exchange.next_attempt(0.0)
    to_b = exchange.next_attempt(0.5)
    assert to_a is not None
    assert to_b is not None
    busy = TU1().encode_answer(Question(to_a.datagram[8:24], b"", 1, 60), AnswerKind.BUSY, b"")
    honest.client.receive_datagram(busy, A, 0.6)
    honest.client.receive_datagram(honest.serve(to_b, 0.6), B, 0.6)
    assert exchange.next_attempt(0.6) is not None
    assert exchange.next_attempt(0.6) is None
    assert exchange.next_attempt(9.0) is None
    assert exchange.failure is Failure.NO_REPLY


def full(honest: Honest, policy: RetryPolicy = STEADY) -> tuple[list[Exchange], Exchange]:
    """As many requests as may be under way, all lost, and one more that is held."""
    honest.converse(honest.ask(), 0.0)
    lost = [honest.ask() for _ in range(64)]
    assert all(exchange.next_attempt(1.0) for exchange in lost)
    held = honest.ask(policy=policy)
    assert held.next_attempt(1.0) is None
    assert held in honest.client.held
    return lost, held


def test_65th_request_waits_for_the_oldest_to_be_over() -> None:
    """E2: a server keeps 64 replies; the end of any other makes no room."""
    honest = Honest(A)
    lost, held = full(honest)
    assert held.next_timeout(1.0) == math.inf
    lost[1].close()
    assert (honest.client.take_released(), held.news) == ([], False)
    lost[0].close()
    assert (honest.client.take_released(), held.news) == ([held], True)
    assert held.next_timeout(2.0) == 0.0
    honest.converse(held, 2.0)
    assert held.outcome is not None


def test_held_request_waits_no_longer_than_its_schedule_allows() -> None:
    """C4: `give_up_after` counts from when it would have gone."""
    honest = Honest(A)
    _, held = full(honest, RetryPolicy(give_up_after=5.0))
    assert held.next_timeout(1.0) == 5.0
    assert honest.client.next_due == 6.0
    assert honest.client.take_due(6.0) == [held]
    assert held.next_attempt(6.0) is None
    assert held.failure is Failure.NO_REPLY


def test_room_that_a_cancelled_request_leaves_goes_to_the_next() -> None:
    """Also when it was told that it may go, and has not gone."""
    honest = Honest(A)
    lost, held = full(honest)
    another = honest.ask()
    assert another.next_attempt(1.0) is None
    lost[0].close()
    assert honest.client.take_released() == [held]
    held.close()
    assert honest.client.take_released() == [another]
    lost[1].close()
    assert another.next_attempt(1.0) is not None


def test_request_that_finds_the_room_taken_is_held_again() -> None:
    """Somebody was faster."""
    honest = Honest(A)
    lost, held = full(honest)
    lost[0].close()
    assert honest.ask().next_attempt(1.0) is not None
    assert held.next_attempt(1.0) is None
    assert (held.news, held in honest.client.held) == (False, True)


def test_held_request_that_goes_because_of_a_late_cookie_is_held_no_more() -> None:
    """C4: it has a schedule like any other. A simulation found one that waited for ever."""
    honest = Honest(A)
    held = honest.ask()
    first = held.next_attempt(0.0)
    assert first is not None
    late = honest.serve(first, 0.0)
    lost, _ = full(honest)
    honest.client.receive_datagram(honest.serve(first, 1.0), A, 1.0)
    assert held.next_attempt(1.0) is None
    assert held in honest.client.held
    lost[0].close()
    honest.client.receive_datagram(late, A, 1.5)
    assert held.next_attempt(1.5) is not None
    assert held not in honest.client.held
    assert held.next_timeout(1.5) == 1.0


# Slowing down


def test_retransmission_halves_the_window_and_answers_open_it_again() -> None:
    """C6: the first transmission does not, nor the end of the schedule."""
    talk = Talk(A)
    sizes = []
    for now in (0.0, 1.0, 3.0, 7.0, 15.0):
        talk.send(now)
        sizes.append(talk.client.window.size)
    assert talk.run_out(15.0) == ([], 31.0)
    assert sizes == [128, 64, 32, 16, 8]
    for _ in range(8):
        assert talk.client.window.size == 8
        talk.exchange = talk.ask()
        talk.answer(talk.send(40.0), 40.25)
    assert talk.client.window.size == 9


def test_only_what_a_server_leaves_unanswered_halves_the_window() -> None:
    """C6: neither another server's first turn, nor a hint, nor padding, nor one attempt that nobody repeats."""
    talk = Talk(A, B)
    to_a = talk.send(0.0)
    talk.exchange.take_hint("ECONNREFUSED")
    talk.send(0.0)
    talk.answer(to_a, 0.25, AnswerKind.RETRY)
    talk.send(0.25)
    assert talk.client.window.size == 128
    talk.exchange = talk.ask(ONCE)
    talk.run_out(5.0)
    assert talk.client.window.size == 128


def test_client_begins_with_the_window_it_is_given_and_no_wider_than_its_format() -> None:
    """The book's format can tell one answer from no other."""
    assert ClientProtocol(TU1(), [A], random=bytes(8), max_in_flight=7).window.size == 7
    assert ClientProtocol(Book(), [A], random=bytes(8), max_in_flight=7).window.size == 1


def test_refused_request_is_sent_again_while_the_budget_lasts_and_then_waits() -> None:
    """C4, E9: turns are passed over, and the schedule ends when it does; what still comes is believed."""
    talk = Talk(A)
    for _ in range(RESERVE):
        talk.client.budget.spend(1)
    first = talk.send(0.0)
    talk.answer(first, 0.25, AnswerKind.BUSY)
    assert talk.run_out(0.25) == ([], 31.0)
    assert talk.exchange.failure is Failure.BUSY
    assert talk.client.budget.withheld == 4
    assert talk.client.window.size == 64
    talk.exchange = talk.ask()
    first = talk.send(40.0)
    talk.answer(first, 40.25, AnswerKind.BUSY)
    assert talk.exchange.next_attempt(41.0) is None
    assert talk.exchange.next_timeout(41.0) == 2.0
    talk.answer(first, 41.5)
    assert talk.exchange.outcome is not None


def test_budget_is_for_servers_that_said_busy_only() -> None:
    """C6: what was lost is sent again as ever, and another server is asked when it is its turn."""
    talk = Talk(A)
    for _ in range(RESERVE):
        talk.client.budget.spend(1)
    assert len(talk.run_out(0.0)[0]) == 5
    talk = Talk(A, B)
    for _ in range(RESERVE):
        talk.client.budget.spend(1)
    talk.answer(talk.send(0.0), 0.25, AnswerKind.BUSY)
    attempts, _ = talk.run_out(0.25)
    assert [attempt.peer for attempt in attempts] == [B] * 5


@given(st.lists(st.booleans(), min_size=1, max_size=300))
def test_requests_that_are_refused_are_sent_again_a_bounded_number_of_times(again: list[bool]) -> None:
    """C6: a busy server, and any number of requests that wait for all their turns or for none."""
    talk = Talk(A)
    transmissions = 0
    for requests, waits in enumerate(again, 1):
        talk.answer(talk.send(0.0), 0.0, AnswerKind.BUSY)
        if waits:
            transmissions += len(talk.run_out(0.0)[0])
        assert transmissions <= RESERVE + SHARE * requests
        talk.exchange.close()
        talk.exchange = talk.ask()
