"""Whatever first touches bytes from the network takes any bytes at all, and has only the results it declares.

The functions are found by their names, everywhere in the package: one that ends in `_untrusted` and has no trial here
fails the first test.
"""

import ast
import errno
import importlib
import pkgutil
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

import trio_udp
from trio_udp._cli._metrics import _response_untrusted
from trio_udp._net import _ancillary
from trio_udp.proto import (
    TU1,
    Answer,
    Book,
    ClientProtocol,
    DropReason,
    Heard,
    Message,
    Once,
    Peer,
    ProbeProtocol,
    Question,
    Refusal,
    RetryPolicy,
    Seal,
    TimedAnswer,
    Times,
    _times,
    blake2b_seal,
    decode_message_untrusted,
    read_once_untrusted,
    read_refusal_untrusted,
)
from trio_udp.proto._seal import REQUEST, KeyRing, is_sealed_untrusted, open_answer_untrusted
from trio_udp.proto._tu1 import _decode_timed_untrusted

from .forge import datagrams

SERVER: Final[Peer] = ("192.0.2.53", 1060)
IDS: Final = b"\x01" * 8 + b"\x02" * 8
BAD_FORM: Final = (DropReason.MALFORMED, DropReason.WRONG_VERSION)
NOT_FOR_ME: Final = (*BAD_FORM, DropReason.WRONG_DIRECTION, DropReason.BAD_SEAL)
SEAL: Final = blake2b_seal(1, bytes(32))
ANY_TIMES: Final = st.tuples(st.binary(max_size=64) | st.binary(min_size=52, max_size=52))


class Trial(NamedTuple):
    """How to feed one function, and what it may return."""

    feed: Callable[..., object]
    arguments: st.SearchStrategy[tuple[Any, ...]]
    declared: Callable[[object], bool]


def returns(kind: type, *reasons: DropReason) -> Callable[[object], bool]:
    """A result of that type or one of these reasons."""
    return lambda result: isinstance(result, kind) if not isinstance(result, DropReason) else result in reasons


def match(data: bytes, peer: Peer, seal: Seal | None = None) -> object:
    """`_match_untrusted` through the door that datagrams come in by, with a request open to that server and another."""
    client = ClientProtocol(TU1(), [SERVER, ("192.0.2.54", 1060)], random=IDS[:8] + bytes(8), seal=seal)
    exchange = client.open_exchange(b"question", RetryPolicy(), bytes(2) + IDS[8:] + bytes(8))
    exchange.next_attempt(0.0)
    found = client.receive_datagram(data, peer, 1.0)
    assert client.dropped.total() == isinstance(found, DropReason)
    assert isinstance(found, DropReason) or (found is exchange and data[8:24] == IDS)
    return found


def match_keyed(data: bytes, peer: Peer) -> object:
    """The same for a client that has a key."""
    return match(data, peer, SEAL)


one_datagram = datagrams(st.just(IDS) | st.binary(min_size=16, max_size=16)).map(lambda data: (data,))
some_sealed = st.builds(
    lambda data, key_id, is_good: (
        (SEAL.seal(REQUEST, data) if is_good else b"\x09%b%c%b%c%b" % (data[1:2], 1, data[3:4], key_id, data[5:])),
    ),
    datagrams().map(lambda data: data.ljust(40, b"x")),
    st.sampled_from([0, 1, 1, 1, 2, 255]),
    st.booleans(),
)
"""Datagrams with a flag that announces a tag, some of them with a good one."""
from_somewhere = st.tuples(
    datagrams(st.just(IDS) | st.binary(min_size=16, max_size=16)), st.sampled_from([SERVER, ("192.0.2.9", 9)])
)
some_lengths = st.sampled_from([0, 64, 1200, 65_507])
some_datagrams = st.tuples(
    st.lists(datagrams(), min_size=1, max_size=4)
    | st.lists(some_sealed.map(lambda arguments: arguments[0]), min_size=1, max_size=4)
    | st.builds(lambda data, count: [data] * count, datagrams(), st.integers(1, 4)),
    some_lengths,
)
"""Batches, some of them of datagrams that are all alike; and how long a plain one may be."""
any_text = st.text(st.characters(max_codepoint=127)).map(lambda text: (text.encode(),))

# What the kernel may hand over: addresses it made itself, and control messages of which ICMP fills a part.
extended_errors = st.builds(
    struct.Struct("=IBBBBII").pack,
    st.sampled_from(sorted(errno.errorcode)) | st.integers(0, 2**32 - 1),
    *[st.integers(0, 255)] * 4,
    *[st.integers(0, 2**32 - 1)] * 2,
)
control_messages = st.lists(
    st.tuples(
        st.sampled_from([socket.IPPROTO_IP, socket.IPPROTO_IPV6, socket.SOL_SOCKET]),
        st.sampled_from([_ancillary.IP_RECVERR, _ancillary.IPV6_RECVERR, _ancillary.IP_TTL]) | st.integers(0, 64),
        st.binary(max_size=64) | st.builds(bytes.__add__, extended_errors, st.binary(max_size=32)),
    ),
    max_size=4,
)
sockaddrs = st.one_of(
    st.none(),
    st.tuples(st.ip_addresses(v=4).map(str), st.integers(0, 65_535)),
    st.tuples(
        st.ip_addresses(v=6).map(str), st.integers(0, 65_535), st.integers(0, 2**20 - 1), st.integers(0, 2**32 - 1)
    ),
)


def all_of(batch: Callable[[list[bytes], int], list[Any]]) -> Callable[[list[bytes], int], list[Any]]:
    """A function of many datagrams, which has one result for each."""

    def feed(some: list[bytes], most: int) -> list[Any]:
        results = batch(some, most)
        assert len(results) == len(some)
        return results

    return feed


def each_returns(kind: type, *reasons: DropReason) -> Callable[[object], bool]:
    """A list of such results."""
    is_declared = returns(kind, *reasons)
    return lambda results: isinstance(results, list) and all(map(is_declared, results))


def is_hint(result: object) -> bool:
    """A hint with all its fields, or nothing."""
    if result is None:
        return True
    assert isinstance(result, _ancillary.Hint)
    return [type(field) for field in result] == [trio_udp.Address, bytes, str] and result.error != ""


def match_keyed_probe(data: bytes, peer: Peer) -> object:
    """The same with a key."""
    return match_probe(data, peer, SEAL)


def match_probe(data: bytes, peer: Peer, seal: Seal | None = None) -> object:
    """`match_untrusted`, with a probe open."""
    protocol = ProbeProtocol(TU1(), SERVER, random=IDS[:8], size=56, seal=seal)
    probe, _ = protocol.open(1, bytes(4), IDS[8:])
    found = protocol.match_untrusted(data, peer)
    assert isinstance(found, DropReason) or (found.probe is probe and data[8:24] == IDS)
    return found


TRIALS: Final = {
    "_cli._metrics._response_untrusted": Trial(
        lambda data: _response_untrusted(data, lambda: ("text/plain", b"figures")),
        one_datagram | any_text | st.sampled_from([(b"GET /metrics HTTP/1.0\r\n\r\n",), (b"GET / HTTP/1.1\r\n\r\n",)]),
        lambda result: isinstance(result, bytes) and result.startswith(b"HTTP/1.0 "),
    ),
    "proto._probes.ProbeProtocol._open_untrusted": Trial(
        match_keyed_probe,
        from_somewhere,
        returns(Heard, *NOT_FOR_ME, DropReason.WRONG_PEER, DropReason.UNKNOWN_REQUEST, DropReason.CORRUPTED),
    ),
    "proto._probes.ProbeProtocol.match_untrusted": Trial(
        match_probe,
        from_somewhere,
        returns(Heard, *NOT_FOR_ME, DropReason.WRONG_PEER, DropReason.UNKNOWN_REQUEST, DropReason.CORRUPTED),
    ),
    "proto._codec.decode_message_untrusted": Trial(decode_message_untrusted, one_datagram, returns(Message, *BAD_FORM)),
    "proto._once.read_once_untrusted": Trial(
        read_once_untrusted, st.tuples(st.binary(min_size=20, max_size=20)), lambda result: isinstance(result, Once)
    ),
    "proto._tu1.TU1.decode_answer_untrusted": Trial(
        TU1().decode_answer_untrusted, one_datagram, returns(Answer, *NOT_FOR_ME)
    ),
    "proto._tu1.TU1.decode_question_untrusted": Trial(
        TU1().decode_question_untrusted, one_datagram, returns(Question, *NOT_FOR_ME, DropReason.CORRUPTED)
    ),
    "proto._tu1.TU1.decode_probe_answer_untrusted": Trial(
        TU1().decode_probe_answer_untrusted, one_datagram, returns(TimedAnswer, *NOT_FOR_ME)
    ),
    "proto._tu1._decode_timed_untrusted": Trial(
        lambda data: _decode_timed_untrusted(data, int.from_bytes(data[:4])),
        one_datagram,
        lambda result: result is None or (isinstance(result, tuple) and len(result[3]) == 52),
    ),
    "proto._times.decode_sequence_untrusted": Trial(
        _times.decode_sequence_untrusted, ANY_TIMES, lambda result: result is None or result in range(2**32)
    ),
    "proto._times.decode_times_untrusted": Trial(
        _times.decode_times_untrusted, ANY_TIMES, lambda result: result is None or isinstance(result, Times)
    ),
    "proto._tu1.TU1.decode_quote_untrusted": Trial(
        TU1().decode_quote_untrusted,
        one_datagram,
        lambda result: result is None or (isinstance(result, bytes) and len(result) == 16),
    ),
    "proto._book.Book.decode_answer_untrusted": Trial(
        Book().decode_answer_untrusted, one_datagram | any_text, returns(Answer, DropReason.MALFORMED)
    ),
    "proto._book.Book.decode_question_untrusted": Trial(
        Book().decode_question_untrusted,
        one_datagram | any_text,
        returns(Question, DropReason.MALFORMED, DropReason.WRONG_DIRECTION),
    ),
    "proto._book.Book.decode_quote_untrusted": Trial(
        Book().decode_quote_untrusted, one_datagram | any_text, lambda result: result == b""
    ),
    "proto._client.ClientProtocol._match_untrusted": Trial(
        match,
        from_somewhere,
        returns(object, *NOT_FOR_ME, DropReason.WRONG_PEER, DropReason.UNKNOWN_REQUEST),
    ),
    "proto._client.ClientProtocol._open_untrusted": Trial(
        match_keyed,
        from_somewhere,
        returns(object, *NOT_FOR_ME, DropReason.WRONG_PEER, DropReason.UNKNOWN_REQUEST),
    ),
    "proto._seal.Seal.open_untrusted": Trial(
        lambda data: SEAL.open_untrusted(REQUEST, data),
        some_sealed,
        lambda result: result is None or isinstance(result, bytes),
    ),
    "proto._seal.KeyRing.decode_question_untrusted": Trial(
        KeyRing([SEAL], TU1().decode_question_untrusted).decode_question_untrusted,
        one_datagram | some_sealed,
        returns(Question, *NOT_FOR_ME, DropReason.CORRUPTED),
    ),
    "proto._seal.KeyRing._decode_any_untrusted": Trial(
        KeyRing([SEAL], TU1().decode_question_untrusted)._decode_any_untrusted,
        one_datagram | some_sealed,
        returns(Question, *NOT_FOR_ME, DropReason.CORRUPTED),
    ),
    "proto._seal.KeyRing._decode_plain_untrusted": Trial(
        KeyRing([SEAL], TU1().decode_question_untrusted)._decode_plain_untrusted,
        one_datagram | some_sealed,
        lambda result: result in (None, DropReason.BAD_SEAL) or isinstance(result, tuple),
    ),
    "proto._seal.KeyRing.decode_batch_untrusted": Trial(
        all_of(KeyRing([SEAL], TU1().decode_question_untrusted).decode_batch_untrusted),
        some_datagrams,
        each_returns(tuple, *NOT_FOR_ME, DropReason.CORRUPTED),
    ),
    "proto._tu1.TU1.decode_batch_untrusted": Trial(
        all_of(TU1().decode_batch_untrusted), some_datagrams, each_returns(tuple, *NOT_FOR_ME, DropReason.CORRUPTED)
    ),
    "proto._tu1.TU1._decode_each_untrusted": Trial(
        all_of(TU1()._decode_each_untrusted), some_datagrams, each_returns(tuple, *NOT_FOR_ME, DropReason.CORRUPTED)
    ),
    "proto._refusal.read_refusal_untrusted": Trial(
        read_refusal_untrusted,
        st.tuples(st.binary(max_size=8) | st.binary(min_size=5, max_size=5)),
        lambda result: result is None or isinstance(result, Refusal),
    ),
    "proto._seal.is_sealed_untrusted": Trial(
        is_sealed_untrusted, one_datagram, lambda result: isinstance(result, bool)
    ),
    "proto._seal.open_answer_untrusted": Trial(
        lambda data: open_answer_untrusted(data, [(SEAL, bytes(16))]),
        some_sealed,
        returns(bytes, DropReason.BAD_SEAL, DropReason.UNKNOWN_REQUEST),
    ),
    "_net._ancillary.read_error_untrusted": Trial(
        _ancillary.read_error_untrusted, st.tuples(datagrams(), control_messages, sockaddrs), is_hint
    ),
}


def untrusted_functions() -> set[str]:
    """The dotted name, below the package, of every function whose name ends in `_untrusted` and which has a body."""
    found = set()
    for module in pkgutil.walk_packages(trio_udp.__path__, "trio_udp."):
        spec = importlib.util.find_spec(module.name)
        assert spec is not None
        assert spec.origin is not None
        found |= set(_named_untrusted(ast.parse(Path(spec.origin).read_text()), module.name.removeprefix("trio_udp.")))
    return found


def _named_untrusted(node: ast.AST, prefix: str) -> list[str]:
    names = []
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                names += [f"{prefix}.{name}"] if name.endswith("_untrusted") else []
                names += _named_untrusted(child, f"{prefix}.{name}")
            case ast.ClassDef(name=name, bases=bases):
                if not any(isinstance(base, ast.Name) and base.id == "Protocol" for base in bases):
                    names += _named_untrusted(child, f"{prefix}.{name}")
            case _:
                names += _named_untrusted(child, prefix)
    return names


def test_every_untrusted_function_of_the_package_has_a_trial() -> None:
    """No more and no fewer: a new one needs a line in `TRIALS`."""
    assert untrusted_functions() == set(TRIALS)


@pytest.mark.parametrize("name", TRIALS)
@given(data=st.data())
def test_untrusted_function_takes_any_bytes_and_returns_only_what_it_declares(name: str, data: st.DataObject) -> None:
    """It never raises, for junk, for good headers with anything behind them, and for good headers cut short."""
    trial = TRIALS[name]
    result = trial.feed(*data.draw(trial.arguments))
    assert trial.declared(result), result
