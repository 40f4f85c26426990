"""`relay`: as a process, and the truth that it writes."""

import json
import re
import signal
import socket
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from trio_udp._cli import main
from trio_udp.testing import TRUTH_VERSION, RawSocketForbidden

from .command import Running, run_command, run_here, running, serving

FAULTS = ["--chaos-up", "drop=20%,dup=40%", "--chaos-down", "dup=20%,corrupt=10%", "--forge", "20%", "--seed", "7"]


async def start(relay: Running) -> str:
    """The port that it listens on; what it says before that is left out."""
    line = await relay.line()
    while not line.startswith("relaying from 127.0.0.1:"):
        line = await relay.line()
    return line.split()[2].rpartition(":")[2]


def read(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any]]:
    """The first line, those about datagrams by their numbers, and the last one.

    They are written when their last copy has left or is lost: of two that come at once, the second may be first.
    """
    first, *between, last = [json.loads(line) for line in path.read_text().splitlines()]
    return first, sorted(between, key=lambda line: line.get("number", 0)), last


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_relay_writes_the_truth_and_sums_it_up(number: signal.Signals, tmp_path: Path) -> None:
    """A start, a line for each datagram and forgery, and a summary that is their sum; the server saw the same."""
    truth = tmp_path / "truth"
    async with serving() as (server, port):
        async with running("relay", "127.0.0.1:0", f"127.0.0.1:{port}", *FAULTS, "--json", str(truth)) as relay:
            where = await start(relay)
            await run_command("ping", "127.0.0.1", "-p", where, "-c", "20", "-i", "0.01", "-W", "0.5", "-q")
            relay.process.send_signal(number)
            said = await relay.rest()
            assert await relay.end() == 0
        server.interrupt()
        report = await server.rest()
    first, between, last = read(truth)
    assert first | {"time_ns": 0} == {
        "event": "start",
        "schema": TRUTH_VERSION,
        "time_ns": 0,
        "listen": [f"127.0.0.1:{where}"],
        "upstream": f"127.0.0.1:{port}",
        "up": "drop=20%,dup=40%",
        "down": "dup=20%,corrupt=10%",
        "forge": 0.2,
        "forge_icmp": 0.0,
        "seed": 7,
    }
    for direction in ("up", "down"):
        found = [line for line in between if line["direction"] == direction and line["event"] == "datagram"]
        counted = last[direction]
        assert [line["number"] for line in found] == list(range(1, counted["received"] + 1))
        fates = Counter(line["fate"] for line in found)
        assert (fates["forwarded"], fates["dropped"]) == (counted["forwarded"], counted["dropped"])
        assert sum(len(line["copies"]) for line in found) == counted["sent"]
        assert counted["waiting"] == 0
    assert sum(line["event"] == "forged" for line in between) == last["down"]["forged"] > 0
    received = last["up"]["received"]
    assert received > 20  # ping's last question among them, which may be asked again
    assert last["up"]["dropped"] > 0
    assert report[2].startswith(f"requests {last['up']['sent']}, ")
    up = last["up"]
    assert up["duplicated"] > 0
    line = f"chaos up: {received} received, {up['dropped']} dropped, {up['sent']} sent ({up['duplicated']} duplicated)"
    assert said[:2] == ["", line]


async def test_equal_seeds_do_equal_harm(tmp_path: Path) -> None:
    """But for the times and the ports, the truth is the same."""
    written = [await up_of_one_run(tmp_path / name) for name in ("one", "other")]
    assert written[0] == written[1]


async def up_of_one_run(truth: Path) -> str:
    """What became of twenty datagrams of one byte, without what differs."""
    async with serving() as (_, port):
        command = ["relay", "127.0.0.1:0", f"127.0.0.1:{port}", *FAULTS, "--json", str(truth)]
        async with running(*command) as relay:
            where = await start(relay)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                for number in range(20):
                    client.sendto(bytes([number]), ("127.0.0.1", int(where)))
            await run_command("ask", "127.0.0.1", "hello", "-p", where)  # behind them
            relay.interrupt()
            await relay.rest()
    found = [line for line in read(truth)[1] if line["direction"] == "up" and line["size"] == 1]
    assert len(found) == 20
    return re.sub(r'"(\w+_ns|source|destination)": ("[^"]*"|\d+)', "", json.dumps(found))


async def test_relay_stops_when_it_has_seen_enough(tmp_path: Path) -> None:
    """So many datagrams, up and down together; or after so long."""
    truth = tmp_path / "truth"
    async with serving() as (_, port):
        async with running("relay", "127.0.0.1:0", f"127.0.0.1:{port}", "-c", "4", "--json", str(truth)) as relay:
            where = await start(relay)
            for _ in range(2):
                assert (await run_command("ask", "127.0.0.1", "hello", "-p", where))[1] == ["hello"]
            assert await relay.end() == 0
        code, out, err = await run_command("relay", "127.0.0.1:0", f"127.0.0.1:{port}", "-w", "100ms")
    assert [line["direction"] for line in read(truth)[1]] == ["up", "down", "up", "down"]
    assert (code, err) == (0, [])
    assert out[1:] == ["", "chaos up: 0 received, 0 dropped, 0 sent", "chaos down: 0 received, 0 dropped, 0 sent"]


async def test_the_truth_on_standard_output_is_all_there_is() -> None:
    """For a pipe; each line at once."""
    async with running("relay", "127.0.0.1:0", "127.0.0.1:9", "--json", "-") as relay:
        first = json.loads(await relay.line())
        host, _, port = first["listen"][0].rpartition(":")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(b"hello", (host, int(port)))
            line = json.loads(await relay.line())
        relay.interrupt()
        rest = [json.loads(line)["event"] for line in await relay.rest()]
    assert (line["event"], line["direction"], line["size"]) == ("datagram", "up", 5)
    assert rest == ["summary"]


async def test_forged_icmp_is_counted_by_kind(tmp_path: Path) -> None:
    """By the relay in its lines and its truth, and by ping as what Linux makes of it."""
    truth = tmp_path / "truth"
    async with serving() as (_, port):
        command = ["relay", "127.0.0.1:0", f"127.0.0.1:{port}", "--forge-icmp", "50%", "--seed", "7"]
        async with running(*command, "--json", str(truth)) as relay:
            try:
                where = await start(relay)
            except EOFError:
                pytest.skip("forging ICMP takes root or CAP_NET_RAW")
            _, out, _ = await run_command("ping", "127.0.0.1", "-p", where, "-c", "20", "-i", "0.01", "-q")
            relay.interrupt()
            said = await relay.rest()
    first, lines, last = read(truth)
    kinds = Counter(line["why"] for line in lines if line["event"] == "forged")
    assert first["forge_icmp"] == 0.5
    assert last["down"]["forgeries"] == kinds
    assert [line for line in said if "forged" in line][1:] == [
        f"  forged {kinds[kind]}: {kind}" for kind in sorted(kinds)
    ]
    hints = out[-1].removeprefix("icmp hints, perhaps forged: ").split(", ")
    assert sum(int(hint.split()[0]) for hint in hints) == kinds.total() > 0


def test_without_a_raw_socket_it_is_said_what_it_takes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line, exit code 2, and no word about the port, which is free."""

    def forbid(family: int) -> None:
        raise RawSocketForbidden

    monkeypatch.setattr("trio_udp._relay.open_icmp_forger", forbid)
    assert main(["relay", "127.0.0.1:0", "127.0.0.1:9", "--forge-icmp", "5%", "--seed", "1"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "chaos: up none, down none, forge-icmp 5%, seed 1",
        "trio_udp relay: forging ICMP takes a raw socket, which is for root or who has CAP_NET_RAW",
    ]


def test_a_full_disk_is_one_line() -> None:
    """Wherever the truth was to go."""
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    code, _, err = run_here("relay", "127.0.0.1:0", "127.0.0.1:9", "--json", "/dev/full")
    assert code == 2
    assert err[-1] == "trio_udp relay: cannot write to '/dev/full': No space left on device"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a", "127.0.0.1:9"], "LISTEN: expected HOST:PORT, as 127.0.0.1:1060 or [::1]:1060, got 'a'"),
        (["::1:9", "127.0.0.1:9"], "got '::1:9'"),
        ([":70000", "127.0.0.1:9"], "got ':70000'"),
        ([":0", "127.0.0.1:0"], "expected an upstream with a host and a port from 1, got '127.0.0.1:0'"),
        ([":0", ":9"], "expected an upstream with a host and a port from 1, got ':9'"),
        ([":0", "fake.invalid:9"], "unknown host 'fake.invalid'"),
        (["192.0.2.1:0", "127.0.0.1:9"], "'192.0.2.1' is not an address of this host"),
        ([":0", "[fe80::1]:9"], "expected a link-local address with a scope, as fe80::1%eth0, got fe80::1"),
        (["[fe80::1]:0", "127.0.0.1:9"], "expected a link-local address with a scope, as fe80::1%eth0, got fe80::1"),
        ([":0", "127.0.0.1:9", "--json", "/nowhere/truth"], "cannot write to '/nowhere/truth': No such file"),
        ([":0", "127.0.0.1:9", "--chaos", "drop=x"], "expected drop to be a share such as 5% or 0.05"),
        ([":0", "127.0.0.1:9", "--forge", "2"], "expected a share such as 5% or 0.05, at most 100%, got '2'"),
        ([":0", "127.0.0.1:9", "-c", "0"], "expected a whole number, 1 or more, got '0'"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What, the value, and what was expected."""
    try:
        code: object = main(["relay", *arguments])
    except SystemExit as ended:
        code = ended.code
    printed = capsys.readouterr()
    assert (code, printed.out, printed.err.count("\n")) == (2, "", 1)
    assert said in printed.err
