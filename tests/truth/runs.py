"""A program that measures, a relay that does harm, and what both say: ours and irtt, each with its own server.

The relay harms what measures and leaves alone what a program says besides, as irtt's handshake and the question for our
server's last word. So one seed does the same to the same probes of both, and no run is lost before it has begun.
"""

import functools
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final, NamedTuple

import trio

from trio_udp import Address, DropReason, serve
from trio_udp.proto import HEADER_SIZE
from trio_udp.testing import (
    DROP,
    FORGERIES,
    PASS,
    UNREACHABLE,
    Conditions,
    Packet,
    Passage,
    Relay,
    RelayStatistics,
    Rule,
    forge_at_random,
    relay,
)

from ..networks import address_of, plain_socket
from .figures import IRTT, OURS, Arrival, Format, Truth, truth

Forge = Callable[[Packet], Iterable[str]]
Serve = Callable[..., Awaitable[None]]
"""For `nursery.start`, which gives the port that is served on."""

ROOT: Final = Path(__file__).parent.parent.parent
HOST: Final = "127.0.0.1"
LONGEST: Final = 60
"""Seconds that a program may take."""
SIZE: Final = 80
"""Bytes of a probe, all headers but UDP's, in both programs: so one seed flips the same bits."""
VERSION: Final = 9
"""The first byte of our datagrams."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What the relay does."""

    up: str = ""
    down: str = ""
    """In the words of `--chaos`."""
    forge: float = 0.0
    forge_icmp: float = 0.0
    """Shares of the probes."""

    @property
    def options(self) -> str:
        """Of the command `relay`."""
        chaos = {"-up": self.up, "-down": self.down} if self.up != self.down else {"": self.up}
        options = [f"--chaos{name} {words}" for name, words in chaos.items() if words]
        shares = {"forge": self.forge, "forge-icmp": self.forge_icmp}
        return " ".join([*options, *(f"--{name} {share:.0%}" for name, share in shares.items() if share)])


FAULTS: Final = {
    "lost upstream": Fault(up="drop=10%"),
    "lost downstream": Fault(down="drop=10%"),
    "duplicated upstream": Fault(up="dup=10%"),
    "duplicated downstream": Fault(down="dup=10%"),
    "reordered and lost": Fault(up="drop=20%,reorder=20%:35ms", down="drop=20%,reorder=20%:35ms"),
    "flipped bits": Fault(up="corrupt=10%", down="corrupt=10%"),
    "forged replies": Fault(forge=0.2),
    "forged ICMP": Fault(forge_icmp=0.1),
    "all at once": Fault(
        up="drop=10%,dup=10%,reorder=10%:35ms,corrupt=5%",
        down="drop=10%,dup=10%,reorder=10%:35ms,corrupt=5%",
        forge=0.2,
        forge_icmp=0.1,
    ),
}


class Program(NamedTuple):
    """One that measures."""

    form: Format
    serve: Serve
    ask: Callable[[int, int], list[str]]
    """The command that sends so many probes to this port."""


INTERVAL: Final = 20
"""Milliseconds."""


async def _serve(task_status: trio.TaskStatus[int]) -> None:
    """Our server, until cancelled."""
    async with trio.open_nursery() as nursery:
        server = await nursery.start(functools.partial(serve, lambda request: request.payload, 0, host=HOST))
        task_status.started(server.address.port)


async def _serve_irtt(task_status: trio.TaskStatus[int]) -> None:
    """The command `irtt server` on a free port, until cancelled."""
    with plain_socket(HOST) as probe:
        there = address_of(probe)
    command = ["irtt", "server", "-b", str(there)]
    process = await trio.lowlevel.open_process(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with trio.fail_after(LONGEST):
            while not _is_taken(there):
                await trio.sleep(0.02)
        task_status.started(there.port)
        await trio.sleep_forever()
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


def _is_taken(address: Address) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(address)
        except OSError:
            return True
    return False


def ping(*options: str) -> Program:
    """Ours, with these options behind the usual ones."""
    command = [sys.executable, "-m", "trio_udp", "ping", HOST, "-i", f"{INTERVAL}ms", "-s", str(SIZE - HEADER_SIZE)]
    return Program(OURS, _serve, lambda port, count: [*command, "-p", str(port), "-c", str(count), *options])


def irtt(*options: str) -> Program:
    """irtt, which measures for as long as it is told to."""
    command = ["irtt", "client", "-i", f"{INTERVAL}ms", "-l", str(SIZE), "--wait=1s", *options]
    return Program(IRTT, _serve_irtt, lambda port, count: [*command, "-d", f"{count * INTERVAL}ms", f"{HOST}:{port}"])


class Ended(NamedTuple):
    """What a command has said."""

    code: int
    out: str
    err: str


class Run(NamedTuple):
    """What happened in one run, and what was said about it."""

    form: Format
    passages: list[Passage]
    counted: RelayStatistics
    ended: Ended

    @property
    def forged(self) -> list[Passage]:
        """What the relay has made up."""
        return [one for one in self.passages if one.forged and one.has_left]

    @property
    def hints(self) -> Counter[str]:
        """What Linux makes of the forged ICMP errors."""
        return Counter(ERRNOS[one.forged] for one in self.forged if one.forged in ERRNOS)

    def happened(self) -> Truth:
        """The figures as they ought to be."""
        questions = sorted(self._passed("up"), key=lambda one: one.packet.number)
        found = truth(
            self.form,
            (one.packet.data for one in questions),
            self._arrivals("up"),
            [*self._arrivals("down"), *self._altered()],
        )
        found.rejected.update(filter(None, map(self._reason_for, self.forged)))
        return found

    def _passed(self, direction: str) -> list[Passage]:
        return [one for one in self.passages if one.direction == direction and not one.forged]

    def _arrivals(self, direction: str) -> list[Arrival]:
        """In order; until the program had its server's last word, which is about what had arrived by then."""
        passed, last = self._passed(direction), self._last_words()
        left = [(copy.order, one.packet, copy.data) for one in passed for copy in one.copies if copy.order is not None]
        found = [Arrival(packet.number, packet.data, data) for _, packet, data in sorted(left, key=lambda one: one[0])]
        ends = (at for at, one in enumerate(found) if one.whole[self.form.ids] in last)
        return found[: next(ends, len(found))]

    def _last_words(self) -> set[bytes]:
        """The ids of the first of them that has come."""
        words = (one for one in self._passed("down") if one.has_left and not self.form.is_measured(one.packet.data))
        return {word.packet.data[self.form.ids] for word in list(words)[:1]} if self.form is OURS else set()

    def _altered(self) -> list[Arrival]:
        """A forged reply that is an old one with another end is that one, changed."""
        altered = (one.packet.data for one in self.forged if one.forged == "altered" and len(one.packet.data) == SIZE)
        return [Arrival(0, data[:-1] + bytes([data[-1] ^ 1]), data) for data in altered]

    def _reason_for(self, one: Passage) -> DropReason | None:
        """Why a forgery is not believed."""
        if one.forged in ("stray", "reflected"):
            return DropReason.WRONG_PEER if one.forged == "stray" else DropReason.WRONG_DIRECTION
        if one.forged in UNREACHABLE or (len(one.packet.data) == SIZE and one.forged == "altered"):
            return None
        assert one.packet.data[0] != VERSION, "one in 256 random bytes: choose another seed"
        return DropReason.WRONG_VERSION


ERRNOS: Final = {
    "port unreachable": "ECONNREFUSED",
    "host unreachable": "EHOSTUNREACH",
    "network unreachable": "ENETUNREACH",
    "prohibited": "EHOSTUNREACH",
}
"""For IPv4."""


async def run_through(fault: Fault, program: Program, *, count: int, seed: int, has_last_word: bool = True) -> Run:
    """Let a program measure its server through a relay with this fault."""
    passages: list[Passage] = []
    async with trio.open_nursery() as nursery:
        port = await nursery.start(program.serve)
        start = functools.partial(
            relay,
            (HOST, 0),
            (HOST, port),
            up=[_rule(fault.up, f"{seed} up", program.form, has_last_word=has_last_word)],
            down=[_rule(fault.down, f"{seed} down", program.form, has_last_word=has_last_word)],
            forge=_forge(fault.forge, f"{seed} forge", FORGERIES, program.form),
            forge_icmp=_forge(fault.forge_icmp, f"{seed} forge icmp", UNREACHABLE, program.form),
            random=Random(f"{seed} junk"),
            on_passage=passages.append,
        )
        running: Relay = await nursery.start(start)
        ended = await _ended(program.ask(running.address.port, count))
        nursery.cancel_scope.cancel()
    return Run(program.form, passages, running.statistics(), ended)


def _rule(words: str, seed: str, form: Format, *, has_last_word: bool) -> Rule:
    """The words' rule, as the command makes it, for what measures."""
    harm = Conditions.parse(words).rule(Random(seed))
    other = PASS if has_last_word else DROP
    return lambda packet: harm(packet) if form.is_measured(packet.data) else other


def _forge(share: float, seed: str, kinds: Sequence[str], form: Format) -> Forge | None:
    if not share:
        return None
    forge = forge_at_random(share, Random(seed), kinds)
    return lambda packet: forge(packet) if form.is_measured(packet.data) else ()


async def _ended(command: list[str]) -> Ended:
    with trio.fail_after(LONGEST):
        done = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False, cwd=ROOT)
    return Ended(done.returncode, done.stdout.decode(), done.stderr.decode())


def why_not(fault: Fault) -> str | None:
    """Why this cannot be done here; None where it can."""
    if fault.forge_icmp:
        try:
            socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW).close()
        except OSError as exc:
            return f"forging ICMP takes a raw socket: {exc}"
    return None
