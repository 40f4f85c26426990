"""The command: one module for each sub-command, thin layers over the public API.

Whatever the user or the system got wrong is one line on stderr and exit code 2; a traceback is a bug.
"""

import argparse
import io
import os
import signal
import sys
from collections.abc import Sequence

from .._version import __version__
from . import ask, compare, completion, doctor, keygen, man, ping, relay, report, serve, sim
from ._arguments import BadInput, OneLineParser, first_of

_PROGRAM = "trio_udp"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one sub-command; returns its exit code."""
    arguments = _parser().parse_args(argv)
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


def _parser(program: str = _PROGRAM) -> argparse.ArgumentParser:
    parser = OneLineParser(prog=program, description="Ask over UDP, and believe only the answer.")
    parser.add_argument("--version", action="version", version=f"{_PROGRAM} {__version__}")
    parser.set_defaults(describe=_parser)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", title="commands")
    for module in (serve, ping, report, compare, ask, keygen, sim, relay, doctor, completion, man):
        module.add_to(commands)
    return parser
