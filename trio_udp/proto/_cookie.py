"""Proof that an address receives what is sent to it, without a note about anybody: a cookie goes there and comes back.

A cookie is a keyed digest of the address, the port, the client's instance id and the minute, under a secret that the
server draws when it starts (F7). So nothing is kept for it, a cookie is of no use from any other address, to any other
client, to any other server or after a restart, and it is good in the minute of its making and the next.

What must hold: nobody has a good cookie for an address without having seen what was sent there.
"""

from hashlib import blake2b
from hmac import compare_digest
from typing import Final

from ._codec import COOKIE_SIZE
from ._exchanges import Peer

TICK: Final = 60.0
"""Seconds; what counts minutes counts these, from wherever the server's clock began."""
SECRET_SIZE: Final = 32


def tick_of(now: float) -> int:
    """Which minute it is."""
    return int(now // TICK)


class Cookies:
    """Bakes cookies, and knows its own."""

    def __init__(self, secret: bytes) -> None:
        """Take 32 random bytes that nobody else knows; `ValueError` for more or fewer."""
        if len(secret) != SECRET_SIZE:
            raise ValueError(f"expected {SECRET_SIZE} random bytes for the secret, got {len(secret)}")
        self._secret = secret

    def grant(self, peer: Peer, instance: bytes, now: float) -> bytes:
        """The cookie of this minute for this address, port and instance."""
        return self._bake(peer, instance, tick_of(now))

    def accepts(self, cookie: bytes, peer: Peer, instance: bytes, now: float) -> bool:
        """Whether it is the one of this minute or of the last."""
        tick = tick_of(now)
        return any(compare_digest(cookie, self._bake(peer, instance, then)) for then in (tick, tick - 1))

    def _bake(self, peer: Peer, instance: bytes, tick: int) -> bytes:
        # No host has a space in it, and an instance id has one length: no two askers come to the same bytes.
        asker = f"{peer[0]} {peer[1]} {tick} ".encode() + instance
        return blake2b(asker, key=self._secret, digest_size=COOKIE_SIZE, person=b"trio_udp cookie").digest()
