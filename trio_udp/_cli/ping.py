"""`ping`: one probe an interval, no retransmission, every byte of every reply verified.

A task for each host, a task for each probe under way, and Trio's cancel scopes for every limit: `-W` is the schedule of
a probe, `-w` a scope around the run, `^C` cancels the sending and leaves the summary.
"""

import argparse
import contextlib
import functools
import math
import os
import signal
from collections.abc import AsyncIterator
from typing import Final

import trio

from .. import TU1, Client, Key, NoReply, RemoteError, RetryPolicy, Server, open_client, serve
from .._net import resolve
from ..proto import MAX_PAYLOAD, TAG_SIZE
from ._arguments import SubParsers, add_family, add_port, explain, number
from ._chaos import add_chaos, add_seed, announce, faults_on_sockets
from ._keys import add_key_file, keys_from
from ._ping_report import Tally, headline, reply_line, summary
from ._signals import cancel_at_next_signal

_LEAST_INTERVAL: Final = 0.001
_LONGEST_WAIT: Final = 3600.0
_MOST_UNDER_WAY: Final = 65_536
"""Probes waiting for a reply at a time; further ones are sent when one of them is answered or given up."""
_MOST_LATE: Final = 1.0
"""Seconds, or an interval: probes that are later than that are not made up for. The machine, or this process, slept."""
_LEAST_LINGER: Final = 1.0
"""Seconds to wait for the last replies, at least, when others came back sooner."""
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
    add_key_file(parser)
    add("-q", "--quiet", action="store_true", help="only the first line and the summary")
    add("-v", "--verbose", action="store_true", help="say also which probes were lost, and why")
    add_family(parser)
    add_chaos(parser)
    add_seed(parser, "--chaos")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """0 when every host replied, 1 when one did not, or replied less often than `-c` within `-w` asks."""
    announce(arguments)
    return trio.run(_ping, arguments)


async def _ping(arguments: argparse.Namespace) -> int:
    keys = keys_from(arguments)
    about_chaos: list[str] = []
    async with contextlib.AsyncExitStack() as stack:
        if arguments.hosts:
            await stack.enter_async_context(faults_on_sockets(arguments, sending="up", say=about_chaos.append))
            runs = [_Run(host, await _open(stack, host, arguments, keys), arguments) for host in arguments.hosts]
        else:
            server = await stack.enter_async_context(_embedded_server(keys))
            await stack.enter_async_context(faults_on_sockets(arguments, sending="up", say=about_chaos.append))
            client = await stack.enter_async_context(_client(*server.address, arguments, keys))
            runs = [_Run("localhost", client, arguments)]
        # From here on; a name that takes long to resolve is interrupted as any program is.
        with trio.open_signal_receiver(signal.SIGINT) as signals:
            await _ping_all(runs, signals)
    for one in runs:
        print("\n".join(one.summary()), flush=True)
    for line in about_chaos:
        print(line, flush=True)
    return 0 if all(one.is_good for one in runs) else 1


async def _open(
    stack: contextlib.AsyncExitStack, host: str, arguments: argparse.Namespace, keys: list[Key] | None
) -> Client:
    """A client for the first address of a host, as ping does it: one path is measured, not several."""
    try:
        addresses = await resolve(host, arguments.port, arguments.family)
        return await stack.enter_async_context(_client(*addresses[0], arguments, keys))
    except OSError as exc:
        raise explain(exc, host, arguments.port) from None


def _client(
    host: str, port: int, arguments: argparse.Namespace, keys: list[Key] | None
) -> contextlib.AbstractAsyncContextManager[Client]:
    # Not connected, so that what strangers send is seen, counted and reported.
    return open_client(
        host,
        port,
        connect=False,
        key=keys[0] if keys else None,
        max_payload=arguments.size,
        max_in_flight=_MOST_UNDER_WAY,
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
        nursery.start_soon(cancel_at_next_signal, signals, nursery.cancel_scope)
        async with trio.open_nursery() as pinging:
            for one in runs:
                pinging.start_soon(one.ping)
        nursery.cancel_scope.cancel()


class _Run:
    """One host's run."""

    def __init__(self, host: str, client: Client, arguments: argparse.Namespace) -> None:
        self._host = host
        self._client = client
        self._count: int | None = arguments.count
        self._interval: float = arguments.interval
        self._wait: float = arguments.wait
        self._deadline: float = arguments.deadline
        self._size: int = arguments.size
        self._quiet: bool = arguments.quiet
        self._verbose: bool = arguments.verbose
        self._overhead = TU1.overhead + (TAG_SIZE if client.authenticated else 0)
        self._policy = RetryPolicy(initial=self._wait, adaptive=False, jitter=0.0, attempts=1)
        self._tally = Tally()
        self._began = self._ended = trio.current_time()

    @property
    def is_good(self) -> bool:
        """Whether the exit code may be 0, by iputils' rule."""
        wanted = self._count if self._count is not None and self._deadline < math.inf else 1
        return self._tally.received >= wanted

    async def ping(self) -> None:
        """Send all probes and wait for what comes back."""
        line = headline(
            self._host, self._client.servers[0], self._size, self._overhead, is_keyed=self._client.authenticated
        )
        print(line, flush=True)
        self._began = trio.current_time()
        try:
            with trio.move_on_after(self._deadline):
                await self._send_all()
        finally:
            self._ended = trio.current_time()

    async def _send_all(self) -> None:
        async with trio.open_nursery() as nursery:
            sequence = 0
            begin = self._began
            while self._count is None or sequence < self._count:
                # An absolute timetable: what delays one probe does not delay the next, unless the delay is a sleep.
                due = begin + sequence * self._interval
                await trio.sleep_until(due)
                late = trio.current_time() - due
                if late > max(_MOST_LATE, self._interval):
                    begin += late
                sequence += 1
                nursery.start_soon(self._probe, sequence)
            if self._tally.received:
                # Where others came back sooner, the last ones do not get the whole of -W.
                linger = max(2 * self._tally.rtt_max, self._interval, _LEAST_LINGER)
                nursery.cancel_scope.deadline = trio.current_time() + linger

    async def _probe(self, sequence: int) -> None:
        """One probe: at most one datagram there and one back."""
        payload = os.urandom(self._size)
        self._tally.transmitted += 1
        try:
            reply = await self._client.exchange(payload, policy=self._policy)
        except NoReply as exc:
            self._say_if_verbose(f"no reply to icmp_seq={sequence} within {self._wait:g} s", exc.hint)
        except RemoteError as exc:
            self._tally.errors += 1
            self._say_if_verbose(f"no reply to icmp_seq={sequence}: {exc.reason}", None)
        else:
            corrupted = reply.payload != payload
            if corrupted:
                self._tally.corrupted += 1
            else:
                self._tally.add_reply(reply.rtt)
            if not self._quiet:
                print(reply_line(self._host, sequence, reply, self._overhead, corrupted=corrupted), flush=True)

    def _say_if_verbose(self, line: str, hint: str | None) -> None:
        if self._verbose and not self._quiet:
            print(f"{line} ({hint})" if hint else line, flush=True)

    def summary(self) -> list[str]:
        """The lines at the end."""
        statistics = self._client.statistics()
        elapsed = self._ended - self._began
        return summary(self._host, self._tally, elapsed, statistics.dropped, statistics.endpoint.hints)
