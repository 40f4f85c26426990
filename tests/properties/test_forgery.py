"""The client believes the reply and nothing else: forgeries of every kind, thrown at the core.

What holds without a key (A1): whatever is believed came from a peer that was asked, and is a message of this version,
in the answering direction, without flags, of exact length, with all 128 id bits of a request open to that very peer and
the number of an attempt that was made. So of one flipped bit in a genuine answer, every one in the header is noticed
but for two sorts, and none in the payload: the tests named `…cannot_be_told…` pin these. UDP's checksum notices such
accidents; against somebody who can see the request only a key helps.
"""

from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trio_udp.proto import (
    TU1,
    AnswerKind,
    Attempt,
    Book,
    ClientProtocol,
    DropReason,
    Exchange,
    ExchangeTable,
    Failure,
    Peer,
    Profile,
    Question,
    RetryPolicy,
)

from .forge import KINDS, Forgery, Target, datagrams, forged_replies, verdict
from .paper_shell import Event, Sent, run

SERVER: Peer = ("192.0.2.53", 1060)
OTHER_SERVER: Peer = ("2001:db8::53", 1060)
STRANGER: Peer = ("198.51.100.7", 1060)
STEADY = RetryPolicy(jitter=0.0)

randoms = st.randoms(use_true_random=False)
payloads = st.binary(min_size=1, max_size=64)


def answer_to(datagram: bytes, kind: AnswerKind = AnswerKind.REPLY, payload: bytes = b"") -> bytes:
    """What an honest server of our own format says to this request."""
    question = TU1().decode_question_untrusted(datagram)
    assert isinstance(question, Question)
    return TU1().encode_answer(question, kind, payload)


class Scene:
    """A client, and one request of it that is under way."""

    def __init__(
        self, *, peers: Sequence[Peer] = (SERVER,), made: int = 1, profile: Profile | None = None, seed: int = 1
    ) -> None:
        self.random = Random(seed)
        self.client = ClientProtocol(profile or TU1(), peers, random=self.random.randbytes(8 * len(peers)))
        self.exchange = self.ask()
        self.now = 0.0
        self.times: list[float] = []
        self.sent = [self.send() for _ in range(made)]

    def ask(self, policy: RetryPolicy = STEADY) -> Exchange:
        """Open a request."""
        return self.client.open_exchange(b"question", policy, self.random.randbytes(self.client.random_size))

    def send(self, exchange: Exchange | None = None) -> Attempt:
        """Wait until the next transmission is due, make it, and let a quarter of a second go by."""
        exchange = exchange or self.exchange
        self.now += exchange.next_timeout(self.now)
        attempt = exchange.next_attempt(self.now)
        assert attempt is not None
        self.times.append(self.now)
        self.now += 0.25
        return attempt

    def target(self, payload: bytes = b"answer") -> Target:
        """The last transmission, for a forger to aim at."""
        attempt = self.sent[-1]
        made = attempt.number
        return Target(attempt.datagram, answer_to(attempt.datagram, payload=payload), attempt.peer, made)

    def state(self) -> object:
        """All that a datagram might change, but for the counters."""
        exchange, client = self.exchange, self.client
        return (
            [getattr(exchange, name) for name in ("outcome", "failure", "news", "hint", "attempts", "payload")],
            (exchange.is_over, exchange.next_timeout(self.now), exchange._ends),
            [(a.failure, a.padded_from, a.is_asked_again, a.due, a.step, list(a.sent)) for a in exchange._asked],
            [(s.peer, s.instance, s.needs_room, s.needs_cookie, s.cookie, s.ledger.token) for s in client.servers],
            [(s.estimator.srtt, s.estimator.rttvar) for s in client.servers],
            len(client.exchanges),
        )

    def assert_ignores(self, forgery: Forgery) -> None:
        """Throw it at the client: it is counted under its reason, and nothing else happens."""
        state, counted = self.state(), self.client.dropped.copy()
        assert self.client.receive_datagram(forgery.data, forgery.peer, self.now) is forgery.reason
        counted[forgery.reason] += 1
        assert self.client.dropped == counted
        assert self.state() == state
        assert self.exchange.outcome is None

    def assert_believes(self, data: bytes, peer: Peer, payload: bytes) -> None:
        """This is the real one."""
        assert self.client.receive_datagram(data, peer, self.now) is self.exchange
        assert self.exchange.outcome is not None
        assert (self.exchange.outcome.payload, self.exchange.outcome.peer) == (payload, peer)
        assert self.exchange.news
        assert self.exchange.next_attempt(self.now) is None
        assert self.exchange.failure is None


# One forgery, many forgeries


@pytest.mark.parametrize("kind", KINDS)
@given(random=randoms, made=st.integers(1, 5), payload=payloads)
def test_client_ignores_every_kind_of_forgery_and_believes_the_real_reply_after_it(
    kind: str, random: Random, made: int, payload: bytes
) -> None:
    """A1, A2: counted under the right reason, nothing changes, and the reply is still believed."""
    scene = Scene(made=made)
    target = scene.target(payload)
    scene.assert_ignores(KINDS[kind](target, random))
    scene.assert_believes(target.reply, SERVER, payload)


@pytest.mark.hypothesis  # for the number of its forgeries is the profile's
def test_client_ignores_thousands_of_forgeries_before_the_real_reply() -> None:
    """A1: none is believed, each is counted, and the ten-thousandth datagram finds the request as open as the first."""
    scene, random = Scene(made=3), Random(20)
    target = scene.target()
    state = scene.state()
    thrown = settings().max_examples * 500  # 50,000 usually, a million under the deep profile
    kinds = list(KINDS.values())
    for number in range(thrown):
        data, peer, reason = kinds[number % len(kinds)](target, random)
        assert scene.client.receive_datagram(data, peer, scene.now) is reason
    assert scene.client.dropped.total() == thrown
    assert scene.state() == state
    scene.assert_believes(target.reply, SERVER, b"answer")


@given(data=st.data(), attempts=st.integers(1, 6))
def test_forgeries_never_move_the_schedule_or_the_deadline(data: st.DataObject, attempts: int) -> None:
    """A1, A2: with forgeries at any time, sends, waits and the end are those of a client that nobody attacks."""
    policy = RetryPolicy(jitter=0.0, attempts=attempts)
    quiet, attacked = Scene(made=0), Scene(made=0)
    undisturbed = run(quiet.ask(policy))
    times = data.draw(st.lists(st.floats(0, undisturbed.ended), max_size=20).map(sorted))

    def attack(sent: Sent) -> list[Event]:
        target = Target(sent.attempt.datagram, answer_to(sent.attempt.datagram, payload=b"x"), SERVER, attempts)

        def throw(now: float) -> None:
            forgery = data.draw(forged_replies(target))
            assert attacked.client.receive_datagram(forgery.data, forgery.peer, now) is forgery.reason

        return [Event(at, throw) for at in times if sent.at <= at <= sent.at + sent.attempt.wait]

    exchange = attacked.ask(policy)
    assert run(exchange, on_send=attack) == undisturbed
    assert exchange.failure is Failure.NO_REPLY


# Mutated bits anywhere


@given(
    edits=st.lists(st.tuples(st.integers(0, 40), st.integers(1, 255)), min_size=1, max_size=6),
    cut=st.integers(-3, 3),
    kind=st.sampled_from(AnswerKind),
    made=st.integers(1, 4),
)
def test_mutated_answer_is_believed_only_where_all_that_the_format_checks_is_right(
    edits: list[tuple[int, int]], cut: int, kind: AnswerKind, made: int
) -> None:
    """A1: a second reading of the format agrees on every mutation, and what is believed has everything right."""
    scene = Scene(made=made)
    request = scene.sent[-1].datagram
    genuine = answer_to(request, kind, b"payload" if kind is AnswerKind.REPLY else b"")
    mutated = bytearray(genuine[:cut] if cut < 0 else genuine + bytes(cut))
    for offset, mask in edits:
        if offset < len(mutated):
            mutated[offset] ^= mask
    data = bytes(mutated)
    expected = verdict(data, request[8:24], made)
    found = scene.client.receive_datagram(data, SERVER, scene.now)
    if expected is None:
        assert found is scene.exchange
        version, kind_byte, flags, attempt, key_id, reserved = data[:6]
        assert (version, flags, key_id, reserved) == (9, 0, 0, 0)
        assert kind_byte in (0x81, 0x82, 0x84, 0x87, 0x88)
        assert 1 <= attempt <= made
        assert int.from_bytes(data[6:8], "big") == len(data) - 24
        assert data[8:24] == genuine[8:24]
    else:
        assert found is expected


@given(data=datagrams(), made=st.integers(1, 3))
def test_arbitrary_datagram_is_judged_as_a_second_reading_of_the_format_judges_it(data: bytes, made: int) -> None:
    """A1: also for bytes that have nothing to do with the request; none of them knows the 128 bits."""
    scene = Scene(made=made)
    reason = verdict(data, scene.sent[-1].datagram[8:24], made)
    assert reason is not None
    scene.assert_ignores(Forgery(data, SERVER, reason))


ANSWERS = {
    0x81: (AnswerKind.REPLY, b"payload"),
    0x82: (AnswerKind.RETRY, b""),
    0x84: (AnswerKind.BUSY, b""),
    0x87: (AnswerKind.ERROR, b""),
    0x88: (AnswerKind.OUTCOME_UNKNOWN, b""),
}


@pytest.mark.parametrize("code", ANSWERS)
def test_every_single_flipped_header_bit_but_attempt_and_type_drops_the_answer(code: int) -> None:
    """A1: all 176 other bits, exhaustively; type and attempt have tests of their own."""
    scene = Scene(made=1)
    kind, payload = ANSWERS[code]
    genuine = answer_to(scene.sent[0].datagram, kind, payload)
    fields = {
        DropReason.WRONG_VERSION: range(8),
        DropReason.MALFORMED: [*range(16, 24), *range(32, 64)],
        DropReason.UNKNOWN_REQUEST: range(64, 192),
    }
    for reason, bits in fields.items():
        for bit in bits:
            mutated = bytearray(genuine)
            mutated[bit // 8] ^= 0x80 >> bit % 8
            scene.assert_ignores(Forgery(bytes(mutated), SERVER, reason))


@pytest.mark.parametrize("code", ANSWERS)
def test_every_single_flipped_bit_of_the_type_drops_the_answer(code: int) -> None:
    """A1: no flipped bit turns one kind of answer into another, be it without payload."""
    scene = Scene(made=1)
    kind, payload = ANSWERS[code]
    genuine = answer_to(scene.sent[0].datagram, kind, payload)
    for bit in range(8):
        flipped = code ^ 1 << bit
        reason = DropReason.WRONG_DIRECTION if flipped == 0x01 else DropReason.MALFORMED
        scene.assert_ignores(Forgery(genuine[:1] + bytes([flipped]) + genuine[2:], SERVER, reason))


@given(bit=st.integers(0, 8 * 7 - 1))
def test_flipped_payload_bit_cannot_be_told_without_a_key(bit: int) -> None:
    """Pinned, not promised: the payload is the user's, and this format has no checksum of its own."""
    scene = Scene()
    data = bytearray(scene.target(b"payload").reply)
    data[24 + bit // 8] ^= 1 << bit % 8
    scene.assert_believes(bytes(data), SERVER, bytes(data[24:]))


@given(made=st.integers(1, 5), bit=st.integers(0, 7))
def test_flipped_attempt_bit_is_told_unless_that_attempt_was_made_too(made: int, bit: int) -> None:
    """A1; pinned, not promised: where it was made the reply is believed, and only the RTT sample is wrong."""
    scene = Scene(made=made)
    data = bytearray(scene.target(b"payload").reply)
    data[3] ^= 1 << bit
    attempt = data[3]
    if 1 <= attempt <= made:
        scene.assert_believes(bytes(data), SERVER, b"payload")
        assert scene.exchange.outcome is not None
        assert scene.exchange.outcome.rtt == scene.now - scene.times[attempt - 1]
    else:
        reason = DropReason.UNKNOWN_REQUEST if attempt else DropReason.MALFORMED
        scene.assert_ignores(Forgery(bytes(data), SERVER, reason))


@given(payload=st.binary(max_size=64))
def test_forger_who_saw_the_request_cannot_be_told_without_a_key(payload: bytes) -> None:
    """Pinned, not promised (F8): with the right source and all ids, the first to answer is believed."""
    scene = Scene()
    scene.assert_believes(answer_to(scene.sent[0].datagram, payload=payload), SERVER, payload)


# Ids that were good, or are good elsewhere


@given(reply=payloads, copies=st.integers(1, 5))
def test_replayed_reply_is_a_duplicate_and_completes_nothing_again(reply: bytes, copies: int) -> None:
    """A3: exactly one outcome, whatever comes after it with the same ids."""
    scene = Scene(made=2)
    first, second = (answer_to(sent.datagram, payload=reply) for sent in scene.sent)
    scene.assert_believes(first, SERVER, reply)
    outcome = scene.exchange.outcome
    for copy in [first, second, answer_to(scene.sent[0].datagram, payload=b"something else")] * copies:
        assert scene.client.receive_datagram(copy, SERVER, scene.now) is DropReason.DUPLICATE
    assert scene.exchange.outcome is outcome
    assert scene.client.dropped == {DropReason.DUPLICATE: 3 * copies}


@given(kind=st.sampled_from(AnswerKind), rounds=st.integers(1, 5))
def test_answer_to_an_earlier_request_never_answers_this_one(kind: AnswerKind, rounds: int) -> None:
    """A1, A3: a stale id, replayed against each later request of the same client to the same server."""
    scene = Scene()
    stale = answer_to(scene.sent[0].datagram, kind)
    scene.assert_believes(answer_to(scene.sent[0].datagram, payload=b"old"), SERVER, b"old")
    for _ in range(rounds):
        scene.exchange = scene.ask()
        scene.sent = [scene.send()]
        scene.assert_ignores(Forgery(stale, SERVER, DropReason.DUPLICATE))
        target = scene.target()
        scene.assert_believes(target.reply, SERVER, b"answer")


@given(kind=st.sampled_from(AnswerKind), made=st.integers(1, 4))
def test_answer_to_a_cancelled_request_is_late_and_never_delivered(kind: AnswerKind, made: int) -> None:
    """A9: the entry is gone at once, and a late answer changes neither the old request nor a new one."""
    scene = Scene(made=made)
    cancelled, late = scene.exchange, [answer_to(sent.datagram, kind) for sent in scene.sent]
    cancelled.close()
    assert len(scene.client.exchanges) == 0
    scene.exchange = scene.ask()
    scene.sent = [scene.send()]
    for data in late:
        scene.assert_ignores(Forgery(data, SERVER, DropReason.LATE))
    assert cancelled.outcome is None
    assert cancelled.failure is None
    scene.assert_believes(scene.target().reply, SERVER, b"answer")


def test_reply_to_one_request_leaves_a_request_opened_beside_it_open() -> None:
    """A1: with many requests to one server, each reply completes its own, in any order."""
    scene = Scene(made=0)
    exchanges = [scene.ask() for _ in range(50)]
    attempts = [scene.send(exchange) for exchange in exchanges]
    order = list(range(50))
    Random(3).shuffle(order)
    for done, i in enumerate(order, start=1):
        reply = answer_to(attempts[i].datagram, payload=b"%d" % i)
        assert scene.client.receive_datagram(reply, SERVER, scene.now) is exchanges[i]
        assert sum(exchange.outcome is not None for exchange in exchanges) == done
    assert [e.outcome and e.outcome.payload for e in exchanges] == [b"%d" % i for i in range(50)]


@given(kind=st.sampled_from(AnswerKind))
def test_answer_to_another_client_of_the_same_server_is_unknown(kind: AnswerKind) -> None:
    """A1: the instance id is another, and so is the request id."""
    scene, neighbour = Scene(seed=1), Scene(seed=2)
    data = answer_to(neighbour.sent[0].datagram, kind)
    scene.assert_ignores(Forgery(data, SERVER, DropReason.UNKNOWN_REQUEST))
    scene.assert_believes(scene.target().reply, SERVER, b"answer")


@given(kind=st.sampled_from(AnswerKind), payload=payloads)
def test_one_server_cannot_answer_for_another(kind: AnswerKind, payload: bytes) -> None:
    """A8: server A has seen its own request and knows B's address; neither lets it speak as B, nor B's ids as A."""
    scene = Scene(peers=(SERVER, OTHER_SERVER), made=2)
    to_a, to_b = scene.sent
    assert (to_a.peer, to_b.peer) == (SERVER, OTHER_SERVER)
    as_a = answer_to(to_a.datagram, kind, payload if kind is AnswerKind.REPLY else b"")
    as_b = answer_to(to_b.datagram, kind, payload if kind is AnswerKind.REPLY else b"")
    mixed = as_a[:8] + to_b.datagram[8:16] + as_a[16:]
    for data, peer in ((as_a, OTHER_SERVER), (as_b, SERVER), (mixed, SERVER), (mixed, OTHER_SERVER)):
        scene.assert_ignores(Forgery(data, peer, DropReason.UNKNOWN_REQUEST))
    scene.assert_believes(answer_to(to_b.datagram, payload=payload), OTHER_SERVER, payload)
    late = answer_to(to_a.datagram, kind)
    assert scene.client.receive_datagram(late, SERVER, scene.now) is DropReason.LATE


@given(seed=st.integers(0, 2**32))
def test_requests_and_servers_share_no_ids(seed: int) -> None:
    """A5, A8, A9: each server has its own instance id, each request to each server its own id, all from the draw."""
    scene = Scene(peers=(SERVER, OTHER_SERVER, STRANGER), made=0, seed=seed)
    sent = [scene.send(exchange) for exchange in [scene.ask() for _ in range(5)] for _ in range(3)]
    assert len({attempt.datagram[16:24] for attempt in sent}) == 15
    assert {attempt.datagram[8:16] for attempt in sent if attempt.peer == SERVER} == {scene.client.servers[0].instance}
    assert len({(attempt.peer, attempt.datagram[8:16]) for attempt in sent}) == 3


def test_answer_before_anything_was_sent_is_unknown() -> None:
    """A1: an open request that was not transmitted yet has nothing to be answered."""
    scene = Scene(made=1)
    waiting = scene.ask()
    key = waiting._asked[0].key
    data = bytes([9, 0x81, 0, 1, 0, 0, 0, 0]) + key
    scene.assert_ignores(Forgery(data, SERVER, DropReason.UNKNOWN_REQUEST))
    assert waiting.outcome is None


# What closing remembers


@given(requests=st.integers(1, 60), remembered=st.integers(0, 20), replay=st.data())
def test_memory_of_closed_requests_is_bounded_and_forgetting_changes_only_the_counter(
    requests: int, remembered: int, replay: st.DataObject
) -> None:
    """A9: beyond the bound a late answer is `unknown_request` instead of `late`, and is delivered just as little."""
    scene = Scene(made=0)
    scene.exchange.close()
    table: ExchangeTable[object] = ExchangeTable([SERVER], remembered=remembered)
    scene.client.exchanges = table  # type: ignore[assignment]  # the same table with a smaller memory
    answers = []
    for _ in range(requests):
        exchange = scene.ask()
        answers.append(answer_to(scene.send(exchange).datagram, payload=b"late"))
        exchange.close()
        assert len(table._closed) <= remembered
        assert len(table) == 0
    number = replay.draw(st.integers(0, requests - 1))
    kept = number >= requests - remembered
    expected = DropReason.LATE if kept else DropReason.UNKNOWN_REQUEST
    assert scene.client.receive_datagram(answers[number], SERVER, scene.now) is expected


@given(random=randoms, count=st.integers(0, 200))
def test_no_datagram_makes_the_client_remember_anything(random: Random, count: int) -> None:
    """A9, E7: tables are filled by what the client opens, never by what a stranger sends."""
    scene = Scene(peers=(SERVER, OTHER_SERVER))
    target, kinds = scene.target(), list(KINDS.values())
    for _ in range(count):
        data, peer, _ = random.choice(kinds)(target, random)
        scene.client.receive_datagram(data, peer, scene.now)
        scene.client.receive_hint(data, peer, "ECONNREFUSED")
    table = scene.client.exchanges
    assert (len(table), len(table._closed), set(table._open)) == (2, 0, {SERVER, OTHER_SERVER})
    assert set(scene.client.dropped) <= set(DropReason)


# Hints: what ICMP says, which anyone can forge


junk_quotes = datagrams() | st.just(b"")


@given(data=st.data(), attempts=st.integers(1, 5))
def test_no_mixture_of_junk_and_hints_changes_anything_for_the_only_server(data: st.DataObject, attempts: int) -> None:
    """A2, G5: junk, hints with arbitrary quotes and hints with the real quote, at any time, in any order."""
    policy = RetryPolicy(jitter=0.0, attempts=attempts)
    quiet, attacked = Scene(made=0), Scene(made=0)
    undisturbed = run(quiet.ask(policy))
    times = data.draw(st.lists(st.floats(0, undisturbed.ended), max_size=15))
    exchange = attacked.ask(policy)
    requests: list[bytes] = []

    def attack(now: float) -> None:
        peer = data.draw(st.sampled_from([SERVER, OTHER_SERVER, STRANGER]))
        quote = data.draw(junk_quotes | st.sampled_from(requests))
        hinted = attacked.client.receive_hint(quote, peer, "ECONNREFUSED")
        assert hinted is (exchange if quote in requests and peer == SERVER else None)
        assert isinstance(attacked.client.receive_datagram(data.draw(datagrams()), peer, now), DropReason)
        assert exchange.failure is None

    def note(sent: Sent) -> list[Event]:
        requests.append(sent.attempt.datagram)
        return []

    assert run(exchange, [Event(at, attack) for at in times], on_send=note) == undisturbed
    assert exchange.failure is Failure.NO_REPLY
    assert exchange.outcome is None


@given(data=st.data(), servers=st.integers(2, 4), attempts=st.integers(1, 3))
def test_no_mixture_of_junk_and_hints_ends_a_request_to_several_servers(
    data: st.DataObject, servers: int, attempts: int
) -> None:
    """A2, G5: every server is still asked as often, and the end comes when the last of them was waited for."""
    policy = RetryPolicy(jitter=0.0, attempts=attempts)
    scene = Scene(peers=[(f"192.0.2.{i}", 1060) for i in range(servers)], made=0)
    exchange = scene.ask(policy)
    requests: list[tuple[bytes, Peer]] = []

    def attack(now: float) -> None:
        quote, peer = data.draw(st.sampled_from(requests))
        scene.client.receive_hint(quote, peer, "EHOSTUNREACH")
        scene.client.receive_datagram(data.draw(datagrams()), peer, now)
        if data.draw(st.booleans()):
            exchange.take_hint("ENOBUFS")
        assert exchange.failure is None

    def note(sent: Sent) -> list[Event]:
        requests.append((sent.attempt.datagram, sent.attempt.peer))
        return [Event(sent.at + data.draw(st.floats(0, 8)), attack) for _ in range(data.draw(st.integers(0, 2)))]

    sent, ended = run(exchange, on_send=note)
    assert exchange.failure is Failure.NO_REPLY
    assert len(sent) == servers * attempts
    last_turn = max(at for at, attempt in sent if attempt.number == 1)
    assert ended == pytest.approx(last_turn + sum(policy.waits()))


@given(event=st.sampled_from([AnswerKind.ERROR, AnswerKind.RETRY, AnswerKind.BUSY]), random=randoms, payload=payloads)
def test_only_an_answer_with_all_ids_right_can_refuse_a_request(
    event: AnswerKind, random: Random, payload: bytes
) -> None:
    """A2: a refusal is checked as a reply is; each kind of forged refusal is ignored."""
    scene = Scene(made=2)
    target = scene.target(payload)
    refusal = answer_to(target.request, event)
    spoilt = [
        Forgery(refusal, STRANGER, DropReason.WRONG_PEER),
        Forgery(refusal + b"\0", SERVER, DropReason.MALFORMED),
        Forgery(refusal[:-1], SERVER, DropReason.MALFORMED),
        Forgery(refusal[:23] + bytes([refusal[23] ^ random.randint(1, 255)]), SERVER, DropReason.UNKNOWN_REQUEST),
        Forgery(refusal[:3] + bytes([random.randint(3, 255)]) + refusal[4:], SERVER, DropReason.UNKNOWN_REQUEST),
    ]
    for forgery in spoilt:
        scene.assert_ignores(forgery)
    scene.assert_believes(target.reply, SERVER, payload)


# The book's format, which has no ids


@given(text=st.text(st.characters(max_codepoint=127)).map(str.encode), random=randoms)
def test_book_client_checks_the_source_and_that_it_is_text(text: bytes, random: Random) -> None:
    """The book's FAKE, from another socket: `wrong_peer`. That is all this format can check."""
    scene = Scene(profile=Book())
    for peer in ((SERVER[0], SERVER[1] ^ random.randint(1, 65_535)), STRANGER):
        scene.assert_ignores(Forgery(text, peer, DropReason.WRONG_PEER))
    byte = bytes([random.randint(128, 255)])
    scene.assert_ignores(Forgery(text + byte, SERVER, DropReason.MALFORMED))
    scene.assert_believes(text, SERVER, text)
    outcome = scene.exchange.outcome
    assert scene.client.receive_datagram(b"another", SERVER, scene.now) is DropReason.DUPLICATE  # A3
    assert scene.exchange.outcome is outcome


def test_book_client_ignores_text_that_comes_before_it_asked() -> None:
    """Opened and not yet sent, or not opened at all: nothing is there to be answered."""
    scene = Scene(profile=Book(), made=0)
    scene.assert_ignores(Forgery(b"FAKE", SERVER, DropReason.UNKNOWN_REQUEST))
    scene.exchange.close()
    assert scene.client.receive_datagram(b"FAKE", SERVER, 0.0) is DropReason.LATE


def test_forged_source_cannot_be_told_by_the_book() -> None:
    """Pinned, not promised (`verified: weak`): nothing in the text says whose it is."""
    Scene(profile=Book()).assert_believes(b"FAKE", SERVER, b"FAKE")


def test_own_request_reflected_cannot_be_told_by_the_book() -> None:
    """Pinned, not promised (`verified: weak`): there is no direction bit."""
    scene = Scene(profile=Book())
    scene.assert_believes(scene.sent[0].datagram, SERVER, b"question")


def test_late_answer_to_the_last_request_cannot_be_told_by_the_book() -> None:
    """Pinned, not promised (`verified: weak`): it passes for the answer to this one."""
    scene = Scene(profile=Book())
    scene.exchange.close()
    scene.exchange = scene.ask()
    scene.send()
    scene.assert_believes(b"the answer to the last one", SERVER, b"the answer to the last one")


@given(quote=datagrams())
def test_hint_about_anything_cannot_be_told_by_the_book_and_still_ends_nothing(quote: bytes) -> None:
    """A2, G5; pinned: the format has no ids to quote, so every hint about that peer is about the open request."""
    scene = Scene(profile=Book())
    assert scene.client.receive_hint(quote, SERVER, "ECONNREFUSED") is scene.exchange
    assert scene.exchange.failure is None
    scene.assert_believes(b"text", SERVER, b"text")
