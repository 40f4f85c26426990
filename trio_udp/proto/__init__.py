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
from ._profile import Answer, AnswerKind, Profile, Question
from ._rtt import RTTEstimator
from ._schedule import BOOK, COAP, PRESETS, STUN, RetryPolicy
from ._seal import Seal, blake2b_seal, hmac_seal, is_sealed, key_id_of
from ._server import ServerProtocol
from ._timers import Timers
from ._tu1 import TU1

__all__ = [
    "BOOK",
    "COAP",
    "DEFAULT_MAX_PAYLOAD",
    "HEADER_SIZE",
    "INSTANCE_SIZE",
    "MAX_DATAGRAM",
    "MAX_PAYLOAD",
    "PRESETS",
    "STUN",
    "TU1",
    "Answer",
    "AnswerKind",
    "Attempt",
    "Book",
    "ClientProtocol",
    "DropReason",
    "Exchange",
    "ExchangeTable",
    "Failure",
    "Message",
    "MessageType",
    "Outcome",
    "PayloadTooLarge",
    "Peer",
    "Profile",
    "ProtocolError",
    "Question",
    "RTTEstimator",
    "RetryPolicy",
    "Seal",
    "ServerProtocol",
    "Timers",
    "UDPError",
    "blake2b_seal",
    "decode_message_untrusted",
    "encode_message",
    "hmac_seal",
    "is_sealed",
    "key_id_of",
]
