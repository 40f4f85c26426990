"""What can happen to the machine: descriptors and buffers that run out, clocks that jump, processes that stop or fork.

Interfaces and addresses that come and go are the business of the tests in network namespaces.
"""

import ast
import errno
import functools
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

import trio_udp
from trio_udp import NoReply, RetryPolicy, open_client

from .networks import (
    LOST,
    NetworkName,
    address_of,
    echo,
    faults_of,
    network_fixture,  # noqa: F401 - pytest finds it by its name, network
    next_datagram,
    plain_socket,
    read_all,
    reply_to,
    serving,
)
from .parity.namespace import in_new_namespace, needs_namespace

STEADY: Final = RetryPolicy(initial=1, jitter=0, adaptive=False)
ADAPTIVE: Final = RetryPolicy(initial=1, jitter=0)
needs_fork: Final = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


def command(name: str, *arguments: object) -> list[str]:
    """What starts one of `tests.processes`."""
    return [sys.executable, "-m", "tests.processes", name, *map(str, arguments)]


async def found_by(name: str) -> dict[str, Any]:
    """Run one of them to its end."""
    done = await trio.run_process(command(name), capture_stdout=True, cwd=Path(__file__).parents[1])
    found: dict[str, Any] = json.loads(done.stdout)
    return found


# Descriptors


async def test_without_descriptors_nothing_is_opened_and_nothing_leaks() -> None:
    """G7, G9: a clean `OSError` from client and server, even between a server's two sockets; those that run go on."""
    found = await found_by("run_out_of_descriptors")
    assert found == {
        "connected": "EMFILE",
        "unconnected": "EMFILE",
        "server": "EMFILE",
        "answered": "still here",
        "half a server": "EMFILE" if socket.has_ipv6 else None,
        "the other half": None,
        "leaked": 0,
        "afterwards": None,
    }


# Buffers


async def test_a_server_without_buffers_loses_answers_and_nothing_else(
    network: NetworkName, autojump_clock: MockClock
) -> None:
    """G6: `ENOBUFS` for an answer is an answer that was lost; the client asks again."""
    async with serving(echo, host="127.0.0.1") as server, open_client(*server.address) as client:
        faults_of(server._endpoints[0]._transport).sends.extend([errno.ENOBUFS] * 2)
        reply = await client.exchange(b"?", policy=STEADY)
        await wait_all_tasks_blocked()
        statistics = server.statistics()
    assert (reply.payload, reply.attempts) == (b"?", 3)
    assert (statistics.unanswered, statistics.replies) == (2, 1)
    assert statistics.endpoints[server.address].send_errors == {"ENOBUFS": 2}


async def test_a_burst_that_finds_no_buffers_is_sent_again(network: NetworkName, autojump_clock: MockClock) -> None:
    """G6, C6: every payload comes out, and each refusal has cost one attempt."""
    async with serving(echo, host="127.0.0.1") as server, open_client(*server.address, policy=STEADY) as client:
        faults_of(client._endpoint._transport).sends.extend([errno.ENOBUFS, None, LOST] * 10)
        payloads = [bytes([number]) for number in range(50)]
        async with client.request_many(payloads) as results:
            answers = sorted([result.reply.payload async for result in results if result.reply is not None])
        assert answers == payloads
        assert client.statistics().endpoint.send_errors == {"ENOBUFS": 10}


def set_queue(limit: int) -> None:
    """Give this thread's loopback a queue for so many packets (pfifo), by netlink."""

    def attribute(kind: int, data: bytes) -> bytes:
        return struct.pack("HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)

    tca_kind, tca_options, rtm_newqdisc, tc_h_root = 1, 2, 36, 0xFFFF_FFFF
    request_ack_create_replace = 0x1 | 0x4 | 0x400 | 0x100
    body = struct.pack("BxxxiIII", socket.AF_UNSPEC, socket.if_nametoindex("lo"), 0, tc_h_root, 0)
    body += attribute(tca_kind, b"pfifo\0") + attribute(tca_options, struct.pack("I", limit))
    header = struct.pack("IHHII", 16 + len(body), rtm_newqdisc, request_ack_create_replace, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as netlink:
        netlink.send(header + body)
        (error,) = struct.unpack_from("i", netlink.recv(4096), 16)
    if error:
        raise OSError(-error, "no queue for the loopback")


@needs_namespace
@pytest.mark.parametrize("connect", [True, False])
def test_a_full_queue_of_the_kernels_costs_attempts(connect: bool) -> None:
    """G6: the kernel's own `ENOBUFS`, from a queue without room; when there is room the request is answered."""

    async def main() -> None:
        async with serving(echo, host="127.0.0.1") as server, open_client(*server.address, connect=connect) as client:
            assert await client.request(b"before") == b"before"

            def make_room(attempt: trio_udp.Attempt) -> None:
                set_queue(0 if attempt.number < 3 else 100)

            reply = await client.exchange(b"after", policy=STEADY, on_attempt=make_room)
            assert (reply.payload, reply.attempts) == (b"after", 3)
            assert client.statistics().endpoint.send_errors == {"ENOBUFS": 2}

    in_new_namespace(lambda: trio.run(main, clock=MockClock(autojump_threshold=0.01)))


# Clocks

WALL_CLOCKS: Final = {
    "time": {
        "time",
        "time_ns",
        "gmtime",
        "localtime",
        "ctime",
        "asctime",
        "strftime",
        "clock_gettime",
        "get_clock_info",
    },
    "datetime": {"datetime", "date", "time"},
}


def wall_clocks_in(source: str) -> set[str]:
    """What of a module looks at the wall clock."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in WALL_CLOCKS:
            found |= {f"{node.value.id}.{node.attr}"} if node.attr in WALL_CLOCKS[node.value.id] else set()
        elif isinstance(node, ast.Import):
            # Under another name it would not be found.
            found |= {alias.name for alias in node.names if alias.name in WALL_CLOCKS and alias.asname}
        elif isinstance(node, ast.ImportFrom) and node.module in WALL_CLOCKS and not node.level:
            found |= {f"{node.module}.{alias.name}" for alias in node.names if alias.name in WALL_CLOCKS[node.module]}
    return found


STAMPS: Final = {
    "_endpoint.py": {"time.time_ns"},  # what a measurement says of when a datagram left and came, as the kernel does
    "_irtt.py": {"datetime.datetime"},  # turns such a stamp into words
    "_logs.py": {"time.time_ns"},  # a line of a log
    "_plot.py": {"datetime"},  # a picture's axis
    "relay.py": {"time.time_ns"},  # the record of the traffic
}
"""Who may stamp something for others to read. None of them decides anything by it."""


def test_nothing_in_the_package_goes_by_the_wall_clock() -> None:
    """C8: by its syntax; so it may jump."""
    sources = {path: path.read_text("utf-8") for path in Path(trio_udp.__file__).parent.rglob("*.py")}
    assert len(sources) > 50
    found = {path.name: clocks for path, source in sources.items() if (clocks := wall_clocks_in(source))}
    assert found == STAMPS


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import time\nnow = time.time()", {"time.time"}),
        ("import time\nsleep = time.monotonic()", set()),
        ("def late():\n    import datetime as clock", {"datetime"}),
        ("from time import perf_counter, time_ns", {"time.time_ns"}),
        ("from datetime import datetime", {"datetime.datetime"}),
        ("from time import perf_counter", set()),
        ("from .time import time", set()),
        ("import timeit", set()),
    ],
)
def test_a_wall_clock_is_found(source: str, found: set[str]) -> None:
    """The test above can fail, and does not fail for everything."""
    assert wall_clocks_in(source) == found


async def test_the_wall_clock_may_jump(network: NetworkName, monkeypatch: pytest.MonkeyPatch) -> None:
    """C8: ten years forward and back between any two looks at it; everything is answered at the first attempt."""
    now = time.time()
    jumps = iter(range(10**9))
    monkeypatch.setattr(time, "time", lambda: now + (next(jumps) % 3 - 1) * 3.15e8)
    async with serving(echo, host="127.0.0.1") as server, open_client(*server.address) as client:
        patient = RetryPolicy(initial=60, adaptive=False)
        attempts = [(await client.exchange(b"?", policy=patient)).attempts for _ in range(20)]
    assert attempts == [1] * 20


async def test_a_reply_that_waited_while_the_machine_slept_is_taken(
    network: NetworkName, autojump_clock: MockClock
) -> None:
    """A2, C8: the clock jumps past the end of the schedule, and what has arrived is looked at before it is given up."""
    with plain_socket() as server:
        async with open_client(*address_of(server), policy=STEADY) as client, trio.open_nursery() as nursery:
            nursery.start_soon(client.request, b"?")
            data, peer = await next_datagram(server)
            await wait_all_tasks_blocked()
            autojump_clock.jump(3600)
            server.sendto(reply_to(data, b"!"), peer)
        statistics = client.statistics()
    assert (statistics.replies, statistics.endpoint.datagrams_sent) == (1, 1)


async def test_a_reply_that_waited_for_a_process_that_slept_while_it_sent_is_taken(
    network: NetworkName, autojump_clock: MockClock
) -> None:
    """A2, C8: the clock jumps past the end of the schedule before anybody waits for an answer, and it is there."""
    once = RetryPolicy(initial=1, jitter=0, adaptive=False, attempts=1)
    with plain_socket() as server:
        async with open_client(*address_of(server), policy=once) as client:

            def answer_and_sleep(attempt: trio_udp.Attempt) -> None:
                server.sendto(reply_to(attempt.datagram, b"!"), client.address)
                autojump_clock.jump(3600)

            reply = await client.exchange(b"?", on_attempt=answer_and_sleep)
            assert (reply.payload, reply.attempts) == (b"!", 1)


async def test_a_machine_that_wakes_up_sends_one_datagram_and_waits_as_long_as_ever(
    network: NetworkName, autojump_clock: MockClock
) -> None:
    """C6, C8: of all the turns that it slept through one is left, for each request."""
    with plain_socket() as silent:
        async with open_client(*address_of(silent), policy=STEADY) as client, trio.open_nursery() as nursery:
            times: list[float] = []

            async def ask() -> None:
                with pytest.raises(NoReply):
                    await client.exchange(b"?", on_attempt=lambda _: times.append(trio.current_time() - began))

            began = trio.current_time()
            nursery.start_soon(ask)
            await wait_all_tasks_blocked()
            autojump_clock.jump(3600)
        assert times == pytest.approx([0, 3600, 3602, 3606, 3614])
        assert len(read_all(silent)) == 5


async def test_a_long_sleep_says_nothing_about_the_round_trip(network: NetworkName, autojump_clock: MockClock) -> None:
    """C1, C8: what was read late counts as no slower than it was waited for, or the next loss would cost a minute."""
    with plain_socket() as server:
        async with open_client(*address_of(server), policy=ADAPTIVE) as client, trio.open_nursery() as nursery:
            nursery.start_soon(client.request, b"?")
            data, peer = await next_datagram(server)
            await wait_all_tasks_blocked()
            autojump_clock.jump(3600)
            server.sendto(reply_to(data, b"!"), peer)
            await wait_all_tasks_blocked()
            assert client.statistics().smoothed_rtt == {address_of(server): 1.0}


# Processes that stop


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="this system has no SIGSTOP")
async def test_a_stopped_client_takes_the_reply_that_waited_for_it() -> None:
    """A2: it was stopped in the middle of a request, and until long after the end of its schedule. On a real clock."""
    with plain_socket() as server:
        start = functools.partial(trio.lowlevel.open_process, stdout=subprocess.PIPE, cwd=Path(__file__).parents[1])
        async with ended(await start(command("ask", address_of(server).port))) as client:
            data, peer = await next_datagram(server)
            client.send_signal(signal.SIGSTOP)
            server.sendto(reply_to(data, b"waited"), peer)
            await trio.sleep(0.5)  # the schedule ends after 0.2 s
            client.send_signal(signal.SIGCONT)
            assert client.stdout is not None
            assert json.loads(await client.stdout.receive_some()) == {"payload": "waited", "attempts": 1}
        assert read_all(server) == []


@asynccontextmanager
async def ended(process: trio.Process) -> AsyncIterator[trio.Process]:
    """This process, which has come to its end when the block is left."""
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
        assert process.stdout is not None
        await process.stdout.aclose()


# Processes that fork


@needs_fork
async def test_forks_never_repeat_an_id() -> None:
    """A4: 1,000 forks of a process in the middle of its work, and the process itself."""
    assert await found_by("fork_a_thousand_times") == {"drawn": 2000, "different": 2000, "empty": 0}


@needs_fork
async def test_a_fork_cannot_use_its_parents_client() -> None:
    """A3: they would take each other's answers; the parent goes on."""
    assert await found_by("use_a_parents_client") == {
        "in the child": "this client belongs to the process that this one was forked from",
        "in the parent": "hello",
    }
