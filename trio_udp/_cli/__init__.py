"""The command: one module for each sub-command, thin layers over the public API.

Whatever the user or the system got wrong is one line on stderr and exit code 2; a traceback is a bug. What only some
options need, ours or an extra, is imported by the function that needs it: nobody waits for what he has not asked for.
"""

import argparse
import io
import signal
import sys
from collections.abc import Iterable, Sequence

from .. import __version__
from .._interrupt import raise_again
from ._arguments import BadInput, OneLineParser, first_of
from ._commands import COMMANDS
from ._signals import as_they_were
from ._streams import complain, let_go_of_output, open_missing_streams, why_it_failed

_PROGRAM = "trio_udp"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one sub-command; returns its exit code."""
    with as_they_were():
        return main_until_exit(argv)


def main_until_exit(argv: Sequence[str] | None = None) -> int:
    """The same in a process that ends with it: once it was told to stop, no signal changes what it ends with."""
    open_missing_streams()
    try:
        return _run(sys.argv[1:] if argv is None else argv)
    finally:
        let_go_of_output()


def _run(argv: Sequence[str]) -> int:
    wanted = argv[:1] if argv and argv[0] in COMMANDS else COMMANDS
    name = " ".join([_PROGRAM, *wanted]) if len(wanted) == 1 else _PROGRAM
    code = 0
    try:
        raise_again()
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                # A stranger's text may not fit the terminal's encoding, nor do all of our signs.
                stream.reconfigure(errors="backslashreplace")
        arguments = _parsed(argv, wanted)
        code = arguments.run(arguments)
        sys.stdout.flush()
    except* BadInput as group:
        complain(f"{name}: {first_of(group)}")
        code = 2
    except* KeyboardInterrupt:
        code = 128 + signal.SIGINT
    except* BrokenPipeError:  # whoever read our output has gone
        code = 128 + signal.SIGPIPE
    except* OSError as group:  # a full disk, say, where our output goes
        why = first_of(group)
        complain(f"{name}: {why_it_failed(why) if isinstance(why, OSError) else why}")
        code = 2
    return code


def _parsed(argv: Sequence[str], wanted: Iterable[str]) -> argparse.Namespace:
    """The arguments. `--help` and `--version` end here, and what they print has to get out as well."""
    try:
        arguments, rest = _parser(wanted=wanted).parse_known_args(argv)
    finally:
        sys.stdout.flush()
    # argparse takes hosts from one place only: those before an option, and none behind it as well.
    hosts: list[str] | None = getattr(arguments, "hosts", None)
    if rest and (hosts is None or any(word.startswith("-") for word in rest)):
        raise BadInput(f"unrecognized arguments: {' '.join(rest)} (see --help)")
    if hosts is not None:
        hosts += rest
    return arguments


def _parser(program: str = _PROGRAM, wanted: Iterable[str] = COMMANDS) -> argparse.ArgumentParser:
    parser = OneLineParser(prog=program, description="Ask over UDP, and believe only the answer.")
    parser.add_argument("--version", action="version", version=f"{_PROGRAM} {__version__}")
    parser.set_defaults(describe=_parser)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", title="commands")
    for name in wanted:
        COMMANDS[name](commands)
    return parser
