"""The times extension: what is said is what is read, a changed bit is noticed, and servers are honest about memory."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_udp.proto import (
    TU1,
    Answer,
    AnswerKind,
    DropReason,
    Message,
    MessageType,
    Question,
    ServerProtocol,
    TimedAnswer,
    Times,
    asks_for_report,
    decode_message_untrusted,
    encode_message,
)
from trio_udp.proto._times import (
    ProbeTable,
    decode_sequence_untrusted,
    decode_times_untrusted,
    encode_sequence,
    is_intact,
    with_check,
    with_turnaround,
)

PEER = ("192.0.2.2", 4711)
INSTANCE = bytes(range(8))
KEY = INSTANCE + bytes(8)
UNIT = 2**18
BOOT = 1_700_000_000 * 10**9


def told(table: ProbeTable, sequence: int, now: int = BOOT, instance: bytes = INSTANCE) -> Times | None:
    """What the client reads of what the table says."""
    return decode_times_untrusted(table.receive(PEER, instance, sequence, arrived=now))


def probe(table: ProbeTable, sequence: int, turnaround: int = 0) -> bytes:
    """The times of the reply to one, as they are when it leaves."""
    return with_turnaround(table.receive(PEER, INSTANCE, sequence, arrived=BOOT), BOOT + turnaround)


def lag_in(times: bytes) -> int | None:
    """That the client reads there."""
    found = decode_times_untrusted(times)
    assert found is not None
    return found.lag


departures = st.none() | st.tuples(st.integers(-5, 10**7), st.integers(0, 2**31))


@given(st.lists(departures, max_size=20))
def test_a_reply_tells_how_much_later_than_it_said_the_one_before_it_left(
    happens: list[tuple[int, int] | None],
) -> None:
    """If the kernel has said so; of no other one, and if a clock was set meanwhile of none. A report is of the last."""
    table, before = ProbeTable(began=BOOT), None
    for sequence, departure in enumerate(happens, 1):
        lag, turnaround = departure or (0, 0)
        times = probe(table, sequence, turnaround)
        assert lag_in(times) == before
        before = None
        if departure is not None:
            table.note_departure(PEER, INSTANCE, times, BOOT + turnaround + lag)
            table.note_departure(PEER, bytes(8), times, BOOT)  # to one who is not counted
            before = lag if lag >= 0 else None
        if sequence == len(happens):
            assert [lag_in(probe(table, 0)), lag_in(probe(table, 0))] == [before, before]


def test_a_reply_that_left_after_a_later_one_is_not_taken_for_that() -> None:
    """Handlers may end in another order; then the lag of the later one is not known."""
    table = ProbeTable(began=BOOT)
    first, second = probe(table, 1), probe(table, 2)
    table.note_departure(PEER, INSTANCE, second, BOOT + 20)
    table.note_departure(PEER, INSTANCE, first, BOOT + 10)
    assert lag_in(probe(table, 3)) is None


def test_a_report_is_not_taken_for_the_last_reply() -> None:
    """It has that one's number, and may have to be told again."""
    table = ProbeTable(began=BOOT)
    table.note_departure(PEER, INSTANCE, probe(table, 1), BOOT + 10)
    table.note_departure(PEER, INSTANCE, probe(table, 0), BOOT + 20)
    assert [lag_in(probe(table, 0)), lag_in(probe(table, 2))] == [10, 10]


def test_no_lag_is_told_across_a_lost_count() -> None:
    """The number before is of the count before."""
    table = ProbeTable(began=BOOT)
    probe(table, 1)
    table.note_departure(PEER, INSTANCE, probe(table, 2000), BOOT + 10)
    assert lag_in(probe(table, 1)) is None


def test_a_mean_as_it_was_told_once_is_not_taken_for_the_lag_of_one_reply() -> None:
    """A server that is older than the flag does not set it."""
    table = ProbeTable(began=BOOT)
    table.note_departure(PEER, INSTANCE, probe(table, 1), BOOT + 10)
    times = probe(table, 2)
    assert (lag_in(times), lag_in(times[:-1] + bytes([times[-1] & 3]))) == (10, None)


def test_a_lag_that_is_too_long_to_tell_is_not_known() -> None:
    """More than 16 ms."""
    for lag, expected in ((2**24 - 3, 2**24 - 3), (2**24 - 2, None), (2**31, None), (2**32 - 1, None), (2**40, None)):
        table = ProbeTable(began=BOOT)
        table.note_departure(PEER, INSTANCE, probe(table, 1), BOOT + lag)
        times = told(table, 2)
        assert times is not None
        assert (times.lag, times.by_kernel) == (expected, False)


@given(st.lists(st.integers(1, 200), min_size=1, max_size=100))
def test_server_tells_what_came(sequences: list[int]) -> None:
    """Counts, and for each of the last 65 numbers whether it came."""
    table = ProbeTable(began=BOOT)
    for sequence in sequences:
        times = told(table, sequence)
    assert times is not None
    assert (times.received, times.received - times.duplicates) == (len(sequences), len(set(sequences)))
    assert times.highest == max(sequences)
    first = list(dict.fromkeys(sequences))
    assert times.reordered == sum(number < max(first[:at], default=0) for at, number in enumerate(first))
    for sequence in range(1, 220):
        within = times.highest - 64 <= sequence <= times.highest
        assert times.has(sequence) == (sequence in sequences if within else None)


def test_state_stays_as_long_as_the_count_is_kept() -> None:
    """And each client has its own."""
    table = ProbeTable(began=BOOT)
    one, two = told(table, 1), told(table, 2)
    other = told(table, 1, instance=bytes(8))
    assert one is not None
    assert two is not None
    assert other is not None
    assert one.state == two.state != other.state
    assert other.received == 1


def test_losing_count_changes_the_state() -> None:
    """Of one that lies a thousand behind nobody can tell whether it is a duplicate."""
    table = ProbeTable(began=BOOT)
    states = [times.state for sequence in (1, 2000, 1, 2001) if (times := told(table, sequence))]
    assert len(states) == 4
    assert states[0] == states[1] != states[2] == states[3]


def test_memory_is_told_rounded_down_and_ends_where_somebody_was_forgotten() -> None:
    """So a client knows whether it has been counted from its first probe on."""
    table = ProbeTable(began=BOOT, limit=2)
    clients = [bytes([number] * 8) for number in range(3)]
    first = told(table, 1, BOOT + 3 * UNIT - 1, clients[0])
    told(table, 1, BOOT + 5 * UNIT, clients[1])
    second = told(table, 2, BOOT + 9 * UNIT, clients[0])  # now the other one is silent for longest
    assert first is not None
    assert second is not None
    assert (first.memory, second.memory) == (2 * UNIT, 9 * UNIT)
    third = told(table, 1, BOOT + 10 * UNIT, clients[2])
    assert third is not None
    assert (len(table), third.memory) == (2, 0)
    kept, forgotten = told(table, 3, BOOT + 12 * UNIT, clients[0]), told(table, 2, BOOT + 12 * UNIT, clients[1])
    assert kept is not None
    assert forgotten is not None
    assert (kept.received, kept.memory) == (3, 2 * UNIT)
    assert forgotten.received == 1


def test_who_has_had_a_report_goes_first_and_is_missed_by_nobody() -> None:
    """So runs that are over never make the figures of others unknown, however many there were."""
    table = ProbeTable(began=BOOT, limit=2)
    told(table, 1, BOOT + UNIT, bytes(8))
    for number in range(1, 100):
        instance = bytes([number] * 8)
        assert told(table, 1, BOOT + number * UNIT, instance) is not None
        assert told(table, 0, BOOT + number * UNIT, instance) is not None
    long_running = told(table, 2, BOOT + 100 * UNIT, bytes(8))
    assert long_running is not None
    assert (len(table), long_running.received, long_running.memory) == (2, 2, 100 * UNIT)


def test_a_report_can_be_asked_for_again() -> None:
    """It may have been lost; as long as nobody new needs the place, the same is told."""
    table = ProbeTable(began=BOOT, limit=1)
    told(table, 1)
    assert told(table, 0) == told(table, 0) is not None
    told(table, 1, instance=bytes(8))
    assert told(table, 0) is None


def test_who_goes_on_after_a_report_is_kept_as_before() -> None:
    """And missed, when it is forgotten then."""
    table = ProbeTable(began=BOOT, limit=2)
    one, two, three = (bytes([number] * 8) for number in range(3))
    told(table, 1, instance=one)
    told(table, 0, instance=one)
    told(table, 1, instance=two)
    again = told(table, 2, instance=one)
    assert again is not None
    assert again.received == 2
    forgetting = told(table, 1, BOOT + 5 * UNIT, three)  # two was silent for longest, and had no report
    assert forgetting is not None
    assert forgetting.memory == 0
    assert told(table, 0, instance=two) is None


def test_memory_says_no_more_than_fits_and_never_less_than_nothing() -> None:
    """After 13 days it stays where it is; a wall clock that was set back is no reason to fail."""
    table = ProbeTable(began=BOOT)
    long_after, before = told(table, 1, BOOT + 2**60), told(table, 2, BOOT - 5)
    assert long_after is not None
    assert before is not None
    assert (long_after.memory, before.memory) == ((2**32 - 1) * UNIT, 0)


def test_a_report_counts_nothing_and_is_told_of_a_stranger_too() -> None:
    """Of whom nothing is known."""
    table = ProbeTable(began=BOOT)
    nothing = table.receive(PEER, INSTANCE, 0, arrived=BOOT)
    assert decode_times_untrusted(nothing) is None
    assert len(table) == 0
    probe = table.receive(PEER, INSTANCE, 7, arrived=BOOT, by_kernel=True)
    report = table.receive(PEER, INSTANCE, 0, arrived=BOOT)
    assert [asks_for_report(times) for times in (nothing, probe, report)] == [True, False, True]
    times, again = decode_times_untrusted(probe), decode_times_untrusted(report)
    assert times is not None
    assert again is not None
    assert (times.by_kernel, again.by_kernel) == (True, False)
    assert again._replace(by_kernel=True) == times


@pytest.mark.parametrize(
    ("after", "turnaround"), [(0, 0), (1234, 1234), (-5, 0), (2**32 - 2, 2**32 - 2), (2**32 - 1, None), (2**40, None)]
)
def test_turnaround_is_from_arrival_to_leaving(after: int, turnaround: int | None) -> None:
    """As long as it takes less than four seconds."""
    times = ProbeTable(began=BOOT).receive(PEER, INSTANCE, 1, arrived=BOOT + 99)
    found = decode_times_untrusted(with_turnaround(times, BOOT + 99 + after))
    assert found is not None
    assert (found.turnaround, found.arrived) == (turnaround, BOOT + 99)


def test_what_no_server_can_mean_is_nothing() -> None:
    """All duplicates and no first one; and a simple reflector, which sends back what it was sent."""
    assert decode_times_untrusted(encode_sequence(5)) is None
    table = ProbeTable(began=BOOT)
    times = table.receive(PEER, INSTANCE, 1, arrived=BOOT)
    assert decode_times_untrusted(times[:12] + (1).to_bytes(4, "big") + (1).to_bytes(4, "big") + times[20:]) is None
    assert decode_times_untrusted(times[:-1]) is None


def test_sequence_is_read_from_a_request_only() -> None:
    """Zeros make the room, and nothing else does."""
    assert decode_sequence_untrusted(encode_sequence(2**32 - 1)) == 2**32 - 1
    assert decode_sequence_untrusted(encode_sequence(1)[:-1] + b"x") is None
    assert decode_sequence_untrusted(encode_sequence(1) + b"\0") is None


@given(st.binary(max_size=20), st.integers(1, 2**32 - 1), st.data())
def test_any_flipped_bit_of_a_probe_is_noticed(payload: bytes, sequence: int, data: st.DataObject) -> None:
    """Wherever it is: the server counts nothing that was not sent."""
    probe = TU1().encode_probe(payload, KEY, sequence)
    question = TU1().decode_question_untrusted(probe)
    assert isinstance(question, Question)
    assert decode_sequence_untrusted(question.times) == sequence
    bit = data.draw(st.integers(0, 8 * len(probe) - 1))
    changed = bytearray(probe)
    changed[bit // 8] ^= 1 << bit % 8
    assert isinstance(TU1().decode_question_untrusted(bytes(changed)), DropReason)


@given(st.binary(max_size=20), st.data())
def test_any_flipped_bit_of_a_reply_is_noticed(payload: bytes, data: st.DataObject) -> None:
    """It is dropped, or not intact, or has another kind than a reply; its numbers are never believed."""
    server = ServerProtocol(TU1())
    server.begin(BOOT)
    question = server.receive_datagram(TU1().encode_probe(payload, KEY, 1))
    assert isinstance(question, Question)
    question = server.receive_probe(question, PEER, arrived=BOOT, by_kernel=True)
    kind, reply = server.reply(server.leaving(question, BOOT + 50), payload)
    assert kind is AnswerKind.REPLY
    assert reply is not None
    assert len(reply) == question.size
    found = TU1().decode_probe_answer_untrusted(reply)
    assert isinstance(found, TimedAnswer)
    assert found.times is not None
    assert (found.is_intact, found.times.turnaround, found.answer.payload) == (True, 50, payload)
    bit = data.draw(st.integers(0, 8 * len(reply) - 1))
    changed = bytearray(reply)
    changed[bit // 8] ^= 1 << bit % 8
    again = TU1().decode_probe_answer_untrusted(bytes(changed))
    assert isinstance(again, DropReason) or (not again.is_intact and again.times is None)


def test_answers_to_probes_may_be_refusals_and_reflections() -> None:
    """Those have no times; and what is no answer to a probe is dropped."""
    decode = TU1().decode_probe_answer_untrusted
    busy = encode_message(Message(MessageType.BUSY, 1, KEY))
    assert decode(busy) == TimedAnswer(Answer(KEY, b"", 1, AnswerKind.BUSY), None, is_intact=True)
    probe = TU1().encode_probe(b"hello", KEY, 1)
    assert decode(probe[:1] + b"\x81" + probe[2:]) == TimedAnswer(Answer(KEY, b"hello", 1), None, is_intact=True)
    assert decode(probe) is DropReason.WRONG_DIRECTION
    assert decode(b"junk") is DropReason.MALFORMED
    assert decode(encode_message(Message(MessageType.REPLY, 1, KEY, b"hello"))) is DropReason.MALFORMED
    retry = encode_message(Message(MessageType.RETRY, 1, KEY, cookie=bytes(16)))
    assert decode(retry) == TimedAnswer(Answer(KEY, b"", 1, AnswerKind.RETRY), None, is_intact=True)
    assert decode(encode_message(Message(MessageType.RETRY, 1, KEY, once=bytes(20)))) is DropReason.MALFORMED
    tagged = encode_message(Message(MessageType.BUSY, 1, KEY, key_id=1, tag=bytes(16)))
    assert decode(tagged) is DropReason.BAD_SEAL


def test_a_request_with_something_else_in_the_room_is_malformed() -> None:
    """Though its check is right."""
    times = with_check(1, KEY, encode_sequence(1)[:-1] + b"x", b"")
    request = encode_message(Message(MessageType.REQUEST, 1, KEY, times=times))
    assert TU1().decode_question_untrusted(request) is DropReason.MALFORMED


def test_an_ordinary_client_believes_no_reply_with_times() -> None:
    """It has not asked for them."""
    probe = TU1().encode_probe(b"hello", KEY, 1)
    assert TU1().decode_answer_untrusted(probe[:1] + b"\x81" + probe[2:]) is DropReason.MALFORMED


@given(st.lists(st.binary(min_size=52, max_size=52), min_size=2, max_size=5, unique=True))
def test_different_times_have_different_checks(several: list[bytes]) -> None:
    """As far as 32 bits go; these differ in all but the check itself."""
    for one, other in pairwise(several):
        message = Message(MessageType.REPLY, 1, KEY, times=with_check(1, KEY, one, b""))
        assert is_intact(1, KEY, message.times, b"")
        if one[4:] != other[4:]:
            swapped = decode_message_untrusted(encode_message(message._replace(times=message.times[:4] + other[4:])))
            assert isinstance(swapped, Message)
            assert not is_intact(1, KEY, swapped.times, b"")
