"""The client's protocol: what to send, to whom, for how long to wait, and which datagram to believe.

Arithmetic only. `now`, random bytes and addresses come in as arguments; datagrams and waits come out as values. So a
hundred million forged replies can be tried without a socket, and the shell around it (`trio_udp._client`) is one loop:

    while attempt := exchange.next_attempt(now): send it, wait at most attempt.wait for exchange.news

What must hold: only an answer that `ClientProtocol.receive_datagram` matched, or the end of the schedule, ends an
exchange (A1, A2). A hint, which is what an ICMP error is, may change which server is asked next and nothing else (G5).

Several servers: each round of the schedule asks every server once, spread evenly over the round's wait, the one that
answered last first. So the first server alone carries the traffic while it answers in time; a dead one costs a fraction
of a wait; and no server gets more than one datagram an RTO (C6). With one server a round is an attempt.
"""

import enum
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from ._drop_reason import DropReason
from ._errors import PayloadTooLarge
from ._exchanges import ExchangeTable, Peer
from ._profile import Answer, AnswerKind, Profile
from ._rtt import RTTEstimator
from ._schedule import RetryPolicy

DEFAULT_MAX_PAYLOAD: Final = 1200
"""Bytes that fit any Internet path undivided (RFC 9000 section 14)."""
INSTANCE_SIZE: Final = 8
_DRAW_SIZE: Final = 2


class Attempt(NamedTuple):
    """One transmission: what to send, where to, and how long to wait before the next."""

    number: int
    """1 for the first to this server; the number it echoes."""
    peer: Peer
    datagram: bytes
    wait: float
    """Seconds."""


class Outcome(NamedTuple):
    """The answer that was believed."""

    payload: bytes
    rtt: float
    """Seconds between the transmission that was answered and its answer. Where the format does not number its
    transmissions (`book`), seconds since the first one: never too small."""
    attempts: int
    """Transmissions made, to all servers together."""
    peer: Peer
    hop_limit: int | None
    """What was left of the answer's TTL or hop limit, where that is known."""


class Failure(enum.Enum):
    """Why an exchange ended without a reply."""

    NO_REPLY = "no_reply"
    BUSY = "busy"
    """Nothing better than BUSY came before the schedule's end."""
    ERROR = "error"
    """Every server answered that its handler failed."""
    NO_ROOM = "no_room"
    """Every server answered that its reply does not fit the largest request this client may send."""


class KnownServer:
    """What a client knows about one server."""

    __slots__ = ("estimator", "instance", "needs_room", "peer")

    def __init__(self, peer: Peer, instance: bytes) -> None:
        self.peer = peer
        self.instance = instance
        self.estimator = RTTEstimator()
        self.needs_room = False
        """It has said once that its replies are longer than our requests, so requests to it are padded."""


class Asked:
    """One exchange's dealings with one server."""

    __slots__ = ("exchange", "failure", "key", "padded_from", "sent", "server")

    def __init__(self, exchange: "Exchange", server: KnownServer, key: bytes) -> None:
        self.exchange = exchange
        self.server = server
        self.key = key
        self.sent: list[float] = []
        """When attempt k was sent, at index k - 1."""
        self.padded_from = 1 if server.needs_room else None
        """The first attempt that was padded, or is going to be."""
        self.failure: Failure | None = None
        """ERROR and NO_ROOM are this server's last word; BUSY is not."""

    @property
    def is_out(self) -> bool:
        """Whether it makes no sense to ask this server again."""
        return self.failure is Failure.ERROR or self.failure is Failure.NO_ROOM


class Exchange:
    """A request with all its transmissions, and its reply once that is believed."""

    __slots__ = (
        "_again",
        "_asked",
        "_protocol",
        "_round_began",
        "_round_wait",
        "_to_ask",
        "_waits",
        "attempts",
        "failure",
        "hint",
        "news",
        "outcome",
        "payload",
    )

    def __init__(self, protocol: "ClientProtocol", payload: bytes, waits: Iterator[float]) -> None:
        self.payload = payload
        self.attempts = 0
        """Transmissions made so far."""
        self.outcome: Outcome | None = None
        self.failure: Failure | None = None
        """Set when every server has said its last word, or the schedule has ended."""
        self.hint: str | None = None
        """The last ICMP error that quoted this request, as its errno's name. It may be forged."""
        self.news = False
        """Whether there is something to do before the wait is over."""
        self._protocol = protocol
        self._waits = waits
        self._asked: list[Asked] = []
        self._to_ask: list[Asked] = []
        self._again: Asked | None = None
        self._round_began = 0.0
        self._round_wait = 0.0

    def next_attempt(self, now: float) -> Attempt | None:
        """The next transmission; None when this exchange is over.

        Call it at once, and then whenever the last attempt's wait is over or `news` is set.
        """
        self.news = False
        if self.outcome is not None or self.failure is not None:
            return None
        if self._again is not None:
            asked, self._again = self._again, None
            return self._transmit(asked, self._until_next_server(now), now)
        if not self._to_ask and not self._begin_round(now):
            self.failure = self._last_word()
            return None
        return self._transmit(self._to_ask.pop(0), self._until_next_server(now), now)

    def close(self) -> None:
        """Forget the request, because it was answered, given up or cancelled: what still comes is late (A9)."""
        for asked in self._asked:
            answered = self.outcome is not None and self.outcome.peer == asked.server.peer
            reason = DropReason.DUPLICATE if answered else DropReason.LATE
            self._protocol.exchanges.close(asked.server.peer, asked.key, reason)
        self._asked = []

    def open_to(self, server: KnownServer, key: bytes) -> Asked:
        """Make this server one of those the request goes to."""
        asked = Asked(self, server, key)
        self._asked.append(asked)
        return asked

    def take_answer(self, asked: Asked, answer: Answer, now: float, hop_limit: int | None) -> None:
        """Act on an answer that the accept rule let through."""
        match answer.kind:
            case AnswerKind.REPLY:
                self._take_reply(asked, answer, now, hop_limit)
            case AnswerKind.RETRY:
                self._take_retry(asked, answer.attempt)
            case AnswerKind.BUSY:
                self._take_failure(asked, Failure.BUSY)
            case AnswerKind.ERROR:
                self._take_failure(asked, Failure.ERROR)

    def take_hint(self, asked: Asked, hint: str) -> None:
        """Act on an ICMP error: ask the next server sooner, if one is still to be asked in this round."""
        self.hint = hint
        self._move_on(asked)

    def _begin_round(self, now: float) -> bool:
        """Line up the servers still worth asking; False when there are none, or no further round."""
        self._to_ask = [asked for asked in self._asked if not asked.is_out]
        wait = next(self._waits, None)
        if wait is None or not self._to_ask:
            return False
        self._round_began = now
        self._round_wait = wait
        return True

    def _until_next_server(self, now: float) -> float:
        """Seconds to wait for the server about to be asked: an even share of the round, or all that is left of it."""
        left = max(self._round_wait - (now - self._round_began), 0.0)
        return left / (len(self._to_ask) + 1)

    def _transmit(self, asked: Asked, wait: float, now: float) -> Attempt:
        self.attempts += 1
        asked.sent.append(now)
        number = len(asked.sent)
        return Attempt(number, asked.server.peer, self._protocol.encode(self.payload, asked, number), wait)

    def take_send_error(self, error: str) -> None:
        """The last attempt was not sent: it is lost, and the next server's turn comes at once (G6)."""
        self.hint = error
        self.news = bool(self._to_ask)

    def _take_reply(self, asked: Asked, answer: Answer, now: float, hop_limit: int | None) -> None:
        # Without an echoed number the reply may belong to any transmission: a sample only if there was just one (Karn).
        rtt = now - asked.sent[max(answer.attempt, 1) - 1]
        if answer.attempt or len(asked.sent) == 1:
            asked.server.estimator.update(rtt)
        self.outcome = Outcome(answer.payload, rtt, self.attempts, asked.server.peer, hop_limit)
        self.news = True

    def _take_retry(self, asked: Asked, attempt: int) -> None:
        """Ask again with all the room there is, once; a second RETRY for a padded attempt is the server's last word."""
        if asked.padded_from is None:
            asked.server.needs_room = True
            asked.padded_from = len(asked.sent) + 1
            self._again = asked
            self.news = True
        elif attempt >= asked.padded_from:
            self._take_failure(asked, Failure.NO_ROOM)

    def _take_failure(self, asked: Asked, failure: Failure) -> None:
        asked.failure = failure
        if asked.is_out and asked in self._to_ask:
            self._to_ask.remove(asked)
        if all(other.is_out for other in self._asked):
            self.failure = failure
            self.news = True
        else:
            self._move_on(asked)

    def _move_on(self, asked: Asked) -> None:
        """Do not wait for this server any longer, if another is still to be asked in this round."""
        if self._to_ask and asked not in self._to_ask:
            self.news = True

    def _last_word(self) -> Failure:
        said = {asked.failure for asked in self._asked}
        words = (Failure.BUSY, Failure.ERROR, Failure.NO_ROOM)
        return next((word for word in words if word in said), Failure.NO_REPLY)


class ClientProtocol:
    """All open exchanges of one client with the servers it was made for. Bounded by what the client opens."""

    def __init__(
        self,
        profile: Profile,
        peers: Sequence[Peer],
        *,
        random: bytes,
        max_payload: int = DEFAULT_MAX_PAYLOAD,
    ) -> None:
        """Make the protocol of one client.

        Args:
            profile: the wire format.
            peers: the servers, in order of preference; each once.
            random: 8 random bytes a server, for the instance ids.
            max_payload: the longest payload a request may have, in bytes.
        """
        self.profile = profile
        self.exchanges: ExchangeTable[Asked] = ExchangeTable(peers)
        self.dropped: Counter[DropReason] = Counter()
        self.max_payload = min(max_payload, profile.max_payload)
        self._servers = [
            KnownServer(peer, random[start : start + INSTANCE_SIZE])
            for peer, start in zip(peers, range(0, len(random), INSTANCE_SIZE), strict=True)
        ]

    @property
    def servers(self) -> tuple[KnownServer, ...]:
        """The servers, the one that answered last first."""
        return tuple(self._servers)

    @property
    def random_size(self) -> int:
        """Random bytes that `open_exchange` wants."""
        return _DRAW_SIZE + self.profile.random_size * len(self._servers)

    def open_exchange(self, payload: bytes, policy: RetryPolicy, random: bytes) -> Exchange:
        """Open a request to all servers, each with ids of its own (A8). Close it when it is over, whatever ended it.

        Raises `PayloadTooLarge` (G1), and `ValueError` where the profile cannot carry the payload.
        """
        if len(payload) > self.max_payload:
            raise PayloadTooLarge(len(payload), self.max_payload)
        draw = int.from_bytes(random[:_DRAW_SIZE], "big") / (256**_DRAW_SIZE - 1)
        size = self.profile.random_size
        keys = [
            self.profile.new_key(payload, server.instance, random[_DRAW_SIZE + i * size : _DRAW_SIZE + (i + 1) * size])
            for i, server in enumerate(self._servers)
        ]
        exchange = Exchange(self, payload, policy.waits(self._rto(policy), draw))
        for server, key in zip(self._servers, keys, strict=True):
            self.exchanges.open(server.peer, key, exchange.open_to(server, key))
        return exchange

    def encode(self, payload: bytes, asked: Asked, attempt: int) -> bytes:
        """The datagram of one transmission."""
        room = 0 if asked.padded_from is None else self.profile.overhead + self.max_payload
        return self.profile.encode_request(payload, asked.key, attempt, room)

    def receive_datagram(
        self, data: bytes, peer: Peer, now: float, hop_limit: int | None = None
    ) -> Exchange | DropReason:
        """The accept rule (A1): the exchange this datagram is an answer in, or why it is not believed, counted."""
        found = self._match_untrusted(data, peer)
        if isinstance(found, DropReason):
            self.dropped[found] += 1
            return found
        asked, answer = found
        asked.exchange.take_answer(asked, answer, now, hop_limit)
        if asked.exchange.outcome is not None:
            self._prefer(asked.server)
            asked.exchange.close()
        return asked.exchange

    def receive_hint(self, quote: bytes, peer: Peer, hint: str) -> Exchange | None:
        """The exchange an ICMP error is about, told of it; None when it quotes no open request to that peer."""
        key = self.profile.decode_quote_untrusted(quote)
        asked = DropReason.UNKNOWN_REQUEST if key is None else self.exchanges.match(peer, key)
        if isinstance(asked, DropReason):
            return None
        asked.exchange.take_hint(asked, hint)
        return asked.exchange

    def _rto(self, policy: RetryPolicy) -> float | None:
        """The slowest server's, so that a round is an RTO for each of them; None while nothing was measured."""
        rtos = [server.estimator.rto for server in self._servers]
        if all(rto is None for rto in rtos):
            return None
        return max(policy.initial if rto is None else rto for rto in rtos)

    def _match_untrusted(self, data: bytes, peer: Peer) -> tuple[Asked, Answer] | DropReason:
        if peer not in self.exchanges:
            return DropReason.WRONG_PEER
        answer = self.profile.decode_answer_untrusted(data)
        if isinstance(answer, DropReason):
            return answer
        asked = self.exchanges.match(peer, answer.key)
        if isinstance(asked, DropReason):
            return asked
        if max(answer.attempt, 1) > len(asked.sent):
            return DropReason.UNKNOWN_REQUEST  # the key is right, yet that attempt was never made
        return asked, answer

    def _prefer(self, server: KnownServer) -> None:
        if self._servers[0] is not server:
            self._servers.remove(server)
            self._servers.insert(0, server)
