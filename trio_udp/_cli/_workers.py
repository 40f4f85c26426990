"""`serve --workers N`: N processes of this command on one port, and a parent that reads no datagram.

The parent takes the port alone first, so that it is nobody else's (G8), and lets go of it when the first worker has it.
One task for each worker starts it, listens to it, passes orders on, and starts it again when it dies.

What must hold: whatever ends the parent ends the workers; every process has reported its figures or is counted as
missing; what went wrong is said once.
"""

import argparse
import contextlib
import functools
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final, NamedTuple, Protocol

import trio

from .. import Address, Key, ServerTotals, resolve
from .._net import normalise, open_server_sockets
from ._arguments import BadInput, explain
from ._figures_out import figures_in
from ._keys import keys_from, reload_keys
from ._logs import Log
from ._metrics import showing_metrics
from ._orders import Orders, orders_from_user, reloading
from ._pipe import DRAIN, RELOAD_KEYS, Post, messages, totals_from_json
from ._restarts import MOST_QUICK_ENDS, Restarts
from ._watched import Watched

MOST_WORKERS: Final = 256
"""More than that is a slip of the finger on most machines."""
_PATIENCE: Final = 5.0
"""Seconds that a worker has to report when it is told to stop at once, before it is killed."""


class Voice(Protocol):
    """How the user is told."""

    def accepting(self, keys: list[Key] | None) -> None:
        """Which keys requests may come under, if they need one."""

    def listening(self, addresses: Sequence[Address]) -> None:
        """Where the server listens; said when all workers do."""

    def report_totals(self, totals: ServerTotals, missing: int) -> None:
        """What was counted, at the end, and by how many workers more."""


async def supervise(arguments: argparse.Namespace, voice: Voice, log: Log) -> None:
    """Serve until told to stop, and print the report."""
    async with reloading(on=arguments.key_file is not None) as orders:
        await _supervise(arguments, voice, log, orders)


async def _supervise(arguments: argparse.Namespace, voice: Voice, log: Log, orders: Orders) -> None:
    keys = keys_from(arguments)  # each worker reads them again: what is wrong with them is said once
    with contextlib.ExitStack() as claim:
        addresses = await _claim_port(arguments, claim)
        commands = [_command(arguments, addresses[0].port, number) for number in range(1, arguments.workers + 1)]
        # From here on; a name that takes long to resolve is interrupted as any program is.
        async with orders_from_user(orders), trio.open_nursery() as nursery:

            def all_ready() -> None:
                voice.accepting(keys)
                voice.listening(addresses)

            crew = Crew(commands, orders, first_ready=claim.close, all_ready=all_ready, log=log)

            def use(found: list[Key]) -> None:
                nonlocal keys
                keys = found
                crew.watched.tell_all(RELOAD_KEYS)
                voice.accepting(keys)

            say, watched = functools.partial(log.note, "metrics"), crew.watched
            async with showing_metrics(arguments.metrics, watched.figures, say, watched.refresh):
                nursery.start_soon(reload_keys, orders.reload, arguments, use, log.complain)
                nursery.start_soon(_mark_draining, orders, log)
                await crew.work()
                nursery.cancel_scope.cancel()
    if crew.has_been_ready or crew.failure is None:
        voice.report_totals(crew.totals, crew.missing)
    if crew.failure is not None:
        raise BadInput(crew.failure)


async def _mark_draining(orders: Orders, log: Log) -> None:
    await orders.drain.wait()
    log.mark("draining", "draining: workers finish what they have begun, new requests are refused")


async def _claim_port(arguments: argparse.Namespace, claim: contextlib.ExitStack) -> list[Address]:
    """Take the port, for as long as `claim` is open, from all who did not get it from us."""
    try:
        found = await resolve(arguments.interface or None, arguments.port, arguments.family)
        sockets = await open_server_sockets(found, reuse_port=True, alone=True)
    except OSError as exc:
        raise explain(exc, arguments.interface or "any interface", arguments.port) from None
    for sock in sockets:
        claim.callback(sock.close)
    return [normalise(sock.getsockname()) for sock in sockets]


def _command(arguments: argparse.Namespace, port: int, number: int) -> list[str]:
    """What to type to get a worker: this command, as it was given to us."""
    # Started as a script, we have not looked into the current directory for modules, and a worker must not either.
    safe = [] if {"", os.getcwd()} & set(sys.path) else ["-P"]
    family = {socket.AF_INET: ["-4"], socket.AF_INET6: ["-6"]}.get(arguments.family, [])
    logs = ["--log-format", arguments.log_format]
    losses = [] if arguments.drop is None else ["--drop", repr(arguments.drop)]
    for option, said in (("", arguments.chaos), ("-up", arguments.chaos_up), ("-down", arguments.chaos_down)):
        losses += [] if said is None else [f"--chaos{option}={said}"]
    if arguments.seed is not None:
        losses += ["--seed", str(_seed_of(arguments.seed, number))]
    keys = [] if arguments.key_file is None else [f"--key-file={arguments.key_file}"]
    limits = [f"--limit={_rate(arguments.limit)}", f"--limit-all={_rate(arguments.limit_all)}"]
    program = [sys.executable, *safe, "-m", "trio_udp", "serve", "--as-worker"]
    return [
        *program,
        "-p",
        str(port),
        *family,
        "--profile",
        arguments.profile,
        *logs,
        *keys,
        *losses,
        *limits,
        "--",
        arguments.interface,
    ]


def _rate(rate: float | None) -> str:
    return "off" if rate is None else f"{rate!r}/s"


def _seed_of(seed: int, number: int) -> int:
    """Each worker loses other requests than the others."""
    return random.Random(f"{seed} {number}").getrandbits(63)  # noqa: S311 - losses, not secrets


class Crew:
    """The workers: one process at a time for each of these commands, until the orders are to drain."""

    def __init__(
        self,
        commands: Sequence[Sequence[str]],
        orders: Orders,
        *,
        first_ready: Callable[[], None],
        all_ready: Callable[[], None],
        log: Log | None = None,
    ) -> None:
        self._commands = commands
        self._orders = orders
        self._first_ready = first_ready
        self._all_ready = all_ready
        self._log = Log() if log is None else log
        self.watched: Final = Watched()
        """The processes that run, and what they have told while they did."""
        self._ready: set[int] = set()
        """Workers that have been ready, if not for long."""
        self.totals = ServerTotals()
        """What those have reported that have ended, or had told before they were killed."""
        self.missing = 0
        """Processes that ended without a report."""
        self.failure: str | None = None
        """Why it has given up."""

    @property
    def has_been_ready(self) -> bool:
        """Whether the world has been told."""
        return len(self._ready) == len(self._commands)

    async def work(self) -> None:
        """Until all workers have ended."""
        async with trio.open_nursery() as nursery:
            for number, command in enumerate(self._commands, start=1):
                nursery.start_soon(self._keep, number, command)

    async def _keep(self, number: int, command: Sequence[str]) -> None:
        """One worker, life after life."""
        restarts = Restarts()
        while not self._orders.drain.is_set():
            began = trio.current_time()
            ending = await self._live(number, command)
            if not self._orders.drain.is_set():
                await self._mourn(number, ending, restarts.wait_after(trio.current_time() - began))

    async def _mourn(self, number: int, ending: str, wait: float | None) -> None:
        """Wait before a worker is started again, or give up."""
        if number not in self._ready:
            self._give_up(ending)
        elif wait is None:
            self._give_up(f"worker {number} ended {MOST_QUICK_ENDS} times soon after its start, at last: {ending}")
        else:
            line = f"worker {number}: {ending}; starting another in {wait:g} s"
            self._log.complain("worker_ended", line, worker=number, wait_s=wait)
            with trio.move_on_after(wait):
                await self._orders.drain.wait()

    def _give_up(self, reason: str) -> None:
        self.failure = self.failure or reason
        self._orders.drain.set()

    async def _live(self, number: int, command: Sequence[str]) -> str:
        """One process from its start to its end; how it ended."""
        failure: str | None = None
        so_far: ServerTotals | None = None
        reported = False
        try:
            worker = await _start(command)
        except OSError as exc:
            return f"cannot start a process: {exc.strerror}"
        async with _ended_with_block(worker), trio.open_nursery() as nursery:
            mate = self.watched.begin()
            nursery.start_soon(_pass_on, self._orders, mate.post, worker)
            async for message in messages(worker.pipes):
                match message:
                    case {"say": str(line), "event": str(event), "fields": dict(fields)}:
                        self._say(event, line, {**fields, "worker": number})
                    case {"ready": True}:
                        self._note_ready(number)
                    case {"failed": str(failure)}:
                        pass
                    case {"counted": value} if (counted := figures_in(value)) is not None:
                        mate.take(counted)
                        so_far = totals_from_json(message.get("so_far")) or so_far
                    case {"totals": value} if (totals := totals_from_json(value)) is not None:
                        self.totals += totals
                        reported = True
            code = await worker.process.wait()
            self.watched.end(mate)
            nursery.cancel_scope.cancel()
        if not reported and so_far is not None:  # as those who watch have it
            self.totals += so_far
        self.missing += not reported and failure is None
        return failure or f"process {worker.process.pid} {_ending(code)}"

    def _say(self, event: str, line: str, fields: dict[str, object]) -> None:
        with contextlib.suppress(OSError):  # that nobody reads it is no reason to stop
            self._log.show(event, line, **fields)

    def _note_ready(self, number: int) -> None:
        if not self._ready:
            self._first_ready()
        if number not in self._ready:
            self._ready.add(number)
            if self.has_been_ready:
                self._all_ready()


class _Worker(NamedTuple):
    """A process, and both directions of speaking with it."""

    process: trio.Process
    pipes: trio.StapledStream[trio.abc.SendStream, trio.abc.ReceiveStream]


async def _start(command: Sequence[str]) -> _Worker:
    """In a process group of its own: ^C is for the parent, which gives the order."""
    pipe = subprocess.PIPE
    process = await trio.lowlevel.open_process(list(command), stdin=pipe, stdout=pipe, process_group=0)
    assert process.stdio is not None  # noqa: S101 - it has both pipes
    return _Worker(process, process.stdio)


@contextlib.asynccontextmanager
async def _ended_with_block(worker: _Worker) -> AsyncIterator[None]:
    """Kill the process at the end of the block if it still runs."""
    try:
        yield
    finally:
        worker.process.kill()
        with trio.CancelScope(shield=True):
            await worker.process.wait()
            await worker.pipes.aclose()


async def _pass_on(orders: Orders, post: Post, worker: _Worker) -> None:
    """Give the orders to a worker, and kill one that does not obey."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(post.deliver, worker.pipes)
        await orders.drain.wait()
        post.put(DRAIN)
        await orders.stop.wait()
        nursery.cancel_scope.cancel()
    await worker.pipes.send_stream.aclose()
    await trio.sleep(_PATIENCE)
    worker.process.kill()


def _ending(code: int) -> str:
    if code < 0:
        return f"was ended by signal {-code} ({signal.strsignal(-code)})"
    return f"ended with exit code {code}"
