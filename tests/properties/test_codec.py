"""The wire format is a bijection: every message has one encoding, and nothing else decodes."""

from collections.abc import Callable

from hypothesis import example, given
from hypothesis import strategies as st

from trio_udp.proto import (
    HEADER_SIZE,
    MAX_DATAGRAM,
    TU1,
    Answer,
    AnswerKind,
    DropReason,
    Extensions,
    Message,
    MessageType,
    ProtocolError,
    Question,
    decode_message_untrusted,
    encode_message,
)
from trio_udp.proto._times import (
    decode_sequence_untrusted,
    decode_times_untrusted,
    encode_sequence,
    is_intact,
    with_check,
)
from trio_udp.proto._tu1 import TimedAnswer

from .forge import datagrams

ids = st.binary(min_size=16, max_size=16)
attempts = st.integers(1, 255)
room = MAX_DATAGRAM - HEADER_SIZE
payloads = st.binary(max_size=100) | st.sampled_from([bytes(room), b"x" * room, bytes(1200)])

times = st.binary(min_size=52, max_size=52) | st.binary(min_size=51, max_size=53)

EXTENSIONS = (
    ("cookie", 16, "REQUEST RETRY"),
    ("once", 20, "REQUEST RETRY"),
    ("times", 52, "REQUEST REPLY"),
    ("refusal", 5, "BUSY ERROR"),
    ("tag", 16, "REQUEST REPLY RETRY BUSY ERROR OUTCOME_UNKNOWN"),
)


@st.composite
def messages(draw: st.DrawFn) -> Message:
    """Any message the format can say, at and near its limits too."""
    kind = draw(st.sampled_from(MessageType))
    extensions = {
        name: draw(st.just(b"") | st.binary(min_size=size, max_size=size))
        for name, size, kinds in EXTENSIONS
        if kind.name in kinds.split()
    }
    key_id = draw(st.integers(1, 255)) if extensions["tag"] else 0
    left = room - sum(map(len, extensions.values()))
    payload = draw(payloads)[:left] if kind in (MessageType.REQUEST, MessageType.REPLY) else b""
    most = left - len(payload) if kind is MessageType.REQUEST else 0
    padding = draw(st.integers(0, min(most, 64)) | st.just(most))
    return Message(kind, draw(attempts), draw(ids), payload, padding, key_id=key_id, **extensions)


def with_a_good_check(message: Message) -> Message:
    """The same, its times as they would be believed."""
    if not message.times:
        return message
    return message._replace(times=with_check(message.attempt, message.ids, message.times, message.payload))


@given(messages())
def test_decoding_undoes_encoding(message: Message) -> None:
    """What was said is what is read, and the datagram is as long as it should be."""
    data = encode_message(message)
    assert decode_message_untrusted(data) == message
    extensions = len(message.cookie + message.once + message.times + message.tag + message.refusal)
    assert len(data) == HEADER_SIZE + extensions + len(message.payload) + message.padding <= MAX_DATAGRAM


@given(datagrams() | messages().map(encode_message) | messages().map(with_a_good_check).map(encode_message))
@example(bytes([9, 0x01, 9, 1, 0, 0, 0, 0]) + bytes(16 + 52))
def test_a_server_reads_a_plain_request_as_it_reads_any(data: bytes) -> None:
    """The short cut for requests without flags takes nothing that the long way drops, and the other way round."""
    message = decode_message_untrusted(data)
    expected: Question | DropReason
    if isinstance(message, DropReason):
        expected = message
    elif message.tag:
        expected = DropReason.BAD_SEAL
    elif message.times and (message.cookie or message.once):
        expected = DropReason.MALFORMED
    elif message.type is MessageType.REQUEST:
        extensions = Extensions(message) if message.cookie or message.once else None
        expected = Question(message.ids, message.payload, message.attempt, len(data), extensions, message.times)
        if message.times and not is_intact(message.attempt, message.ids, message.times, message.payload):
            expected = DropReason.CORRUPTED
        elif message.times and decode_sequence_untrusted(message.times) is None:
            expected = DropReason.MALFORMED
    else:
        expected = DropReason.WRONG_DIRECTION
    assert TU1().decode_question_untrusted(data) == expected


@given(datagrams() | messages().map(encode_message) | messages().map(with_a_good_check).map(encode_message))
@example(bytes([9, 0x81, 8, 1, 0, 0, 0xFF, 0xFF]) + bytes(16 + 52 + 0xFFFF))
@example(bytes([9, 0x81, 9, 1, 0, 0, 0, 0]) + bytes(16 + 52))
def test_who_measures_reads_a_reply_with_times_as_he_reads_any(data: bytes) -> None:
    """The same of the short cut for those."""
    message = decode_message_untrusted(data)
    expected: TimedAnswer | DropReason
    if isinstance(message, DropReason):
        expected = message
    elif message.tag:
        expected = DropReason.BAD_SEAL
    elif message.type is MessageType.REQUEST:
        expected = DropReason.WRONG_DIRECTION
    elif message.once or (message.type is MessageType.REPLY and not message.times):
        expected = DropReason.MALFORMED
    else:
        kind = AnswerKind[message.type.name]
        answer = Answer(message.ids, message.payload + message.refusal, message.attempt, kind)
        intact = not message.times or is_intact(message.attempt, message.ids, message.times, message.payload)
        expected = TimedAnswer(answer, decode_times_untrusted(message.times) if intact else None, intact)
    assert TU1().decode_probe_answer_untrusted(data) == expected


KINDS = {kind: MessageType[kind.name] for kind in AnswerKind}


@given(
    st.binary(min_size=15, max_size=17),
    st.integers(-1, 257),
    payloads | st.just(bytes(room + 1)),
    st.sampled_from(AnswerKind),
)
def test_a_server_writes_a_plain_answer_as_it_writes_any(
    ids: bytes, attempt: int, payload: bytes, kind: AnswerKind
) -> None:
    """The short cut says the same bytes, and refuses the same with the same words."""
    long_way = said(lambda: encode_message(Message(KINDS[kind], attempt, ids, payload)))
    assert said(lambda: TU1().encode_answer(Question(ids, b"", attempt, 24), kind, payload)) == long_way


@given(ids=st.binary(min_size=15, max_size=17), attempt=st.integers(0, 255), payload=payloads, times=times)
def test_times_are_written_as_any_extension_is(ids: bytes, attempt: int, payload: bytes, times: bytes) -> None:
    """The same of the short cuts for probes and for replies to them."""
    checked = with_check(attempt, ids, times, payload)
    long_way = said(lambda: encode_message(Message(MessageType.REPLY, attempt, ids, payload, times=checked)))
    asked = Question(ids, b"", attempt, 24, None, times)
    assert said(lambda: TU1().encode_answer(asked, AnswerKind.REPLY, payload)) == long_way
    checked = with_check(1, ids, encode_sequence(7), payload)
    long_way = said(lambda: encode_message(Message(MessageType.REQUEST, 1, ids, payload, times=checked)))
    assert said(lambda: TU1().encode_probe(payload, ids, 7)) == long_way


def said(write: Callable[[], bytes]) -> bytes | str:
    """The datagram, or why there is none."""
    try:
        return write()
    except ProtocolError as exc:
        return str(exc)


LONGER_THAN_IPV4_CARRIES = bytes([9, 1, 0x10, 1, 0, 0, 0, 0]) + bytes(16) + bytes(MAX_DATAGRAM - HEADER_SIZE + 1)


@given(datagrams() | messages().map(encode_message))
@example(LONGER_THAN_IPV4_CARRIES)
@example(bytes([9, 0x81, 0, 1, 0, 0, 0xFF, 0xFF]) + bytes(16) + bytes(0xFFFF))
def test_every_datagram_that_decodes_is_the_encoding_of_what_it_says(data: bytes) -> None:
    """There is exactly one encoding, so no two readers can disagree about a datagram."""
    message = decode_message_untrusted(data)
    if isinstance(message, Message):
        assert encode_message(message) == data
    else:
        assert message in (DropReason.MALFORMED, DropReason.WRONG_VERSION)


@given(payload=st.binary(max_size=64), ids=ids, attempt=attempts, padding=st.integers(1, 64), data=st.data())
def test_padding_is_announced_and_there_and_of_zeros_or_there_is_no_message(
    payload: bytes, ids: bytes, attempt: int, padding: int, data: st.DataObject
) -> None:
    """E4, A1: room is all that it can be, so nothing can be said in it, and nothing behind a payload goes unread."""
    plain = encode_message(Message(MessageType.REQUEST, attempt, ids, payload))
    padded = encode_message(Message(MessageType.REQUEST, attempt, ids, payload, padding))
    for flags in {0, *range(0x20, 256)}:
        assert decode_message_untrusted(padded[:2] + bytes([flags]) + padded[3:]) is DropReason.MALFORMED
    assert decode_message_untrusted(padded[: len(plain)]) is DropReason.MALFORMED
    dirty = bytearray(padded)
    dirty[data.draw(st.integers(len(plain), len(padded) - 1))] = data.draw(st.integers(1, 255))
    assert decode_message_untrusted(bytes(dirty)) is DropReason.MALFORMED


@given(ids=ids, attempt=attempts, data=st.data())
def test_an_extension_in_a_message_that_has_none_is_no_message(ids: bytes, attempt: int, data: st.DataObject) -> None:
    """A1: also if it is announced, and there, and the rest is right; and where it is known, it is read."""
    for kind in MessageType:
        for (_, size, kinds), flag in zip(EXTENSIONS, (0x02, 0x04, 0x08, 0x20, 0x01), strict=True):
            extension = data.draw(st.binary(min_size=size, max_size=size))
            found = decode_message_untrusted(bytes([9, kind, flag, attempt, flag & 1, 0, 0, 0]) + ids + extension)
            assert isinstance(found, Message) is (kind.name in kinds.split())
            assert isinstance(found, Message) or found is DropReason.MALFORMED


@given(one=messages(), other=messages())
def test_different_messages_have_different_encodings(one: Message, other: Message) -> None:
    """Also those that differ in one field."""
    for message in (other, *(one._replace(**{field: getattr(other, field)}) for field in Message._fields)):
        try:
            data = encode_message(message)
        except ProtocolError:
            continue  # the fields of one, and the type or the key id of the other
        assert (encode_message(one) == data) == (one == message)


@given(payload=payloads, key=ids, attempt=attempts, padded_to=st.integers(0, MAX_DATAGRAM))
def test_server_reads_the_request_the_client_wrote(payload: bytes, key: bytes, attempt: int, padded_to: int) -> None:
    """The profile's own round trip, to the server; padding fills the room and says nothing."""
    data = TU1().encode_request(payload, key, attempt, padded_to)
    assert len(data) == max(padded_to, HEADER_SIZE + len(payload))
    assert TU1().decode_question_untrusted(data) == Question(key, payload, attempt, len(data))
    assert TU1().decode_answer_untrusted(data) is DropReason.WRONG_DIRECTION
    assert TU1().decode_quote_untrusted(data[:HEADER_SIZE]) == key


@given(kind=st.sampled_from(AnswerKind), payload=payloads, key=ids, attempt=attempts)
def test_client_reads_the_answer_the_server_wrote(kind: AnswerKind, payload: bytes, key: bytes, attempt: int) -> None:
    """The profile's own round trip, back to the client; no answer reads as a question, or as a quote of one."""
    payload = payload if kind is AnswerKind.REPLY else b""
    data = TU1().encode_answer(Question(key, b"", attempt, 0), kind, payload)
    assert TU1().decode_answer_untrusted(data) == Answer(key, payload, attempt, kind)
    assert TU1().decode_question_untrusted(data) is DropReason.WRONG_DIRECTION
    assert TU1().decode_quote_untrusted(data) is None
