"""Programs that others wrote, each asked one question or made to serve: `python -m tests.netns.programs_of_others`.

    … ask NAME HOST PORT     asks once for each line of input, and prints what came of it, as JSON
    … serve NAME HOST PORT   prints `ready`, and serves
    … busy NAME HOST PORT    the same, but has something else to do until there is a line of input

Each does what its documentation shows, and nothing beside it. Where it has no time limit of its own, it gets one here.
"""

import asyncio
import importlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from ..book import book_client, book_server

QUESTION: Final = "question"
TIMEOUT: Final = 2.0
"""Seconds. More than any attack takes, less than CoAP waits before it asks again."""
RIGHT: Final = "192.0.2.7"
"""What the DNS server answers."""
IRTT_PACKETS: Final = 5


class EndedEarly(Exception):
    """A program stopped by itself before it was done, without saying that anything was wrong."""


def ready() -> None:
    """Tell who started this that it serves."""
    print("ready", flush=True)


def module(name: str) -> Any:
    """Imported when it is used: it may not be installed."""
    return importlib.import_module(name)


# Ours


async def ask_us(host: str, port: int) -> str:
    """`open_client` and `request`."""
    trio_udp = module("trio_udp")
    async with trio_udp.open_client(host, port) as client:
        return str((await client.request(QUESTION.encode())).decode())


def serve_us(host: str, port: int, *, busy: bool = False) -> None:
    """`serve`, as the command runs it; when busy, its handlers wait."""
    trio, trio_udp = module("trio"), module("trio_udp")

    async def main() -> None:
        go = trio.Event()

        def answer(request: Any) -> bytes:
            return bytes(request.payload.upper())

        async def answer_later(request: Any) -> bytes:
            await go.wait()
            return answer(request)

        async with trio.open_nursery() as nursery:
            await nursery.start(partial(trio_udp.serve, answer_later if busy else answer, port, host=host))
            ready()
            await trio.to_thread.run_sync(sys.stdin.readline)
            go.set()

    trio.run(main)


def with_trio(ask: Callable[[str, int], Awaitable[str]]) -> Callable[[str, int], str]:
    """Run it under Trio, with a time limit."""

    async def main(host: str, port: int) -> str:
        with module("trio").fail_after(TIMEOUT):
            return await ask(host, port)

    return lambda host, port: str(module("trio").run(main, host, port))


def with_asyncio(ask: Callable[[str, int], Awaitable[str]]) -> Callable[[str, int], str]:
    """Run it under asyncio, with a time limit."""

    async def main(host: str, port: int) -> str:
        async with asyncio.timeout(TIMEOUT):
            return await ask(host, port)

    return lambda host, port: asyncio.run(main(host, port))


# irtt


def ask_irtt(host: str, port: int) -> str:
    """A test of five packets; how many of them were answered."""
    times = ["-i", "100ms", "-d", f"{IRTT_PACKETS * 100}ms", "--wait=500ms"]
    command = ["irtt", "client", *times, "-o", "-", "-Q", f"{host}:{port}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    if not done.stdout:
        raise EndedEarly(f"exit {done.returncode}")
    stats = json.loads(done.stdout)["stats"]
    if stats["packets_sent"] < IRTT_PACKETS:
        raise EndedEarly(f"exit {done.returncode}")
    return f"{stats['packets_received']} answers"


def serve_irtt(host: str, port: int) -> None:
    """`irtt server`, in place of this program."""
    if os.fork() == 0:
        wait_until_taken(host, port)
        ready()
        os._exit(0)
    os.dup2(2, 1)  # what it prints is not for who waits for `ready`
    os.execvp("irtt", ["irtt", "server", "-b", f"{host}:{port}"])  # noqa: S606 - the memory measured is to be its own


def wait_until_taken(host: str, port: int) -> None:
    """Until somebody has this port."""
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            try:
                sock.bind((host, port))
            except OSError:
                return
        time.sleep(0.05)


# dnspython


def ask_dnspython(host: str, port: int) -> str:
    """`dns.query.udp` with its defaults: one query for an address."""
    query = module("dns.message").make_query("www.example.com", "A")
    answer = module("dns.query").udp(query, host, timeout=TIMEOUT, port=port)
    return " ".join(str(rrset) for rrset in answer.answer)


def dns_answer(query: bytes, address: str = RIGHT) -> bytes:
    """The address of whatever was asked."""
    question = module("dns.message").from_wire(query)
    answer = module("dns.message").make_response(question)
    answer.answer.append(module("dns.rrset").from_text(question.question[0].name, 60, "IN", "A", address))
    return bytes(answer.to_wire())


def serve_dns(host: str, port: int) -> None:
    """Not dnspython's, which has no server: for its client to ask."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((host, port))
        ready()
        while True:
            query, peer = sock.recvfrom(512)
            sock.sendto(dns_answer(query), peer)


# aiocoap


async def ask_aiocoap(host: str, port: int) -> str:
    """A confirmable GET."""
    aiocoap = module("aiocoap")
    context = await aiocoap.Context.create_client_context()
    try:
        request = aiocoap.Message(code=aiocoap.GET, uri=f"coap://{host}:{port}/{QUESTION}")
        return str((await context.request(request).response).payload.decode())
    finally:
        await context.shutdown()


def serve_aiocoap(host: str, port: int) -> None:
    """A site with one resource."""
    aiocoap, resource = module("aiocoap"), module("aiocoap.resource")
    base: Any = resource.Resource

    class Question(base):  # type: ignore[misc]  # whatever it is
        async def render_get(self, request: object) -> object:
            return aiocoap.Message(payload=QUESTION.upper().encode())

    async def main() -> None:
        site = resource.Site()
        site.add_resource([QUESTION], Question())
        await aiocoap.Context.create_server_context(site, bind=(host, port))
        ready()
        await asyncio.get_running_loop().create_future()

    asyncio.run(main())


# anyio


async def ask_anyio(host: str, port: int) -> str:
    """A connected socket."""
    async with await module("anyio").create_connected_udp_socket(host, port) as udp:
        await udp.send(QUESTION.encode())
        return str((await udp.receive()).decode(errors="replace"))


def serve_anyio(host: str, port: int, *, busy: bool = False) -> None:
    """An unconnected socket."""

    async def main() -> None:
        async with await module("anyio").create_udp_socket(local_host=host, local_port=port) as udp:
            ready()
            if busy:
                await asyncio.to_thread(sys.stdin.readline)
            async for packet, (peer, peer_port) in udp:
                await udp.sendto(packet.upper(), peer, peer_port)

    asyncio.run(main())


# asyncio


class EchoClient(asyncio.DatagramProtocol):
    """The client of the documentation's example, with a future for the answer."""

    def __init__(self, answer: "asyncio.Future[bytes]") -> None:
        self._answer = answer

    def connection_made(self, transport: Any) -> None:
        """Send."""
        transport.sendto(QUESTION.encode())

    def datagram_received(self, data: bytes, addr: object) -> None:
        """Take whatever comes."""
        if not self._answer.done():
            self._answer.set_result(data)

    def error_received(self, exc: Exception) -> None:
        """Go on: the example prints it."""


class EchoServer(asyncio.DatagramProtocol):
    """The server of the documentation's example."""

    def connection_made(self, transport: Any) -> None:
        """Keep it."""
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """Answer."""
        self._transport.sendto(data.upper(), addr)


async def ask_asyncio(host: str, port: int) -> str:
    """A datagram endpoint with a remote address."""
    loop = asyncio.get_running_loop()
    answer = loop.create_future()
    transport, _ = await loop.create_datagram_endpoint(lambda: EchoClient(answer), remote_addr=(host, port))
    try:
        return str((await answer).decode(errors="replace"))
    finally:
        transport.close()


def serve_asyncio(host: str, port: int) -> None:
    """A datagram endpoint with a local address."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(EchoServer, local_addr=(host, port))
        ready()
        await loop.create_future()

    asyncio.run(main())


# asyncudp


async def ask_asyncudp(host: str, port: int) -> str:
    """A socket with a remote address."""
    sock = await module("asyncudp").create_socket(remote_addr=(host, port))
    try:
        sock.sendto(QUESTION.encode())
        return str((await sock.recvfrom())[0].decode(errors="replace"))
    finally:
        sock.close()


def serve_asyncudp(host: str, port: int, *, busy: bool = False) -> None:
    """A socket with a local address."""

    async def main() -> None:
        sock = await module("asyncudp").create_socket(local_addr=(host, port))
        ready()
        if busy:
            await asyncio.to_thread(sys.stdin.readline)
        while True:
            data, peer = await sock.recvfrom()
            sock.sendto(data.upper(), peer)

    asyncio.run(main())


# rpcudp


def rpc_protocol() -> Any:
    """One function to call."""

    base: Any = module("rpcudp.protocol").RPCProtocol

    class Protocol(base):  # type: ignore[misc]  # whatever it is
        def rpc_shout(self, sender: object, text: str) -> str:
            return text.upper()

    return Protocol(TIMEOUT)


async def ask_rpcudp(host: str, port: int) -> str:
    """A call."""
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(rpc_protocol, local_addr=("0.0.0.0", 0))  # noqa: S104
    try:
        answered, answer = await protocol.shout((host, port), QUESTION)
        if not answered:
            raise TimeoutError
        return str(answer)
    finally:
        transport.close()


def serve_rpcudp(host: str, port: int) -> None:
    """The other side of it."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(rpc_protocol, local_addr=(host, port))
        ready()
        await loop.create_future()

    asyncio.run(main())


# The book's


def ask_book_local(host: str, port: int) -> str:
    """What `udp_local.py` does: it sends, takes what comes, and looks at nobody's address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(TIMEOUT)
        sock.sendto(QUESTION.encode("ascii"), (host, port))
        return sock.recvfrom(65_535)[0].decode("ascii")


def ask_book_remote(host: str, port: int) -> str:
    """What `udp_remote.py` does: it connects, and asks again."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((host, port))
        with open(os.devnull, "w") as nowhere:
            said, sys.stdout = sys.stdout, nowhere
            try:
                return book_client.ask(sock)
            finally:
                sys.stdout = said


def serve_book(host: str, port: int) -> None:
    """The server of either, without the losses that it makes up."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((host, port))
        ready()
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - until the program ends
        book_server.answer_all(sock, drop=0)


ASK: Final[dict[str, Callable[[str, int], str]]] = {
    "trio_udp": with_trio(ask_us),
    "irtt": ask_irtt,
    "dnspython": ask_dnspython,
    "aiocoap": with_asyncio(ask_aiocoap),
    "anyio": with_asyncio(ask_anyio),
    "asyncio": with_asyncio(ask_asyncio),
    "asyncudp": with_asyncio(ask_asyncudp),
    "rpcudp": with_asyncio(ask_rpcudp),
    "book, local": ask_book_local,
    "book, remote": ask_book_remote,
}
SERVE: Final[dict[str, Callable[[str, int], None]]] = {
    "trio_udp": serve_us,
    "irtt": serve_irtt,
    "dnspython": serve_dns,
    "aiocoap": serve_aiocoap,
    "anyio": serve_anyio,
    "asyncio": serve_asyncio,
    "asyncudp": serve_asyncudp,
    "rpcudp": serve_rpcudp,
    "book, local": serve_book,
    "book, remote": serve_book,
}

BUSY: Final[dict[str, Callable[[str, int], None]]] = {
    "trio_udp": partial(serve_us, busy=True),
    "anyio": partial(serve_anyio, busy=True),
    "asyncudp": partial(serve_asyncudp, busy=True),
}
"""Those that take datagrams off the socket while the program does something else."""


def answer_or_error(ask: Callable[[str, int], str], host: str, port: int) -> dict[str, str]:
    """What came of asking once."""
    try:
        return {"answer": ask(host, port)}
    except EndedEarly as exc:
        return {"error": f"ends, {exc}"}
    except Exception as exc:
        names = {kind.__name__ for kind in type(exc).__mro__}
        return {
            "error": "no answer" if names & {"TimeoutError", "Timeout", "TooSlowError"} else f"`{type(exc).__name__}`"
        }


def main() -> None:
    """Ask or serve."""
    what, name, host, port = sys.argv[1:]
    if what != "ask":
        {"serve": SERVE, "busy": BUSY}[what][name](host, int(port))
        return
    ready()
    for _ in sys.stdin:
        print(json.dumps(answer_or_error(ASK[name], host, int(port))), flush=True)


if __name__ == "__main__":
    main()
