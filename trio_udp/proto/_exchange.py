"""One request from its first transmission to its end, with one server or several: what to send, and how long to wait.

What must hold: only an answer that was believed, or the end of the schedule, ends an exchange (A1, A2). A hint, which
is what an ICMP error is, may bring another server's first turn forward and nothing else (G5).

Several servers: each has the whole schedule to itself, so none hears from us twice in an RTO (C6). Their first turns
are spread evenly over the first wait, the server that answered last goes first, and a hint or a refusal gives the next
one its turn at once. So one server carries the traffic while it answers in time, and a dead one costs a fraction of a
wait.
"""

import enum
from math import inf
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ._asked import Asked, KnownServer
from ._codec import MAX_ATTEMPT, Message
from ._drop_reason import DropReason
from ._exchanges import Peer
from ._once import OnceState
from ._profile import Answer, AnswerKind
from ._refusal import Refusal, read_refusal_untrusted
from ._schedule import RetryPolicy

if TYPE_CHECKING:
    from ._client import ClientProtocol

_REPLY: Final = AnswerKind.REPLY  # these are looked up once, because that is slow
_DUPLICATE: Final = DropReason.DUPLICATE
_LATE: Final = DropReason.LATE
_new: Final = tuple.__new__
"""For one object an attempt or an answer: two thirds of the price of calling the class."""

SLACK: Final = 1e-9
"""Seconds: a timeout that is over but for a rounding error is over."""
_MAX_GRANTS: Final = 4
"""Cookies of one server that an exchange acts on at once. Beyond them it waits for its turn: a network that changes our
address with every datagram makes every cookie a bad one."""


class Attempt(NamedTuple):
    """One transmission: what to send, and where to."""

    number: int
    """1 for the first to this server; the number it echoes."""
    peer: Peer
    datagram: bytes
    wait: float
    """Seconds until this server is asked again, or given up."""


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
    authenticated: bool = False
    """Whether its tag was checked."""


class Failure(enum.Enum):
    """Why an exchange ended without a reply."""

    NO_REPLY = "no_reply"
    BUSY = "busy"
    """Nothing better than BUSY came before the schedule's end."""
    ERROR = "error"
    """A server answered that its handler failed, and no other one had anything better to say."""
    NO_ROOM = "no_room"
    """A server answered that its reply does not fit the largest request this client may send; none said better."""
    OUTCOME_UNKNOWN = "outcome_unknown"
    """The server of an at-most-once request cannot tell whether it has run."""


class Exchange:
    """A request with all its transmissions, and its reply once that is believed."""

    __slots__ = (
        "_asked",
        "_draw",
        "_ends",
        "_first_wait",
        "_policy",
        "_protocol",
        "_rto",
        "_steps",
        "_waits",
        "attempts",
        "began",
        "due",
        "failure",
        "hint",
        "is_over",
        "news",
        "once",
        "outcome",
        "owner",
        "payload",
        "refusal",
    )

    def __init__(
        self, protocol: "ClientProtocol", payload: bytes, policy: RetryPolicy, rto: float | None, draw: float
    ) -> None:
        self.payload = payload
        self.attempts = 0
        """Transmissions made so far."""
        self.outcome: Outcome | None = None
        self.failure: Failure | None = None
        """Set when every server has said its last word, or the schedule has ended. An outcome beside it wins."""
        self.is_over = False
        """Whether there is one of these, and so nothing more to send or to wait for."""
        self.hint: str | None = None
        """The last ICMP or send error, as its errno's name. ICMP may be forged."""
        self.refusal: Refusal | None = None
        """Why a server has refused it, if one has said so; the last one's word."""
        self.news = False
        """Whether there is something to do: its time has come, or something has arrived."""
        self.due = inf
        """When there is something to do if nothing arrives, for the client's timers; infinite while that is not set."""
        self.began = inf
        """When the first transmission was made."""
        self.owner: Any = None
        """Who opened it, if that is not the one who waits for it; for the shell, which alone looks at it."""
        self.once: OnceState | None = None
        """Set if it must not run twice."""
        self._protocol = protocol
        self._policy = policy
        self._rto = rto
        self._draw = draw
        self._first_wait = policy.first_wait(rto, draw)
        self._waits: tuple[float, ...] = ()  # most are answered in the first one, and have no need of the others
        self._steps = policy.attempts
        if policy.give_up_after is not None:
            self._waits = tuple(policy.waits(rto, draw))
            self._steps = len(self._waits)
        self._ends = inf
        self._asked: tuple[Asked, ...] = ()

    def next_attempt(self, now: float) -> Attempt | None:
        """The next transmission to make now; None when there is none, now or ever.

        Call it until it returns None: at the beginning, and whenever `news` is set or `next_timeout` has passed. With
        None it begins to wait among the client's timers; with an attempt, where it is clear that nothing else can be
        due: then `due` is finite, and it need not be called again. It is given up only if it has waited there: so what
        arrived while this process was stopped, between a transmission and the next call, is looked at before.
        """
        is_told = self.news
        self.news = False
        if self.is_over:
            return None
        if self.began == inf and (first := self._begin(now)) is not None:
            return first
        due, asked = self._next()
        soon = now + SLACK
        if due > soon:
            if due != self.due:
                self._protocol.timers.set(self, due)
            return None
        if asked is None or soon >= self._ends:
            self._give_up(due, is_told=is_told)
            return None
        if self.once is not None and not self._may_go(self.once, asked, now):
            return None
        may_transmit = not asked.step or asked.is_asked_again or self._may_retransmit(asked, now)
        self._protocol.timers.clear(self)  # until it is known what is due next
        return self._transmit(asked, now) if may_transmit else self.next_attempt(now)

    def next_timeout(self, now: float) -> float:
        """Seconds until there is something to send, or until the schedule ends: how long to wait for `news`."""
        if self in self._protocol.held and not self.news:
            return max(self._ends - now, 0.0)
        return 0.0 if self.is_over else max(self._next()[0] - now, 0.0)

    def close(self) -> None:
        """Forget the request, because it was answered, given up or cancelled: what still comes is late (A9)."""
        if not self._asked:
            return
        answered_by = None if self.outcome is None else self.outcome.peer
        for asked in self._asked:
            peer = asked.server.peer
            self._protocol.exchanges.close(peer, asked.key, _DUPLICATE if peer == answered_by else _LATE)
        self._asked = ()
        self._protocol.timers.clear(self)
        if self.once is not None:
            self.once.complete()
            self._protocol.release(self)

    def open_to(self, server: KnownServer, key: bytes) -> None:
        """Make this server one of those the request goes to."""
        asked = Asked(self, server, key)
        self._protocol.exchanges.open(server.peer, key, asked)
        self._asked += (asked,)

    def take_answer(self, asked: Asked, answer: Answer, now: float, hop_limit: int | None) -> None:
        """Act on an answer that the accept rule let through."""
        _, payload, attempt, kind, _ = answer
        server = asked.server
        if kind is not _REPLY:
            if not asked.is_out:  # else the network has reordered, and this was said before its last word
                self._take_refusal(asked, answer)
            return
        # Without an echoed number the reply may belong to any transmission: a sample only if there was just one (Karn).
        sent = asked.sent[attempt - 1 if attempt else 0]
        rtt = now - sent
        if attempt or len(asked.sent) == 1:
            # Behind this server's next turn nobody was there to read it, and for how long it has waited nobody knows.
            is_in_time = now <= asked.due or asked.is_asked_again
            server.estimator.update(rtt if is_in_time else asked.due - sent)
        keyed = bool(asked.stamps)
        self.outcome = _new(Outcome, (payload, rtt, self.attempts, server.peer, hop_limit, keyed))
        self.is_over = self.news = True

    def take_hint(self, hint: str) -> None:
        """Act on an ICMP error, or on a failed send: ask one server more, if there is one (G5, G6)."""
        self.hint = hint
        self._ask_one_more()

    def _may_go(self, once: OnceState, asked: Asked, now: float) -> bool:
        """Whether a request that must not run twice may go there now, which binds it to that server.

        Without a fresh token it goes there only to ask for one; and there may be no room for another number.
        """
        ledger = asked.server.ledger
        token = None if once.ledger is not None else ledger.fresh_token(now)
        if token is None:
            return True
        if not ledger.room:
            self._protocol.hold(self, self._ends)
            return False
        once.bind(ledger, token)
        once.seal = self._protocol.seal
        self._protocol.held.pop(self, None)  # a cookie that came late may have made it look before it was told to
        for other in self._asked:
            if other is not asked:
                other.is_out, other.failure = True, None
        return True

    def _give_up(self, due: float, *, is_told: bool) -> None:
        """End here, if it has waited among the timers for that, or is closed, so that there is nobody to wait for."""
        if is_told or due in (self.due, -inf):
            self._fail()
            if self.once is not None:
                self.once.distrust()
        else:
            self._protocol.timers.set(self, due)

    def _begin(self, now: float) -> Attempt | None:
        """Make the first transmission; None if it has to be looked at before whether that may go."""
        self.began = now
        if self.once is not None:
            self._line_up(now)
            return None
        if len(self._asked) > 1 or self._policy.give_up_after is not None:
            self._line_up(now)
        elif self._steps > 1:
            self._protocol.timers.set(self, now + self._first_wait)  # nothing else can be due before that
        return self._transmit(self._asked[0], now)

    def _line_up(self, now: float) -> None:
        """Spread the first turns of all servers over the first wait."""
        if self._policy.give_up_after is not None:
            self._ends = now + self._policy.give_up_after
        count = len(self._asked)
        for index in range(1, count):
            self._asked[index].due = now + self._first_wait * index / count

    def _next(self) -> tuple[float, Asked | None]:
        """When there is something to do, and which server is to be asked then; none if it is to be given up."""
        if len(self._asked) == 1 and not self._asked[0].is_out:  # what follows, for one
            asked = self._asked[0]
            due = asked.due
            if due >= self._ends:
                return self._ends, None
            return due, None if asked.step == self._steps and not asked.is_asked_again else asked
        due, next_one = inf, None
        given_up = -inf
        for asked in self._asked:
            if asked.is_out:
                continue
            if asked.step == self._steps and not asked.is_asked_again:
                given_up = max(given_up, asked.due)
            elif asked.due < due:
                due, next_one = asked.due, asked
        if next_one is None:
            due = given_up  # when the last of those that are left will have been waited for
        return (due, next_one) if due < self._ends else (self._ends, None)

    def _wait_after(self, step: int) -> float:
        if not self._waits:
            self._waits = tuple(self._policy.waits(self._rto, self._draw))
        return self._waits[step - 1]

    def _may_retransmit(self, asked: Asked, now: float) -> bool:
        """Slow down, because no reply came (C6). Pass this turn over if it was busy, and enough is sent again."""
        protocol = self._protocol
        protocol.window.lose(asked.sent[-1], now)
        if asked.failure is not Failure.BUSY or protocol.budget.spend(protocol.opened):
            return True
        asked.step += 1
        asked.due = now + self._wait_after(asked.step)
        return False

    def _transmit(self, asked: Asked, now: float) -> Attempt:
        if asked.is_asked_again:
            asked.is_asked_again = False
        else:
            asked.step += 1
        wait = self._first_wait if asked.step == 1 else self._wait_after(asked.step)
        asked.due = now + wait
        asked.sent += (now,)
        self.attempts += 1
        number = len(asked.sent)
        return _new(Attempt, (number, asked.server.peer, self._protocol.encode(asked, number), wait))

    def _take_refusal(self, asked: Asked, answer: Answer) -> None:
        match answer.kind:
            case AnswerKind.RETRY if answer.message is not None:
                self._take_cookie(asked, answer.message, answer.attempt)
            case AnswerKind.RETRY:
                self._take_retry(asked, answer.attempt)
            case AnswerKind.OUTCOME_UNKNOWN if self.once is not None:
                self.once.distrust()
                self._take_failure(asked, Failure.OUTCOME_UNKNOWN)
            case _:
                self.refusal = read_refusal_untrusted(answer.payload)
                self._take_failure(asked, Failure.BUSY if answer.kind is AnswerKind.BUSY else Failure.ERROR)

    def _take_retry(self, asked: Asked, attempt: int) -> None:
        """Ask again with all the room there is, once; a second RETRY for a padded attempt is the server's last word."""
        if asked.padded_from is None and len(self.payload) < self._protocol.max_payload:
            asked.server.needs_room = True
            asked.padded_from = len(asked.sent) + 1
            self._ask_again(asked)
        elif asked.padded_from is None or attempt >= asked.padded_from:
            self._take_failure(asked, Failure.NO_ROOM)

    def _take_cookie(self, asked: Asked, message: Message, attempt: int) -> None:
        """Ask again with it at once, unless this is said to an attempt before the one that has it already."""
        server = asked.server
        server.cookie = message.cookie
        if message.once:
            server.ledger.learn(message.once, asked.sent[attempt - 1])
        if self.once is None:
            server.needs_cookie = True
        if attempt >= asked.granted_from and asked.grants < _MAX_GRANTS:
            asked.grants += 1
            asked.granted_from = len(asked.sent) + 1
            self._ask_again(asked)

    def _ask_again(self, asked: Asked) -> None:
        """Make a transmission that is not of the schedule, now, if attempts can still be numbered after it."""
        if len(asked.sent) + self._steps - asked.step < MAX_ATTEMPT:
            asked.is_asked_again = True
            asked.due = -inf
            self.news = True

    def _take_failure(self, asked: Asked, failure: Failure) -> None:
        asked.failure = failure
        asked.is_out = failure is not Failure.BUSY
        if all(other.is_out for other in self._asked):
            self._fail()
        # Without this server the end may have come nearer, so that whoever waits has to look at the clock again.
        self.news = self.news or asked.is_out
        self._ask_one_more()

    def _ask_one_more(self) -> None:
        """Give the next server that was not asked yet its first turn now."""
        unasked = [asked for asked in self._asked if not asked.step and not asked.is_out]
        if unasked:
            min(unasked, key=_due).due = -inf
            self.news = True

    def _fail(self) -> None:
        """End without a reply."""
        self.failure = self._last_word()
        self.is_over = True

    def _last_word(self) -> Failure:
        said = {asked.failure for asked in self._asked}
        words = (Failure.OUTCOME_UNKNOWN, Failure.BUSY, Failure.ERROR, Failure.NO_ROOM)
        return next((word for word in words if word in said), Failure.NO_REPLY)


def _due(asked: Asked) -> float:
    return asked.due
