"""`servers`: echo servers under as much load as they take, divided by plain blocking Python.

Each raw echo does the least: receive, change a byte, send. `serve` runs the whole protocol besides: header check,
decoding, a handler, encoding, amplification budget, counters. 256 requests of 88 bytes are outstanding from 64 sources.

Run as a script with a candidate's name, this is that server: it prints its port, and serves until it is killed.
"""

import asyncio
import functools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, cast

import measure
import trio
from wire import answer, udp_socket

import trio_udp
from trio_udp._cli.serve import make_handler
from trio_udp._endpoint import Endpoint
from trio_udp._net import Address, open_server_socket

SOURCES: Final = 64
OUTSTANDING: Final = 256

C: Final = "C `recvmmsg`/`sendmmsg`"
PLAIN: Final = "plain Python"
PLAIN_ECHO: Final = (sys.executable, measure.HERE / "plain_echo.py")
UVLOOP: Final = "uvloop `DatagramProtocol`"
LOOPBACK: Final = "127.0.0.1"


async def endpoint_echo() -> None:
    """Our endpoint without the protocol: a batch in, a batch out."""
    endpoint = Endpoint(await open_server_socket(Address(LOOPBACK, 0)))
    print(endpoint.address.port, flush=True)
    while True:
        batch = await endpoint.receive()
        await endpoint.send_batch(
            [(answer(data), peer, ancillary.local) for data, peer, ancillary in batch.datagrams], may_wait=False
        )


def command_echo() -> trio_udp.Handler:
    """What the command `serve` answers with."""
    return make_handler("tu1", losses=None)


def echo(request: trio_udp.Request) -> bytes:
    """A handler that runs inline."""
    return request.payload


async def async_echo(request: trio_udp.Request) -> bytes:
    """A handler that could wait and does not."""
    return request.payload


async def waiting_echo(request: trio_udp.Request) -> bytes:
    """A handler that awaits once."""
    await trio.lowlevel.checkpoint()
    return request.payload


async def serve(handler: trio_udp.Handler, host: str | None = LOOPBACK) -> None:
    """Our server; on all addresses, which is the default, it has two sockets and answers from the address asked."""
    async with trio.open_nursery() as nursery:
        server: trio_udp.Server = await nursery.start(functools.partial(trio_udp.serve, handler, 0, host=host))
        print(server.address.port, flush=True)


async def trio_by_hand() -> None:
    """Trio's own socket."""
    sock = trio.socket.from_stdlib_socket(udp_socket())
    await sock.bind((LOOPBACK, 0))
    print(sock.getsockname()[1], flush=True)
    while True:
        data, peer = await sock.recvfrom(65_536)
        await sock.sendto(answer(data), peer)


class EchoProtocol(asyncio.DatagramProtocol):
    """The same for asyncio."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport, which is what sends."""
        self.transport = cast("asyncio.DatagramTransport", transport)  # before Python 3.12 not a subclass
        print(transport.get_extra_info("sockname")[1], flush=True)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Change a byte, send."""
        self.transport.sendto(answer(data), addr)


async def asyncio_echo() -> None:
    """A protocol on whatever loop this runs in."""
    sock = udp_socket()
    sock.bind((LOOPBACK, 0))
    await asyncio.get_running_loop().create_datagram_endpoint(EchoProtocol, sock=sock)
    await asyncio.Event().wait()


SERVERS: Final[dict[str, Callable[[], object]]] = {
    "trio_udp endpoint echo, no protocol": lambda: trio.run(endpoint_echo),
    "trio_udp `serve`, built-in echo": lambda: trio.run(serve, command_echo()),
    "trio_udp `serve`, `def` handler": lambda: trio.run(serve, echo),
    "trio_udp `serve`, `def` handler, on all addresses": lambda: trio.run(serve, echo, None),
    "trio_udp `serve`, `async def` handler that does not wait": lambda: trio.run(serve, async_echo),
    "trio_udp `serve`, `async def` handler that awaits once": lambda: trio.run(serve, waiting_echo),
    "trio, `await recvfrom` / `await sendto`": lambda: trio.run(trio_by_hand),
    "asyncio `DatagramProtocol`": lambda: asyncio.run(asyncio_echo()),
    UVLOOP: lambda: measure.run_on_uvloop(asyncio_echo()),
}


def run(options: measure.Options) -> list[measure.Comparison]:
    """Compare the servers."""
    with measure.compiled(measure.HERE / "load.c") as program:
        comparison = measure.Comparison("Echo servers", "requests/s", PLAIN)
        candidates = {}
        for name, command in _commands(program).items():
            reason = _why_not(name, has_compiler=program is not None)
            if reason:
                comparison.skipped[name] = reason
            else:
                candidates[name] = functools.partial(_load, command, program, options)
        language = (
            "C" if program else "Python (no C compiler): perhaps slower than a server, and then its ratio is too small"
        )
        comparison.notes.append(f"{OUTSTANDING} outstanding from {SOURCES} sources. Load generator in {language}.")
        measure.interleave(comparison, candidates, options.rounds)
    return [comparison]


def _commands(program: Path | None) -> dict[str, Sequence[str | Path]]:
    return {
        C: (program or "", "echo"),
        PLAIN: PLAIN_ECHO,
        **{name: (sys.executable, __file__, name) for name in SERVERS},
    }


def _why_not(name: str, *, has_compiler: bool) -> str | None:
    if name == C:
        if not has_compiler:
            return "no C compiler"
        return None if sys.platform == "linux" else "Linux only"
    return measure.why_no_uvloop() if name == UVLOOP else None


def _load(command: Sequence[str | Path], program: Path | None, options: measure.Options) -> tuple[float, int]:
    """Start the server, and ask it as fast as it answers."""
    generator: tuple[str | Path, ...] = (program,) if program else (sys.executable, measure.HERE / "load.py")
    with measure.serving(command, options) as port:
        numbers = map(str, (SOURCES, OUTSTANDING, options.warm_up, options.seconds))
        output = measure.run([*generator, port, *numbers], options, core=measure.CORES.client)
    return measure.read_count(output).result


if __name__ == "__main__":
    SERVERS[sys.argv[1]]()
