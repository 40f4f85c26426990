"""`ask`: as a process."""

import os
import re
import socket

import trio

from .command import MODULE, run_command, running, serving


async def test_ask_prints_the_reply_and_nothing_else() -> None:
    """Stdout is the reply."""
    async with serving() as (_, port):
        assert await run_command("ask", "localhost", "hello", "-p", port) == (0, ["hello"], [])


async def test_verbose_shows_each_attempt_and_what_is_known_of_the_reply() -> None:
    """On stderr, so that stdout stays the reply."""
    async with serving() as (_, port):
        code, out, err = await run_command("ask", "127.0.0.1", "hello", "-v", "-p", port)
    assert (code, out) == (0, ["hello"])
    assert re.fullmatch(r"asking from port \d+, profile tu1, verified: strong", err[0])
    assert re.fullmatch(r"0\.\d{3} s: attempt 1 to 127\.0\.0\.1 port \d+, waiting up to 1\.\d{3} s", err[1])
    assert re.fullmatch(r"reply from 127\.0\.0\.1:\d+ in [\d.]+ ms, attempts: 1, authenticated: false", err[2])


async def test_book_profile_sends_on_the_books_schedule_and_gives_up_with_one_line() -> None:
    """0.1 s doubling while at most 2 s; exit code 1; the weak profile says what it is."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        port = str(silent.getsockname()[1])
        code, out, err = await run_command("ask", "127.0.0.1", "hello", "-v", "--profile", "book", "-p", port)
    assert (code, out) == (1, [])
    waits = [line.rpartition("up to ")[2] for line in err[1:6]]
    assert waits == ["0.100 s", "0.200 s", "0.400 s", "0.800 s", "1.600 s"]
    assert re.fullmatch(r"trio_udp ask: no reply from 127\.0\.0\.1:\d+ after 5 attempts in 3\.\d s", err[6])
    assert len(err) == 7


async def test_ask_counts_what_it_did_not_believe() -> None:
    """The book's demonstration: `FAKE` from another socket, and then the real answer."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger,
    ):
        server.bind(("127.0.0.1", 0))
        port = str(server.getsockname()[1])
        async with running("ask", "127.0.0.1", "hello", "--profile", "book", "-p", port) as process:
            await trio.lowlevel.wait_readable(server)
            _, client = server.recvfrom(100)
            stranger.sendto(b"FAKE", client)
            server.sendto(b"the real answer", client)
            assert await process.rest() == ["the real answer", "dropped: 1 wrong_peer"]
            assert await process.end() == 0


async def test_interrupt_ends_ask_without_a_traceback() -> None:
    """`^C` while nothing answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        async with running("ask", "127.0.0.1", "hello", "-p", str(silent.getsockname()[1])) as process:
            await trio.lowlevel.wait_readable(silent)
            process.interrupt()
            assert await process.rest() == []
            assert await process.end() == 130


async def test_a_reader_that_has_gone_ends_ping_without_a_traceback() -> None:
    """`ping | head -1`."""
    command = " ".join(MODULE) + " ping -i 0.01 | head -n 1"
    done = await trio.run_process(["sh", "-c", command], capture_stdout=True, capture_stderr=True)
    assert done.stdout.count(b"\n") == 1
    assert done.stderr == b""


async def test_a_reply_the_terminal_cannot_show_is_escaped() -> None:
    """A stranger's text is no reason for a traceback, whatever the terminal's encoding."""
    async with serving() as (_, port):
        done = await trio.run_process(
            [*MODULE, "ask", "127.0.0.1", "é日", "-p", port],
            capture_stdout=True,
            capture_stderr=True,
            env={**os.environ, "PYTHONIOENCODING": "ascii"},
        )
    assert (done.stdout, done.stderr) == (b"\\xe9\\u65e5\n", b"")


async def test_a_full_disk_is_one_line() -> None:
    """It is not the server's fault, and no traceback."""
    async with serving() as (_, port):
        for command in (f"ask 127.0.0.1 hello -p {port}", f"ping -c 1 127.0.0.1 -p {port}"):
            shell = f"{' '.join(MODULE)} {command} > /dev/full"
            done = await trio.run_process(["sh", "-c", shell], capture_stderr=True, check=False)
            assert b"No space left on device" in done.stderr
            assert b"Traceback" not in done.stderr
