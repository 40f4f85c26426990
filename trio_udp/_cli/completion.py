"""`completion`: what a shell needs to complete the command, written by shtab from the parser itself."""

import argparse
from typing import Any, Final

from ._arguments import BadInput, SubParsers, missed_politely

_SHELLS: Final = ("bash", "zsh", "fish", "tcsh")
_FILES: Final = ("FILE", "PICTURE", "A", "B")
"""What arguments are called in the usage whose values are names of files."""


def add_to(commands: SubParsers) -> None:
    """Describe the sub-command to argparse."""
    parser = commands.add_parser(
        "completion",
        help="print a shell's completion",
        description="Print what a shell needs to complete `trio-udp`. For bash: "
        "trio-udp completion bash > ~/.local/share/bash-completion/completions/trio-udp",
    )
    parser.add_argument("shell", choices=_SHELLS, help="the shell")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print it."""
    with missed_politely("shell"):
        import shtab
    if arguments.shell not in shtab.SUPPORTED_SHELLS:
        known = ", ".join(shtab.SUPPORTED_SHELLS)
        raise BadInput(f"expected a shell that the installed shtab knows ({known}), got {arguments.shell!r}")
    parser = arguments.describe("trio-udp")  # what is typed; nothing completes `python -m trio_udp`
    _complete_files(parser, shtab.FILE)
    print(shtab.complete(parser, arguments.shell), flush=True)
    return 0


def _complete_files(parser: argparse.ArgumentParser, how: Any) -> None:
    for action in parser._actions:  # noqa: SLF001 - as shtab itself does; there is no other list of them
        if action.metavar in _FILES:
            action.complete = how  # type: ignore[attr-defined]  # shtab's own attribute
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - the same
            for command in action.choices.values():
                _complete_files(command, how)
