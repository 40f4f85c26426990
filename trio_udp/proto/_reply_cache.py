"""At most once, the server's side: which request has run, and what was replied to it.

What must hold, whatever is lost, repeated, reordered, delayed for hours, or sent again by somebody who has captured it:
a request that was let through once is never let through again (E1, F6). Two things together do it.

- While a client is known, its numbers tell: one that is kept has run or is running, and one below the first incomplete
  number is done with.
- A client is forgotten only when everything that it ever had let through is too old to be let through: a request is
  refused `MAX_AGE` minutes after its birth, a birth is never later than the letting through, and a client is kept for
  longer than that since its last one. After a restart nothing is known, and the boot id is another one (E3).

Everything is bounded, in clients and in bytes, and when it is full new ones are told BUSY. What is alive is never
thrown away for them (E2).
"""

from collections import OrderedDict
from typing import Final, NamedTuple

from ._drop_reason import DropReason
from ._once import BOOT_SIZE, NO_BOOT, WINDOW, Once, distance
from ._profile import AnswerKind

MAX_AGE: Final = 5
"""Minutes after its birth in which a request may run: several times the longest schedule of the presets."""
KEPT_FOR: Final = MAX_AGE + 1
"""Minutes for which a client is kept after its last request. More than `MAX_AGE`: nothing can come back by then."""
DEFAULT_MAX_CLIENTS: Final = 4096
DEFAULT_MAX_BYTES: Final = 16 * 1024 * 1024
CLIENT_COST: Final = 480
"""Bytes that a client takes, apart from its replies: 460 at most, among thousands."""
REPLY_COST: Final = 288
"""Bytes that a kept reply takes, apart from its payload: 220 to 280 by tracemalloc, with CPython 3.11 to 3.13."""
RESERVED: Final = 1200
"""Bytes set aside for the reply of a running handler: as long as one may be by default."""

_BEFORE: Final = 2**31
"""A number that is as far behind another comes before it."""

Owner = tuple[int, bytes]
"""Who asks: key id, instance id."""


class Client:
    """What is known about one client."""

    __slots__ = ("first", "kept", "tick")

    def __init__(self, first: int) -> None:
        self.first = first
        """Its first incomplete number, as far as it has told."""
        self.kept: dict[int, Kept] = {}
        self.tick = 0
        """The minute in which it was last heard."""


class Kept:
    """One request that was let through, and its answer once there is one."""

    __slots__ = ("cost", "key", "kind", "newest", "payload")

    def __init__(self, key: bytes) -> None:
        self.key = key
        self.newest: object = None
        """The newest attempt, while the handler runs; for the server's protocol, which answers it."""
        self.kind: AnswerKind | None = None
        """What was answered; None while the handler runs."""
        self.payload: bytes | None = b""
        """None where the handler has chosen to be silent."""
        self.cost = REPLY_COST + RESERVED
        """Bytes it is counted with; 0 when nobody will ask for it any more."""


class OnceRequest(NamedTuple):
    """One arrival of a request that must not run twice."""

    once: Once
    owner: Owner
    key: bytes
    """Its ids."""
    is_proven: bool
    """Whether the address that it came from receives what is sent there."""


class ReplyCache:
    """The requests that one server has let through since it started."""

    def __init__(
        self, boot: bytes, *, max_clients: int = DEFAULT_MAX_CLIENTS, max_bytes: int = DEFAULT_MAX_BYTES
    ) -> None:
        """Remember nothing yet.

        Args:
            boot: 8 random bytes of this start of the server.
            max_clients: how many clients are known at a time, at most.
            max_bytes: how many bytes of memory they and the replies to them may take, as far as Python lets one tell.
        """
        if len(boot) != BOOT_SIZE or boot == NO_BOOT:
            raise ValueError(f"expected a boot id of {BOOT_SIZE} bytes that are not all zero, got {boot.hex()}")
        self.boot = boot
        self.bytes_held = 0
        self._max_clients = max_clients
        self._max_bytes = max_bytes
        self._clients: OrderedDict[Owner, Client] = OrderedDict()
        """The one that was heard last comes last."""
        self._tick = 0

    @property
    def clients_held(self) -> int:
        """How many clients are known."""
        return len(self._clients)

    def admit(self, request: OnceRequest, tick: int, *, may_run: bool) -> Kept | AnswerKind | DropReason:
        """What is kept of a request; or what to say to it, or why to be silent, where there is nothing.

        If it is new, fresh, and there is room, it is let through, and is running from now on: then what is kept has no
        `newest` attempt yet, and it is the caller's to give it one.

        Args:
            request: who asks what.
            tick: which minute it is.
            may_run: whether the handler may be called now. What is not new does not care.
        """
        self._go_on_to(tick)
        refusal = self._judge(request)
        if refusal is not None:
            return refusal
        once = request.once
        client = self._clients.get(request.owner)
        if client is not None:
            self._hear(request.owner, client, once.first)
            if distance(client.first, once.sequence) >= _BEFORE:
                return DropReason.REPLAYED
            kept = client.kept.get(once.sequence)
            if kept is not None:
                return kept if kept.key == request.key else DropReason.REPLAYED
        if not may_run or not self._has_room(client):
            return AnswerKind.BUSY
        return self._let_through(client or self._meet(request.owner, once.first), request)

    def _judge(self, request: OnceRequest) -> AnswerKind | DropReason | None:
        """What there is to say before anything is looked up."""
        once = request.once
        if once.boot == NO_BOOT:
            return AnswerKind.RETRY
        if once.boot != self.boot or not 0 <= self._tick - once.born <= MAX_AGE:  # from the future: not born here
            return AnswerKind.OUTCOME_UNKNOWN
        if not request.is_proven:
            return AnswerKind.RETRY
        ahead = distance(once.first, once.sequence)
        if ahead < WINDOW:
            return None
        return AnswerKind.BUSY if ahead < _BEFORE else DropReason.REPLAYED

    def settle(self, kept: Kept, kind: AnswerKind, payload: bytes | None) -> None:
        """The handler's end: keep what is answered, for whoever asks again.

        A reply longer than what was set aside, when there is no room for the rest, is not kept: who asks again learns
        that nobody knows.
        """
        kept.newest = None
        kept.kind, kept.payload = kind, payload
        if not kept.cost:
            return
        cost = REPLY_COST + len(payload or b"")
        if self.bytes_held - kept.cost + cost > self._max_bytes:
            kept.kind, kept.payload, cost = AnswerKind.OUTCOME_UNKNOWN, b"", REPLY_COST
        self.bytes_held += cost - kept.cost
        kept.cost = cost

    def _has_room(self, client: Client | None) -> bool:
        more = REPLY_COST + RESERVED + (CLIENT_COST if client is None else 0)
        fits = client is not None or len(self._clients) < self._max_clients
        return fits and self.bytes_held + more <= self._max_bytes

    def _meet(self, owner: Owner, first: int) -> Client:
        client = self._clients[owner] = Client(first)
        client.tick = self._tick
        self.bytes_held += CLIENT_COST
        return client

    def _hear(self, owner: Owner, client: Client, first: int) -> None:
        """It is alive, and forgets what is below this number, unless we have been told more already."""
        client.tick = self._tick
        self._clients.move_to_end(owner)
        if 0 < distance(client.first, first) < _BEFORE:
            client.first = first
            self._drop(client, [number for number in client.kept if distance(first, number) >= _BEFORE])

    def _let_through(self, client: Client, request: OnceRequest) -> Kept:
        kept = client.kept[request.once.sequence] = Kept(request.key)
        self.bytes_held += kept.cost
        return kept

    def _go_on_to(self, tick: int) -> None:
        """Forget, with the minute, the clients whose every request is too old by now."""
        if tick <= self._tick:
            return
        self._tick = tick
        while self._clients:
            client = next(iter(self._clients.values()))
            if tick - client.tick <= KEPT_FOR:
                return
            self._clients.popitem(last=False)
            self._drop(client, list(client.kept))
            self.bytes_held -= CLIENT_COST

    def _drop(self, client: Client, numbers: list[int]) -> None:
        """Nobody will ask for these any more. A handler may still be running."""
        for number in numbers:
            kept = client.kept.pop(number)
            self.bytes_held -= kept.cost
            kept.cost = 0
