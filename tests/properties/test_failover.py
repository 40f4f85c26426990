"""Several servers: who is asked when, who may end what, and that no server is pestered (C6, A8)."""

import itertools
from collections import Counter
from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trio_udp.proto import TU1, AnswerKind, ClientProtocol, Exchange, Failure, Peer, Question, RetryPolicy

from .paper_shell import Event, Run, Sent, run

STEADY = RetryPolicy(jitter=0.0, attempts=4)
ONCE = RetryPolicy(jitter=0.0, attempts=1)
WAITS = list(STEADY.waits())
server_counts = st.integers(1, 6)


class Servers:
    """A client of some servers, and the servers' pen."""

    def __init__(self, count: int) -> None:
        self.random = Random(1)
        self.peers: list[Peer] = [(f"192.0.2.{i + 1}", 1060) for i in range(count)]
        self.client = ClientProtocol(TU1(), self.peers, random=self.random.randbytes(8 * count))

    def ask(self, policy: RetryPolicy = STEADY) -> Exchange:
        """Open a request."""
        return self.client.open_exchange(b"question", policy, self.random.randbytes(self.client.random_size))

    def answer(self, sent: Sent, kind: AnswerKind, delay: float) -> Event:
        """The server's answer to this transmission, some time later."""
        question = TU1().decode_question_untrusted(sent.attempt.datagram)
        assert isinstance(question, Question)
        payload = sent.attempt.peer[0].encode() if kind is AnswerKind.REPLY else b""
        data = TU1().encode_answer(question, kind, payload)
        return Event(sent.at + delay, lambda now: self.client.receive_datagram(data, sent.attempt.peer, now))

    def hint(self, sent: Sent, delay: float) -> Event:
        """An ICMP error about this transmission, some time later."""
        quote, peer = sent.attempt.datagram, sent.attempt.peer
        return Event(sent.at + delay, lambda now: self.client.receive_hint(quote, peer, "ECONNREFUSED"))


def order(finished: Run) -> list[Peer]:
    """Who was asked, one after the other."""
    return [sent.attempt.peer for sent in finished.sent]


def times(finished: Run, peer: Peer) -> list[float]:
    """When that server was asked."""
    return [sent.at for sent in finished.sent if sent.attempt.peer == peer]


# Silence


@given(count=server_counts, attempts=st.integers(1, 5), start=st.floats(0.0, 1e7))
def test_first_turns_are_spread_over_the_first_wait_and_each_server_has_the_whole_schedule(
    count: int, attempts: int, start: float
) -> None:
    """C6, C4: in order of preference; the end comes when the last was waited for; Trio's clock starts anywhere."""
    servers, policy = Servers(count), RetryPolicy(jitter=0.0, attempts=attempts)
    exchange = servers.ask(policy)
    finished = run(exchange, start=start)
    waits = list(policy.waits())
    first_turns = [waits[0] * i / count for i in range(count)]
    for peer, first in zip(servers.peers, first_turns, strict=True):
        asked = [at - start for at in times(finished, peer)]
        assert asked == pytest.approx(list(itertools.accumulate(waits[:-1], initial=first)), abs=1e-6)
    assert finished.ended - start == pytest.approx(first_turns[-1] + sum(waits), abs=1e-6)
    assert (exchange.failure, exchange.attempts) == (Failure.NO_REPLY, count * attempts)


@given(count=server_counts, give_up_after=st.floats(0.01, 40.0), start=st.floats(0.0, 1e6))
def test_giving_up_after_is_exact_with_any_number_of_servers(count: int, give_up_after: float, start: float) -> None:
    """C4: nothing is sent at that time or later, whosever turn it is."""
    servers = Servers(count)
    exchange = servers.ask(RetryPolicy(jitter=0.0, give_up_after=give_up_after))
    finished = run(exchange, start=start)
    undisturbed = (count - 1) / count * min(1.0, give_up_after) + 31.0
    assert finished.ended - start == pytest.approx(min(give_up_after, undisturbed), abs=1e-6)
    assert all(sent.at - start < give_up_after for sent in finished.sent)
    assert exchange.failure is Failure.NO_REPLY


# Anything else

KINDS_OF_NEWS = ["silence", "hint", "reply", "busy", "error", "send error"]

Script = list[tuple[str, float, int]]
scripts = st.lists(st.tuples(st.sampled_from(KINDS_OF_NEWS), st.floats(0.0, 4.0), st.integers(1, 3)), max_size=30)
"""What comes of one transmission, in the order in which they are made: what, after how long, and how many copies."""


def play(servers: Servers, exchange: Exchange, script: Script, quiet: Peer | None = None) -> tuple[Run, Counter[str]]:
    """Run the request with the n-th line of the script for its n-th transmission, and silence after the last line."""
    lines, happened = iter(script), Counter[str]()

    def on_send(sent: Sent) -> list[Event]:
        what, delay, copies = next(lines, ("silence", 0.0, 1))
        if sent.attempt.peer == quiet:
            what = "silence"
        happened[what] += 1
        match what:
            case "hint":
                return [servers.hint(sent, delay + i) for i in range(copies)]
            case "reply" | "busy" | "error":
                return [servers.answer(sent, AnswerKind(what), delay + i) for i in range(copies)]
            case "send error":
                exchange.take_hint("ENOBUFS")
        return []

    return run(exchange, on_send=on_send), happened


@given(count=st.integers(2, 4), script=scripts, silent=st.integers(0, 3))
@example(count=2, script=[("silence", 0.0, 1), ("silence", 0.0, 1), ("hint", 0.0, 1)], silent=1)
@example(count=2, script=[("error", 0.75, 1)], silent=1)
@example(count=2, script=[("silence", 0.0, 1), ("error", 1.0, 1)], silent=0)
def test_silent_server_gets_its_schedule_whatever_becomes_of_the_others(
    count: int, script: Script, silent: int
) -> None:
    """C3, C6: never two datagrams in an RTO, and never less than the schedule unless the request is answered."""
    servers = Servers(count)
    quiet = servers.peers[silent % count]
    exchange = servers.ask()
    finished, _ = play(servers, exchange, script, quiet)
    asked = times(finished, quiet)
    gaps = [later - earlier for earlier, later in itertools.pairwise(asked)]
    assert gaps == pytest.approx(WAITS[: len(gaps)])
    if exchange.outcome is None:
        assert len(asked) == 4
        assert finished.ended >= asked[-1] + WAITS[-1] - 1e-6


@given(count=server_counts, script=scripts)
def test_no_server_is_asked_more_often_or_later_than_its_schedule_says(count: int, script: Script) -> None:
    """C4, C6: hints and refusals bring first turns forward, and do nothing else."""
    servers = Servers(count)
    finished, _ = play(servers, servers.ask(), script)
    for i, peer in enumerate(servers.peers):
        asked = times(finished, peer)
        gaps = [later - earlier for earlier, later in itertools.pairwise(asked)]
        assert gaps == pytest.approx(WAITS[: len(gaps)])
        assert len(asked) <= 4
        assert not asked or asked[0] <= WAITS[0] * i / count + 1e-6
    assert finished.ended <= WAITS[0] * (count - 1) / count + sum(WAITS) + 1e-6
    numbers = Counter[Peer]()
    for sent in finished.sent:
        numbers[sent.attempt.peer] += 1
        assert sent.attempt.number == numbers[sent.attempt.peer]


@given(count=server_counts, script=scripts)
@example(count=2, script=[("silence", 0.0, 1), ("error", 1.0, 1)])
def test_a_request_ends_early_only_by_a_reply_or_by_the_last_word_of_every_server(count: int, script: Script) -> None:
    """A2: hints, BUSY and lost sends never end it, nor does the ERROR of some."""
    servers = Servers(count)
    exchange = servers.ask()
    finished, happened = play(servers, exchange, script)
    everyone = {sent.attempt.peer for sent in finished.sent} == set(servers.peers)
    last_first_turn = max(sent.at for sent in finished.sent if sent.attempt.number == 1)
    if exchange.outcome is not None:
        assert happened["reply"]
        assert exchange.outcome.payload == exchange.outcome.peer[0].encode()
    elif happened["error"] < count:
        assert everyone
        assert exchange.failure in (Failure.NO_REPLY, Failure.BUSY, Failure.ERROR)
        assert exchange.failure is not Failure.ERROR or happened["error"]
        assert exchange.failure is not Failure.BUSY or happened["busy"]
        assert finished.ended >= sum(WAITS) - 1e-6
        assert happened["error"] or finished.ended == pytest.approx(last_first_turn + sum(WAITS))
    else:
        assert everyone


@given(count=st.integers(2, 6), script=scripts)
def test_every_server_is_asked_within_the_first_wait_unless_the_request_is_answered(count: int, script: Script) -> None:
    """A dead server costs a fraction of the first wait, whatever it or the network says."""
    servers = Servers(count)
    exchange = servers.ask()
    finished, _ = play(servers, exchange, script)
    asked = {sent.attempt.peer for sent in finished.sent if sent.at < WAITS[0]}
    assert asked == set(servers.peers) or (exchange.outcome is not None and finished.ended < WAITS[0])


@given(count=st.integers(2, 6), good=st.integers(0, 5), delay=st.floats(0.0, 0.9))
def test_one_good_server_among_dead_ones_answers_and_is_asked_first_next_time(
    count: int, good: int, delay: float
) -> None:
    """The first good answer wins; the one that answered last is preferred, the others keep their order."""
    servers = Servers(count)
    peer = servers.peers[good % count]
    exchange = servers.ask()
    finished = run(
        exchange,
        on_send=lambda sent: [servers.answer(sent, AnswerKind.REPLY, delay)] if sent.attempt.peer == peer else [],
    )
    assert exchange.outcome is not None
    assert exchange.outcome.peer == peer
    assert finished.ended == pytest.approx((good % count) / count + delay)
    others = [other for other in servers.peers if other != peer]
    assert [server.peer for server in servers.client.servers] == [peer, *others]
    assert order(run(servers.ask(ONCE))) == [peer, *others]


# Hints and refusals


@given(count=st.integers(2, 6), delay=st.floats(0.0, 0.01), kind=st.sampled_from(["hint", "busy", "error"]))
def test_refusals_of_dead_servers_move_on_to_the_living_one_at_once(count: int, delay: float, kind: str) -> None:
    """G5: with the quoted ids a hint fails over; so do BUSY and ERROR."""
    servers = Servers(count)
    exchange = servers.ask()

    def on_send(sent: Sent) -> list[Event]:
        if sent.attempt.peer == servers.peers[-1]:
            return [servers.answer(sent, AnswerKind.REPLY, delay)]
        return [servers.hint(sent, delay) if kind == "hint" else servers.answer(sent, AnswerKind(kind), delay)]

    finished = run(exchange, on_send=on_send)
    assert order(finished) == servers.peers
    assert exchange.outcome is not None
    assert finished.ended == pytest.approx(delay * count)


@given(count=server_counts, delay=st.floats(0.0, 0.1))
def test_busy_servers_are_asked_to_the_end_of_the_schedule(count: int, delay: float) -> None:
    """BUSY is an answer, and not the last word."""
    servers = Servers(count)
    exchange = servers.ask()
    finished = run(exchange, on_send=lambda sent: [servers.answer(sent, AnswerKind.BUSY, delay)])
    assert exchange.failure is Failure.BUSY
    assert Counter(order(finished)) == dict.fromkeys(servers.peers, 4)
    assert finished.ended == pytest.approx(delay * (count - 1) + sum(WAITS))


@given(count=server_counts, delay=st.floats(0.0, 0.1))
def test_request_fails_at_once_when_every_server_said_error(count: int, delay: float) -> None:
    """ERROR is a last word; each server has one."""
    servers = Servers(count)
    exchange = servers.ask()
    finished = run(exchange, on_send=lambda sent: [servers.answer(sent, AnswerKind.ERROR, delay)])
    assert exchange.failure is Failure.ERROR
    assert order(finished) == servers.peers
    assert finished.ended == pytest.approx(count * delay)


@given(data=st.data(), count=st.integers(2, 4))
def test_server_that_said_error_is_never_asked_again_whatever_else_arrives(data: st.DataObject, count: int) -> None:
    """ERROR is a server's last word: it stays so when an older BUSY or RETRY, or a copy of it, comes in behind."""
    servers = Servers(count)
    exchange = servers.ask()
    told: set[Peer] = set()
    kinds = st.sampled_from([AnswerKind.ERROR, AnswerKind.BUSY, AnswerKind.RETRY])

    def on_send(sent: Sent) -> list[Event]:
        assert sent.attempt.peer not in told
        events = []
        for kind in data.draw(st.lists(kinds, max_size=2)):
            events.append(servers.answer(sent, kind, data.draw(st.floats(0.0, 3.0))))
            if kind is AnswerKind.ERROR:
                events.append(Event(events[-1].at, lambda now: told.add(sent.attempt.peer)))
        return events

    run(exchange, on_send=on_send)
    assert exchange.outcome is None


@given(count=server_counts, delays=st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.7, 1.0]), min_size=6, max_size=6))
def test_every_server_that_wants_room_is_asked_once_more_with_room_even_if_several_say_so_at_once(
    count: int, delays: list[float]
) -> None:
    """RETRY: each is acted on, also when two are read in one batch; a wait as long as the first one follows it."""
    servers = Servers(count)
    exchange = servers.ask(ONCE)

    def on_send(sent: Sent) -> list[Event]:
        delay = delays[servers.peers.index(sent.attempt.peer)]
        return [servers.answer(sent, AnswerKind.RETRY, delay)] if sent.attempt.number == 1 else []

    finished = run(exchange, on_send=on_send)
    padded = [sent for sent in finished.sent if len(sent.attempt.datagram) == 24 + servers.client.max_payload]
    assert [sent.attempt.number for sent in padded] == [2] * count
    assert {sent.attempt.peer for sent in padded} == set(servers.peers)
    assert finished.ended == pytest.approx(padded[-1].at + 1.0)
