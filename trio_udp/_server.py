"""The answering side: `serve`, like `trio.serve_tcp`, and the `Server` it hands to its parent.

What must hold: whoever serves knows where, and when it has ended; sockets are open for as long as `serve` runs, and no
longer.
"""

import socket
from collections.abc import Iterable
from typing import Final

import trio

from ._answering import Answering
from ._endpoint import Endpoint
from ._given import check_at_least, check_given
from ._handlers import Handler, Request, is_generator
from ._keys import Key, seals_of
from ._net import Address, open_server_sockets, resolve
from ._random import random_source
from ._reading import Reading
from ._statistics import ServerStatistics
from .proto import (
    DEFAULT_MAX_BYTES,
    DEFAULT_MAX_CLIENTS,
    SECRET_SIZE,
    TU1,
    VALIDATION_SIZE,
    Limiter,
    Profile,
    RateLimit,
    ServerProtocol,
    Validation,
)

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
    # Keys
    keys: Iterable[Key] | None = None,
    allow_unkeyed: bool = False,
    # Limits
    max_payload: int | None = None,
    max_handlers: int = DEFAULT_MAX_HANDLERS,
    rate_limit: RateLimit | None = None,
    max_clients: int = DEFAULT_MAX_CLIENTS,
    max_reply_bytes: int = DEFAULT_MAX_BYTES,
    # Tasks, as for trio.serve_tcp
    handler_nursery: trio.Nursery | None = None,
    task_status: trio.TaskStatus["Server"] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer requests until cancelled or drained: `server = await nursery.start(trio_udp.serve, handler, 1060)`.

    Args:
        handler: called with each `Request`; its bytes are the reply, None is silence. A plain function runs in the
            task that reads the socket; an `async def` function runs in a task of its own and may wait. It may be
            called more than once for one request, because clients retransmit, unless the client asks for at most once;
            then a retransmission is given the same answer again. If it raises, the client is told so, the error
            is logged with its traceback, and serving goes on.
        port: 0 to 65535; 0 takes a free one, see `Server.address`.
        host: name or address to listen on; all addresses of this host by default, or when empty.
        family: `socket.AF_INET` or `socket.AF_INET6` to listen on addresses of that kind only.
        reuse_port: share the port with other servers of the same user that ask for it too, a process each say
            (SO_REUSEPORT). On Linux each client's datagrams, told apart by its address and port, go to one of them,
            until one comes or goes: then some clients move, and a retransmission may reach another server than the
            request did. Port 0 takes one that is shared with nobody yet.
        profile: the wire format, `TU1()` by default.
        keys: those that requests may come under; each is answered under the same. What comes without one is dropped as
            `bad_seal`. `TU1` only.
        allow_unkeyed: with keys, take requests without one too; `Request.authenticated` says which they are.
        max_payload: longest request payload taken, in bytes; what the format can carry by default.
        max_handlers: async handlers running at a time; further requests are answered BUSY.
        rate_limit: requests a second from one source, or from all together; further ones are dropped as `over_budget`,
            without an answer. Of all together strangers leave half of what may come at once to those who have a key
            or a cookie. No limit by default: only you know whether ten a second from one address are many.
        max_clients: clients of at-most-once requests that are remembered at a time, each for 6 to 7 minutes after its
            last one; requests of further ones are answered BUSY. 0: no at-most-once request is taken.
        max_reply_bytes: memory for all that is remembered of them; when it is full, BUSY too. 64 replies a client at
            most, each until the client says that it has it.
        handler_nursery: where async handlers run, in a task each from the start; the server's own nursery by default.
        task_status: for `nursery.start`, which returns the `Server`.

    Raises `ValueError` for arguments that make no sense, `TypeError` for objects of another kind, `socket.gaierror` for
    a name without an address, and `OSError` for an address that is taken, forbidden, or not this host's, or a port that
    this system cannot share. On cancellation the sockets are closed and handlers in the server's own nursery are
    cancelled with it.
    """
    if not callable(handler):
        raise TypeError(f"expected a handler to call, got {type(handler).__name__}")
    if is_generator(handler):
        raise TypeError(f"expected a handler that returns bytes or None, got one that yields: {handler!r:.100}")
    check_at_least(1, max_handlers=max_handlers)
    check_at_least(0, max_clients=max_clients, max_reply_bytes=max_reply_bytes)
    if max_payload is not None:
        check_at_least(0, max_payload=max_payload)
    check_given("profile", profile, Profile | None)
    check_given("rate_limit", rate_limit, RateLimit | None)
    limiter = None if rate_limit is None else Limiter(rate_limit, random_source()(SECRET_SIZE))
    random = random_source()(VALIDATION_SIZE)
    validation = Validation(random, max_clients=max_clients, max_bytes=max_reply_bytes)
    protocol = ServerProtocol(
        profile or TU1(),
        max_payload=max_payload,
        validation=validation,
        seals=None if keys is None else seals_of(keys),
        allow_unkeyed=allow_unkeyed,
        limiter=limiter,
    )
    sockets = await open_server_sockets(await resolve(host or None, port, family), reuse_port=reuse_port)
    endpoints = _take_over(sockets)
    protocol.begin(endpoints[0].wall_clock())
    answering = Answering(handler, endpoints, protocol, max_handlers, handler_nursery)
    server = Server(endpoints, protocol, validation, answering)
    await server._run(task_status)  # noqa: SLF001 - this function is the server's other half


def _take_over(sockets: list[trio.socket.SocketType]) -> list[Endpoint]:
    """Endpoints of these; if one cannot be had, on the last descriptor say, all are closed."""
    endpoints: list[Endpoint] = []
    try:
        for sock in sockets:
            endpoints.append(Endpoint(sock, hears_errors=False))
    except BaseException:
        for endpoint in endpoints:
            endpoint.close()
        for sock in sockets:
            sock.close()
        raise
    return endpoints


class Server:
    """A running server. Made by `serve`, which gives it to `task_status`."""

    def __init__(
        self, endpoints: list[Endpoint], protocol: ServerProtocol, validation: Validation, answering: Answering
    ) -> None:
        self._endpoints = endpoints
        self._protocol = protocol
        self._validation = validation
        self._reading = Reading(answering)
        self._tally = answering.tally
        self._stopped = trio.Event()
        self._scope = trio.CancelScope()

    def __repr__(self) -> str:
        stopped = ", stopped" if self._stopped.is_set() else ""
        return f"<Server at {', '.join(map(str, self.addresses))}{stopped}>"

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where it listens, one for each socket."""
        return tuple(endpoint.address for endpoint in self._endpoints)

    @property
    def address(self) -> Address:
        """Where it listens, the first of `addresses`. `open_client(*server.address)` reaches it from this host."""
        return self._endpoints[0].address

    def set_keys(self, keys: Iterable[Key]) -> None:
        """Accept these keys from now on, and no others. To lose no request, keep the old one until nobody asks with it.

        Raises `ValueError` for none at all, for two of one id, and for a profile without room for a tag.
        """
        self._protocol.set_seals(seals_of(keys))

    async def drain(self) -> None:
        """Stop gently: answer BUSY to new requests, let running handlers finish, then close the sockets.

        `serve` returns when this does. The grace is a cancel scope of yours, `with trio.move_on_after(5): await
        server.drain()`; when that ends, or this is cancelled for any other reason, the server stops at once, and
        handlers in its own nursery are cancelled. Do not wait for this in a handler: it waits for the handler.
        """
        self._tally.draining = True
        try:
            self._tally.notice_if_idle()
            await self._tally.idle.wait()
        finally:
            self._scope.cancel()
        await self._stopped.wait()

    def statistics(self) -> ServerStatistics:
        """The counters so far."""
        validation = self._validation
        return ServerStatistics(
            requests=self._tally.requests,
            **self._tally.ended,
            handlers=self._tally.handlers,
            repeated=self._protocol.repeated,
            cookies_granted=validation.granted,
            cookies_accepted=validation.accepted,
            clients_held=validation.replies.clients_held,
            reply_bytes_held=validation.replies.bytes_held,
            dropped=dict(self._protocol.dropped),
            endpoints={endpoint.address: endpoint.statistics() for endpoint in self._endpoints},
        )

    async def _run(self, task_status: trio.TaskStatus["Server"]) -> None:
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    self._reading.start_in(nursery, self._endpoints)
                    task_status.started(self)
                    await self._reading.until_cancelled()
        finally:
            for endpoint in self._endpoints:
                endpoint.close()
            self._stopped.set()
            self._tally.idle.set()  # whatever stopped it: nobody waits for a dead server to become idle
