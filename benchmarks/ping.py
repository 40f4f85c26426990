"""`ping`: which round-trip time one request at a time is told, and whether `ping` sends its probes on time.

Round trips, back to back: the C echo answers without ever sleeping, so what is left is the kernel and the one who
asks. The figure of trio_udp is `ReplyRecord.rtt_ns`, which is what `ping` reports: by the kernel's clock, where it says
so. The others measure around their calls, and so does `Reply.rtt`.

On time: `ping -i 0.001` and `ping -i 0.0002` ask a socket that notes when each probe arrives, by the kernel's clock. A
probe is on time when it arrives in its own slot; the slots begin where the most punctual one says. Beside them a loop
that does nothing but sleep and send, which is what the machine allows.

Run as a script with a candidate's name, the server's port and seconds, this is the one who asks.
"""

import functools
import os
import socket
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import children
import measure
import trio
from wire import PAYLOAD, answer, request, udp_socket

import trio_udp
from trio_udp import measure as measuring

ROUND_TRIP_TITLE: Final = "Round trips, one at a time"
OURS: Final = "trio_udp, `ReplyRecord.rtt_ns`, which `ping` reports"
CLIENT: Final = "trio_udp, `Reply.rtt`"
C: Final = "C"
PLAIN: Final = "plain Python"
BY_HAND: Final = "trio by hand"

ON_TIME_TITLE: Final = "Probes on time"
OURS_PING: Final = "trio_udp `ping`, 1 ms"
OURS_FAST: Final = "trio_udp `ping`, 200 µs"
BARE: Final = "a bare loop, 1 ms"
BARE_FAST: Final = "a bare loop, 200 µs"
_SLOW, _FAST = 0.001, 0.0002
_SO_TIMESTAMPNS: Final = 35
_TIMESPEC: Final = struct.Struct("@qq")


def plain(port: int, seconds: float) -> list[float]:
    """Blocking calls."""
    times = []
    with udp_socket() as sock:
        sock.connect(("127.0.0.1", port))
        end = time.perf_counter() + seconds
        while (begin := time.perf_counter()) < end:
            data = request(os.urandom(8))
            sock.send(data)
            right = sock.recv(65_536) == answer(data)
            times.append(_checked(right, time.perf_counter() - begin))
    return times


async def by_hand(port: int, seconds: float) -> list[float]:
    """Trio's own socket."""
    times = []
    with trio.socket.from_stdlib_socket(udp_socket()) as sock:
        await sock.connect(("127.0.0.1", port))
        end = time.perf_counter() + seconds
        while (begin := time.perf_counter()) < end:
            data = request(os.urandom(8))
            await sock.send(data)
            right = await sock.recv(65_536) == answer(data)
            times.append(_checked(right, time.perf_counter() - begin))
    return times


async def ours(port: int, seconds: float) -> list[float]:
    """A prober of ours: the next probe when the last is answered."""
    times: list[float] = []

    def note(event: measuring.Event) -> None:
        if isinstance(event, measuring.ReplyRecord):
            times.append(event.rtt_ns / 1e9)
        elif isinstance(event, measuring.Corrupted):
            _checked(False, 0.0)

    async with measuring.open_prober("127.0.0.1", port, size=len(PAYLOAD)) as prober:
        with trio.move_on_after(seconds):
            await prober.run(measuring.flood(), on_event=note)
    return times


async def client(port: int, seconds: float) -> list[float]:
    """A client of ours."""
    times = []
    async with trio_udp.open_client("127.0.0.1", port) as client:
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            reply = await client.exchange(PAYLOAD)
            times.append(_checked(reply.payload == PAYLOAD, reply.rtt))
    return times


def _checked(right: bool, seconds: float) -> float:
    if not right:
        raise children.WrongAnswerError("a wrong answer")
    return seconds


ASKING: Final = {
    OURS: lambda *args: trio.run(ours, *args),
    CLIENT: lambda *args: trio.run(client, *args),
    PLAIN: plain,
    BY_HAND: lambda *args: trio.run(by_hand, *args),
}


def run(options: measure.Options) -> list[measure.Comparison]:
    """Compare the round trips; then count the probes that were on time."""
    round_trips = measure.Comparison(ROUND_TRIP_TITLE, "µs, median", C)
    no_compiler = children.why_no_compiler()
    if no_compiler:
        round_trips.skipped = dict.fromkeys((C, *ASKING), no_compiler)
    else:
        _measure_round_trips(round_trips, options)
    on_time = measure.Comparison(ON_TIME_TITLE, "% on time", OURS_PING)
    if sys.platform != "linux":
        on_time.skipped |= dict.fromkeys(PACED, "Linux only")
    else:
        shares = {name: functools.partial(_share_on_time, options, *paced) for name, paced in PACED.items()}
        with children.on_core(children.CORES.server):  # a network's other end takes no time from this one either
            measure.interleave(on_time, shares, options.rounds)
    return [round_trips, on_time]


def _measure_round_trips(comparison: measure.Comparison, options: measure.Options) -> None:
    with children.load_program() as program:
        candidates = {name: functools.partial(_ask, name, (program, "echo-spin"), options) for name in ASKING}
        measure.interleave(
            comparison, {C: functools.partial(_ask_in_c, program, options), **candidates}, options.rounds
        )


def _ask_in_c(program: Path, options: measure.Options) -> tuple[float, int]:
    with children.serving((program, "echo-spin"), options.seconds) as server:
        load = children.Load(sources=1, outstanding=1)
        count = load.put_on(server.port, program, warm_up=options.warm_up, seconds=options.seconds)
    return count.median, count.lost


def _ask(name: str, server: children.Command, options: measure.Options) -> tuple[float, int]:
    with children.serving(server, options.seconds) as serving:
        command = (sys.executable, __file__, name, serving.port, str(options.seconds))
        return float(children.run(command, options.seconds)), 0


# Probes on time


def _ping(port: str, interval: float, count: int) -> children.Command:
    options = ("-c", str(count), "-i", str(interval), "-W", "0.5", "-q", "-p", port)
    return (sys.executable, "-m", "trio_udp", "ping", *options, "127.0.0.1")


def _bare(port: str, interval: float, count: int) -> children.Command:
    return (sys.executable, children.HERE / "bare_loop.py", port, str(interval), str(count))


PACED: Final[dict[str, tuple[Callable[[str, float, int], children.Command], float]]] = {
    OURS_PING: (_ping, _SLOW),
    BARE: (_bare, _SLOW),
    OURS_FAST: (_ping, _FAST),
    BARE_FAST: (_bare, _FAST),
}


def _share_on_time(
    options: measure.Options, command: Callable[[str, float, int], children.Command], interval: float
) -> tuple[float, int]:
    """Percent of the probes that arrived in their own slot; and how many did not arrive."""
    count = max(int(options.seconds / interval), 10)
    with udp_socket() as sink:
        sink.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        sink.bind(("127.0.0.1", 0))
        port = str(sink.getsockname()[1])
        with subprocess.Popen(
            command(port, interval, count),
            stdout=subprocess.DEVNULL,
            preexec_fn=children.prepare(children.CORES.client, children.MARGIN + options.seconds * 2),  # noqa: PLW1509 - we have no threads
        ) as process:
            try:
                arrivals = _arrivals(sink, count)
            finally:
                process.kill()
    return share_on_time(arrivals, interval, count), count - len(arrivals)


def share_on_time(times: list[float], interval: float, count: int) -> float:
    """Percent of so many slots, or of those that it took, if they are more, in which there was a probe."""
    # Slots that were missed make all that follow later: so they are counted, and the share is of all slots.
    slots = slots_of(times, interval)
    return 100 * len(slots) / max(count, max(slots) + 1)


def slots_of(arrivals: list[float], interval: float) -> set[int]:
    """The slots in which a probe arrived, from 0; they begin where the most punctual ones say."""
    origins = [arrival % interval for arrival in arrivals[:: max(len(arrivals) // 64, 1)]]
    candidates = [{int((arrival - origin) // interval) for arrival in arrivals} for origin in origins]
    best = max(candidates, key=len)
    return {slot - min(best) for slot in best}


def _arrivals(sink: socket.socket, count: int) -> list[float]:
    """When each probe came, by the kernel's clock."""
    sink.settimeout(5)
    arrivals = []
    for _ in range(count):
        try:
            data, control, _, peer = sink.recvmsg(2048, 128)
        except TimeoutError:
            break
        sink.sendto(answer(data), peer)
        seconds, nanoseconds = _TIMESPEC.unpack(control[0][2][: _TIMESPEC.size])
        arrivals.append(seconds + nanoseconds / 1e9)
    if not arrivals:
        raise children.WrongAnswerError("ping sent nothing")
    return arrivals


if __name__ == "__main__":
    print(statistics.median(ASKING[sys.argv[1]](int(sys.argv[2]), float(sys.argv[3]))) * 1e6)
