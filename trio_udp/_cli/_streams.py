"""Standard streams that are closed, full, or that nobody reads: each a plain exit code, whenever it is noticed.

What must hold: no socket takes the number of a closed stream, where lines would go into it; a line for people never
lands among those for programs; and nothing is left in a buffer on which the interpreter fails at its exit.
"""

import contextlib
import errno
import os
import sys
from typing import Final

_MODES: Final = {"stdin": "r", "stdout": "w", "stderr": "w"}
"""In the order of their descriptors: each opened takes the lowest that is free."""
_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""What only writing ends in."""


def open_missing_streams() -> None:
    """A stream that was closed when the program started is one that leads nowhere; `print` would take another one."""
    for name, mode in _MODES.items():
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - for as long as we run


def complain(line: str) -> None:
    """Say on standard error what went wrong, if that is possible."""
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr, flush=True)


def why_it_failed(exc: OSError) -> str:
    """What the system has refused: for a disk that is full, that of our output, as files are named where they fail."""
    if exc.errno in _NO_ROOM:
        return f"cannot write to standard output: {exc.strerror}"
    return str(exc)


def let_go_of_output() -> None:
    """Write what waits in the buffers, or throw it away where that fails."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
