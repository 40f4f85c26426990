"""A relay for any UDP protocol that does harm on purpose, and says exactly which: the truth that tools are held to.

    running = await nursery.start(functools.partial(relay, ("127.0.0.1", 0), server.address, up=[by_number({3: DROP})]))
    async with trio_udp.open_client(*running.address) as client: ...
    print(running.statistics().up)

Like an address translator it has a socket of its own for each client, connected to the upstream, so whoever answers
there tells clients apart. A task listens for each address, one reads for each client, and one a direction sends, so
that the order in which datagrams leave is the order in which that is written down.

What must hold: what the passages say is what came through. Equal rules, seeds and traffic do equal harm. Strangers can
make nothing grow beyond the limits: flows, and copies that wait.
"""

import errno
import math
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from random import Random
from typing import Final, NamedTuple

import trio

from ._chaos import Packet, Rule
from ._direction import MOST_WAITING, Direction, DirectionStatistics, Leaving, Passage, Stream
from ._endpoint import Endpoint
from ._forging import FORGERIES, UNREACHABLE, Forge, check_kind, forged_reply
from ._net import Address, Datagram, loopback_of, open_client_socket, open_server_socket, open_server_sockets, resolve
from ._net._icmp import IcmpForger, icmp_about, open_icmp_forger

MOST_FLOWS: Final = 256
"""Clients at a time, a socket each: a quarter of the usual limit of 1,024 descriptors."""
IDLE: Final = 120.0
"""Seconds without a datagram after which a client is forgotten: what RFC 4787, REQ-5, asks of translators at least."""
TRUTH_VERSION: Final = 1
"""Of the lines that tell what a relay did: a field may be added to one; what there is keeps its meaning."""
EXPIRED: Final = "flow expired"
STOPPED: Final = "stopped"
UP: Final = "up"
DOWN: Final = "down"
_NANOSECONDS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayStatistics:
    """What a relay has done so far."""

    up: DirectionStatistics
    """From clients to the upstream."""
    down: DirectionStatistics
    """From the upstream to clients."""
    flows: int
    """Clients that it has a socket for now."""
    flows_opened: int
    """And ever had."""
    hints: Mapping[str, int]
    """ICMP errors about what was sent up, by the errno's name."""
    kernel_drops: int
    """Datagrams that the kernel threw away because a socket's receive buffer was full: nothing else is known of them.
    Counted when another one comes to that socket."""

    def as_json(self, elapsed: float) -> dict[str, object]:
        """The last of the lines that tell the truth, of types that JSON has; `elapsed` seconds after the first."""
        return {"event": "summary", "elapsed_ns": round(elapsed * _NANOSECONDS), **asdict(self)}


class _Flow:
    """One client."""

    def __init__(self, number: int, near: Endpoint, client: Address, source: str | None, far: Endpoint) -> None:
        self.near = near
        """The socket that it has asked."""
        self.client = client
        self.asked = near.address if source is None else Address(source, near.address.port)
        """The address of ours that it has asked."""
        self.far = far
        """A socket of its own, connected to the upstream."""
        self.up = Stream(number)
        self.down = Stream(number)
        self.upwards = _Way(self, far, far.address, None)
        self.downwards = _Way(self, near, client, source)
        self.scope = trio.CancelScope()
        """Its deadline is when the flow has been idle for too long."""
        self.last_reply = b""


class _Way(NamedTuple):
    """How a datagram leaves."""

    flow: _Flow
    endpoint: Endpoint | IcmpForger
    peer: Address
    """Makes no difference to a connected socket."""
    source: str | None
    """The address of ours that it leaves from, where that may be one of several."""


async def relay(
    listen: tuple[str, int],
    upstream: tuple[str, int],
    *,
    # Faults
    up: Iterable[Rule] = (),
    down: Iterable[Rule] = (),
    forge: Forge | None = None,
    forge_icmp: Forge | None = None,
    random: Random | None = None,
    # Truth
    on_passage: Callable[[Passage], object] | None = None,
    # Where
    family: socket.AddressFamily = socket.AF_UNSPEC,
    # Limits
    max_flows: int = MOST_FLOWS,
    idle: float = IDLE,
    most_waiting: int = MOST_WAITING,
    # Tasks, as for trio.serve_tcp
    task_status: trio.TaskStatus["Relay"] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Pass datagrams between clients and an upstream, with faults, until cancelled.

    Args:
        listen: host and port for clients; an empty host is every address of this host, port 0 takes a free one.
        upstream: host and port of the server; the first address of a name, looked up once. Clients and upstream may be
            of different IP versions.
        up: rules for what clients send; the first verdict wins, and what no rule has an opinion about passes. Packets
            are numbered from 1 in each direction, over all clients. A relay sends no ICMP error: one that a verdict
            carries is a loss, and so is a call that fails.
        down: the same for what the upstream sends.
        forge: which `FORGERIES` come down; `forge_at_random` makes such a function.
        forge_icmp: which ICMP errors, of `UNREACHABLE`, a client is sent about its datagram, in the name of the address
            that it asked. Takes a raw socket, so root or CAP_NET_RAW, and has been tried on Linux.
        random: where the bytes of forgeries come from; `Random(0)` by default.
        on_passage: called with each `Passage`, when its last copy has left or is lost.
        family: `socket.AF_INET` or `socket.AF_INET6` to use only addresses of that kind.
        max_flows: clients at a time, each with a socket; the datagrams of others are dropped.
        idle: seconds without a datagram in either direction after which a client is forgotten.
        most_waiting: copies that wait at a time, in each direction; what exceeds that is dropped.
        task_status: for `nursery.start`, which returns the `Relay`.

    Raises `ValueError` for arguments that make no sense, `socket.gaierror` for a name without an address, and `OSError`
    for an address that is taken, forbidden, or not this host's, and where ICMP errors may not be forged. On
    cancellation the sockets are closed, and what was waiting is lost, as `stopped`.
    """
    if max_flows < 1 or most_waiting < 1:
        raise ValueError(f"expected limits to be at least 1, got max_flows={max_flows}, most_waiting={most_waiting}")
    if not 0 < idle < math.inf:
        raise ValueError(f"expected idle to be more than 0 seconds, got {idle}")
    if not 1 <= upstream[1] <= 65_535:
        raise ValueError(f"expected a port of the upstream from 1 to 65535, got {upstream[1]}")
    target = loopback_of((await resolve(*upstream, family))[0])
    sockets = await open_server_sockets(await resolve(listen[0] or None, listen[1], family))
    running = Relay(
        [Endpoint(sock, hears_errors=False) for sock in sockets],
        target,
        Direction(UP, up, limit=most_waiting, on_passage=on_passage),
        Direction(DOWN, down, limit=most_waiting, on_passage=on_passage),
        _Forger(forge, forge_icmp, random or Random(0)) if forge or forge_icmp else None,  # noqa: S311 - noise, not secrets
        max_flows=max_flows,
        idle=idle,
    )
    await running._run(task_status)  # noqa: SLF001 - this function is its other half


class Relay:
    """A running relay. Made by `relay`, which gives it to `task_status`."""

    def __init__(
        self,
        endpoints: list[Endpoint],
        upstream: Address,
        up: Direction[_Way],
        down: Direction[_Way],
        forger: "_Forger | None",
        *,
        max_flows: int,
        idle: float,
    ) -> None:
        self.upstream: Final = upstream
        self._endpoints = endpoints
        self._up = _Carrier(up)
        self._down = _Carrier(down)
        self._forger = forger
        self._max_flows = max_flows
        self._idle = idle
        self._flows: dict[tuple[Endpoint, Address], _Flow] = {}
        self._opened = 0
        self._opening = trio.Lock()
        self._hints: Counter[str] = Counter()
        self._kernel_drops = 0
        """Of flows that are gone."""

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where it listens, one for each socket."""
        return tuple(endpoint.address for endpoint in self._endpoints)

    @property
    def address(self) -> Address:
        """Where it listens, the first of `addresses`."""
        return self._endpoints[0].address

    def as_json(
        self,
        time_ns: int,
        *,
        up: str = "",
        down: str = "",
        forge: float = 0.0,
        forge_icmp: float = 0.0,
        seed: int | None = None,
    ) -> dict[str, object]:
        """The first of the lines that tell the truth, of types that JSON has. Between it and that of the
        `RelayStatistics` stands one of each `Passage`.

        Args:
            time_ns: when that is, since 1970.
            up: what the rules do, in words, as `str` of `Conditions`: a relay knows only that they are functions.
            down: the same of the other direction.
            forge: the share of datagrams before whose answer something is forged.
            forge_icmp: the share of those about which an ICMP error is.
            seed: of all that is left to chance.
        """
        return {
            "event": "start",
            "schema": TRUTH_VERSION,
            "time_ns": time_ns,
            "listen": [str(address) for address in self.addresses],
            "upstream": str(self.upstream),
            "up": up,
            "down": down,
            "forge": forge,
            "forge_icmp": forge_icmp,
            "seed": seed,
        }

    def statistics(self) -> RelayStatistics:
        """The counters so far."""
        return RelayStatistics(
            up=self._up.direction.statistics(),
            down=self._down.direction.statistics(),
            flows=len(self._flows),
            flows_opened=self._opened,
            hints=dict(self._hints),
            kernel_drops=self._kernel_drops + sum(map(_kernel_drops, self._open_endpoints())),
        )

    def _open_endpoints(self) -> Iterator[Endpoint]:
        yield from self._endpoints
        yield from (flow.far for flow in self._flows.values())

    async def _run(self, task_status: trio.TaskStatus["Relay"]) -> None:
        try:
            if self._forger is not None:
                for endpoint in self._endpoints:
                    await self._forger.open_for(endpoint)
            async with trio.open_nursery() as nursery:
                for carrier in (self._up, self._down):
                    nursery.start_soon(carrier.run)
                for endpoint in self._endpoints:
                    nursery.start_soon(self._listen, endpoint, nursery)
                task_status.started(self)
        finally:
            for carrier in (self._up, self._down):
                carrier.direction.abandon(STOPPED)
            for endpoint in self._endpoints:
                endpoint.close()
            if self._forger is not None:
                self._forger.close()

    async def _listen(self, near: Endpoint, nursery: trio.Nursery) -> None:
        """Take what clients send."""
        while True:
            for datagram in (await near.receive()).datagrams:
                data, client, _ = datagram
                flow = await self._flow_of(near, datagram, nursery)
                packet = Packet(data, client, self.upstream, sent_at=trio.current_time())
                if isinstance(flow, str):
                    self._up.direction.refuse(packet, Stream(), flow)
                    continue
                packet = self._up.enter(packet, flow.up, flow.upwards)
                if self._forger is not None:
                    self._forger.forge(flow, packet, self._down)

    async def _flow_of(self, near: Endpoint, datagram: Datagram, nursery: trio.Nursery) -> _Flow | str:
        """The flow that this belongs to, which may be a new one; or why there can be none."""
        key = near, datagram.peer
        flow = self._flows.get(key)
        if flow is None or flow.scope.cancel_called:
            async with self._opening:
                self._flows.pop(key, None)  # it has expired, and its task does not know yet
                if len(self._flows) >= self._max_flows:
                    return "too many flows"
                try:
                    sock = await open_client_socket([self.upstream], connect=True)
                except OSError as exc:
                    return errno.errorcode.get(exc.errno or 0, type(exc).__name__)
                self._opened += 1
                far = Endpoint(sock, peer=self.upstream)
                flow = self._flows[key] = _Flow(self._opened, near, datagram.peer, datagram.ancillary.local, far)
                nursery.start_soon(self._answer, flow)
        flow.scope.deadline = trio.current_time() + self._idle
        return flow

    async def _answer(self, flow: _Flow) -> None:
        """Take what the upstream sends to one client, until that is idle for too long."""
        try:
            with flow.scope:
                while True:
                    batch = await flow.far.receive()
                    self._hints.update([*batch.errors, *(hint.error for hint in batch.hints)])
                    for data, peer, _ in batch.datagrams:
                        now = trio.current_time()
                        flow.scope.deadline = now + self._idle
                        flow.last_reply = data if self._forger is not None else b""
                        packet = Packet(data, peer, flow.client, sent_at=now)
                        self._down.enter(packet, flow.down, flow.downwards)
        finally:
            self._forget(flow, EXPIRED if flow.scope.cancelled_caught else STOPPED)

    def _forget(self, flow: _Flow, why: str) -> None:
        self._kernel_drops += _kernel_drops(flow.far)
        flow.far.close()
        for carrier in (self._up, self._down):
            carrier.direction.abandon(why, lambda way: way.flow is flow)
        if self._flows.get((flow.near, flow.client)) is flow:
            del self._flows[flow.near, flow.client]


def _kernel_drops(endpoint: Endpoint) -> int:
    return endpoint.statistics().kernel_drops


class _Carrier:
    """Sends what one direction lets leave, when it is due."""

    def __init__(self, direction: Direction[_Way]) -> None:
        self.direction = direction
        self._news = trio.Event()

    def enter(self, packet: Packet, stream: Stream, way: _Way) -> Packet:
        """See `Direction.enter`."""
        packet, _ = self.direction.enter(packet, stream, way)
        self._news.set()
        return packet

    def inject(self, kind: str, data: bytes, answered: Packet, source: Address, way: _Way) -> None:
        """Forge an answer to this packet. See `Direction.inject`."""
        packet = Packet(data, source, answered.source, sent_at=answered.sent_at, may_fragment=False)
        self.direction.inject(kind, packet, way.flow.down, way)
        self._news.set()

    async def run(self) -> None:
        """Send, until cancelled. One at a time, so that what is written down is the order on the wire."""
        while True:
            with trio.CancelScope(deadline=self.direction.next_due):
                await self._news.wait()
            self._news = trio.Event()
            now = trio.current_time()
            while (leaving := self.direction.take(now)) is not None:
                await self._send(leaving)

    async def _send(self, leaving: Leaving[_Way]) -> None:
        _, endpoint, peer, source = leaving.way
        error: str | None = STOPPED
        try:
            error = await endpoint.send(leaving.data, peer, source)
        except trio.ClosedResourceError:
            error = EXPIRED
        finally:
            self.direction.settle(leaving, at=trio.current_time(), error=error or "")


class _Forger:
    """Makes what a client must not believe, and has sockets for what comes from elsewhere."""

    def __init__(self, replies: Forge | None, errors: Forge | None, random: Random) -> None:
        self._replies = replies
        self._errors = errors
        self._random = random
        self._strays: dict[Endpoint, Endpoint] = {}
        self._raw: dict[Endpoint, IcmpForger] = {}

    async def open_for(self, near: Endpoint) -> None:
        """Open what it takes: another socket on the same address, and a raw one."""
        if self._replies is not None:
            sock = await open_server_socket(near.address._replace(port=0))
            self._strays[near] = Endpoint(sock, hears_errors=False)
        if self._errors is not None:
            self._raw[near] = open_icmp_forger(near.address.family)

    def close(self) -> None:
        """Close them."""
        for stray in self._strays.values():
            stray.close()
        for raw in self._raw.values():
            raw.close()

    def forge(self, flow: _Flow, packet: Packet, down: _Carrier) -> None:
        """Let that leave which is to come before an answer to this packet."""
        for kind in self._errors(packet) if self._errors else ():
            check_kind(kind, UNREACHABLE)
            error = icmp_about(kind, packet.data, flow.client, flow.asked)
            down.inject(kind, error, packet, flow.asked, flow.downwards._replace(endpoint=self._raw[flow.near]))
        for kind in self._replies(packet) if self._replies else ():
            check_kind(kind, FORGERIES)
            reply = forged_reply(kind, packet.data, flow.last_reply, self._random)
            way, source = flow.downwards, flow.asked
            if kind == "stray":
                stray = self._strays[flow.near]
                way, source = way._replace(endpoint=stray), source._replace(port=stray.address.port)
            down.inject(kind, reply, packet, source, way)
