"""`serve`: echo what is asked, or play the book's server."""

import argparse
import contextlib
import functools
import random
from collections.abc import Callable, Sequence

import trio

from .. import Address, Request, Server, serve
from .._chaos import Conditions, Packet, Rule
from ._arguments import PROFILES, BadInput, SubParsers, add_family, add_port, add_profile, explain, first_of, number
from ._figures import Figures, figures_of, report
from ._figures_out import server_figures
from ._logs import add_log_format, begin_logs, say
from ._metrics import add_metrics, showing_metrics
from ._orders import Orders, orders_from_user
from ._pipe import ToParent, orders_from_parent
from ._workers import MOST_WORKERS, supervise


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
        "--workers",
        type=number(int, 1, MOST_WORKERS),
        default=1,
        metavar="N",
        help="answer from this many processes on one port (default: 1)",
    )
    parser.add_argument(
        "--drop",
        type=number(float, 0, 1),
        default=0.0,
        metavar="FRACTION",
        help="pretend to lose this share of the requests, 0 to 1",
    )
    parser.add_argument("--seed", type=int, metavar="N", help="make --drop repeatable")
    add_metrics(parser)
    add_log_format(parser)
    # What a parent says to its workers, and nobody else.
    parser.add_argument("--as-worker", action="store_true", help=argparse.SUPPRESS)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve until told to stop."""
    begin_logs(arguments.log_format)
    if arguments.as_worker:
        return _run_as_worker(arguments)
    if PROFILES[arguments.profile]().verified == "weak":
        line = f"profile {arguments.profile}, verified: weak: anyone may forge it; not for the Internet"
        say(line, arguments.log_format)
    if arguments.workers > 1:
        if arguments.metrics is not None:
            raise BadInput("--metrics shows the counters of one process, expected no --workers beside it")
        trio.run(supervise, arguments, ToUser().listening)
    else:
        trio.run(_serve, arguments, ToUser(), orders_from_user)
    return 0


def _run_as_worker(arguments: argparse.Namespace) -> int:
    parent = ToParent()
    code = 0
    try:
        trio.run(_serve, arguments, parent, orders_from_parent)
    except* BadInput as group:
        parent.fail(str(first_of(group)))
        code = 2
    return code


class ToUser:
    """How a server says what the user is to hear."""

    def listening(self, addresses: Sequence[Address]) -> None:
        """Where it listens."""
        for address in addresses:
            print(f"listening on {address}", flush=True)

    def say(self, line: str) -> None:
        """One line of output."""
        print(line, flush=True)

    def report(self, figures: Figures) -> None:
        """What was counted, at the end."""
        print("\n".join(report(figures)), flush=True)


async def _serve(
    arguments: argparse.Namespace,
    voice: ToUser | ToParent,
    open_orders: Callable[[], contextlib.AbstractAsyncContextManager[Orders]],
) -> None:
    losses = Conditions(loss=arguments.drop).rule(random.Random(arguments.seed))  # noqa: S311 - losses, not secrets
    start = functools.partial(
        serve,
        make_handler(arguments.profile, losses if arguments.drop else None, voice.say),
        arguments.port,
        host=arguments.interface,
        family=arguments.family,
        reuse_port=arguments.as_worker,
        profile=PROFILES[arguments.profile](),
    )
    async with trio.open_nursery() as nursery:
        try:
            server: Server = await nursery.start(start)
        except OSError as exc:
            raise explain(exc, arguments.interface or "any interface", arguments.port) from None
        # From here on; a name that takes long to resolve is interrupted as any program is.
        async with open_orders() as orders, _showing_metrics(server, arguments):
            voice.listening(server.addresses)
            await orders.drain.wait()
            await _drain(server, orders)
    voice.report(figures_of(server.statistics()))


def _showing_metrics(server: Server, arguments: argparse.Namespace) -> contextlib.AbstractAsyncContextManager[None]:
    return showing_metrics(
        arguments.metrics,
        lambda: server_figures(server.statistics()),
        functools.partial(say, log_format=arguments.log_format),
    )


async def _drain(server: Server, orders: Orders) -> None:
    """Let running handlers finish, or stop when told to."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(orders.cancel_at_stop, nursery.cancel_scope)
        await server.drain()
        nursery.cancel_scope.cancel()


def make_handler(
    profile: str, losses: Rule | None, say: Callable[[str], None] = print
) -> Callable[[Request], bytes | None]:
    """Echo, or the book's sentence; with a share of the requests lost, as in `udp_remote.py`."""

    def answer(request: Request) -> bytes | None:
        if losses is not None and _is_lost(losses, request):
            with contextlib.suppress(OSError):  # that nobody reads it is no reason to answer ERROR
                say(f"pretending to drop packet from {request.peer}")
            return None
        if profile == "book":
            return f"Your data was {len(request.payload)} bytes long".encode()
        return request.payload

    return answer


def _is_lost(losses: Rule, request: Request) -> bool:
    verdict = losses(Packet(request.payload, request.peer, request.local))
    return verdict is not None and not verdict.deliveries
