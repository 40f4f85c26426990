"""`--chaos` on the commands that have it: words become rules, and what the rules did becomes lines.

`up` is from clients to servers and `down` is back, on every command: what a server receives is up, and what a client
sends.
"""

import argparse
import contextlib
import sys
from collections.abc import AsyncIterator, Callable
from random import Random, SystemRandom
from typing import TYPE_CHECKING, Final, NamedTuple

import trio

from ._arguments import BadInput, number

if TYPE_CHECKING:
    from .._chaos import Conditions, Rule

_EXAMPLE: Final = "drop=5%%,dup=1%%,reorder=2%%:20ms,delay=10ms±3ms,corrupt=0.1%%,burst=gilbert(1%%,30%%)"
"""As argparse wants it, which has its own idea of %."""
_SEED_BITS: Final = 32


class Chaos(NamedTuple):
    """What was asked for."""

    up: "Conditions"
    down: "Conditions"
    seed: int | None

    @property
    def rule_up(self) -> "Rule":
        """The rule for what clients send, from its beginning."""
        return self.up.rule(self.random("up"))

    @property
    def rule_down(self) -> "Rule":
        """The rule for what servers send, from its beginning."""
        return self.down.rule(self.random("down"))

    def random(self, what: str) -> Random:
        """A source of its own for each use, so that the faults of one direction do not move those of the other."""
        return Random(f"{self.seed} {what}")  # noqa: S311 - faults, not secrets


def add_chaos(parser: argparse.ArgumentParser) -> None:
    """Add `--chaos`, `--chaos-up` and `--chaos-down`."""
    for option, where in (("", "each way"), ("-up", "from clients to servers"), ("-down", "from servers to clients")):
        parser.add_argument(
            f"--chaos{option}",
            type=_conditions,
            metavar="FAULTS",
            help=f"put faults on datagrams {where}" + (f", as {_EXAMPLE}" if not option else ", instead of those"),
        )


def add_seed(parser: argparse.ArgumentParser, what: str) -> None:
    """Add `--seed`."""
    parser.add_argument("--seed", type=number(int, 0), metavar="N", help=f"make {what} repeatable")


def _conditions(text: str) -> "Conditions":
    from .._chaos import Conditions

    try:
        conditions = Conditions.parse(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from None
    if "queue" in text and conditions.bandwidth is None:
        raise argparse.ArgumentTypeError(f"expected a rate with queue, as nothing waits without one, got {text!r}")
    return conditions


def _forgeries(arguments: argparse.Namespace) -> str:
    """As the options say it."""
    from .._words import write_share

    forged = {name.replace("_", "-"): share for name, share in _shares(arguments).items() if share and name != "drop"}
    return "".join(f", {name} {write_share(share)}" for name, share in forged.items())


def chaos_of(arguments: argparse.Namespace) -> Chaos:
    """What was asked for; a perfect network, where nothing was."""
    from .._chaos import Conditions

    both = arguments.chaos or Conditions()
    up, down = (both if one is None else one for one in (arguments.chaos_up, arguments.chaos_down))
    return Chaos(up, down, arguments.seed)


def is_asked_for(arguments: argparse.Namespace) -> bool:
    """Whether anything is to be left to chance."""
    shares = _shares(arguments)
    return any((arguments.chaos, arguments.chaos_up, arguments.chaos_down, shares["forge"], shares["forge_icmp"]))


def _shares(arguments: argparse.Namespace) -> dict[str, float | None]:
    """Of the commands that have more than `--chaos`; None where nothing was said, which is not the same as 0."""
    return {name: getattr(arguments, name, None) for name in ("drop", "forge", "forge_icmp")}


def _check_seed(arguments: argparse.Namespace) -> None:
    """`BadInput` for a seed where nothing is left to chance. A share of 0 is something: one of several to be tried."""
    said = (arguments.chaos, arguments.chaos_up, arguments.chaos_down, *_shares(arguments).values())
    if arguments.seed is not None and all(one is None for one in said):
        wanted = [f"--{name.replace('_', '-')}" for name in _shares(arguments) if hasattr(arguments, name)]
        raise BadInput(f"argument --seed: expected {' or '.join(['--chaos', *wanted])} with it, got neither")


def announce(arguments: argparse.Namespace, say: Callable[[str], None] | None = None) -> None:
    """If there are to be faults, draw a seed unless one was given, and say which faults, and how to have them again, on
    standard error or by `say`. `BadInput` for a seed that would decide nothing."""
    _check_seed(arguments)
    if is_asked_for(arguments):
        if arguments.seed is None:
            arguments.seed = SystemRandom().getrandbits(_SEED_BITS)
        up, down, seed = chaos_of(arguments)
        (say or _say)(f"chaos: up {_words(up)}, down {_words(down)}{_forgeries(arguments)}, seed {seed}")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _words(conditions: "Conditions") -> str:
    return str(conditions) or "none"


@contextlib.asynccontextmanager
async def faults_on_sockets(
    arguments: argparse.Namespace, *, sending: str, say: Callable[[str], None]
) -> AsyncIterator[None]:
    """If that is asked for, sockets made in the block have the faults, and at its end there are lines about them.

    Args:
        arguments: the command's.
        sending: whether what these sockets send goes `up` or `down`.
        say: prints a line.
    """
    if not is_asked_for(arguments):
        yield
        return
    from .._faulty import faulty_sockets

    chaos = chaos_of(arguments)
    rules = {"sending": [chaos.rule_up], "receiving": [chaos.rule_down]}
    if sending == "down":
        rules = {"sending": [chaos.rule_down], "receiving": [chaos.rule_up]}
    async with trio.open_nursery() as nursery:
        with faulty_sockets(nursery, sending=rules["sending"], receiving=rules["receiving"]) as made:
            yield
        nursery.cancel_scope.cancel()
    sent, received = made.sending, made.receiving
    up, down = (sent, received) if sending == "up" else (received, sent)
    for line in [*up.lines("up"), *down.lines("down")]:
        say(line)
