"""The sub-commands by name, each imported when it is wanted: who asks does not pay for what measures, plots or relays.

Measured, processor time until the arguments are read: `ask` 230 ms, and 339 with all of them imported; Trio alone 140.
"""

from collections.abc import Callable
from typing import Final

from ._arguments import SubParsers


def _serve(commands: SubParsers) -> None:
    from . import serve

    serve.add_to(commands)


def _ping(commands: SubParsers) -> None:
    from . import ping

    ping.add_to(commands)


def _report(commands: SubParsers) -> None:
    from . import report

    report.add_to(commands)


def _compare(commands: SubParsers) -> None:
    from . import compare

    compare.add_to(commands)


def _ask(commands: SubParsers) -> None:
    from . import ask

    ask.add_to(commands)


def _keygen(commands: SubParsers) -> None:
    from . import keygen

    keygen.add_to(commands)


def _sim(commands: SubParsers) -> None:
    from . import sim

    sim.add_to(commands)


def _relay(commands: SubParsers) -> None:
    from . import relay

    relay.add_to(commands)


def _doctor(commands: SubParsers) -> None:
    from . import doctor

    doctor.add_to(commands)


def _completion(commands: SubParsers) -> None:
    from . import completion

    completion.add_to(commands)


def _man(commands: SubParsers) -> None:
    from . import man

    man.add_to(commands)


COMMANDS: Final[dict[str, Callable[[SubParsers], None]]] = {
    "serve": _serve,
    "ping": _ping,
    "report": _report,
    "compare": _compare,
    "ask": _ask,
    "keygen": _keygen,
    "sim": _sim,
    "relay": _relay,
    "doctor": _doctor,
    "completion": _completion,
    "man": _man,
}
"""What describes each to argparse, in the order in which `--help` lists them."""
