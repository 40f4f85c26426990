"""UDP request/reply for Trio that is hard to fool: ask over UDP, and believe only the answer.

    async with trio_udp.open_client("127.0.0.1", 1060) as client:
        reply = await client.request(b"What time is it?")

    await trio_udp.serve(handler, 1060)

The protocol itself, without I/O, is `trio_udp.proto`.
"""

from ._client import Client, open_client
from ._errors import NoReply, OutcomeUnknown, PayloadTooLarge, ProtocolError, RemoteError, ServerBusy, UDPError
from ._key_file import load_keys
from ._keys import Key
from ._net import Address, SocketOptions
from ._reply import Reply
from ._results import Result
from ._server import Handler, Request, Server, serve
from ._statistics import ClientStatistics, EndpointStatistics, ServerStatistics
from ._version import __version__
from .proto import BOOK, COAP, PRESETS, STUN, TU1, Attempt, Book, DropReason, Profile, RateLimit, RetryPolicy

__all__ = [
    "BOOK",
    "COAP",
    "PRESETS",
    "STUN",
    "TU1",
    "Address",
    "Attempt",
    "Book",
    "Client",
    "ClientStatistics",
    "DropReason",
    "EndpointStatistics",
    "Handler",
    "Key",
    "NoReply",
    "OutcomeUnknown",
    "PayloadTooLarge",
    "Profile",
    "ProtocolError",
    "RateLimit",
    "RemoteError",
    "Reply",
    "Request",
    "Result",
    "RetryPolicy",
    "Server",
    "ServerBusy",
    "ServerStatistics",
    "SocketOptions",
    "UDPError",
    "__version__",
    "load_keys",
    "open_client",
    "serve",
]
