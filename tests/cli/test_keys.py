"""Keys at the command line: where they come from, that they are changed without losing a request, and never shown."""

import os
import re
import signal
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

import trio_udp
from trio_udp import Key, load_keys
from trio_udp._cli import main
from trio_udp._cli._orders import Bell

from ..test_keys import SECRET, shows_secret
from .command import Running, run_command, run_here, running
from .command import serving as plainly_serving

CANARY = Key(1, SECRET)
PATIENT = trio_udp.RetryPolicy(initial=60, jitter=0, adaptive=False, attempts=1)

needs_proc = pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="this host has no /proc")


def key_file(path: Path, *keys: Key) -> str:
    """A file with these keys, put there as a whole: workers may be reading the one before."""
    draft = path.with_suffix(".draft")
    draft.write_text("".join(f"{key.to_line()}\n" for key in keys))
    draft.chmod(0o600)
    draft.replace(path)
    return str(path)


@asynccontextmanager
async def serving(*arguments: str, accepting: str) -> AsyncIterator[tuple[Running, str]]:
    """`serve` with keys on a free port of 127.0.0.1, and that port."""
    with trio.fail_after(60):
        async with running("serve", "127.0.0.1", "-p", "0", *arguments) as server:
            assert await server.line() == f"accepting keys: {accepting}"
            yield server, (await server.line()).rpartition(":")[2]


# keygen


def test_keygen_writes_a_key_for_its_owner_only_and_shows_it_to_nobody(tmp_path: Path) -> None:
    """F4: nothing of it is printed."""
    path = tmp_path / "keys"
    code, out, err = run_here("keygen", str(path))
    assert (code, out, err) == (0, [f"key 1 (blake2b-128) is in {path}"], [])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [key.id for key in load_keys(path)] == [1]


def test_keygen_adds_keys_for_a_rotation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Behind the others, so that nobody asks with one that the server does not know yet."""
    path = str(tmp_path / "keys")
    assert main(["keygen", path, "--id", "7"]) == 0
    assert main(["keygen", "--add", path, "--algorithm", "hmac-sha-256-128"]) == 0
    assert main(["keygen", "--add", path, "--id", "3"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"key 7 (blake2b-128) is in {path}",
        f"key 8 (hmac-sha-256-128) is in {path}",
        f"key 3 (blake2b-128) is in {path}",
    ]
    assert [(key.id, key.algorithm) for key in load_keys(path)] == [
        (7, "blake2b-128"),
        (8, "hmac-sha-256-128"),
        (3, "blake2b-128"),
    ]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["{taken}"], "key file '{taken}': File exists"),
        (["--add", "{missing}"], "key file '{missing}': No such file or directory"),
        (["{missing}/keys"], "key file '{missing}/keys': No such file or directory"),
        (["--add", "{taken}", "--id", "1"], "key file '{taken}': expected an id that is not used in it, got 1"),
        (["--add", "{taken}/.."], "key file '{taken}/..': Not a directory"),
        (["--add", "/"], "key file '/': Is a directory"),
        (["--add", "{open}"], "key file '{open}': expected nobody but its owner to have access, got mode 0644"),
    ],
)
def test_keygen_says_in_one_line_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str
) -> None:
    """Exit code 2, and the files are as they were."""
    names = {name: str(tmp_path / name) for name in ("taken", "missing", "open")}
    key_file(tmp_path / "taken", CANARY)
    key_file(tmp_path / "open", CANARY)
    (tmp_path / "open").chmod(0o644)
    assert main(["keygen", *(word.format(**names) for word in arguments)]) == 2
    assert capsys.readouterr().err == f"trio_udp keygen: {expected.format(**names)}\n"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["open", "taken"]
    assert (tmp_path / "taken").read_text() == f"{CANARY.to_line()}\n"


@pytest.mark.parametrize("id_", ["0", "256", "x"])
def test_keygen_wants_an_id_that_fits(capsys: pytest.CaptureFixture[str], id_: str) -> None:
    """One byte, and 0 means none."""
    with pytest.raises(SystemExit, match="2"):
        main(["keygen", "keys", "--id", id_])
    assert f"expected a whole number, 1 to 255, got '{id_}'" in capsys.readouterr().err


# Where keys come from


async def test_ask_and_ping_reach_a_server_with_a_key_and_say_so(tmp_path: Path) -> None:
    """F4, F8: from a file; without it there is no answer."""
    path = key_file(tmp_path / "keys", CANARY)
    async with serving("--key-file", path, accepting="1 (blake2b-128)") as (server, port):
        code, out, err = await run_command("ask", "-v", "-p", port, "--key-file", path, "127.0.0.1", "hello")
        assert (code, out) == (0, ["hello"])
        assert err[-1].endswith("attempts: 1, authenticated: true")
        code, out, _ = await run_command("ping", "-c", "1", "-p", port, "--key-file", path, "127.0.0.1")
        assert code == 0
        assert out[0] == f"PING 127.0.0.1 (127.0.0.1:{port}) 56(124) bytes of data. authenticated: true"
        assert out[1].startswith("96 bytes from 127.0.0.1: icmp_seq=1 ")
        code, out, _ = await run_command("ping", "-c", "1", "-W", "0.2", "-p", port, "127.0.0.1")
        assert code == 1
        assert out[0].endswith("bytes of data. authenticated: false")
        server.interrupt()
        assert "dropped: 1 bad_seal" in await server.rest()


async def test_ping_says_why_a_server_refuses_if_it_has_a_key(tmp_path: Path) -> None:
    """And nothing of the kind without one: then the server stays silent."""
    path = key_file(tmp_path / "keys", Key.generate(1))
    words = "it takes no more requests from one source (limit 0.001/s)"
    options = ("-v", "-c", "5", "-i", "0.01", "-W", "5", "--key-file", path, "127.0.0.1")
    async with serving("--key-file", path, "--limit", "0.001", accepting="1 (blake2b-128)") as (_, port):
        code, out, err = await run_command("ping", *options, "-p", port)
    assert (code, err) == (0, [])
    assert f"refused: 4 because {words}" in out
    assert out.count(f"no reply to icmp_seq=5: the server refuses: {words}") == 1
    assert out[-1].endswith(", its last word did not come. authenticated: true")
    async with plainly_serving("--limit", "0.001") as (_, port):
        code, out, _ = await run_command("ping", "-c", "2", "-i", "0.01", "-W", "0.1", "-p", port, "127.0.0.1")
    assert code == 0
    assert not [line for line in out if line.startswith("refused")]


def test_ping_without_a_host_gives_its_own_server_the_key(tmp_path: Path) -> None:
    """One command shows that it works."""
    code, out, err = run_here("ping", "-c", "1", "--key-file", key_file(tmp_path / "keys", CANARY))
    assert (code, err) == (0, [])
    assert out[0].endswith("authenticated: true")


@pytest.mark.parametrize(
    ("with_file", "expected"), [(False, "1 (blake2b-128), 2 (blake2b-128)"), (True, "9 (blake2b-128)")]
)
async def test_keys_come_from_the_environment_where_there_is_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, with_file: bool, expected: str
) -> None:
    """F4: its lines are those of a key file."""
    monkeypatch.setenv("TRIO_UDP_KEY", f"{CANARY.to_line()}\n{Key.generate(2).to_line()}")
    files = ["--key-file", key_file(tmp_path / "keys", Key(9, SECRET))] if with_file else []
    async with serving(*files, accepting=expected) as (_, port):
        code, out, _ = await run_command("ask", *files, "-p", port, "127.0.0.1", "hello")
        assert (code, out) == (0, ["hello"])


@pytest.mark.parametrize("command", [["serve", "127.0.0.1", "-p", "0"], ["ask", "127.0.0.1", "x"], ["ping"]])
@pytest.mark.parametrize(
    ("arguments", "variable", "expected"),
    [
        (["--key-file", "nothing"], None, "key file 'nothing': No such file or directory"),
        (["--key-file", "/dev/null"], None, "key file '/dev/null': expected a regular file, got something else"),
        ([], "", "environment variable TRIO_UDP_KEY: expected at least one key, got none"),
        (
            [],
            "1 blake2b-128 canary",
            "environment variable TRIO_UDP_KEY, line 1: expected a secret in base64 at the end",
        ),
    ],
)
def test_a_key_that_cannot_be_used_is_one_line(  # noqa: PLR0917 - a table
    command: list[str],
    arguments: list[str],
    variable: str | None,
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit code 2, nothing is sent, and the value is not shown."""
    monkeypatch.chdir(tmp_path)
    if variable is not None:
        monkeypatch.setenv("TRIO_UDP_KEY", variable)
    assert main([*command, *arguments]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"trio_udp {command[0]}: {expected}")
    assert not shows_secret(err)


@pytest.mark.parametrize("command", [["serve", "-p", "0"], ["ask"], ["ping", "-c", "1"], ["ping", "--ramp", "10"]])
def test_the_books_format_takes_no_key(tmp_path: Path, command: list[str]) -> None:
    """It has no room for a tag; said in one line."""
    path = key_file(tmp_path / "keys", CANARY)
    text = ["x"] if command == ["ask"] else []
    code, _, err = run_here(*command, "--profile", "book", "--key-file", path, "127.0.0.1", *text)
    assert code == 2
    assert err[-1] == f"trio_udp {command[0]}: expected no key: profile book has no room for a tag"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--profile", "book"], "expected no key: profile book has no room for a tag"),
        (["-s", "65483"], "expected a size from 0 to 65467 bytes, got 65483"),
    ],
)
def test_ping_without_a_host_says_in_one_line_what_does_not_go_with_a_key(
    tmp_path: Path, options: list[str], expected: str
) -> None:
    """Its own server does not make a group of it."""
    path = key_file(tmp_path / "keys", CANARY)
    code, out, err = run_here("ping", "-c", "1", "--key-file", path, *options)
    assert (code, out, err) == (2, [], [f"trio_udp ping: {expected}"])


def test_there_is_no_option_for_a_key_itself() -> None:
    """F4: everybody on this host can read the command line."""
    for command in ("serve", "ping", "ask", "keygen"):
        code, lines, _ = run_here(command, "--help")
        shown = "\n".join(lines)
        assert code == 0
        assert set(re.findall(r"--[\w-]*key[\w-]*|--[\w-]*secret[\w-]*", shown)) <= {"--key-file"}


# Reloading


async def asks(port: str, key: Key) -> bool:
    """Whether the server takes this key."""
    async with trio_udp.open_client("127.0.0.1", int(port), key=key) as client:
        with trio.move_on_after(1.0):
            return await client.request(b"?", policy=PATIENT) == b"?"
    return False


@pytest.mark.parametrize("workers", [[], ["--workers", "2"]], ids=["one process", "workers"])
async def test_a_server_reads_its_keys_again_on_sighup(tmp_path: Path, workers: list[str]) -> None:
    """F5, F4: new keys are good, old ones are not; a file that is wrong changes nothing, and is said in one line."""
    old, new = CANARY, Key.generate(2)
    path = key_file(tmp_path / "keys", old)
    async with serving("--key-file", path, *workers, accepting="1 (blake2b-128)") as (server, port):
        assert await asks(port, old)
        for keys, accepting in (([old, new], "1 (blake2b-128), 2 (blake2b-128)"), ([new], "2 (blake2b-128)")):
            key_file(tmp_path / "keys", *keys)
            server.process.send_signal(signal.SIGHUP)
            assert await server.line() == f"accepting keys: {accepting}"
        while await asks(port, old):  # its workers may be a moment behind
            await trio.sleep(0.01)
        assert await asks(port, new)
        (tmp_path / "keys").write_text("2 blake2b-128 canary\n")
        server.process.send_signal(signal.SIGHUP)
        assert await server.line() == (
            f"trio_udp serve: the keys stay as they are: key file '{path}', line 1: "
            "expected a secret in base64 at the end, got something else"
        )
        assert await asks(port, new)
        server.interrupt()
        assert await server.end() == 0


EARLY = """
import pathlib, signal, sys
from trio_udp._cli import {module} as command, main

async def early(*args, **kwargs):
    pathlib.Path({draft!r}).replace({path!r})
    signal.raise_signal(signal.SIGHUP)
    return await really(*args, **kwargs)

really, command.{name} = command.{name}, early
sys.exit(main({arguments!r}))
"""
"""`serve`, but new keys and the order to read them come just before its sockets are there."""


@pytest.mark.parametrize(
    ("workers", "module", "name"),
    [([], "serve", "serve"), (["--workers", "2"], "_workers", "open_server_sockets")],
    ids=["one process", "workers"],
)
async def test_sighup_before_there_are_sockets_waits_until_there_are(
    tmp_path: Path, workers: list[str], module: str, name: str
) -> None:
    """F5: who rotates keys need not know that the server is just being started; it died of it."""
    old, new = Key.generate(1), Key.generate(2)
    path, draft = key_file(tmp_path / "keys", old), key_file(tmp_path / "new", old, new)
    arguments = ["serve", "127.0.0.1", "-p", "0", "--key-file", path, *workers]
    script = EARLY.format(module=module, name=name, draft=draft, path=path, arguments=arguments)
    async with running(program=[sys.executable, "-c", script]) as server:
        lines = [await server.line()]
        while not all(any(word in line for line in lines) for word in ("listening", "2 (blake2b-128)")):
            lines.append(await server.line())
        port = next(line for line in lines if line.startswith("listening")).rpartition(":")[2]
        assert await asks(port, new)
        server.interrupt()
        assert await server.end() == 0


async def test_rotating_the_keys_of_a_busy_server_loses_no_request(tmp_path: Path) -> None:
    """F5: a client that never pauses, and a file that is changed under it, with overlap."""
    keys = [Key.generate(id_) for id_ in (1, 2, 3)]
    path = tmp_path / "keys"
    key_file(path, keys[0])
    accepting = "1 (blake2b-128)"
    async with serving("--key-file", str(path), accepting=accepting) as (server, port):
        async with trio_udp.open_client("127.0.0.1", int(port), key=keys[0]) as client, trio.open_nursery() as nursery:
            rotated = False

            async def ask() -> None:
                while not rotated:
                    assert (await client.exchange(b"?", policy=PATIENT)).attempts == 1

            for _ in range(10):
                nursery.start_soon(ask)
            for old, new in ((0, 1), (1, 2)):
                for accepted in ([keys[old], keys[new]], [keys[new]]):
                    key_file(path, *accepted)
                    server.process.send_signal(signal.SIGHUP)
                    assert (await server.line()).startswith("accepting keys: ")
                    client.set_key(keys[new])
                    await trio.sleep(0.05)
            rotated = True
        assert client.statistics().dropped == {}
        assert client.statistics().requests == client.statistics().replies > 0
        server.interrupt()
        assert not [line for line in await server.rest() if "dropped" in line]


async def test_sighup_ends_a_server_that_has_no_key_file() -> None:
    """As it ends any program: there is nothing to read again."""
    with trio.fail_after(60):
        async with running("serve", "127.0.0.1", "-p", "0") as server:
            await server.line()
            server.process.send_signal(signal.SIGHUP)
            assert await server.end() == -signal.SIGHUP


async def test_an_order_given_twice_before_it_is_heard_is_one_order(autojump_clock: trio.testing.MockClock) -> None:
    """And none is lost, whenever it is given."""
    bell, heard = Bell(), 0

    async def listen() -> None:
        nonlocal heard
        while True:
            await bell.heard()
            heard += 1

    bell.ring()
    bell.ring()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen)
        await trio.testing.wait_all_tasks_blocked()
        assert heard == 1
        bell.ring()
        await trio.testing.wait_all_tasks_blocked()
        assert heard == 2
        nursery.cancel_scope.cancel()


# The canary


def command_lines() -> str:
    """What everybody on this host can read of every process."""
    shown = b""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            shown += path.read_bytes()
        except OSError:  # it has just ended
            continue
    return shown.decode(errors="replace")


@needs_proc
@pytest.mark.parametrize("source", ["file", "environment"])
async def test_no_byte_of_a_key_is_shown_by_any_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    """F4: raw, in hexadecimal or in base64; output, log, errors, the process list, workers and reports."""
    path = key_file(tmp_path / "keys", CANARY)
    if source == "environment":
        monkeypatch.setenv("TRIO_UDP_KEY", CANARY.to_line())
    keys = ["--key-file", path] if source == "file" else []
    said: list[str] = []
    async with serving("--workers", "2", *keys, accepting="1 (blake2b-128)") as (server, port):
        for command in (
            ["ask", "-v", "-p", port, *keys, "127.0.0.1", "hello"],
            ["ping", "-v", "-c", "2", "-i", "0.01", "-p", port, *keys, "127.0.0.1"],
            ["ask", "-p", port, *keys, "nowhere.invalid", "hello"],
            ["ask", "-p", port, *keys, "--profile", "book", "127.0.0.1", "hello"],
            ["serve", "-p", port, *keys, "127.0.0.1"],
            ["keygen", path],
            ["keygen", "--add", path],
        ):
            code, out, err = await run_command(*command)
            said += [str(code), *out, *err]
        said.append(command_lines())
        assert "--as-worker" in said[-1]
        if source == "file":
            (tmp_path / "keys").write_text(f"1 {CANARY.to_line().split()[2]} blake2b-128\n")
            server.process.send_signal(signal.SIGHUP)
            said.append(await server.line())
            assert "the keys stay as they are" in said[-1]
        server.interrupt()
        said += await server.rest()
    assert any("authenticated: true" in line for line in said)
    assert not shows_secret("\n".join(said))


async def test_no_byte_of_a_key_is_shown_when_a_handler_fails(caplog: pytest.LogCaptureFixture) -> None:
    """F4: the log has a traceback then, and in it are our own frames."""

    key = CANARY  # whose name stands in no line that a traceback shows

    def fail(request: trio_udp.Request) -> bytes:
        raise ValueError(f"{request} {key}")

    async with trio.open_nursery() as nursery:
        server = await nursery.start(lambda **status: trio_udp.serve(fail, 0, host="127.0.0.1", keys=[key], **status))
        async with trio_udp.open_client(*server.address, key=key) as client:
            with pytest.raises(trio_udp.RemoteError) as caught:
                await client.request(b"?", policy=PATIENT)
            shown = [caplog.text, str(caught.value), repr(client.statistics()), repr(server.statistics())]
            shown += [repr(caught.value), repr(client), repr(server), repr(vars(client)), repr(vars(server))]
        nursery.cancel_scope.cancel()
    assert "<Key 1, blake2b-128>" in caplog.text
    assert not shows_secret("\n".join(shown))


def test_the_canary_would_be_seen() -> None:
    """The tests above can fail."""
    for form in (CANARY.to_line(), repr(SECRET), SECRET.hex(), SECRET.hex().upper(), os.fsdecode(SECRET)):
        assert shows_secret(f"some text {form} and more")
