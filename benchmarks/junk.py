"""`junk`: what one datagram of random bytes costs in Python, beyond the batch it came with.

What the server and the client do with each datagram of a batch, in the loop that they do it in, is timed with a batch
of junk, less the same loop around nothing. Processor time of this process, on one core.
"""

import functools
import os
import random
import time
from collections.abc import Callable, Sequence
from typing import Final

import children
import measure
from wire import PAYLOAD, SIZE

from trio_udp.proto import TU1, ClientProtocol, DropReason, RetryPolicy, ServerProtocol

TITLE: Final = "Junk"
SERVER: Final = "server"
CLIENT: Final = "client, from its server's address"
CLIENT_STRANGER: Final = "client, from another address"
BATCH: Final = 64
HERE: Final = ("127.0.0.1", 1060)
ELSEWHERE: Final = ("192.0.2.1", 1060)


def run(options: measure.Options) -> list[measure.Comparison]:
    """Time the loops."""
    comparison = measure.Comparison(TITLE, "µs each", SERVER)
    comparison.notes.append(f"Random bytes, {SIZE} of them, all different.")
    batches = 10 if options.smoke else 2000
    candidates = {
        name: functools.partial(_price, loop, batches)
        for name, loop in {SERVER: _server(), CLIENT: _client(HERE), CLIENT_STRANGER: _client(ELSEWHERE)}.items()
    }
    with children.on_core(children.CORES.client):
        return [measure.interleave(comparison, candidates, options.rounds)]


def _server() -> Callable[[Sequence[bytes]], None]:
    receive = ServerProtocol(TU1()).receive_batch

    def take(batch: Sequence[bytes]) -> None:
        for asked in receive(batch):
            if not isinstance(asked, DropReason):
                raise children.WrongAnswerError("junk was taken for a question")

    return take


def _client(peer: tuple[str, int]) -> Callable[[Sequence[bytes]], None]:
    """A client with a request in flight."""
    protocol = ClientProtocol(TU1(), [HERE], random=os.urandom(8))
    protocol.open_exchange(PAYLOAD, RetryPolicy(), os.urandom(protocol.random_size)).next_attempt(now=0.0)

    def take(batch: Sequence[bytes]) -> None:
        for data in batch:
            if not isinstance(protocol.receive_datagram(data, peer, 0.0), DropReason):
                raise children.WrongAnswerError("junk was taken for an answer")

    return take


def _nothing(batch: Sequence[bytes]) -> None:
    for _ in batch:
        pass


def _price(loop: Callable[[Sequence[bytes]], None], batches: int) -> tuple[float, int]:
    """Microseconds for each datagram; and nothing lost."""
    batch = [random.randbytes(SIZE) for _ in range(BATCH)]
    return (_seconds(loop, batch, batches) - _seconds(_nothing, batch, batches)) / (batches * BATCH) * 1e6, 0


def _seconds(loop: Callable[[Sequence[bytes]], None], batch: Sequence[bytes], batches: int) -> float:
    begin = time.process_time()
    for _ in range(batches):
        loop(batch)
    return time.process_time() - begin
