"""The client's protocol around its exchanges: whose a datagram is, and what one request teaches the next."""

import math

import pytest

from trio_udp.proto import (
    BOOK,
    HEADER_SIZE,
    MAX_PAYLOAD,
    TU1,
    AnswerKind,
    Book,
    ClientProtocol,
    DropReason,
    Failure,
    PayloadTooLarge,
    Peer,
    Question,
    RetryPolicy,
    RTTEstimator,
    ServerProtocol,
    blake2b_seal,
)

from .talk import ONCE, PADDED_SIZE, STEADY, STRANGER, A, B, C, Honest, Talk


def test_measured_round_trip_shortens_the_next_requests_first_wait() -> None:
    """C1: 3 * 0.25 s after one sample of 0.25 s; a policy that is not adaptive stays as it is."""
    talk = Talk(A)
    talk.answer(talk.send(0.0), 0.25)
    assert talk.send(1.0, talk.ask()).wait == 0.75
    assert talk.send(1.0, talk.ask(BOOK)).wait == 0.1


def test_draw_stretches_the_waits() -> None:
    """C3: the first two random bytes place the request's factor within the jitter."""
    talk = Talk(A)
    policy = RetryPolicy(attempts=1)
    waits = []
    for draw in (b"\0\0", b"\x80\0", b"\xff\xff"):
        exchange = talk.client.open_exchange(b"", policy, draw + talk.random.randbytes(8))
        waits.append(talk.send(0.0, exchange).wait)
    assert waits == [1.0, 1.0 + 0.5 * 0x8000 / 0xFFFF, 1.5]


def test_second_answer_is_a_duplicate_and_an_answer_after_cancelling_is_late() -> None:
    """A3, A9."""
    talk = Talk(A)
    attempt = talk.send(0.0)
    talk.answer(attempt, 0.1, payload=b"first")
    assert talk.answer(attempt, 0.2, payload=b"second") is DropReason.DUPLICATE
    cancelled = talk.ask()
    attempt = talk.send(1.0, cancelled)
    cancelled.close()
    cancelled.close()  # as the shell does after every end
    assert talk.answer(attempt, 1.1) is DropReason.LATE
    assert (cancelled.outcome, cancelled.failure) == (None, None)
    assert talk.client.dropped == {DropReason.DUPLICATE: 1, DropReason.LATE: 1}


def test_datagrams_that_are_not_believed_are_counted_by_reason() -> None:
    """A1: from a stranger, malformed, for another request, for an attempt that was never made."""
    talk = Talk(A)
    data = bytearray(TU1().encode_answer(Question(talk.send(0.0).datagram[8:24], b"", 1, 0), AnswerKind.REPLY, b""))
    receive = talk.client.receive_datagram
    assert receive(bytes(data), STRANGER, 0.1) is DropReason.WRONG_PEER
    assert receive(b"FAKE", STRANGER, 0.1) is DropReason.WRONG_PEER
    assert receive(b"FAKE", A, 0.1) is DropReason.MALFORMED
    data[3] = 2
    assert receive(bytes(data), A, 0.1) is DropReason.UNKNOWN_REQUEST
    data[3], data[20] = 1, data[20] ^ 1
    assert receive(bytes(data), A, 0.1) is DropReason.UNKNOWN_REQUEST
    assert talk.client.dropped == {
        DropReason.WRONG_PEER: 2,
        DropReason.MALFORMED: 1,
        DropReason.UNKNOWN_REQUEST: 2,
    }
    assert not talk.exchange.news


def test_payload_over_the_limit_is_refused_before_anything_is_opened() -> None:
    """G1: the client's limit, or the format's where that is smaller."""
    talk = Talk(A)
    with pytest.raises(PayloadTooLarge) as caught:
        talk.ask(payload=bytes(1201))
    assert (caught.value.size, caught.value.limit) == (1201, 1200)
    assert len(talk.client.exchanges) == 1
    assert talk.ask(payload=bytes(1200)).payload == bytes(1200)
    assert ClientProtocol(TU1(), [A], random=bytes(8), max_payload=10**6).max_payload == MAX_PAYLOAD


@pytest.mark.parametrize("payload", ["text", bytearray(b"mutable"), memoryview(b"view"), None, 7])
def test_payload_that_is_not_bytes_is_refused_before_anything_is_opened(payload: object) -> None:
    """G1: by its type, so that no transmission differs from the one before, and no length counts other things."""
    talk = Talk(A)
    with pytest.raises(TypeError, match=f"^expected the payload to be bytes, got {type(payload).__name__}$"):
        talk.ask(payload=payload)  # type: ignore[arg-type]  # the point of the test
    assert len(talk.client.exchanges) == 1


def test_servers_and_their_random_bytes_have_to_agree_in_number() -> None:
    """A8: each server has an instance id of its own."""
    for number in (8, 9, 17):
        with pytest.raises(ValueError, match=f"expected 16 random bytes, got {number}"):
            ClientProtocol(TU1(), [A, B], random=bytes(number))
    client = ClientProtocol(TU1(), [A, B], random=b"a" * 8 + b"b" * 8)
    assert [(server.peer, server.instance) for server in client.servers] == [(A, b"a" * 8), (B, b"b" * 8)]
    assert client.random_size == 2 + 2 * 8


def test_request_whose_key_is_open_already_is_refused() -> None:
    """A9: with the book's format that is a second request to the same server."""
    talk = Talk(A, B, profile=Book())
    with pytest.raises(ValueError, match="already open"):
        talk.ask()
    assert len(talk.client.exchanges) == 2


def test_refused_request_leaves_nothing_in_the_table() -> None:
    """A9: also when the ids are good for one server and in use at another."""
    talk = Talk(A, B)
    keys = [asked.key[8:] for asked in talk.exchange._asked]
    with pytest.raises(ValueError, match="already open"):
        talk.client.open_exchange(b"", STEADY, bytes(2) + b"x" * 8 + keys[1])
    assert len(talk.client.exchanges) == 2


def test_client_learns_which_server_needs_room() -> None:
    """The next request to it is padded from the start, and to the other is not; its RETRY is then the last word."""
    talk = Talk(A, B)
    talk.answer(talk.send(0.0), 0.1, AnswerKind.RETRY)
    exchange = talk.ask()
    to_a, to_b = talk.send(1.0, exchange), talk.send(1.5, exchange)
    assert (to_a.peer, len(to_a.datagram)) == (A, PADDED_SIZE)
    assert (to_b.peer, len(to_b.datagram)) == (B, HEADER_SIZE + 8)
    talk.answer(to_a, 1.6, AnswerKind.RETRY)
    assert exchange.failure is None
    talk.answer(to_b, 1.7, AnswerKind.RETRY)
    talk.answer(talk.send(1.7, exchange), 1.8, AnswerKind.RETRY)
    assert exchange.failure is Failure.NO_ROOM


def test_room_is_asked_of_the_format_only_after_a_retry() -> None:
    """E4: whatever the format, a client pads no request that nobody wanted padded."""

    class Recording(TU1):
        """Remembers how much room was asked for."""

        def __init__(self) -> None:
            self.rooms: list[int] = []

        def encode_request(self, payload: bytes, key: bytes, attempt: int, room: int) -> bytes:
            self.rooms.append(room)
            return super().encode_request(payload, key, attempt, room)

    profile = Recording()
    talk = Talk(A, profile=profile)
    talk.send(0.0)
    talk.answer(talk.send(1.0), 1.25, AnswerKind.RETRY)
    talk.send(1.25)
    assert profile.rooms == [0, 0, PADDED_SIZE]


def test_each_server_is_asked_under_ids_of_its_own() -> None:
    """A8: one cannot answer for the other."""
    talk = Talk(A, B)
    to_a, to_b = talk.send(0.0), talk.send(0.5)
    assert to_a.datagram[8:16] != to_b.datagram[8:16]
    assert to_a.datagram[16:24] != to_b.datagram[16:24]
    assert talk.answer(to_a._replace(peer=B), 0.6) is DropReason.UNKNOWN_REQUEST


def test_server_that_answered_last_is_asked_first() -> None:
    """A dead server costs its share of the first wait once, not with every request."""
    talk = Talk(A, B, C)
    for turn in (0.0, 1 / 3):
        talk.send(turn)
    talk.answer(talk.send(2 / 3), 0.75)
    assert [server.peer for server in talk.client.servers] == [C, A, B]
    exchange = talk.ask(BOOK)
    asked = [talk.send(turn, exchange) for turn in (1.0, 1.0 + 0.1 / 3, 1.0 + 0.2 / 3)]
    assert [attempt.peer for attempt in asked] == [C, A, B]
    talk.answer(asked[0], 1.25)
    assert [server.peer for server in talk.client.servers] == [C, A, B]


def test_first_wait_is_as_long_as_the_slowest_server_needs() -> None:
    """C6: one that was never measured counts with the policy's first timeout."""
    talk = Talk(A, B, policy=RetryPolicy(initial=4.0, jitter=0.0))
    to_a, _ = talk.send(0.0), talk.send(2.0)
    talk.answer(to_a, 4.0)  # an RTO of 12 s
    exchange = talk.ask()
    assert talk.send(5.0, exchange).wait == 12.0
    to_b = talk.send(11.0, exchange)
    assert to_b.peer == B
    talk.answer(to_b, 11.125)  # an RTO of 0.375 s
    assert talk.send(12.0, talk.ask()).wait == 12.0
    talk.client.servers[1].estimator = RTTEstimator()
    assert talk.send(13.0, talk.ask()).wait == 1.0


def test_one_timer_does_for_all_requests() -> None:
    """C4: the first that has something to do says when to wake up; whose time has come has news, and then waits on."""
    talk = Talk(A, policy=ONCE)
    assert talk.client.next_due == math.inf
    slow, answered = talk.ask(), talk.ask()
    for exchange, now in ((talk.exchange, 0.0), (slow, 0.25), (answered, 0.125)):
        attempt = talk.send(now, exchange)
        assert exchange.next_attempt(now) is None
    assert talk.client.next_due == 1.0
    talk.answer(attempt, 0.5)
    assert talk.client.take_due(0.5) == []
    assert talk.client.take_due(1.0 - 1e-12) == [talk.exchange]
    assert talk.exchange.news
    assert talk.client.next_due == 1.25
    assert talk.exchange.next_attempt(1.0) is None
    assert (talk.exchange.failure, talk.exchange.news) == (Failure.NO_REPLY, False)
    assert talk.client.take_due(2.0) == [slow]
    talk.send(2.0, slow)
    assert slow.next_attempt(2.0) is None
    assert talk.client.next_due == 4.0
    slow.close()
    assert talk.client.next_due == math.inf


def test_request_that_is_told_something_waits_for_its_new_time_only() -> None:
    """C4: a server that is out brings the end nearer, and the timers know it; no news leave them as they are."""
    talk = Talk(A, B, policy=ONCE)
    talk.send(0.0)
    to_b = talk.send(0.5)
    for _ in range(2):
        assert talk.exchange.next_attempt(0.5) is None
        assert (talk.client.next_due, len(talk.client.timers)) == (1.5, 1)
    talk.answer(to_b, 0.75, AnswerKind.ERROR)
    assert talk.exchange.next_attempt(0.75) is None
    assert talk.client.next_due == 1.0


def test_hint_about_the_only_server_is_noted_and_changes_nothing() -> None:
    """G5: anyone can forge it."""
    talk = Talk(A)
    attempt = talk.send(0.0)
    assert talk.client.receive_hint(attempt.datagram, A, "ECONNREFUSED") is talk.exchange
    assert (talk.exchange.hint, talk.exchange.news, talk.exchange.failure) == ("ECONNREFUSED", False, None)
    assert talk.exchange.next_timeout(0.0) == 1.0
    assert [attempt.wait for attempt in talk.run_out(0.0)[0]] == [2.0, 4.0, 8.0, 16.0]


@pytest.mark.parametrize(
    ("quote", "peer"),
    [("own", STRANGER), ("own", B), ("junk", A), ("other", A), ("closed", A)],
)
def test_hint_that_quotes_no_open_request_to_that_peer_is_nobodys(quote: str, peer: Peer) -> None:
    """G5: the quoted ids and the address have to belong together."""
    talk = Talk(A, B)
    attempt = talk.send(0.0)
    closed = talk.ask()
    quotes = {
        "own": attempt.datagram,
        "junk": b"junk",
        "other": attempt.datagram[:16] + bytes(8),
        "closed": talk.send(0.0, closed).datagram,
    }
    closed.close()
    assert talk.client.receive_hint(quotes[quote], peer, "ECONNREFUSED") is None
    assert (talk.exchange.hint, talk.exchange.news, closed.hint) == (None, False, None)


def test_client_with_a_key_believes_only_what_that_vouches_for() -> None:
    """F1; `test_seal` has the rest. What has no tag is dropped as what it is, if it is no answer either."""
    old, new = blake2b_seal(1, bytes(16)), blake2b_seal(2, bytes(16))
    client = ClientProtocol(TU1(), [A], random=bytes(8), seal=old)
    exchange = client.open_exchange(b"question", STEADY, bytes(10))
    first, second = exchange.next_attempt(0.0), exchange.next_attempt(1.0)
    client.set_seal(new)
    assert client.is_keyed
    assert first is not None
    assert second is not None
    server = ServerProtocol(TU1(), seals=[old])
    question = server.receive_datagram(second.datagram)
    assert isinstance(question, Question)
    without = TU1().encode_answer(question, AnswerKind.REPLY, b"answer")
    data = server.reply(question, b"answer")[1]
    assert data is not None
    receive = client.receive_datagram
    assert receive(without, A, 1.1) is DropReason.BAD_SEAL
    assert receive(b"junk", A, 1.1) is DropReason.MALFORMED
    assert receive(data[:-1] + bytes((data[-1] ^ 1,)), A, 1.1) is DropReason.BAD_SEAL
    assert receive(data[:9] + b"?" + data[10:], A, 1.1) is DropReason.UNKNOWN_REQUEST
    assert receive(data, A, 1.1) is exchange
    assert exchange.outcome is not None
    assert exchange.outcome.authenticated


def test_key_is_refused_where_it_could_do_nothing() -> None:
    """By a format that has no room for a tag, and by a client that has begun without one."""
    with pytest.raises(ValueError, match="profile book has no room for a tag"):
        ClientProtocol(Book(), [A], random=bytes(8), seal=blake2b_seal(1, bytes(16)))
    with pytest.raises(ValueError, match="expected a client that was opened with a key"):
        Talk(A).client.set_seal(blake2b_seal(1, bytes(16)))
    assert not Talk(A).client.is_keyed


def test_book_request_that_is_not_text_is_refused_and_opens_nothing() -> None:
    """`ValueError` before anything is sent."""
    talk = Talk(A, profile=Book(), policy=BOOK)
    talk.exchange.close()
    with pytest.raises(ValueError, match="ASCII"):
        talk.ask(payload=b"\xff")
    assert len(talk.client.exchanges) == 0


# At most once


def test_format_without_a_word_for_it_cannot_ask_at_most_once() -> None:
    """Nothing is opened."""
    honest = Honest(A, profile=Book())
    with pytest.raises(ValueError, match="expected a profile that can say at most once, got book"):
        honest.ask()
    assert len(honest.client.exchanges) == 0


def test_cookie_is_shown_where_it_was_asked_for_and_in_requests_that_must_not_run_twice() -> None:
    """It takes 16 bytes: others do without."""
    honest = Honest(A)
    honest.converse(honest.ask(), 0.0)
    plain, once = honest.ask(at_most_once=False), honest.ask()
    sizes = [len(exchange.next_attempt(1.0).datagram) for exchange in (plain, once)]  # type: ignore[union-attr]  # sent
    assert sizes == [HEADER_SIZE + 8, HEADER_SIZE + 36 + 8]
    honest.converse(honest.ask(b"a longer question", at_most_once=False), 2.0, bytes(500))
    again = honest.ask(at_most_once=False).next_attempt(3.0)
    assert again is not None
    assert len(again.datagram) == HEADER_SIZE + 16 + 8


def test_cookie_is_left_out_where_a_cookie_and_a_number_have_no_room_beside_the_payload() -> None:
    """Such a request is still asked: without the cookie, of whoever answers without one."""
    honest = Honest(A)
    honest.client.max_payload = MAX_PAYLOAD
    honest.client.servers[0].needs_cookie = True
    honest.client.servers[0].cookie = bytes(16)
    for size, cookie in ((MAX_PAYLOAD - 36, 16), (MAX_PAYLOAD - 35, 0)):
        attempt = honest.ask(bytes(size), at_most_once=False).next_attempt(0.0)
        assert attempt is not None
        assert len(attempt.datagram) == HEADER_SIZE + cookie + size


@pytest.mark.parametrize("give_up_after", [None, 9.0])
def test_request_over_the_limit_is_held_and_released_by_the_oldest(give_up_after: float | None) -> None:
    """E2: at most 64 from the oldest on; who is released has news, and is told of once."""
    honest = Honest(A)
    honest.converse(honest.ask(), 0.0)
    exchanges = [honest.ask(policy=RetryPolicy(give_up_after=give_up_after)) for _ in range(66)]
    assert [exchange.next_attempt(1.0) is None for exchange in exchanges] == [False] * 64 + [True] * 2
    assert honest.client.next_due == (math.inf if give_up_after is None else 10.0)
    for exchange in exchanges[:2]:
        exchange.close()
    assert honest.client.take_released() == exchanges[-2:]
    assert (honest.client.take_released(), len(honest.client.held)) == ([], 0)
    assert all(exchange.next_attempt(2.0) for exchange in exchanges[-2:])


def test_payload_that_leaves_no_room_for_extensions_is_refused_or_goes_without() -> None:
    """G1: 36 bytes less than the format carries at most once; an ordinary request has no need of a cookie then."""
    honest = Honest(A)
    honest.converse(honest.ask(b"a longer question", at_most_once=False), 0.0, bytes(500))
    honest.client.max_payload = MAX_PAYLOAD
    with pytest.raises(PayloadTooLarge, match=f"at most {MAX_PAYLOAD - 36} bytes, got {MAX_PAYLOAD - 35}"):
        honest.ask(bytes(MAX_PAYLOAD - 35))
    longest = honest.ask(bytes(MAX_PAYLOAD - 36)).next_attempt(1.0)
    ordinary = honest.ask(bytes(MAX_PAYLOAD), at_most_once=False).next_attempt(1.0)
    assert longest is not None
    assert ordinary is not None
    assert len(longest.datagram) == len(ordinary.datagram) == HEADER_SIZE + MAX_PAYLOAD
