"""`man`: the manual page, made from the parser itself by argparse-manpage."""

import argparse
import os
from typing import Final

from ._arguments import SubParsers, missed_politely

_ONE_LINE: Final = "100000"
"""Columns for argparse: `man` breaks the usage where it has to, and not a second time where a line of ours ends."""


def add_to(commands: SubParsers) -> None:
    """Describe the sub-command to argparse."""
    parser = commands.add_parser(
        "man",
        help="print the manual page",
        description="Print the manual page. To read it: trio-udp man | man -l - ; to keep it: "
        "trio-udp man > ~/.local/share/man/man1/trio-udp.1",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print it."""
    with missed_politely("shell"):
        from argparse_manpage import manpage
    os.environ["COLUMNS"] = _ONE_LINE
    parser = arguments.describe("trio-udp")
    parser.man_short_description = parser.description
    page = manpage.Manpage(parser)
    page.manual = "User Commands"
    print(page, flush=True)
    return 0
