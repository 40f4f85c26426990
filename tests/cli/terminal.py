"""Run the command on a pseudo-terminal, as people do."""

import codecs
import fcntl
import os
import pty
import signal
import struct
import subprocess
import termios
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio

from .command import MODULE

ROWS, COLUMNS = 40, 100


class Terminal:
    """A command, and what the terminal has received of it."""

    def __init__(self, process: trio.Process, master: int) -> None:
        self.process = process
        self.received = ""
        self._master = master
        self._is_closed = False
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    async def until(self, is_there: Callable[[str], bool]) -> None:
        """Read on until what was received is as wanted."""
        while not is_there(self.received):
            assert await self._read(), f"ended before that, with\n{self.received}"

    async def end(self) -> int:
        """Read all that is left; returns the exit code."""
        while await self._read():
            pass
        return await self.process.wait()

    def hang_up(self) -> None:
        """Let the terminal go, of which the kernel tells whoever leads the session."""
        self.close()
        self.process.send_signal(signal.SIGHUP)

    def close(self) -> None:
        """Close our end, unless that has been done."""
        if not self._is_closed:
            os.close(self._master)
        self._is_closed = True

    async def _read(self) -> bool:
        await trio.lowlevel.wait_readable(self._master)
        try:
            chunk = os.read(self._master, 65_536)
        except OSError:  # Linux's way of saying that the other end was closed
            return False
        self.received += self._decoder.decode(chunk)
        return bool(chunk)


@asynccontextmanager
async def on_terminal(*arguments: str, stdout: int | None = None, **environment: str) -> AsyncIterator[Terminal]:
    """Start it with all its streams on a terminal, unless standard output goes elsewhere; it is killed in the end."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    settings = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "FORCE_COLOR", "COLUMNS"}}
    process = await trio.lowlevel.open_process(
        arguments if arguments[0].startswith("/") else [*MODULE, *arguments],
        stdin=slave,
        stdout=slave if stdout is None else stdout,
        stderr=slave,
        env=settings | {"TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8"} | environment,
    )
    os.close(slave)
    terminal = Terminal(process, master)
    try:
        yield terminal
    finally:
        if process.returncode is None:
            process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
        terminal.close()


NOWHERE = subprocess.DEVNULL
