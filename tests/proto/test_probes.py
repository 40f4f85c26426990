"""The measuring side's accept rule: which datagram answers which probe."""

import pytest

from trio_udp.proto import (
    REPORT,
    TU1,
    AnswerKind,
    Book,
    DropReason,
    Heard,
    Probe,
    ProbeProtocol,
    Question,
    ServerProtocol,
    blake2b_seal,
)
from trio_udp.testing import flip_bit

PEER = ("192.0.2.1", 1060)
RANDOM = bytes(range(8))


def reflected(datagram: bytes) -> bytes:
    """What the simplest of servers answers."""
    return datagram[:1] + b"\x81" + datagram[2:]


def protocol(size: int = 56, remembered: int = 2) -> ProbeProtocol:
    """Of one who measures."""
    return ProbeProtocol(TU1(), PEER, random=RANDOM, size=size, remembered=remembered)


def test_times_are_part_of_the_size_and_left_out_where_they_do_not_fit() -> None:
    """As in ping."""
    assert [(one.has_times, one.payload_size) for one in map(protocol, (0, 51, 52, 56))] == [
        (False, 0), (False, 51), (True, 0), (True, 4),
    ]  # fmt: skip
    for size in (0, 51, 52, 56):
        one = protocol(size)
        assert len(one.open(1, bytes(one.payload_size), RANDOM)[1]) == 24 + size


@pytest.mark.parametrize("size", [-1, 65_484])
def test_a_size_that_no_datagram_has_is_refused(size: int) -> None:
    """Before anything is sent."""
    with pytest.raises(ValueError, match=f"expected a size from 0 to 65483 bytes, got {size}"):
        protocol(size)


@pytest.mark.parametrize("size", [8, 56])
def test_an_answer_belongs_to_its_probe(size: int) -> None:
    """While it is open, and for a while afterwards."""
    one = protocol(size)
    probe, datagram = one.open(1, bytes(one.payload_size), RANDOM)
    assert (len(one), one.oldest) == (1, probe)
    found = one.match_untrusted(reflected(datagram), PEER)
    assert isinstance(found, Heard)
    assert (found.probe, found.times, found.is_right, found.is_intact, found.size) == (
        probe, None, True, True, len(datagram),
    )  # fmt: skip
    one.close(probe)
    assert (len(one), one.oldest, probe.is_open) == (0, None, False)
    again = one.match_untrusted(reflected(datagram), PEER)
    assert isinstance(again, Heard)
    assert again.is_right
    probe.owner = probe
    for number in (2, 3):
        one.close(one.open(number, bytes(one.payload_size), bytes([number] * 8))[0])
    assert one.match_untrusted(reflected(datagram), PEER) is DropReason.UNKNOWN_REQUEST
    assert probe.owner is None  # no circle is left for the garbage collector


def test_every_byte_of_the_payload_is_compared() -> None:
    """Before and after it is closed."""
    one = protocol(8)
    probe, datagram = one.open(1, b"12345678", RANDOM)
    wrong = reflected(datagram[:-1] + b"9")
    for _ in range(2):
        found = one.match_untrusted(wrong, PEER)
        assert isinstance(found, Heard)
        assert (found.probe, found.is_right, found.is_intact) == (probe, False, True)
        if probe.is_open:
            one.close(probe)


def test_what_is_not_believed_says_why() -> None:
    """Strangers, junk, other ids, attempts that were never made; what was changed is told from what was forged."""
    one = protocol()
    _, datagram = one.open(1, b"1234", RANDOM)
    answer = reflected(datagram)
    assert one.match_untrusted(answer, ("192.0.2.99", 1060)) is DropReason.WRONG_PEER
    assert one.match_untrusted(b"junk", PEER) is DropReason.MALFORMED
    other = reflected(TU1().encode_probe(b"1234", bytes(16), 1))
    assert one.match_untrusted(other, PEER) is DropReason.UNKNOWN_REQUEST
    assert one.match_untrusted(answer[:8] + b"x" + answer[9:], PEER) is DropReason.CORRUPTED
    busy = bytes([9, 0x84, 0, 2, 0, 0, 0, 0]) + datagram[8:24]
    assert one.match_untrusted(busy, PEER) is DropReason.UNKNOWN_REQUEST
    changed = one.match_untrusted(answer[:-1] + b"x", PEER)
    assert isinstance(changed, Heard)
    assert not changed.is_intact


def test_a_changed_report_says_nothing() -> None:
    """It is not what a server answers that has forgotten who asks: that would put every direction in doubt."""
    one = protocol()
    question, datagram = one.open(REPORT, bytes(one.payload_size), RANDOM)
    answer = reflected(datagram)
    for bit in range(8 * len(answer)):
        assert isinstance(one.match_untrusted(flip_bit(answer, bit), PEER), DropReason)
    heard = one.match_untrusted(answer, PEER)
    assert isinstance(heard, Heard)
    assert (heard.probe, heard.times) == (question, None)


def test_an_open_key_is_not_used_again() -> None:
    """Nobody could tell the answers apart."""
    one = protocol()
    one.open(1, b"1234", RANDOM)
    with pytest.raises(ValueError, match="is already open"):
        one.open(2, b"1234", RANDOM)


def test_a_hint_names_the_open_probe_that_it_quotes() -> None:
    """From the peer that was asked; ICMP may be forged all the same."""
    one = protocol()
    probe, datagram = one.open(1, b"1234", RANDOM)
    assert one.receive_hint(datagram[:24], PEER) is probe
    assert one.receive_hint(datagram[:8], PEER) is None
    assert one.receive_hint(datagram, ("192.0.2.99", 1)) is None
    one.close(probe)
    assert one.receive_hint(datagram, PEER) is None


def test_formats_without_ids_have_one_probe_at_a_time_and_any_answer_is_its() -> None:
    """The book's: its servers say a sentence of their own."""
    one = ProbeProtocol(Book(), PEER, random=RANDOM, size=3)
    probe, datagram = one.open(1, b"abc", b"")
    assert (datagram, one.has_times, one.payload_size) == (b"abc", False, 3)
    found = one.match_untrusted(b"Your data was 3 bytes long", PEER)
    assert isinstance(found, Heard)
    assert (found.probe, found.is_right) == (probe, True)
    assert one.match_untrusted(b"\xff", PEER) is DropReason.MALFORMED
    one.close(probe)
    second, _ = one.open(2, b"abc", b"")
    heard = one.match_untrusted(b"hello", PEER)
    assert isinstance(heard, Heard)
    assert isinstance(heard.probe, Probe)
    assert heard.probe is second


def test_a_key_vouches_for_probes_and_their_answers() -> None:
    """F1: every flipped bit is a drop on either side; so is what has no tag, or another's, open or closed."""
    seal = blake2b_seal(1, bytes(32))
    one = ProbeProtocol(TU1(), PEER, random=RANDOM, size=56, seal=seal)
    server = ServerProtocol(TU1(), seals=[seal])
    server.begin(0)
    assert one.overhead == 24 + 16
    probe, datagram = one.open(1, b"1234", RANDOM)
    assert len(datagram) == 56 + one.overhead
    for bit in range(8 * len(datagram)):
        assert isinstance(server.receive_datagram(flip_bit(datagram, bit)), DropReason)
        assert sum(server.dropped.values()) == bit + 1
    question = server.receive_datagram(datagram)
    assert isinstance(question, Question)
    question = server.receive_probe(question, PEER, arrived=5, by_kernel=True)
    kind, answer = server.reply(server.leaving(question, 9), b"1234")
    assert (kind, answer is not None) == (AnswerKind.REPLY, True)
    assert answer is not None
    for bit in range(8 * len(answer)):
        assert isinstance(one.match_untrusted(flip_bit(answer, bit), PEER), DropReason)
    assert one.match_untrusted(reflected(datagram)[:-16], PEER) is DropReason.BAD_SEAL
    assert one.match_untrusted(TU1().encode_answer(question, AnswerKind.BUSY, b""), PEER) is DropReason.BAD_SEAL
    for _ in range(2):
        found = one.match_untrusted(answer, PEER)
        assert isinstance(found, Heard)
        assert (found.probe, found.is_right, found.times is not None) == (probe, True, True)
        if probe.is_open:
            one.close(probe)
    other = ProbeProtocol(TU1(), PEER, random=bytes(8), size=56, seal=seal)
    assert other.match_untrusted(answer, PEER) is DropReason.UNKNOWN_REQUEST


def test_a_key_needs_a_format_with_room_for_a_tag() -> None:
    """And takes its bytes from the longest size."""
    seal = blake2b_seal(1, bytes(32))
    with pytest.raises(ValueError, match="profile book has no room for a tag"):
        ProbeProtocol(Book(), PEER, random=RANDOM, size=5, seal=seal)
    with pytest.raises(ValueError, match="expected a size from 0 to 65467 bytes, got 65468"):
        ProbeProtocol(TU1(), PEER, random=RANDOM, size=65_468, seal=seal)
