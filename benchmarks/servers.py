"""`servers`: echo servers under as much load as they take, divided by plain blocking Python.

Each raw echo does the least: receive, change a byte, send. `serve` runs the whole protocol besides: header check,
decoding, a handler, encoding, amplification budget, counters. 256 requests of 88 bytes are outstanding from 64 sources.

Run as a script with a candidate's name, this is that server: it prints its port, and serves until it is killed.
"""

import asyncio
import functools
import importlib
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, cast

import children
import measure
import peers
import trio
from wire import RECEIVE_BUFFER, answer, udp_socket

import trio_udp
from trio_udp._cli.serve import make_handler
from trio_udp._endpoint import Endpoint
from trio_udp._net import Address, open_server_socket

TITLE: Final = "Echo servers"
C_MANY: Final = "C `recvmmsg`/`sendmmsg`"
C_ONE: Final = "C `recvfrom`/`sendto`"
PLAIN: Final = "plain Python"
ENDPOINT: Final = "trio_udp endpoint echo, no protocol"
BUILT_IN: Final = "trio_udp `serve`, built-in echo"
DEF: Final = "trio_udp `serve`, `def` handler"
KEYED: Final = "trio_udp `serve`, `def` handler, keyed"
ASYNC: Final = "trio_udp `serve`, `async def` handler that does not wait"
WAITING: Final = "trio_udp `serve`, `async def` handler that awaits once"
BY_HAND: Final = "trio, `await recvfrom` / `await sendto`"
ANYIO: Final = "anyio on trio"
UVLOOP: Final = "uvloop `DatagramProtocol`"
ASYNCUDP: Final = "asyncudp"
IRTT: Final = "irtt's server (Go)"

LOAD: Final = children.Load(sources=64, outstanding=256)
PROTOCOLS: Final = {IRTT: "irtt", KEYED: "keyed"}
"""Of the servers that speak another one than all the others."""
KEY: Final = trio_udp.Key(1, bytes(32))
"""The load generator's."""
PLAIN_ECHO: Final = (sys.executable, children.HERE / "plain_echo.py")
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


async def serve(handler: trio_udp.Handler, host: str | None = LOOPBACK, keys: list[trio_udp.Key] | None = None) -> None:
    """Our server; on all addresses, which is the default, it has two sockets and answers from the address asked."""
    async with trio.open_nursery() as nursery:
        server: trio_udp.Server = await nursery.start(
            functools.partial(trio_udp.serve, handler, 0, host=host, keys=keys)
        )
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


async def anyio_echo() -> None:
    """anyio's socket, on whatever loop this runs in."""
    anyio = importlib.import_module("anyio")
    async with await anyio.create_udp_socket(local_host=LOOPBACK) as sock:
        attribute, names = sock.extra, anyio.abc.SocketAttribute
        attribute(names.raw_socket).setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        print(attribute(names.local_port), flush=True)
        async for data, (host, port) in sock:
            await sock.sendto(answer(data), host, port)


async def asyncudp_echo() -> None:
    """asyncudp's socket, which keeps the usual receive buffer; there is room for 256 small datagrams in it."""
    sock = await importlib.import_module("asyncudp").create_socket(local_addr=(LOOPBACK, 0))
    print(sock.getsockname()[1], flush=True)
    while True:
        data, peer = await sock.recvfrom()
        sock.sendto(answer(data), peer)


def irtt_server() -> None:
    """In the place of this process; without a least interval, and without an end."""
    with udp_socket() as sock:
        sock.bind((LOOPBACK, 0))
        port = sock.getsockname()[1]
    print(port, flush=True)
    os.execvp("irtt", ("irtt", "server", "-b", f"{LOOPBACK}:{port}", "-i", "0", "-d", "0"))  # noqa: S606 - no shell


SERVERS: Final[dict[str, Callable[[], object]]] = {
    ENDPOINT: lambda: trio.run(endpoint_echo),
    BUILT_IN: lambda: trio.run(serve, command_echo()),
    DEF: lambda: trio.run(serve, echo),
    "trio_udp `serve`, `def` handler, on all addresses": lambda: trio.run(serve, echo, None),
    KEYED: lambda: trio.run(serve, echo, LOOPBACK, [KEY]),
    ASYNC: lambda: trio.run(serve, async_echo),
    WAITING: lambda: trio.run(serve, waiting_echo),
    BY_HAND: lambda: trio.run(trio_by_hand),
    ANYIO: lambda: importlib.import_module("anyio").run(anyio_echo, backend="trio"),
    "asyncio `DatagramProtocol`": lambda: asyncio.run(asyncio_echo()),
    UVLOOP: lambda: peers.run_on_uvloop(asyncio_echo()),
    ASYNCUDP: lambda: asyncio.run(asyncudp_echo()),
    IRTT: irtt_server,
}


def run(options: measure.Options) -> list[measure.Comparison]:
    """Compare the servers."""
    comparison = measure.Comparison(TITLE, "requests/s", PLAIN)
    comparison.skipped = _skipped()
    comparison.notes.append(f"{LOAD.outstanding} outstanding from {LOAD.sources} sources.")
    no_compiler = children.why_no_compiler()
    if no_compiler:
        comparison.skipped = dict.fromkeys((C_MANY, C_ONE, PLAIN, *SERVERS), no_compiler)
        return [comparison]
    with children.load_program() as program:
        candidates = {
            name: functools.partial(_load, name, command, program, options)
            for name, command in _commands(program).items()
        }
        measure.interleave(comparison, candidates, options.rounds)
    return [comparison]


def command(name: str) -> children.Command:
    """What starts one of the servers in Python."""
    return (sys.executable, __file__, name)


def _commands(program: Path) -> dict[str, children.Command]:
    return {
        C_MANY: (program, "echo-many"),
        C_ONE: (program, "echo-one"),
        PLAIN: PLAIN_ECHO,
        **{name: command(name) for name in SERVERS},
    }


def _skipped() -> dict[str, str]:
    reasons = {
        ANYIO: peers.why_no_package("anyio"),
        UVLOOP: peers.why_no_package("uvloop"),
        ASYNCUDP: peers.why_no_package("asyncudp"),
        IRTT: peers.why_no_program("irtt"),
    }
    return {name: reason for name, reason in reasons.items() if reason}


def _load(name: str, command: children.Command, program: Path, options: measure.Options) -> tuple[float, int]:
    """Start the server, and ask it as fast as it answers."""
    with children.serving(command, options.seconds) as server:
        load = LOAD._replace(protocol=PROTOCOLS.get(name, LOAD.protocol))
        count = load.put_on(server.port, program, warm_up=options.warm_up, seconds=options.seconds)
    return count.rate, count.lost


if __name__ == "__main__":
    SERVERS[sys.argv[1]]()
