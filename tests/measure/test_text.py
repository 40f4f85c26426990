"""What ping prints: iputils' words and layout, and figures that add up."""

import dataclasses
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_udp import Address, DropReason
from trio_udp._layout import milliseconds
from trio_udp.measure import (
    Corrupted,
    Direction,
    Distribution,
    Event,
    Lost,
    RefusalReason,
    Refused,
    ReplyRecord,
    Reported,
    Skipped,
    Snapshot,
    Stamps,
    Summary,
    TextWriter,
    noise_line,
    summary_lines,
)
from trio_udp.measure._distribution import Collector
from trio_udp.measure._text import headline, missing_line, reply_line

from .records import reply_record, start, summary

HERE = Address("127.0.0.1", 1060)


def reply(hop_limit: int | None = 64) -> ReplyRecord:
    """A reply as the prober tells of it."""
    return reply_record(sequence=7, rtt_ns=89_000, size=80, hop_limit=hop_limit)


def corrupted() -> Corrupted:
    """The same with other bytes in it."""
    return Corrupted(sequence=7, rtt_ns=89_000, sent_at_ns=0, size=80, hop_limit=64, is_intact=True)


def text(writer: TextWriter, *events: Event) -> str:
    """What is printed of a run that begins, and then has these events."""
    return "".join(map(writer.text, (start(peer=HERE, size=56, datagram_size=80), *events))).partition("\n")[2]


def test_a_run_is_a_line_for_each_reply_between_the_first_and_the_last_ones() -> None:
    """As the events come; those that have no line make none."""
    found = summary(sent=2, received=1, lost_unknown=1, rtt=distribution(0.001))
    writer = TextWriter("localhost", verbose=True, wait=5.0)
    assert writer.text(start(peer=HERE, size=56, datagram_size=80)).startswith("PING localhost (127.0.0.1:1060)")
    assert [writer.text(event) for event in (reply(), Skipped(events=3), lost(), found)] == [
        "80 bytes from localhost (127.0.0.1): icmp_seq=7 ttl=64 time=0.089 ms\n",
        "",
        "no reply to icmp_seq=3 within 5 s\n",
        "".join(f"{line}\n" for line in summary_lines("localhost", found, verbose=True)),
    ]


def test_letters_choose_the_lines() -> None:
    """`-v` says why there is no reply; with `-q` nothing stands between the first line and the last ones."""
    found = summary(sent=1, lost_unknown=1)
    end = "".join(f"{line}\n" for line in summary_lines("h", found))
    assert text(TextWriter("h"), lost(), found) == end
    assert text(TextWriter("h", quiet=True, verbose=True), reply(), lost()) == ""
    assert TextWriter("h", quiet=True, flood=True, outstanding=True).due(1) == ""


def test_letters_dress_the_lines() -> None:
    """`-n` the address, `-a` the bell behind, `-D` the time before: of the reply, or of the clock where none came."""
    line = "80 bytes from 127.0.0.1: icmp_seq=7 ttl=64 time=0.089 ms"
    assert text(TextWriter("h", numeric=True), reply()) == f"{line}\n"
    assert text(TextWriter("127.0.0.1", bell=True), reply()) == f"{line}\a\n"
    stamped = TextWriter("127.0.0.1", verbose=True, wall_clock=lambda: 5_000_000_000)
    came = dataclasses.replace(reply(), received_at_ns=1_234_567_890_123)
    assert text(stamped, came, corrupted(), lost()).splitlines() == [
        f"[1234.567890] {line}",
        f"[5.000000] {line} (BAD PAYLOAD!)",
        "[5.000000] no reply to icmp_seq=3 within 5 s",
    ]


def test_a_flood_is_a_dot_for_each_probe_less_one_for_each_reply() -> None:
    """A changed answer leaves a sign of its own."""
    writer = TextWriter("h", flood=True)
    assert "".join(map(writer.due, range(3))) == "..."
    assert text(writer, reply(), corrupted()) == "\b \b\bC"


def test_a_probe_that_is_unanswered_when_the_next_is_due_has_a_line() -> None:
    """Only if that is asked for, and none before the first."""
    writer = TextWriter("h", outstanding=True)
    assert [writer.due(sent) for sent in (0, 1)] == ["", "no answer yet for icmp_seq=1\n"]
    writer.text(reply())
    assert [writer.due(sent) for sent in (7, 8)] == ["", "no answer yet for icmp_seq=8\n"]
    assert TextWriter("h").due(8) == ""


def test_a_run_whose_beginning_nobody_saw_has_its_lines_without_the_address() -> None:
    """Its name is known."""
    assert TextWriter("h", numeric=True).text(reply()) == "80 bytes from h: icmp_seq=7 ttl=64 time=0.089 ms\n"


def test_a_snapshot_says_how_far_a_run_is() -> None:
    """`ewma` moves an eighth of the way to each round trip, from the first one; no times without replies."""
    snapshot = Snapshot()
    assert snapshot.line(summary(sent=3)) == "0/3 packets, 100% loss"
    for rtt_ns in (1_000_000, 9_000_000):
        snapshot.take(dataclasses.replace(reply(), rtt_ns=rtt_ns))
    snapshot.take(lost())
    found = summary(sent=3, received=2, lost_unknown=1, rtt=distribution(0.001, 0.009))
    assert snapshot.line(found) == "2/3 packets, 33% loss, min/avg/ewma/max = 1.000/5.000/2.000/9.000 ms"


def distribution(*seconds: float) -> Distribution:
    """Round trips."""
    collector = Collector()
    for each in seconds:
        collector.add(round(each * 1e9))
    return collector.result()


def test_headline_counts_the_headers_of_both_ip_versions() -> None:
    """In brackets: payload, our header, UDP's and IP's."""
    four = start(peer=HERE, size=56, datagram_size=80)
    six = start(peer=Address("::1", 7), size=56, datagram_size=96, is_authenticated=True)
    assert headline("localhost", four) == (
        "PING localhost (127.0.0.1:1060) 56(108) bytes of data. authenticated: false"
    )
    assert headline("::1", six) == "PING ::1 ([::1]:7) 56(144) bytes of data. authenticated: true"


@pytest.mark.parametrize(
    ("host", "event", "line"),
    [
        ("127.0.0.1", reply(), "80 bytes from 127.0.0.1: icmp_seq=7 ttl=64 time=0.089 ms"),
        ("localhost", reply(), "80 bytes from localhost (127.0.0.1): icmp_seq=7 ttl=64 time=0.089 ms"),
        ("127.0.0.1", reply(None), "80 bytes from 127.0.0.1: icmp_seq=7 time=0.089 ms"),
        ("127.0.0.1", corrupted(), "80 bytes from 127.0.0.1: icmp_seq=7 ttl=64 time=0.089 ms (BAD PAYLOAD!)"),
    ],
)
def test_reply_line_is_that_of_iputils(host: str, event: ReplyRecord | Corrupted, line: str) -> None:
    """Name and address, sequence, TTL where it is known, time."""
    assert reply_line(host, HERE, event) == line


def lost(hint: str | None = None, waited_ns: int = 5_000_000_000) -> Lost:
    """A probe that was waited for as long as this."""
    return Lost(sequence=3, direction=Direction.UNKNOWN, sent_at_ns=0, waited_ns=waited_ns, hint=hint)


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (lost(), "no reply to icmp_seq=3 within 5 s"),
        (lost(waited_ns=5_000_400_000), "no reply to icmp_seq=3 within 5 s"),
        (lost(waited_ns=1_500_000_000), "no reply to icmp_seq=3 within 1.5 s"),
        (lost("ECONNREFUSED"), "no reply to icmp_seq=3 within 5 s (ECONNREFUSED)"),
        (Refused(sequence=3, reason="busy", sent_at_ns=0), "no reply to icmp_seq=3: the server is busy"),
        (Refused(sequence=3, reason="error", sent_at_ns=0), "no reply to icmp_seq=3: the handler failed"),
        (
            Refused(sequence=3, reason="busy", sent_at_ns=0, because=RefusalReason.RATE, limit=100_000),
            "no reply to icmp_seq=3: the server refuses: it takes no more requests from one source (limit 100/s)",
        ),
        (
            Refused(sequence=3, reason="busy", sent_at_ns=0, because=RefusalReason.DRAINING),
            "no reply to icmp_seq=3: the server refuses: it is stopping",
        ),
        (Refused(sequence=3, reason="retry", sent_at_ns=0), "no reply to icmp_seq=3: the reply does not fit"),
    ],
)
def test_a_probe_without_a_reply_has_a_line_that_says_why(event: Lost | Refused, line: str) -> None:
    """For `-v`."""
    assert missing_line(event, 5.0) == line


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0.000"), (0.000_089_4, "0.089"), (0.001_234, "1.23"), (0.012_34, "12.3"), (0.1234, "123"), (12.0, "12000")],
)
def test_times_have_the_digits_iputils_gives_them(seconds: float, text: str) -> None:
    """Fewer decimals the longer it took."""
    assert milliseconds(seconds) == text


def test_summary_of_a_clean_run() -> None:
    """Four lines behind an empty one, and nothing about what did not happen."""
    found = summary(sent=2, received=2, rtt=distribution(0.001, 0.003), elapsed_ns=1_018_000_000)
    assert summary_lines("localhost", found) == [
        "",
        "--- localhost ping statistics ---",
        "2 packets transmitted, 2 received, 0% packet loss, time 1018ms",
        "rtt min/avg/max/mdev = 1.000/2.000/3.000/1.000 ms",
        "percentiles p50/p90/p99/p99.9 = 1.000/3.000/3.000/3.000 ms",
    ]


def test_summary_has_corrected_percentiles_beside_the_raw_ones() -> None:
    """Who was kept from sending does not look fast; a run that was cut in an old stream has no corrected ones."""
    times = Distribution(count=4, min_ns=1_000_000, mean_ns=2_000_000, max_ns=3_000_000, deviation_ns=0)
    raw = dataclasses.replace(times, p50_ns=1_000_000, p90_ns=2_000_000, p99_ns=3_000_000, p999_ns=3_000_000)
    corrected = dataclasses.replace(raw, p99_ns=4_500_000)
    line = "percentiles p50/p90/p99/p99.9 = 1.000/2.000/3.000/3.000 ms"
    found = summary(sent=4, received=4, rtt=raw, rtt_corrected=corrected)
    assert summary_lines("h", found)[4:] == [f"{line}, corrected 1.000/2.000/4.500/3.000 ms"]
    assert summary_lines("h", dataclasses.replace(found, rtt_corrected=Distribution()))[4:] == [line]


def test_summary_names_what_was_duplicated_corrupted_refused_and_rejected() -> None:
    """Duplicates where iputils has them; everything else that was not believed by its reason."""
    found = summary(
        sent=7, corrupted=1, refused=2, late=1, lost_unknown=3,
        duplicated_unknown=1, duplicated_upstream=1, duplicated_downstream=1,
        rejected={DropReason.WRONG_PEER: 4}, hints={"ECONNREFUSED": 5},
    )  # fmt: skip
    assert summary_lines("h", found)[2:] == [
        "7 packets transmitted, 0 received, +3 duplicates, +1 corrupted, +2 errors, 100% packet loss, time 0ms",
        "",
        "rejected: 4 wrong_peer, 1 late",
        "icmp hints, perhaps forged: 5 ECONNREFUSED",
    ]


def test_summary_says_why_probes_were_not_sent() -> None:
    """In words, as iputils does for each of them; a name from a system that is not this one stays a name."""
    found = summary(sent=5, lost_upstream=5, not_sent={"ENETUNREACH": 3, "EPERM": 1, "WSAEDOOFUS": 1})
    assert summary_lines("h", found)[2:] == [
        "5 packets transmitted, 0 received, 100% packet loss, time 0ms",
        "",
        "not sent: 3 Network is unreachable, 1 Operation not permitted, 1 WSAEDOOFUS",
        "lost: 5 upstream",
    ]


def test_summary_says_why_the_server_refused() -> None:
    """As far as it has said."""
    refusals = {RefusalReason.RATE: 3, RefusalReason.DRAINING: 1}
    found = summary(sent=5, refused=5, refusals=refusals, limits={RefusalReason.RATE: 250})
    assert summary_lines("h", found)[4:] == [
        "refused: 3 because it takes no more requests from one source (limit 0.25/s), 1 because it is stopping",
    ]


def test_summary_says_on_which_way_probes_were_lost_and_reordered() -> None:
    """As far as the server has told."""
    lost = {"lost_upstream": 3, "lost_downstream": 2, "lost_unknown": 1}
    found = summary(sent=8, **lost, pending=2, reordered_downstream=4, missed_slots=9)
    assert summary_lines("h", found)[3:] == [
        "",
        "lost: 3 upstream, 2 downstream, 1 unknown",
        "pending: 2 not waited for to the end",
        "reordered: 4 downstream",
        "missed slots: 9 in which nothing could be sent",
    ]


def test_summary_says_where_the_time_went_and_whose_stamps_say_so_if_that_is_wanted() -> None:
    """A part that nobody could tell is a dash."""
    found = summary(
        sent=2, client_queue=distribution(0.001, 0.003), network=distribution(0.004), server=distribution(0.0005),
        stamps={Stamps.KERNEL: 1, Stamps.USER: 1},
    )  # fmt: skip
    assert summary_lines("h", found, verbose=True)[4:] == [
        "avg client queue/network/server/wake-up = 2.000/4.000/0.500/- ms",
        "stamps: 1 kernel, 1 user",
    ]
    assert summary_lines("h", found)[3:] == []


def test_what_the_servers_kernel_took_is_the_servers() -> None:
    """If that has said so: of all replies as in older streams, or of some, whose network times are without it."""
    reported = Reported(
        received=2, duplicates=0, reordered=0, highest=2, is_final=True, is_whole=True, is_authenticated=False,
        departure_lag_ns=1_500_000,
    )  # fmt: skip
    found = summary(sent=2, network=distribution(0.004), server=distribution(0.0005), reported=reported)
    assert summary_lines("h", found, verbose=True)[-3:-1] == [
        "avg client queue/network/server/wake-up = -/2.500/2.000/- ms",
        "the server's replies left 1.500 ms after it handed them over, by its kernel's stamps",
    ]
    once = summary(
        sent=2, network=distribution(0.004, 0.002), server=distribution(0.0005), reported=reported, lags_known=1
    )
    assert summary_lines("h", once, verbose=True)[-3:-1] == [
        "avg client queue/network/server/wake-up = -/2.250/2.000/- ms",
        "the server's replies left 1.500 ms after it handed them over, by its kernel's stamps of 1 of 2",
    ]
    longer = summary(sent=2, network=distribution(0.001), server=distribution(0.0005), reported=reported)
    assert longer.mean_parts_ns == (None, 0, 1_500_000, None)
    unknown = summary(sent=2, server=distribution(0.0005), reported=reported)
    assert unknown.mean_parts_ns == (None, None, 500_000, None)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, "the server has counted: 5 received, 1 duplicates, 2 reordered. authenticated: true"),
        (
            {"is_final": False, "is_whole": False, "is_authenticated": False},
            "the server has counted: 5 received, 1 duplicates, 2 reordered, its last word did not come, "
            "not of the whole run. authenticated: false",
        ),
    ],
)
def test_summary_has_the_servers_own_figures_if_they_are_wanted(changes: dict[str, bool], line: str) -> None:
    """F8: with what they are worth. Without `-v` they are left out, as everything follows from them already."""
    is_good = {"is_final": True, "is_whole": True, "is_authenticated": True}
    reported = Reported(received=5, duplicates=1, reordered=2, highest=4, **(is_good | changes))
    found = summary(sent=4, reported=reported)
    assert summary_lines("h", found, verbose=True)[-1] == line
    assert [*summary_lines("h", found), ""] == summary_lines("h", found, verbose=True)[:-1]
    assert summary_lines("h", summary(sent=4), verbose=True) == summary_lines("h", summary(sent=4))


def test_noise_has_the_parts_that_are_known() -> None:
    """By the kernel's clock, with the slots that were missed; and when nothing came, that."""
    found = summary(
        rtt=distribution(0.00002), total=distribution(0.0001), client_queue=distribution(0.00001),
        wake_up=distribution(0.00007), stamps={Stamps.KERNEL: 200}, missed_slots=3,
    )  # fmt: skip
    assert noise_line(found) == (
        "noise floor by kernel stamps: rtt 0.020 ms, queue 0.010 ms, wake-up 0.070 ms, all 0.100 ms, missed slots: 3"
    )
    assert noise_line(summary()) == "noise floor by no stamps: nothing came back"


def test_summary_says_no_rejections_when_there_were_only_duplicates() -> None:
    """They have their place in the first line already."""
    assert not any("rejected" in line for line in summary_lines("h", summary(duplicated_unknown=1)))


@given(st.lists(st.none() | st.floats(0, 100), max_size=50))
def test_loss_and_times_stay_within_their_limits(probes: list[float | None]) -> None:
    """Whatever was lost: loss from 0 to 100 %, min <= avg <= max, mdev no more than half the range."""
    rtts = [rtt for rtt in probes if rtt is not None]
    counts: dict[str, Any] = {"sent": len(probes), "received": len(rtts), "lost_unknown": len(probes) - len(rtts)}
    found = summary(**counts, rtt=distribution(*rtts))
    lines = summary_lines("h", found)
    assert 0 <= found.loss <= 100
    if rtts:
        match = re.fullmatch(r"rtt min/avg/max/mdev = (\S+)/(\S+)/(\S+)/(\S+) ms", lines[3])
        assert match is not None
        least, mean, most, mdev = map(float, match.groups())
        assert least - 0.002 <= mean <= most + 0.002
        assert 0 <= mdev <= (most - least) / 2 + 0.01
    else:
        assert not any("rtt" in line for line in lines)


def test_records_are_those_of_the_api() -> None:
    """The builders of these tests leave nothing out."""
    assert reply().stamps is Stamps.USER
    assert isinstance(summary(), Summary)
