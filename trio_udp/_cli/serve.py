"""`serve`: echo what is asked, or play the book's server."""

import argparse
import contextlib
import functools
import random
import signal
import sys
from collections.abc import AsyncIterator, Callable

import trio

from .. import Request, Server, ServerStatistics, serve
from .._chaos import Conditions, Packet, Rule
from ._arguments import PROFILES, SubParsers, add_family, add_port, add_profile, counted, explain, number
from ._signals import cancel_at_next_signal


def add_to(commands: SubParsers) -> None:
    """Describe the sub-command to argparse."""
    parser = commands.add_parser("serve", help="answer requests", description="Answer every request with its payload.")
    parser.add_argument(
        "interface",
        nargs="?",
        default="",
        metavar="INTERFACE",
        help='name or address to listen on; "" is any interface (default)',
    )
    add_port(parser, least=0)
    add_family(parser)
    add_profile(parser)
    parser.add_argument(
        "--drop",
        type=number(float, 0, 1),
        default=0.0,
        metavar="FRACTION",
        help="pretend to lose this share of the requests, 0 to 1",
    )
    parser.add_argument("--seed", type=int, metavar="N", help="make --drop repeatable")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve until told to stop."""
    trio.run(_serve, arguments)
    return 0


async def _serve(arguments: argparse.Namespace) -> None:
    profile = PROFILES[arguments.profile]()
    if profile.verified == "weak":
        print(f"profile {profile.name}, verified: weak: anyone may forge it; not for the Internet", file=sys.stderr)
    losses = Conditions(loss=arguments.drop).rule(random.Random(arguments.seed))  # noqa: S311 - losses, not secrets
    handler = make_handler(arguments.profile, losses if arguments.drop else None)
    start = functools.partial(
        serve, handler, arguments.port, host=arguments.interface, family=arguments.family, profile=profile
    )
    async with trio.open_nursery() as nursery:
        try:
            server: Server = await nursery.start(start)
        except OSError as exc:
            raise explain(exc, arguments.interface or "any interface", arguments.port) from None
        # From here on; a name that takes long to resolve is interrupted as any program is.
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            for address in server.addresses:
                print(f"listening on {address}", flush=True)
            await anext(signals)
            await _drain(server, signals)
    print("\n".join(["", *report(server.statistics())]), flush=True)


async def _drain(server: Server, signals: AsyncIterator[int]) -> None:
    """Let running handlers finish, or stop at the next signal."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(cancel_at_next_signal, signals, nursery.cancel_scope)
        await server.drain()
        nursery.cancel_scope.cancel()


def make_handler(profile: str, losses: Rule | None) -> Callable[[Request], bytes | None]:
    """Echo, or the book's sentence; with a share of the requests lost, as in `udp_remote.py`."""

    def answer(request: Request) -> bytes | None:
        if losses is not None and _is_lost(losses, request):
            with contextlib.suppress(OSError):  # that nobody reads it is no reason to answer ERROR
                print(f"pretending to drop packet from {request.peer}", flush=True)
            return None
        if profile == "book":
            return f"Your data was {len(request.payload)} bytes long".encode()
        return request.payload

    return answer


def _is_lost(losses: Rule, request: Request) -> bool:
    verdict = losses(Packet(request.payload, request.peer, request.local))
    return verdict is not None and not verdict.deliveries


def report(statistics: ServerStatistics) -> list[str]:
    """The lines printed when the server has stopped."""
    names = ("requests", "replies", "retries", "busy", "errors", "unanswered")
    lines = ["--- server statistics ---", ", ".join(f"{name} {getattr(statistics, name)}" for name in names)]
    if statistics.dropped:
        lines.append(f"dropped: {counted(statistics.dropped)}")
    kernel_drops = sum(endpoint.kernel_drops for endpoint in statistics.endpoints.values())
    if kernel_drops:
        lines.append(f"lost in a full receive buffer: {kernel_drops}")
    return lines
