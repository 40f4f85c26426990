"""`--chaos` on `serve` and `ping`: the same words, the same rules, and a line about what they did."""

import json
import re
import signal
import time

import pytest

from trio_udp._cli import main

from .command import run_command, run_here, running, serving

PING = ["ping", "-c", "20", "-i", "0.01", "-W", "0.5", "-q"]


def test_ping_puts_faults_on_its_own_sockets() -> None:
    """Up is what it sends; what it counts is what was done to it."""
    faults = ["--chaos-up", "drop=30%", "--chaos-down", "dup=30%", "--seed", "5"]
    code, out, err = run_here(*PING, *faults)
    assert (code, err) == (0, ["chaos: up drop=30%, down dup=30%, seed 5"])
    up = re.fullmatch(r"chaos up: 2\d received, (\d+) dropped, (\d+) sent", out[-3])  # 20 probes, and a last question
    down = re.fullmatch(r"chaos down: (\d+) received, 0 dropped, \d+ sent \((\d+) duplicated\)", out[-1])
    assert up
    assert down
    assert out[-2] == f"  dropped {up[1]}: lost, loss=0.3"
    assert up[2] == down[1]
    counts = re.search(r"20 packets transmitted, (\d+) received, \+(\d+) duplicates", "\n".join(out))
    assert counts
    assert int(down[1]) - 1 <= int(counts[1]) <= int(down[1])
    assert int(down[2]) - 1 <= int(counts[2]) <= int(down[2])
    assert run_here(*PING, *faults)[1][-3:] == out[-3:]


def test_faults_leave_the_time_alone() -> None:
    """What is since 1970 is so with faults too: in the stream, and before the lines."""
    began = time.time_ns()
    _, lines, _ = run_here("ping", "-c", "2", "-i", "0.01", "--json", "--chaos", "dup=1%")
    _, out, _ = run_here("ping", "-c", "2", "-i", "0.01", "-D", "--chaos", "dup=1%")
    ended = time.time_ns()
    events = [json.loads(line) for line in lines if line.startswith("{")]
    found = [event[name] for event in events for name in event if name.endswith("at_ns") and event[name] is not None]
    found += [round(float(stamp) * 1e9) for line in out for stamp in re.findall(r"^\[(\d+\.\d{6})\] ", line)]
    assert len(found) == 10
    assert all(began - 1000 <= at <= ended for at in found)  # text has microseconds, cut


async def test_serve_puts_faults_on_its_own_sockets() -> None:
    """Up is what it receives; with a seed of its own if none is given."""
    async with running("serve", "127.0.0.1", "-p", "0", "--chaos", "drop=20%", "--chaos-down", "") as server:
        assert re.fullmatch(r"chaos: up drop=20%, down none, seed \d+", await server.line())
        port = (await server.line()).rpartition(":")[2]
        await run_command(*PING, "127.0.0.1", "-p", port)
        server.interrupt()
        lines = await server.rest()
        assert await server.end() == 0
    requests = re.fullmatch(r"requests (\d+), replies \1, retries 0, busy 0, errors 0, unanswered 0", lines[2])
    assert requests
    up = re.fullmatch(r"chaos up: 2\d received, (\d+) dropped, (\d+) sent", lines[3])
    assert up
    assert up[2] == requests[1]
    assert lines[-1] == f"chaos down: {up[2]} received, 0 dropped, {up[2]} sent"


async def test_workers_have_the_faults_and_seeds_of_their_own() -> None:
    """And each says what it did."""
    async with serving("--workers", "2", "--chaos", "drop=100%,delay=10ms±3ms", "--seed", "3") as (server, port):
        code, _, _ = await run_command("ping", "127.0.0.1", "-c", "2", "-i", "0.01", "-W", "0.1", "-p", port)
        assert code == 1
        server.process.send_signal(signal.SIGTERM)
        lines = await server.rest()
        assert await server.end() == 0
    assert sum(line.startswith("chaos up: ") for line in lines) == 2
    assert sum(int(found[1]) for line in lines if (found := re.match(r"chaos up: (\d+) received", line))) == 2
    assert lines[-1].startswith("requests 0, ")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ["--chaos", "queue=100ms"],
            "--chaos: expected a rate with queue, as nothing waits without one, got 'queue=100ms'",
        ),
        (["--seed", "x"], "--seed: expected a whole number, 0 or more, got 'x'"),
        (["--seed=-1"], "--seed: expected a whole number, 0 or more, got '-1'"),
    ],
)
def test_what_would_do_nothing_or_is_no_number_is_refused(
    options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """An option that silently does nothing looks as if there were no faults to be found."""
    with pytest.raises(SystemExit) as ended:
        main(["ping", *options])
    assert (ended.value.code, capsys.readouterr().err) == (2, f"trio_udp ping: argument {said} (see --help)\n")


@pytest.mark.parametrize(
    ("command", "wanted"),
    [
        (["ping"], "--chaos"),
        (["serve", "-p", "0"], "--chaos or --drop"),
        (["relay", "127.0.0.1:0", "127.0.0.1:9"], "--chaos or --forge or --forge-icmp"),
    ],
)
def test_a_seed_that_would_decide_nothing_is_refused(
    command: list[str], wanted: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who gives one believes that there are faults."""
    assert main([*command, "--seed", "7"]) == 2
    said = f"trio_udp {command[0]}: argument --seed: expected {wanted} with it, got neither\n"
    assert capsys.readouterr().err == said


async def test_a_seed_goes_with_no_losses_where_that_was_asked_for() -> None:
    """Whoever tries one share after the other may begin with none."""
    async with serving("--drop", "0", "--seed", "7") as (server, _):
        server.interrupt()
        assert await server.end() == 0
    async with running("relay", "127.0.0.1:0", "127.0.0.1:9", "--forge", "0", "--seed", "7") as relay:
        await relay.line()
        relay.interrupt()
        assert await relay.end() == 0


@pytest.mark.parametrize("command", ["serve", "ping"])
@pytest.mark.parametrize("option", ["--chaos", "--chaos-up", "--chaos-down"])
def test_faults_that_cannot_be_read_are_refused(command: str, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One line, and exit code 2."""
    with pytest.raises(SystemExit) as ended:
        main([command, option, "delay=10"])
    printed = capsys.readouterr()
    said = f"argument {option}: expected delay to be a time in ns, us, ms or s, such as 20ms, got '10' (see --help)\n"
    assert (ended.value.code, printed.err) == (2, f"trio_udp {command}: {said}")
