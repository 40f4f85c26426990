"""`serve --log-format json`: one object a line on standard error, whoever says it."""

import json
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import trio

import trio_udp
from trio_udp._cli._logs import JsonLines, Log

from .command import Running, children, run_command, running

JSON = ("--log-format", "json")


async def event_of(process: Running, name: str) -> dict[str, Any]:
    """The next event of this name; every line before it, and this one, is an event."""
    with trio.fail_after(60):
        while True:
            found: dict[str, Any] = json.loads(await process.line())
            assert found["kind"] == "log"
            assert {"at_ns", "level", "event", "message", "pid"} <= found.keys()
            if found["event"] == name:
                return found


def test_a_log_record_is_one_line_of_json() -> None:
    """With its traceback, if it has one, and with what it was given beside."""
    try:
        raise KeyError("line one\nline two")
    except KeyError:
        caught = sys.exc_info()
    record = logging.LogRecord("trio_udp", logging.ERROR, "", 0, "handler failed on %s", ("x",), caught)
    record.event, record.peer = "handler_failed", "192.0.2.1:5"
    line = JsonLines().format(record)
    assert "\n" not in line
    found = json.loads(line)
    assert found["at_ns"] == round(record.created * 1e9)
    assert (found["kind"], found["level"], found["logger"]) == ("log", "error", "trio_udp")
    assert (found["event"], found["message"]) == ("handler_failed", "handler failed on x")
    assert (found["peer"], found["pid"]) == ("192.0.2.1:5", os.getpid())
    assert found["traceback"].startswith("Traceback (most recent call last)")
    other = json.loads(JsonLines().format(logging.makeLogRecord({"msg": "x", "name": "y"})))
    assert "traceback" not in other
    assert other["event"] == "log"


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_each_way_of_saying_has_its_stream_and_its_level(log_format: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Text goes where it belongs; JSON in one stream, and no field takes the place of what every line has."""
    log = Log(log_format)
    log.show("shown", "one", pid="mine", more=(1, 2))
    log.note("noted", "two")
    log.mark("marked", "three")
    log.complain("complained", "four")
    log.complain("failed", "five", level="error")
    captured = capsys.readouterr()
    if log_format == "text":
        assert captured.out == "one\n"
        assert captured.err == "two\ntrio_udp serve: four\ntrio_udp serve: five\n"
        return
    assert captured.out == ""
    found = [json.loads(line) for line in captured.err.splitlines()]
    assert [one["level"] for one in found] == ["info", "info", "info", "warning", "error"]
    assert [one["message"] for one in found] == ["one", "two", "three", "four", "five"]
    assert (found[0]["pid"], found[0]["more"]) == (os.getpid(), [1, 2])


async def test_a_servers_life_is_a_sequence_of_events(tmp_path: Path) -> None:
    """Where it listens, under which keys, which file was no good, that it drains, and what it has counted."""
    keys = tmp_path / "keys"
    key = trio_udp.Key(1, bytes(range(32)))
    keys.write_text(key.to_line())
    keys.chmod(0o600)
    async with running("serve", "127.0.0.1", "-p", "0", *JSON, "--key-file", str(keys)) as server:
        accepting = await event_of(server, "accepting_keys")
        assert (accepting["keys"], accepting["message"]) == ([1], "accepting keys: 1 (blake2b-128)")
        listening = await event_of(server, "listening")
        async with trio_udp.open_client(listening["host"], listening["port"], key=key) as client:
            assert await client.request(b"x") == b"x"
        keys.write_text("no key")
        server.process.send_signal(signal.SIGHUP)
        assert (await event_of(server, "keys_unchanged"))["level"] == "warning"
        server.interrupt()
        await event_of(server, "draining")
        statistics = await event_of(server, "statistics")
        assert (statistics["requests"], statistics["replies"], statistics["dropped"]) == (1, 1, {})
        assert await server.end() == 0
        assert await server.rest() == []


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="this host has no /proc to find workers in")
async def test_workers_and_their_parent_speak_in_one_stream() -> None:
    """What a worker says comes with its number, and that it has died is an event like any other."""
    options = ("--workers", "2", "--drop", "1", "--chaos", "dup=1%", *JSON)
    async with running("serve", "127.0.0.1", "-p", "0", *options) as server:
        await event_of(server, "chaos")
        listening = await event_of(server, "listening")
        async with trio_udp.open_client(listening["host"], listening["port"]) as client:
            with trio.move_on_after(0.3):
                await client.request(b"x")
        dropped = await event_of(server, "dropped_on_purpose")
        assert dropped["worker"] in (1, 2)
        os.kill(next(iter(children(server.process.pid))), signal.SIGKILL)
        ended = await event_of(server, "worker_ended")
        assert (ended["level"], ended["worker"] in (1, 2)) == ("warning", True)
        server.interrupt()
        await event_of(server, "draining")
        assert (await event_of(server, "statistics"))["missing"] == 1
        assert await server.end() == 0


async def test_what_ends_a_server_before_it_begins_is_an_event_too() -> None:
    """With exit code 2, as in text; and nothing goes to standard output."""
    code, out, err = await run_command("serve", "127.0.0.1", *JSON, "--key-file", "/nonexistent")
    assert (code, out, len(err)) == (2, [], 1)
    found = json.loads(err[0])
    assert (found["event"], found["level"]) == ("failed", "error")
    assert found["message"] == "key file '/nonexistent': No such file or directory"


async def test_serve_warns_in_json_when_asked_to() -> None:
    """What else would be a line of text on standard error."""
    async with running("serve", "127.0.0.1", "-p", "0", "--profile", "book", *JSON) as server:
        warning = await event_of(server, "weak_profile")
        assert warning["message"].startswith("profile book, verified: weak")
