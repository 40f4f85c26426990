"""What comes of a request: a reply, or the error that says why there is none."""

from typing import NamedTuple, cast

import trio

from ._errors import NoReply, OutcomeUnknown, RemoteError, ServerBusy
from ._net import Address
from .proto import ClientProtocol, Exchange, Failure, Refusal


class Reply(NamedTuple):
    """What came of a request."""

    payload: bytes
    rtt: float
    """Seconds from the transmission that was answered to its answer, by Trio's clock in this process. With `book`,
    whose answers do not say which transmission they answer, seconds since the first one."""
    attempts: int
    """Transmissions made, 1 if nothing was lost."""
    peer: Address
    """The server that answered."""
    authenticated: bool
    """Whether a key vouches for the reply. Without one, whoever can see the request can forge the reply."""
    hop_limit: int | None
    """The TTL or hop limit of the reply's IP header on arrival; None where the system does not say."""


def conclude(exchange: Exchange, protocol: ClientProtocol) -> Reply | NoReply | RemoteError | OutcomeUnknown:
    """The reply of an exchange that is over, or the error that is to be raised instead."""
    outcome = exchange.outcome
    if outcome is not None:
        payload, rtt, attempts, peer, hop_limit, authenticated = outcome
        # Half the price of calling it.
        return tuple.__new__(Reply, (payload, rtt, attempts, peer, authenticated, hop_limit))
    servers = servers_of(protocol)
    match exchange.failure:
        case Failure.BUSY:
            return ServerBusy(servers, _said("the server is busy", exchange.refusal))
        case Failure.OUTCOME_UNKNOWN:
            return OutcomeUnknown(servers)
        case Failure.ERROR:
            return RemoteError(servers, _said("the handler failed", exchange.refusal))
        case Failure.NO_ROOM:
            limit = protocol.max_payload
            return RemoteError(servers, f"the reply does not fit: raise max_payload, which is {limit} bytes")
        case _:
            elapsed = trio.current_time() - exchange.began
            return NoReply(servers, attempts=exchange.attempts, elapsed=elapsed, hint=exchange.hint)


def _said(words: str, refusal: Refusal | None) -> str:
    """What the server has said; these words, if it has given no reason."""
    return words if refusal is None else f"the server refuses: {refusal}"


def counted_as(came: Reply | NoReply | RemoteError | OutcomeUnknown) -> str:
    """The name of the counter for it in `ClientStatistics`."""
    if isinstance(came, Reply):
        return "replies"
    if isinstance(came, OutcomeUnknown):
        return "outcome_unknown"
    return "no_replies" if isinstance(came, NoReply) else "remote_errors"


def servers_of(protocol: ClientProtocol) -> tuple[Address, ...]:
    """The servers, the one that answered last first."""
    return tuple(cast("Address", server.peer) for server in protocol.servers)
