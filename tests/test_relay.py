"""The relay: whatever it does to datagrams, what it says is what came through."""

import functools
import itertools
import json
import math
import socket
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from itertools import chain
from random import Random
from typing import Any, Final

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

import trio_udp
from trio_udp import Address, RetryPolicy
from trio_udp.testing import (
    DROP,
    FORGERIES,
    TRUTH_VERSION,
    UNREACHABLE,
    Conditions,
    Passage,
    Relay,
    SimNet,
    by_number,
    copies,
    delay,
    flip_bit,
    forge_at_random,
    relay,
    replace,
    simulate,
)
from trio_udp.testing.strategies import conditions

from .networks import (
    LOOPBACKS,
    WILDCARDS,
    address_of,
    dead_address,
    descriptors,
    direct,
    echo,
    needs_ipv6,
    network_fixture,  # noqa: F401 - pytest finds it by its name, network
    next_datagram,
    plain_socket,
    read_all,
)

ANY: Final = ("127.0.0.1", 0)


@asynccontextmanager
async def relaying(upstream: tuple[str, int], listen: tuple[str, int] = ANY, **options: Any) -> AsyncIterator[Relay]:
    """A relay that runs for the length of the block."""
    async with trio.open_nursery() as nursery:
        yield await nursery.start(functools.partial(relay, listen, upstream, **options))
        nursery.cancel_scope.cancel()


def left(passages: Iterable[Passage], direction: str) -> list[tuple[int, bytes]]:
    """The flow and the bytes of what they say has left in this direction, in order."""
    found = [
        (copy.order, passage.flow, copy.data)
        for passage in passages
        if passage.direction == direction
        for copy in passage.copies
        if copy.order is not None
    ]
    return [(flow, data) for _, flow, data in sorted(found)]


# What it says is what came through


class Traffic:
    """Clients that send numbered datagrams through a relay to a server that answers; and all that anybody received."""

    def __init__(self, net: SimNet, clients: int) -> None:
        server, middle = net.host("server"), net.host("relay")
        self.hosts = {"server": server, "relay": middle}
        self.clients = [net.host(f"client{number}") for number in range(clients)]
        self.passages: list[Passage] = []
        self.at_server: list[bytes] = []
        self.at_clients: list[list[bytes]] = [[] for _ in range(clients)]

    async def answer(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """The server."""
        with self.hosts["server"].here():
            sock = trio.socket.socket(type=socket.SOCK_DGRAM)
        await sock.bind(("0.0.0.0", 53))  # noqa: S104 - of a simulated host
        task_status.started()
        while True:
            data, peer = await sock.recvfrom(1500)
            self.at_server.append(data)
            await sock.sendto(b"re: " + data, peer)

    async def listen(self, number: int, sock: trio.socket.SocketType) -> None:
        """A client."""
        while True:
            self.at_clients[number].append(await sock.recv(1500))

    async def run(self, gaps: list[tuple[float, int]], **options: Any) -> Relay:
        """Send all, and wait for all that comes of it."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self.answer)
            with self.hosts["relay"].here():
                start = functools.partial(relay, ("", 53), ("server", 53), on_passage=self.passages.append, **options)
                running: Relay = await nursery.start(start)
            sockets = []
            for number, host in enumerate(self.clients):
                with host.here():
                    sockets.append(trio.socket.socket(type=socket.SOCK_DGRAM))
                await sockets[number].bind(("0.0.0.0", 0))  # noqa: S104 - of a simulated host
                nursery.start_soon(self.listen, number, sockets[number])
            for sequence, (gap, number) in enumerate(gaps):
                await trio.sleep(gap)
                await sockets[number].sendto(f"{number} {sequence}".encode(), ("relay", 53))
            await trio.sleep(60)
            nursery.cancel_scope.cancel()
        return running


@settings(max_examples=50)
@given(
    up=conditions(corrupt=0.3),
    down=conditions(corrupt=0.3),
    gaps=st.lists(st.tuples(st.floats(0, 0.1), st.integers(0, 1)), max_size=25),
    seed=st.integers(0, 99),
    share=st.sampled_from([0.0, 0.5]),
)
def test_what_the_relay_says_is_what_came_through(
    up: Conditions, down: Conditions, gaps: list[tuple[float, int]], seed: int, share: float
) -> None:
    """Every byte at both ends, in order, whatever the faults; and the same again for the same seed."""
    runs = []
    for _ in range(2):

        async def main(net: SimNet) -> tuple[Traffic, Relay]:
            traffic = Traffic(net, 2)
            running = await traffic.run(
                gaps,
                up=[up.rule(Random(seed))],
                down=[down.rule(Random(seed + 1))],
                forge=forge_at_random(share, Random(seed + 2)),
                random=Random(seed + 3),
            )
            return traffic, running

        runs.append(simulate(main, seed=seed))
    traffic, running = runs[0]
    assert [data for _, data in left(traffic.passages, "up")] == traffic.at_server
    came_down = left(traffic.passages, "down")
    of_client = {passage.packet.source: passage.flow for passage in traffic.passages if passage.direction == "up"}
    assert len(of_client) <= 2
    assert sorted(data for _, data in came_down) == sorted(chain.from_iterable(traffic.at_clients))
    for received in traffic.at_clients:
        assert not received or received in [
            [data for flow, data in came_down if flow == number] for number in of_client.values()
        ]
    counted = running.statistics()
    assert counted.up.received == len(gaps)
    assert counted.up.sent == len(traffic.at_server) == counted.down.received
    assert counted.down.sent + counted.down.forged == sum(map(len, traffic.at_clients))
    assert counted.up.waiting == counted.down.waiting == 0
    assert traffic.passages == runs[1][0].passages


def test_the_truth_is_told_in_lines_of_json() -> None:
    """A first one with what the caller says of the rules, one for each datagram, and a last one with their sums."""

    async def main(net: SimNet) -> list[dict[str, Any]]:
        traffic = Traffic(net, 1)
        running = await traffic.run([(0.0, 0)] * 3, up=[by_number({2: DROP})])
        first = running.as_json(7, up="every second one", seed=5)
        last = running.statistics().as_json(61.5)
        return [json.loads(json.dumps(line)) for line in (first, *(p.as_json() for p in traffic.passages), last)]

    first, *between, last = simulate(main)
    assert first | {"listen": [], "upstream": ""} == {
        "event": "start",
        "schema": TRUTH_VERSION,
        "time_ns": 7,
        "listen": [],
        "upstream": "",
        "up": "every second one",
        "down": "",
        "forge": 0.0,
        "forge_icmp": 0.0,
        "seed": 5,
    }
    assert (first["listen"][0], first["upstream"][-3:]) == ("0.0.0.0:53", ":53")
    ups = [line["fate"] for line in between if line["direction"] == "up"]
    assert sorted(ups) == ["dropped", "forwarded", "forwarded"]
    assert (last["event"], last["elapsed_ns"], last["flows_opened"]) == ("summary", 61_500_000_000, 1)
    counted = last["up"]
    assert (counted["received"], counted["dropped"], counted["sent"]) == (3, 1, 2)


# Faults one by one


async def send_numbers(sender: socket.socket, to: Address, received: Callable[[], int]) -> None:
    """A datagram each: b"1" to b"5", each read before the next is sent, and before the clock may jump."""
    for number in range(1, 6):
        sender.sendto(str(number).encode(), to)
        while received() < number:
            await wait_all_tasks_blocked()
    await wait_all_tasks_blocked()


async def test_a_script_says_what_becomes_of_which_datagram(network: str, autojump_clock: object) -> None:
    """Lost, doubled, late, changed: by number, up and down; and the passages say the same."""
    passages: list[Passage] = []
    script = by_number(
        {
            1: DROP,
            2: copies(2),
            3: delay(1.0),
            5: lambda packet: replace(flip_bit(packet.data, 1)),
        }
    )
    for direction in ("up", "down"):
        passages.clear()
        with plain_socket() as server, plain_socket() as client:
            options: dict[str, Any] = {direction: [script], "on_passage": passages.append}
            async with relaying(address_of(server), **options) as running:
                if direction == "up":
                    await send_numbers(client, running.address, lambda: running.statistics().up.received)
                    receiver = server
                else:
                    client.sendto(b"hello", running.address)
                    _, peer = await next_datagram(server)
                    await send_numbers(server, peer, lambda: running.statistics().down.received)
                    receiver = client
                await trio.sleep(2)
                received = read_all(receiver)
                counted = getattr(running.statistics(), direction)
        assert received == [b"2", b"2", b"4", b"7", b"3"]
        assert [data for _, data in left(passages, direction)] == received
        assert (counted.received, counted.forwarded, counted.dropped, counted.sent) == (5, 4, 1, 5)
        assert (counted.duplicated, counted.delayed, counted.corrupted, counted.reordered) == (1, 1, 1, 1)
        assert counted.reasons == {"lost": 1}
        assert [passage.packet.number for passage in passages if passage.direction == direction] == [1, 2, 4, 5, 3]


@pytest.mark.parametrize("host", LOOPBACKS)
async def test_requests_go_through_and_back(network: str, host: str, autojump_clock: object) -> None:
    """Both versions of IP; a client's replies come from the address that it asked."""
    with plain_socket(host) as server:
        async with relaying(address_of(server), (host, 0)) as running:
            assert running.address.host == host
            assert running.upstream == address_of(server)
            with plain_socket(host) as client:
                client.sendto(b"ping", running.address)
                data, peer = await next_datagram(server)
                server.sendto(b"re: " + data, peer)
                assert await next_datagram(client) == (b"re: ping", running.address)


@needs_ipv6
async def test_clients_and_upstream_may_be_of_different_versions(network: str, autojump_clock: object) -> None:
    """Between them there are two sockets."""
    with plain_socket("::1") as server, plain_socket("127.0.0.1") as client:
        async with relaying(address_of(server)) as running:
            client.sendto(b"ping", running.address)
            data, peer = await next_datagram(server)
            server.sendto(data, peer)
            assert await next_datagram(client) == (b"ping", running.address)


@pytest.mark.parametrize("host", WILDCARDS)
async def test_replies_leave_from_the_address_that_was_asked(network: str, host: str, autojump_clock: object) -> None:
    """Also where that is one of several: E6."""
    own = {"0.0.0.0": "127.0.0.2", "::": "::1"}[host]  # noqa: S104 - compared with
    with plain_socket(own) as server, plain_socket(own) as client:
        async with relaying(address_of(server), (host, 0), forge=lambda packet: ["junk", "stray"]) as running:
            asked = Address(own, running.address.port)
            client.sendto(b"ping", asked)
            data, peer = await next_datagram(server)
            server.sendto(data, peer)
            sources = [(await next_datagram(client))[1] for _ in range(3)]
    assert (sources[0], sources[2]) == (asked, asked)
    assert sources[1].host == own
    assert sources[1].port != asked.port


async def test_this_packages_client_and_server_talk_through_it(network: str, autojump_clock: object) -> None:
    """Everything bad at once, and every request is answered."""
    said = Conditions(loss=0.1, duplicate=0.1, reorder=0.1, corrupt=0.05, latency=0.01)
    async with trio.open_nursery() as nursery:
        server = await nursery.start(functools.partial(trio_udp.serve, echo, 0, host="127.0.0.1"))
        start = functools.partial(
            relay,
            ANY,
            server.address,
            up=[said.rule(Random(1))],
            down=[said.rule(Random(2))],
            forge=forge_at_random(0.5, Random(3)),
        )
        running: Relay = await nursery.start(start)
        async with trio_udp.open_client(*running.address, policy=RetryPolicy(attempts=20)) as client:
            # A flipped bit in the payload is not noticed without a key, so only the length is compared.
            for number in range(100):
                assert len(await client.request(bytes(number))) == number
        nursery.cancel_scope.cancel()
    counted = running.statistics()
    assert counted.flows_opened == 1
    assert min(counted.up.dropped, counted.up.duplicated, counted.down.dropped, counted.down.forged) > 0


# Forgeries


async def test_forgeries_come_before_the_answer(network: str, autojump_clock: object) -> None:
    """Each kind as it is described; they stand in the truth as what they are."""
    passages: list[Passage] = []
    kinds = iter([[], *([kind] for kind in FORGERIES)])
    received: list[tuple[str, bytes, bool]] = []
    with plain_socket() as server, plain_socket() as client:
        options: dict[str, Any] = {"forge": lambda packet: next(kinds), "on_passage": passages.append}
        async with relaying(address_of(server), **options) as running:
            for number in range(1 + len(FORGERIES)):
                client.sendto(b"request %d, of some length" % number, running.address)
                data, peer = await next_datagram(server)
                server.sendto(b"reply " + data, peer)
                if number:
                    forged, source = await next_datagram(client)
                    received.append((FORGERIES[number - 1], forged, source == running.address))
                assert (await next_datagram(client))[0] == b"reply " + data
    last = {kind: b"reply request %d, of some length" % number for number, kind in enumerate(FORGERIES)}
    found = {kind: (data, from_relay) for kind, data, from_relay in received}
    assert found["reflected"] == (b"request 2, of some length", True)
    assert found["stray"] == (last["stray"], False)
    assert found["altered"][0][:-8] == last["altered"][:-8]
    assert found["altered"][0] != last["altered"]
    assert len(found["junk"][0]) == len(last["junk"])
    assert found["junk"][1]
    assert [passage.forged for passage in passages if passage.forged] == list(FORGERIES)
    assert [data for passage in passages if passage.forged for data in [passage.packet.data]] == [
        data for _, data, _ in received
    ]


@pytest.mark.parametrize("kind", FORGERIES)
async def test_a_forgery_before_the_first_reply_is_possible(network: str, kind: str, autojump_clock: object) -> None:
    """Where there is no reply to alter it is random bytes."""
    with plain_socket() as server, plain_socket() as client:
        async with relaying(address_of(server), forge=lambda packet: [kind]) as running:
            client.sendto(b"ping", running.address)
            data, _ = await next_datagram(client)
            assert (data == b"ping") == (kind == "reflected")


async def ask_through(upstream: Address, client: socket.socket, **options: Any) -> None:
    """A relay that is to forge what there is not."""
    async with relaying(upstream, **options) as running:
        client.sendto(b"ping", running.address)
        await trio.sleep_forever()


async def test_an_unknown_kind_of_forgery_is_an_error() -> None:
    """Of whoever wrote it, with the kinds there are."""
    with plain_socket() as server, plain_socket() as client, pytest.raises(ExceptionGroup) as raised:
        await ask_through(address_of(server), client, forge=lambda packet: ["magic"])
    assert raised.group_contains(ValueError, match="expected a forgery of junk, reflected, altered, stray, got 'magic'")


def test_forging_at_random_has_its_share() -> None:
    """And each kind comes as often as the others."""
    forge = forge_at_random(0.4, Random(5))
    kinds = [kind for _ in range(10_000) for kind in forge(None)]  # type: ignore[arg-type]  # it does not look at it
    assert len(kinds) / 10_000 == pytest.approx(0.4, abs=0.015)
    for kind in FORGERIES:
        assert kinds.count(kind) / len(kinds) == pytest.approx(0.25, abs=0.03)
    for share in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match="expected share to be from 0 to 1, got"):
            forge_at_random(share, Random())


@pytest.fixture
def raw_sockets() -> None:
    """Skip where none can be opened."""
    try:
        socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW).close()
    except OSError as exc:
        pytest.skip(f"forging ICMP takes a raw socket: {exc}")


ERRNOS: Final = {
    "127.0.0.1": {"ECONNREFUSED": 1, "EHOSTUNREACH": 2, "ENETUNREACH": 1},
    "::1": {"ECONNREFUSED": 1, "EHOSTUNREACH": 1, "ENETUNREACH": 1, "EACCES": 1},
}
"""What Linux makes of one of each."""


@pytest.mark.usefixtures("raw_sockets")
@pytest.mark.parametrize("connect", [True, False])
@pytest.mark.parametrize("host", LOOPBACKS)
async def test_forged_icmp_errors_are_heard_and_stand_in_the_truth(host: str, connect: bool) -> None:
    """G5: one of each kind about a client's datagram, from the address that it asked; they end nothing."""
    passages: list[Passage] = []
    kinds = iter(UNREACHABLE)
    async with trio.open_nursery() as nursery:
        server = await nursery.start(functools.partial(trio_udp.serve, echo, 0, host=host))
        options: dict[str, Any] = {"forge_icmp": lambda packet: list(itertools.islice(kinds, 1))}
        async with relaying(server.address, (host, 0), on_passage=passages.append, **options) as running:
            async with trio_udp.open_client(*running.address, connect=connect) as client:
                with trio.fail_after(30):
                    while sum((hints := client.statistics().endpoint.hints).values()) < len(UNREACHABLE):
                        assert (await client.exchange(b"?")).attempts == 1
            counted = running.statistics().down
        nursery.cancel_scope.cancel()
    assert hints == ERRNOS[host]
    assert (counted.forged, counted.forgeries) == (4, dict.fromkeys(UNREACHABLE, 1))
    forged = [passage for passage in passages if passage.forged]
    assert [passage.forged for passage in forged] == list(UNREACHABLE)
    assert {passage.packet.source for passage in forged} == {running.address}


@pytest.mark.usefixtures("raw_sockets")
async def test_an_icmp_error_that_the_host_would_remember_is_not_forged() -> None:
    """Nor is any other that there is not."""
    with plain_socket() as server, plain_socket() as client, pytest.raises(ExceptionGroup) as raised:
        await ask_through(address_of(server), client, forge_icmp=lambda packet: ["fragmentation needed"])
    assert raised.group_contains(ValueError, match="expected a forgery of port unreachable, .*, got 'fragmentation")


async def test_where_icmp_may_not_be_forged_nothing_is_left_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said at once, and not in a group."""

    def forbid(family: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("trio_udp._relay.open_icmp_forger", forbid)
    before = descriptors()
    with pytest.raises(PermissionError, match="not permitted"):
        await relay(ANY, ("127.0.0.1", 9), forge=lambda packet: ["stray"], forge_icmp=lambda packet: [])
    assert descriptors() == before


# Limits


async def test_flows_are_bounded_and_forgotten_when_idle(network: str, autojump_clock: object) -> None:
    """A third client is dropped while two are there; when they were idle for long enough there is room again."""
    before = descriptors()
    with plain_socket() as server, plain_socket() as one, plain_socket() as two, plain_socket() as three:
        async with relaying(address_of(server), max_flows=2, idle=10.0) as running:
            for client in (one, two, three, three):
                client.sendto(b"ping", running.address)
                await wait_all_tasks_blocked()
            counted = running.statistics()
            assert (counted.flows, counted.flows_opened) == (2, 2)
            assert counted.up.reasons == {"too many flows": 2}
            await trio.sleep(9)
            one.sendto(b"still here", running.address)
            await trio.sleep(2)
            assert running.statistics().flows == 1
            three.sendto(b"ping", running.address)
            await wait_all_tasks_blocked()
            assert running.statistics().flows == 2
            assert len(read_all(server)) == 4
    assert descriptors() == before


async def test_what_waits_for_a_flow_that_expires_is_lost_and_said_to_be(network: str, autojump_clock: object) -> None:
    """Likewise for what waits when the relay is stopped."""
    passages: list[Passage] = []
    with plain_socket() as server, plain_socket() as one:
        late = [lambda packet: delay(30.0)]
        async with relaying(address_of(server), up=late, idle=10.0, on_passage=passages.append) as running:
            one.sendto(b"ping", running.address)
            await trio.sleep(20)
            assert running.statistics().up.reasons == {"flow expired": 1}
            one.sendto(b"pong", running.address)
            await trio.sleep(1)
            assert running.statistics().up.waiting == 1
        assert running.statistics().up.reasons == {"flow expired": 1, "stopped": 1}
        assert read_all(server) == []
    assert [passage.copies[0].error for passage in passages] == ["flow expired", "stopped"]


@pytest.mark.parametrize("before", [0.0, 1.0])
async def test_cancelling_the_relay_closes_all(network: str, before: float, autojump_clock: object) -> None:
    """G9: no descriptor is left, whenever it is cancelled."""
    opened = descriptors()
    with plain_socket() as server, plain_socket() as client:
        with trio.move_on_after(before):
            async with relaying(address_of(server), forge=lambda packet: ["stray"]) as running:
                client.sendto(b"ping", running.address)
                await trio.sleep(2)
    assert descriptors() == opened


@direct
async def test_a_dead_upstream_is_hinted_at(network: str, autojump_clock: object) -> None:
    """ICMP errors are counted; the relay goes on."""
    with plain_socket() as client:
        async with relaying(dead_address()) as running:
            for _ in range(3):
                client.sendto(b"ping", running.address)
                await wait_all_tasks_blocked()
            counted = running.statistics()
    assert counted.hints == {"ECONNREFUSED": 3}
    assert counted.up.sent == 3


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"max_flows": 0}, "expected limits to be at least 1, got max_flows=0, most_waiting=4096"),
        ({"most_waiting": 0}, "got max_flows=256, most_waiting=0"),
        ({"idle": 0.0}, "expected idle to be more than 0 seconds, got 0.0"),
        ({"idle": math.inf}, "got inf"),
        ({"upstream": ("127.0.0.1", 0)}, "expected a port of the upstream from 1 to 65535, got 0"),
    ],
)
async def test_arguments_that_make_no_sense_are_refused(options: dict[str, Any], complaint: str) -> None:
    """Before anything is opened."""
    upstream = options.pop("upstream", ("127.0.0.1", 9))
    with pytest.raises(ValueError, match="expected") as refused:
        await relay(ANY, upstream, **options)
    assert complaint in str(refused.value)
