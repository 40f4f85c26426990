"""Keys that encipher: what is hidden, what is not, and that nothing can be changed either way."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_udp import Key
from trio_udp.proto import (
    HEADER_SIZE,
    TAG_SIZE,
    TU1,
    AnswerKind,
    ClientProtocol,
    DropReason,
    Message,
    MessageType,
    Question,
    RetryPolicy,
    Seal,
    ServerProtocol,
    decode_message_untrusted,
    encode_message,
    payload_start,
)
from trio_udp.proto._seal import ANSWER, REQUEST

from .proto.test_seal import flipped

aead = pytest.importorskip(
    "cryptography.hazmat.primitives.ciphers.aead", reason="aes-siv-cmac-256 needs the package cryptography"
)

SECRET = bytes(range(32))
HERE = ("192.0.2.1", 1060)
PAYLOAD = b"what nobody else may read"


def seal(key_id: int = 1, secret: bytes = SECRET) -> Seal:
    """A key at work."""
    return Key(key_id, secret, algorithm="aes-siv-cmac-256").seal


def conversation() -> tuple[ClientProtocol, ServerProtocol, bytes]:
    """A client, a server, and the first transmission of a request."""
    client = ClientProtocol(TU1(), [HERE], random=b"instance", seal=seal())
    server = ServerProtocol(TU1(), seals=[seal()])
    attempt = client.open_exchange(PAYLOAD, RetryPolicy(jitter=0), bytes(10)).next_attempt(0.0)
    assert attempt is not None
    return client, server, attempt.datagram


def test_payload_is_hidden_and_the_header_is_not() -> None:
    """It is a message of the wire format, of which a stranger learns ids, kind and length."""
    client, server, request = conversation()
    question = server.receive_datagram(request)
    assert isinstance(question, Question)
    assert question.payload == PAYLOAD
    reply = server.reply(question, PAYLOAD)[1]
    assert reply is not None
    for data in (request, reply):
        assert PAYLOAD[:4] not in data
        message = decode_message_untrusted(data)
        assert isinstance(message, Message)
        assert (message.ids, len(message.payload), message.key_id) == (question.key, len(PAYLOAD), 1)
    exchange = client.receive_datagram(reply, HERE, 0.1)
    assert not isinstance(exchange, DropReason)
    assert exchange.outcome is not None
    assert (exchange.outcome.payload, exchange.outcome.authenticated) == (PAYLOAD, True)


def test_it_is_rfc_5297_over_all_that_a_tag_covers() -> None:
    """Computed as the documentation says it: the synthetic IV stands where the tag stands."""
    _, server, request = conversation()
    question = server.receive_datagram(request)
    assert isinstance(question, Question)
    reply = server.reply(question, b"short")[1]
    assert reply is not None
    cipher = aead.AESSIV(SECRET)
    for data, label, clear in (
        (request, b"tu1 request\0" + request[:HEADER_SIZE], PAYLOAD),
        (reply, b"tu1 answer\0" + request[-TAG_SIZE:] + reply[:HEADER_SIZE], b"short"),
    ):
        assert cipher.decrypt(data[-TAG_SIZE:] + data[HEADER_SIZE:-TAG_SIZE], [label]) == clear


def test_one_flipped_bit_anywhere_is_a_counted_drop() -> None:
    """F1: in a request and in every kind of answer."""
    client, server, request = conversation()
    for count, data in enumerate(flipped(request), start=1):
        assert isinstance(server.receive_datagram(data), DropReason)
        assert sum(server.dropped.values()) == count
    question = server.receive_datagram(request)
    assert isinstance(question, Question)
    for kind in AnswerKind:
        answer = server.reply(question, b"answer")[1] if kind is AnswerKind.REPLY else server.refuse(question, kind)
        assert answer is not None
        for data in flipped(answer):
            assert isinstance(client.receive_datagram(data, HERE, 0.1), DropReason)


def test_two_answers_to_one_request_have_nothing_in_common() -> None:
    """A handler that runs twice may say two things; with a nonce out of the request the second would betray both."""
    _, server, request = conversation()
    question = server.receive_datagram(request)
    assert isinstance(question, Question)
    one, other = (server.reply(question, payload)[1] for payload in (b"\0" * 20, b"\0" * 19 + b"\1"))
    assert one is not None
    assert other is not None
    first, second = one[HEADER_SIZE:-TAG_SIZE], other[HEADER_SIZE:-TAG_SIZE]
    assert one[-TAG_SIZE:] != other[-TAG_SIZE:]
    assert sum(a == b for a, b in zip(first, second, strict=True)) < 10


def test_every_transmission_is_enciphered_anew() -> None:
    """The attempt's number is covered, so a retransmission does not even show that it is one of the same payload."""
    client = ClientProtocol(TU1(), [HERE], random=b"instance", seal=seal())
    exchange = client.open_exchange(bytes(32), RetryPolicy(jitter=0), bytes(10))
    attempts = [exchange.next_attempt(now) for now in (0.0, 1.0, 3.0, 7.0)]
    hidden = {attempt.datagram[HEADER_SIZE:] for attempt in attempts if attempt is not None}
    assert len(hidden) == 4


@given(
    kind=st.sampled_from(MessageType),
    payload=st.binary(max_size=40),
    padding=st.integers(0, 40),
    cookie=st.sampled_from([b"", b"c" * 16]),
    times=st.sampled_from([b"", b"t" * 52]),
    bound=st.binary(max_size=16),
)
def test_what_was_sealed_opens_to_what_it_was(  # noqa: PLR0917 - all of a message
    kind: MessageType, payload: bytes, padding: int, cookie: bytes, times: bytes, bound: bytes
) -> None:
    """With extensions, which stay in clear, with padding, and with nothing to encipher."""
    with_payload = kind in (MessageType.REQUEST, MessageType.REPLY)
    plain = encode_message(
        Message(
            kind, 3, bytes(16), payload if with_payload else b"", padding if kind is MessageType.REQUEST else 0,
            cookie=cookie if kind in (MessageType.REQUEST, MessageType.RETRY) else b"",
            times=times if with_payload else b"",
        )
    )  # fmt: skip
    direction = REQUEST if kind is MessageType.REQUEST else ANSWER
    data = seal().seal(direction, plain, bound)
    start = payload_start(plain)
    assert len(data) == len(plain) + TAG_SIZE
    assert data[8:start] == plain[8:start]
    assert seal().open_untrusted(direction, data, bound) == plain
    assert seal().open_untrusted(direction, data, bound + b"x") is None
    assert seal(secret=bytes(32)).open_untrusted(direction, data, bound) is None


@given(data=st.binary(min_size=40, max_size=80))
def test_junk_opens_to_nothing(data: bytes) -> None:
    """Whatever it is; also if its flags announce more than there is."""
    for junk in (data, b"\x09\x01\x0f" + data[3:40], b"\x09\x01\xff" + data[3:]):
        assert seal().open_untrusted(REQUEST, junk) is None
