"""Hosts that crash, and address translators."""

import errno
import socket

import pytest
import trio
import trio.testing

from trio_udp._net import Address
from trio_udp.testing import Conditions, Host, Lose, Nat, OnPath, Plan, SimNet, drop, simulated
from trio_udp.testing._hosts import hash_of
from trio_udp.testing._options import IP, IP_RECVERR

from .worlds import bound, connected, fates, heard

# Crashes


@simulated()
async def test_a_crash_takes_every_socket_without_a_word(net: SimNet) -> None:
    """Bound or not; nobody answers from there, not even by ICMP."""
    one, other = net.host("one"), net.host("other")
    server = await bound(one, port=7)
    with one.here():
        unbound = trio.socket.socket(type=socket.SOCK_DGRAM)
    client = await connected(other, "one", 7)
    one.crash()
    assert (server.fileno(), unbound.fileno(), one.is_up) == (-1, -1, False)
    await client.send(b"?")
    assert (await heard(client, after=1), fates(net)) == ([], ["the host is down"])
    with one.here(), pytest.raises(OSError, match="down") as caught:
        trio.socket.socket(type=socket.SOCK_DGRAM)
    assert caught.value.errno == errno.ENETDOWN


@simulated()
async def test_what_is_under_way_to_a_host_that_crashes_is_lost(net: SimNet) -> None:
    """And what comes after a restart finds nobody."""
    net.link(Conditions(latency=1.0))
    one = net.host("one")
    await bound(one, port=7)
    client = await connected(net.host("other"), "one", 7)
    await client.send(b"1")
    await trio.sleep(0.5)
    await client.send(b"2")
    one.crash()
    await trio.sleep(0.75)
    one.restart()
    await trio.sleep(0.5)
    assert fates(net) == ["the host is down", "nobody listens", "on its way"]
    with pytest.raises(ConnectionRefusedError):
        await client.recv(10)


@simulated()
async def test_a_program_runs_until_it_returns(net: SimNet) -> None:
    """On its host, with its arguments."""
    one = net.host("one")
    seen = []

    async def program(word: str) -> None:
        seen.append((word, (await bound_here()).getsockname()))

    await one.run(program, "hello")
    assert seen == [("hello", (one.addresses[0], 7))]


async def bound_here() -> trio.socket.SocketType:
    """A socket of whichever host this is, on port 7 of `one`."""
    sock = trio.socket.socket(type=socket.SOCK_DGRAM)
    await sock.bind(("one", 7))
    return sock


@simulated()
async def test_a_crashed_program_runs_again_after_a_restart(net: SimNet) -> None:
    """From its beginning, wherever it was; its sockets do not fail before it is cancelled."""
    one = net.host("one")
    client = await connected(net.host("other"), "one", 7)
    starts: list[float] = []

    async def echo() -> None:
        starts.append(net.now)
        with await bound_here() as sock:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                while True:
                    data, peer = await sock.recvfrom(10)
                    await sock.sendto(data, peer)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.run, echo)
        nursery.start_soon(one.run, trio.sleep_forever)
        await trio.sleep(1)
        await client.send(b"1")
        assert await client.recv(10) == b"1"
        one.crash()
        one.crash()
        await trio.sleep(1)
        assert starts == [0.0]
        one.restart()
        await trio.testing.wait_all_tasks_blocked()
        await client.send(b"2")
        assert await client.recv(10) == b"2"
        one.crash()
        one.restart()
        await trio.testing.wait_all_tasks_blocked()
        assert starts == [0.0, 2.0, 2.0]
        nursery.cancel_scope.cancel()


@simulated()
async def test_starting_a_program_waits_until_it_has_started(net: SimNet) -> None:
    """As `nursery.start` does for any function; after a crash it starts again, and nobody waits for that."""
    one = net.host("one")
    starts: list[float] = []

    async def serve(word: str, *, task_status: trio.TaskStatus[str]) -> None:
        await trio.sleep(1)
        starts.append(net.now)
        task_status.started(word)
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(crash_and_restart, one, 0.5)
        assert await nursery.start(one.run, serve, "ready") == "ready"
        assert starts == [1.5]
        await crash_and_restart(one, 1)
        await trio.sleep(2)
        assert starts == [1.5, 3.5]
        nursery.cancel_scope.cancel()


async def crash_and_restart(host: Host, seconds: float) -> None:
    """In so many seconds."""
    await trio.sleep(seconds)
    host.crash()
    host.restart()


@simulated()
async def test_a_host_that_is_down_runs_a_program_when_it_comes_back(net: SimNet) -> None:
    """It has no power before."""
    one = net.host("one")
    one.crash()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.run, bound_here)
        await trio.sleep(1)
        one.restart()
        one.crash()
        await trio.sleep(1)
        assert one.sockets == ()
        one.restart()
    assert (net.now, len(one.sockets)) == (2.0, 1)


@simulated()
async def test_a_programs_own_errors_come_out(net: SimNet) -> None:
    """Running is no place to hide."""

    async def fail() -> None:
        await trio.lowlevel.checkpoint()
        raise KeyError("a bug")

    with pytest.raises(KeyError, match="a bug"):
        await net.host("one").run(fail)


# Translators


async def home(net: SimNet) -> tuple[Nat, Host, Host]:
    """A translator with two hosts behind it."""
    nat = net.nat("home", "203.0.113.1")
    return nat, net.host("inside", nat=nat), net.host("neighbour", nat=nat)


@simulated()
async def test_hosts_behind_a_translator_share_its_address(net: SimNet) -> None:
    """Each socket has one outside port, whomever it speaks to; answers find their way back."""
    nat, inside, neighbour = await home(net)
    assert repr(nat) == "<Nat home 203.0.113.1>"
    assert (net.host_of("203.0.113.1"), inside.addresses[0]) == (nat, "10.0.0.1")
    servers = [await bound(net.host(name), port=7) for name in ("a", "b")]
    one, other = await bound(inside), await bound(neighbour)
    peers = []
    for sock in (one, other):
        for name, server in zip(("a", "b"), servers, strict=True):
            await sock.sendto(b"?", (name, 7))
            _, peer = await server.recvfrom(10)
            await server.sendto(b"!", peer)
            peers.append(peer)
    assert {host for host, _ in peers} == {"203.0.113.1"}
    assert peers[0] == peers[1] != peers[2] == peers[3]
    assert (len(await heard(one)), len(await heard(other))) == (2, 2)


@simulated()
async def test_a_translator_lets_in_only_answers(net: SimNet) -> None:
    """From the very address and port that was sent to."""
    _, inside, _ = await home(net)
    server = net.host("server")
    listening, stranger = await bound(server, port=7), await bound(net.host("stranger"), port=7)
    same_host = await bound(server, port=8)
    client = await bound(inside)
    await client.sendto(b"?", ("server", 7))
    _, peer = await listening.recvfrom(10)
    for sock in (listening, same_host, stranger):
        await sock.sendto(b"!", peer)
    await stranger.sendto(b"!", ("203.0.113.1", 40_000 if peer[1] != 40_000 else 40_001))
    assert await heard(client) == [b"!"]
    assert fates(net)[1:] == ["delivered"] + ["dropped by NAT"] * 3


@simulated()
async def test_a_rebound_translator_forgets(net: SimNet) -> None:
    """A flow's next packet leaves from another port, and answers to the old one are lost."""
    nat, inside, _ = await home(net)
    server = await bound(net.host("server"), port=7)
    client = await connected(inside, "server", 7)
    await client.send(b"1")
    _, before = await server.recvfrom(10)
    nat.rebind()
    await server.sendto(b"late", before)
    await client.send(b"2")
    _, after = await server.recvfrom(10)
    await server.sendto(b"answer", after)
    assert before != after
    assert await heard(client) == [b"answer"]


@simulated()
async def test_private_addresses_mean_nothing_outside(net: SimNet) -> None:
    """But to the neighbours, who need no translation; and a forger stands where he likes."""
    _, inside, neighbour = await home(net)
    sock, near = await bound(inside, port=7), await bound(neighbour)
    stranger = await bound(net.host("stranger"))
    await stranger.sendto(b"outside", (inside.addresses[0], 7))
    await near.sendto(b"near", (inside.addresses[0], 7))
    assert await sock.recvfrom(10) == (b"near", (neighbour.addresses[0], near.getsockname()[1]))
    net.inject(b"forged", ("203.0.113.99", 1), (inside.addresses[0], 7))
    assert await heard(sock) == [b"forged"]
    assert fates(net) == ["no such host", "delivered", "delivered"]


@simulated()
async def test_two_hosts_of_one_translator_meet_outside(net: SimNet) -> None:
    """By its outside address, once both have sent there."""
    nat, inside, neighbour = await home(net)
    one, other = await bound(inside), await bound(neighbour)
    server = await bound(net.host("server"), port=7)
    peers = []
    for sock in (one, other):
        await sock.sendto(b"?", ("server", 7))
        peers.append((await server.recvfrom(10))[1])
    await one.sendto(b"too early", peers[1])
    await other.sendto(b"hello", peers[0])
    await one.sendto(b"hello", peers[1])
    assert (await heard(one), await heard(other)) == ([b"hello"], [b"hello"])
    assert nat.host_at(peers[0][1]) is inside


@simulated()
async def test_icmp_finds_its_way_in(net: SimNet) -> None:
    """With the quote translated back, so that the socket knows its own datagram."""
    _, inside, _ = await home(net)
    net.host("server")
    client = await connected(inside, "server", 7)
    client.setsockopt(IP, IP_RECVERR, 1)
    await client.send(b"hello")
    quote, _, _, peer = await client.recvmsg(10, 512, socket.MSG_ERRQUEUE)
    assert (quote, peer) == (b"hello", client.getpeername())


@simulated()
async def test_icmp_finds_its_way_out(net: SimNet) -> None:
    """From the translator's address, about the packet as the world knows it."""
    _, inside, _ = await home(net)
    server = await bound(net.host("server"), port=7)
    client = await bound(inside)
    await client.sendto(b"?", ("server", 7))
    _, peer = await server.recvfrom(10)
    client.close()
    await server.connect(peer)
    await server.send(b"!")
    with pytest.raises(ConnectionRefusedError):
        await server.recv(10)
    report = list(net.trace)[-1].packet
    assert (report.source.host, report.icmp and report.icmp.about.destination) == ("203.0.113.1", Address(*peer))


@simulated()
async def test_icmp_about_nothing_stays_outside(net: SimNet) -> None:
    """A forged one about a mapping that does not exist, or about a packet that is not the translator's."""
    _, inside, _ = await home(net)
    server = await bound(net.host("server"), port=7)
    client = await connected(inside, "server", 7)
    await client.send(b"?")
    _, peer = await server.recvfrom(10)
    sent = next(iter(net.trace)).packet
    net.inject_icmp("port unreachable", sent._replace(source=Address(peer[0], 1)))
    net.inject_icmp("port unreachable", sent)
    assert fates(net)[1:] == ["dropped by NAT", "delivered"]
    with pytest.raises(ConnectionRefusedError):
        await client.recv(10)


@simulated()
async def test_icmp_of_a_host_that_never_sent(net: SimNet) -> None:
    """Keeps its port: there is nothing to translate."""
    _, inside, _ = await home(net)
    net.inject(b"?", (net.host("server").addresses[0], 9), (inside.addresses[0], 7))
    report = list(net.trace)[-1].packet
    assert report.icmp is not None
    assert (report.source.host, report.icmp.about.destination) == ("203.0.113.1", Address("203.0.113.1", 7))


@simulated()
async def test_links_and_partitions_know_who_is_behind_a_translator(net: SimNet) -> None:
    """What is said of a host comes before what is said of its translator."""
    nat, inside, neighbour = await home(net)
    server_host = net.host("server")
    server = await bound(server_host, port=7)
    one, other = await connected(inside, "server", 7), await connected(neighbour, "server", 7)
    net.link(Conditions(latency=1.0), nat, server_host)
    net.link(Conditions(latency=2.0), inside, server_host)
    peers = []
    for sock in (one, other):
        before = net.now
        await sock.send(b"?")
        data, peer = await server.recvfrom(10)
        await server.sendto(data, peer)
        await sock.recv(10)
        peers.append(net.now - before)
    assert peers == [4.0, 2.0]
    with net.partition([inside], [server_host]):
        await one.send(b"cut")
        await other.send(b"not cut")
    with net.hold(nat, server_host) as held:
        await one.send(b"held")
        await other.send(b"held")
        assert len(held.packets) == 2
    assert await heard(server, after=3) == [b"held", b"held", b"not cut"]


@simulated()
async def test_a_translators_memory_is_bounded(net: SimNet, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest mapping and a mapping's oldest peer make room."""
    monkeypatch.setattr("trio_udp.testing._nat._MAPPINGS_KEPT", 2)
    monkeypatch.setattr("trio_udp.testing._nat._PEERS_KEPT", 2)
    nat, inside, _ = await home(net)
    servers = [await bound(net.host(f"server{number}"), port=7) for number in range(3)]
    first, *others = [await bound(inside) for _ in range(3)]
    for number in range(3):
        await first.sendto(b"?", (f"server{number}", 7))
    peers = [(await server.recvfrom(10))[1] for server in servers]
    for server, peer in zip(servers, peers, strict=True):
        await server.sendto(b"!", peer)
    assert len(await heard(first)) == 2
    for sock in others:
        await sock.sendto(b"?", ("server0", 7))
    await servers[1].sendto(b"!", peers[1])
    assert (await heard(first), nat.host_at(peers[0][1])) == ([], None)


def test_flows_are_told_apart_the_same_everywhere() -> None:
    """By arithmetic, not by Python's hash, which differs from run to run."""
    assert hash_of(Address("::", 1)) == 2_660_636_057
    assert len({hash_of(Address("192.0.2.1", port)) % 16 for port in range(100)}) == 16


@simulated()
async def test_errors_can_be_lost_like_anything(net: SimNet) -> None:
    """A host's own ICMP error is a packet."""
    client = await connected(net.host("one"), "localhost", 7)
    net.host("other")
    with net.rule(lambda packet: drop("no ICMP here") if packet.icmp else None):
        await client.send(b"?")
    assert await heard(client, after=1) == []


@simulated()
async def test_a_translator_has_addresses_of_both_versions(net: SimNet) -> None:
    """Each packet leaves from the one of its own, and the answer, or an ICMP error, finds its way back."""
    nat, server_host = net.nat("home"), net.host("server")
    inside = net.host("inside", nat=nat)
    for family, outside in zip((socket.AF_INET, socket.AF_INET6), nat.addresses, strict=True):
        wildcard = "0.0.0.0" if family == socket.AF_INET else "::"  # noqa: S104 - simulated
        server, client = await bound(server_host, wildcard, port=7), await bound(inside, wildcard)
        await client.sendto(b"?", ("server", 7))
        _, peer = await server.recvfrom(10)
        assert peer[0] == outside
        await server.sendto(b"!", peer)
        assert await heard(client) == [b"!"]
        server.close()
        await client.connect(("server", 7))
        await client.send(b"?")
        with pytest.raises(ConnectionRefusedError):
            await client.recv(10)


@simulated()
async def test_behind_a_translator_of_one_version_the_other_is_unreachable(net: SimNet) -> None:
    """As on a host that has no such address; hosts behind the same translator are reached."""
    _, inside, neighbour = await home(net)
    net.host("server")
    client, friend = await bound(inside, "::"), await bound(neighbour, "::", port=7)
    with pytest.raises(OSError, match="unreachable") as caught:
        await client.sendto(b"?", ("server", 7))
    assert caught.value.errno == errno.ENETUNREACH
    await client.sendto(b"!", ("neighbour", 7))
    assert await heard(friend) == [b"!"]


@simulated()
async def test_a_host_behind_a_translator_is_an_end_for_plans_and_adversaries_too(net: SimNet) -> None:
    """As it is for links, partitions and holds: by the port from which its packets leave."""
    nat, inside, neighbour = await home(net)
    server_host = net.host("server")
    server = await bound(server_host, port=7)
    clients = [await connected(host, "server", 7) for host in (inside, neighbour)]
    spy = OnPath(net, inside, server_host)
    with Plan(Lose(2)).on(net, source=inside), spy.watching():
        for data in (b"1", b"2"):
            for client in clients:
                await client.send(data)
    assert await heard(server) == [b"1", b"1", b"2"]
    assert [packet.data for packet in spy.seen] == [b"1", b"2"]
    with Plan(Lose(2)).on(net, source=nat):
        for client in clients:
            await client.send(b"3")
    assert await heard(server) == [b"3"]
