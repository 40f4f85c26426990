"""What `ping` writes for programs, and that programs read it."""

import csv
import io
import json
import shutil
import subprocess
import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from trio_udp.measure import CSV_COLUMNS, Direction, Duplicate, Interval, Lines, Lost, Start, Summary, json_schema

from .command import run_command, run_here, running, serving

FAST = ("-i", "0.01")


@asynccontextmanager
async def relay(port: str, copies: Callable[[int], int]) -> AsyncIterator[str]:
    """A relay to a server of this host that sends as many copies of the nth reply as it is told; and its port."""
    client: list[Any] = []
    with (
        trio.socket.socket(type=trio.socket.SOCK_DGRAM) as near,
        trio.socket.socket(type=trio.socket.SOCK_DGRAM) as far,
    ):
        await near.bind(("127.0.0.1", 0))
        await far.connect(("127.0.0.1", int(port)))

        async def up() -> None:
            while True:
                data, peer = await near.recvfrom(2000)
                client[:] = [peer]
                await far.send(data)

        async def down() -> None:
            number = 0
            while True:
                data = await far.recv(2000)
                number += 1
                for _ in range(copies(number)):
                    await near.sendto(data, client[0])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(up)
            nursery.start_soon(down)
            yield str(near.getsockname()[1])
            nursery.cancel_scope.cancel()


async def test_json_is_a_stream_of_records_and_nothing_else() -> None:
    """Two hosts side by side, each from its start to its summary."""
    async with serving() as (_, port):
        hosts = ("127.0.0.1", "localhost", "-4", "-p", port)
        code, out, err = await run_command("ping", *hosts, "--json", "-c", "3", "--every", "0.005", *FAST)
    assert (code, err) == (0, [])
    lines = list(Lines(line + "\n" for line in out))
    for host in ("127.0.0.1", "localhost"):
        events = [event for name, event in lines if name == host]
        assert isinstance(events[0], Start)
        assert isinstance(events[-1], Summary)
        assert [event.sequence for event in events if event.kind == "reply"] == [1, 2, 3]
        assert any(isinstance(event, Interval) for event in events)
    assert len({name for name, _ in lines}) == 2


def test_a_quiet_stream_has_only_sums() -> None:
    """As `-q` means everywhere: the start, the intervals that were asked for, and the summary; nothing a probe."""
    code, out, err = run_here("ping", "--json", "-q", "-c", "4", "--every", "0.005", *FAST)
    assert (code, err) == (0, [])
    kinds = [line.event.kind for line in Lines(line + "\n" for line in out)]
    assert (kinds[0], {*kinds[1:-1]}, kinds[-1]) == ("start", {"interval"}, "summary")


@pytest.mark.parametrize("presses", [1, 2])
async def test_an_interrupted_stream_ends_with_its_summary_once(presses: int) -> None:
    """After one `^C` or, without the server's last word, after two."""
    async with running("ping", "--json", "-i", "0.05") as process:
        lines = [await process.line() for _ in range(3)]
        for _ in range(presses):
            process.interrupt()
        lines += await process.rest()
        assert await process.end() == 0
    kinds = [line.event.kind for line in Lines(line + "\n" for line in lines)]
    assert kinds.count("summary") == 1
    assert kinds[-1] == "summary"


async def test_every_line_of_a_lossy_run_is_as_the_printed_schema_says() -> None:
    """Losses and duplicates through a relay; the schema as the command prints it."""
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    _, printed, _ = await run_command("ping", "--json-schema")
    schema = json.loads("\n".join(printed))
    assert schema == json_schema()
    async with serving() as (_, port), relay(port, lambda number: (0, 2, 1)[number % 3]) as near:
        code, out, err = await run_command("ping", "127.0.0.1", "-p", near, "--json", "-c", "6", "-W", "0.3", *FAST)
    assert (code, err) == (0, [])
    for line in out:
        jsonschema.Draft202012Validator(schema).validate(json.loads(line))
    events = [line.event for line in Lines(line + "\n" for line in out)]
    assert any(isinstance(event, Lost) and event.direction is Direction.DOWNSTREAM for event in events)
    assert any(isinstance(event, Duplicate) and event.direction is Direction.DOWNSTREAM for event in events)


@pytest.mark.skipif(shutil.which("jq") is None, reason="this host has no jq")
def test_jq_reads_the_stream() -> None:
    """As in a pipe."""
    _, out, _ = run_here("ping", "--json", "-c", "4", *FAST)
    jq = ["jq", "-c", 'select(.kind == "reply") | [.sequence, .rtt_ns > 0, .stamps]']
    done = subprocess.run(jq, input="\n".join(out), stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603 - ours
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line[:2] for line in found] == [[number, True] for number in (1, 2, 3, 4)]


async def test_csv_is_a_header_and_a_row_for_each_probe() -> None:
    """Of all hosts."""
    async with serving() as (_, port):
        code, out, err = await run_command(
            "ping", "127.0.0.1", "localhost", "-4", "-p", port, "--csv", "-c", "2", *FAST
        )
    assert (code, err) == (0, [])
    rows = list(csv.DictReader(io.StringIO("\n".join(out))))
    assert out[0] == ",".join(CSV_COLUMNS)
    assert sorted((row["host"], row["sequence"], row["outcome"]) for row in rows) == [
        (host, number, "reply") for host in ("127.0.0.1", "localhost") for number in ("1", "2")
    ]


@pytest.mark.skipif(shutil.which("tshark") is None, reason="this host has no tshark")
def test_a_capture_file_has_every_datagram_and_tshark_finds_nothing_wrong(tmp_path: Path) -> None:
    """Beside the usual text: three probes, the question for the server's last word, and four answers."""
    file = tmp_path / "run.pcapng"
    code, out, _ = run_here("ping", "-c", "3", "--pcap", str(file), *FAST)
    assert (code, out[6].split(",")[0]) == (0, "3 packets transmitted")
    checked = ("-o", "udp.check_checksum:TRUE")
    for display_filter, count in (("udp", 8), ("_ws.malformed or udp.checksum.status == 0", 0)):
        command = ["tshark", "-n", "-r", str(file), *checked, "-Y", display_filter]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)  # noqa: S603 - ours
        assert len(done.stdout.splitlines()) == count, done.stdout


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--every", "1"), "trio_udp ping: expected --json with --every"),
        (("--pcap", "/nowhere/run"), "trio_udp ping: cannot write to '/nowhere/run': No such file or directory"),
        (
            ("--pcap", "-"),
            "trio_udp ping: argument --pcap: expected a file, got '-': standard output is taken by the lines"
            " (see --help)",
        ),
        (
            ("--json", "--csv"),
            "trio_udp ping: argument --csv: not allowed with argument --json (see --help)",
        ),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments: tuple[str, ...], line: str) -> None:
    """What is wrong, the value, and what was expected."""
    code, out, err = run_here("ping", "-c", "1", *arguments)
    assert (code, out, err) == (2, [], [line])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("count", ["1", "200"])
def test_a_capture_file_on_a_full_disk_is_named(count: str) -> None:
    """Whether that is noticed while it is written, or when it is closed."""
    code, _, err = run_here("ping", "-q", "-i", "0.001", "-c", count, "--pcap", "/dev/full")
    assert (code, err) == (2, ["trio_udp ping: cannot write to '/dev/full': No space left on device"])


def test_noise_is_said_on_stderr_where_the_stream_is_for_programs() -> None:
    """Not a line among those that are parsed."""
    code, out, err = run_here("ping", "--json", "--noise", "-c", "1")
    assert code == 0
    assert len(err) == 1
    assert [json.loads(line)["kind"] for line in out] == ["start", "reply", "summary"]


def parsed(text: list[str]) -> dict[str, Any]:
    """What pingparsing makes of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it calls its own parser library by names that are going away
        pingparsing = pytest.importorskip("pingparsing", reason="pingparsing is not installed")
        found: dict[str, Any] = pingparsing.PingParsing().parse("\n".join(text)).as_dict(include_icmp_replies=True)
    return found


@pytest.mark.parametrize(
    ("copies", "received", "duplicates"),
    [(lambda number: 1, 6, 0), (lambda number: number % 2, 3, 0), (lambda number: 2, 6, 6), (lambda number: 0, 0, 0)],
    ids=["clean", "lossy", "duplicated", "silent"],
)
async def test_pingparsing_reads_the_text(copies: Callable[[int], int], received: int, duplicates: int) -> None:
    """Its figures are ours."""
    async with serving() as (_, port), relay(port, copies) as near:
        code, out, err = await run_command("ping", "127.0.0.1", "-p", near, "-c", "6", "-W", "0.3", *FAST)
    assert (code, err) == (int(received == 0), [])
    found = parsed(out)
    assert (found["packet_transmit"], found["packet_receive"]) == (6, received)
    assert found["packet_loss_count"] == 6 - received
    assert found["packet_duplicate_count"] == duplicates
    assert (found["rtt_min"] is None) == (received == 0)
    assert len(found["icmp_replies"]) == received
    if received:
        assert found["rtt_min"] <= found["rtt_avg"] <= found["rtt_max"]
        assert {reply["bytes"] for reply in found["icmp_replies"]} == {80}


@pytest.mark.parametrize("letters", [[], ["-v"]])
def test_pingparsing_reads_what_is_said_of_nobody(letters: list[str]) -> None:
    """Where nothing came back there is more to tell than iputils has, and it stands below what is parsed."""
    code, out, _ = run_here("ping", "127.0.0.1", "-p", "9", "-c", "2", "-W", "0.1", *FAST, *letters)
    assert code == 1
    assert "icmp hints, perhaps forged: 2 ECONNREFUSED" in out
    found = parsed(out)
    assert (found["packet_transmit"], found["packet_receive"], found["rtt_min"]) == (2, 0, None)
