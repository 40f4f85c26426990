"""UDP request/reply for Trio that is hard to fool: ask over UDP, and believe only the answer.

    async with trio_udp.open_client("127.0.0.1", 1060) as client:
        reply = await client.request(b"What time is it?")

    await trio_udp.serve(handler, 1060)

The protocol itself, without I/O, is `trio_udp.proto`. Who asks does not wait for what answers, nor the other way round:
each side is imported when one of its names is first asked for.
"""

from . import _interrupt

if _interrupt.is_command():
    _interrupt.end_at_once()

from importlib import import_module
from typing import TYPE_CHECKING, Final

from ._errors import NoReply, OutcomeUnknown, PayloadTooLarge, ProtocolError, RemoteError, ServerBusy, UDPError
from ._key_file import load_keys
from ._keys import Key
from ._net import Address, SocketOptions, resolve
from ._statistics import ClientStatistics, EndpointStatistics, ServerStatistics
from ._version import __version__
from .proto import BOOK, COAP, PRESETS, STUN, TU1, Book, DropReason, Profile, RetryPolicy

if TYPE_CHECKING:
    from ._client import Client, open_client
    from ._reply import Reply
    from ._results import Result
    from ._server import Handler, Request, Server, serve
    from ._totals import ServerTotals
    from .proto import Attempt, RateLimit

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
    "ServerTotals",
    "SocketOptions",
    "UDPError",
    "__version__",
    "load_keys",
    "open_client",
    "resolve",
    "serve",
]

_LATE: Final = {
    "_client": ("Client", "open_client"),
    "_reply": ("Reply",),
    "_results": ("Result",),
    "_server": ("Handler", "Request", "Server", "serve"),
    "_totals": ("ServerTotals",),
    "proto": ("Attempt", "RateLimit"),
}
"""What is imported when it is asked for: the names of each module."""
_WHERE: Final = {name: module for module, names in _LATE.items() for name in names}

if not TYPE_CHECKING:  # a checker that saw it would believe every misspelt name

    def __getattr__(name: str) -> object:
        """Import the module that this is a name of (decision 0042)."""
        if name not in _WHERE:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = found = getattr(import_module(f".{_WHERE[name]}", __name__), name)
        return found

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
