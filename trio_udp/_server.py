"""The answering side: `serve`, like `trio.serve_tcp`, and the `Server` it hands to its parent.

What must hold: whoever serves knows where, and when it has ended; sockets are open for as long as `serve` runs, and no
longer.
"""

import socket
from typing import Final

import trio

from ._answering import Answering
from ._endpoint import Endpoint
from ._handlers import Handler, Request
from ._net import Address, open_server_sockets, resolve
from ._statistics import ServerStatistics
from .proto import TU1, Profile, ServerProtocol

__all__ = ["Handler", "Request", "Server", "serve"]

DEFAULT_MAX_HANDLERS: Final = 1024
"""Async handlers running at a time (E9)."""


async def serve(
    handler: Handler,
    port: int,
    *,
    # Where to listen
    host: str | None = None,
    family: socket.AddressFamily = socket.AF_UNSPEC,
    reuse_port: bool = False,
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
        reuse_port: share the port with other servers of the same user that ask for it too, a process each say
            (SO_REUSEPORT). On Linux each client's datagrams, told apart by its address and port, go to one of them,
            until one comes or goes: then some clients move, and a retransmission may reach another server than the
            request did. Port 0 takes one that is shared with nobody yet.
        profile: the wire format, `TU1()` by default.
        max_payload: longest request payload taken, in bytes; what the format can carry by default.
        max_handlers: async handlers running at a time; further requests are answered BUSY.
        handler_nursery: where async handlers run, in a task each from the start; the server's own nursery by default.
        task_status: for `nursery.start`, which returns the `Server`.

    Raises `ValueError` for arguments that make no sense, `socket.gaierror` for a name without an address, and `OSError`
    for an address that is taken, forbidden, or not this host's, or a port that this system cannot share. On
    cancellation the sockets are closed and handlers in the server's own nursery are cancelled with it.
    """
    if max_handlers < 1:
        raise ValueError(f"expected max_handlers to be at least 1, got {max_handlers}")
    if max_payload is not None and max_payload < 0:
        raise ValueError(f"expected max_payload to be at least 0, got {max_payload}")
    sockets = await open_server_sockets(await resolve(host or None, port, family), reuse_port=reuse_port)
    endpoints = [Endpoint(sock, hears_errors=False) for sock in sockets]
    protocol = ServerProtocol(profile or TU1(), max_payload=max_payload, began=endpoints[0].wall_clock())
    server = Server(handler, endpoints, protocol, max_handlers)
    await server._run(handler_nursery, task_status)  # noqa: SLF001 - this function is the server's other half


class Server:
    """A running server. Made by `serve`, which gives it to `task_status`."""

    def __init__(
        self, handler: Handler, endpoints: list[Endpoint], protocol: ServerProtocol, max_handlers: int
    ) -> None:
        self._endpoints = endpoints
        self._protocol = protocol
        self._answering = Answering(handler, endpoints, protocol, max_handlers)
        self._stopped = trio.Event()
        self._scope = trio.CancelScope()

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
        self._answering.draining = True
        try:
            self._answering.notice_if_idle()
            await self._answering.idle.wait()
        finally:
            self._scope.cancel()
        await self._stopped.wait()

    def statistics(self) -> ServerStatistics:
        """The counters so far."""
        return ServerStatistics(
            requests=self._answering.requests,
            **self._answering.ended,
            handlers=self._answering.handlers,
            dropped=dict(self._protocol.dropped),
            endpoints={endpoint.address: endpoint.statistics() for endpoint in self._endpoints},
        )

    async def _run(self, handler_nursery: trio.Nursery | None, task_status: trio.TaskStatus["Server"]) -> None:
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    self._answering.start_in(nursery, handler_nursery)
                    task_status.started(self)
        finally:
            for endpoint in self._endpoints:
                endpoint.close()
            self._stopped.set()
            self._answering.idle.set()  # whatever stopped it: nobody waits for a dead server to become idle
