"""E2, E7: floods at a server of ours, on loopback, while an honest client goes on asking.

Three processes: the server, who says how much memory it holds; the flooder, who sends junk as fast as Python can, and
the rest at a pace at which it arrives; and this one, who asks. Memory is compared after a short flood of the same kind
and after the long one, so that what is allocated once is not taken for growth. Loopback owns the whole of 127.0.0.0/8,
so any number of sources needs no privilege.
"""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import trio

import trio_udp

from .flooded import KINDS

ROOT: Final = Path(__file__).parents[2]
_WARM_UP: Final = 500_000
_EVERY: Final = 0.02
"""Seconds between two honest requests."""


def flood_all(count: int, seconds: float) -> Counter[str]:
    """One flood of each kind. Junk lasts for so long, the others have so many datagrams."""
    counts: Counter[str] = Counter()
    for kind in KINDS:
        counts += flood(kind, 0, seconds) if kind == "junk" else flood(kind, count)
    return counts


def flood(kind: str, count: int, seconds: float = 0.0, *, warm_up: int = _WARM_UP) -> Counter[str]:
    """Flood a server with so many datagrams, or for so long; what became of its memory and of honest requests."""
    with _process("serve") as server:
        port = json.loads(_line(server))["port"]
        trio.run(_be_honest, port, partial(_run_flooder, kind, port, warm_up, 0.0))
        before = _ask(server)
        counts = trio.run(_be_honest, port, partial(_run_flooder, kind, port, count, seconds))
        after = _ask(server)
    growth = after["resident"] - before["resident"]
    return Counter({
        f"{kind} sent": counts["sent"],
        f"{kind} growth": max(growth, 0),
        f"{kind} requests": counts["requests"],
        f"{kind} replies": counts["replies"],
        f"{kind} received": after["received"] - before["received"],
    })  # fmt: skip


async def _be_honest(port: int, run_flooder: Callable[[], int]) -> Counter[str]:
    """Ask at a steady pace while the flood lasts."""
    counts: Counter[str] = Counter()
    is_over = trio.Event()

    async def ask(client: trio_udp.Client) -> None:
        counts["requests"] += 1
        try:
            await client.request(b"an honest question")
        except trio_udp.NoReply:
            return
        counts["replies"] += 1

    async def send_flood() -> None:
        counts["sent"] = await trio.to_thread.run_sync(run_flooder)
        is_over.set()

    async with trio_udp.open_client("127.0.0.1", port, connect=False) as client, trio.open_nursery() as nursery:
        nursery.start_soon(send_flood)
        while not is_over.is_set():
            nursery.start_soon(ask, client)
            with trio.move_on_after(_EVERY):
                await is_over.wait()
    return counts


def _run_flooder(kind: str, port: int, count: int, seconds: float) -> int:
    with _process("flood", kind, str(port), str(count), str(seconds)) as flooder:
        return int(json.loads(_line(flooder))["sent"])


@contextmanager
def _process(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A process of this module; it ends when its standard input does."""
    command = [sys.executable, "-m", "tests.evidence.flooded", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.communicate()


def _line(process: subprocess.Popen[str]) -> str:
    if process.stdout is None:
        raise AssertionError("the process has no standard output")
    return process.stdout.readline()


def _ask(server: subprocess.Popen[str]) -> dict[str, int]:
    """What the server holds now."""
    if server.stdin is None:
        raise AssertionError("the process has no standard input")
    server.stdin.write("\n")
    server.stdin.flush()
    held: dict[str, int] = json.loads(_line(server))
    return held
