"""The errors that need no Trio to be raised.

The whole tree is drawn in `trio_udp._errors`; these are the branches of it that the protocol core itself raises.
None of them is ever caused by a datagram: bytes from the network become a `DropReason`, which is data.
"""


class UDPError(Exception):
    """The root of every error this package raises on its own account."""


class ProtocolError(UDPError):
    """A message was asked for that this version of the wire format cannot express.

    Raised by the codec only, and only for its caller's arguments.
    """


class PayloadTooLarge(UDPError, ValueError):
    """A payload is longer than the limit, and was refused before anything was sent (G1).

    Attributes:
        size: length of the refused payload, in bytes.
        limit: the most that was allowed, in bytes.
    """

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(size, limit)
        self.size = size
        self.limit = limit

    def __str__(self) -> str:
        return f"payload is too large: expected at most {self.limit} bytes, got {self.size}"
