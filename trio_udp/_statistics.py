"""What `statistics()` returns: frozen counters, each counted from when the object was made.

Copies, cheap enough to take at any time, and never a way to the object itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from ._net import Address
from .proto import DropReason


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointStatistics:
    """One socket."""

    datagrams_sent: int
    datagrams_received: int
    """All that were read whole, believed or not."""
    segments_sent: int
    """Those of the datagrams sent that left the kernel's hands in one piece with others (UDP_SEGMENT)."""
    segments_received: int
    """Those of the datagrams received that came in one piece with others (UDP_GRO)."""
    truncated: int
    """Datagrams whose end the kernel cut off; counted in `dropped` too."""
    send_errors: Mapping[str, int]
    """Datagrams that could not be sent, by the name of the errno. Each cost one attempt."""
    hints: Mapping[str, int]
    """ICMP errors about datagrams of ours, by the name of the errno. They may be forged, and ended nothing."""
    kernel_drops: int
    """Datagrams that did not fit into the receive buffer, as far as the kernel has told."""
    receive_buffer: int | None
    """Bytes of receive buffer that the kernel granted; None where the socket cannot say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientStatistics:
    """One client."""

    requests: int
    """Requests begun. Each is in one of the next four, or still in flight or waiting for its turn."""
    replies: int
    no_replies: int
    """Schedules that ended without an answer."""
    remote_errors: int
    """Requests ended by an answer that is not a reply, ServerBusy among them."""
    cancelled: int
    """Requests ended by their caller: by a cancel scope, by closing the client, by a payload that cannot be sent, by an
    exception in `on_attempt`."""
    in_flight: int
    """Requests waiting for an answer now."""
    dropped: Mapping[DropReason, int]
    """Datagrams that were not believed."""
    smoothed_rtt: Mapping[Address, float]
    """Seconds, for each server that has answered (RFC 6298)."""
    endpoint: EndpointStatistics


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerStatistics:
    """One server, all its sockets together."""

    requests: int
    """Good requests, retransmissions among them. Each is in one of the next five, or still with its handler."""
    replies: int
    retries: int
    """Replies that did not fit the request, so that the client was told to ask again with padding."""
    busy: int
    """Requests refused, because too many handlers were running or the server was draining."""
    errors: int
    """Handlers that raised, or returned what is not a reply."""
    unanswered: int
    """Requests met with silence: the handler said so, was cancelled, or no answer was allowed or could be sent."""
    handlers: int
    """Async handlers running now, that is, waiting for something."""
    dropped: Mapping[DropReason, int]
    """Datagrams met with silence because they are not requests, and answers kept back because of the budget."""
    endpoints: Mapping[Address, EndpointStatistics]
