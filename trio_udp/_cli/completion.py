"""`completion`: what a shell needs to complete the command, written by shtab from the parser itself."""

import argparse

from ._arguments import SubParsers, missed_politely


def add_to(commands: SubParsers) -> None:
    """Describe the sub-command to argparse."""
    parser = commands.add_parser(
        "completion",
        help="print a shell's completion",
        description="Print what a shell needs to complete `trio-udp`. For bash: "
        "trio-udp completion bash > ~/.local/share/bash-completion/completions/trio-udp",
    )
    parser.add_argument("shell", choices=("bash", "zsh"), help="the shell")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print it."""
    with missed_politely("shell"):
        import shtab
    parser = arguments.describe("trio-udp")  # what is typed; nothing completes `python -m trio_udp`
    print(shtab.complete(parser, arguments.shell), flush=True)
    return 0
