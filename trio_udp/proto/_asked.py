"""What a client knows about a server, for as long as it lives, and what has passed between that server and one request.

Nothing here decides anything: `Exchange` does, which a request is.
"""

import math
from typing import TYPE_CHECKING

from ._exchanges import Peer
from ._once import Ledger
from ._rtt import RTTEstimator
from ._seal import Stamp

if TYPE_CHECKING:
    from ._exchange import Exchange, Failure


class KnownServer:
    """What a client knows about one server."""

    __slots__ = ("cookie", "estimator", "instance", "ledger", "needs_cookie", "needs_room", "peer")

    def __init__(self, peer: Peer, instance: bytes) -> None:
        self.peer = peer
        self.instance = instance
        self.estimator = RTTEstimator()
        self.needs_room = False
        """It has said once that its replies are longer than our requests, so requests to it are padded."""
        self.cookie = b""
        """The last one it gave."""
        self.needs_cookie = False
        """It has answered an ordinary request with a cookie, so requests to it come with one."""
        self.ledger = Ledger()


class Asked:
    """One exchange's dealings with one server."""

    __slots__ = (
        "due",
        "exchange",
        "failure",
        "granted_from",
        "grants",
        "is_asked_again",
        "is_out",
        "key",
        "padded_from",
        "sent",
        "server",
        "stamps",
        "step",
    )

    def __init__(self, exchange: "Exchange", server: KnownServer, key: bytes) -> None:
        self.exchange = exchange
        self.server = server
        self.key = key
        self.sent: tuple[float, ...] = ()
        """When attempt k was sent, at index k - 1."""
        self.stamps: tuple[Stamp, ...] = ()
        """What attempt k was sealed with, at index k - 1; none without a key."""
        self.step = 0
        """Attempts of the schedule that were made; a transmission that was asked for by RETRY is not among them."""
        self.due = -math.inf
        """When this server's next turn is; after its last attempt, when it is given up."""
        self.padded_from = 1 if server.needs_room else None
        """The first attempt that was padded, or is going to be."""
        self.is_asked_again = False
        """It has asked to be asked again, with padding or with a cookie."""
        self.grants = 0
        """Cookies it has given, as far as they were acted on."""
        self.granted_from = 0
        """The first attempt with the last one of them; what is said to those before is old."""
        self.failure: Failure | None = None
        """What it said last. BUSY alone is not final."""
        self.is_out = False
        """Whether it makes no sense to ask this server again."""
