"""What comes of a request: a reply, or the error that says why there is none."""

from typing import Final, NamedTuple, cast

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


Failed = NoReply | RemoteError | OutcomeUnknown
"""What is raised where no reply came."""

_COUNTED_AS: Final[dict[type[Failed], str]] = {
    NoReply: "no_replies",
    ServerBusy: "remote_errors",
    RemoteError: "remote_errors",
    OutcomeUnknown: "outcome_unknown",
}
_new: Final = tuple.__new__
"""Half the price of calling the class."""


def conclude(exchange: Exchange, protocol: ClientProtocol) -> tuple[Reply | Failed, str]:
    """The reply of an exchange that is over, or the error that is to be raised instead; and its counter's name."""
    outcome = exchange.outcome
    if outcome is not None:
        payload, rtt, attempts, peer, hop_limit, authenticated = outcome
        return _new(Reply, (payload, rtt, attempts, peer, authenticated, hop_limit)), "replies"
    error = _error_of(exchange, protocol)
    return error, _COUNTED_AS[type(error)]


def _error_of(exchange: Exchange, protocol: ClientProtocol) -> Failed:
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


def servers_of(protocol: ClientProtocol) -> tuple[Address, ...]:
    """The servers, the one that answered last first."""
    return tuple(cast("Address", server.peer) for server in protocol.servers)
