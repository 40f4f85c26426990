"""A client's core against a reference model, in every order of events that Hypothesis can think of.

The model knows little: which requests are open, what each server would answer to each transmission, and how each
request ended. The core has to agree after every step, while honest answers, duplicates, late ones, refusals, forgeries
and hints come in any order (A1, A2, A3, A8, A9).
"""

from random import Random
from typing import Final

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from trio_udp.proto import (
    TU1,
    AnswerKind,
    Attempt,
    ClientProtocol,
    DropReason,
    Exchange,
    ExchangeTable,
    Failure,
    Outcome,
    Peer,
    Question,
    RetryPolicy,
    ServerProtocol,
)

from .forge import KINDS, Target, datagrams

PEERS: Final[list[Peer]] = [("192.0.2.1", 1060), ("192.0.2.1", 1061), ("2001:db8::1", 1060)]
REMEMBERED: Final = 7
REFUSALS: Final = (AnswerKind.RETRY, AnswerKind.BUSY, AnswerKind.ERROR)


class Request:
    """What the model knows about one request."""

    def __init__(self, number: int, exchange: Exchange, policy: RetryPolicy) -> None:
        self.number = number
        self.exchange = exchange
        self.policy = policy
        self.outcome: Outcome | None = None
        self.is_open = True
        self.closed_before = 0
        """Table entries that were closed before this request's were."""

    def reply_from(self, peer: Peer) -> bytes:
        """What that server's handler makes of it, and no other server of no other request."""
        return b"reply to %d from %d" % (self.number, PEERS.index(peer))


class Transmission:
    """A datagram on its way, or at its server: it may be answered at any time, any number of times."""

    def __init__(self, request: Request, attempt: Attempt, at: float) -> None:
        self.request = request
        self.attempt = attempt
        self.at = at


class ClientMachine(RuleBasedStateMachine):
    """One client of up to three servers."""

    requests: Bundle[Request] = Bundle("requests")
    network: Bundle[Transmission] = Bundle("network")

    @initialize(servers=st.integers(1, len(PEERS)), seed=st.integers(0, 1000))
    def open_client(self, servers: int, seed: int) -> None:
        """Make the client, with a memory for closed keys that is soon full."""
        self.now = 0.0
        self.random = Random(seed)
        self.peers = PEERS[:servers]
        self.client = ClientProtocol(TU1(), self.peers, random=self.random.randbytes(8 * servers))
        self.client.exchanges = ExchangeTable(self.peers, remembered=REMEMBERED)
        self.server = ServerProtocol(TU1())
        self.all: list[Request] = []
        self.closed = 0
        self.dropped = 0

    # What the client does

    @rule(target=requests, attempts=st.integers(1, 3), give_up_after=st.none() | st.floats(0.1, 5))
    def ask(self, attempts: int, give_up_after: float | None) -> Request:
        """Open a request."""
        policy = RetryPolicy(attempts=attempts, give_up_after=give_up_after)
        draw = self.random.randbytes(self.client.random_size)
        request = Request(len(self.all), self.client.open_exchange(b"request %d" % len(self.all), policy, draw), policy)
        self.all.append(request)
        return request

    @rule(target=network, request=requests, patient=st.booleans())
    def transmit(self, request: Request, patient: bool) -> Transmission | MultipleResults[Transmission]:
        """Send what is due, perhaps after waiting for it; once the request is over, it is closed as the shell does."""
        if not request.is_open:
            return multiple()
        if patient:
            self.now += request.exchange.next_timeout(self.now)
        attempt = request.exchange.next_attempt(self.now)
        if attempt is None and patient and not request.exchange.is_over:
            # Its end came before it waited for it: it wants to hear first what has arrived, in case its process slept.
            assert request.exchange.next_timeout(self.now) == 0
            attempt = request.exchange.next_attempt(self.now)
        if attempt is None:
            assert request.exchange.is_over or not patient
            if request.exchange.is_over:
                assert request.exchange.failure is not None
                self.close(request)
            return multiple()
        assert attempt.peer in self.peers
        assert 0 <= attempt.wait <= request.policy.maximum_interval
        return Transmission(request, attempt, self.now)

    @rule(request=consumes(requests))
    def cancel(self, request: Request) -> None:
        """Close a request, however far it got."""
        self.close(request)

    @rule(seconds=st.floats(0, 3))
    def advance(self, seconds: float) -> None:
        """Let time go by."""
        self.now += seconds

    # What the network does

    @rule(transmission=network, copies=st.integers(1, 3))
    def deliver_reply(self, transmission: Transmission, copies: int) -> None:
        """The server's reply arrives: the first in a request is believed, every other is not."""
        request, attempt = transmission.request, transmission.attempt
        data = self.answer(attempt, AnswerKind.REPLY, request.reply_from(attempt.peer))
        for _ in range(copies):
            was_open = request.is_open
            found = self.receive(data, attempt.peer)
            if was_open:
                assert found is request.exchange
                outcome = request.exchange.outcome
                assert outcome is not None
                assert outcome.payload == request.reply_from(attempt.peer)
                assert outcome.peer == attempt.peer
                assert outcome.rtt == self.now - transmission.at  # C2
                assert self.client.servers[0].peer == attempt.peer
                request.outcome = outcome
                self.close(request)
            else:
                self.assert_not_believed(request, attempt.peer, found)

    @rule(transmission=network, kind=st.sampled_from(REFUSALS))
    def deliver_refusal(self, transmission: Transmission, kind: AnswerKind) -> None:
        """The server refuses: that may end the request, and never answers it."""
        request, attempt = transmission.request, transmission.attempt
        was_open = request.is_open
        found = self.receive(self.answer(attempt, kind, b""), attempt.peer)
        if not was_open:
            self.assert_not_believed(request, attempt.peer, found)
            return
        assert found is request.exchange
        assert request.exchange.outcome is None
        if request.exchange.failure is not None:
            assert request.exchange.failure in (Failure.ERROR, Failure.NO_ROOM)
            assert request.exchange.news
            self.close(request)

    @rule(transmission=network, kind=st.sampled_from(sorted(KINDS)), seed=st.integers(0, 2**32))
    def deliver_forgery(self, transmission: Transmission, kind: str, seed: int) -> None:
        """A forged reply arrives: nobody believes it, whether the request is still open or not."""
        request, attempt = transmission.request, transmission.attempt
        reply = self.answer(attempt, AnswerKind.REPLY, b"forged")
        made = request.exchange.attempts if request.is_open else 254
        data, peer, _ = KINDS[kind](Target(attempt.datagram, reply, attempt.peer, made), Random(seed))
        found = self.receive(data, peer)
        assert isinstance(found, DropReason)

    @rule(data=datagrams(), peer=st.sampled_from(PEERS))
    def deliver_junk(self, data: bytes, peer: Peer) -> None:
        """Anything at all arrives, from any of the addresses."""
        assert isinstance(self.receive(data, peer), DropReason)

    @rule(transmission=network)
    def deliver_hint(self, transmission: Transmission) -> None:
        """An ICMP error quotes one of our requests."""
        request, attempt = transmission.request, transmission.attempt
        found = self.client.receive_hint(attempt.datagram, attempt.peer, "ECONNREFUSED")
        assert found is (request.exchange if request.is_open else None)
        assert request.exchange.outcome is request.outcome

    @rule(quote=datagrams(), peer=st.sampled_from(PEERS))
    def deliver_hint_about_nothing(self, quote: bytes, peer: Peer) -> None:
        """An ICMP error quotes something else."""
        assert self.client.receive_hint(quote, peer, "EHOSTUNREACH") is None

    @precondition(lambda self: self.all)
    @rule(number=st.integers(0, 1000))
    def fail_to_send(self, number: int) -> None:
        """The kernel refused the last transmission of some open request."""
        request = self.all[number % len(self.all)]
        if request.is_open and request.exchange.attempts:
            request.exchange.take_hint("ENOBUFS")

    # What has to hold

    @invariant()
    def every_request_has_the_one_end_it_had(self) -> None:
        """A3, A9: no outcome but the one the model saw, and no failure of an answered or cancelled request later on."""
        for request in self.all:
            assert request.exchange.outcome is request.outcome
            assert request.outcome is None or request.exchange.failure is None

    @invariant()
    def table_holds_the_open_requests_and_nothing_else(self) -> None:
        """A9: an entry for each server of each open request, and a bounded memory of closed ones."""
        open_requests = sum(request.is_open for request in self.all)
        assert len(self.client.exchanges) == open_requests * len(self.peers)
        assert len(self.client.exchanges._closed) <= REMEMBERED

    @invariant()
    def every_datagram_that_was_not_believed_was_counted_once(self) -> None:
        """A1: the counters add up."""
        assert self.client.dropped.total() == self.dropped

    # Small parts

    def answer(self, attempt: Attempt, kind: AnswerKind, payload: bytes) -> bytes:
        """The datagram of an honest answer."""
        question = self.server.receive_datagram(attempt.datagram)
        assert isinstance(question, Question)
        return self.server.profile.encode_answer(question, kind, payload) or b""

    def receive(self, data: bytes, peer: Peer) -> Exchange | DropReason:
        """Hand the client a datagram, and count what it says."""
        found = self.client.receive_datagram(data, peer, self.now)
        self.dropped += isinstance(found, DropReason)
        return found

    def close(self, request: Request) -> None:
        """Close the request, in the core and in the model."""
        request.exchange.close()
        if request.is_open:
            request.is_open = False
            request.closed_before = self.closed
            self.closed += len(self.peers)

    def assert_not_believed(self, request: Request, peer: Peer, found: Exchange | DropReason) -> None:
        """The reason for a good answer to a closed request: by how it ended, or by its being forgotten."""
        answered = request.outcome is not None and request.outcome.peer == peer
        expected = DropReason.DUPLICATE if answered else DropReason.LATE
        newest_of_it = self.closed - request.closed_before - len(self.peers)
        if newest_of_it >= REMEMBERED:
            assert found is DropReason.UNKNOWN_REQUEST
        elif newest_of_it + len(self.peers) <= REMEMBERED:
            assert found is expected
        else:
            assert found in (expected, DropReason.UNKNOWN_REQUEST)


TestClientMachine = ClientMachine.TestCase
TestClientMachine.settings = settings(stateful_step_count=40)
