"""The letters of iputils: what they mean for the schedule, the socket and the lines."""

import argparse
import re
import socket
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from trio.testing import MockClock

from trio_udp import SocketOptions
from trio_udp._cli import _parser
from trio_udp._cli._arguments import BadInput, seconds_in
from trio_udp._cli._fingers import Until, scoped, socket_options
from trio_udp._cli._ping_run import _schedule
from trio_udp.measure import Adaptive, Fixed, Progress

from .command import run_here
from .test_objectives import echo, every_other
from .test_ping import ping_code


def typed(*words: str) -> argparse.Namespace:
    """A command line, read."""
    return _parser().parse_args(["ping", *words, "127.0.0.1"])


UNITS = {"ns": 9, "us": 6, "µs": 6, "\N{GREEK SMALL LETTER MU}s": 6, "ms": 3, "s": 0, "": 0}


@given(st.integers(1, 10**6), st.sampled_from(sorted(UNITS)))
@example(100, "us")  # the shortest interval, which was refused as shorter than itself
def test_times_are_seconds_or_have_a_unit(figure: int, unit: str) -> None:
    """`0.2` and `200ms` are the same, to the last bit: a limit is a limit in every unit."""
    assert seconds_in(f"{figure}{unit}") == float(Fraction(figure, 10 ** UNITS[unit]))


def test_a_limit_is_within_its_limits_in_every_unit() -> None:
    """The shortest interval and the longest wait."""
    for words in (["-i", "100us"], ["-i", "0.1ms"], ["-i", "100000ns"], ["-W", "3600000ms"]):
        typed(*words)


@pytest.mark.parametrize("text", ["", "ms", "1m", "1 h", "1e", "s1", "1mss"])
def test_a_time_that_is_none_is_refused(text: str) -> None:
    """With the value, in one line."""
    code, out, err = run_here("ping", "-c", "1", "-i", text)
    assert (code, out) == (2, [])
    said = f"expected a number of seconds, 0.0001 to 86400, got {text!r}"
    assert err == [f"trio_udp ping: argument -i/--interval: {said} (see --help)"]


def test_letters_choose_the_schedule() -> None:
    """`-f` has a pace of its own unless `-i` gives one, as in iputils."""
    start = Progress(0, 0, 0, None, None)
    assert isinstance(_schedule(typed()), Fixed)
    assert _schedule(typed()).slot == 1_000_000_000
    assert _schedule(typed("-i", "20ms")).slot == 20_000_000
    assert isinstance(_schedule(typed("-A")), Adaptive)
    assert _schedule(typed("-f")).slot == 10_000_000
    assert isinstance(_schedule(typed("-f")), Adaptive)
    assert isinstance(_schedule(typed("-f", "-i", "0.5")), Fixed)
    for letters in ([], ["-A"], ["-f"]):
        schedule = _schedule(typed("-l", "3", *letters))
        assert [schedule.next_due(start._replace(number=number)) for number in range(3)] == [0, 0, 0]


@given(st.integers(1, 50), st.integers(1, 5), st.sampled_from([[], ["-A"], ["-f"]]))
def test_no_probe_is_due_when_the_time_is_up(slots: int, preload: int, letters: list[str]) -> None:
    """`-w 1 -i 0.2` is five probes: the reply to a sixth at the very end would have had no time to come."""
    end = slots * 200_000_000
    schedule = Until(_schedule(typed("-i", "0.2", "-l", str(preload), *letters)), slots * 0.2)
    progress = Progress(0, 0, 0, None, None)
    while (due := schedule.next_due(progress)) < end:
        due, _ = schedule.skip(due, due)
        progress = Progress(progress.number + 1, due, 1, due + 30_000_000, 30_000_000)
    assert due - end > 86_000_000_000_000
    assert letters == ["-A"] or progress.number == slots + preload - 1


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ([], SocketOptions()),
        (["-I", "127.0.0.1"], SocketOptions(source="127.0.0.1")),
        (["-I", "::1"], SocketOptions(source="::1")),
        (["-I", "eth0"], SocketOptions(interface="eth0")),
        (["-t", "3"], SocketOptions(hop_limit=3)),
        (["-Q", "184"], SocketOptions(traffic_class=0xB8)),
        (["-Q", "0xB8"], SocketOptions(traffic_class=0xB8)),
        (["-Q", "ef"], SocketOptions(traffic_class=0xB8)),
        (["-Q", "AF21"], SocketOptions(traffic_class=18 << 2)),
        (["-Q", "cs1"], SocketOptions(traffic_class=8 << 2)),
        (["-M", "do"], SocketOptions(path_mtu="do")),
    ],
)
def test_letters_choose_the_socket(words: list[str], options: SocketOptions) -> None:
    """`-I` takes both, an address or a name."""
    assert socket_options(typed(*words)) == options


def test_an_interface_is_the_scope_of_an_address_of_every_link() -> None:
    """Only of one that needs a scope and has none; an address of ours says nothing about it."""
    (_, name), *_ = socket.if_nameindex()
    assert [scoped(host, name) for host in ("fe80::1", "FEBF::1")] == [f"fe80::1%{name}", f"FEBF::1%{name}"]
    for host in ("fe80::1%9", "fec0::1", "::1", "127.0.0.1", "fe80.example", "localhost"):
        assert scoped(host, name) == host
    assert (scoped("fe80::1", None), scoped("fe80::1", "fe80::2")) == ("fe80::1", "fe80::1")
    said = "cannot send from 'nowhere0': this host has no such interface (No such device)"
    with pytest.raises(BadInput, match=re.escape(said)):
        scoped("fe80::1", "nowhere0")


def test_an_interface_with_a_name_too_long_is_bad_input() -> None:
    """What was expected, and what came."""
    with pytest.raises(BadInput, match="argument -I: expected the interface's name to have 1 to 15 bytes"):
        socket_options(typed("-I", "x" * 16))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-I", "198.51.100.7"], "cannot send from '198.51.100.7': it is not an address of this host"),
        (["-I", "::1"], "cannot send from '::1': it is not of the host's address family"),
        (["-Q", "256"], "expected 0 to 255, 0x0 to 0xff, or a DSCP such as ef, got '256'"),
        (["-Q", "af51"], "got 'af51'"),
        (["-t", "0"], "expected a whole number, 1 to 255, got '0'"),
        (["-M", "maybe"], "invalid choice: 'maybe'"),
    ],
)
def test_what_cannot_be_is_one_line_and_exit_code_2(words: list[str], said: str) -> None:
    """For the system's refusals too."""
    code, out, err = run_here("ping", "-c", "1", *words, "127.0.0.1")
    assert (code, out, len(err)) == (2, [], 1)
    assert said in err[0]


async def test_outstanding_probes_are_told_when_the_next_is_sent(
    autojump_clock: MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those that were answered are not."""
    every_other.probes = 0  # type: ignore[attr-defined]  # a counter
    assert (await ping_code(every_other, count=5, outstanding=True))[0] == 0
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("no answer yet")]
    assert told == ["no answer yet for icmp_seq=2", "no answer yet for icmp_seq=4"]


async def test_a_flood_leaves_a_dot_for_each_probe_without_reply(
    autojump_clock: MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    """A dot for each, less one for each reply."""
    every_other.probes = 0  # type: ignore[attr-defined]  # a counter
    assert (await ping_code(every_other, count=6, flood=True))[0] == 0
    dots = capsys.readouterr().out.splitlines()[1]
    assert (dots.count("."), dots.count("\b \b")) == (6, 3)
    assert (await ping_code(echo, count=6, adaptive=True, interval=9.0)) == (0, 0.0)
