"""`clients`: how many requests a second N tasks get answered, divided by Trio's sockets used by hand.

Every request has an id of its own, a check of the answer and a timeout. The client of trio_udp, shared by all tasks,
adds retransmission, and has at most 128 requests in flight, its default. The server is the C echo where there is a
compiler, plain blocking Python otherwise.

And the same from one task, `request_many`, divided by a plain blocking socket with as many in flight, which has no
timeout at all; and how much memory each request in flight takes, while nobody answers.

Run as a script with a candidate's name, N, the server's port, warm-up and seconds, this is that client.
"""

import asyncio
import contextlib
import functools
import itertools
import math
import os
import resource
import sys
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Final, cast

import children
import measure
import peers
import servers
import trio
from wire import IDS, PAYLOAD, answer, request, udp_socket

import trio_udp
from trio_udp.proto import DEFAULT_MAX_IN_FLIGHT

TASKS: Final = (1, 100, 1000, 10_000)
MEMORY_IN_FLIGHT: Final = 10_000
TIMEOUT: Final = 1.0
"""Seconds, for those who retransmit nothing."""
PATIENCE: Final = 5.0
"""Seconds to go on for a first answer, where the time to be measured is too short for one."""
_SPARE_DESCRIPTORS: Final = 64
_SECONDS_TO_BEGIN: Final = 1e-4
"""For each task."""
_STARTING: Final = 10.0
"""Seconds for the longest of the preparations."""

OURS: Final = "trio_udp, a task each"
BY_HAND: Final = "trio, one `trio.socket` per task, by hand"
ASYNCIO: Final = "asyncio, future and timeout per request"
UVLOOP: Final = "uvloop, future and timeout per request"
OURS_MANY: Final = "trio_udp `request_many`"
PIPELINED: Final = "plain Python, pipelined, no timeouts"

MANY_IN_FLIGHT: Final = 100
MANY_TITLE: Final = f"Many requests from one task, {MANY_IN_FLIGHT} in flight"
MEMORY_TITLE: Final = "Memory of requests in flight"


def title(tasks: int) -> str:
    """Of the table for so many tasks."""
    return f"Clients, {tasks} tasks" if tasks > 1 else "Clients, 1 task"


class Tally:
    """What became of the requests, and when counting begins and ends."""

    def __init__(self, warm_up: float, seconds: float) -> None:
        self.answers = self.lost = self.wrong = 0
        self.warm_up = warm_up
        self.seconds = seconds

    def take(self, right: bool) -> None:
        """Count one answer."""
        self.answers += 1
        self.wrong += not right

    async def count(self, sleep: Callable[[float], Awaitable[None]]) -> None:
        """Let it warm up, count for the seconds given, and print the result."""
        await sleep(self.warm_up)
        answers, lost, begin = self.answers, self.lost, time.perf_counter()
        await sleep(self.seconds)
        while self.answers == answers and time.perf_counter() < begin + PATIENCE:
            await sleep(self.seconds)
        seconds = time.perf_counter() - begin
        print(self.answers - answers, f"{seconds:.6f}", self.lost - lost, 0, self.wrong)


async def shared_client(tasks: int, port: int, tally: Tally, max_in_flight: int = DEFAULT_MAX_IN_FLIGHT) -> None:
    """Many tasks, one `trio_udp` client."""

    async def ask(client: trio_udp.Client) -> None:
        while True:
            reply = await client.exchange(PAYLOAD)
            tally.take(reply.payload == PAYLOAD)
            tally.lost += reply.attempts - 1

    opening = trio_udp.open_client("127.0.0.1", port, max_in_flight=max_in_flight)
    async with opening as client, trio.open_nursery() as nursery:
        for _ in range(tasks):
            nursery.start_soon(ask, client)
        await tally.count(trio.sleep)
        nursery.cancel_scope.cancel()


async def sockets_by_hand(tasks: int, port: int, tally: Tally) -> None:
    """A socket for each task, so that no answer can reach the wrong one."""

    async def ask() -> None:
        with trio.socket.from_stdlib_socket(udp_socket()) as sock:
            await sock.connect(("127.0.0.1", port))
            while True:
                data = request(os.urandom(8))
                with trio.move_on_after(TIMEOUT) as scope:
                    await sock.send(data)
                    while await sock.recv(65_536) != answer(data):
                        pass  # late: it belongs to a request that was given up
                    tally.take(right=True)
                tally.lost += scope.cancelled_caught

    async with trio.open_nursery() as nursery:
        for _ in range(tasks):
            nursery.start_soon(ask)
        await tally.count(trio.sleep)
        nursery.cancel_scope.cancel()


class AskingProtocol(asyncio.DatagramProtocol):
    """One asyncio socket for all tasks; a future for each open request."""

    def __init__(self) -> None:
        self.waiting: dict[bytes, asyncio.Future[bytes]] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport, which is what sends."""
        self.transport = cast("asyncio.DatagramTransport", transport)  # before Python 3.12 not a subclass

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Wake the task that waits for this answer."""
        future = self.waiting.get(data[IDS])
        if future is not None and not future.done():
            future.set_result(data)

    async def ask(self) -> bool | None:
        """One request: whether the answer was right, or None if there was none."""
        data = request(os.urandom(8))
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.waiting[data[IDS]] = future
        try:
            async with asyncio.timeout(TIMEOUT):
                self.transport.sendto(data)
                received = await future
        except TimeoutError:
            return None
        finally:
            del self.waiting[data[IDS]]
        return received == answer(data)


async def asyncio_futures(tasks: int, port: int, tally: Tally) -> None:
    """Many tasks, one protocol, on whatever loop this runs in."""
    sock = udp_socket()
    sock.connect(("127.0.0.1", port))
    _, protocol = await asyncio.get_running_loop().create_datagram_endpoint(AskingProtocol, sock=sock)

    async def ask() -> None:
        while True:
            right = await protocol.ask()
            if right is None:
                tally.lost += 1
            else:
                tally.take(right)

    async with asyncio.TaskGroup() as group:
        asking = [group.create_task(ask()) for _ in range(tasks)]
        await tally.count(asyncio.sleep)
        for task in asking:
            task.cancel()


async def many_requests(in_flight: int, port: int, tally: Tally) -> None:
    """One task, one `trio_udp` client, many requests."""

    async def ask(client: trio_udp.Client) -> None:
        async with client.request_many(itertools.repeat(PAYLOAD), max_in_flight=in_flight) as results:
            async for result in results:
                if result.reply is None:
                    tally.lost += 1
                else:
                    tally.take(result.reply.payload == PAYLOAD)
                    tally.lost += result.reply.attempts - 1

    opening = trio_udp.open_client("127.0.0.1", port, max_in_flight=in_flight + 1)
    async with opening as client, trio.open_nursery() as nursery:
        nursery.start_soon(ask, client)
        await tally.count(trio.sleep)
        nursery.cancel_scope.cancel()


def plain_pipelined(in_flight: int, port: int, tally: Tally) -> None:
    """A blocking socket: for each answer the next request. What is lost is given up only when nothing else comes."""
    waiting: dict[bytes, bytes] = {}
    with udp_socket() as sock:
        sock.connect(("127.0.0.1", port))
        sock.settimeout(TIMEOUT)
        begin, end = time.perf_counter() + tally.warm_up, time.perf_counter() + tally.warm_up + tally.seconds
        answers, lost = math.inf, 0  # until the warm-up is over
        while (now := time.perf_counter()) < end or (tally.answers <= answers and now < end + PATIENCE):
            if answers == math.inf and now >= begin:
                answers, lost, begin = tally.answers, tally.lost, now
            while len(waiting) < in_flight:
                data = request(os.urandom(8))
                waiting[data[IDS]] = data
                sock.send(data)
            try:
                received = sock.recv(65_536)
            except TimeoutError:
                tally.lost += len(waiting)
                waiting.clear()
            else:
                asked = waiting.pop(received[IDS], None)
                if asked is not None or not tally.lost:  # else it is late: it belongs to one that was given up
                    tally.take(asked is not None and received == answer(asked))
    print(int(tally.answers - answers), f"{now - begin:.6f}", tally.lost - lost, 0, tally.wrong)


async def memory(mode: str, in_flight: int) -> None:
    """Print how many bytes each request in flight takes, of which nobody answers any."""
    tracemalloc.start()
    with udp_socket() as silent:
        silent.bind(("127.0.0.1", 0))
        opening = trio_udp.open_client(*silent.getsockname(), max_in_flight=in_flight + 1)
        async with opening as client, trio.open_nursery() as nursery:
            before, _ = tracemalloc.get_traced_memory()
            if mode == OURS:
                for _ in range(in_flight):
                    nursery.start_soon(client.request, PAYLOAD)
            else:
                nursery.start_soon(_wait_for_all, client, in_flight)
            while client.statistics().in_flight < in_flight:
                await trio.sleep(0)
            await trio.sleep(0)
            after, _ = tracemalloc.get_traced_memory()
            nursery.cancel_scope.cancel()
    print((after - before) / in_flight)


async def _wait_for_all(client: trio_udp.Client, count: int) -> None:
    async with client.request_many(itertools.repeat(PAYLOAD, count)) as results:
        async for _ in results:
            pass


CLIENTS: Final[dict[str, Callable[[int, int, Tally], object]]] = {
    OURS: lambda *args: trio.run(shared_client, *args),
    OURS_MANY: lambda *args: trio.run(many_requests, *args),
    BY_HAND: lambda *args: trio.run(sockets_by_hand, *args),
    ASYNCIO: lambda *args: asyncio.run(asyncio_futures(*args)),
    UVLOOP: lambda *args: peers.run_on_uvloop(asyncio_futures(*args)),
    PIPELINED: plain_pipelined,
}
MANY: Final = (OURS_MANY, PIPELINED)


def run(options: measure.Options) -> list[measure.Comparison]:
    """Compare the clients, for each number of tasks; then many requests from one task; then memory."""
    with _echo_server() as (server, language):
        comparisons = [
            _compare(measure.Comparison(title(tasks), "requests/s", BY_HAND), CLIENTS, tasks, server, options)
            for tasks in (TASKS[1:2] if options.smoke else TASKS)
        ]
        comparisons.append(
            _compare(measure.Comparison(MANY_TITLE, "requests/s", PIPELINED), MANY, MANY_IN_FLIGHT, server, options)
        )
    for comparison in comparisons:
        comparison.notes.append(f"The server is in {language}.")
    return [*comparisons, _compare_memory(options)]


@contextlib.contextmanager
def _echo_server() -> Iterator[tuple[children.Command, str]]:
    """What starts the fastest echo server there is, and what it is written in."""
    if children.why_no_compiler():
        yield servers.PLAIN_ECHO, "Python"
        return
    with children.load_program() as program:
        yield (program, "echo-many"), "C"


def _compare(
    comparison: measure.Comparison,
    names: Iterable[str],
    in_flight: int,
    server: children.Command,
    options: measure.Options,
) -> measure.Comparison:
    reasons = {UVLOOP: peers.why_no_package("uvloop"), BY_HAND: _why_not_by_hand(in_flight)}
    comparison.skipped = {name: reason for name, reason in reasons.items() if reason and name in names}
    candidates = {name: functools.partial(ask, name, in_flight, server, options) for name in names}
    return measure.interleave(comparison, candidates, options.rounds)


def _why_not_by_hand(tasks: int) -> str | None:
    """Why there cannot be a socket for each task, if so. Makes room for them where it may: children inherit that."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        if most < tasks + _SPARE_DESCRIPTORS:
            return f"the limit of descriptors is {most}"
    return None


def _compare_memory(options: measure.Options) -> measure.Comparison:
    in_flight = 100 if options.smoke else MEMORY_IN_FLIGHT
    comparison = measure.Comparison(MEMORY_TITLE, "bytes each", OURS)
    comparison.notes.append(f"{in_flight} in flight. `tracemalloc`; the same every time, so measured once.")
    candidates = {name: functools.partial(_weigh, name, in_flight) for name in (OURS, OURS_MANY)}
    return measure.interleave(comparison, candidates, rounds=1)


def _weigh(name: str, in_flight: int) -> tuple[float, int]:
    command = [sys.executable, __file__, "memory", name, str(in_flight)]
    return float(children.run(command, seconds=_STARTING)), 0


def ask(
    name: str,
    in_flight: int,
    server: children.Command,
    options: measure.Options,
    script: children.Command = (__file__,),
) -> tuple[float, int]:
    """Start a server, and the client, which is this script or another one that takes the same arguments."""
    # Each of many tasks has to have begun before anything counts.
    warm_up = options.warm_up + in_flight * _SECONDS_TO_BEGIN
    with children.serving(server, warm_up + options.seconds) as serving:
        arguments = [name, str(in_flight), serving.port, str(warm_up), str(options.seconds)]
        output = children.run([sys.executable, *script, *arguments], warm_up + options.seconds)
    count = children.read_count(output)
    return count.rate, count.lost


def read_arguments(arguments: list[str]) -> tuple[int, int, Tally]:
    """Those of a client, without its name."""
    _, in_flight, port, warm_up, seconds = arguments
    return int(in_flight), int(port), Tally(float(warm_up), float(seconds))


if __name__ == "__main__" and sys.argv[1] == "memory":
    trio.run(memory, sys.argv[2], int(sys.argv[3]))
elif __name__ == "__main__":
    CLIENTS[sys.argv[1]](*read_arguments(sys.argv[1:]))
