"""`dns`: the DNS responder of the examples, divided by the same answers from a plain blocking socket.

As in trio issue 1595, where a responder on `trio.socket` was several times as slow as on plain sockets. All of them let
dnspython read each question and write each answer, which is most of the work. dnsperf asks where it is installed,
and otherwise our own load generator.

Run as a script with a candidate's name, this is that server: it prints its port, and serves until it is killed.
"""

import functools
import importlib.util
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import children
import measure
import peers
import trio
from wire import udp_socket

import trio_udp

TITLE: Final = "DNS responders"
OURS: Final = "trio_udp `serve`, a profile"
PLAIN: Final = "plain Python"
BY_HAND: Final = "trio, `await recvfrom` / `await sendto`"
LOOPBACK: Final = "127.0.0.1"
LOAD: Final = children.Load(sources=16, outstanding=64, protocol="dns")
NAMES: Final = 1000
_EXAMPLE: Final = children.HERE.parent / "examples" / "dns_responder.py"


class _Request(NamedTuple):
    """All that the example reads of a request."""

    payload: bytes


def _example() -> Any:
    spec = importlib.util.spec_from_file_location("dns_responder", _EXAMPLE)
    if spec is None or spec.loader is None:
        raise ImportError(f"expected a module in {_EXAMPLE}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def ours() -> None:
    """The example, on our server."""
    example = _example()
    async with trio.open_nursery() as nursery:
        serve = functools.partial(trio_udp.serve, example.answer, 0, host=LOOPBACK, profile=example.DNS())
        server: trio_udp.Server = await nursery.start(serve)
        print(server.address.port, flush=True)


async def by_hand() -> None:
    """Its answers, on Trio's own socket."""
    answer = _example().answer
    sock = trio.socket.from_stdlib_socket(udp_socket())
    await sock.bind((LOOPBACK, 0))
    print(sock.getsockname()[1], flush=True)
    while True:
        data, peer = await sock.recvfrom(65_536)
        await sock.sendto(answer(_Request(data)), peer)


def plain() -> None:
    """Its answers, by blocking calls."""
    answer = _example().answer
    sock = udp_socket()
    sock.bind((LOOPBACK, 0))
    print(sock.getsockname()[1], flush=True)
    while True:
        data, peer = sock.recvfrom(65_536)
        sock.sendto(answer(_Request(data)), peer)


SERVERS: Final[dict[str, Callable[[], object]]] = {
    OURS: lambda: trio.run(ours),
    PLAIN: plain,
    BY_HAND: lambda: trio.run(by_hand),
}


def run(options: measure.Options) -> list[measure.Comparison]:
    """Compare the servers."""
    comparison = measure.Comparison(TITLE, "answers/s", PLAIN)
    no_dnsperf, no_compiler = peers.why_no_program("dnsperf"), children.why_no_compiler()
    reason = peers.why_no_package("dns") or (f"{no_dnsperf}, and {no_compiler}" if no_dnsperf and no_compiler else None)
    if reason:
        comparison.skipped = dict.fromkeys(SERVERS, reason)
    elif no_dnsperf:
        comparison.notes.append(f"{no_dnsperf}; our load generator, {LOAD.outstanding} outstanding.")
        with children.load_program() as program:
            measure.interleave(comparison, _candidates(functools.partial(_load, program), options), options.rounds)
    else:
        comparison.notes.append(f"dnsperf, {LOAD.outstanding} outstanding from {LOAD.sources} sources.")
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as questions:
            questions.writelines(f"q{number}.example A\n" for number in range(NAMES))
            questions.flush()
            ask = functools.partial(_dnsperf, Path(questions.name))
            measure.interleave(comparison, _candidates(ask, options), options.rounds)
    return [comparison]


def _candidates(
    ask: Callable[[str, measure.Options], tuple[float, int]], options: measure.Options
) -> dict[str, measure.Measurement]:
    return {name: functools.partial(_serve_and_ask, name, ask, options) for name in SERVERS}


def _serve_and_ask(
    name: str, ask: Callable[[str, measure.Options], tuple[float, int]], options: measure.Options
) -> tuple[float, int]:
    with children.serving((sys.executable, __file__, name), options.seconds) as server:
        return ask(server.port, options)


def _load(program: Path, port: str, options: measure.Options) -> tuple[float, int]:
    count = LOAD.put_on(port, program, warm_up=options.warm_up, seconds=options.seconds)
    return count.rate, count.lost


def _dnsperf(questions: Path, port: str, options: measure.Options) -> tuple[float, int]:
    seconds = max(options.seconds, 0.2)
    limits = ("-l", str(seconds), "-c", str(LOAD.sources), "-q", str(LOAD.outstanding))
    said = children.run(("dnsperf", "-s", LOOPBACK, "-p", port, "-d", questions, *limits), seconds)
    answered = _number(r"Queries completed: +(\d+)", said)
    if not answered or answered != _number(r"NOERROR (\d+)", said):
        raise children.WrongAnswerError(f"expected right answers only, dnsperf said:\n{said}")
    return _number(r"Queries per second: +([\d.]+)", said), int(_number(r"Queries lost: +(\d+)", said))


def _number(pattern: str, text: str) -> float:
    found = re.search(pattern, text)
    return float(found[1]) if found else 0.0


if __name__ == "__main__":
    SERVERS[sys.argv[1]]()
