"""`sim`: one world from one seed, and the verdict on it.

Only here does anything outside the test kit import it, and only when the command runs: docs/decisions/0015 says why.
"""

import argparse
import sys
import traceback
from typing import TYPE_CHECKING, Final

from .._layout import counted
from ._arguments import SubParsers, number

if TYPE_CHECKING:
    from ..testing import WorldReport

_MINUTE: Final = 60.0
_SHOWN: Final = 5
"""Violations printed; the others are counted."""


def add_to(commands: SubParsers) -> None:
    """Describe the sub-command to argparse."""
    parser = commands.add_parser(
        "sim",
        help="simulate clients and servers on a network that lies",
        description="Simulate one world, drawn from a seed, in virtual time. Exit code 1 if a promise was broken.",
    )
    add = parser.add_argument
    add("--seed", type=number(int, 0), required=True, metavar="N", help="decides everything that is left to chance")
    add(
        "--minutes",
        type=number(float, 0.1, 1440),
        default=10.0,
        metavar="M",
        help="of virtual time (default: %(default)g)",
    )
    add("--clients", type=number(int, 1, 10_000), default=50, metavar="N", help="default: %(default)s")
    add("--loss", type=number(float, 0, 1), metavar="FRACTION", help="lose this share each way; drawn by default")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """0 if all that must hold held, 1 if not."""
    from ..testing import run_world  # the other commands do not pay for it

    seed, clients = arguments.seed, arguments.clients
    try:
        found = run_world(seed, clients=clients, seconds=_MINUTE * arguments.minutes, loss=arguments.loss)
    except Exception:  # whatever it was, no seed may lead to it
        traceback.print_exc()
        print(f"repeat it: {_command(arguments)}", file=sys.stderr, flush=True)
        return 1
    print("\n".join(lines(found, arguments)), flush=True)
    return int(found.violations > 0)


def lines(found: "WorldReport", arguments: argparse.Namespace) -> list[str]:
    """The lines of the verdict."""
    plan = found.plan
    verdict = [
        f"seed {arguments.seed}, {arguments.minutes:g} min: clients {plan.clients}, servers {plan.servers}, "
        f"partitions {len(plan.partitions)}, crashes {len(plan.crashes)}, NAT rebindings {len(plan.rebindings)}",
        f"network: {plan.conditions!r}",
        f"requests {found.requests}: replies {found.replies}, given up {found.given_up}, "
        f"cancelled {found.cancelled}, wrong answers {found.wrong}",
        f"packets {found.packets}, {found.forged} of them forged",
        f"dropped: {counted(dict(sorted(found.dropped.items())))}",
        *(f"violation: {what}" for what in found.said[:_SHOWN]),
        f"violations {found.violations}",
    ]
    if found.violations:
        verdict.append(f"repeat it: {_command(arguments)}")
    return [*verdict, f"digest {found.digest}"]


def _command(arguments: argparse.Namespace) -> str:
    loss = "" if arguments.loss is None else f" --loss {arguments.loss}"
    minutes = f"{arguments.minutes:g}"
    return f"python -m trio_udp sim --seed {arguments.seed} --minutes {minutes} --clients {arguments.clients}{loss}"
