"""Clients that others wrote, unmodified, on the simulated network: docs/explanation/other_clients.md.

A client that is not installed is skipped, and so is one that is installed in another version than the page is about.
"""

import importlib.metadata
import re
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
import trio

from trio_udp.testing import CaseResult, NotConformant, Report, SimNet, check_client, simulate
from trio_udp.testing._client_cases import CLIENT_CASES

PAGE: Final = Path(__file__).parent.parent.parent / "docs" / "explanation" / "other_clients.md"
RIGHT: Final = "192.0.2.7"
WRONG: Final = "203.0.113.66"
TIMEOUT: Final = 10
"""Seconds. dnspython counts them by the computer's clock, which does not jump, so a slow computer needs some."""


class Other(NamedTuple):
    """A client that somebody else wrote."""

    package: str
    module: str
    client: Callable[..., Any]
    """Takes the module first."""
    answer: Callable[[bytes], bytes]
    forge: Callable[[bytes], bytes]
    port: int


def dns_answer(query: bytes, address: str) -> bytes:
    """Made by dnspython, too."""
    message = pytest.importorskip("dns.message")
    rrset = pytest.importorskip("dns.rrset")
    question = message.from_wire(query)
    answer = message.make_response(question)
    answer.answer.append(rrset.from_text(question.question[0].name, 60, "IN", "A", address))
    wire = answer.to_wire()
    assert isinstance(wire, bytes)
    return wire


async def ask_dnspython(asyncquery: Any, host: str, port: int, **flags: bool) -> list[str]:
    """One query for an address."""
    query = pytest.importorskip("dns.message").make_query("www.example.com", "A")
    answer = await asyncquery.udp(query, host, timeout=TIMEOUT, port=port, **flags)
    return [str(rrset) for rrset in answer.answer]


def samp_answer(query: bytes, name: str) -> bytes:
    """What a game server says to the query `i`: SA-MP's query mechanism."""
    texts = (name.encode(), b"mode", b"English")
    return query[:11] + struct.pack("<?HH", False, 1, 50) + b"".join(struct.pack("<I", len(t)) + t for t in texts)


async def ask_samp_query(samp_query: Any, host: str, port: int) -> object:
    """What a game server says about itself."""
    with trio.fail_after(TIMEOUT):
        return await samp_query.Client(host, port).info()


async def ask_anyio(anyio: Any, host: str, port: int) -> bytes:
    """Send to a connected socket, and take what comes: as the documentation shows it, with a time limit around it."""
    async with await anyio.create_connected_udp_socket(host, port) as udp:
        await udp.send(b"Hi there!")
        with anyio.fail_after(TIMEOUT):
            return bytes(await udp.receive())


DNSPYTHON: Final = Other(
    "dnspython",
    "dns.asyncquery",
    ask_dnspython,
    partial(dns_answer, address=RIGHT),
    partial(dns_answer, address=WRONG),
    53,
)
SAFE: Final = partial(ask_dnspython, ignore_unexpected=True, ignore_errors=True)
OTHERS: Final = {
    "dnspython, defaults": DNSPYTHON,
    "dnspython, safe flags": DNSPYTHON._replace(client=SAFE),
    "samp-query": Other(
        "samp-query",
        "samp_query",
        ask_samp_query,
        partial(samp_answer, name="honest"),
        partial(samp_answer, name="FAKE"),
        7777,
    ),
    "anyio, connected socket": Other("anyio", "anyio", ask_anyio, bytes.upper, lambda _: b"FAKE!", 1060),
}
"""By the head of their column on the page."""


def column(name: str) -> tuple[str, dict[str, str]]:
    """What the page says about a client: the version it is about, and a word for each case."""
    rows = [
        [cell.strip(" `") for cell in line.strip("|").split("|")]
        for line in PAGE.read_text().splitlines()
        if line.startswith("|")
    ]
    versions = [re.findall(r" (\d[\d.]*)", head) for head in rows[0]]
    place = [re.sub(r" \d[\d.]*", "", head) for head in rows[0]].index(name)
    return versions[place][0], {row[0]: row[place] for row in rows[2:]}


def word(result: CaseResult) -> str:
    """What the page says about such a result."""
    if result.passed:
        return "passed"
    if result.happened.startswith("returned "):
        return "believed"
    if re.match("raised (Timeout|TimeoutError|TooSlowError)\\b", result.happened):
        return "no answer"
    return WORDS.get(result.happened) or result.happened.removeprefix("raised ").partition(":")[0]


WORDS: Final = {"requests are all the same": "no id", "left 1 more sockets open than before": "socket left open"}


def run_suite(other: Other, module: Any) -> Report:
    """All cases, whatever comes of them."""
    client = partial(other.client, module)
    try:
        return check_client(client, answer=other.answer, forge=other.forge, port=other.port)
    except NotConformant as error:
        return error.report


@pytest.mark.parametrize("name", OTHERS)
def test_the_page_says_what_another_client_fails(name: str) -> None:
    """Case by case, and how."""
    other = OTHERS[name]
    module = pytest.importorskip(other.module)
    version, words = column(name)
    installed = importlib.metadata.version(other.package)
    if installed != version:
        pytest.skip(f"the page is about {other.package} {version}, and {installed} is installed")
    report = run_suite(other, module)
    assert words == {result.name: word(result) for result in report if result.name != "undisturbed"}


def test_the_page_has_a_column_for_each_client_and_a_row_for_each_case() -> None:
    """Whatever is installed."""
    for name in OTHERS:
        assert list(column(name)[1]) == [case.name for case in CLIENT_CASES]


def test_dnspython_runs_unmodified() -> None:
    """Its own way to Trio: no socket, no backend and no resolver of ours is handed to it, and it is not told."""
    asyncquery = pytest.importorskip("dns.asyncquery")

    async def main(net: SimNet) -> list[str]:
        server = net.host("server", "192.0.2.53")

        async def serve(*, task_status: trio.TaskStatus[None]) -> None:
            with trio.socket.socket(type=trio.socket.SOCK_DGRAM) as sock:
                await sock.bind(("192.0.2.53", 53))
                task_status.started()
                query, client = await sock.recvfrom(512)
                await sock.sendto(dns_answer(query, RIGHT), client)

        async with trio.open_nursery() as nursery:
            with server.here():
                await nursery.start(serve)
            with net.host("client").here():
                found = await ask_dnspython(asyncquery, "192.0.2.53", 53)
        assert net.trace.count == 2
        return found

    assert simulate(main) == [f"www.example.com. 60 IN A {RIGHT}"]
