"""Standard streams that are closed, full, or that nobody reads."""

import os
import sys
from pathlib import Path

import pytest
import trio

from trio_udp._cli import _streams

from .command import MODULE

BUFFERED = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
"""As users have it: what does not fit on a disk is noticed late."""

GOOD = [
    "--help",
    "ping --help",
    "doctor --json",
    "keygen FILE",
    "ping -c 1",
    "ping --json -c 1",
    "ping --json-schema",
    "relay 127.0.0.1:0 127.0.0.1:9 -w 0.01",
]
BAD = ["nonsense", "serve 127.0.0.1 -p x", "relay :0 :9", "ping nowhere.invalid -c 1 -w 0.1 --plot x.jpeg"]

needs_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")


async def redirected(command: str, redirection: str, file: Path | str = "") -> tuple[int, str, str]:
    """Exit code, stdout and stderr of the command with this redirection of a shell."""
    shell = f"{' '.join(MODULE)} {command.replace('FILE', str(file))} {redirection}"
    done = await trio.run_process(
        ["sh", "-c", shell], capture_stdout=True, capture_stderr=True, check=False, env=BUFFERED
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@needs_full
@pytest.mark.parametrize("command", GOOD)
async def test_a_full_disk_is_one_line_and_exit_code_2(command: str, tmp_path: Path) -> None:
    """Also if it is noticed only at the end, when the buffer is written."""
    code, _, err = await redirected(command, "> /dev/full", tmp_path / "keys")
    name = "trio_udp" if command.startswith("-") else f"trio_udp {command.split(maxsplit=1)[0]}"
    assert (code, err) == (2, f"{name}: cannot write to standard output: No space left on device\n")


@needs_full
@pytest.mark.parametrize("command", BAD)
async def test_what_is_wrong_has_its_exit_code_where_it_cannot_be_said(command: str) -> None:
    """A traceback about the line that would have said it helps nobody."""
    assert await redirected(command, "2> /dev/full") == (2, "", "")


@pytest.mark.parametrize("command", GOOD)
async def test_closed_streams_keep_nothing_from_being_done(command: str, tmp_path: Path) -> None:
    """Nobody wants to hear of it, and that is all."""
    assert await redirected(command, "<&- >&- 2>&-", tmp_path / "keys") == (0, "", "")


@pytest.mark.parametrize("command", BAD)
async def test_what_is_for_standard_error_goes_nowhere_else_where_that_is_closed(command: str) -> None:
    """A program that reads standard output would take it for a result."""
    assert await redirected(command, "2>&-") == (2, "", "")


async def test_a_reader_that_has_gone_is_exit_code_141_for_every_command() -> None:
    """128 and the number of the signal that ends other programs then."""
    for command in ("--help", "doctor", "ping -c 1"):
        gone, output = os.pipe()
        os.close(gone)
        done = await trio.run_process(
            [*MODULE, *command.split()], stdout=output, capture_stderr=True, check=False, env=BUFFERED
        )
        os.close(output)
        assert (done.returncode, done.stderr) == (141, b"")


def test_a_stream_that_is_there_is_left_alone() -> None:
    """Ours are opened in place of missing ones only."""
    before = sys.stdin, sys.stdout, sys.stderr
    _streams.open_missing_streams()
    assert (sys.stdin, sys.stdout, sys.stderr) == before
