"""`ping --ramp`: a line for each rate, and what it comes to."""

import json
import re

import pytest

from trio_udp.measure import Distribution, Knee, Step, Strain, knee_line, step_line

from ..measure.records import summary
from .command import run_command, run_here, running, serving


def step(strain: Strain, *, received: int = 150, missed: int = 0) -> Step:
    """Two hundred probes, sent at that rate."""
    times = Distribution(count=received, p50_ns=1_234_000, p99_ns=20_000_000) if received else Distribution()
    return Step(200.4, strain, summary(sent=200, received=received, rtt=times, missed_slots=missed))


def test_each_rate_has_a_line_that_says_what_it_was_too_much_for() -> None:
    """And nothing if it was not."""
    line = "    200/s  200 sent, 150 received, 25% packet loss, p50 1.23 ms, p99 20.0 ms"
    assert step_line(step(Strain.NONE)) == line
    assert step_line(step(Strain.HOST, missed=3)) == f"{line}, 3 slots missed  <- host"
    assert step_line(step(Strain.LOSS, received=0)) == "    200/s  200 sent, 0 received, 100% packet loss  <- loss"


@pytest.mark.parametrize(
    ("knee", "said"),
    [
        (Knee(100.0, None), "none up to 100/s"),
        (Knee(190.9, step(Strain.QUEUE)), "190/s, an interval of 5238 us; at 200/s probes wait in a queue"),
        (Knee(190.9, step(Strain.LOSS)), "190/s, an interval of 5238 us; at 200/s more is lost than by chance"),
        (Knee(None, step(Strain.LOSS, received=0)), "below the first rate; at 200/s nothing comes back"),
        (
            Knee(None, step(Strain.HOST)),
            "below the first rate; at 200/s this host sends too late, so that nothing is known about the path",
        ),
    ],
)
def test_the_knee_is_said_with_what_is_beyond_it(knee: Knee, said: str) -> None:
    """In a line."""
    assert knee_line("h", knee) == f"knee of h: {said}"


def test_ramp_says_that_a_path_can_take_all_that_is_tried() -> None:
    """As text; loopback takes forty a second."""
    code, out, err = run_here("ping", "--ramp", "40/s", "-i", "50ms")
    assert (code, err, len(out)) == (0, [], 4)
    assert out[0].startswith("PING localhost (127.0.0.1:")
    assert re.match(r"     20/s  20 sent, 20 received, 0% packet loss, p50 \S+ ms, p99 \S+ ms", out[1])
    assert out[-1] == "knee of localhost: none up to 40/s"


async def test_ramp_for_programs_is_a_run_for_each_rate() -> None:
    """And what people want to know stands on standard error. Exit code 1 where nothing comes back."""
    async with serving("--chaos-down", "drop=100%") as (_, port):
        code, out, err = await run_command(
            "ping", "127.0.0.1", "-p", port, "--ramp", "100", "-i", "10ms", "-W", "0.1", "--json"
        )
    assert code == 1
    runs = [line for line in map(json.loads, out) if line["kind"] == "start"]
    assert [run["slot_ns"] for run in runs] == [10_000_000] * 2
    assert err[-1] == "knee of 127.0.0.1: below the first rate; at 100/s nothing comes back"


@pytest.mark.parametrize("words", [["-w", "0.3"], []])
async def test_ramp_ends_when_it_is_told_to(words: list[str]) -> None:
    """At the deadline, or by ^C: with what there is."""
    async with running("ping", "--ramp", "1000", "-i", "1", *words) as ping:
        assert (await ping.line()).startswith("PING localhost")
        if not words:
            ping.interrupt()
        assert await ping.rest() == ["knee of localhost: not found before the end"]
        assert await ping.end() in ((0,) if words else (0, 1))  # the first reply may come before ^C, or not


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--ramp", "0"], "argument --ramp: expected a number of probes a second, 1 to 10000, got '0'"),
        (["--ramp", "10001"], "got '10001'"),
        (["--ramp", "9", "-f", "-c", "3", "-l", "2"], "argument --ramp: expected no -c and no -f and no -l with it"),
        (["--ramp", "9", "--ports", "2"], "argument --ramp: expected no --ports with it"),
        (["--ramp", "9", "127.0.0.1", "127.0.0.2"], "argument --ramp: expected one host, got 2"),
    ],
)
def test_what_makes_no_sense_with_it_is_one_line(words: list[str], said: str) -> None:
    """And exit code 2."""
    code, out, err = run_here("ping", *words)
    assert (code, out, len(err)) == (2, [], 1)
    assert said in err[0]
