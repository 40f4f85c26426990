"""What is fuzzed, how the fuzzer's bytes become arguments, and what it starts from."""

import struct
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

from tests.properties.test_untrusted import IDS, SEAL, SERVER, TRIALS
from trio_udp.proto import (
    TU1,
    ClientProtocol,
    DropReason,
    Exchange,
    Message,
    MessageType,
    ProbeProtocol,
    RetryPolicy,
    Seal,
    encode_message,
)

Target = Callable[[bytes], None]
"""Takes any bytes; raises where the function did, or where it returned what it does not declare."""


def target(name: str) -> Target:
    """The target for that function."""
    if name in _OWN:
        return _OWN[name](name)
    feed, declared = TRIALS[name].feed, TRIALS[name].declared
    split = _ARGUMENTS.get(name, _whole)

    def run(data: bytes) -> None:
        result = feed(*split(data))
        if not declared(result):
            raise AssertionError(f"{name} returned {result!r}")

    return run


def _whole(data: bytes) -> tuple[Any, ...]:
    return (data,)


def _error(data: bytes) -> tuple[Any, ...]:
    """A quote, control messages and an address: each piece with its length before it."""
    pieces = _pieces(data)
    quote = next(pieces, b"")
    address = next(pieces, b"")
    control = [(piece[0] & 0x29, piece[1] & 0x1F, piece[2:]) for piece in pieces if len(piece) >= 2]
    host = ".".join(map(str, address[:4]))
    return quote, control, (host, int.from_bytes(address[4:6], "big")) if len(address) >= 6 else None


def _pieces(data: bytes) -> Iterator[bytes]:
    while data:
        yield data[1 : 1 + data[0]]
        data = data[1 + data[0] :]


def _with_room_for_a_tag(data: bytes) -> tuple[Any, ...]:
    return (data.ljust(40, b"x"),)


def _extension(data: bytes) -> tuple[Any, ...]:
    return (data[:20].ljust(20, b"x"),)


def _batch(data: bytes) -> tuple[Any, ...]:
    """Datagrams, cut apart anywhere or all alike, and how long a plain one may be."""
    cut, most, rest = data[0] if data else 0, data[1] if len(data) > 1 else 0, data[2:]
    many = [rest] * (cut & 3) if cut & 4 else [*_pieces(rest)]
    return many or [rest], most * 256


_ARGUMENTS: Final[dict[str, Callable[[bytes], tuple[Any, ...]]]] = {
    "_net._ancillary.read_error_untrusted": _error,
    "proto._once.read_once_untrusted": _extension,
    "proto._seal.Seal.open_untrusted": _with_room_for_a_tag,
    "proto._seal.open_answer_untrusted": _with_room_for_a_tag,
    "proto._seal.KeyRing.decode_batch_untrusted": _batch,
    "proto._tu1.TU1.decode_batch_untrusted": _batch,
    "proto._tu1.TU1._decode_each_untrusted": _batch,
}


def _matching(name: str, seal: Seal | None) -> Target:
    """A client's accept rule. The same client for all datagrams, since making one takes longer than all the rest."""
    client = ClientProtocol(TU1(), [SERVER], random=IDS[:8], seal=seal)
    exchange = _ask(client)

    def run(data: bytes) -> None:
        nonlocal exchange
        dropped = client.dropped.total()
        found = client.receive_datagram(data, SERVER, 1.0)
        if isinstance(found, DropReason):
            if not TRIALS[name].declared(found) or client.dropped.total() != dropped + 1:
                raise AssertionError(f"{found!r} was counted {client.dropped.total() - dropped} times")
            return
        if found is not exchange or data[8:24] != IDS or seal is not None:
            raise AssertionError(f"{data!r} was believed")
        exchange.close()
        exchange = _ask(client)

    return run


def _ask(client: ClientProtocol) -> Exchange:
    exchange = client.open_exchange(b"question", RetryPolicy(), bytes(2) + IDS[8:])
    exchange.next_attempt(0.0)
    return exchange


def _probing(name: str, seal: Seal | None) -> Target:
    """The same of one who measures, whose probe stays open."""
    protocol = ProbeProtocol(TU1(), SERVER, random=IDS[:8], size=56, seal=seal)
    probe, _ = protocol.open(1, bytes(4), IDS[8:])

    def run(data: bytes) -> None:
        found = protocol.match_untrusted(data, SERVER)
        if isinstance(found, DropReason):
            if not TRIALS[name].declared(found):
                raise AssertionError(f"{name} returned {found!r}")
        elif found.probe is not probe or data[8:24] != IDS or seal is not None:
            raise AssertionError(f"{data!r} was believed")

    return run


_OWN: Final[dict[str, Callable[[str], Target]]] = {
    "proto._client.ClientProtocol._match_untrusted": partial(_matching, seal=None),
    "proto._client.ClientProtocol._open_untrusted": partial(_matching, seal=SEAL),
    "proto._probes.ProbeProtocol.match_untrusted": partial(_probing, seal=None),
    "proto._probes.ProbeProtocol._open_untrusted": partial(_probing, seal=SEAL),
}


def corpus() -> Iterator[bytes]:
    """A message of each kind, with all that it can have and with nothing; a sentence of the book's; an ICMP error."""
    for kind in MessageType:
        yield encode_message(Message(kind, 1, IDS))
        yield encode_message(Message(kind, 2, IDS, key_id=1, tag=bytes(16)))
    yield encode_message(Message(MessageType.REQUEST, 1, IDS, b"payload", 9, bytes(16), bytes(20), bytes(52)))
    yield encode_message(Message(MessageType.REPLY, 1, IDS, b"payload", times=bytes(52)))
    yield encode_message(Message(MessageType.RETRY, 1, IDS, cookie=bytes(16), once=bytes(20)))
    yield b"Your data was 17 bytes long"
    error = struct.pack("=IBBBBII", 111, 2, 3, 3, 0, 0, 0) + struct.pack("=HH4s8x", 2, 0, bytes([192, 0, 2, 1]))
    quote = encode_message(Message(MessageType.REQUEST, 1, IDS))
    pieces = (quote, bytes([192, 0, 2, 53, 4, 36]), b"\x00\x0b" + error)
    yield b"".join(bytes([len(piece)]) + piece for piece in pieces)
    for first in (b"\x07\x80", b"\x00\x80" + bytes([len(quote)])):
        yield first + quote  # a batch
