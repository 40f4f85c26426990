"""The asking side: `open_client`, and `Client` with its one loop.

A request is a loop a reader can check against the promise: send, wait for news, give up when the schedule ends. What to
send, whom to believe and how long to wait is arithmetic in `trio_udp.proto`.

Many requests share one socket, and the client hides no nursery and no task: one of the tasks that wait reads for all
(`_pump`). So an exception of the user's stays what it is, and cancelling one request disturbs no other. docs/decisions
has the alternatives.
"""

import contextlib
import errno
import socket
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Sequence

import trio

from ._endpoint import Endpoint
from ._given import check_at_least, check_given, check_server
from ._keys import Key, seal_of
from ._net import NO_OPTIONS, Address, SocketOptions, loopback_of, normalise, open_client_socket, resolve
from ._pump import Pump
from ._random import RandomBytes, random_source
from ._reply import Reply, conclude, servers_of
from ._results import Fetched, Given, Result, Results
from ._statistics import ClientStatistics
from ._turns import Turns
from .proto import (
    DEFAULT_MAX_IN_FLIGHT,
    DEFAULT_MAX_PAYLOAD,
    INSTANCE_SIZE,
    TU1,
    Attempt,
    ClientProtocol,
    Profile,
    RetryPolicy,
    check_sealable,
)


@contextlib.asynccontextmanager
async def open_client(
    host: str | None = None,
    port: int | None = None,
    *,
    # Whom to ask
    servers: Sequence[tuple[str, int]] | None = None,
    family: socket.AddressFamily = socket.AF_UNSPEC,
    connect: bool | None = None,
    # How to ask
    profile: Profile | None = None,
    policy: RetryPolicy | None = None,
    at_most_once: bool = False,
    # Keys
    key: Key | None = None,
    # Limits
    max_payload: int = DEFAULT_MAX_PAYLOAD,
    max_in_flight: int = DEFAULT_MAX_IN_FLIGHT,
    # How datagrams leave
    options: SocketOptions = NO_OPTIONS,
) -> AsyncIterator["Client"]:
    """Open a client for one server, `open_client(host, port)`, or several, `open_client(servers=[(host, port), …])`.

    Names are resolved once, here. Every address of every name is a server that may be asked: the first good answer
    wins, and a dead one costs a fraction of a wait. Leaving the block closes the client.

    Args:
        host: name or numeric address.
        port: 1 to 65535.
        servers: instead of host and port, in order of preference.
        family: `socket.AF_INET` or `socket.AF_INET6` to use only addresses of that kind.
        connect: whether to connect the socket, so that the kernel drops what strangers send, unseen and uncounted.
            Possible with one address only, and the default then; pass False to have strangers counted as `wrong_peer`.
        profile: the wire format, `TU1()` by default.
        policy: the retransmission schedule, the profile's by default.
        at_most_once: whether requests run at most once, unless one says otherwise: see `Client.exchange`.
        key: vouches for requests and replies; what comes without its tag is dropped as `bad_seal`. The server needs it
            too. `TU1` only.
        max_payload: the longest payload of a request in bytes, and the most that a request is padded to when a server
            says that its reply is longer than the request; the default fits any Internet path.
        max_in_flight: requests under way at a time, at most; others wait for their turn. Losses halve how many that is,
            and answers let it grow again (RFC 8085 section 3.1).
        options: what the socket is to be: its source address and port, interface, hop limit, traffic class.

    Raises:
        ValueError: an argument makes no sense, such as port 0, or a link-local address without a scope.
        TypeError: an object is not of its kind, such as a class in place of a profile.
        socket.gaierror: a name has no address.
        OSError: no socket could be opened, or not with these options.
    """
    check_at_least(1, max_in_flight=max_in_flight)
    check_at_least(0, max_payload=max_payload)
    check_given("profile", profile, Profile | None)
    check_given("policy", policy, RetryPolicy | None)
    check_given("options", options, SocketOptions)
    profile = profile or TU1()
    seal = None if key is None else seal_of(key)
    if seal is not None:
        check_sealable(profile)
    peers = await _resolve_all(_servers(host, port, servers), family)
    endpoint, peers = await _open_endpoint(peers, connect, options)
    random_bytes = random_source()
    protocol = ClientProtocol(
        profile,
        peers,
        random=random_bytes(INSTANCE_SIZE * len(peers)),
        max_payload=max_payload,
        seal=seal,
        max_in_flight=max_in_flight,
    )
    client = Client(
        endpoint,
        protocol,
        policy=policy or profile.policy,
        at_most_once=at_most_once,
        random_bytes=random_bytes,
    )
    try:
        yield client
    finally:
        client.close_nowait()


def _servers(
    host: str | None, port: int | None, servers: Sequence[tuple[str, int]] | None
) -> Sequence[tuple[str, int]]:
    if servers is None:
        if host is None or port is None:
            raise ValueError("expected a host and a port, or servers=[(host, port), …]")
        servers = [(host, port)]
    elif host is not None or port is not None:
        raise ValueError("expected either a host and a port or servers=, got both")
    if not servers:
        raise ValueError("expected at least one server, got none")
    for server in servers:
        match server:
            case (name, server_port):
                check_server(name, server_port)
            case other:
                raise TypeError(f"expected servers to be pairs of a host and a port, got {other!r:.80}")
    return servers


async def _resolve_all(servers: Sequence[tuple[str, int]], family: socket.AddressFamily) -> list[Address]:
    found = [loopback_of(address) for host, port in servers for address in await resolve(host, port, family)]
    return list(dict.fromkeys(found))


async def _open_endpoint(
    peers: list[Address], connect: bool | None, options: SocketOptions
) -> tuple[Endpoint, list[Address]]:
    """The client's socket, and the peers it can send to, as the kernel calls them."""
    if connect and len(peers) > 1:
        raise ValueError(f"expected one address to connect to, got {len(peers)}: {', '.join(map(str, peers))}")
    if connect is None:
        connect = len(peers) == 1
    try:
        sock = await open_client_socket(peers, connect=connect, options=options)
    except OSError as exc:
        ipv4 = [peer for peer in peers if peer.family == socket.AF_INET]
        if exc.errno == errno.EAFNOSUPPORT and ipv4 != peers and ipv4:
            return await _open_endpoint(ipv4, connect, options)  # a kernel without IPv6, and a name that has it
        if connect and exc.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH):
            return await _open_endpoint(
                peers, connect=False, options=options
            )  # no route now; each attempt will try again
        raise
    if connect:
        peers = [normalise(sock.getpeername())]
        return Endpoint(sock, peer=peers[0]), peers
    return Endpoint(sock), peers


class Client:
    """Asks one server, or several that are as good as each other. Made by `open_client`; many tasks may share it."""

    def __init__(
        self,
        endpoint: Endpoint,
        protocol: ClientProtocol,
        *,
        policy: RetryPolicy,
        at_most_once: bool,
        random_bytes: RandomBytes,
    ) -> None:
        self._endpoint = endpoint
        self._at_most_once = at_most_once
        self._protocol = protocol
        self._policy = policy
        self._turns = Turns(protocol.window)
        self._pump = Pump(endpoint, protocol, random_bytes, self._turns)
        self._counts = {"requests": 0, "replies": 0, "no_replies": 0, "remote_errors": 0, "cancelled": 0}
        self._counts["outcome_unknown"] = 0

    def __repr__(self) -> str:
        closed = ", closed" if self._pump.is_closed else ""
        return f"<Client of {', '.join(map(str, self.servers))}{closed}>"

    @property
    def address(self) -> Address:
        """The socket's own address; the host is unspecified unless the socket is connected."""
        return self._endpoint.address

    @property
    def servers(self) -> tuple[Address, ...]:
        """The servers, the one that answered last first."""
        return servers_of(self._protocol)

    @property
    def profile(self) -> Profile:
        """The wire format."""
        return self._protocol.profile

    @property
    def authenticated(self) -> bool:
        """Whether it has a key, so that every reply is authenticated."""
        return self._protocol.is_keyed

    def set_key(self, key: Key) -> None:
        """Ask under this key from now on, retransmissions too. What went out under the one before may be answered.

        An at-most-once request that may have run keeps its key, so the server should know both for as long as it lasts.

        Raises `ValueError` for a client that was opened without a key.
        """
        self._protocol.set_seal(seal_of(key))

    async def request(
        self, payload: bytes, *, policy: RetryPolicy | None = None, at_most_once: bool | None = None
    ) -> bytes:
        """Ask, and return the reply's payload. See `exchange`, which says more about the reply."""
        return (await self.exchange(payload, policy=policy, at_most_once=at_most_once)).payload

    async def exchange(
        self,
        payload: bytes,
        *,
        policy: RetryPolicy | None = None,
        at_most_once: bool | None = None,
        on_attempt: Callable[[Attempt], None] | None = None,
    ) -> Reply:
        """Ask, retransmit until the schedule ends, and return the one reply that belongs to this request.

        The server's handler may run once for each attempt, unless `at_most_once` is asked for. Deadlines are Trio's:
        `with trio.fail_after(2): …`. When cancelled, the request is forgotten at once, and an answer that still comes
        is counted as `late`.

        Args:
            payload: at most `max_payload` bytes; may be empty.
            policy: a schedule for this request only.
            at_most_once: whether the handler may not run twice for this request, the client's choice by default. It
                goes to one server then, the first one that is there. When it ends without an answer, by `NoReply` or by
                cancellation, it may have run or not. At most 64 from the oldest on that has not ended are under way at
                a time to a server; others wait. It costs 36 bytes, and now and then a round trip.
            on_attempt: called before each transmission.

        Raises:
            NoReply: the schedule ended without an answer; also a `trio.TooSlowError`.
            ServerBusy: no server had room for the request until the schedule ended.
            RemoteError: the server's handler failed, or its reply does not fit.
            OutcomeUnknown: the server cannot tell whether this at-most-once request has run: it has started again since
                the request was first sent, or the request has been under way for more than 5 minutes.
            PayloadTooLarge: the payload is longer than `max_payload`; nothing was sent.
            ValueError: the profile cannot carry this payload, or not at most once; nothing was sent.
            TypeError: the payload is not `bytes`, or the policy no `RetryPolicy`.
            trio.ClosedResourceError: the client is closed, or was closed meanwhile.
        """
        self._pump.check_open()
        self._counts["requests"] += 1
        ended = "cancelled"
        try:
            waits = not self._turns.acquire_nowait()
            if waits:
                await self._turns.acquire()
            try:
                if waits:
                    self._pump.check_open()  # it may have been closed meanwhile
                once = self._at_most_once if at_most_once is None else at_most_once
                exchange = self._pump.open_exchange(payload, self._policy_of(policy), at_most_once=once)
                try:
                    if self._pump.reader is None:
                        await self._pump.read_backlog(exchange)
                    while not exchange.is_over:
                        await self._pump.transmit(exchange, on_attempt)
                        if not exchange.is_over:
                            await self._pump.wait_for_news(exchange)
                    came, ended = conclude(exchange, self._protocol)
                finally:
                    self._pump.forget(exchange)
            finally:
                self._turns.release()
        finally:
            self._counts[ended] += 1
        if isinstance(came, Reply):
            return came
        raise came

    @contextlib.asynccontextmanager
    async def request_many(
        self,
        payloads: Iterable[bytes] | AsyncIterable[bytes],
        *,
        policy: RetryPolicy | None = None,
        at_most_once: bool | None = None,
        max_in_flight: int | None = None,
        nursery: trio.Nursery | None = None,
    ) -> AsyncIterator[AsyncIterator[Result]]:
        """Ask many times from one task: `async with client.request_many(payloads) as results: async for result in …`.

        Results come in the order in which the requests end, each a `Result` with its payload and a reply or an error.
        Payloads are taken one by one, only when there is room. Nothing is sent again while your loop is busy with
        something else. When the block is left, for whatever reason, what is still in flight is forgotten at once.

        Args:
            payloads: at most `max_payload` bytes each.
            policy: a schedule for these requests only.
            at_most_once: as for `exchange`.
            max_in_flight: requests of this call under way at a time, the client's own limit by default. They count
                among the client's, and leave one of its turns to others.
            nursery: for payloads that come from an async iterable: where the task runs that waits for them. If it is a
                generator, it is closed at the end.

        Raises:
            ValueError: `max_in_flight` is less than 1; or an async iterable came without a nursery.
            trio.ClosedResourceError: while waiting for a result: the client is closed, or was closed meanwhile.

        What the iterable of payloads raises is raised where results are waited for; a payload that is not `bytes` is a
        `TypeError` there.
        """
        limit = self._turns.max_value if max_in_flight is None else max_in_flight
        check_at_least(1, max_in_flight=limit)
        source = Fetched(payloads) if isinstance(payloads, AsyncIterable) else Given(payloads)
        results = Results(
            self._pump,
            source,
            counts=self._counts,
            policy=self._policy_of(policy),
            at_most_once=self._at_most_once if at_most_once is None else at_most_once,
            max_in_flight=limit,
        )
        async with contextlib.AsyncExitStack() as stack:
            if isinstance(source, Fetched):
                if nursery is None:
                    raise ValueError("expected a nursery, in which to wait for payloads of an async iterable")
                await stack.enter_async_context(source.fetching(nursery, results.interrupt))
            stack.callback(results.close)
            yield results

    def _policy_of(self, policy: RetryPolicy | None) -> RetryPolicy:
        if policy is None:
            return self._policy
        check_given("policy", policy, RetryPolicy)
        return policy

    async def aclose(self) -> None:
        """Close the socket. Every request under way ends with `trio.ClosedResourceError`; closing twice is fine."""
        self.close_nowait()
        await trio.lowlevel.checkpoint()

    def close_nowait(self) -> None:
        """As `aclose`, from code that cannot await."""
        self._pump.close()

    def statistics(self) -> ClientStatistics:
        """The counters so far."""
        return ClientStatistics(
            **self._counts,
            window=self._protocol.window.size,
            withheld=self._protocol.budget.withheld,
            in_flight=len(self._protocol.exchanges) // len(self._protocol.servers),
            dropped=dict(self._protocol.dropped),
            smoothed_rtt={
                Address(*server.peer): server.estimator.srtt
                for server in self._protocol.servers
                if server.estimator.srtt is not None
            },
            endpoint=self._endpoint.statistics(),
        )
