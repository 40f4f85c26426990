"""`^C` while the command is still being imported: it ends as at any other time, with 130 and without a traceback.

The package is imported before its `__main__` is, and Trio with it, which takes longest. So this module comes first, and
does something only in a process that is the command: a program that uses the library keeps what it does with signals.
Before our first line, while Python itself starts, nothing of ours can help.
"""

import os
import signal
import sys
from typing import Final

_CODE: Final = 128 + signal.SIGINT
_SCRIPT: Final = "trio-udp"


def is_command() -> bool:
    """Whether this process has been started to run the command, and is importing it."""
    program = sys.argv[0] if sys.argv else ""
    if program != "-m":
        return os.path.basename(program) == _SCRIPT
    # So it is until the module is found, whose name stands before all that is behind it: `-m trio_udp`, `-mtrio_udp`
    before = sys.orig_argv[: len(sys.orig_argv) - len(sys.argv) + 1]
    return before[-1].rpartition("-m")[2] == __package__


def end_at_once() -> None:
    """From here on `^C` ends the process, unless somebody has decided otherwise: `nohup`, or a shell for a job in its
    background."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def raise_again() -> None:
    """From here on it is a `KeyboardInterrupt` again."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(_number: int, _frame: object) -> None:
    os._exit(_CODE)
