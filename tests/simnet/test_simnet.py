"""The network in one object: hosts, names, links, rules, forgeries, and how long it runs."""

import errno
import math
import socket
from functools import partial
from typing import Any, Final

import pytest
import trio
from trio.testing import MockClock

from trio_udp._net import Address
from trio_udp.testing import (
    Conditions,
    Held,
    Host,
    Lose,
    NotSimulated,
    OnPath,
    Packet,
    Plan,
    SimNet,
    SimSocket,
    Stalled,
    Verdict,
    copies,
    delay,
    drop,
    refuse,
    reject,
    simulate,
    simulated,
)
from trio_udp.testing._options import (
    IP,
    IP_MTU,
    IP_MTU_DISCOVER,
    IP_PKTINFO,
    IP_RECVERR,
    IP_TTL,
    IPV6,
    IPV6_MTU,
    IPV6_MTU_DISCOVER,
    IPV6_PKTINFO,
)

from .worlds import bound, connected, fates, heard

DONT: Final = 0
WANT: Final = 1
DO: Final = 2
PROBE: Final = 3


# Hosts


def test_hosts_have_addresses_and_names() -> None:
    """One of each version unless said otherwise; the name resolves to them."""
    net = SimNet()
    one, other = net.host("One"), net.host("other", "198.51.100.7", "FE80::0001%2")
    assert [[":" in address for address in host.addresses] for host in (one, net.localhost)] == [[False, True]] * 2
    assert other.addresses == ("198.51.100.7", "fe80::1%2")
    assert net.names["one"] == list(one.addresses)
    assert (net.host_of("fe80::1%2"), net.host_of("203.0.113.1")) == (other, None)
    assert (str(one), repr(other)) == ("One", "<Host other 198.51.100.7 fe80::1%2>")
    assert list(net.hosts) == ["localhost", "One", "other"]


def test_names_and_addresses_belong_to_one_host() -> None:
    """`ValueError` for the second, or for one that every host has."""
    net = SimNet()
    net.host("one", "198.51.100.7")
    with pytest.raises(ValueError, match="expected a new name"):
        net.host("one")
    for address in ("198.51.100.7", "127.0.0.1", "::1"):
        with pytest.raises(ValueError, match="expected an address that nobody has"):
            net.host("two", address)
    net.host("three", "192.0.2.2")
    assert net.host("four").addresses == ("192.0.2.3", "2001:db8::3")


@simulated()
async def test_code_is_on_the_host_it_was_started_on(net: SimNet) -> None:
    """Tasks inherit it; without one it is `localhost`, whatever another network says."""
    one = net.host("one")
    elsewhere = SimNet().host("elsewhere")
    places = []

    async def note() -> None:
        sock = trio.socket.socket(type=socket.SOCK_DGRAM)
        assert isinstance(sock, SimSocket)
        places.append(sock.kernel.host)

    async with trio.open_nursery() as nursery:
        with one.here() as here:
            assert here is one
            nursery.start_soon(note)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(note)
        await trio.testing.wait_all_tasks_blocked()
        with elsewhere.here():
            nursery.start_soon(note)
    assert places == [one, net.localhost, net.localhost]


@simulated()
async def test_every_host_has_a_loopback_of_its_own(net: SimNet) -> None:
    """At once, past every link, and heard by nobody else."""
    net.link(Conditions(loss=1.0))
    one, other = net.host("one"), net.host("other")
    server, stranger = await bound(one, port=7), await bound(other, port=7)
    client = await connected(one, "127.0.0.1", 7)
    await client.send(b"?")
    assert (await heard(server), await heard(stranger)) == ([b"?"], [])
    own = await connected(one, one.addresses[0], 7)
    assert own.getsockname()[0] == one.addresses[0]
    await own.send(b"self")
    assert await heard(server) == [b"self"]


@simulated()
async def test_impossible_sources_stay_on_their_host(net: SimNet) -> None:
    """EINVAL in version 4; in version 6, and forged, it is the receiver that does not believe."""
    one, other = net.host("one"), net.host("other")
    server, server6 = await bound(other, port=7), await bound(other, "::", 8)
    with pytest.raises(OSError, match="Invalid argument"):
        await (await bound(one, "127.0.0.1")).sendto(b"?", ("other", 7))
    await (await bound(one, "::1")).sendto(b"?", ("other", 8))
    net.inject(b"!", ("127.0.0.1", 9), (other.addresses[0], 7))
    assert (await heard(server), await heard(server6)) == ([], [])
    assert fates(net) == ["from an impossible source"] * 2


@simulated()
async def test_a_host_without_a_route(net: SimNet) -> None:
    """ENETUNREACH, for the version it does not have."""
    one = net.host("one", "198.51.100.1")
    with one.here():
        sock = trio.socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        for call in (sock.connect, partial(sock.sendto, b"?")):
            with pytest.raises(OSError, match="unreachable") as caught:
                await call(("2001:db8::99", 7))
            assert caught.value.errno == errno.ENETUNREACH


@simulated()
async def test_link_local_addresses_have_scopes(net: SimNet) -> None:
    """The same address on two links is two addresses."""
    one, other = net.host("one", "fe80::1%2"), net.host("other", "fe80::2%2")
    server = await bound(other, "::", 7)
    client = await bound(one, "::", 8)
    await client.sendto(b"?", ("fe80::2", 7, 0, 2))
    data, peer = await server.recvfrom(10)
    assert (data, peer) == (b"?", ("fe80::1", 8, 0, 2))
    await client.sendto(b"?", ("fe80::3", 7, 0, 2))
    assert fates(net)[-1] == "no such host"


@simulated()
async def test_a_packet_to_nobody_is_lost(net: SimNet) -> None:
    """No router says so, as in most of the world."""
    client = await connected(net.host("one"), "203.0.113.1", 7)
    await client.send(b"?")
    assert (await heard(client, after=1), fates(net)) == ([], ["no such host"])


@pytest.mark.parametrize("there", ["224.0.0.1", "239.1.2.3", "255.255.255.255"])
@simulated()
async def test_multicast_and_broadcast_are_not_simulated(net: SimNet, there: str) -> None:
    """And say so."""
    sock = await bound(net.host("one"))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)  # without it, EACCES, as on the kernel
    with pytest.raises(NotSimulated, match=f"multicast and broadcast are not simulated: {there}:7"):
        await sock.sendto(b"?", (there, 7))
    with pytest.raises(NotSimulated, match="multicast"):
        await (await bound(net.host("two"), "::")).sendto(b"?", ("ff02::1", 7, 0, 2))


@simulated()
async def test_only_udp_is_simulated(net: SimNet) -> None:
    """The error names what is not."""
    with pytest.raises(NotSimulated, match=r"sockets of type .*STREAM"):
        trio.socket.socket()
    with pytest.raises(NotSimulated, match="sockets of type 77"):
        trio.socket.socket(socket.AF_INET, 77)
    with pytest.raises(NotSimulated, match="protocol 136"):
        trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_UDPLITE)
    with pytest.raises(NotSimulated, match=r"family .*UNIX"):
        trio.socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock = trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_UDP)
    assert sock.proto == socket.IPPROTO_UDP
    for name in ("accept", "detach", "dup", "get_inheritable", "listen", "recvmsg_into", "share", "shutdown"):
        with pytest.raises(NotSimulated, match=f"{name} of a socket"):
            getattr(sock, name)()
    peer = ("127.0.0.1", 7)
    with pytest.raises(NotSimulated, match="flags 0x1"):
        await sock.sendto(b"?", socket.MSG_OOB, peer)
    with pytest.raises(NotSimulated, match="flags 0x100"):
        await sock.recv(10, socket.MSG_WAITALL)
    for message in ((socket.SOL_SOCKET, 1, b""), (IP, 99, b""), (IPV6, IPV6_PKTINFO + 100, b"")):
        six = trio.socket.socket(socket.AF_INET6 if message[0] == IPV6 else socket.AF_INET, socket.SOCK_DGRAM)
        with pytest.raises(NotSimulated, match=f"control message {message[1]} of level {message[0]}"):
            await six.sendmsg([b"?"], [message], 0, ("::1" if message[0] == IPV6 else "127.0.0.1", 7))


@simulated()
async def test_descriptors_are_nobody_elses(net: SimNet) -> None:
    """A system call with one fails."""
    sock = await bound(net.localhost)
    with pytest.raises(OSError, match="Bad file descriptor"):
        socket.socket(fileno=sock.fileno())


# Links


@simulated(net=lambda seed: SimNet(seed=seed, conditions=Conditions(latency=1.0)))
async def test_what_is_said_most_precisely_of_a_link_holds(net: SimNet) -> None:
    """Of both ends, of the source, of the destination, of all."""
    one, two, three, four = (net.host(name) for name in ("one", "two", "three", "four"))
    net.link(Conditions(latency=2.0), one, both=False)
    net.link(Conditions(latency=3.0), None, two, both=False)
    net.link(Conditions(latency=4.0), one, two)
    for source, destination in ((one, two), (two, one), (one, three), (three, two), (three, four), (four, one)):
        sock = await bound(source)
        await sock.sendto(b"?", (destination.addresses[0], 7))
        sock.close()
    await trio.sleep(10)
    assert {record.packet.number: record.fates[0].at for record in net.trace if record.packet.number <= 6} == {
        1: 4.0,
        2: 4.0,
        3: 2.0,
        4: 3.0,
        5: 1.0,
        6: 1.0,
    }


@simulated()
async def test_a_link_can_be_changed_while_it_is_used(net: SimNet) -> None:
    """From then on, for all packets that are sent."""
    one, other = net.host("one"), net.host("other")
    server, client = await bound(other, port=7), await connected(one, "other", 7)
    await client.send(b"1")
    net.link(Conditions(loss=1.0))
    await client.send(b"2")
    net.link(Conditions(latency=0.5))
    await client.send(b"3")
    assert (await heard(server), await heard(server, after=0.5)) == ([b"1"], [b"3"])


@simulated()
async def test_latency_is_kept_to_the_nanosecond(net: SimNet) -> None:
    """And the clock jumps there."""
    net.link(Conditions(latency=0.123456789))
    server, client = await bound(net.host("one"), port=7), await connected(net.host("other"), "one", 7)
    before = trio.current_time()
    await client.send(b"?")
    await server.recv(10)
    assert trio.current_time() == before + 0.123456789
    assert net.now == trio.current_time()


# Rules


@simulated()
async def test_every_packet_is_shown_to_the_rules(net: SimNet) -> None:
    """Loopback and ICMP as well; who sent it when, and with which number."""
    seen: list[Packet] = []

    def watch(packet: Packet) -> Verdict | None:
        seen.append(packet)
        return None

    one, other = net.host("one"), net.host("other")
    local, client = await bound(net.localhost), await connected(one, "other", 7)
    await trio.sleep(2)
    with net.rule(watch):
        await local.sendto(b"loop", local.getsockname())
        await client.send(b"away")
    assert [(packet.data, packet.number, packet.sent_at) for packet in seen] == [
        (b"loop", 1, 2.0),
        (b"away", 2, 2.0),
        (b"", 3, 2.0),
    ]
    assert seen[2].icmp is not None
    assert (seen[2].icmp.kind, seen[2].icmp.about) == ("port unreachable", seen[1])
    assert (seen[1].source.host, seen[1].destination.host) == (one.addresses[0], other.addresses[0])


@simulated()
async def test_rules_may_do_whatever_networks_do(net: SimNet) -> None:
    """Delay, copy, lose; on loopback too."""
    server = await bound(net.localhost, port=7)
    client = await connected(net.localhost, "127.0.0.1", 7)
    verdicts = iter([delay(0.3), copies(2, apart=0.5), drop("here"), None])
    with net.rule(lambda packet: next(verdicts)):
        for data in (b"1", b"2", b"3", b"4"):
            await client.send(data)
    assert await heard(server, after=1) == [b"2", b"4", b"1", b"2"]


@simulated()
async def test_refuse_fails_the_call(net: SimNet) -> None:
    """With its errno, and nothing leaves."""
    client = await connected(net.host("one"), "localhost", 7)
    with net.rule(lambda packet: refuse(errno.ENOBUFS)), pytest.raises(OSError, match="No buffer space") as caught:
        await client.send(b"?")
    assert (caught.value.errno, fates(net)) == (errno.ENOBUFS, ["refused"])


@pytest.mark.parametrize("place", ["loopback", "other"])
@simulated()
async def test_reject_tells_the_sender(net: SimNet, place: str) -> None:
    """By ICMP, as a firewall does."""
    one = net.host("one")
    net.host("other")
    client = await connected(one, "127.0.0.1" if place == "loopback" else "other", 7)
    with net.rule(lambda packet: reject(packet, "prohibited")):
        await client.send(b"?")
        with pytest.raises(OSError, match="No route to host"):
            await client.recv(10)
    assert fates(net) == ["prohibited", "delivered"]


@simulated()
async def test_partition_cuts_both_ways_and_heals(net: SimNet) -> None:
    """Between the groups, not within them."""
    one, two, three = (net.host(name) for name in ("one", "two", "three"))
    sockets = [await bound(host, port=7) for host in (one, two, three)]
    with net.partition([one, two], [three]):
        for sock in sockets:
            for name in ("one", "two", "three"):
                await sock.sendto(b"?", (name, 7))
        assert [len(await heard(sock)) for sock in sockets] == [2, 2, 1]
        assert fates(net).count("partitioned") == 4
    await sockets[0].sendto(b"healed", ("three", 7))
    assert await heard(sockets[2]) == [b"healed"]


@simulated()
async def test_hold_keeps_packets_until_they_are_released(net: SimNet) -> None:
    """In order, past every rule; at the end of the block at the latest."""
    one, two = net.host("one"), net.host("two")
    first, second = await bound(one, port=7), await bound(two, port=7)
    with net.hold(one, two) as held:
        assert isinstance(held, Held)
        await first.sendto(b"1", ("two", 7))
        await second.sendto(b"back", ("one", 7))
        await first.sendto(b"2", ("two", 7))
        assert [packet.data for packet in held.packets] == [b"1", b"2"]
        assert (await heard(second, after=1), await heard(first)) == ([], [b"back"])
        held.release()
        assert (await heard(second), held.packets) == ([b"1", b"2"], [])
        await first.sendto(b"3", ("two", 7))
    assert await heard(second) == [b"3"]


@simulated()
async def test_hold_releases_when_its_block_ends_by_an_exception_too(net: SimNet) -> None:
    """Whatever is held is not lost."""
    one, two = net.host("one"), net.host("two")
    sock = await bound(two, port=7)

    async def fail_while_held() -> None:
        with net.hold(one):
            await (await bound(one)).sendto(b"?", ("two", 7))
            raise KeyError

    with pytest.raises(KeyError):
        await fail_while_held()
    assert await heard(sock) == [b"?"]


@pytest.mark.parametrize("place", ["one", SimNet().host("one")], ids=["a name", "a host of another network"])
def test_what_is_no_host_of_this_network_is_refused(place: Any) -> None:
    """Instead of a fault that never happens, since nothing is sent from there."""
    net = SimNet()
    net.host("one")
    for use in (
        lambda: net.link(Conditions(loss=1.0), place),
        lambda: net.partition(net.localhost, [place]),
        lambda: net.hold(None, place).__enter__(),
        lambda: net.host("two", nat=place),
        lambda: Plan(Lose(1)).rule(net, place),
        lambda: OnPath(net, place),
        lambda: OnPath(net).swallow(source=place).__enter__(),
    ):
        with pytest.raises(ValueError, match="expected a host or a translator of this network, got"):
            use()


def test_addresses_are_numeric_and_of_one_version() -> None:
    """A name in place of one is refused, not taken for the address of nobody."""
    net = SimNet()
    one = net.host("one")
    about = Packet(b"?", Address(one.addresses[0], 1), Address("203.0.113.9", 2))
    for use in (
        lambda: net.host("two", "two.example"),
        lambda: net.nat("home", "two.example"),
        lambda: net.inject(b"?", ("one", 1), (one.addresses[0], 2)),
        lambda: net.inject(b"?", (one.addresses[0], 1), ("one", 2)),
        lambda: net.inject_icmp("prohibited", about, source="router"),
    ):
        with pytest.raises(ValueError, match="does not appear to be an IPv4 or IPv6 address"):
            use()
    with pytest.raises(ValueError, match="expected a source of the same IP version as"):
        net.inject(b"?", ("203.0.113.9", 1), (one.addresses[1], 2))


@simulated()
async def test_a_partition_takes_single_hosts_too(net: SimNet) -> None:
    """As well as groups of them."""
    one, two = net.host("one"), net.host("two")
    sock = await bound(two, port=7)
    with net.partition(one, two):
        await (await bound(one)).sendto(b"?", ("two", 7))
    assert (await heard(sock), fates(net)) == ([], ["partitioned"])


@simulated()
async def test_hold_without_ends_holds_loopbacks_too(net: SimNet) -> None:
    """And gives each packet back to the host it belongs to."""
    one = net.host("one")
    servers = [await bound(host, port=7) for host in (one, net.localhost)]
    clients = [await connected(host, "127.0.0.1", 7) for host in (one, net.localhost)]
    with net.hold() as held:
        await clients[0].send(b"one")
        await clients[1].send(b"localhost")
        assert len(held.packets) == 2
    assert [await heard(server) for server in servers] == [[b"one"], [b"localhost"]]


# Forgeries


@simulated()
async def test_inject_forges_any_source(net: SimNet) -> None:
    """Past every rule, now or later, to a host or to somebody's loopback."""
    one = net.host("one")
    server, local, own = await bound(one, port=7), await bound(net.localhost, port=7), await bound(one, "127.0.0.1", 8)
    with net.rule(lambda packet: drop("everything")):
        net.inject(b"now", ("203.0.113.9", 53), (one.addresses[0], 7))
        net.inject(b"later", ("203.0.113.9", 53), (one.addresses[0], 7), after=0.5)
        net.inject(b"local", ("127.0.0.9", 53), ("127.0.0.1", 7))
        net.inject(b"own", ("127.0.0.9", 53), ("127.0.0.1", 8), host=one)
    assert await server.recvfrom(10) == (b"now", ("203.0.113.9", 53))
    assert (await heard(server), await heard(server, after=0.5)) == ([], [b"later"])
    assert (await heard(local), await heard(own)) == ([b"local"], [b"own"])
    assert all(record.injected for record in net.trace)
    with pytest.raises(ValueError, match="expected a loopback destination"):
        net.inject(b"?", ("203.0.113.9", 53), (one.addresses[0], 7), host=one)


@simulated()
async def test_inject_icmp_forges_errors(net: SimNet) -> None:
    """From any router, about a packet of the trace."""
    one, other = net.host("one"), net.host("other")
    await bound(other, port=7)
    client = await connected(one, "other", 7)
    client.setsockopt(IP, IP_RECVERR, 1)
    await client.send(b"hello")
    (record,) = net.trace
    there = (other.addresses[0], 7)
    net.inject_icmp("port unreachable", record.packet, source="203.0.113.1", after=0.5)
    await trio.sleep(1)
    quote, control, flags, peer = await client.recvmsg(10, 512, socket.MSG_ERRQUEUE)
    assert (quote, flags, peer) == (b"hello", socket.MSG_ERRQUEUE, there)
    assert socket.inet_aton("203.0.113.1") in control[0][2]
    with pytest.raises(ValueError, match="expected one of port unreachable"):
        net.inject_icmp("bad weather", record.packet)
    about = record.packet._replace(source=Address(other.addresses[0], 8))
    net.inject_icmp("port unreachable", about)
    assert fates(net) == ["delivered", "delivered", "nobody listens"]


# Sizes


@pytest.mark.parametrize("discovery", [DONT, WANT, DO, PROBE])
@simulated()
async def test_a_narrow_link_is_found_out(net: SimNet, discovery: int) -> None:
    """What must not be divided is lost and reported; the path MTU is known afterwards."""
    one, other = net.host("one"), net.host("other")
    net.link(Conditions(mtu=1000))
    server, client = await bound(other, port=7), await connected(one, "other", 7)
    client.setsockopt(IP, IP_MTU_DISCOVER, discovery)
    assert client.getsockopt(IP, IP_MTU) == 1500
    outcomes = []
    for _ in range(3):
        try:
            outcomes.append(await client.send(bytes(1000)))
        except OSError as exc:
            outcomes.append(-(exc.errno or 0))
    too_large = -errno.EMSGSIZE
    assert (outcomes, await heard(server)) == {
        DONT: ([1000, 1000, 1000], [bytes(1000)] * 3),
        WANT: ([1000, too_large, 1000], [bytes(1000)]),  # the first is lost, the second call hears of it
        DO: ([1000, too_large, too_large], []),
        PROBE: ([1000, too_large, 1000], []),  # believes no router
    }[discovery]
    assert client.getsockopt(IP, IP_MTU) == (1500 if discovery == DONT else 1000)


@pytest.mark.parametrize("discovery", [DONT, WANT, DO, PROBE])
@simulated()
async def test_in_version_6_only_the_sender_divides(net: SimNet, discovery: int) -> None:
    """So that a narrow link is found out even by those who would let routers divide."""
    one, other = net.host("one"), net.host("other")
    net.link(Conditions(mtu=1300))
    server, client = await bound(other, "::", 7), await bound(one, "::")
    client.setsockopt(IPV6, IPV6_MTU_DISCOVER, discovery)
    await client.connect((other.addresses[1], 7))
    await client.send(bytes(1400))
    client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    assert (await heard(server), client.getsockopt(IPV6, IPV6_MTU)) == ([], 1300)
    if discovery == DO:
        with pytest.raises(OSError, match="Message too long"):
            await client.send(bytes(1400))
    else:
        await client.send(bytes(1400))
    assert len(await heard(server)) == (discovery in (DONT, WANT))


@pytest.mark.parametrize(("discovery", "goes"), [(DONT, True), (WANT, True), (DO, False), (PROBE, False)])
@simulated()
async def test_an_interface_has_a_limit_of_its_own(net: SimNet, discovery: int, goes: bool) -> None:
    """EMSGSIZE for what must not be divided, explained in the error queue."""
    one, other = net.host("one", mtu=600), net.host("other")
    server, client = await bound(other, port=7), await connected(one, "other", 7)
    client.setsockopt(IP, IP_RECVERR, 1)
    client.setsockopt(IP, IP_MTU_DISCOVER, discovery)
    await client.send(bytes(572))
    if goes:
        await client.send(bytes(573))
    else:
        with pytest.raises(OSError, match="Message too long"):
            await client.send(bytes(573))
        assert (await client.recvmsg(10, 512, socket.MSG_ERRQUEUE))[0] == b""
    assert [len(data) for data in await heard(server)] == [572, 573][: 1 + goes]


@simulated()
async def test_a_forged_path_mtu_has_its_limits(net: SimNet) -> None:
    """552 bytes at the least; and a bounded number of paths is remembered."""
    one = net.host("one")
    sock = await bound(one, port=7)
    about = Packet(b"", (await _address(sock, one)), (await _address(sock, net.localhost)))
    for number in range(1100):
        there = about.destination._replace(host=f"203.0.{number // 250}.{number % 250}")
        net.inject_icmp("fragmentation needed", about._replace(destination=there), mtu=1)
    assert len(one._path_mtu) == 1024
    assert set(one._path_mtu.values()) == {552}
    assert one.path_mtu(about.destination._replace(host="203.0.0.0")) == 1500


async def _address(sock: trio.socket.SocketType, host: Host) -> Address:
    return Address(host.addresses[0], sock.getsockname()[1])


@simulated()
async def test_a_full_receive_buffer_loses_the_newest(net: SimNet) -> None:
    """A bounded number waits, and the trace says what became of the others."""
    server, client = await bound(net.host("one"), port=7), await connected(net.host("other"), "one", 7)
    for _ in range(300):
        await client.send(b"?")
    assert len(await heard(server)) == 256
    assert fates(net).count("receive buffer full") == 44
    assert isinstance(server, SimSocket)
    assert server.kernel.drops == 44


@simulated()
async def test_beside_a_datagram_from_far_away(net: SimNet) -> None:
    """Packet info names the interface that is not the loopback, and a hop limit can be chosen."""
    server, client = await bound(net.host("one"), port=7), await connected(net.host("other"), "one", 7)
    server.setsockopt(IP, IP_PKTINFO, 1)
    client.setsockopt(IP, IP_TTL, 9)
    await client.send(b"?")
    _, control, _, _ = await server.recvmsg(10, 100)
    assert control[0][2][:4] == (2).to_bytes(4, "little")
    assert next(iter(net.trace)).packet.hop_limit == 9


# Running


def test_a_network_is_installed_for_a_block() -> None:
    """And what was there before is there again, whether or not the block fails."""

    async def fail(net: SimNet) -> None:
        async with net.running():
            sock = trio.socket.socket(type=socket.SOCK_DGRAM)
            assert isinstance(sock, SimSocket)
            assert sock.kernel.host is net.localhost
            raise KeyError

    async def main() -> None:
        outer, inner = SimNet(), SimNet()
        async with outer.running() as entered:
            assert entered is outer
            with pytest.raises(KeyError):
                await fail(inner)
            sock = trio.socket.socket(type=socket.SOCK_DGRAM)
            assert isinstance(sock, SimSocket)
            assert sock.kernel.host is outer.localhost
        with trio.socket.socket(type=socket.SOCK_DGRAM) as real:
            assert not isinstance(real, SimSocket)

    trio.run(main, clock=MockClock(autojump_threshold=0))


def test_a_network_runs_once_at_a_time() -> None:
    """And again later, with its clock where it was."""

    async def main() -> None:
        net = SimNet()
        await trio.sleep(5)
        assert net.now == 0
        async with net.running():
            with pytest.raises(RuntimeError, match="running already"):
                async with net.running():
                    pass
            one = net.host("one")
            server = await bound(one, port=7)
            await trio.sleep(1.5)
            net.inject(b"?", ("203.0.113.1", 1), (one.addresses[0], 7), after=0.1)
            await server.recv(10)
        assert net.now == pytest.approx(1.6)
        await trio.sleep(100)
        async with net.running():
            assert net.now == pytest.approx(1.6)

    trio.run(main, clock=MockClock(autojump_threshold=0))


@pytest.mark.parametrize("latency", [1 / 3, 2 / 3])  # one of them is rounded down, the other up
def test_rounding_of_a_late_clock_keeps_nothing_waiting(latency: float) -> None:
    """A packet is due when the clock says so, however large its numbers: the alternative is to wait for ever."""

    async def main() -> list[int]:
        await trio.sleep(math.pi * 1e9)
        net = SimNet(conditions=Conditions(latency=latency))
        counts = []
        async with net.running(time_limit=math.e * 1e7):
            one = net.host("one")
            server, client = await bound(one, port=7), await connected(net.host("other"), "one", 7)
            for _ in range(100):
                await client.send(b"?")
                counts.append(len(await heard(server, after=0.7)))
                await trio.sleep(math.e)
        return counts

    assert trio.run(main, clock=MockClock(autojump_threshold=0)) == [1] * 100


@pytest.mark.parametrize("limit", [0.0, 1.0, math.pi * 1e8])
def test_a_simulation_that_waits_for_ever_is_stopped(limit: float) -> None:
    """At its time limit."""

    async def main() -> None:
        await trio.sleep(0.1)
        async with SimNet().running(time_limit=limit):
            await trio.sleep_forever()

    with pytest.raises(Stalled, match="time limit"):
        trio.run(main, clock=MockClock(autojump_threshold=0))


def test_cancelling_a_network_from_outside_is_a_cancellation() -> None:
    """And no stall."""

    async def main() -> bool:
        with trio.move_on_after(1) as scope:
            async with SimNet().running():
                await trio.sleep_forever()
        return scope.cancelled_caught

    assert trio.run(main, clock=MockClock(autojump_threshold=0))


@simulated()
async def test_wait_readable_waits_for_anything_to_read(net: SimNet) -> None:
    """A datagram or an error."""
    one = net.host("one")
    sock = await bound(one, port=7)
    assert isinstance(sock, SimSocket)
    net.inject(b"?", ("203.0.113.1", 1), (one.addresses[0], 7), after=0.5)
    await sock.wait_readable()
    assert (net.now, await sock.recv(10)) == (0.5, b"?")


def test_a_socket_without_trio() -> None:
    """The simulated kernel alone is a non-blocking socket."""
    net = SimNet()
    server, client = (net.localhost.open(socket.AF_INET) for _ in range(2))
    server.bind(("127.0.0.1", 0))
    with pytest.raises(BlockingIOError):
        server.recv(10)
    client.connect(server.getsockname())
    assert client.sendto(b"?", 0, server.getsockname()) == 1
    assert server.recvfrom(10) == (b"?", client.getsockname())
    assert server.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE, 4) == (2).to_bytes(4, "little")
    for address in (None, ("127.0.0.1",)):
        with pytest.raises(TypeError, match="expected an address"):
            client.connect(address)
    with pytest.raises(TypeError, match="sendto takes"):
        client.sendto(b"?")
    with pytest.raises(OverflowError, match="port"):
        client.connect(("127.0.0.1", -1))
    with pytest.raises(socket.gaierror, match="family"):
        client.connect(("::1", 7))


@simulated()
async def test_all_ports_of_a_host_can_be_taken(net: SimNet) -> None:
    """EADDRINUSE then, for those who ask for any."""
    one = net.host("one")
    taken = one.open(socket.AF_INET)
    taken.local = Address("0.0.0.0", 0)  # noqa: S104 - simulated
    one._sockets.update((port, [taken]) for port in range(32_768, 61_000))  # by hand: it would take seconds
    with pytest.raises(OSError, match="in use"):
        await bound(one)


def test_randomness_is_the_seeds() -> None:
    """`net.random` is drawn from it."""
    assert SimNet(seed=7).random.random() == SimNet(seed=7).random.random() != SimNet(seed=8).random.random()
    assert simulate(_return, seed=7) == SimNet(seed=7).random.random()


async def _return(net: SimNet) -> float:
    return net.random.random()
