"""What a relay forges, and when: replies that a client must not believe, and ICMP errors that must end nothing.

Arithmetic: no sockets, and the random source is given.
"""

from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import Final

from ._chaos import Packet

FORGERIES: Final = ("junk", "reflected", "altered", "stray")
"""Replies that may be forged: random bytes; the client's own datagram; the last reply, its last 8 bytes exchanged for
others; and the last reply or random bytes from another port. All but the last come from the address that the client
asked."""
UNREACHABLE: Final = ("port unreachable", "host unreachable", "network unreachable", "prohibited")
"""ICMP errors that may be forged. Not "fragmentation needed", which the whole host would remember for minutes."""
_ALTERED: Final = 8
_JUNK: Final = 64

Forge = Callable[[Packet], Iterable[str]]
"""What to forge, of `FORGERIES` or of `UNREACHABLE`, before this datagram of a client goes up: before any answer to it
can come."""


def forge_at_random(share: float, random: Random, kinds: Sequence[str] = FORGERIES) -> Forge:
    """Forge something before this share of the datagrams that go up, each kind as often as the others."""
    if not 0 <= share <= 1:
        raise ValueError(f"expected share to be from 0 to 1, got {share}")

    def forge(packet: Packet) -> Iterable[str]:
        if share > 0 and random.random() < share:
            yield kinds[int(random.random() * len(kinds))]

    return forge


def check_kind(kind: str, kinds: Sequence[str]) -> None:
    """`ValueError` unless it is one of these."""
    if kind not in kinds:
        raise ValueError(f"expected a forgery of {', '.join(kinds)}, got {kind!r}")


def forged_reply(kind: str, request: bytes, reply: bytes, random: Random) -> bytes:
    """A reply of this kind to a client that has sent `request`, and before it has had `reply`, if anything."""
    if kind == "reflected":
        return request
    if kind == "junk" or not reply:
        return random.randbytes(len(reply) or _JUNK)
    return reply if kind == "stray" else reply[:-_ALTERED] + random.randbytes(min(_ALTERED, len(reply)))
