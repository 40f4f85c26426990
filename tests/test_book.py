"""The book's own pair talks to ours, in both directions, with losses and without."""

import random
import re
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Final

import pytest
import trio

import trio_udp
from trio_udp import DropReason, Request

from .book import book_server
from .cli.command import Running, run_command, serving

PROGRAMS: Final = Path(__file__).parent / "book"
PROFILE: Final = ("--profile", "book")


@asynccontextmanager
async def running_book(program: str, *arguments: str) -> AsyncIterator[Running]:
    """Start one of the book's programs; it is killed at the end of the block if it still runs."""
    command = [sys.executable, str(PROGRAMS / program), *arguments]
    process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        yield Running(process)
    finally:
        if process.returncode is None:
            process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
        assert process.stdout is not None
        await process.stdout.aclose()


def losing(datagrams: int) -> tuple[str, ...]:
    """Options with which either server loses so many datagrams at its start, and then takes one."""

    def loses(seed: int) -> bool:
        draws = random.Random(seed)
        return all(draws.random() < 0.5 for _ in range(datagrams)) and draws.random() >= 0.5

    return ("--drop", "0.5", "--seed", str(next(filter(loses, count()))))


NO_LOSS: Final = ("--drop", "0")


@pytest.mark.parametrize(("losses", "least_attempts"), [(NO_LOSS, 1), (losing(2), 3)])
async def test_our_ask_gets_the_answer_of_the_books_server(losses: tuple[str, ...], least_attempts: int) -> None:
    """Case by name: the server that drops at random, and the client that backs off."""
    async with running_book("book_server.py", "0", *losses) as server:
        line = await server.line()
        port = line.rpartition(", ")[2].rstrip(")")
        code, out, err = await run_command("ask", "127.0.0.1", "hello", "-v", "-p", port, *PROFILE)
    assert (code, out) == (0, ["Your data was 5 bytes long"])
    attempts = [line for line in err if ": attempt " in line]
    assert len(attempts) >= least_attempts
    assert "verified: weak" in err[0]


@pytest.mark.parametrize(("losses", "least_attempts"), [(NO_LOSS, 1), (losing(2), 3)])
async def test_the_books_client_gets_the_answer_of_our_serve(losses: tuple[str, ...], least_attempts: int) -> None:
    """E4 has its one exception here: the sentence is 4 bytes longer than the question."""
    async with serving(*PROFILE, *losses) as (server, port), running_book("book_client.py", port) as client:
        *waits, answer = await client.rest()
        assert await client.end() == 0
        server.interrupt()
        lost = [line for line in await server.rest() if line.startswith("pretending to drop packet from ")]
    assert answer == "the server says 'Your data was 23 bytes long'"
    assert (
        waits[:least_attempts] == ["waiting up to 0.1 s", "waiting up to 0.2 s", "waiting up to 0.4 s"][:least_attempts]
    )
    assert len(lost) >= least_attempts - 1


async def test_the_books_client_gives_up_on_our_serve_that_loses_all() -> None:
    """Five transmissions, as the book has it."""
    async with serving(*PROFILE, "--drop", "1") as (_, port), running_book("book_client.py", port) as client:
        lines = await client.rest()
        assert await client.end() == 1
    assert [line for line in lines if "waiting" in line] == [
        f"waiting up to {wait} s" for wait in (0.1, 0.2, 0.4, 0.8, 1.6)
    ]
    assert lines[-1] == "RuntimeError: the server is down, it seems"


def sentence(request: Request) -> bytes:
    """What `serve --profile book` answers."""
    return f"Your data was {len(request.payload)} bytes long".encode()


async def test_the_books_server_and_ours_fall_silent_after_one_injected_datagram() -> None:
    """E5: two of the book's servers would answer each other for ever (CVE-2024-2169); ours knows the sentence."""
    died: list[type[Exception]] = []

    def answer_until_death(sock: socket.socket) -> None:
        try:
            book_server.answer_all(sock, drop=0)
        except UnicodeDecodeError as exc:
            died.append(type(exc))

    profile = trio_udp.Book()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as books:
        books.bind(("127.0.0.1", 0))
        async with trio.open_nursery() as nursery:
            ours = await nursery.start(partial(trio_udp.serve, sentence, 0, host="127.0.0.1", profile=profile))
            # The injected datagram has the source of the book's server, because it is sent by that server's socket.
            books.sendto(b"hello", ours.address)
            thread = threading.Thread(target=answer_until_death, args=[books])
            thread.start()
            # Each answers a request after all that came before it, so what was to be said has been said by then.
            for server in (books.getsockname(), ours.address, books.getsockname(), ours.address):
                async with trio_udp.open_client(*server, profile=profile) as client:
                    assert await client.request(b"Are you there?") == b"Your data was 14 bytes long"
            statistics = ours.statistics()
            nursery.cancel_scope.cancel()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.sendto(b"\x80", books.getsockname())
        thread.join()
    assert (statistics.requests, statistics.replies) == (3, 3)
    assert statistics.dropped == {DropReason.WRONG_DIRECTION: 1}
    assert died == [UnicodeDecodeError], "one byte that is not ASCII kills the book's server"


async def test_one_byte_that_is_not_ascii_kills_the_books_server_and_not_ours() -> None:
    """E7: ours counts it as malformed and goes on."""
    async with running_book("book_server.py", "0", *NO_LOSS) as server, serving(*PROFILE) as (ours, port):
        line = await server.line()
        books_port = line.rpartition(", ")[2].rstrip(")")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.sendto(b"\x80", ("127.0.0.1", int(books_port)))
            stranger.sendto(b"\x80", ("127.0.0.1", int(port)))
        assert re.match("UnicodeDecodeError: ", (await server.rest())[-1])
        assert (await run_command("ask", "127.0.0.1", "hello", "-p", port, *PROFILE))[0] == 0
        ours.interrupt()
        assert (await ours.rest())[-1] == "dropped: 1 malformed"
