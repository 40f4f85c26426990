"""`serve`: echo what is asked, or play the book's server."""

import argparse
import contextlib
import dataclasses
import functools
import operator
import random
from collections.abc import Callable, Sequence
from typing import Final

import trio

from .. import Address, Key, RateLimit, Request, Server, ServerStatistics, ServerTotals, serve
from .._chaos import Conditions, Packet, Rule
from ._arguments import (
    PROFILES,
    BadInput,
    SubParsers,
    add_family,
    add_port,
    add_profile,
    explain,
    first_of,
    number,
    rate,
)
from ._chaos import add_chaos, add_seed, announce, faults_on_sockets
from ._figures_out import server_figures
from ._keys import add_key_file, keys_from, names_of, reload_keys
from ._logs import Log, add_log_format
from ._metrics import add_metrics, showing_metrics
from ._orders import Orders, orders_from_user, reloading
from ._pipe import ToParent, orders_from_parent
from ._workers import MOST_WORKERS, supervise

DEFAULT_LIMIT: Final = "10000/s"
"""From one source: ten times what `ping` can send at most."""


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
    add_key_file(parser)
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
        metavar="FRACTION",
        help="pretend to lose this share of the requests, 0 to 1",
    )
    add_chaos(parser)
    add_seed(parser, "--drop and --chaos")
    parser.add_argument(
        "--limit",
        type=rate,
        default=DEFAULT_LIMIT,
        metavar="RATE",
        help="requests a second from one source, such as 100/s, or off; more are dropped (default: %(default)s)",
    )
    parser.add_argument(
        "--limit-all",
        type=rate,
        default="off",
        metavar="RATE",
        help="requests a second from all sources together; strangers leave half of what may come at once to those who "
        "have a key or a cookie (default: %(default)s)",
    )
    add_metrics(parser)
    add_log_format(parser)
    # What a parent says to its workers, and nobody else.
    parser.add_argument("--as-worker", action="store_true", help=argparse.SUPPRESS)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve until told to stop."""
    log = Log(arguments.log_format)
    log.begin()
    if arguments.as_worker:
        return _run_as_worker(arguments, log)
    code = 0
    try:
        _run_for_user(arguments, log)
    except* BadInput as group:
        if not log.is_json:
            raise
        log.complain("failed", str(first_of(group)), level="error")
        code = 2
    return code


def _run_for_user(arguments: argparse.Namespace, log: Log) -> None:
    if PROFILES[arguments.profile]().verified == "weak":
        line = f"profile {arguments.profile}, verified: weak: anyone may forge it; not for the Internet"
        log.note("weak_profile", line, profile=arguments.profile)
    announce(arguments, functools.partial(log.note, "chaos"))
    if arguments.workers > 1:
        trio.run(supervise, arguments, ToUser(log), log)
    else:
        trio.run(_serve_as_asked, arguments, ToUser(log), log, orders_from_user)


def _run_as_worker(arguments: argparse.Namespace, log: Log) -> int:
    parent = ToParent()
    code = 0
    try:
        trio.run(_serve_as_asked, arguments, parent, log, orders_from_parent)
    except* BadInput as group:
        parent.fail(str(first_of(group)))
        code = 2
    return code


class ToUser:
    """How a server says what the user is to hear."""

    def __init__(self, log: Log) -> None:
        self._log = log

    def listening(self, addresses: Sequence[Address]) -> None:
        """Where it listens."""
        for address in addresses:
            self._log.show("listening", f"listening on {address}", host=address.host, port=address.port)

    def accepting(self, keys: list[Key] | None) -> None:
        """Which keys requests may come under, if they need one."""
        if keys:
            self._log.show("accepting_keys", f"accepting keys: {names_of(keys)}", keys=[key.id for key in keys])

    def say(self, event: str, line: str, /, **fields: object) -> None:
        """One line of output."""
        self._log.show(event, line, **fields)

    def mark(self, event: str, line: str, /) -> None:
        """What the user has just ordered."""
        self._log.mark(event, line)

    def tell(self, statistics: ServerStatistics) -> None:
        """What was counted so far; no user orders that."""

    def report(self, statistics: ServerStatistics) -> None:
        """What was counted, at the end."""
        self.report_totals(ServerTotals.of(statistics))

    def report_totals(self, totals: ServerTotals, missing: int = 0) -> None:
        """The same of several, and of how many it is missing."""
        fields = dataclasses.asdict(totals) | {"missing": missing}
        self._log.show("statistics", "\n".join(totals.lines(missing)), **fields)


async def _serve_as_asked(
    arguments: argparse.Namespace,
    voice: ToUser | ToParent,
    log: Log,
    take_orders: Callable[[Orders], contextlib.AbstractAsyncContextManager[None]],
) -> None:
    """With faults on what goes through the sockets, if that is asked for."""
    async with (
        reloading(on=arguments.key_file is not None) as orders,
        faults_on_sockets(arguments, sending="down", say=functools.partial(voice.say, "chaos")),
    ):
        await _serve(arguments, voice, log, orders, take_orders)


async def _serve(
    arguments: argparse.Namespace,
    voice: ToUser | ToParent,
    log: Log,
    orders: Orders,
    take_orders: Callable[[Orders], contextlib.AbstractAsyncContextManager[None]],
) -> None:
    keys = keys_from(arguments)
    losses = Conditions(loss=arguments.drop or 0.0).rule(random.Random(arguments.seed))  # noqa: S311 - losses, not secrets
    start = functools.partial(
        serve,
        make_handler(arguments.profile, losses if arguments.drop else None, voice.say),
        arguments.port,
        host=arguments.interface,
        family=arguments.family,
        reuse_port=arguments.as_worker,
        profile=PROFILES[arguments.profile](),
        keys=keys,
        rate_limit=_limit_of(arguments.limit, arguments.limit_all),
    )
    async with trio.open_nursery() as nursery:
        try:
            server: Server = await nursery.start(start)
        except OSError as exc:
            raise explain(exc, arguments.interface or "any interface", arguments.port) from None
        except ValueError as exc:  # keys for a format that has no room for their tags
            raise BadInput(str(exc)) from None
        # From here on; a name that takes long to resolve is interrupted as any program is.
        async with take_orders(orders), _showing_metrics(server, arguments, log):
            nursery.start_soon(_reload_keys, server, orders, arguments, voice, log)
            nursery.start_soon(_tell, server, orders, voice)
            voice.accepting(keys)
            voice.listening(server.addresses)
            await orders.drain.wait()
            voice.mark("draining", "draining: running handlers finish, new requests are refused")
            await _drain(server, orders)
            nursery.cancel_scope.cancel()
    voice.report(server.statistics())


async def _tell(server: Server, orders: Orders, voice: ToUser | ToParent) -> None:
    """Whenever that is ordered."""
    while True:
        await orders.tell.heard()
        voice.tell(server.statistics())


async def _reload_keys(
    server: Server, orders: Orders, arguments: argparse.Namespace, voice: ToUser | ToParent, log: Log
) -> None:
    def use(keys: list[Key]) -> None:
        server.set_keys(keys)
        voice.accepting(keys)

    await reload_keys(orders.reload, arguments, use, log.complain)


def _limit_of(per_source: float | None, overall: float | None) -> RateLimit | None:
    return None if per_source is overall is None else RateLimit(per_source=per_source, overall=overall)


def _showing_metrics(
    server: Server, arguments: argparse.Namespace, log: Log
) -> contextlib.AbstractAsyncContextManager[None]:
    return showing_metrics(
        arguments.metrics,
        lambda: server_figures(server.statistics()),
        functools.partial(log.note, "metrics"),
    )


async def _drain(server: Server, orders: Orders) -> None:
    """Let running handlers finish, or stop when told to."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(orders.cancel_at_stop, nursery.cancel_scope)
        await server.drain()
        nursery.cancel_scope.cancel()


def make_handler(
    profile: str, losses: Rule | None, say: Callable[[str, str], None] = lambda _, line: print(line)
) -> Callable[[Request], bytes | None]:
    """Echo, or the book's sentence; with a share of the requests lost, as in `udp_remote.py`."""
    if losses is None and profile != "book":
        return operator.attrgetter("payload")  # with nothing of Python's in it

    def answer(request: Request) -> bytes | None:
        if losses is not None and _is_lost(losses, request):
            with contextlib.suppress(OSError):  # that nobody reads it is no reason to answer ERROR
                say("dropped_on_purpose", f"pretending to drop packet from {request.peer}")
            return None
        if profile == "book":
            return f"Your data was {len(request.payload)} bytes long".encode()
        return request.payload

    return answer


def _is_lost(losses: Rule, request: Request) -> bool:
    verdict = losses(Packet(request.payload, request.peer, request.local))
    return verdict is not None and not verdict.deliveries
