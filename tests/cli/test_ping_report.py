"""What ping prints: iputils' words and layout, and figures that add up."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_udp import Address, DropReason, Reply
from trio_udp._cli._ping_report import Tally, headline, milliseconds, reply_line, summary

HERE = Address("127.0.0.1", 1060)


def reply(payload: bytes = bytes(56), rtt: float = 0.000089, hop_limit: int | None = 64) -> Reply:
    """A reply as the client returns it."""
    return Reply(payload, rtt, 1, HERE, authenticated=False, hop_limit=hop_limit)


def test_headline_counts_the_headers_of_both_ip_versions() -> None:
    """In brackets: payload, our header, UDP's and IP's."""
    assert headline("localhost", HERE, 56, 24, is_keyed=False) == (
        "PING localhost (127.0.0.1:1060) 56(108) bytes of data. authenticated: false"
    )
    assert headline("::1", Address("::1", 7), 56, 40, is_keyed=True) == (
        "PING ::1 ([::1]:7) 56(144) bytes of data. authenticated: true"
    )


@pytest.mark.parametrize(
    ("host", "hop_limit", "corrupted", "line"),
    [
        ("127.0.0.1", 64, False, "80 bytes from 127.0.0.1: icmp_seq=7 ttl=64 time=0.089 ms"),
        ("localhost", 64, False, "80 bytes from localhost (127.0.0.1): icmp_seq=7 ttl=64 time=0.089 ms"),
        ("127.0.0.1", None, False, "80 bytes from 127.0.0.1: icmp_seq=7 time=0.089 ms"),
        ("127.0.0.1", 64, True, "80 bytes from 127.0.0.1: icmp_seq=7 ttl=64 time=0.089 ms (BAD PAYLOAD!)"),
    ],
)
def test_reply_line_is_that_of_iputils(host: str, hop_limit: int | None, corrupted: bool, line: str) -> None:
    """Name and address, sequence, TTL where it is known, time."""
    assert reply_line(host, 7, reply(hop_limit=hop_limit), 24, corrupted=corrupted) == line


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0.000"), (0.000_089_4, "0.089"), (0.001_234, "1.23"), (0.012_34, "12.3"), (0.1234, "123"), (12.0, "12000")],
)
def test_times_have_the_digits_iputils_gives_them(seconds: float, text: str) -> None:
    """Fewer decimals the longer it took."""
    assert milliseconds(seconds) == text


def test_summary_of_a_clean_run() -> None:
    """Three lines behind an empty one, and nothing about what did not happen."""
    tally = Tally(transmitted=2)
    tally.add_reply(0.001)
    tally.add_reply(0.003)
    assert summary("localhost", tally, 1.018, {}, {}) == [
        "",
        "--- localhost ping statistics ---",
        "2 packets transmitted, 2 received, 0% packet loss, time 1018ms",
        "rtt min/avg/max/mdev = 1.000/2.000/3.000/1.000 ms",
    ]


def test_summary_names_what_was_duplicated_corrupted_refused_and_rejected() -> None:
    """Duplicates where iputils has them; everything else that was not believed by its reason."""
    tally = Tally(transmitted=6, received=0, corrupted=1, errors=2)
    dropped = {DropReason.DUPLICATE: 3, DropReason.WRONG_PEER: 4, DropReason.LATE: 1}
    assert summary("h", tally, 0, dropped, {"ECONNREFUSED": 5})[2:] == [
        "6 packets transmitted, 0 received, +3 duplicates, +1 corrupted, +2 errors, 100% packet loss, time 0ms",
        "rejected: 4 wrong_peer, 1 late",
        "icmp hints, perhaps forged: 5 ECONNREFUSED",
    ]


def test_summary_says_no_rejections_when_there_were_only_duplicates() -> None:
    """They have their place in the first line already."""
    assert not any("rejected" in line for line in summary("h", Tally(), 0, {DropReason.DUPLICATE: 1}, {}))


@given(st.lists(st.none() | st.floats(0, 100), max_size=50))
def test_loss_and_times_stay_within_their_limits(probes: list[float | None]) -> None:
    """Whatever was lost: loss from 0 to 100 %, min <= avg <= max, mdev no more than half the range."""
    tally = Tally()
    for rtt in probes:
        tally.transmitted += 1
        if rtt is not None:
            tally.add_reply(rtt)
    lines = summary("h", tally, 0, {}, {})
    assert 0 <= tally.loss <= 100
    if tally.received:
        match = re.fullmatch(r"rtt min/avg/max/mdev = (\S+)/(\S+)/(\S+)/(\S+) ms", lines[3])
        assert match is not None
        least, mean, most, mdev = map(float, match.groups())
        assert least - 0.002 <= mean <= most + 0.002
        assert 0 <= mdev <= (most - least) / 2 + 0.01
    else:
        assert len(lines) == 3
