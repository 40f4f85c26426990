"""Run the command as its users do, in a process of its own; or in this one, where that makes no difference."""

import io
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path

import trio

from trio_udp._cli import main

MODULE = [sys.executable, "-m", "trio_udp"]


async def run_command(*arguments: str) -> tuple[int, list[str], list[str]]:
    """Exit code, lines of stdout, lines of stderr."""
    done = await trio.run_process([*MODULE, *arguments], capture_stdout=True, capture_stderr=True, check=False)
    return done.returncode, done.stdout.decode().splitlines(), done.stderr.decode().splitlines()


def run_here(*arguments: str) -> tuple[int, list[str], list[str]]:
    """The same without a process, most of whose time goes into its start: for all but signals, streams that somebody
    closes, `logging`, and what is imported. Not from a task, because the command runs Trio itself."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    with redirect_stdout(out), redirect_stderr(err):
        code = _code_of(arguments)
    return code, _lines_of(out), _lines_of(err)


def _code_of(arguments: Sequence[str]) -> int:
    try:
        return main(arguments)
    except SystemExit as ended:  # argparse has something to say
        return int(ended.code or 0)


def _lines_of(stream: io.TextIOWrapper) -> list[str]:
    stream.seek(0)
    return stream.read().splitlines()


class Running:
    """A command that has not ended yet."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self._lines = self._read()
        self._printed: list[str] = []

    async def _read(self) -> AsyncGenerator[str, None]:
        assert self.process.stdout is not None
        rest = b""
        async for chunk in self.process.stdout:
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                yield line.decode()
        if rest:
            yield rest.decode()

    async def line(self) -> str:
        """The next line of stdout. `EOFError`, with those before it, when there is none."""
        async for line in self._lines:
            self._printed.append(line)
            return line
        raise EOFError(f"it has ended, and had printed {self._printed}")

    async def rest(self) -> list[str]:
        """All further lines, until the command ends."""
        return [line async for line in self._lines]

    async def aclose(self) -> None:
        """Read no more."""
        await self._lines.aclose()

    async def end(self) -> int:
        """Wait for the exit code."""
        return await self.process.wait()

    def interrupt(self) -> None:
        """Press ^C."""
        self.process.send_signal(signal.SIGINT)


@asynccontextmanager
async def running(*arguments: str, program: Sequence[str] = MODULE) -> AsyncIterator[Running]:
    """Start the command; it is killed at the end of the block if it still runs."""
    process = await trio.lowlevel.open_process([*program, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    running_one = Running(process)
    try:
        yield running_one
    finally:
        if process.returncode is None:
            process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
        assert process.stdout is not None
        await running_one.aclose()
        await process.stdout.aclose()


@asynccontextmanager
async def serving(*arguments: str) -> AsyncIterator[tuple[Running, str]]:
    """`serve` on a free port of 127.0.0.1, and that port."""
    async with running("serve", "127.0.0.1", "-p", "0", *arguments) as server:
        line = await server.line()
        while not line.startswith("listening on 127.0.0.1:"):
            line = await server.line()
        yield server, line.rpartition(":")[2]


def children(pid: int) -> dict[int, str]:
    """The state of each child that this process has now, by its process id."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has just ended
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
            if int(parent) == pid:
                found[int(path.parent.name)] = state
    return found
