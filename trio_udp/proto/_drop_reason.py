"""Why a datagram was not believed.

A bad datagram is data, never an exception: whoever looks at it answers with a `DropReason`, somebody counts that, and
waiting goes on. The same word stands in the enum, the counter, the command's output and the documentation.
"""

import enum


class DropReason(enum.StrEnum):
    """Why a datagram was not believed. Compares and formats as its own lower-case name."""

    __hash__ = str.__hash__  # equal to its name, so the hash has to be too; and the enumeration's own is slow

    WRONG_PEER = "wrong_peer"
    """It came from an address nobody here has asked."""
    UNKNOWN_REQUEST = "unknown_request"
    """It answers no request that is open to that peer, nor one that was lately."""
    DUPLICATE = "duplicate"
    """It answers a request that the same peer has answered already."""
    LATE = "late"
    """It answers a request that was given up, cancelled, or answered by another server first."""
    MALFORMED = "malformed"
    """It is not a message of this wire format."""
    WRONG_VERSION = "wrong_version"
    """Its first byte names another version, or another protocol."""
    WRONG_DIRECTION = "wrong_direction"
    """A request reached a client, or a reply reached a server."""
    BAD_SEAL = "bad_seal"
    """Its authentication tag does not belong to its bytes."""
    REPLAYED = "replayed"
    """It must run at most once, and was over before, or has the number of another request."""
    TRUNCATED = "truncated"
    """The kernel cut its end off."""
    TOO_LARGE = "too_large"
    """It is whole, and longer than this endpoint takes."""
    OVER_BUDGET = "over_budget"
    """Answering it would have sent an unproven address more bytes than it sent us (E4); or its source, or all of them
    together, have asked more often than the server's rate limit allows."""
    CORRUPTED = "corrupted"
    """It measures something, and its check does not belong to its bytes: something has changed it on its way."""
