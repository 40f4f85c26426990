"""The error tree.

    UDPError                      everything below
    ├── NoReply                   also trio.TooSlowError: the schedule ended without an answer
    ├── RemoteError               an answer came, and it is not a reply
    │   └── ServerBusy            … nothing better than BUSY, until the schedule ended
    ├── OutcomeUnknown            the server cannot tell whether an at-most-once request has run
    ├── PayloadTooLarge           also ValueError: refused before anything was sent
    └── ProtocolError             the codec was asked to say what the format cannot say

No datagram raises any of these unless it passed every check of promise A1; ICMP errors never do. Using what you have
closed is `trio.ClosedResourceError`. A name without an address is `socket.gaierror`, from `open_client` and `serve`
only. Facts are attributes; the sentence is made of them in `__str__`.
"""

import trio

from ._net import Address
from .proto import PayloadTooLarge, ProtocolError, UDPError

__all__ = ["NoReply", "OutcomeUnknown", "PayloadTooLarge", "ProtocolError", "RemoteError", "ServerBusy", "UDPError"]


class NoReply(UDPError, trio.TooSlowError):
    """No believable answer came before the end of the retransmission schedule.

    Attributes:
        servers: the addresses that were asked.
        attempts: transmissions made, to all of them together.
        elapsed: seconds from the first transmission to giving up.
        hint: the last ICMP or send error, as an errno's name such as `ECONNREFUSED`, or None. ICMP may be forged.
    """

    def __init__(self, servers: tuple[Address, ...], attempts: int, elapsed: float, hint: str | None = None) -> None:
        super().__init__(servers, attempts, elapsed, hint)
        self.servers = servers
        self.attempts = attempts
        self.elapsed = elapsed
        self.hint = hint

    @property
    def peer(self) -> Address:
        """The first of the servers; the only one, usually."""
        return self.servers[0]

    def __str__(self) -> str:
        asked = ", ".join(map(str, self.servers))
        hint = f" (last error: {self.hint})" if self.hint else ""
        plural = "" if self.attempts == 1 else "s"
        return f"no reply from {asked} after {self.attempts} attempt{plural} in {self.elapsed:.1f} s{hint}"


class RemoteError(UDPError):
    """The server answered, and said that it will not reply.

    Attributes:
        servers: the addresses that were asked.
        reason: what the server said, in words.
    """

    def __init__(self, servers: tuple[Address, ...], reason: str) -> None:
        super().__init__(servers, reason)
        self.servers = servers
        self.reason = reason

    @property
    def peer(self) -> Address:
        """The first of the servers; the only one, usually."""
        return self.servers[0]

    def __str__(self) -> str:
        return f"{', '.join(map(str, self.servers))}: {self.reason}"


class ServerBusy(RemoteError):
    """The server is alive, and had no room for the request until the end of the schedule."""


class OutcomeUnknown(UDPError):
    """The server answered that it cannot tell whether this at-most-once request has run, and did not run it now.

    It has started again since the request was first sent, or the request has been under way for too long, or it reached
    another worker than before.

    Attributes:
        servers: the addresses that were asked; the request went to one of them.
    """

    def __init__(self, servers: tuple[Address, ...]) -> None:
        super().__init__(servers)
        self.servers = servers

    @property
    def peer(self) -> Address:
        """The first of the servers; the only one, usually."""
        return self.servers[0]

    def __str__(self) -> str:
        asked = ", ".join(map(str, self.servers))
        return f"{asked}: the server cannot tell whether the request has run"
