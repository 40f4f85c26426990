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
from collections.abc import AsyncIterator
from typing import Final

import trio

from .. import Key, Server, serve
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
    flood,
    noise_floor,
    open_prober,
)
from ..proto import MAX_PAYLOAD
from ._arguments import PROFILES, SubParsers, add_family, add_port, add_profile, explain, number
from ._chaos import add_chaos, add_seed, announce, faults_on_sockets
from ._keys import add_key_file, keys_from
from ._looks import Looks, add_looks
from ._output import EventsOut, Tap, add_output, begin_output, events_out, notes_out, open_tap, schema_text
from ._ping_report import headline, missing_line, noise_line, reply_line, report
from ._signals import cancel_at_next_signal

_LEAST_INTERVAL: Final = 0.0001
_LONGEST_WAIT: Final = 3600.0
_EMBEDDED_HOST: Final = "127.0.0.1"


def add_to(commands: SubParsers) -> None:
    """Describe the sub-command to argparse."""
    parser = commands.add_parser(
        "ping",
        help="measure loss and round-trip time",
        description="Send one probe an interval and verify every reply. Without HOST: start a server and ping it.",
    )
    seconds = functools.partial(number, float, unit=" of seconds")
    add = parser.add_argument
    add("hosts", nargs="*", metavar="HOST", help="names or addresses, side by side")
    add("-c", "--count", type=number(int, 1), metavar="N", help="stop after N probes")
    add("-i", "--interval", type=seconds(_LEAST_INTERVAL), default=1.0, metavar="SECONDS", help="default: 1")
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
    add_key_file(parser)
    add_chaos(parser)
    add_seed(parser, "--chaos")
    add("-A", "--adaptive", action="store_true", help="send the next probe when the last is answered")
    add("-f", "--flood", action="store_true", help="the same as fast as answers come, 100 a second at least, and -q")
    preload = "send so many probes at once to begin with (default: 1)"
    add("-l", "--preload", type=number(int, 1, 65_536), default=1, metavar="N", help=preload)
    add("--poisson", action="store_true", help="intervals at random around -i, exponentially distributed")
    add("--noise", action="store_true", help="say first what this program and this host add by themselves")
    add("-q", "--quiet", action="store_true", help="only the first line and the summary")
    add("-v", "--verbose", action="store_true", help="say also which probes were lost, and why")
    add_output(parser)
    add_looks(parser)
    add_family(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """0 when every host replied, 1 when one did not, or replied less often than `-c` within `-w` asks."""
    if arguments.json_schema:
        print(schema_text(), flush=True)
        return 0
    announce(arguments)
    return trio.run(_ping, arguments)


async def _ping(arguments: argparse.Namespace) -> int:
    looks = Looks(arguments)
    if arguments.noise:
        print(noise_line(await noise_floor()), file=notes_out(arguments), flush=True)
    keys = keys_from(arguments)
    about_chaos: list[str] = []
    async with contextlib.AsyncExitStack() as stack:
        if arguments.hosts:
            await stack.enter_async_context(faults_on_sockets(arguments, sending="up", say=about_chaos.append))
            probers = [(host, await _open(stack, host, arguments, keys)) for host in arguments.hosts]
        else:
            server = await stack.enter_async_context(_embedded_server(keys))
            await stack.enter_async_context(faults_on_sockets(arguments, sending="up", say=about_chaos.append))
            prober = await stack.enter_async_context(_prober(*server.address, arguments, keys))
            probers = [("localhost", prober)]
        tap = stack.enter_context(open_tap(arguments))
        runs = [_Run(host, prober, arguments, tap, looks) for host, prober in probers]
        begin_output(arguments)
        # From here on; a name that takes long to resolve is interrupted as any program is.
        with trio.open_signal_receiver(signal.SIGINT) as signals:
            async with looks.shown():
                await _ping_all(runs, signals)
    for one in runs:
        one.end()
    for line in about_chaos:
        print(line, file=notes_out(arguments), flush=True)
    await looks.draw()
    return 0 if all(one.is_good for one in runs) else 1


async def _open(
    stack: contextlib.AsyncExitStack, host: str, arguments: argparse.Namespace, keys: list[Key] | None
) -> Prober:
    """A prober for the first address of a host, as ping does it: one path is measured, not several."""
    try:
        return await stack.enter_async_context(_prober(host, arguments.port, arguments, keys))
    except OSError as exc:
        raise explain(exc, host, arguments.port) from None


def _prober(
    host: str, port: int, arguments: argparse.Namespace, keys: list[Key] | None
) -> contextlib.AbstractAsyncContextManager[Prober]:
    return open_prober(
        host,
        port,
        family=arguments.family,
        profile=PROFILES[arguments.profile](),
        key=keys[0] if keys else None,
        size=arguments.size,
    )


@contextlib.asynccontextmanager
async def _embedded_server(keys: list[Key] | None) -> AsyncIterator[Server]:
    async with trio.open_nursery() as nursery:
        start = functools.partial(serve, lambda request: request.payload, 0, host=_EMBEDDED_HOST, keys=keys)
        yield await nursery.start(start)
        nursery.cancel_scope.cancel()


async def _ping_all(runs: list["_Run"], signals: AsyncIterator[int]) -> None:
    """Ping all hosts side by side, until all are done or somebody presses ^C."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_stop_at_signal, runs, signals, nursery.cancel_scope)
        async with trio.open_nursery() as pinging:
            for one in runs:
                pinging.start_soon(one.ping)
        nursery.cancel_scope.cancel()


async def _stop_at_signal(runs: list["_Run"], signals: AsyncIterator[int], scope: trio.CancelScope) -> None:
    with trio.CancelScope() as waiting:
        await cancel_at_next_signal(signals, waiting)
    for one in runs:
        one.stop()
    await cancel_at_next_signal(signals, scope)


def _schedule(arguments: argparse.Namespace) -> Schedule:
    """When to send: `-f` before `-A` before `--poisson`."""
    preload: int = arguments.preload
    if arguments.flood:
        return flood(preload=preload)
    if arguments.adaptive:
        return Adaptive(arguments.interval, preload=preload)
    if arguments.poisson:
        return Poisson(arguments.interval, random.SystemRandom().random, preload=preload)
    return Fixed(arguments.interval, preload=preload)


class _Run:
    """One host's run."""

    def __init__(self, host: str, prober: Prober, arguments: argparse.Namespace, tap: Tap | None, looks: Looks) -> None:
        self._host = host
        self._look = looks.follow(host, prober)
        self._is_live = looks.is_live
        self._prober = prober
        self._schedule = _schedule(arguments)
        self._count: int | None = arguments.count
        self._wait: float = arguments.wait
        self._deadline: float = arguments.deadline
        self._quiet: bool = arguments.quiet or arguments.flood
        self._verbose: bool = arguments.verbose
        self._every: float | None = arguments.every
        self._tap = tap
        self._out: EventsOut | None = events_out(host, arguments)

    @property
    def is_good(self) -> bool:
        """Whether the exit code may be 0, by iputils' rule."""
        wanted = self._count if self._count is not None and self._deadline < math.inf else 1
        return self._prober.summary().received >= wanted

    async def ping(self) -> None:
        """Send all probes and wait for what comes back."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._stop_in_time)
            await self._prober.run(
                self._schedule,
                count=self._count,
                wait=self._wait,
                every=self._every,
                on_event=self._tell,
                on_datagram=self._tap,
            )
            nursery.cancel_scope.cancel()

    async def _stop_in_time(self) -> None:
        await trio.sleep(self._deadline)
        self._prober.stop()

    def stop(self) -> None:
        """Send no more, and come to the summary."""
        self._prober.stop()

    def _tell(self, event: Event) -> None:
        self._look(event)
        if self._out is not None:
            self._out.tell(event)
        elif not self._is_live:
            self._print(event)

    def _print(self, event: Event) -> None:
        match event:
            case Start():
                print(headline(self._host, event), flush=True)
            case ReplyRecord() | Corrupted():
                if not self._quiet:
                    print(reply_line(self._host, self._prober.peer, event), flush=True)
            case Lost() | Refused():
                if self._verbose and not self._quiet:
                    print(missing_line(event, self._wait), flush=True)
            case _:
                pass

    def end(self) -> None:
        """Print what stands at the end."""
        if self._out is None:
            print("\n".join(report(self._host, self._prober.summary())), flush=True)
        else:
            self._out.end(self._prober.summary())
