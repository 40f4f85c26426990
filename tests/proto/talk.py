"""A client, one request of it and honest servers, on paper: what the tests of the client's side share."""

from collections.abc import Sequence
from random import Random

from trio_udp.proto import (
    DEFAULT_MAX_PAYLOAD,
    HEADER_SIZE,
    INSTANCE_SIZE,
    TU1,
    VALIDATION_SIZE,
    AnswerKind,
    Attempt,
    ClientProtocol,
    DropReason,
    Exchange,
    Peer,
    Profile,
    Question,
    RetryPolicy,
    Seal,
    ServerProtocol,
    Turned,
    Validation,
)

A: Peer = ("192.0.2.1", 1060)
B: Peer = ("192.0.2.2", 1060)
C: Peer = ("2001:db8::3", 1060)
STRANGER: Peer = ("198.51.100.1", 1060)
STEADY = RetryPolicy(jitter=0.0)
ONCE = RetryPolicy(jitter=0.0, attempts=1)
MOST_TURNS = 2000
"""Of a loop that has something to do at each: the longest schedule has 254 transmissions to a server."""
PADDED_SIZE = HEADER_SIZE + DEFAULT_MAX_PAYLOAD


class Talk:
    """A client, one request of it, and the servers' pen."""

    def __init__(self, *peers: Peer, policy: RetryPolicy = STEADY, profile: Profile | None = None) -> None:
        self.random = Random(1)
        self.profile = profile or TU1()
        self.client = ClientProtocol(self.profile, peers, random=self.random.randbytes(INSTANCE_SIZE * len(peers)))
        self.exchange = self.ask(policy)

    def ask(self, policy: RetryPolicy = STEADY, payload: bytes = b"question") -> Exchange:
        """Open a request, with a draw of 0."""
        return self.client.open_exchange(payload, policy, bytes(2) + self.random.randbytes(self.client.random_size - 2))

    def send(self, now: float, exchange: Exchange | None = None) -> Attempt:
        """The next transmission, which has to come."""
        attempt = (exchange or self.exchange).next_attempt(now)
        assert attempt is not None
        return attempt

    def answer(
        self, attempt: Attempt, now: float, kind: AnswerKind = AnswerKind.REPLY, payload: bytes = b""
    ) -> Exchange | DropReason:
        """Receive the server's answer to that transmission."""
        question = ServerProtocol(self.profile).receive_datagram(attempt.datagram)
        assert isinstance(question, Question)
        data = self.profile.encode_answer(question, kind, payload)
        assert data is not None
        return self.client.receive_datagram(data, attempt.peer, now, 57)

    def run_out(self, now: float) -> tuple[list[Attempt], float]:
        """Send and wait in silence until it is over, which has to come."""
        attempts = []
        for _ in range(MOST_TURNS):
            attempt = self.exchange.next_attempt(now)
            if attempt is not None:
                attempts.append(attempt)
            elif self.exchange.is_over:
                return attempts, now
            else:
                now += self.exchange.next_timeout(now)
        raise AssertionError("it never ends")


class Honest:
    """A client and the servers it asks, which know cookies and requests that must not run twice."""

    def __init__(self, *peers: Peer, profile: Profile | None = None, seals: Sequence[Seal] = ()) -> None:
        """With keys the client asks under the first, and the servers accept them all."""
        self.random = Random(1)
        self.seals = seals
        random = self.random.randbytes(INSTANCE_SIZE * len(peers))
        self.client = ClientProtocol(profile or TU1(), peers, random=random, seal=seals[0] if seals else None)
        self.source: Peer = ("203.0.113.1", 40_000)
        """Where the client is."""
        self.servers = {peer: self.server(number) for number, peer in enumerate(peers, 1)}
        self.ran: list[bytes] = []

    def server(self, number: int) -> ServerProtocol:
        """A new start of a server, known by its number."""
        validation = Validation(bytes([number]) * VALIDATION_SIZE)
        return ServerProtocol(TU1(), validation=validation, seals=self.seals or None)

    def ask(self, payload: bytes = b"question", policy: RetryPolicy = STEADY, *, at_most_once: bool = True) -> Exchange:
        """Open a request."""
        random = bytes(2) + self.random.randbytes(self.client.random_size - 2)
        return self.client.open_exchange(payload, policy, random, at_most_once=at_most_once)

    def serve(self, attempt: Attempt, now: float, reply: bytes = b"done", source: Peer | None = None) -> bytes:
        """What the server answers to this transmission, now and from that address. There always is something."""
        server, source = self.servers[attempt.peer], source or self.source
        question = server.receive_datagram(attempt.datagram)
        assert isinstance(question, Question)
        admitted = server.admit(question, source, now)
        if isinstance(admitted, Question):
            self.ran.append(question.payload)
            kind, datagram = server.reply(admitted, reply)
            if kind is AnswerKind.RETRY:
                datagram = server.retry(admitted, source, now, reply)
        else:
            assert isinstance(admitted, Turned)
            datagram = admitted.datagram
        assert datagram is not None
        return datagram

    def converse(self, exchange: Exchange, now: float, reply: bytes = b"done") -> list[Attempt]:
        """Send and answer until there is nothing to send: every transmission that was made."""
        attempts = []
        while (attempt := exchange.next_attempt(now)) is not None:
            attempts.append(attempt)
            self.client.receive_datagram(self.serve(attempt, now, reply), attempt.peer, now)
        return attempts
