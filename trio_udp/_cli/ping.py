"""`ping`: one probe an interval, no retransmission, every byte of every reply verified.

A task for each host, which runs a `trio_udp.measure.Prober` and prints its events. `-w` and the first `^C` stop it, so
that the server is still asked what it has counted; a second `^C` does not wait for that.
"""

import argparse
import contextlib
import functools
import math
import random
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Final

import trio

from .. import Address, Server, serve
from ..measure import (
    Adaptive,
    Corrupted,
    Event,
    Fixed,
    Lost,
    Poisson,
    Prober,
    Refused,
    ReplyRecord,
    Schedule,
    Start,
    Summary,
    flood,
    noise_floor,
    open_prober,
    rank_paths,
)
from ..proto import MAX_PAYLOAD
from ._arguments import PROFILES, SubParsers, add_family, add_port, add_profile, explain, number, seconds_in
from ._figures_out import ping_figures
from ._fingers import Fingers, add_fingers, explain_interface, socket_options
from ._following import Following
from ._metrics import add_metrics, showing_metrics
from ._objectives import BROKEN, Objectives, add_objectives
from ._ping_report import headline, missing_line, noise_line, reply_line, report
from ._signals import cancel_at_next_signal
from ._table import table
from ._targets import Target, add_targets, spread, targets_of

_LEAST_INTERVAL: Final = 0.0001
_DEFAULT_INTERVAL: Final = 1.0
_LONGEST_WAIT: Final = 3600.0
_EMBEDDED_HOST: Final = "127.0.0.1"


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
    add("-c", "--count", type=number(int, 1), metavar="N", help="stop after N probes")
    add("-i", "--interval", type=seconds(_LEAST_INTERVAL), metavar="SECONDS", help="or 200ms (default: 1)")
    wait = "wait at most this long for each reply (default: 10)"
    add("-W", "--wait", type=seconds(0.001, _LONGEST_WAIT), default=10.0, metavar="SECONDS", help=wait)
    add(
        "-w",
        "--deadline",
        type=seconds(0.001),
        default=math.inf,
        metavar="SECONDS",
        help="stop the run after this long",
    )
    add(
        "-s", "--size", type=number(int, 0, MAX_PAYLOAD), default=56, metavar="SIZE", help="payload bytes (default: 56)"
    )
    add_port(parser, least=1)
    add_profile(parser)
    add("-A", "--adaptive", action="store_true", help="send the next probe when the last is answered")
    add("-f", "--flood", action="store_true", help="the same as fast as answers come; a dot for each without reply")
    preload = "send so many probes at once to begin with (default: 1)"
    add("-l", "--preload", type=number(int, 1, 65_536), default=1, metavar="N", help=preload)
    add("--poisson", action="store_true", help="intervals at random around -i, exponentially distributed")
    add("--noise", action="store_true", help="say first what this program and this host add by themselves")
    add("-q", "--quiet", action="store_true", help="only the first line and the summary")
    add("-v", "--verbose", action="store_true", help="say also which probes were lost, and why")
    add_family(parser)
    add_fingers(parser)
    add_targets(parser)
    add_metrics(parser)
    add_objectives(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """3 when an objective is broken. Or else 0 when every host replied, and 1 when one did not, or replied less often
    than `-c` within `-w` asks, or when what is waited for never came."""
    return trio.run(_ping, arguments)


async def _ping(arguments: argparse.Namespace) -> int:
    if arguments.noise:
        print(noise_line(await noise_floor()), flush=True)
    targets = await targets_of(arguments)
    async with contextlib.AsyncExitStack() as stack:
        if not targets:
            server = await stack.enter_async_context(_embedded_server())
            targets = spread([Target("localhost", *server.address)], arguments.ports)
        runs = [await _run_for(stack, target, arguments) for target in targets]
        # From here on; a name that takes long to resolve is interrupted as any program is.
        with trio.open_signal_receiver(signal.SIGINT) as signals:
            async with showing_metrics(arguments.metrics, lambda: ping_figures(_rows(runs)), _say):
                await _ping_all(runs, signals)
    _tell_sums(runs, is_ranked=arguments.ports is not None)
    if sum(one.tell_broken() for one in runs):  # each of them tells
        return BROKEN
    return 0 if all(one.is_good for one in runs) else 1


def _tell_sums(runs: Sequence["_Run | Following"], *, is_ranked: bool) -> None:
    """The lines at the end: each run's own, and a table if there are several."""
    for one in runs:
        if lines := one.summary():
            print("\n".join(lines), flush=True)
    rows = _rows(runs)
    if len(rows) > 1:
        order = rank_paths({index: found for index, (_, found) in enumerate(rows)}) if is_ranked else range(len(rows))
        print("\n".join(["", *table([rows[index] for index in order])]), flush=True)


def _rows(runs: Sequence["_Run | Following"]) -> list[tuple[str, Summary]]:
    return [row for one in runs for row in one.rows]


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


async def _run_for(
    stack: contextlib.AsyncExitStack, target: Target, arguments: argparse.Namespace
) -> "_Run | Following":
    if arguments.resolve_every is not None:
        return Following(target.host, arguments, functools.partial(_run_at, target.label))
    prober = await _open(stack, target.host, target.port, arguments)
    if not target.path:
        return _Run(target.label, prober, arguments)
    # Side by side in one interval, so that all see the same network and none meets the others' bursts.
    delay = (target.path - 1) / arguments.ports * (arguments.interval or _DEFAULT_INTERVAL)
    return _Run(f"{target.label} from port {prober.address.port}", prober, arguments, delay=delay, is_silent=True)


async def _run_at(
    label: str, address: Address, arguments: argparse.Namespace, follow: Callable[["_Run"], Awaitable[None]]
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        await follow(_Run(label, await _open(stack, *address, arguments), arguments))


async def _open(stack: contextlib.AsyncExitStack, host: str, port: int, arguments: argparse.Namespace) -> Prober:
    """A prober for the first address of a host, as ping does it: one path is measured, not several."""
    try:
        return await stack.enter_async_context(_prober(host, port, arguments))
    except OSError as exc:
        raise explain_interface(exc, arguments.interface) or explain(exc, host, port) from None


def _prober(host: str, port: int, arguments: argparse.Namespace) -> contextlib.AbstractAsyncContextManager[Prober]:
    return open_prober(
        host,
        port,
        family=arguments.family,
        profile=PROFILES[arguments.profile](),
        size=arguments.size,
        options=socket_options(arguments),
    )


@contextlib.asynccontextmanager
async def _embedded_server() -> AsyncIterator[Server]:
    async with trio.open_nursery() as nursery:
        yield await nursery.start(functools.partial(serve, lambda request: request.payload, 0, host=_EMBEDDED_HOST))
        nursery.cancel_scope.cancel()


async def _ping_all(runs: Sequence["_Run | Following"], signals: AsyncIterator[int]) -> None:
    """Ping all hosts side by side, until all are done or somebody presses ^C."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_stop_at_signal, runs, signals, nursery.cancel_scope)
        async with trio.open_nursery() as pinging:
            for one in runs:
                pinging.start_soon(one.ping)
        nursery.cancel_scope.cancel()


async def _stop_at_signal(
    runs: Sequence["_Run | Following"], signals: AsyncIterator[int], scope: trio.CancelScope
) -> None:
    with trio.CancelScope() as waiting:
        await cancel_at_next_signal(signals, waiting)
    for one in runs:
        one.stop()
    await cancel_at_next_signal(signals, scope)


def _write(text: str) -> None:
    print(text, end="", flush=True)


def _schedule(arguments: argparse.Namespace) -> Schedule:
    """When to send: `-f` before `-A` before `--poisson`. Flooding at an interval is just that, as in iputils."""
    preload: int = arguments.preload
    interval: float = arguments.interval or _DEFAULT_INTERVAL
    if arguments.flood and arguments.interval is None:
        return flood(preload=preload)
    if arguments.adaptive:
        return Adaptive(interval, preload=preload)
    if arguments.poisson:
        return Poisson(interval, random.SystemRandom().random, preload=preload)
    return Fixed(interval, preload=preload)


class _Run:
    """One host's run."""

    def __init__(
        self,
        host: str,
        prober: Prober,
        arguments: argparse.Namespace,
        *,
        delay: float = 0.0,
        is_silent: bool = False,
    ) -> None:
        """`delay` is in seconds; a silent run is a row of the table and nothing else."""
        self._host = host
        self._prober = prober
        self._fingers = Fingers(arguments, _schedule(arguments), _write)
        self._count: int | None = arguments.count
        self._wait: float = arguments.wait
        self._deadline: float = arguments.deadline
        self._quiet: bool = arguments.quiet
        self._verbose: bool = arguments.verbose
        self._objectives = Objectives(arguments)
        self._delay = delay
        self._is_silent = is_silent

    @property
    def peer(self) -> Address:
        """Whom it asks."""
        return self._prober.peer

    @property
    def sums(self) -> Summary:
        """What it counted so far."""
        return self._prober.summary()

    @property
    def rows(self) -> list[tuple[str, Summary]]:
        """Of the table."""
        return [(self._host, self.sums)]

    @property
    def has_reached(self) -> bool:
        """Whether what it waits for is so."""
        return self._objectives.is_reached(self.sums)

    @property
    def is_good(self) -> bool:
        """Whether the exit code may be 0: by what was waited for, or else by iputils' rule."""
        if self._objectives.has_goal:
            return self.has_reached
        wanted = self._count if self._count is not None and self._deadline < math.inf else 1
        return self.sums.received >= wanted

    async def ping(self) -> None:
        """Send all probes and wait for what comes back."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._stop_in_time)
            if self._objectives.has_goal:
                nursery.start_soon(self._stop_when_reached)
            await trio.sleep(self._delay)
            await self._prober.run(self._fingers.schedule, count=self._count, wait=self._wait, on_event=self._tell)
            nursery.cancel_scope.cancel()

    async def _stop_in_time(self) -> None:
        await trio.sleep(self._deadline)
        self._prober.stop()

    async def _stop_when_reached(self) -> None:
        await self._objectives.wait(self._prober.summary)
        self._prober.stop()

    def stop(self) -> None:
        """Send no more, and come to the summary."""
        self._prober.stop()

    def _tell(self, event: Event) -> None:
        self._objectives.note()
        if self._is_silent:
            return
        match event:
            case Start():
                print(headline(self._host, event.peer, event.size, event.datagram_size), flush=True)
            case ReplyRecord() | Corrupted():
                name = self._fingers.name(self._host, self._prober.peer)
                self._fingers.show_reply(reply_line(name, self._prober.peer, event), event)
            case Lost() | Refused():
                if self._verbose and not self._quiet:
                    self._fingers.show(missing_line(event, self._wait))
            case _:
                pass

    def summary(self) -> list[str]:
        """The lines at the end."""
        return [] if self._is_silent else report(self._host, self.sums)

    def tell_broken(self) -> bool:
        """Say which objectives are broken; whether any is."""
        return self._objectives.tell_broken(self._host, self.sums)
