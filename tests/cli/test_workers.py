"""`serve --workers`: as processes, with whatever can happen to a process."""

import os
import re
import signal
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import trio

import trio_udp
from trio_udp._cli import main

from ..networks import HAS_IPV6
from .command import Running, children, run_command, running, serving

PATIENT = trio_udp.RetryPolicy(initial=60, jitter=0, adaptive=False, attempts=1)
"""No retransmission, however slow this machine is: what is counted is what was sent."""

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/stat").exists(), reason="this host has no /proc to find workers in"
)


async def until(holds: Callable[[], bool]) -> None:
    """Look again and again."""
    with trio.fail_after(60):
        while not holds():
            await trio.sleep(0.01)


def holders(port: str) -> int:
    """How many sockets have this port on IPv4."""
    lines = Path("/proc/net/udp").read_text().splitlines()[1:]
    return sum(line.split()[1].endswith(f":{int(port):04X}") for line in lines)


async def ask(port: str, clients: int = 20, requests: int = 3) -> None:
    """Ask from many ports, so that every worker has something to do."""
    for _ in range(clients):
        async with trio_udp.open_client("127.0.0.1", int(port)) as client:
            for number in range(requests):
                assert await client.request(b"%d" % number, policy=PATIENT) == b"%d" % number


def send_junk(port: str, count: int) -> None:
    """From many ports as well."""
    for _ in range(count):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.sendto(b"\x80junk", ("127.0.0.1", int(port)))


async def end_of(server: Running) -> list[str]:
    """What it prints until it ends, which must be well."""
    lines = await server.rest()
    assert await server.end() == 0
    return lines


def report(requests: int, *more: str) -> list[str]:
    """Of a server to which nothing has happened but this."""
    figures = f"requests {requests}, replies {requests}, retries 0, busy 0, errors 0, unanswered 0"
    return ["", "--- server statistics ---", figures, *more]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_workers_drain_together_and_their_figures_are_summed(number: signal.Signals) -> None:
    """What the clients have sent is what the report says, and it looks as that of one server."""
    async with serving("--workers", "3") as (server, port):
        assert len(children(server.process.pid)) == 3
        send_junk(port, 20)
        await ask(port)
        server.process.send_signal(number)
        assert await end_of(server) == report(60, "dropped: 20 malformed")


async def test_a_service_manager_may_tell_everybody() -> None:
    """SIGTERM to parent and workers alike, as systemd does, workers first: nothing is lost."""
    async with serving("--workers", "2") as (server, port):
        await ask(port)
        for pid in [*children(server.process.pid), server.process.pid]:
            os.kill(pid, signal.SIGTERM)
        lines = [line for line in await end_of(server) if "starting another" not in line]
        assert lines == report(60)


async def test_a_worker_that_is_told_to_end_reports_and_is_replaced() -> None:
    """Its figures count. The other one holds the port meanwhile: without either, anybody may get it."""
    async with serving("--workers", "2") as (server, port):
        await ask(port)
        first = children(server.process.pid)
        for pid in first:
            os.kill(pid, signal.SIGTERM)
            assert re.fullmatch(
                rf"trio_udp serve: worker \d: process {pid} ended with exit code 0; .*", await server.line()
            )
            await until(lambda: holders(port) == 2)
        assert len(children(server.process.pid).keys() - first.keys()) == 2
        server.interrupt()
        assert await end_of(server) == report(60)


async def test_a_worker_that_is_killed_is_replaced_and_missed() -> None:
    """The others answer meanwhile; its figures are not guessed."""
    async with serving("--workers", "2") as (server, port):
        victim, survivor = children(server.process.pid)
        os.kill(victim, signal.SIGKILL)
        said = (
            rf"trio_udp serve: worker \d: process {victim} was ended by signal 9 \(Killed\); starting another in 0.1 s"
        )
        assert re.fullmatch(said, await server.line())
        await ask(port)
        await until(lambda: len(children(server.process.pid)) == 2)
        assert survivor in children(server.process.pid)
        server.interrupt()
        lines = await end_of(server)
        assert lines == report(60, "workers that ended without a report, counted as far as they had told: 1")


async def test_a_drain_waits_for_every_worker() -> None:
    """One that has something to do, or cannot do anything, is waited for."""
    async with serving("--workers", "2") as (server, port):
        await ask(port)
        busy, _ = children(server.process.pid)
        os.kill(busy, signal.SIGSTOP)
        server.interrupt()
        await until(lambda: children(server.process.pid) == {busy: "T"})
        os.kill(busy, signal.SIGCONT)
        assert await end_of(server) == report(60)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP])
async def test_no_worker_outlives_its_parent(number: signal.Signals) -> None:
    """Whatever ended it. Its output ends when nobody is left who could write there, and nobody has a last word."""
    async with serving("--workers", "2") as (server, _):
        server.process.send_signal(number)
        assert await server.end() == -number
        with trio.fail_after(60):
            assert await server.rest() == []


async def test_a_crew_can_be_stopped_before_it_is_ready() -> None:
    """Whether or not it gets as far as to say where it listens."""
    async with running("serve", "--workers", "2", "127.0.0.1", "-p", "0") as server:
        await until(lambda: bool(children(server.process.pid)))
        server.interrupt()
        assert (await end_of(server))[-3:] == report(0)


async def test_a_crew_whose_output_nobody_reads_ends() -> None:
    """As every command does that has something to say."""
    async with running("serve", "--workers", "2", "127.0.0.1", "-p", "0") as server:
        assert server.process.stdout is not None
        await server.process.stdout.aclose()
        assert await server.end() == 128 + signal.SIGPIPE


async def test_workers_listen_on_every_interface_by_default() -> None:
    """One line a socket, not one a worker; IPv4 and IPv6 share the port."""
    async with running("serve", "--workers", "2", "-p", "0") as server:
        line = await server.line()
        assert re.fullmatch(r"listening on 0\.0\.0\.0:\d+", line)
        port = line.rpartition(":")[2]
        if socket.has_ipv6:
            assert await server.line() == f"listening on [::]:{port}"
        if HAS_IPV6:
            async with trio_udp.open_client("::1", int(port)) as client:
                assert await client.request(b"?", policy=PATIENT) == b"?"
        await ask(port, clients=1)
        server.interrupt()
        assert (await end_of(server)) == report(3 + HAS_IPV6)


async def test_one_worker_is_no_other_process() -> None:
    """`--workers 1` is the default."""
    async with serving("--workers", "1") as (server, port):
        assert children(server.process.pid) == {}
        await ask(port, clients=1)
        server.interrupt()
        assert await end_of(server) == report(3)


async def test_workers_say_what_one_server_says() -> None:
    """A warning once, and every request that is dropped on purpose."""
    async with serving("--workers", "2", "--profile", "book", "--drop", "1", "--seed", "3") as (server, port):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.bind(("127.0.0.1", 0))
            asking.sendto(b"hello", ("127.0.0.1", int(port)))
            source = asking.getsockname()[1]
        assert await server.line() == f"pretending to drop packet from 127.0.0.1:{source}"
        server.interrupt()
        assert (await end_of(server))[-1] == "requests 1, replies 0, retries 0, busy 0, errors 0, unanswered 1"


@pytest.mark.parametrize("arguments", [["--workers", "2"], []])
async def test_nobody_else_gets_the_port(arguments: Sequence[str]) -> None:
    """G8: it is shared by the workers of one parent, not by all who would share it."""
    async with serving("--workers", "2") as (server, port):
        code, out, err = await run_command("serve", "127.0.0.1", "-p", port, *arguments)
        assert (code, out) == (2, [])
        assert err == [f"trio_udp serve: port {port} is in use on this host, expected a free one"]
        server.interrupt()
        assert await end_of(server) == report(0)


@pytest.mark.parametrize("arguments", [["127.0.0.1"], [], ["-4"]])
def test_a_port_in_use_is_said_once(arguments: Sequence[str], capsys: pytest.CaptureFixture[str]) -> None:
    """One line and exit code 2, before any worker is started."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        assert main(["serve", "--workers", "3", "-p", str(port), *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == f"trio_udp serve: port {port} is in use on this host, expected a free one\n"


def test_a_system_that_cannot_share_a_port_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line and exit code 2."""
    monkeypatch.delattr(socket, "SO_REUSEPORT")
    assert main(["serve", "--workers", "2", "-p", "0"]) == 2
    expected = "trio_udp serve: this system cannot share a port between processes: it has no SO_REUSEPORT\n"
    assert capsys.readouterr().err == expected
