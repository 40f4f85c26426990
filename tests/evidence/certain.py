"""Figures that have to be one certain number.

Bits of sealed messages that can be flipped unnoticed, bytes out for bytes in, what two servers say to each other after
one datagram, and what forks draw.
"""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Final

from trio_udp.proto import (
    TU1,
    VALIDATION_SIZE,
    AnswerKind,
    ClientProtocol,
    DropReason,
    Exchange,
    Message,
    MessageType,
    Peer,
    Question,
    RetryPolicy,
    Seal,
    ServerProtocol,
    Turned,
    Validation,
    blake2b_seal,
    encode_message,
    hmac_seal,
)

ROOT: Final = Path(__file__).parents[2]
_SERVER: Final[Peer] = ("192.0.2.53", 1060)
_STRANGER: Final[Peer] = ("203.0.113.9", 9)
_LONGEST: Final = 1500


def flip(random: Random, count: int) -> Counter[str]:
    """F1: so many sealed messages, with each of their bits flipped once. `believed` has to stay 0."""
    counts: Counter[str] = Counter()
    for number in range(count):
        seal = (blake2b_seal, hmac_seal)[number % 2](random.randint(1, 255), random.randbytes(32))
        client = ClientProtocol(TU1(), [_SERVER], random=random.randbytes(8), seal=seal)
        server = _server(random, [seal])
        exchange = client.open_exchange(
            random.randbytes(random.randrange(40)),
            RetryPolicy(),
            random.randbytes(client.random_size),
            at_most_once=bool(number // 2 % 2),
        )
        _converse(exchange, client, server, random, counts)
    return counts


def _converse(
    exchange: Exchange, client: ClientProtocol, server: ServerProtocol, random: Random, counts: Counter[str]
) -> None:
    """Until the request is answered, with every flipped bit of every datagram shown to its reader before itself."""
    while (attempt := exchange.next_attempt(1.0)) is not None:
        for data in _flipped(attempt.datagram):
            counts["believed"] += isinstance(server.receive_datagram(data), Question)
            counts["bits"] += 1
        answers = [_answer(server, attempt.datagram, kind, random) for kind in (*AnswerKind, None)]
        for answer in answers:
            for data in _flipped(answer):
                counts["believed"] += not isinstance(client.receive_datagram(data, _SERVER, 1.0), DropReason)
                counts["bits"] += 1
            counts["messages"] += 1
        counts["messages"] += 1
        client.receive_datagram(answers[-1], _SERVER, 1.0)


def _flipped(data: bytes) -> Iterator[bytes]:
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed)


def _answer(server: ServerProtocol, datagram: bytes, kind: AnswerKind | None, random: Random) -> bytes:
    """An answer of that kind; None is the one that an honest server gives."""
    question = server.receive_datagram(datagram)
    if not isinstance(question, Question):
        raise AssertionError(f"expected a question, got {question}")
    answer = _honest(server, question, b"") if kind is None else server.refuse(question, kind)
    if answer is None:
        raise AssertionError(f"expected an answer, got none of kind {kind}")
    return answer


def _honest(server: ServerProtocol, question: Question, payload: bytes) -> bytes | None:
    admitted = server.admit(question, _STRANGER, 1.0)
    if isinstance(admitted, DropReason):
        return None
    if isinstance(admitted, Turned):
        return admitted.datagram
    kind, datagram = server.reply(admitted, payload)
    return datagram if kind is AnswerKind.REPLY else server.retry(admitted, _STRANGER, 1.0, payload)


def _server(random: Random, seals: list[Seal] | None = None) -> ServerProtocol:
    return ServerProtocol(TU1(), validation=Validation(random.randbytes(VALIDATION_SIZE)), seals=seals)


def amplify(random: Random, count: int) -> Counter[str]:
    """E4: datagrams of a stranger, and all that a server can say to each. `longer` has to stay 0."""
    counts: Counter[str] = Counter()
    server = _server(random)
    for _ in range(count):
        data = _datagram(random)
        question = server.receive_datagram(data)
        counts["datagrams"] += 1
        if not isinstance(question, Question):
            continue
        answers = [server.refuse(question, kind) for kind in AnswerKind]
        answers.append(server.retry(question, _STRANGER, 1.0))
        answers.append(_honest(server, question, random.randbytes(random.randrange(_LONGEST))))
        for answer in answers:
            if answer is not None:
                counts["answers"] += 1
                counts["longer"] += len(answer) > len(data)
                counts["as long"] += len(answer) == len(data)
    return counts


def _datagram(random: Random) -> bytes:
    """A request of any kind nearly always; and sometimes with a byte changed."""
    once, cookie, times = (random.randbytes(size) if random.random() < 0.3 else b"" for size in (20, 16, 52))
    payload = random.randbytes(random.choice((0, 1, 15, 16, 40, 1200)))
    message = Message(
        MessageType.REQUEST, random.randint(1, 255), random.randbytes(16), payload, random.choice((0, 0, 1, 16, 500)),
        cookie, bytes(20) if once and random.random() < 0.5 else once, times,
    )  # fmt: skip
    data = bytearray(encode_message(message))
    if random.random() < 0.2:
        data[random.randrange(len(data))] = random.randrange(256)
    return bytes(data)


def inject(random: Random, count: int) -> Counter[str]:
    """E5: one datagram at one of two servers that echo. `restless`: more than one was sent because of it."""
    counts: Counter[str] = Counter()
    servers = [_server(random), _server(random)]
    for _ in range(count):
        data: bytes | None = _datagram(random)
        if random.random() < 0.5 and data is not None:
            data = data[:1] + bytes([random.choice((0x81, 0x82, 0x84, 0x87, 0x88))]) + data[2:]
        sent = 0
        while data is not None and sent < 10:
            question = servers[sent % 2].receive_datagram(data)
            data = _honest(servers[sent % 2], question, question.payload) if isinstance(question, Question) else None
            sent += data is not None
        counts["injected"] += 1
        counts["answered"] += sent > 0
        counts["restless"] += sent > 1
    return counts


def fork(count: int) -> Counter[str]:
    """A4: as many forks, each of which draws ids, and as many draws of their parent. `equal` has to stay 0."""
    command = [sys.executable, "-m", "tests.processes", "fork_a_thousand_times"]
    found = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    if found["drawn"] != 2 * count:
        raise ValueError(f"expected 1000 forks, as there always are, got {count}")
    return Counter({"drawn": found["drawn"], "equal": found["drawn"] - found["different"]})
