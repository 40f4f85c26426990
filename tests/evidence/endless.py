"""An endless run: `ping -i 0.001` at `serve` on loopback, and how much the memory of each grows.

The commands are run as an operator runs them; one ping prints lines, the other streams JSON. Memory is compared after
a warm-up and at the end, so that what is allocated once is not taken for growth.
"""

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Final

from .flooded import resident

ROOT: Final = Path(__file__).parents[2]
_PING: Final = ("ping", "-i", "0.001", "-p")


def run(seconds: float, *, warm_up: float = 60.0) -> Counter[str]:
    """By how many bytes each process grew in so many seconds, and what became of the probes of the one with JSON."""
    with (
        _command("serve", "-p", "0", "127.0.0.1") as server,
        _command(*_PING, port := _port_of(server), "127.0.0.1") as lines,
        _command(*_PING, port, "--json", "127.0.0.1") as stream,
        ThreadPoolExecutor(2) as pool,
    ):
        for process in (lines, stream):
            _output(process).readline()  # it has begun
        pool.submit(_last_line, lines)
        last = pool.submit(_last_line, stream)
        time.sleep(warm_up)
        before = [resident(process.pid) for process in (server, lines, stream)]
        time.sleep(seconds)
        after = [resident(process.pid) for process in (server, lines, stream)]
        for process in (lines, stream):
            process.send_signal(signal.SIGINT)
        summary = json.loads(last.result())
    names = ("server growth", "lines growth", "json growth")
    growth = {name: max(now - then, 0) for name, then, now in zip(names, before, after, strict=True)}
    return Counter({"seconds": round(seconds), **growth, **{name: summary[name] for name in ("sent", "received")}})


@contextlib.contextmanager
def _command(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """One of ours, which is interrupted at the end."""
    command = [sys.executable, "-m", "trio_udp", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)


def _port_of(server: subprocess.Popen[str]) -> str:
    return _output(server).readline().rpartition(":")[2].strip()


def _last_line(process: subprocess.Popen[str]) -> str:
    """Read all it prints."""
    return deque(_output(process), 1)[0]


def _output(process: subprocess.Popen[str]) -> IO[str]:
    if process.stdout is None:
        raise AssertionError("the process has no standard output")
    return process.stdout
