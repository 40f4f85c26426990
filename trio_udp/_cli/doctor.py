"""`doctor`: what this machine can do for UDP, and what to do about the rest."""

import argparse
import dataclasses
import json

import trio

from ..measure import Finding, examine, finding_line
from ._arguments import SubParsers


def add_to(commands: SubParsers) -> None:
    """Describe the sub-command to argparse."""
    parser = commands.add_parser(
        "doctor",
        help="say what this machine can do",
        description="Try what this machine can do for UDP, over loopback only, and say what that means.",
    )
    parser.add_argument("--json", action="store_true", help="a JSON object a line instead")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """0, whatever is found: it is no examination that one can fail."""
    findings = trio.run(examine)
    print("\n".join(map(_as_json if arguments.json else finding_line, findings)), flush=True)
    return 0


def _as_json(finding: Finding) -> str:
    return json.dumps(dataclasses.asdict(finding))
