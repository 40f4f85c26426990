"""The hot paths of the core, each a loop: what instructions.py counts. Needs neither Trio nor a network.

The arguments: how often each of them, the name of one, and how often that one more.
"""

import gc
import math
import struct
import sys
from collections.abc import Callable
from typing import Final

from trio_udp.proto import (
    TU1,
    AnswerKind,
    ClientProtocol,
    Exchange,
    Question,
    RetryPolicy,
    ServerProtocol,
)

Path = Callable[[int], None]
"""Does it so many times."""
HERE: Final = ("127.0.0.1", 1060)
PAYLOAD: Final = bytes(range(64))
KEY: Final = bytes(16)
TU1_: Final = TU1()
REQUEST: Final = TU1_.encode_request(PAYLOAD, KEY, 1, 0)
QUESTION: Final = Question(KEY, PAYLOAD, 1, len(REQUEST))
ANSWER: Final = TU1_.encode_answer(QUESTION, AnswerKind.REPLY, PAYLOAD)
JUNK: Final = bytes(88)
BATCH: Final = 20
"""Datagrams that come together. How often a path is done is a multiple of it."""
_HEADER: Final = struct.Struct("!II16s")


class _Reference:
    """What never changes, and is made of what the core is made of: calls, a struct, a dict, a slice, a comparison."""

    def __init__(self) -> None:
        self.seen: dict[bytes, int] = {}

    def take(self, data: bytes) -> tuple[bytes, int] | None:
        word, length, ids = _HEADER.unpack_from(data)
        if len(data) != length + _HEADER.size:
            return None
        self.seen[ids] = self.seen.get(ids, 0) + word
        return data[_HEADER.size :], length


def reference(times: int) -> None:
    """What the others are divided by."""
    take = _Reference().take
    for _ in range(times):
        take(REQUEST)


def decode(times: int) -> None:
    """The codec, reading a request."""
    for _ in range(times):
        TU1_.decode_question_untrusted(REQUEST)


def decode_answer(times: int) -> None:
    """The codec, reading an answer."""
    for _ in range(times):
        TU1_.decode_answer_untrusted(ANSWER)


def encode(times: int) -> None:
    """The codec, writing a request."""
    for _ in range(times):
        TU1_.encode_request(PAYLOAD, KEY, 1, 0)


def serve(times: int) -> None:
    """A server's part: questions read, a batch at a time, and their replies written."""
    server = ServerProtocol(TU1_)
    for _ in range(times // BATCH):
        for question in server.receive_batch([REQUEST] * BATCH):
            if isinstance(question, (str, Question)):
                raise TypeError(f"expected a plain question, got {question}")
            server.encode_plain(question, PAYLOAD)


def junk(times: int) -> None:
    """A server's part of what is no question."""
    server = ServerProtocol(TU1_)
    for _ in range(times // BATCH):
        server.receive_batch([JUNK] * BATCH)


def _client() -> ClientProtocol:
    return ClientProtocol(TU1_, [HERE], random=bytes(8))


def _open(client: ClientProtocol, number: int, now: float) -> Exchange:
    """Begin the request of this number, and wait."""
    exchange = client.open_exchange(PAYLOAD, _POLICY, number.to_bytes(client.random_size, "big"))
    while exchange.next_attempt(now) is not None and exchange.due == math.inf:
        pass
    return exchange


_POLICY: Final = RetryPolicy(adaptive=False)


def exchange(times: int) -> None:
    """A client's part: a request begun, its answer matched, the request forgotten."""
    client = _client()
    for number in range(times):
        _open(client, number, float(number))
        question = Question(bytes(8) + number.to_bytes(8, "big"), PAYLOAD, 1, len(REQUEST))
        client.receive_datagram(TU1_.encode_answer(question, AnswerKind.REPLY, PAYLOAD), HERE, number + 0.5)
    if len(client.exchanges):
        raise ValueError("expected every answer to be believed")


def match(times: int) -> None:
    """A client's part of an answer to nothing, while it waits for a hundred."""
    client = _client()
    for number in range(1, 101):
        _open(client, number, 0.0)
    for _ in range(times):
        client.receive_datagram(ANSWER, HERE, 0.1)


def schedule(times: int) -> None:
    """A client's part where nobody answers: each transmission until it gives up."""
    client = _client()
    now = 0.0
    for number in range(times):
        given_up = _open(client, number, now)
        while not given_up.is_over:
            now = client.next_due
            client.take_due(now)
            while given_up.next_attempt(now) is not None:
                pass
        given_up.close()


PATHS: Final[dict[str, Path]] = {
    path.__name__: path for path in (reference, decode, decode_answer, encode, serve, junk, exchange, match, schedule)
}


def main() -> None:
    """All of them, and one of them more often."""
    gc.disable()  # when it runs depends on all that was allocated since the start
    times, name, more = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    for each, path in PATHS.items():
        path(times + (more if each == name else 0))
