"""`relay`: stand between any client and any server, do harm, and write down which."""

import argparse
import functools
import inspect
import json
import math
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TextIO

import trio

from .. import resolve
from .._direction import Passage
from .._forging import UNREACHABLE, Forge, forge_at_random
from .._net._icmp import RawSocketForbidden
from .._relay import Relay, relay
from .._words import read_share
from ._arguments import BadInput, SubParsers, add_family, explain, number, seconds_in, writing_to
from ._chaos import Chaos, add_chaos, add_seed, announce, chaos_of
from ._signals import cancel_at_next_signal, stopping_signals

_USUAL: Final = inspect.signature(relay).parameters
"""Says what options are unless given."""

Place = tuple[str, int]


def add_to(commands: SubParsers) -> None:
    """Describe the sub-command to argparse."""
    parser = commands.add_parser(
        "relay",
        help="pass datagrams on, with faults, and write down the truth",
        description="Pass datagrams of any UDP protocol between clients and a server, with faults on purpose.",
    )
    add = parser.add_argument
    add("listen", type=_place, metavar="LISTEN", help="where clients send to: HOST:PORT, [ADDRESS]:PORT, or :PORT")
    add("upstream", type=_place, metavar="UPSTREAM", help="the server: HOST:PORT or [ADDRESS]:PORT")
    add_chaos(parser)
    add("--forge", type=_share, metavar="SHARE", help="forge a reply before this share of the requests")
    icmp = 'forge an ICMP "unreachable" about this share of them; takes root or CAP_NET_RAW'
    add("--forge-icmp", type=_share, metavar="SHARE", help=icmp)
    add_seed(parser, "all of that")
    add("--json", metavar="FILE", help="write what became of each datagram, a JSON object a line; - is standard output")
    add("-c", "--count", type=number(int, 1), default=math.inf, metavar="N", help="stop after N datagrams, up and down")
    seconds = functools.partial(number, seconds_in, unit=" of seconds")
    add("-w", "--duration", type=seconds(0.001), default=math.inf, metavar="SECONDS", help="stop after this long")
    flows = "clients at a time (default: %(default)s)"
    add("--flows", type=number(int, 1), default=_USUAL["max_flows"].default, metavar="N", help=flows)
    idle = "forget a client after this long without a datagram (default: %(default)g)"
    add("--idle", type=seconds(0.001, 86_400), default=_USUAL["idle"].default, metavar="SECONDS", help=idle)
    add_family(parser)
    parser.set_defaults(run=run)


def _place(text: str) -> Place:
    found = re.fullmatch(r"(?:\[([^\[\]]+)\]|([^:]*)):(\d{1,5})", text, re.ASCII)
    if found is None or int(found[3]) > 65_535:
        raise argparse.ArgumentTypeError(f"expected HOST:PORT, as 127.0.0.1:1060 or [::1]:1060, got {text!r}")
    return found[1] or found[2], int(found[3])


def _share(text: str) -> float:
    try:
        return read_share(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from None


def run(arguments: argparse.Namespace) -> int:
    """Relay until told to stop, or until enough was relayed."""
    host, port = arguments.upstream
    if not host or not port:
        raise BadInput(f"expected an upstream with a host and a port from 1, got '{host}:{port}'")
    announce(arguments)
    chaos = chaos_of(arguments)
    with _opened(arguments.json) as file:
        trio.run(_relay, arguments, chaos, file)
    return 0


@contextmanager
def _opened(path: str | None) -> Iterator[TextIO | None]:
    """The file for the truth, if there is to be one."""
    if path is None or path == "-":
        yield None if path is None else sys.stdout
        return
    with writing_to(path):
        file = Path(path).open("w", encoding="utf-8")  # noqa: SIM115 - closed below, where other things go wrong as well
    try:
        yield file
    finally:
        with writing_to(path):  # what did not fit on a disk still does not
            file.close()


class _Truth:
    """Writes what becomes of each datagram, and says when there were enough."""

    def __init__(self, file: TextIO | None, most: float, scope: trio.CancelScope) -> None:
        self._file = file
        self._most = most
        self._scope = scope
        self._began = trio.current_time()
        self._count = 0

    def start(self, running: Relay, chaos: Chaos, *, forge: float, forge_icmp: float) -> None:
        """The first line."""
        self._began = trio.current_time()
        up, down = str(chaos.up), str(chaos.down)
        self._write(
            running.as_json(time.time_ns(), up=up, down=down, forge=forge, forge_icmp=forge_icmp, seed=chaos.seed)
        )

    def passage(self, passage: Passage) -> None:
        """A line for a datagram."""
        self._write(passage.as_json(self._began))
        self._count += not passage.forged
        if self._count >= self._most:
            self._scope.cancel()

    def end(self, running: Relay) -> None:
        """The last line."""
        self._write(running.statistics().as_json(trio.current_time() - self._began))

    def _write(self, event: dict[str, object]) -> None:
        if self._file is not None:
            print(json.dumps(event), file=self._file, flush=True)


async def _relay(arguments: argparse.Namespace, chaos: Chaos, file: TextIO | None) -> None:
    async with trio.open_nursery() as nursery:
        truth = _Truth(file, arguments.count, nursery.cancel_scope)
        running = await _start(nursery, arguments, chaos, truth)
        with stopping_signals(hangup=True) as signals:
            if arguments.json != "-":
                for address in running.addresses:
                    print(f"relaying from {address} to {running.upstream}", flush=True)
            truth.start(running, chaos, forge=arguments.forge or 0.0, forge_icmp=arguments.forge_icmp or 0.0)
            nursery.cancel_scope.deadline = trio.current_time() + arguments.duration
            await cancel_at_next_signal(signals, nursery.cancel_scope)
    truth.end(running)
    if arguments.json != "-":
        found = running.statistics()
        print("\n".join(["", *found.up.lines("up"), *found.down.lines("down")]), flush=True)


async def _start(nursery: trio.Nursery, arguments: argparse.Namespace, chaos: Chaos, truth: _Truth) -> Relay:
    start = functools.partial(
        relay,
        arguments.listen,
        await _resolved(arguments.upstream, arguments),
        up=[chaos.rule_up],
        down=[chaos.rule_down],
        forge=forge_at_random(arguments.forge, chaos.random("forge")) if arguments.forge else None,
        forge_icmp=_forge_icmp(arguments.forge_icmp, chaos),
        random=chaos.random("junk"),
        on_passage=truth.passage,
        family=arguments.family,
        max_flows=arguments.flows,
        idle=arguments.idle,
    )
    host, port = arguments.listen
    try:
        running: Relay = await nursery.start(start)
    except RawSocketForbidden as exc:
        raise BadInput(str(exc.strerror)) from None
    except OSError as exc:
        raise explain(exc, host or "any interface", port) from None
    except ValueError as exc:
        raise BadInput(str(exc)) from None
    return running


def _forge_icmp(share: float | None, chaos: Chaos) -> Forge | None:
    """Only where it is asked for: it takes a privilege."""
    return forge_at_random(share, chaos.random("forge icmp"), UNREACHABLE) if share else None


async def _resolved(place: Place, arguments: argparse.Namespace) -> Place:
    """Looked up here, so that a name that cannot be found is told by its name."""
    try:
        return (await resolve(*place, arguments.family))[0]
    except OSError as exc:
        raise explain(exc, *place) from None
    except ValueError as exc:
        raise BadInput(str(exc)) from None
