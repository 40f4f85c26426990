"""What `statistics()` returns: frozen counters, each counted from when the object was made.

Copies, cheap enough to take at any time, and never a way to the object itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from ._net import Address
from ._record import Record
from .proto import DropReason


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class EndpointStatistics(Record):
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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class ClientStatistics(Record):
    """One client."""

    requests: int
    """Requests begun. Each is in one of the next five, or still in flight or waiting for its turn."""
    replies: int
    no_replies: int
    """Schedules that ended without an answer."""
    remote_errors: int
    """Requests ended by an answer that is not a reply, ServerBusy among them."""
    outcome_unknown: int
    """At-most-once requests of which the server could not tell whether they have run."""
    cancelled: int
    """Requests ended by their caller: by a cancel scope, by closing the client, by a payload that cannot be sent, by an
    exception in `on_attempt`."""
    in_flight: int
    """Requests waiting for an answer now."""
    window: int
    """How many may be in flight now: `max_in_flight`, or less for a while after losses or BUSY."""
    withheld: int
    """Retransmissions that were not made, because a server is busy and too many of the requests would be sent again."""
    dropped: Mapping[DropReason, int]
    """Datagrams that were not believed."""
    smoothed_rtt: Mapping[Address, float]
    """Seconds, for each server that has answered (RFC 6298)."""
    endpoint: EndpointStatistics


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class ServerStatistics(Record):
    """One server, all its sockets together."""

    requests: int
    """Good requests, retransmissions among them. Each is in one of the next seven, or still with its handler."""
    replies: int
    retries: int
    """Requests whose client was told to ask again: with room for the reply, or with a cookie."""
    busy: int
    """Requests refused, because too many handlers were running, there was no room to remember them, or the server was
    draining."""
    errors: int
    """Handlers that raised, or returned what is not a reply."""
    outcome_unknown: int
    """At-most-once requests from before this start of the server, or too old."""
    absorbed: int
    """Retransmissions of at-most-once requests whose handler was still running: its answer went to the last of them."""
    unanswered: int
    """Requests met with silence: the handler said so, was cancelled, or no answer was allowed or could be sent."""
    handlers: int
    """Async handlers running now, that is, waiting for something."""
    repeated: int
    """Answers to at-most-once requests that were given again, without the handler."""
    cookies_granted: int
    """RETRYs that carried one."""
    cookies_accepted: int
    """Requests whose cookie proved their address."""
    clients_held: int
    """Clients of at-most-once requests that are remembered now."""
    reply_bytes_held: int
    """Memory taken by them and the replies to them, in bytes, as it is counted against `max_reply_bytes`."""
    dropped: Mapping[DropReason, int]
    """Datagrams met with silence because they are not requests, and answers kept back because of the budget."""
    endpoints: Mapping[Address, EndpointStatistics]
