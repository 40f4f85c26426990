"""The protocol core: arithmetic on bytes, addresses and seconds.

No I/O, no clock, no randomness, no logging and no Trio in here: `now`, random bytes and addresses are arguments. A test
holds that. So everything that decides what is believed can be run, searched and fuzzed without a network.

What only one side needs is imported when one of its names is first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

from ._arrivals import Arrival, SequenceWindow
from ._book import Book
from ._codec import (
    HEADER_SIZE,
    MAX_DATAGRAM,
    MAX_KEY_ID,
    MAX_PAYLOAD,
    TAG_SIZE,
    Message,
    MessageType,
    decode_message_untrusted,
    encode_message,
    payload_start,
)
from ._cookie import Cookies
from ._drop_reason import DropReason
from ._errors import PayloadTooLarge, ProtocolError, UDPError
from ._exchanges import ExchangeTable, Peer
from ._once import Once, read_once_untrusted
from ._profile import INSTANCE_SIZE, Answer, AnswerKind, Batching, Extensions, Plain, Profile, Question, Validating
from ._refusal import Refusal, RefusalReason, rate_refusal, read_refusal_untrusted
from ._rtt import RTTEstimator
from ._schedule import BOOK, COAP, PRESETS, STUN, RetryPolicy
from ._seal import SECRET_SIZES, Seal, blake2b_seal, check_sealable, hmac_seal, is_sealed, key_id_of
from ._times import MAX_SEQUENCE, Times, asks_for_report
from ._tu1 import TU1, TimedAnswer

if TYPE_CHECKING:
    from ._client import DEFAULT_MAX_IN_FLIGHT, DEFAULT_MAX_PAYLOAD, ClientProtocol
    from ._exchange import Attempt, Exchange, Failure, Outcome
    from ._limits import SECRET_SIZE, Limiter, RateLimit
    from ._probes import REPORT, Heard, Probe, ProbeProtocol
    from ._reply_cache import DEFAULT_MAX_BYTES, DEFAULT_MAX_CLIENTS, ReplyCache
    from ._retry_budget import RetryBudget
    from ._server import PROVEN_BUDGET, Asked, ServerProtocol, Turned
    from ._timers import Timers
    from ._validation import VALIDATION_SIZE, Validation
    from ._window import Window

__all__ = [
    "BOOK",
    "COAP",
    "DEFAULT_MAX_BYTES",
    "DEFAULT_MAX_CLIENTS",
    "DEFAULT_MAX_IN_FLIGHT",
    "DEFAULT_MAX_PAYLOAD",
    "HEADER_SIZE",
    "INSTANCE_SIZE",
    "MAX_DATAGRAM",
    "MAX_KEY_ID",
    "MAX_PAYLOAD",
    "MAX_SEQUENCE",
    "PRESETS",
    "PROVEN_BUDGET",
    "REPORT",
    "SECRET_SIZE",
    "SECRET_SIZES",
    "STUN",
    "TAG_SIZE",
    "TU1",
    "VALIDATION_SIZE",
    "Answer",
    "AnswerKind",
    "Arrival",
    "Asked",
    "Attempt",
    "Batching",
    "Book",
    "ClientProtocol",
    "Cookies",
    "DropReason",
    "Exchange",
    "ExchangeTable",
    "Extensions",
    "Failure",
    "Heard",
    "Limiter",
    "Message",
    "MessageType",
    "Once",
    "Outcome",
    "PayloadTooLarge",
    "Peer",
    "Plain",
    "Probe",
    "ProbeProtocol",
    "Profile",
    "ProtocolError",
    "Question",
    "RTTEstimator",
    "RateLimit",
    "Refusal",
    "RefusalReason",
    "ReplyCache",
    "RetryBudget",
    "RetryPolicy",
    "Seal",
    "SequenceWindow",
    "ServerProtocol",
    "TimedAnswer",
    "Timers",
    "Times",
    "Turned",
    "UDPError",
    "Validating",
    "Validation",
    "Window",
    "asks_for_report",
    "blake2b_seal",
    "check_sealable",
    "decode_message_untrusted",
    "encode_message",
    "hmac_seal",
    "is_sealed",
    "key_id_of",
    "payload_start",
    "rate_refusal",
    "read_once_untrusted",
    "read_refusal_untrusted",
]

_LATE: Final = {
    "_client": ("DEFAULT_MAX_IN_FLIGHT", "DEFAULT_MAX_PAYLOAD", "ClientProtocol"),
    "_exchange": ("Attempt", "Exchange", "Failure", "Outcome"),
    "_limits": ("SECRET_SIZE", "Limiter", "RateLimit"),
    "_probes": ("REPORT", "Heard", "Probe", "ProbeProtocol"),
    "_reply_cache": ("DEFAULT_MAX_BYTES", "DEFAULT_MAX_CLIENTS", "ReplyCache"),
    "_retry_budget": ("RetryBudget",),
    "_server": ("PROVEN_BUDGET", "Asked", "ServerProtocol", "Turned"),
    "_timers": ("Timers",),
    "_validation": ("VALIDATION_SIZE", "Validation"),
    "_window": ("Window",),
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
