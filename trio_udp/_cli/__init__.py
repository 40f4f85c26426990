"""The command: one module for each sub-command, thin layers over the public API.

Whatever the user or the system got wrong is one line on stderr and exit code 2; a traceback is a bug. What only some
options need, ours or an extra, is imported by the function that needs it: nobody waits for what he has not asked for.
"""

import argparse
import io
import os
import signal
import sys
from collections.abc import Iterable, Sequence

from .._version import __version__
from ._arguments import BadInput, OneLineParser, first_of
from ._commands import COMMANDS

_PROGRAM = "trio_udp"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one sub-command; returns its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    wanted = argv[:1] if argv and argv[0] in COMMANDS else COMMANDS
    arguments = _parser(wanted=wanted).parse_args(argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a stranger's text may not fit the terminal's encoding
    code = 0
    try:
        code = arguments.run(arguments)
    except* BadInput as group:
        print(f"{_PROGRAM} {arguments.command}: {first_of(group)}", file=sys.stderr)
        code = 2
    except* KeyboardInterrupt:
        code = 128 + signal.SIGINT
    except* BrokenPipeError:
        # Whoever read our output has gone. Leave nothing for the interpreter to flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 128 + signal.SIGPIPE
    except* OSError as group:  # a full disk, say, where our output goes
        print(f"{_PROGRAM} {arguments.command}: {first_of(group)}", file=sys.stderr)
        code = 2
    return code


def _parser(program: str = _PROGRAM, wanted: Iterable[str] = COMMANDS) -> argparse.ArgumentParser:
    parser = OneLineParser(prog=program, description="Ask over UDP, and believe only the answer.")
    parser.add_argument("--version", action="version", version=f"{_PROGRAM} {__version__}")
    parser.set_defaults(describe=_parser)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", title="commands")
    for name in wanted:
        COMMANDS[name](commands)
    return parser
