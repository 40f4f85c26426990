"""E1 to E4, F6: clients with at-most-once requests, a server that restarts, and a network that does its worst.

Datagrams are lost, doubled, kept back for seconds or for many minutes; NATs give a client another address at any time;
somebody captures requests and sends them again, from their own address or from another, also after a restart; handlers
take their time, fail, or say nothing; requests are cancelled; memory is short; the server drains.

What has to hold: the handler runs at most once for a request, whatever comes when. Who is answered twice is given the
same answer. A request ends with the reply of its one run, or without a reply. An answer longer than its request goes
only where a cookie was sent before. What the server holds stays within its limits. At the end nothing is left open.
"""

import heapq
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any, Final, NamedTuple

from trio_udp.proto import (
    HEADER_SIZE,
    TU1,
    VALIDATION_SIZE,
    AnswerKind,
    Attempt,
    ClientProtocol,
    DropReason,
    Exchange,
    Message,
    MessageType,
    Peer,
    Question,
    RetryPolicy,
    ServerProtocol,
    Turned,
    Validation,
    decode_message_untrusted,
    encode_message,
)

from .simulator import Broken

_SERVER: Final[Peer] = ("192.0.2.1", 1060)
_THIEF: Final[Peer] = ("198.51.100.66", 6666)
_COOKIE_GOOD_FOR: Final = 120.0
_RETRY_WITH_COOKIE: Final = b"\x09\x82\x02", b"\x09\x82\x06"
_SHARES: Final = (0.0, 0.02, 0.1, 0.3)


class Faults(NamedTuple):
    """What goes wrong in one run, in shares of datagrams or of requests unless it says otherwise."""

    lost: float
    doubled: float
    slow: float
    """Kept back for up to 3 s."""
    very_slow: float
    """Kept back for up to 15 minutes."""
    stolen: float
    """Sent again by a thief, up to five times in up to 15 minutes."""
    rebound: float
    """Transmissions before which the client's address has changed."""
    cancelled: float
    waiting: float
    """Handlers that wait for up to 5 s; a few of them for 10 minutes."""
    failing: float
    """Handlers that raise, say nothing, or are cancelled."""
    idempotent: float
    """Requests that may run twice."""
    restarts: float
    """Restarts a minute."""
    drained: float
    """Restarts with a drain before."""
    spacing: float
    """Seconds between requests of a client, on average."""
    max_clients: int
    max_bytes: int


def draw_faults(random: Random) -> Faults:
    """Some of them, often none of a kind."""
    shares = iter(random.choices(_SHARES, k=10))
    return Faults(
        lost=next(shares),
        doubled=next(shares),
        slow=next(shares),
        very_slow=next(shares),
        stolen=next(shares),
        rebound=next(shares),
        cancelled=next(shares),
        waiting=next(shares),
        failing=next(shares),
        idempotent=next(shares),
        restarts=random.choice((0.0, 0.0, 0.05, 1.0, 20.0)),
        drained=random.choice(_SHARES),
        spacing=random.choice((0.001, 0.05, 1.0, 30.0)),
        max_clients=random.choice((1, 3, 4096)),
        max_bytes=random.choice((5_000, 60_000, 16 * 2**20)),
    )


class Asking:
    """One client, and where it is at the moment."""

    def __init__(self, name: int, random: Random) -> None:
        self.name = name
        self.protocol = ClientProtocol(TU1(), [_SERVER], random=random.randbytes(8))
        self.moves = 0

    @property
    def address(self) -> Peer:
        """As the server sees it now."""
        return f"203.0.113.{self.name + 1}", 40_000 + self.moves


class Request:
    """What the model knows about one request."""

    __slots__ = ("asking", "at_most_once", "exchange", "is_open", "name", "replies", "runs", "timer")

    def __init__(self, asking: Asking, name: bytes, exchange: Exchange, *, at_most_once: bool) -> None:
        self.asking = asking
        self.name = name
        self.exchange = exchange
        self.at_most_once = at_most_once
        self.runs = 0
        self.replies: set[bytes] = set()
        """What was ever replied to it."""
        self.is_open = True
        self.timer = 0


class Arrival(NamedTuple):
    """One datagram that reached the server."""

    data: bytes
    source: Peer
    is_proven: bool
    """Whether a cookie was sent there not long before."""


class Boot:
    """One start of the server."""

    def __init__(self, number: int, faults: Faults, random: Random) -> None:
        self.number = number
        self.is_draining = False
        self.validation = Validation(
            random.randbytes(VALIDATION_SIZE), max_clients=faults.max_clients, max_bytes=faults.max_bytes
        )
        self.protocol = ServerProtocol(TU1(), validation=self.validation)
        self.cookies_sent: dict[Peer, float] = {}


class OnceSimulation:
    """One run. Everything that is left to chance comes from one source."""

    def __init__(self, requests: int, faults: Faults, random: Random) -> None:
        self.requests = requests
        self.faults = faults
        self.random = random
        self.counts: Counter[str] = Counter()
        self.now = 1000.0 * random.random()
        self.clients = [Asking(name, random) for name in range(random.choice((1, 2, 5)))]
        self.boot = Boot(0, faults, random)
        self._asked: dict[bytes, Request] = {}
        self._left = requests
        self._open = 0
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = 0

    def run(self) -> Counter[str]:
        """Let everything happen, and count it; raises `Broken`."""
        for asking in self.clients:
            self._after(self.random.random(), self._ask, asking)
        if self.faults.restarts:
            self._after(self.random.expovariate(self.faults.restarts / 60), self._stop)
        while self._events:
            self.now, _, act, args = heapq.heappop(self._events)
            act(*args)
        for asking in self.clients:
            if len(asking.protocol.exchanges) or asking.protocol.held or asking.protocol.servers[0].ledger.room != 64:
                raise self._broken(f"client {asking.name} is not done")
        if self._open:
            raise self._broken(f"{self._open} requests have no end")
        self.counts["requests"] += self.requests
        return self.counts

    # Clients

    def _ask(self, asking: Asking) -> None:
        if not self._left:
            return
        self._left -= 1
        self._open += 1
        once = not self._happens(self.faults.idempotent)
        name = b"%d of %d" % (len(self._asked), asking.name)
        payload = name.ljust(self.random.choice((len(name), 40, 400)))
        draw = self.random.randbytes(asking.protocol.random_size)
        policy = RetryPolicy(attempts=self.random.choice((1, 5, 8)))
        exchange = asking.protocol.open_exchange(payload, policy, draw, at_most_once=once)
        request = self._asked[name] = Request(asking, name, exchange, at_most_once=once)
        exchange.owner = request
        if self._happens(self.faults.cancelled):
            self._after(4 * self.random.random() ** 2, self._cancel, request)
        self._drive(request)
        self._after(2 * self.faults.spacing * self.random.random(), self._ask, asking)

    def _drive(self, request: Request) -> None:
        exchange = request.exchange
        while (attempt := exchange.next_attempt(self.now)) is not None:
            self._transmit(request, attempt)
        if exchange.is_over:
            self._finish(request, exchange.failure.value if exchange.failure else "replies")
        elif exchange.next_timeout(self.now) < float("inf"):
            request.timer += 1
            self._after(exchange.next_timeout(self.now), self._ring, request, request.timer)

    def _ring(self, request: Request, timer: int) -> None:
        if request.is_open and timer == request.timer:
            self._drive(request)

    def _cancel(self, request: Request) -> None:
        if request.is_open:
            self._finish(request, "cancelled")

    def _finish(self, request: Request, how: str) -> None:
        request.is_open = False
        self._open -= 1
        self.counts[how] += 1
        request.exchange.close()
        for released in request.asking.protocol.take_released():
            self._after(0.0, self._go_on, released.owner)

    def _go_on(self, request: Request) -> None:
        if request.is_open:
            self._drive(request)

    # The network

    def _transmit(self, request: Request, attempt: Attempt) -> None:
        asking = request.asking
        if self._happens(self.faults.rebound):
            asking.moves += 1
            self.counts["rebound"] += 1
        self._carry(self._serve, attempt.datagram, asking.address)
        if self._happens(self.faults.stolen):
            for _ in range(self.random.randint(1, 5)):
                self.counts["stolen"] += 1
                how = self.random.choice((self._serve, self._serve, self._serve_with_cookie))
                source = asking.address if how == self._serve and self._happens(0.7) else _THIEF
                self._after(900 * self.random.random() ** 3, how, attempt.datagram, source)

    def _carry(self, arrive: Callable[..., None], *args: Any) -> None:
        """Have it arrive, never, once or twice, some time."""
        for _ in range(2 if self._happens(self.faults.doubled) else 1):
            if self._happens(self.faults.lost):
                continue
            delay = 0.02 * (0.5 + self.random.random())
            if self._happens(self.faults.slow):
                delay += 3 * self.random.random()
            if self._happens(self.faults.very_slow):
                delay += 900 * self.random.random()
            self._after(delay, arrive, *args)

    # The server

    def _stop(self) -> None:
        if not self._left:
            return
        self.boot.is_draining = self._happens(self.faults.drained)
        self._after(2.0 if self.boot.is_draining else 0.0, self._restart)

    def _restart(self) -> None:
        self.boot = Boot(self.boot.number + 1, self.faults, self.random)
        self.counts["restarts"] += 1
        self._after(self.random.expovariate(self.faults.restarts / 60), self._stop)

    def _serve_with_cookie(self, data: bytes, source: Peer) -> None:
        """A thief, who has asked for a cookie of its own, puts it into what it has stolen."""
        message = decode_message_untrusted(data)
        if isinstance(message, Message) and message.cookie:
            cookie = self.boot.validation.cookies.grant(source, message.ids[:8], self.now)
            self.boot.cookies_sent[source] = self.now
            self._serve(encode_message(message._replace(cookie=cookie)), source)

    def _serve(self, data: bytes, source: Peer) -> None:
        boot = self.boot
        question = boot.protocol.receive_datagram(data)
        if isinstance(question, DropReason):
            raise self._broken(f"a good request was dropped as {question}")
        is_proven = boot.cookies_sent.get(source, -_COOKIE_GOOD_FOR) > self.now - _COOKIE_GOOD_FOR
        arrival = Arrival(data, source, is_proven)
        admitted = boot.protocol.admit(question, source, self.now, arrival, may_run=not boot.is_draining)
        self._check_limits(boot)
        if isinstance(admitted, Turned):
            self.counts["again"] += admitted.kind in (None, AnswerKind.REPLY, AnswerKind.ERROR)
            self._answer(boot, arrival, admitted.datagram)
        elif isinstance(admitted, Question):
            if boot.is_draining:
                self._answer(boot, arrival, boot.protocol.refuse(admitted, AnswerKind.BUSY))
            else:
                self._run(boot, admitted, arrival)

    def _run(self, boot: Boot, question: Question, arrival: Arrival) -> None:
        request = self._asked[question.payload.rstrip()]
        request.runs += 1
        self.counts["runs"] += 1
        if request.at_most_once and request.runs > 1:
            raise self._broken(f"request {request.name!r} has run {request.runs} times")
        if not self._happens(self.faults.waiting):
            self._end(boot, question, arrival)
        else:
            self._after(
                self.random.choice((0.5, 5.0, 5.0, 600.0)) * self.random.random(), self._end, boot, question, arrival
            )

    def _end(self, boot: Boot, question: Question, arrival: Arrival) -> None:
        """The handler ends, as the shell has it; if its server is gone nobody hears of it."""
        if boot is not self.boot:
            return
        request = self._asked[question.payload.rstrip()]
        question, arrival = boot.protocol.newest(question, arrival)
        answer = self._fail(boot, question) if self._happens(self.faults.failing) else None
        if answer is None and not self._happens(self.faults.failing):
            said = b"%s has run %d times" % (request.name, request.runs)
            said = said.ljust(self.random.choice((0, 0, 300, 1200, 3000)))
            request.replies.add(said)
            kind, answer = boot.protocol.reply(question, said)
            if kind is AnswerKind.RETRY:
                answer = boot.protocol.retry(question, arrival.source, self.now, said)
        elif answer is None:
            boot.protocol.settle(question, AnswerKind.REPLY, None)
        self._check_limits(boot)
        self._answer(boot, arrival, answer)

    def _fail(self, boot: Boot, question: Question) -> bytes | None:
        boot.protocol.settle(question, AnswerKind.ERROR)
        return boot.protocol.refuse(question, AnswerKind.ERROR)

    def _answer(self, boot: Boot, arrival: Arrival, answer: bytes | None) -> None:
        if answer is None:
            return
        source = arrival.source
        self._check_budget(arrival, answer)
        self._check_reply(answer)
        if answer.startswith(_RETRY_WITH_COOKIE):
            boot.cookies_sent[source] = self.now
        for asking in self.clients:
            if source[0] == asking.address[0]:
                self._carry(self._deliver, asking, source, answer)

    def _deliver(self, asking: Asking, destination: Peer, answer: bytes) -> None:
        if destination != asking.address:
            return  # the NAT has forgotten where that was
        exchange = asking.protocol.receive_datagram(answer, _SERVER, self.now)
        if isinstance(exchange, DropReason):
            return
        request = exchange.owner
        if not isinstance(request, Request) or not request.is_open:
            raise self._broken(f"an answer was taken for one to {request}")
        if exchange.outcome is not None and exchange.outcome.payload not in request.replies:
            raise self._broken(f"request {request.name!r} was replied to with {exchange.outcome.payload!r}")
        if exchange.news or exchange.is_over:
            self._drive(request)

    # What has to hold

    def _check_budget(self, arrival: Arrival, answer: bytes) -> None:
        """E4: more than came from there goes there only after a cookie has."""
        if len(answer) > len(arrival.data):
            if not arrival.is_proven or len(answer) > HEADER_SIZE + 1200:
                raise self._broken(f"{len(answer)} bytes for {arrival}")
            self.counts["longer answers"] += 1

    def _check_reply(self, answer: bytes) -> None:
        """E1: what is said again is what was said before; and it was said by the one run."""
        message = decode_message_untrusted(answer)
        if isinstance(message, DropReason):
            raise self._broken(f"the server says {answer!r}")
        if message.type is MessageType.REPLY:
            request = self._asked[message.payload.partition(b" has run ")[0]]
            if message.payload not in request.replies or (request.at_most_once and len(request.replies) != 1):
                raise self._broken(f"request {request.name!r} is replied to with {message.payload!r}")

    def _check_limits(self, boot: Boot) -> None:
        """E2."""
        held = boot.validation.replies
        if held.clients_held > self.faults.max_clients or not 0 <= held.bytes_held <= self.faults.max_bytes:
            raise self._broken(f"{held.clients_held} clients and {held.bytes_held} bytes are held")

    # Small parts

    def _broken(self, what: str) -> Broken:
        return Broken(f"at {self.now} s: {what}, in {self.faults}")

    def _happens(self, share: float) -> bool:
        return share > 0 and self.random.random() < share

    def _after(self, seconds: float, act: Callable[..., None], *args: Any) -> None:
        self._order += 1
        heapq.heappush(self._events, (self.now + seconds, self._order, act, args))
