"""The protocol core: arithmetic on bytes, addresses and seconds.

No I/O, no clock, no randomness, no logging and no Trio in here: `now`, random bytes and addresses are arguments. A test
holds that. So everything that decides what is believed can be run, searched and fuzzed without a network.
"""

from ._book import Book
from ._client import DEFAULT_MAX_PAYLOAD, INSTANCE_SIZE, ClientProtocol
from ._codec import (
    HEADER_SIZE,
    MAX_DATAGRAM,
    MAX_PAYLOAD,
    Message,
    MessageType,
    decode_message_untrusted,
    encode_message,
)
from ._drop_reason import DropReason
from ._errors import PayloadTooLarge, ProtocolError, UDPError
from ._exchange import Attempt, Exchange, Failure, Outcome
from ._exchanges import ExchangeTable, Peer
from ._probes import REPORT, Heard, Probe, ProbeProtocol
from ._profile import Answer, AnswerKind, Profile, Question
from ._rtt import RTTEstimator
from ._schedule import BOOK, COAP, PRESETS, STUN, RetryPolicy
from ._server import ServerProtocol
from ._timers import Timers
from ._times import MAX_SEQUENCE, Times, asks_for_report
from ._tu1 import TU1, TimedAnswer
from ._window import Arrival, SequenceWindow

__all__ = [
    "BOOK",
    "COAP",
    "DEFAULT_MAX_PAYLOAD",
    "HEADER_SIZE",
    "INSTANCE_SIZE",
    "MAX_DATAGRAM",
    "MAX_PAYLOAD",
    "MAX_SEQUENCE",
    "PRESETS",
    "REPORT",
    "STUN",
    "TU1",
    "Answer",
    "AnswerKind",
    "Arrival",
    "Attempt",
    "Book",
    "ClientProtocol",
    "DropReason",
    "Exchange",
    "ExchangeTable",
    "Failure",
    "Heard",
    "Message",
    "MessageType",
    "Outcome",
    "PayloadTooLarge",
    "Peer",
    "Probe",
    "ProbeProtocol",
    "Profile",
    "ProtocolError",
    "Question",
    "RTTEstimator",
    "RetryPolicy",
    "SequenceWindow",
    "ServerProtocol",
    "TimedAnswer",
    "Timers",
    "Times",
    "UDPError",
    "asks_for_report",
    "decode_message_untrusted",
    "encode_message",
]
