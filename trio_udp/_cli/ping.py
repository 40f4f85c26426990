"""`ping`: one probe an interval, no retransmission, every byte of every reply verified.

A task for each host, which runs a `trio_udp.measure.Prober` and prints its events. `-w` and the first `^C`, SIGTERM
or SIGHUP stop it, so that the server is still asked what it has counted; a second one does not wait for that.
"""

import argparse
import contextlib
import functools
import math
import operator
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final

import trio

from .. import Address, Key
from ..measure import Prober, Summary, open_prober
from ..proto import MAX_PAYLOAD, MAX_SEQUENCE
from ._arguments import (
    PROFILES,
    BadInput,
    SubParsers,
    add_family,
    add_port,
    add_profile,
    explain,
    number,
    seconds_in,
)
from ._chaos import add_chaos, add_seed, announce, faults_on_sockets
from ._figures_out import ping_figures
from ._fingers import add_fingers, explain_interface, socket_options
from ._keys import add_key_file, keys_from
from ._looks import Looks, add_looks
from ._metrics import add_metrics, showing_metrics
from ._objectives import BROKEN, add_objectives
from ._output import add_output, begin_output, is_for_programs, notes_out, open_tap, schema_text
from ._ping_run import DEFAULT_INTERVAL, PingRun, Shared
from ._signals import cancel_at_next_signal, stopping_signals
from ._targets import Target, add_targets, make_room_for, spread, targets_of, told_apart

if TYPE_CHECKING:
    from .. import Request, Server
    from ._following import Following

_LEAST_INTERVAL: Final = 0.0001
_LONGEST_INTERVAL: Final = 86_400.0
_LONGEST_WAIT: Final = 3600.0
_LONGEST_RUN: Final = 1e9
"""Thirty years; and nanoseconds until then fit wherever they have to."""
_MOST_RATE: Final = round(1 / _LEAST_INTERVAL)
_EMBEDDED_HOST: Final = "127.0.0.1"
_WANTS_HOST: Final[dict[str, tuple[str, tuple[object, ...]]]] = {
    "-6": ("family", (socket.AF_UNSPEC, socket.AF_INET)),
    "--all-addresses": ("all_addresses", (False,)),
    "--resolve-every": ("resolve_every", (None,)),
}
"""What says which host, and so nothing about a server of our own: its name, and the values that are not it.

A port is not among it: whoever writes commands may give one to each of them."""


def add_to(commands: SubParsers) -> None:
    """Describe the sub-command to argparse."""
    parser = commands.add_parser(
        "ping",
        help="measure loss and round-trip time",
        description="Send one probe an interval and verify every reply. Without HOST: start a server and ping it.",
    )
    seconds = functools.partial(number, seconds_in, unit=" of seconds")
    add = parser.add_argument
    add("hosts", nargs="*", metavar="HOST", help="names or addresses, side by side")
    add("-c", "--count", type=number(int, 1, MAX_SEQUENCE), metavar="N", help="stop after N probes")
    between = "between probes, as 0.2 or 200ms (default: 1)"
    add("-i", "--interval", type=seconds(_LEAST_INTERVAL, _LONGEST_INTERVAL), metavar="SECONDS", help=between)
    wait = "wait at most this long for each reply (default: 10)"
    add("-W", "--wait", type=seconds(0.001, _LONGEST_WAIT), default=10.0, metavar="SECONDS", help=wait)
    length = "stop the run after this long"
    add("-w", "--deadline", type=seconds(0.001, _LONGEST_RUN), default=math.inf, metavar="SECONDS", help=length)
    add(
        "-s", "--size", type=number(int, 0, MAX_PAYLOAD), default=56, metavar="SIZE", help="payload bytes (default: 56)"
    )
    add_port(parser, least=1)
    add_profile(parser)
    add_key_file(parser)
    add_chaos(parser)
    add_seed(parser, "--chaos")
    add("-A", "--adaptive", action="store_true", help="send the next probe when the last is answered")
    add("-f", "--flood", action="store_true", help="the same as fast as answers come; a dot for each without reply")
    preload = "send so many probes at once to begin with (default: 1)"
    add("-l", "--preload", type=number(int, 1, 65_536), default=1, metavar="N", help=preload)
    add("--poisson", action="store_true", help="intervals at random around -i, exponentially distributed")
    spin = "keep a core busy instead of sleeping, to be on time where one wakes up late"
    add("--spin", action="store_true", help=spin)
    add("--noise", action="store_true", help="say first what this program and this host add by themselves")
    add("-q", "--quiet", action="store_true", help="only the first line and the summary")
    add("-v", "--verbose", action="store_true", help="say also which probes were lost, and why")
    add_output(parser)
    add_looks(parser)
    add_family(parser)
    add_fingers(parser)
    add_targets(parser)
    add_metrics(parser)
    add_objectives(parser)
    rate = number(lambda text: float(text.removesuffix("/s")), 1, _MOST_RATE, unit=" of probes a second")
    ramp = "probe ever faster, up to so many a second, and say how many the path keeps up with"
    add("--ramp", type=rate, metavar="RATE", help=ramp)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """3 when an objective is broken. Or else 0 when every host replied, and 1 when one did not, or replied less often
    than `-c` within `-w` asks, or when what is waited for never came."""
    if arguments.json_schema:
        print(schema_text(), flush=True)
        return 0
    announce(arguments)
    return trio.run(_ping, arguments)


async def _ping(arguments: argparse.Namespace) -> int:
    targets = await targets_of(arguments)
    is_alone = len(targets) == 1  # without a host there is a server beside it
    looks = Looks(arguments, len(targets) or arguments.ports or 1)
    if arguments.noise:
        from ..measure import noise_floor, noise_line

        print(noise_line(await noise_floor()), file=notes_out(arguments), flush=True)
    keys = keys_from(arguments)
    about_chaos: list[str] = []
    async with contextlib.AsyncExitStack() as stack:
        if not targets:
            _check_without_host(arguments)
            server = await stack.enter_async_context(_embedded_server(arguments.profile, keys))
            targets = spread([Target("localhost", *server.address)], arguments.ports)
        await stack.enter_async_context(faults_on_sockets(arguments, sending="up", say=about_chaos.append))
        shared = Shared(arguments, keys, stack.enter_context(open_tap(arguments)), looks, is_alone)
        code = await (_measure if arguments.ramp is None else _ramp)(stack, targets, shared)
    for line in about_chaos:
        print(line, file=notes_out(arguments), flush=True)
    await looks.draw()
    return code


async def _measure(stack: contextlib.AsyncExitStack, targets: Sequence[Target], shared: Shared) -> int:
    arguments, looks = shared.arguments, shared.looks
    make_room_for(len(targets))
    runs = [await _run_for(stack, target, shared) for target in targets]
    begin_output(arguments)
    # From here on; a name that takes long to resolve is interrupted as any program is.
    with stopping_signals(hangup=True) as signals:
        async with showing_metrics(arguments.metrics, lambda: ping_figures(_rows(runs)), _say), looks.shown():
            await _ping_all(runs, signals)
    _end(runs, arguments)
    if sum(one.tell_broken() for one in runs):  # each of them tells
        return BROKEN
    return 0 if all(one.is_good for one in runs) else 1


async def _ramp(stack: contextlib.AsyncExitStack, targets: Sequence[Target], shared: Shared) -> int:
    from ._ramp import check_ramp, ping_ever_faster

    check_ramp(shared.arguments, len(targets))
    begin_output(shared.arguments)
    (target,) = targets
    opening = functools.partial(_open_one, target.host, target.port, shared)
    with stopping_signals(hangup=True) as signals:
        return await ping_ever_faster(shared.arguments, target.label, opening, signals, shared.tap)


@contextlib.asynccontextmanager
async def _open_one(host: str, port: int, shared: Shared) -> AsyncIterator[Prober]:
    async with contextlib.AsyncExitStack() as stack:
        yield await _open(stack, host, port, shared)


def _end(runs: "Sequence[PingRun | Following]", arguments: argparse.Namespace) -> None:
    """What stands at the end: each run's own, and for people a table if there are several."""
    for one in runs:
        one.end()
    rows = _rows(runs)
    if len(rows) > 1 and not is_for_programs(arguments):
        from ..measure import rank_paths, table_lines

        is_ranked = arguments.ports is not None
        order = rank_paths({index: found for index, (_, found) in enumerate(rows)}) if is_ranked else range(len(rows))
        print("\n".join(["", *table_lines([rows[index] for index in order])]), flush=True)


def _rows(runs: "Sequence[PingRun | Following]") -> list[tuple[str, Summary]]:
    rows = [row for one in runs for row in one.rows]
    labels = told_apart(label for label, _ in rows)  # a name that moves may come back
    return [(label, found) for label, (_, found) in zip(labels, rows, strict=True)]


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


async def _run_for(stack: contextlib.AsyncExitStack, target: Target, shared: Shared) -> "PingRun | Following":
    arguments = shared.arguments
    if arguments.resolve_every is not None:
        from ._following import Following

        run_at = functools.partial(_run_at, target.label, shared)
        has_text = not is_for_programs(arguments)
        return Following(target.label, target.host, arguments, run_at, text=has_text, say=shared.looks.say)
    prober = await _open(stack, target.host, target.port, shared)
    if not target.path:
        return PingRun(target.label, prober, shared)
    # Side by side in one interval, so that all see the same network and none meets the others' bursts.
    delay = (target.path - 1) / arguments.ports * (arguments.interval or DEFAULT_INTERVAL)
    return PingRun(f"{target.label} from port {prober.address.port}", prober, shared, delay=delay, is_silent=True)


async def _run_at(
    label: str,
    shared: Shared,
    address: Address,
    arguments: argparse.Namespace,
    follow: Callable[[PingRun], Awaitable[None]],
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        here = shared.with_arguments(arguments)
        await follow(PingRun(label, await _open(stack, *address, here), here))


async def _open(stack: contextlib.AsyncExitStack, host: str, port: int, shared: Shared) -> Prober:
    """A prober for the first address of a host, as ping does it: one path is measured, not several."""
    try:
        return await stack.enter_async_context(_prober(host, port, shared))
    except OSError as exc:
        raise explain_interface(exc, shared.arguments.interface) or explain(exc, host, port) from None
    except ValueError as exc:  # a size with a key, or a key with the book's format
        raise BadInput(str(exc)) from None


def _prober(host: str, port: int, shared: Shared) -> contextlib.AbstractAsyncContextManager[Prober]:
    arguments, keys = shared.arguments, shared.keys
    return open_prober(
        host,
        port,
        family=arguments.family,
        profile=PROFILES[arguments.profile](),
        key=keys[0] if keys else None,
        size=arguments.size,
        options=socket_options(arguments),
        spins=arguments.spin,
        naps=shared.is_alone,
    )


def _check_without_host(arguments: argparse.Namespace) -> None:
    for option, (name, usual) in _WANTS_HOST.items():
        if getattr(arguments, name) not in usual:
            raise BadInput(f"argument {option}: expected a HOST with it, got none")


@contextlib.asynccontextmanager
async def _embedded_server(profile: str, keys: list[Key] | None) -> "AsyncIterator[Server]":
    from .. import serve

    async with trio.open_nursery() as nursery:
        spoken = PROFILES[profile]()
        start = functools.partial(serve, _handler(profile), 0, host=_EMBEDDED_HOST, profile=spoken, keys=keys)
        try:
            server = await nursery.start(start)
        except ValueError as exc:
            raise BadInput(str(exc)) from None
        yield server
        nursery.cancel_scope.cancel()


def _handler(profile: str) -> "Callable[[Request], bytes | None]":
    """What `serve` does with this format; ours needs none of it."""
    if profile == "tu1":
        return operator.attrgetter("payload")
    from .serve import make_handler

    return make_handler(profile, None)


async def _ping_all(runs: "Sequence[PingRun | Following]", signals: AsyncIterator[int]) -> None:
    """Ping all hosts side by side, until all are done or somebody presses ^C."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_stop_at_signal, runs, signals, nursery.cancel_scope)
        async with trio.open_nursery() as pinging:
            for one in runs:
                pinging.start_soon(one.ping)
        nursery.cancel_scope.cancel()


async def _stop_at_signal(
    runs: "Sequence[PingRun | Following]", signals: AsyncIterator[int], scope: trio.CancelScope
) -> None:
    with trio.CancelScope() as waiting:
        await cancel_at_next_signal(signals, waiting)
    for one in runs:
        one.stop()
    await cancel_at_next_signal(signals, scope)
