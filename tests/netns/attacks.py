"""What attacks do to other people's programs, and to ours: `python -m tests.netns.attacks [NAME …]`.

Runs each program's client and server on two hosts, does to them what the rows of the table say, and writes what came
of it into docs/explanation/attacks.md: a column for each program that is installed, or that is named. Other columns
stay as they are. A test compares the columns of what is installed with what happens.

A client is asked one question, and attacked while the true answer is held back: what it says then is its word. A server
is sent what its own clients send, from addresses that are not theirs.
"""

import contextlib
import importlib.metadata
import json
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import Final, NamedTuple

import trio

from trio_udp import Address
from trio_udp.testing import Packet, Verdict, delay, drop

from ..networks import reply_to
from .namespaces import Host, why_not
from .programs_of_others import BUSY, QUESTION, dns_answer
from .wire import LEFT, RIGHT, STRANGER, Wire, wire

ROOT: Final = Path(__file__).parent.parent.parent
PAGE: Final = ROOT / "docs" / "explanation" / "attacks.md"
PORT: Final = 1060
BUSY_PORT: Final = 1061
HELD: Final = 0.15
"""Seconds for which the true answer is held back."""
LONGEST: Final = 30
"""Seconds for which a program may say nothing."""
QUIET: Final = 0.05
"""Seconds in which a server answers, if it does."""
FLOOD: Final = 10_000
WARM_UP: Final = 1_000
BURST: Final = 5_000
STEADY: Final = 2**20
"""Bytes: what memory may grow by without being called growth."""
CHUNK: Final = 50
LOOPING: Final = 20
"""Datagrams after one: enough to say that it will not end."""

Forge = Callable[[bytes, bytes], bytes]
"""From a question, and an earlier answer, to an answer that says something else and looks right."""


def fake(question: bytes, answer: bytes) -> bytes:
    """Where nothing has to be right."""
    return b"FAKE"


def forge_irtt(question: bytes, answer: bytes) -> bytes:
    """The reply bit, the token and the number of the question, and the rest from an earlier answer."""
    return question[:3] + b"\x02" + question[4:16] + answer[16:]


def forge_aiocoap(question: bytes, answer: bytes) -> bytes:
    """An acknowledgement that carries 2.05 Content, with the message id and the token of the question."""
    token = question[0] & 15
    return bytes([0x60 | token, 0x45]) + question[2 : 4 + token] + b"\xffFAKE"


def forge_rpcudp(question: bytes, answer: bytes) -> bytes:
    """A response with the question's id, and a short text as MessagePack has it."""
    return b"\x01" + question[1:21] + b"\xa4FAKE"


PYTHON: Final = "Python"


class Program(NamedTuple):
    """What has to be known about a program to attack it."""

    package: str = ""
    """Where its version stands, or PYTHON; empty if it has none."""
    forge: Forge = fake
    ids: Mapping[str, slice] = {}
    """Where the ids stand in an answer."""
    is_question: Callable[[bytes], bool] = bool
    """Whether this datagram of a client's is the one to wait for an answer to."""
    loses_question: bool = False
    """Whether the attacked question stays without its true answer, because the client asks more than one."""
    has_server: bool = True


PROGRAMS: Final = {
    "trio_udp": Program(
        "trio-udp",
        lambda question, answer: reply_to(question, b"FAKE"),
        {"instance id": slice(8, 16), "request id": slice(16, 24)},
    ),
    "irtt": Program(
        "irtt",
        forge_irtt,
        {"token": slice(4, 12)},
        is_question=lambda data: data[3] == 0,
        loses_question=True,
    ),
    "dnspython": Program(
        "dnspython",
        lambda question, answer: dns_answer(question, "203.0.113.66"),
        {"id": slice(0, 2)},
        has_server=False,
    ),
    "aiocoap": Program("aiocoap", forge_aiocoap, {"message id": slice(2, 4), "token": slice(4, 5)}),
    "anyio": Program("anyio"),
    "asyncio": Program(PYTHON),
    "asyncudp": Program("asyncudp"),
    "rpcudp": Program("rpcudp", forge_rpcudp, {"id": slice(1, 21)}),
    "book, local": Program(),
    "book, remote": Program(),
}
# Rows about keys, cookies and at-most-once belong behind these, each with its measure in MEASURES.
ROWS: Final = (
    "a stranger's datagram",
    "junk from the server's address",
    "right shape, wrong id",
    "forged ICMP unreachable",
    "answers loop between servers",
    "bytes out for a byte in, at most",
    f"memory, {FLOOD:,} requests from as many sources",
    f"{BURST:,} requests while it is busy",
    "a byte 0x80",
)


def version_of(name: str) -> str | None:
    """Which version is here; None if it is not installed."""
    package = PROGRAMS[name].package
    if package == PYTHON:
        return platform.python_version().rpartition(".")[0]
    if package == "irtt":
        found = shutil.which("irtt") and subprocess.run(["irtt", "version"], capture_output=True, text=True, check=True)
        return re.findall(r"irtt version: ([\d.]+)", found.stdout)[0] if found else None
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(package) if package else ""
    return None


# A program at either end of the wire


class Running:
    """One that serves, or asks whenever it is told to."""

    def __init__(self, process: trio.Process) -> None:
        self.process: Final = process
        self._unread = b""

    async def line(self) -> str:
        """The next line it prints; empty when it has ended."""
        assert self.process.stdout is not None
        while b"\n" not in self._unread:
            with trio.fail_after(LONGEST):
                chunk = await self.process.stdout.receive_some()
            if not chunk:
                return ""
            self._unread += chunk
        line, _, self._unread = self._unread.partition(b"\n")
        return line.decode()

    async def ask(self) -> dict[str, str]:
        """What comes of asking once."""
        assert self.process.stdin is not None
        await self.process.stdin.send_all(b"\n")
        return dict(json.loads(await self.line()))

    async def go_on(self) -> None:
        """Let one that is busy have time."""
        assert self.process.stdin is not None
        await self.process.stdin.send_all(b"\n")

    async def has_read_all(self) -> None:
        """Wait until the kernel holds no datagrams for it."""
        with trio.fail_after(LONGEST):
            while any(int(line.split()[4].partition(":")[2], 16) for line in self._sockets()):
                await trio.sleep(0.001)

    def _sockets(self) -> list[str]:
        """Those of its host."""
        return Path(f"/proc/{self.process.pid}/net/udp").read_text().splitlines()[1:]

    @property
    def memory(self) -> int:
        """Bytes."""
        statm = Path(f"/proc/{self.process.pid}/statm").read_text()
        return int(statm.split()[1]) * 4096


@contextlib.asynccontextmanager
async def running(on: Host, what: str, name: str, server: str, port: int = PORT) -> AsyncIterator[Running]:
    """A program on this host, for the length of the block."""
    words = [sys.executable, "-m", "tests.netns.programs_of_others", what, name, server, str(port)]
    pipe = subprocess.PIPE
    process = await trio.lowlevel.open_process(
        on.command(*words), stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, cwd=ROOT
    )
    started = Running(process)
    try:
        assert await started.line() == "ready", f"{name} does not start: {' '.join(words)}"
        yield started
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
        for pipe_end in (process.stdin, process.stdout):
            assert pipe_end is not None
            await pipe_end.aclose()


@dataclass
class Ring:
    """Where a program is attacked: both of its ends, what passed between them undisturbed, and the means."""

    name: str
    wire: Wire
    client: Running
    server: Running
    undisturbed: str = ""
    """What the client says when nobody interferes."""
    disturbed: str = ""
    """And when the true answer is late, or one is lost, as in every attack."""
    sent: list[bytes] = field(default_factory=list)
    """By the client."""
    question: bytes = b""
    answer: bytes = b""

    @property
    def program(self) -> Program:
        """What is known about it."""
        return PROGRAMS[self.name]

    async def learn(self) -> None:
        """Let it ask undisturbed."""
        came = await self.client.ask()
        assert "answer" in came, f"{self.name} gets no answer from its own server: {came}"
        self.undisturbed = came["answer"]
        packets = [record.packet for record in self.wire.trace]
        self.sent = [packet.data for packet in packets if packet.destination.port == PORT]
        self.question = next(data for data in self.sent if self.program.is_question(data))
        asked = [packet.data for packet in packets].index(self.question)
        self.answer = next(packet.data for packet in packets[asked:] if packet.source.port == PORT)
        self.disturbed = (await self.attacked(lambda packet: None))["answer"]

    async def attacked(self, attack: Callable[[Packet], object]) -> dict[str, str]:
        """What the client says when this is done while it waits for the answer to its first question."""
        seen: list[Packet] = []

        def interfere(packet: Packet) -> Verdict | None:
            if packet.destination.port != PORT or not self.program.is_question(packet.data):
                return None
            if seen:
                return None if self.program.loses_question else delay(HELD)
            seen.append(packet)
            attack(packet)
            return drop("never answered") if self.program.loses_question else delay(HELD)

        with self.wire.rule(interfere):
            return await self.client.ask()

    async def word(self, attack: Callable[[Packet], object]) -> str:
        """What this attack does to the client."""
        came = await self.attacked(attack)
        if "error" in came:
            return came["error"]
        return "ignored" if came["answer"] == self.disturbed else "believed"


@contextlib.asynccontextmanager
async def ring(name: str) -> AsyncIterator[Ring]:
    """This program on both hosts, having asked once undisturbed."""
    async with (
        wire() as between,
        running(between.right, "serve", name, RIGHT[0]) as server,
        running(between.left, "ask", name, RIGHT[0]) as client,
    ):
        place = Ring(name, between, client, server)
        await place.learn()
        yield place


# The rows about clients


def summary(words: Mapping[str, str]) -> str:
    """One word if it is the same for all; otherwise what differs, and what does it."""
    if len(set(words.values())) == 1:
        return next(iter(words.values()))
    by_word: dict[str, list[str]] = {}
    for what, word in words.items():
        by_word.setdefault(word, []).append(what)
    return "; ".join(f"{word}: {', '.join(whats)}" for word, whats in by_word.items() if word != "ignored")


async def strangers_datagram(place: Ring) -> str:
    """From a host that nobody has asked: junk, and the very answer that would be believed from the right one."""
    source = Address(STRANGER, PORT)
    forge = place.program.forge
    return summary(
        {
            "junk": await place.word(lambda packet: place.wire.inject(b"FAKE", source, packet.source)),
            "a right answer": await place.word(
                lambda packet: place.wire.inject(forge(packet.data, place.answer), source, packet.source)
            ),
        }
    )


JUNK: Final = {"nothing": b"", "0x80": b"\x80", "FAKE": b"FAKE", "noise": Random(3).randbytes(100)}


async def junk_from_the_server(place: Ring) -> str:
    """Whatever is not an answer, from the right address and port."""
    return summary({what: await place.word(partial(answer_with, place, data)) for what, data in JUNK.items()})


def answer_with(place: Ring, data: bytes, packet: Packet) -> None:
    """Be the server."""
    place.wire.inject(data, packet.destination, packet.source)


async def wrong_id(place: Ring) -> str:
    """Everything right but one id, from the right address and port."""
    words = {}
    for what, where in place.program.ids.items():

        def attack(packet: Packet, where: slice = where) -> None:
            forged = bytearray(place.program.forge(packet.data, place.answer))
            forged[where] = bytes(byte ^ 0xFF for byte in forged[where])
            answer_with(place, bytes(forged), packet)

        words[what] = await place.word(attack)
    return summary(words) if words else "no ids"


async def forged_icmp(place: Ring) -> str:
    """From a router on the way, about the very question."""
    kinds = ("port unreachable", "host unreachable", "network unreachable", "prohibited")
    return summary({kind: await place.word(partial(place.wire.inject_icmp, kind)) for kind in kinds})


# The rows about servers


async def loop(place: Ring) -> str:
    """Two servers, and one datagram to one that says it comes from the other."""
    other, sent = Address(LEFT[0], PORT), place.wire.trace
    async with running(place.wire.left, "serve", place.name, LEFT[0]):
        for data in (place.question, place.answer, JUNK["nothing"], JUNK["FAKE"]):
            before = sent.count
            place.wire.inject(data, other, Address(RIGHT[0], PORT))
            await trio.sleep(0.2)
            if sent.count - before > LOOPING:
                before = sent.count
                await trio.sleep(1)
                busy = sent.count - before
                with place.wire.rule(lambda packet: drop("cut")):
                    await trio.sleep(0.1)
                return f"for ever, {busy:,} a second"
    return "no"


async def amplification(place: Ring) -> str:
    """The largest share, over what a client sends and all its beginnings: from strangers, and from a client that waits.

    The client's own, because some servers answer only those they know.
    """
    shares = [await share_for_strangers(place)]
    asked = trio.Event()
    questions: list[Packet] = []

    def keep(packet: Packet) -> Verdict | None:
        if packet.destination.port != PORT or not place.program.is_question(packet.data):
            return None
        questions.append(packet)
        asked.set()
        return drop("kept")

    async with trio.open_nursery() as nursery:
        with place.wire.rule(keep):
            nursery.start_soon(place.client.ask)
            await asked.wait()
            question = questions[0]
            for data in beginnings(question.data):
                answers = await answers_to(place, data, question.source)
                shares.append(sum(map(len, answers)) / len(data))
    return f"{max(shares):.2f}"


async def share_for_strangers(place: Ring) -> float:
    """Each asks from a port of their own, so all can ask at once."""
    probes = dict(enumerate({part for data in (place.sent[0], place.question) for part in beginnings(data)}, 2000))
    answers = dict.fromkeys(probes, 0)

    def count(packet: Packet) -> Verdict | None:
        if packet.source.port != PORT or packet.destination.host != STRANGER:
            return None
        answers[packet.destination.port] += len(packet.data)
        return drop("seen")

    with place.wire.rule(count):
        for port, data in probes.items():
            place.wire.inject(data, Address(STRANGER, port), Address(RIGHT[0], PORT))
        await trio.sleep(5 * QUIET)
    return max(answers[port] / len(data) for port, data in probes.items())


def beginnings(data: bytes) -> list[bytes]:
    """The first bytes of it, and all, the fewest first: an answer that comes late is held against a longer one."""
    return [*(data[:length] for length in range(1, min(len(data), 64))), data]


async def answers_to(place: Ring, data: bytes, source: Address) -> list[bytes]:
    """What the server sends there after this, in a while."""
    answers: list[bytes] = []
    first = trio.Event()

    def note(packet: Packet) -> Verdict | None:
        if packet.source.port != PORT or packet.destination != source:
            return None
        answers.append(packet.data)
        first.set()
        return drop("seen")

    with place.wire.rule(note):
        place.wire.inject(data, source, Address(RIGHT[0], PORT))
        with trio.move_on_after(QUIET):
            await first.wait()
            await trio.sleep(QUIET / 10)  # for others
    return answers


async def flood(place: Ring) -> str:
    """Requests from as many addresses and ports, no faster than they are answered; then look at its memory."""
    await requests_from_everywhere(place, range(WARM_UP))
    before = place.server.memory
    await requests_from_everywhere(place, range(WARM_UP, WARM_UP + FLOOD))
    grown = place.server.memory - before
    return f"grows, {grown / 2**20:.1f} MiB" if grown > STEADY else "steady"


async def requests_from_everywhere(place: Ring, numbers: range) -> None:
    """Each from another source; all answers are seen by the wire, and by nobody else."""
    answered = 0

    def note(packet: Packet) -> Verdict | None:
        nonlocal answered
        answered += packet.source.port == PORT
        return drop("seen")

    with place.wire.rule(note):
        for number in numbers:
            place.wire.inject(place.sent[0], source_of(number), Address(RIGHT[0], PORT))
            if number % CHUNK == CHUNK - 1:
                wanted = number - numbers.start + 1
                with trio.move_on_after(0.2):
                    while answered < wanted:
                        await trio.sleep(0.001)


def source_of(number: int) -> Address:
    """One of many who do not exist."""
    return Address(f"10.78.{number >> 8}.{number & 255}", 1024 + number)


async def burst(place: Ring) -> str:
    """No faster than they are taken off the socket; then the program has time for them, and the answers are counted."""
    if place.name not in BUSY:
        return "not tried"
    answers: list[bytes] = []

    def note(packet: Packet) -> Verdict | None:
        if packet.source.port == BUSY_PORT:
            answers.append(packet.data)
        return drop("seen")

    async with running(place.wire.right, "busy", place.name, RIGHT[0], BUSY_PORT) as server:
        with place.wire.rule(note):
            for number in range(BURST):
                place.wire.inject(place.question, source_of(number), Address(RIGHT[0], BUSY_PORT))
                if number % CHUNK == CHUNK - 1:
                    await server.has_read_all()
            await server.go_on()
            count = -1
            while count != (count := len(answers)):
                await trio.sleep(0.5)
    right = sum(QUESTION.upper().encode() in answer for answer in answers)
    kept = "all" if right == BURST else f"{right:,}"
    return f"keeps {kept}" + (f", refuses {len(answers) - right:,}" if len(answers) > right else "")


async def one_byte(place: Ring) -> str:
    """To the server; then somebody asks it."""
    place.wire.inject(b"\x80", Address(STRANGER, PORT), Address(RIGHT[0], PORT))
    await trio.sleep(QUIET)
    return "answers on" if (await place.client.ask()).get("answer") == place.undisturbed else "dies"


MEASURES: Final[dict[str, Callable[[Ring], Awaitable[str]]]] = dict(
    zip(
        ROWS,
        (strangers_datagram, junk_from_the_server, wrong_id, forged_icmp, loop, amplification, flood, burst, one_byte),
        strict=True,
    )
)
ABOUT_SERVERS: Final = ROWS[4:]


async def measure(name: str, rows: tuple[str, ...] = ROWS) -> dict[str, str]:
    """This program's column."""
    words = {}
    async with ring(name) as place:
        for row in rows:
            assert place.server.process.poll() is None, f"{name}: its server has died before {row}"
            has_it = place.program.has_server or row not in ABOUT_SERVERS
            words[row] = await MEASURES[row](place) if has_it else "no server"
    return words


# The page


class Column(NamedTuple):
    """What the page says about one program."""

    version: str
    words: dict[str, str]


def columns(text: str) -> dict[str, Column]:
    """The page's table, by the names of the programs."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    heads = [re.findall(r"^(.*?) ?([\d.]*)$", head)[0] for head in rows[0][1:]]
    return {
        name: Column(version, {row[0]: row[place] for row in rows[2:]})
        for place, (name, version) in enumerate(heads, 1)
    }


def table(found: Mapping[str, Column]) -> Iterator[str]:
    """The lines of the table."""
    known = {name: found[name] for name in PROGRAMS if name in found}
    yield "| attack |" + "".join(f" {name} {column.version}".rstrip() + " |" for name, column in known.items())
    yield "|---|" + "---|" * len(known)
    for row in ROWS:
        yield f"| {row} |" + "".join(f" {column.words[row]} |" for column in known.values())


def written(text: str, found: Mapping[str, Column]) -> str:
    """The page with this table in place of the one it has."""
    before, _, after = text.partition("| attack |")
    rest = after.splitlines(keepends=True)
    behind = next(index for index, line in enumerate(rest) if index and not line.startswith("|"))
    return before + "\n".join(table(found)) + "\n" + "".join(rest[behind:])


def without_figures(word: str) -> str:
    """What a test compares: how fast and how much is another matter on another machine."""
    return re.sub(r", [\d.,]+ (a second|MiB)", "", word)


def main() -> None:
    """Measure what is named, or all that is installed, and write the page."""
    reason = why_not()
    if reason is not None:
        raise SystemExit(reason)
    text = PAGE.read_text()
    found = columns(text)
    for name in sys.argv[1:] or PROGRAMS:
        version = version_of(name)
        if version is None:
            print(f"{name}: not installed", file=sys.stderr)
            continue
        found[name] = Column(version, trio.run(measure, name))
        print(name, version, json.dumps(found[name].words, indent=4, ensure_ascii=False), flush=True)
    PAGE.write_text(written(text, found))


if __name__ == "__main__":
    main()
