"""One client, its servers and the network between them in one heap of events: no Trio, no sockets, no clock.

About a tenth of a millisecond a request, so that millions can be asked. The core is used through its public verbs, as
the shell uses it; the losses are the rules of `trio_udp._chaos`; and a model that knows very little checks the core at
every step.

What has to hold: a request has at most one outcome, from the server that was asked and with what that server said (A1,
A3, A8); it fails only in a word that a server said, or at the end of its schedule and not before (A2); what comes after
its end reaches nobody, and is counted as what it is (A9); round-trip times are exact (C2); each server is sent at most
`attempts` datagrams, each exactly when the wait for the one before is over (C3, C4, C6); an answer is no longer than
its request (E4); at the end nothing is open.
"""

import heapq
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any, Final, NamedTuple

from trio_udp._chaos import Delivery, Link, Packet, flip_bit
from trio_udp._net import Address
from trio_udp.proto import (
    TU1,
    AnswerKind,
    Attempt,
    ClientProtocol,
    DropReason,
    Exchange,
    Failure,
    Peer,
    Question,
    ServerProtocol,
)

from .swarm import Swarm

_CLIENT: Final = Address("203.0.113.1", 40_000)
_SLACK: Final = 1e-6
"""Seconds: waits are added up in another order here."""
_LEAST_RTO: Final = 0.2
_HEADER_BITS: Final = (*range(8), *range(16, 24), *range(32, 192))
"""Where one flipped bit is noticed in whatever message, but for type and attempt: version, flags, key id, reserved,
length, ids. A payload has no checksum of ours."""
_LENGTH_BITS: Final = range(48, 64)
_ID_BITS: Final = range(64, 192)
_NOTICED_BY_CLIENT: Final = (None, DropReason.UNKNOWN_REQUEST)
_NEVER_FITS: Final = 1300
_SAYS: Final = {
    Failure.BUSY: AnswerKind.BUSY,
    Failure.ERROR: AnswerKind.ERROR,
    Failure.NO_ROOM: AnswerKind.RETRY,
}
"""What a server must have said before a request may end so."""


class Broken(Exception):
    """What has to hold did not."""


class Turn(NamedTuple):
    """One datagram of a request, or where one was due that was not sent."""

    at: float
    wait: float
    was_sent: bool = True


class Request:
    """What the model knows about one request."""

    __slots__ = ("answered_by", "began", "busy", "exchange", "is_open", "number", "retried", "said", "sent", "timer")

    def __init__(self, number: int, exchange: Exchange, began: float) -> None:
        self.number = number
        self.exchange = exchange
        self.began = began
        self.sent: dict[Peer, list[Turn]] = {}
        self.said: set[AnswerKind] = set()
        """The refusals that reached the client while it was open."""
        self.retried: set[Peer] = set()
        """Servers that have asked for padding."""
        self.busy: set[Peer] = set()
        """Servers that have said that they are busy."""
        self.is_open = True
        self.answered_by: Peer | None = None
        self.timer = 0
        """The number of the timer that is set; an older one rings for nobody."""


class Place(NamedTuple):
    """One server, and the two directions of the way to it."""

    address: Address
    up: Link
    down: Link


class Answered(NamedTuple):
    """An answer on its way to the client."""

    request: Request
    attempt: Attempt
    sent_at: float
    """When the transmission was sent that it answers."""
    kind: AnswerKind
    expected: DropReason | None
    """What a datagram that was spoilt has to be counted as."""


class Simulation:
    """One run. Everything that is left to chance comes from one source."""

    def __init__(self, swarm: Swarm, random: Random) -> None:
        self.swarm = swarm
        self.random = random
        self.counts: Counter[str] = Counter()
        self.now = 0.0
        self.peers = [Address(f"192.0.2.{number + 1}", 1060) for number in range(swarm.servers)]
        self.client = ClientProtocol(TU1(), self.peers, random=random.randbytes(8 * swarm.servers))
        self.server = ServerProtocol(TU1())
        self._places: dict[Peer, Place] = {
            peer: Place(peer, swarm.conditions.rule(random), swarm.conditions.rule(random)) for peer in self.peers
        }
        policy = swarm.policy
        least = min(_LEAST_RTO, policy.initial) if policy.adaptive else policy.initial
        self._least_wait = min(least, policy.give_up_after or least)
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = 0
        self._dropped = 0
        self._transmissions = 0
        self._asked = self._asked_before = 0
        self._budget = 100.0
        """How often busy servers may be asked again."""

    def run(self) -> Counter[str]:
        """Let everything happen, and count it; raises `Broken`."""
        at = 0.0
        for number in range(self.swarm.requests):
            at += 2 * self.swarm.spacing * self.random.random()
            self._at(at, self._ask, number)
        events = self._events
        while events:
            self.now, _, act, args = heapq.heappop(events)
            act(*args)
        if len(self.client.exchanges) or self.client.dropped.total() != self._dropped:
            raise self._broken(
                f"{len(self.client.exchanges)} exchanges are open, {self._dropped} datagrams were dropped"
            )
        self.counts["requests"] += self.swarm.requests
        self.counts["transmissions"] += self._transmissions
        self.counts.update({f"dropped {reason}": count for reason, count in self.client.dropped.items()})
        return self.counts

    # The client

    def _ask(self, number: int) -> None:
        self._asked += 1
        draw = self.random.randbytes(self.client.random_size)
        request = Request(
            number, self.client.open_exchange(b"request %06d" % number, self.swarm.policy, draw), self.now
        )
        if self._happens(self.swarm.cancelled):
            self._at(self.now + 3 * self.random.random(), self._cancel, request)
        self._drive(request)

    def _drive(self, request: Request) -> None:
        """What the shell does: send what is due, then wait."""
        while (attempt := self._next_attempt(request)) is not None:
            sent = request.sent.get(attempt.peer)
            if sent is None:
                sent = request.sent[attempt.peer] = []
            self._check_turn(request, attempt, sent)
            sent.append(Turn(self.now, attempt.wait))
            self._transmissions += 1
            self._transmit(request, attempt)
        exchange = request.exchange
        if exchange.is_over:
            self._check_failure(request)
            self._finish(request, str(exchange.failure and exchange.failure.value))
        else:
            request.timer += 1
            self._at(self.now + exchange.next_timeout(self.now), self._ring, request, request.timer)

    def _next_attempt(self, request: Request) -> Attempt | None:
        """The next transmission; and a turn of each server that is passed over before it."""
        withheld = self.client.budget.withheld
        attempt = request.exchange.next_attempt(self.now)
        for _ in range(self.client.budget.withheld - withheld):
            self._check_withheld(request)
        return attempt

    def _ring(self, request: Request, timer: int) -> None:
        if request.is_open and timer == request.timer:
            self._drive(request)

    def _cancel(self, request: Request) -> None:
        if request.is_open:
            self._finish(request, "cancelled")

    def _finish(self, request: Request, how: str) -> None:
        request.is_open = False
        request.exchange.close()
        self.counts[how] += 1

    # The network and the servers

    def _transmit(self, request: Request, attempt: Attempt) -> None:
        data, bit = attempt.datagram, None
        address, up, _ = self._places[attempt.peer]
        if self._happens(self.swarm.hinted):
            self._at(self.now + self.random.random(), self._hint, request, attempt)
        if self._happens(self.swarm.corrupted):
            data, bit = self._corrupt(data, is_padded=bool(data[2]))
        for after, _ in self._pass(up, Packet(data, _CLIENT, address, self.now)):
            self._at(self.now + after, self._serve, request, attempt, self.now, data, bit)

    def _serve(self, request: Request, attempt: Attempt, sent_at: float, data: bytes, bit: int | None) -> None:
        """A request reaches its server."""
        question = self.server.receive_datagram(data)
        expected = None if bit is None else _reason(bit)
        if isinstance(question, DropReason):
            # The flag that announces times makes times of a payload, whose check is wrong then.
            told = DropReason.MALFORMED if question is DropReason.CORRUPTED else question
            if told is not expected:
                raise self._broken(f"the server dropped a request as {question}, expected {expected}")
            return
        if expected not in _NOTICED_BY_CLIENT:
            raise self._broken(f"the server took a {expected} request")
        kind, answer = self._answer(question, request.number, attempt.peer)
        if answer is None or len(answer) > len(data):
            raise self._broken("an answer is longer than its request")
        if expected is None and self._happens(self.swarm.corrupted):
            answer, bit = self._corrupt(answer)
            expected = _reason(bit)
        on_its_way = Answered(request, attempt, sent_at, kind, expected)
        address, _, down = self._places[attempt.peer]
        for after, _ in self._pass(down, Packet(answer, address, _CLIENT, self.now)):
            self._at(self.now + after, self._deliver, on_its_way, answer)

    def _answer(self, question: Question, number: int, peer: Peer) -> tuple[AnswerKind, bytes | None]:
        for kind, share in ((AnswerKind.BUSY, self.swarm.busy), (AnswerKind.ERROR, self.swarm.error)):
            if self._happens(share):
                return kind, self.server.refuse(question, kind)
        return self.server.reply(question, self._says(number, peer))

    def _says(self, number: int, peer: Peer) -> bytes:
        """What that server's handler makes of it, and no other server of no other request."""
        said = b"%d@%s" % (number, peer[0].encode())
        share = self.swarm.lengthy
        draw = number * 0.6180339887 % 1 if share else 1.0  # the same whenever it is asked
        if draw < share:
            return said.ljust(_NEVER_FITS if draw < share / 8 else 200)
        return said

    def _pass(self, link: Link, packet: Packet) -> tuple[Delivery, ...]:
        """The copies of a datagram that arrive."""
        for begin, end in self.swarm.partitions:
            if begin <= self.now < end:
                return ()
        return link(packet).deliveries

    def _corrupt(self, data: bytes, *, is_padded: bool = False) -> tuple[bytes, int]:
        bit = _HEADER_BITS[int(self.random.random() * len(_HEADER_BITS))]
        if is_padded and bit in _LENGTH_BITS:
            bit = 0  # a payload that takes some of its padding in is a good request, and another one
        self.counts["corrupted"] += 1
        return flip_bit(data, bit), bit

    # What reaches the client

    def _deliver(self, answered: Answered, data: bytes) -> None:
        request, attempt, _, kind, expected = answered
        found = self.client.receive_datagram(data, attempt.peer, self.now)
        if isinstance(found, DropReason):
            self._dropped += 1
        if expected is None and not request.is_open:
            expected = DropReason.DUPLICATE if request.answered_by == attempt.peer else DropReason.LATE
        if expected is not None:
            if found is not expected:
                raise self._broken(f"expected {expected}, got {found}")
            return
        if found is not request.exchange:
            raise self._broken(f"an honest {kind} was taken for {found}")
        if kind is AnswerKind.REPLY:
            self._take_reply(answered)
            return
        request.said.add(kind)
        if kind is AnswerKind.RETRY:
            request.retried.add(attempt.peer)
        if kind is AnswerKind.BUSY:
            request.busy.add(attempt.peer)
        if request.exchange.news or request.exchange.is_over:
            self._drive(request)

    def _take_reply(self, answered: Answered) -> None:
        request, attempt, sent_at, _, _ = answered
        outcome = request.exchange.outcome
        made = sum(turn.was_sent for turns in request.sent.values() for turn in turns)
        expected = (self._says(request.number, attempt.peer), self.now - sent_at, made, attempt.peer, None, False)
        if outcome != expected:
            raise self._broken(f"expected {expected}, got {outcome}")
        request.answered_by = attempt.peer
        self._finish(request, "replies")

    def _hint(self, request: Request, attempt: Attempt) -> None:
        found = self.client.receive_hint(attempt.datagram, attempt.peer, "ECONNREFUSED")
        if found is not (request.exchange if request.is_open else None):
            raise self._broken(f"a hint about request {request.number} was told to {found}")
        self.counts["hints"] += 1
        if request.is_open:
            if request.exchange.is_over:
                raise self._broken("a hint ended a request")
            if request.exchange.news:
                self._drive(request)

    # What has to hold

    def _check_turn(self, request: Request, attempt: Attempt, sent: list[Turn]) -> None:
        """Each datagram is sent exactly when the schedule says, whatever came in meanwhile."""
        policy, made = self.swarm.policy, sum(turn.was_sent for turn in sent)
        was_retried = attempt.peer in request.retried
        if len(sent) >= self._most_turns(request, attempt.peer) or attempt.number != made + 1:
            raise self._broken(f"after {made} attempts, attempt {attempt.number}")
        if not made:
            if attempt.wait < self._least_wait - _SLACK:
                raise self._broken(f"the first wait is {attempt.wait} s, expected at least {self._least_wait} s")
            return
        due = sent[-1].at + sent[-1].wait
        is_due = abs(self.now - due) <= _SLACK
        if not was_retried:
            if not is_due:
                raise self._broken(f"sent at {self.now} s, and was due at {due} s")
            expected = self._next_wait(sent)
            if policy.give_up_after is None and abs(attempt.wait - expected) > _SLACK:  # else waits are cut short
                raise self._broken(f"the wait after {sent[-1].wait} s is {attempt.wait} s, expected {expected} s")
        if is_due and attempt.peer in request.busy and not self._may_ask_a_busy_server():
            raise self._broken("a busy server was asked again beyond the budget")

    def _check_withheld(self, request: Request) -> None:
        """A turn is passed over only if it is a busy server's, and enough were sent again."""
        due = [
            (peer, turns)
            for peer, turns in request.sent.items()
            if peer in request.busy
            and len(turns) < self._most_turns(request, peer)
            and abs(turns[-1].at + turns[-1].wait - self.now) <= _SLACK
        ]
        if not due or self._may_ask_a_busy_server():
            raise self._broken(f"a turn of {[peer for peer, _ in due]} was passed over")
        peer, turns = due[0]
        turns.append(Turn(self.now, self._next_wait(turns, extra=peer in request.retried), was_sent=False))
        self.counts["withheld"] += 1

    def _most_turns(self, request: Request, peer: Peer) -> int:
        return self.swarm.policy.attempts + (peer in request.retried)

    def _may_ask_a_busy_server(self) -> bool:
        """The budget as the documentation has it: each request brings a fifth, and there are never more than 100."""
        self._budget = min(self._budget + (self._asked - self._asked_before) * 0.2, 100.0)
        self._asked_before = self._asked
        if self._budget < 1:
            return False
        self._budget -= 1
        return True

    def _next_wait(self, sent: list[Turn], *, extra: bool = False) -> float:
        """After these, one of which was not of the schedule if there was an extra one."""
        policy = self.swarm.policy
        if len(sent) - extra + 1 == policy.attempts and policy.final_wait is not None:
            return policy.final_wait
        longest = max(policy.maximum_interval, sent[0].wait)  # no wait is shorter than the retransmission timeout
        return min(sent[-1].wait * policy.multiplier, longest)

    def _check_failure(self, request: Request) -> None:
        """A request without a reply ends in a server's words, or when the schedule does."""
        failure, policy = request.exchange.failure, self.swarm.policy
        said = None if failure is None else _SAYS.get(failure)
        # A first RETRY is no last word: the request goes on, with padding.
        if failure is None or not (said in request.said if said else request.said <= {AnswerKind.RETRY}):
            raise self._broken(f"{failure} after {sorted(request.said)}")
        if request.said - {AnswerKind.BUSY}:
            return  # a last word of one server brings the end nearer
        end = max(sent[-1].at + sent[-1].wait for sent in request.sent.values())
        if policy.give_up_after is not None:
            end = min(end, request.began + policy.give_up_after)
        elif sum(map(len, request.sent.values())) != policy.attempts * len(self.peers):
            raise self._broken(f"given up after {request.exchange.attempts} attempts")
        if abs(self.now - end) > _SLACK:
            raise self._broken(f"given up at {self.now} s, and the schedule ends at {end} s")

    # Small parts

    def _broken(self, what: str) -> Broken:
        return Broken(f"at {self.now} s: {what}, in {self.swarm}")

    def _happens(self, share: float) -> bool:
        return share > 0 and self.random.random() < share

    def _at(self, when: float, act: Callable[..., None], *args: Any) -> None:
        self._order += 1
        heapq.heappush(self._events, (when, self._order, act, args))


def _reason(bit: int) -> DropReason:
    """What a datagram with that bit of the header flipped is dropped as, by the client at the latest."""
    if bit < 8:
        return DropReason.WRONG_VERSION
    return DropReason.UNKNOWN_REQUEST if bit in _ID_BITS else DropReason.MALFORMED
