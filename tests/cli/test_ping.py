"""`ping`: as a process, and its limits on a clock that jumps."""

import argparse
import re
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
from trio.testing import MockClock

import trio_udp
from trio_udp._cli import _parser, ping

from .command import run_command, run_here, running, serving

REPLY = re.compile(r"80 bytes from (?:localhost \()?127\.0\.0\.1\)?: icmp_seq=(\d+) ttl=\d+ time=[\d.]+ ms")


async def test_ping_without_a_host_pings_its_own_server() -> None:
    """The main job on its embedded default."""
    code, out, err = await run_command("ping", "-c", "3", "-i", "0.01")
    assert (code, err) == (0, [])
    assert re.fullmatch(r"PING localhost \(127\.0\.0\.1:\d+\) 56\(108\) bytes of data\. authenticated: false", out[0])
    assert [match[1] for match in map(REPLY.fullmatch, out[1:4]) if match] == ["1", "2", "3"]
    assert out[5] == "--- localhost ping statistics ---"
    assert re.fullmatch(r"3 packets transmitted, 3 received, 0% packet loss, time \d+ms", out[6])
    assert re.fullmatch(r"rtt min/avg/max/mdev = [\d.]+/[\d.]+/[\d.]+/[\d.]+ ms", out[7])
    four = r"[\d.]+/[\d.]+/[\d.]+/[\d.]+ ms"
    assert re.fullmatch(rf"percentiles p50/p90/p99/p99\.9 = {four}, corrected {four}", out[8])
    assert all(line.startswith("missed slots: ") for line in out[9:])  # on a busy machine


def test_its_own_server_speaks_the_format_that_is_asked_for() -> None:
    """`--profile book` without a host is answered as by the book's server."""
    code, out, err = run_here("ping", "-c", "2", "-i", "0.01", "--profile", "book")
    assert (code, err) == (0, [])
    assert out[0].endswith(" 56(84) bytes of data. authenticated: false")
    assert out[1].startswith("27 bytes from localhost (127.0.0.1): icmp_seq=1 ")


async def test_several_hosts_run_side_by_side_with_a_summary_each() -> None:
    """A task each; `-q` leaves first lines and summaries."""
    async with serving() as (_, port):
        code, out, _ = await run_command(
            "ping", "localhost", "127.0.0.1", "-4", "-q", "-c", "2", "-i", "0.01", "-p", port
        )
    assert code == 0
    assert [line.split()[1] for line in out if line.startswith("---")] == ["localhost", "127.0.0.1"]
    assert sum("2 packets transmitted, 2 received" in line for line in out) == 2
    assert not any("icmp_seq" in line for line in out)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_ends_the_run_with_a_summary_and_exit_code_0(number: signal.Signals) -> None:
    """`^C` after at least one reply; and what `timeout`, supervisors and terminals send, which left no summary once."""
    async with running("ping", "-i", "0.05") as process:
        await process.line()
        assert REPLY.fullmatch(await process.line())
        process.process.send_signal(number)
        lines = await process.rest()
        assert await process.end() == 0
    assert any(line.endswith("ping statistics ---") for line in lines)


async def test_signals_that_come_again_and_again_leave_the_summary_whole() -> None:
    """`timeout` sends two at once, and the second one may come when the run is over and nothing is printed yet."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        async with running("ping", "127.0.0.1", "-p", str(silent.getsockname()[1])) as process:
            await process.line()
            await trio.lowlevel.wait_readable(silent)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_signal_on_and_on, process.process)
                lines = await process.rest()
                nursery.cancel_scope.cancel()
            assert await process.end() == 1
    assert any(line.endswith("ping statistics ---") for line in lines)


async def _signal_on_and_on(process: trio.Process) -> None:
    while process.poll() is None:
        process.send_signal(signal.SIGTERM)
        await trio.sleep(0.0005)


async def test_interrupt_without_any_reply_is_exit_code_1() -> None:
    """`^C` while nothing answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        async with running("ping", "127.0.0.1", "-p", str(silent.getsockname()[1])) as process:
            await process.line()
            await trio.lowlevel.wait_readable(silent)
            process.interrupt()
            lines = await process.rest()
            assert await process.end() == 1
    assert any("1 packets transmitted, 0 received, 100% packet loss" in line for line in lines)


def arguments(**changes: object) -> argparse.Namespace:
    """What argparse would make of a command line."""
    values = vars(_parser().parse_args(["ping", "127.0.0.1"]))
    return argparse.Namespace(**(values | changes))


@asynccontextmanager
async def server(handler: trio_udp.Handler) -> AsyncIterator[trio_udp.Server]:
    """A server on a free port."""
    async with trio.open_nursery() as nursery:
        yield await nursery.start(partial(trio_udp.serve, handler, 0, host="127.0.0.1"))
        nursery.cancel_scope.cancel()


async def ping_code(handler: trio_udp.Handler, **changes: object) -> tuple[int, float]:
    """Exit code of a ping against this handler, and the virtual seconds it took."""
    async with server(handler) as running_server:
        began = trio.current_time()
        code = await ping._ping(arguments(port=running_server.address.port, **changes))
        return code, trio.current_time() - began


def lossy(request: trio_udp.Request) -> bytes | None:
    """Answer the first probe only."""
    lossy.probes += 1  # type: ignore[attr-defined]  # a counter, reset by each test
    return request.payload if lossy.probes == 1 else None  # type: ignore[attr-defined]  # see above


def silent(_request: trio_udp.Request) -> None:
    """Answer nothing."""


async def test_no_reply_at_all_is_exit_code_1_after_the_last_wait(
    autojump_clock: MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    """`-c 3 -W 5`: the last probe leaves at 2 s and is waited for until 7 s."""
    assert await ping_code(silent, count=3, wait=5.0, verbose=True) == (1, 7.0)
    out = capsys.readouterr().out
    assert "3 packets transmitted, 0 received, 100% packet loss, time 7000ms" in out
    assert "no reply to icmp_seq=2 within 5 s" in out


async def test_lost_probes_are_not_sent_again(autojump_clock: MockClock, capsys: pytest.CaptureFixture[str]) -> None:
    """Loss is what ping measures; after other replies the last probe is waited for as long as an interval at least."""
    lossy.probes = 0  # type: ignore[attr-defined]  # a counter
    code, took = await ping_code(lossy, count=4)
    assert (code, took) == (0, 4.0)
    assert lossy.probes == 4  # type: ignore[attr-defined]  # a counter
    assert "4 packets transmitted, 1 received, 75% packet loss" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("interval", "sleep", "expected"),
    [
        (1.0, 3600.0, [0, 1, 3601, 3602, 3603]),
        (0.25, 0.75, [0, 0.25, 1.0, 1.25, 1.5]),
        (4.0, 6.0, [0, 4, 10, 12, 16]),
    ],
)
async def test_probes_that_were_slept_through_are_not_made_up_for(
    autojump_clock: MockClock, interval: float, sleep: float, expected: list[float]
) -> None:
    """C6, C8: after an hour in a closed laptop not 3,600 at once; a short delay still delays no other probe."""
    times: list[float] = []
    began = trio.current_time()

    def answer(request: trio_udp.Request) -> bytes:
        times.append(trio.current_time() - began)
        if len(times) == 2:
            autojump_clock.jump(sleep)
        return request.payload

    assert (await ping_code(answer, count=5, interval=interval))[0] == 0
    assert times == expected


async def test_deadline_ends_the_run_whatever_is_under_way(autojump_clock: MockClock) -> None:
    """`-w 2.5` alone: exit code 0 with any reply."""
    assert await ping_code(lambda request: request.payload, deadline=2.5) == (0, 2.5)


async def test_no_probe_is_sent_at_the_deadline(autojump_clock: MockClock, capsys: pytest.CaptureFixture[str]) -> None:
    """It would be lost for want of time, on a path that loses nothing: `-w 2 -i 0.5` once said 20 % loss."""
    for deadline, interval in ((2.0, 0.5), (1.0, 0.01), (0.5, 0.25)):
        changes = {"deadline": deadline, "interval": interval, "quiet": True}
        assert await ping_code(lambda request: request.payload, **changes) == (0, deadline)
        sent = round(deadline / interval)
        assert f"{sent} packets transmitted, {sent} received, 0% packet loss" in capsys.readouterr().out


async def test_deadline_with_count_wants_that_many_replies(autojump_clock: MockClock) -> None:
    """`-c 5 -w 2.5`: three replies are not five."""
    assert (await ping_code(lambda request: request.payload, count=5, deadline=2.5))[0] == 1
    assert (await ping_code(lambda request: request.payload, count=2, deadline=2.5))[0] == 0


@pytest.mark.parametrize(
    ("options", "took"), [({"flood": True}, 0.0), ({"adaptive": True}, 0.0), ({"preload": 4}, 0.0), ({}, 3.0)]
)
async def test_letters_say_when_to_send(
    autojump_clock: MockClock, capsys: pytest.CaptureFixture[str], options: dict[str, object], took: float
) -> None:
    """`-f` and `-A` follow the answers, which come at once here; `-l 4` sends all four at the beginning."""
    assert await ping_code(lambda request: request.payload, count=4, **options) == (0, took)
    assert ("icmp_seq" in capsys.readouterr().out) is ("flood" not in options)


async def test_random_intervals_have_a_mean(autojump_clock: MockClock) -> None:
    """`--poisson`: a hundred of 10 ms are one second, give or take."""
    code, took = await ping_code(lambda request: request.payload, count=101, interval=0.01, poisson=True, quiet=True)
    assert code == 0
    assert 0.4 < took < 2.0


async def test_noise_is_said_first(autojump_clock: MockClock, capsys: pytest.CaptureFixture[str]) -> None:
    """What this program adds by itself, before what the path does."""
    assert (await ping_code(lambda request: request.payload, count=1, noise=True))[0] == 0
    assert capsys.readouterr().out.startswith("noise floor by user stamps: rtt 0.000 ms, all 0.000 ms\nPING ")


async def test_every_byte_of_the_payload_is_verified(
    autojump_clock: MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    """A server that changes one bit is corrupted, not received."""
    code, _ = await ping_code(lambda request: bytes([request.payload[0] ^ 1]) + request.payload[1:], count=2)
    assert code == 1
    out = capsys.readouterr().out
    assert out.count("(BAD PAYLOAD!)") == 2
    assert "2 packets transmitted, 0 received, +2 corrupted, 100% packet loss" in out


async def test_a_server_that_says_error_is_counted(
    autojump_clock: MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither a reply nor silence."""

    def fail(_request: trio_udp.Request) -> bytes:
        raise KeyError

    assert (await ping_code(fail, count=1, verbose=True))[0] == 1
    out = capsys.readouterr().out
    assert "1 packets transmitted, 0 received, +1 errors, 100% packet loss" in out
    assert "no reply to icmp_seq=1: the handler failed" in out


async def test_rejected_datagrams_appear_in_the_summary_by_reason(
    autojump_clock: MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    """What strangers send to the client's port, and a server that answers twice."""

    def forge(request: trio_udp.Request) -> bytes:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            for _ in range(3):
                stranger.sendto(b"FAKE", request.peer)
        return request.payload

    code, _ = await ping_code(forge, count=2)
    assert code == 0
    assert "rejected: 6 wrong_peer" in capsys.readouterr().out


async def test_a_dead_port_is_a_hint_and_not_an_answer(
    autojump_clock: MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    """G5: ICMP is shown, and the run goes on to its end."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        dead_port = taken.getsockname()[1]
    assert await ping._ping(arguments(port=dead_port, count=3, wait=2.0)) == 1
    out = capsys.readouterr().out
    assert "3 packets transmitted, 0 received, 100% packet loss, time 4000ms" in out
    assert "icmp hints, perhaps forged: 3 ECONNREFUSED" in out
