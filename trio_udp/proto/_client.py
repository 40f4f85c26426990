"""The client's protocol: every request of one client, and which datagram to believe.

Arithmetic only. `now`, random bytes and addresses come in as arguments; datagrams and waits come out as values. So a
hundred million forged replies can be tried without a socket, and the shell around it (`trio_udp._client`) is one loop
a request,

    while not exchange.is_over:
        while attempt := exchange.next_attempt(now): send it
        wait for exchange.news

and one for them all: `receive_datagram` whatever arrives, and at the time of `next_due` `take_due`. Either returns the
exchanges whose news are set. Who has one exchange only may wait for its own `next_timeout` instead.

What must hold: an answer reaches the exchange it belongs to only if `ClientProtocol.receive_datagram` matched it (A1).
"""

import math
import struct
from collections import Counter, OrderedDict
from collections.abc import Sequence
from typing import Final

from ._asked import Asked, KnownServer
from ._codec import COOKIE_SIZE, ONCE_SIZE, TAG_SIZE
from ._drop_reason import DropReason
from ._errors import PayloadTooLarge
from ._exchange import SLACK, Exchange
from ._exchanges import ExchangeTable, Peer
from ._once import OnceState
from ._profile import INSTANCE_SIZE, Answer, Profile, Validating
from ._retry_budget import RetryBudget
from ._schedule import RetryPolicy
from ._seal import IDS, REQUEST, Seal, check_sealable, is_sealed_untrusted, open_answer_untrusted, stamp
from ._timers import Timers
from ._window import Window

DEFAULT_MAX_PAYLOAD: Final = 1200
"""Bytes that fit any Internet path undivided (RFC 9000 section 14)."""
DEFAULT_MAX_IN_FLIGHT: Final = 128
"""Half of what the usual receive buffer of 212,992 bytes holds: a small datagram takes 768 bytes of it (measured)."""
_DRAW: Final = struct.Struct("!H")
_LARGEST_DRAW: Final = 65_535
_WRONG_PEER: Final = DropReason.WRONG_PEER  # looked up once, because that is slow


class ClientProtocol:
    """All open exchanges of one client with the servers it was made for. Bounded by what the client opens."""

    def __init__(
        self,
        profile: Profile,
        peers: Sequence[Peer],
        *,
        random: bytes,
        max_payload: int = DEFAULT_MAX_PAYLOAD,
        max_in_flight: int = DEFAULT_MAX_IN_FLIGHT,
        seal: Seal | None = None,
    ) -> None:
        """Make the protocol of one client.

        Args:
            profile: the wire format.
            peers: the servers, in order of preference; each once.
            random: 8 random bytes a server, for the instance ids; `ValueError` for more or fewer.
            max_payload: the longest payload a request may have, in bytes.
            max_in_flight: what `window` begins with, if the profile can tell so many answers apart. To keep to it is
                the caller's business.
            seal: the key that vouches for requests and answers; `ValueError` if the format has no room for a tag.
        """
        if seal is not None:
            check_sealable(profile)
        if len(random) != INSTANCE_SIZE * len(peers):
            raise ValueError(f"expected {INSTANCE_SIZE * len(peers)} random bytes, got {len(random)}")
        self.profile = profile
        self._decode = profile.decode_answer_untrusted
        self._encode_request = profile.encode_request
        self._new_key = profile.new_key
        self._key_size = profile.random_size
        self.exchanges: ExchangeTable[Asked] = ExchangeTable(peers)
        self.timers: Timers[Exchange] = Timers()
        self.dropped: Counter[DropReason] = Counter()
        self.window = Window(min(max_in_flight, profile.max_outstanding or max_in_flight))
        self.budget = RetryBudget()
        self.opened = 0
        """Requests, from the beginning."""
        self.held: OrderedDict[Exchange, None] = OrderedDict()
        """At-most-once requests that wait for a number."""
        self._released: list[Exchange] = []
        self._validating = profile if isinstance(profile, Validating) else None
        self.random_size = _DRAW.size + profile.random_size * len(peers)
        """Random bytes that `open_exchange` wants."""
        longest = profile.max_payload - (0 if seal is None else TAG_SIZE)
        self.max_payload = min(max_payload, longest)
        self._max_extended = longest - COOKIE_SIZE - ONCE_SIZE
        """The longest payload that has room for both beside it."""
        self.seal = seal
        """The key that is asked under now; None for a client without."""
        self._servers = [
            KnownServer(peer, random[start : start + INSTANCE_SIZE])
            for peer, start in zip(peers, range(0, len(random), INSTANCE_SIZE), strict=True)
        ]

    @property
    def servers(self) -> tuple[KnownServer, ...]:
        """The servers, the one that answered last first."""
        return tuple(self._servers)

    @property
    def is_keyed(self) -> bool:
        """Whether it has a key."""
        return self.seal is not None

    def set_seal(self, seal: Seal) -> None:
        """Ask under this key from now on; what was asked before may still be answered under the one before.

        What must not run twice keeps the key it was born under: a server takes who asks under another one for somebody
        else, and would run it for him too (E1).
        """
        if self.seal is None:
            raise ValueError("expected a client that was opened with a key")
        self.seal = seal

    def open_exchange(
        self, payload: bytes, policy: RetryPolicy, random: bytes, *, at_most_once: bool = False
    ) -> Exchange:
        """Open a request to all servers, each with ids of its own (A8). Close it when it is over, whatever ended it.

        One that must run at most once goes to all of them only to ask if they are there, and then to one. `ValueError`
        where the profile has no word for it.

        Raises `PayloadTooLarge` (G1), `ValueError` where the profile cannot carry the payload, and `TypeError` for what
        is not `bytes`: a buffer that changes between two transmissions is two requests.
        """
        if not isinstance(payload, bytes):
            raise TypeError(f"expected the payload to be bytes, got {type(payload).__name__}")
        limit = self.max_payload
        if at_most_once:
            if self._validating is None:
                raise ValueError(f"expected a profile that can say at most once, got {self.profile.name}")
            limit = min(limit, self._max_extended)
        if len(payload) > limit:
            raise PayloadTooLarge(len(payload), limit)
        draw = _DRAW.unpack_from(random)[0] / _LARGEST_DRAW
        self.opened += 1
        rto = self._servers[0].estimator.rto if len(self._servers) == 1 else self._slowest_rto(policy)
        exchange = Exchange(self, payload, policy, rto, draw)
        if at_most_once:
            exchange.once = OnceState()
        start = _DRAW.size
        try:
            for server in self._servers:
                end = start + self._key_size
                exchange.open_to(server, self._new_key(payload, server.instance, random[start:end]))
                start = end
        except ValueError:
            exchange.close()
            raise
        return exchange

    def encode(self, asked: Asked, attempt: int) -> bytes:
        """The datagram of one transmission."""
        exchange = asked.exchange
        payload, once = exchange.payload, exchange.once
        room = 0 if asked.padded_from is None else self.profile.overhead + self.max_payload
        if once is None and not asked.server.needs_cookie:
            datagram = self._encode_request(payload, asked.key, attempt, room)
        else:
            datagram = self._encode_extended(payload, asked, attempt, room)
        seal = self.seal if once is None else once.seal or self.seal
        if seal is not None:
            datagram = seal.seal(REQUEST, datagram)
            asked.stamps += (stamp(seal, datagram),)
        return datagram

    def _encode_extended(self, payload: bytes, asked: Asked, attempt: int, room: int) -> bytes:
        """With a cookie where there is room for it, and with what keeps it from running twice."""
        once, cookie = asked.exchange.once, asked.server.cookie
        if self._validating is None or (once is None and len(payload) > self._max_extended):
            return self._encode_request(payload, asked.key, attempt, room)
        extension = b"" if once is None else once.extension()
        return self._validating.encode_extended(payload, asked.key, attempt, room, cookie=cookie, once=extension)

    def receive_datagram(
        self, data: bytes, peer: Peer, now: float, hop_limit: int | None = None
    ) -> Exchange | DropReason:
        """The accept rule (A1): the exchange this datagram is an answer in, or why it is not believed, counted."""
        found = self._match_untrusted(data, peer)
        if not isinstance(found, tuple):  # not: `DropReason`, for which Python takes five times as long
            self.dropped[found] += 1
            return found
        asked, answer = found
        exchange = asked.exchange
        exchange.take_answer(asked, answer, now, hop_limit)
        if exchange.outcome is not None:
            if asked.server is not self._servers[0]:
                self._prefer(asked.server)
            if self.window.size < self.window.most:
                self.window.answer()
            exchange.close()
        return exchange

    def receive_hint(self, quote: bytes, peer: Peer, hint: str) -> Exchange | None:
        """The exchange an ICMP error is about, told of it; None when it quotes no open request to that peer."""
        key = self.profile.decode_quote_untrusted(quote)
        asked = DropReason.UNKNOWN_REQUEST if key is None else self.exchanges.match(peer, key)
        if isinstance(asked, DropReason):
            return None
        asked.exchange.take_hint(hint)
        return asked.exchange

    @property
    def next_due(self) -> float:
        """When the first of the exchanges that wait has something to do, if nothing arrives; infinite if none waits."""
        return self.timers.earliest()

    def take_due(self, now: float) -> list[Exchange]:
        """The exchanges that have something to do because of the time. That is their news."""
        due = self.timers.take_due(now + SLACK)
        for exchange in due:
            exchange.news = True
        return due

    def hold(self, exchange: Exchange, ends: float) -> None:
        """Have it wait for a number, until that time."""
        self.held[exchange] = None
        if ends < math.inf:
            self.timers.set(exchange, ends)
        else:
            self.timers.clear(exchange)

    def release(self, exchange: Exchange) -> None:
        """An at-most-once request is over. It may have made room for others: those have news, see `take_released`."""
        self.held.pop(exchange, None)
        room = max(server.ledger.room for server in self._servers)
        for _ in range(min(room, len(self.held))):
            released, _ = self.held.popitem(last=False)
            released.news = True
            self._released.append(released)

    def take_released(self) -> list[Exchange]:
        """The exchanges that have something to do because others are over, since the last time."""
        released, self._released = self._released, []
        return released

    def _slowest_rto(self, policy: RetryPolicy) -> float | None:
        """The slowest server's, so that the first turns are spread for it too; None while nothing was measured."""
        rtos = [server.estimator.rto for server in self._servers]
        if all(rto is None for rto in rtos):
            return None
        return max(policy.initial if rto is None else rto for rto in rtos)

    def _match_untrusted(self, data: bytes, peer: Peer) -> tuple[Asked, Answer] | DropReason:
        if peer not in self.exchanges.peers:
            return _WRONG_PEER
        if self.seal is not None:
            opened = self._open_untrusted(data, peer)
            if isinstance(opened, DropReason):
                return opened
            data = opened
        answer = self._decode(data)
        if not isinstance(answer, Answer):
            return answer
        asked = self.exchanges.match(peer, answer.key)
        if not isinstance(asked, Asked):
            return asked
        made = len(asked.sent)
        if not made or answer.attempt > made:
            return DropReason.UNKNOWN_REQUEST  # the key is right, yet that attempt was never made
        return asked, answer

    def _open_untrusted(self, data: bytes, peer: Peer) -> bytes | DropReason:
        """What lies under the tag. Which one that has to be, only the request it answers can say."""
        if not is_sealed_untrusted(data):
            answer = self.profile.decode_answer_untrusted(data)
            return answer if isinstance(answer, DropReason) else DropReason.BAD_SEAL
        asked = self.exchanges.match(peer, data[IDS])
        return asked if isinstance(asked, DropReason) else open_answer_untrusted(data, asked.stamps)

    def _prefer(self, server: KnownServer) -> None:
        self._servers.remove(server)
        self._servers.insert(0, server)
