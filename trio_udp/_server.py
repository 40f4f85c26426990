"""The answering side: `serve`, like `trio.serve_tcp`, and the `Server` it hands to its parent.

One task a socket reads batches and answers plain `def` handlers on the spot; each `async def` handler gets a task, of
which there are only so many. What must hold: a handler that raises hurts its own request only (E8), and whatever else
reaches the socket is counted and met with silence (E5, E7).
"""

import contextlib
import errno
import functools
import inspect
import logging
import socket
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple, cast

import trio

from ._endpoint import Endpoint
from ._net import Address, Datagram, open_server_socket, resolve
from ._statistics import ServerStatistics
from .proto import TU1, AnswerKind, DropReason, Profile, Question, ServerProtocol

logger: Final = logging.getLogger("trio_udp")

DEFAULT_MAX_HANDLERS: Final = 1024
"""Async handlers running at a time (E9)."""
_PORT_TRIES: Final = 20
"""How often to look for a free port that all sockets can share."""


class Request(NamedTuple):
    """What a handler is given."""

    payload: bytes
    """The client's bytes. They may come from anyone."""
    peer: Address
    """Where the datagram says it came from. Anyone can write anything there."""
    local: Address
    """The address of ours it was sent to; the reply leaves from there."""
    attempt: int
    """Which transmission of the request this is, from 1; 0 where the wire format does not say."""


SyncHandler = Callable[[Request], bytes | None]
AsyncHandler = Callable[[Request], Awaitable[bytes | None]]
Handler = SyncHandler | AsyncHandler


async def serve(
    handler: Handler,
    port: int,
    *,
    # Where to listen
    host: str | None = None,
    family: socket.AddressFamily = socket.AF_UNSPEC,
    # What to speak
    profile: Profile | None = None,
    # Limits
    max_payload: int | None = None,
    max_handlers: int = DEFAULT_MAX_HANDLERS,
    # Tasks, as for trio.serve_tcp
    handler_nursery: trio.Nursery | None = None,
    task_status: trio.TaskStatus["Server"] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer requests until cancelled or drained: `server = await nursery.start(trio_udp.serve, handler, 1060)`.

    Args:
        handler: called with each `Request`; its bytes are the reply, None is silence. A plain function runs in the
            task that reads the socket; an `async def` function runs in a task of its own and may wait. It may be
            called more than once for one request: clients retransmit. If it raises, the client is told so, the error
            is logged with its traceback, and serving goes on.
        port: 0 to 65535; 0 takes a free one, see `Server.address`.
        host: name or address to listen on; all addresses of this host by default, or when empty.
        family: `socket.AF_INET` or `socket.AF_INET6` to listen on addresses of that kind only.
        profile: the wire format, `TU1()` by default.
        max_payload: longest request payload taken, in bytes; what the format can carry by default.
        max_handlers: async handlers running at a time; further requests are answered BUSY.
        handler_nursery: where handlers run; a nursery of the server's own by default.
        task_status: for `nursery.start`, which returns the `Server`.

    Raises `ValueError` for arguments that make no sense, `socket.gaierror` for a name without an address, and `OSError`
    for an address that is taken, forbidden, or not this host's. On cancellation the sockets are closed and handlers in
    the server's own nursery are cancelled with it.
    """
    if max_handlers < 1:
        raise ValueError(f"expected max_handlers to be at least 1, got {max_handlers}")
    if max_payload is not None and max_payload < 0:
        raise ValueError(f"expected max_payload to be at least 0, got {max_payload}")
    endpoints = await _open_endpoints(await resolve(host or None, port, family))
    protocol = ServerProtocol(profile or TU1(), max_payload=max_payload)
    server = Server(handler, endpoints, protocol, max_handlers)
    await server._run(handler_nursery, task_status)  # noqa: SLF001 - this function is the server's other half


async def _open_endpoints(addresses: list[Address]) -> list[Endpoint]:
    """One endpoint for each address, all on one port."""
    for _ in range(_PORT_TRIES):
        try:
            return await _try_to_open_endpoints(addresses)
        except OSError as exc:
            if exc.errno != errno.EADDRINUSE or addresses[0].port:
                raise
            # Port 0: the one that was free for the first address was not free for another.
    raise OSError(errno.EADDRINUSE, f"no port is free for all of {', '.join(address.host for address in addresses)}")


async def _try_to_open_endpoints(addresses: list[Address]) -> list[Endpoint]:
    missing = None
    with contextlib.ExitStack() as opened:
        endpoints: list[Endpoint] = []
        for address in addresses:
            port = endpoints[0].address.port if endpoints else address.port
            try:
                sock = await open_server_socket(address._replace(port=port))
            except OSError as exc:
                if exc.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                    raise
                missing = exc  # without IPv6, say; the name's other addresses will do
                continue
            endpoints.append(Endpoint(sock))
            opened.callback(endpoints[-1].close)
        opened.pop_all()
    if not endpoints and missing is not None:
        raise missing
    return endpoints


class Server:
    """A running server. Made by `serve`, which gives it to `task_status`."""

    def __init__(
        self, handler: Handler, endpoints: list[Endpoint], protocol: ServerProtocol, max_handlers: int
    ) -> None:
        self._handler = handler
        self._handler_is_async = _is_async(handler)
        self._endpoints = endpoints
        self._protocol = protocol
        self._max_handlers = max_handlers
        self._handlers = 0
        self._draining = False
        self._idle = trio.Event()
        self._stopped = trio.Event()
        self._scope = trio.CancelScope()
        self._counts: Counter[str] = Counter()

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where it listens, one for each socket."""
        return tuple(endpoint.address for endpoint in self._endpoints)

    @property
    def address(self) -> Address:
        """Where it listens, the first of `addresses`. `open_client(*server.address)` reaches it from this host."""
        return self._endpoints[0].address

    async def drain(self) -> None:
        """Stop gently: answer BUSY to new requests, let running handlers finish, then close the sockets.

        `serve` returns when this does. The grace is a cancel scope of yours, `with trio.move_on_after(5): await
        server.drain()`; when that ends, or this is cancelled for any other reason, the server stops at once, and
        handlers in its own nursery are cancelled. Do not wait for this in a handler: it waits for the handler.
        """
        self._draining = True
        try:
            self._notice_if_idle()
            await self._idle.wait()
        finally:
            self._scope.cancel()
        await self._stopped.wait()

    def statistics(self) -> ServerStatistics:
        """The counters so far."""
        counts = self._counts
        return ServerStatistics(
            requests=counts["requests"],
            replies=counts["replies"],
            retries=counts["retries"],
            busy=counts["busy"],
            errors=counts["errors"],
            unanswered=counts["unanswered"],
            handlers=self._handlers,
            dropped=dict(self._protocol.dropped),
            endpoints={endpoint.address: endpoint.statistics() for endpoint in self._endpoints},
        )

    async def _run(self, handler_nursery: trio.Nursery | None, task_status: trio.TaskStatus["Server"]) -> None:
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    for endpoint in self._endpoints:
                        nursery.start_soon(self._pump, endpoint, handler_nursery or nursery)
                    task_status.started(self)
        finally:
            for endpoint in self._endpoints:
                endpoint.close()
            self._stopped.set()
            self._idle.set()  # whatever stopped it: nobody waits for a dead server to become idle

    async def _pump(self, endpoint: Endpoint, nursery: trio.Nursery) -> None:
        while True:
            batch = await endpoint.receive()
            if batch.truncated:
                self._protocol.dropped[DropReason.TRUNCATED] += batch.truncated
            for datagram in batch.datagrams:
                question = self._protocol.receive_datagram(datagram.data)
                if not isinstance(question, DropReason):
                    await self._take(_Turn(endpoint, datagram, question), nursery)

    async def _take(self, turn: "_Turn", nursery: trio.Nursery) -> None:
        self._counts["requests"] += 1
        if self._draining or self._handlers >= self._max_handlers:
            await self._refuse(turn, AnswerKind.BUSY)
        elif self._handler_is_async:
            self._handlers += 1
            nursery.start_soon(self._handle, turn)
        else:
            await self._handle_now(turn)

    async def _handle_now(self, turn: "_Turn") -> None:
        """Run a plain handler, here and now."""
        try:
            answer = self._encode(turn, cast("SyncHandler", self._handler)(turn.request))
        except Exception:
            await self._fail(turn)
        except BaseException:
            self._end("unanswered")
            raise
        else:
            await self._send(turn, *answer)

    async def _handle(self, turn: "_Turn") -> None:
        """Run an async handler; this is its task."""
        try:
            answer = self._encode(turn, await cast("AsyncHandler", self._handler)(turn.request))
        except Exception:
            await self._fail(turn)
        except BaseException as exc:
            self._end("unanswered")
            raise self._log_errors(exc, turn) from None
        else:
            await self._send(turn, *answer)
        finally:
            self._handlers -= 1

    def _encode(self, turn: "_Turn", payload: bytes | None) -> tuple[AnswerKind, bytes | None]:
        """What to send for what the handler returned."""
        if payload is None:
            return AnswerKind.REPLY, None
        if not isinstance(payload, bytes):
            raise TypeError(f"expected the handler to return bytes or None, got {type(payload).__name__}")
        return self._protocol.reply(turn.question, payload)

    def _log_errors(self, exc: BaseException, turn: "_Turn") -> BaseException:
        """What has to end this task, a cancellation say, without what a handler of many tasks raised beside it (E8)."""
        if not isinstance(exc, BaseExceptionGroup):
            return exc
        errors, rest = exc.split(Exception)
        if errors is not None:
            logger.error("handler failed for a request from %s", turn.datagram.peer, exc_info=errors)
        return rest or exc

    async def _fail(self, turn: "_Turn") -> None:
        logger.exception("handler failed for a request from %s", turn.datagram.peer)
        await self._refuse(turn, AnswerKind.ERROR)

    async def _refuse(self, turn: "_Turn", kind: AnswerKind) -> None:
        await self._send(turn, kind, self._protocol.refuse(turn.question, kind))

    async def _send(self, turn: "_Turn", kind: AnswerKind, datagram: bytes | None) -> None:
        """Send an answer, if there is one, and count the request under what became of it."""
        counter = "errors" if kind is AnswerKind.ERROR else "unanswered"
        peer, source = turn.datagram.peer, turn.datagram.ancillary.local
        try:
            # Never waits: one neighbour that cannot be reached fills the send buffer for seconds, and all others would
            # wait behind it. What is lost so is lost as on the wire: the client asks again.
            if datagram is not None and await turn.endpoint.send(datagram, peer, source, may_wait=False) is None:
                counter = _COUNTERS[kind]
        except trio.ClosedResourceError:
            pass  # a handler in a nursery of the user's may outlive the server
        finally:
            self._end(counter)

    def _end(self, counter: str) -> None:
        """Count a request under what became of it."""
        self._counts[counter] += 1
        self._notice_if_idle()

    def _notice_if_idle(self) -> None:
        """Wake `drain` when every request that came has ended."""
        if self._draining and self._counts["requests"] == sum(self._counts[end] for end in _ENDS):
            self._idle.set()


_COUNTERS: Final = {
    AnswerKind.REPLY: "replies",
    AnswerKind.RETRY: "retries",
    AnswerKind.BUSY: "busy",
    AnswerKind.ERROR: "errors",
}
_ENDS: Final = (*_COUNTERS.values(), "unanswered")


class _Turn(NamedTuple):
    """One good request on its way through the server."""

    endpoint: Endpoint
    datagram: Datagram
    question: Question

    @property
    def request(self) -> Request:
        """What the handler is given."""
        local = self.endpoint.address
        if self.datagram.ancillary.local is not None:
            local = local._replace(host=self.datagram.ancillary.local)
        return Request(self.question.payload, self.datagram.peer, local, self.question.attempt)


def _is_async(handler: Handler) -> bool:
    while isinstance(handler, functools.partial):
        handler = handler.func
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(type(handler).__call__)
