"""`serve`: as a process."""

import re
import signal
import socket

import pytest

from .command import run_command, running, serving


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_serve_drains_prints_statistics_and_exits_0(number: signal.Signals) -> None:
    """The first signal."""
    async with serving() as (server, port):
        code, out, _ = await run_command("ask", "127.0.0.1", "hello", "-p", port)
        assert (code, out) == (0, ["hello"])
        server.process.send_signal(number)
        lines = await server.rest()
        assert await server.end() == 0
    assert lines == [
        "",
        "--- server statistics ---",
        "requests 1, replies 1, retries 0, busy 0, errors 0, unanswered 0",
    ]


async def test_serve_listens_on_every_interface_by_default_and_when_asked_with_an_empty_name() -> None:
    """One line a socket, printed at once; IPv4 and IPv6 share the port."""
    for interface in ([], [""]):
        async with running("serve", *interface, "-p", "0") as server:
            line = await server.line()
            assert re.fullmatch(r"listening on 0\.0\.0\.0:\d+", line)
            port = line.rpartition(":")[2]
            if socket.has_ipv6:
                assert await server.line() == f"listening on [::]:{port}"
            for host in ["127.0.0.1", "127.0.0.2", "localhost"]:
                assert (await run_command("ask", host, "hello", "-p", port))[:2] == (0, ["hello"])


async def test_serve_with_drop_1_loses_every_request_and_says_so() -> None:
    """As the book's server says it; `ask` gives up on the book's schedule."""
    async with serving("--drop", "1", "--profile", "book") as (server, port):
        code, out, err = await run_command("ask", "127.0.0.1", "hello", "-p", port, "--profile", "book")
        assert (code, out) == (1, [])
        assert re.fullmatch(r"trio_udp ask: no reply from 127\.0\.0\.1:\d+ after 5 attempts in 3\.\d s", err[-1])
        for _ in range(5):
            assert re.fullmatch(r"pretending to drop packet from 127\.0\.0\.1:\d+", await server.line())


async def test_serve_with_a_seed_loses_the_same_requests_again() -> None:
    """`--drop 0.5 --seed 7`, twice."""
    fates = []
    for _ in range(2):
        async with serving("--drop", "0.5", "--seed", "7") as (server, port):
            _, out, _ = await run_command("ping", "127.0.0.1", "-c", "8", "-i", "0.01", "-W", "0.3", "-p", port)
            server.interrupt()
            report = (await server.rest())[-1]
            fates.append((re.findall(r"icmp_seq=(\d+)", "\n".join(out)), report))
    assert fates[0] == fates[1]
    assert 0 < len(fates[0][0]) < 8


@pytest.mark.parametrize("workers", [[], ["--workers", "2"]])
async def test_serve_drops_what_is_above_the_limit(workers: list[str]) -> None:
    """One request in a long time from this host; with workers, which all have it, one client is one worker's."""
    async with serving("--limit", "0.001/s", "--limit-all", "1000/s", *workers) as (server, port):
        code, out, _ = await run_command("ping", "127.0.0.1", "-c", "3", "-i", "0.01", "-W", "0.3", "-p", port)
        assert (code, sum("icmp_seq=" in line for line in out)) == (0, 1)
        server.interrupt()
        lines = await server.rest()
        assert await server.end() == 0
    assert lines[-2] == "requests 1, replies 1, retries 0, busy 0, errors 0, unanswered 0"
    dropped = re.fullmatch(r"dropped: (\d+) over_budget", lines[-1])  # and the last question
    assert dropped
    assert int(dropped[1]) >= 3


async def test_serve_has_a_limit_that_ping_does_not_meet_and_can_do_without() -> None:
    """The default, and `off`."""
    for limit in ([], ["--limit", "off"]):
        async with serving(*limit) as (server, port):
            code, out, _ = await run_command("ping", "127.0.0.1", "-c", "50", "-i", "0.001", "-p", port)
            assert (code, sum("icmp_seq=" in line for line in out)) == (0, 50)
            server.interrupt()
            # The last is ping's question what has come.
            assert (await server.rest())[-1] == "requests 51, replies 51, retries 0, busy 0, errors 0, unanswered 0"


async def test_serve_counts_junk_and_says_nothing_while_it_comes() -> None:
    """E5, E7: silence on both sides; the counters appear at the end."""
    async with serving() as (server, port):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            for _ in range(100):
                stranger.sendto(b"\x80junk", ("127.0.0.1", int(port)))
        assert (await run_command("ask", "127.0.0.1", "hello", "-p", port))[0] == 0
        server.interrupt()
        lines = await server.rest()
        assert await server.end() == 0
    assert lines[-2:] == [
        "requests 1, replies 1, retries 0, busy 0, errors 0, unanswered 0",
        "dropped: 100 malformed",
    ]
