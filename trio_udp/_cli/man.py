"""`man`: the manual page, made from the parser itself by argparse-manpage."""

import argparse

from ._arguments import SubParsers, missed_politely


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
    parser = arguments.describe("trio-udp")
    parser.man_short_description = parser.description
    print(manpage.Manpage(parser), flush=True)
    return 0
