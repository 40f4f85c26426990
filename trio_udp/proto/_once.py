"""At most once, what both sides say about it: 20 bytes, and how a client numbers its requests to one server.

A server tells each client which start of it this is, by a random *boot id*, and which minute, its *tick*. A client
numbers the requests that must not run twice, and says with each of them the boot id and the tick with which it went out
first (it was *born* then), and the first number that is still *incomplete*: of those below nothing will be heard again.

    boot id (8) · born (4) · sequence (4) · first incomplete (4), big-endian

A request without a boot id, all zeros, runs nowhere and asks for one. So it may go to any number of servers. With one
it is bound to that server, and keeps its boot id and its birth for as long as it is under way: a server that has
started since, or for which it is too old, must not run it.

Numbers are compared as RFC 1982 does it, so that the one after 2^32 - 1 is 0.
"""

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from ._codec import ONCE_SIZE
from ._cookie import TICK

if TYPE_CHECKING:
    from ._seal import Seal

_LAYOUT: Final = struct.Struct("!8sIII")
_NUMBERS: Final = 2**32
BOOT_SIZE: Final = 8
NO_BOOT: Final = bytes(BOOT_SIZE)
UNBORN: Final = bytes(ONCE_SIZE)
"""What a request says that asks for a boot id first."""
WINDOW: Final = 64
"""Numbers from the first incomplete one on that may be under way or answered: so many replies a server keeps for a
client."""


class Once(NamedTuple):
    """The extension, read."""

    boot: bytes
    born: int
    sequence: int = 0
    first: int = 0

    def encode(self) -> bytes:
        """As it stands in a datagram."""
        return _LAYOUT.pack(self.boot, self.born % _NUMBERS, self.sequence, self.first)


def read_once_untrusted(data: bytes) -> Once:
    """What 20 bytes say; any do."""
    return Once(*_LAYOUT.unpack(data))


def distance(start: int, end: int) -> int:
    """How far behind `start` a number comes: 0 to 2^32 - 1. Half of that and more means that it comes before."""
    return (end - start) % _NUMBERS


class Token(NamedTuple):
    """What a server has told: with it a request can be born."""

    boot: bytes
    tick: int
    told: float
    """When it was asked for: it is no older than it was made."""


class Ledger:
    """One client's numbers at one server."""

    __slots__ = ("_done", "_next", "first", "token")

    def __init__(self, start: int = 0) -> None:
        self.token: Token | None = None
        self.first = start
        """The first number that is not complete: the lowest under way, or the next to be given."""
        self._next = start
        self._done: set[int] = set()

    @property
    def room(self) -> int:
        """How many more requests may be under way."""
        return WINDOW - distance(self.first, self._next)

    def learn(self, data: bytes, told: float) -> None:
        """Take what a server says about its start and its clock, in answer to what was sent at that time."""
        once = read_once_untrusted(data)
        is_news = self.token is None or told >= self.token.told
        if once.boot != NO_BOOT and is_news:
            self.token = Token(once.boot, once.born, told)

    def fresh_token(self, now: float) -> Token | None:
        """What a new request can be born with, if it is less than a minute old: its cookie is still good then."""
        token = self.token
        return token if token is not None and now - token.told < TICK else None

    def enter(self, token: Token) -> Once:
        """Give a new request its number."""
        number = self._next
        self._next = (number + 1) % _NUMBERS
        return Once(token.boot, token.tick, number, self.first)

    def complete(self, number: int) -> None:
        """Nothing more is sent or wanted of this one, whatever came of it."""
        self._done.add(number)
        while self.first in self._done:
            self._done.remove(self.first)
            self.first = (self.first + 1) % _NUMBERS


class OnceState:
    """What an exchange that must not run twice knows of itself."""

    __slots__ = ("born", "ledger", "seal")

    def __init__(self) -> None:
        self.ledger: Ledger | None = None
        """Of the server that it is bound to; None while it has gone nowhere but to ask."""
        self.born: Once | None = None
        self.seal: Seal | None = None
        """The key that it was born under: it is sent under no other one."""

    def bind(self, ledger: Ledger, token: Token) -> None:
        """Be born: from now on it goes to this server only."""
        self.ledger = ledger
        self.born = ledger.enter(token)

    def extension(self) -> bytes:
        """What its next transmission says."""
        if self.ledger is None or self.born is None:
            return UNBORN
        return self.born._replace(first=self.ledger.first).encode()

    def distrust(self) -> None:
        """Its server has not said a word, or none that helps: the next request asks first."""
        if self.ledger is not None:
            self.ledger.token = None

    def complete(self) -> None:
        """It is over, whatever came of it."""
        if self.ledger is not None and self.born is not None:
            self.ledger.complete(self.born.sequence)
            self.ledger = self.born = None
