"""One socket with its counters: what the kernel says about sending and receiving becomes numbers, never exceptions."""

import contextlib
import ctypes
import errno
import socket
import time

import pytest
import trio
from trio.testing import MockClock

from trio_udp._endpoint import _TRIES, Endpoint
from trio_udp._faulty import faulty_sockets
from trio_udp._net import BATCH, Address, KernelTransport, Outgoing, open_client_socket, open_server_socket
from trio_udp._net._mmsg import find_calls
from trio_udp.testing import SimNet

from .networks import (
    LOOPBACKS,
    LOST,
    NetworkName,
    address_of,
    dead_address,
    direct,
    faults_of,
    network_fixture,  # noqa: F401 - pytest finds it by its name, network
    plain_socket,
    read_all,
)

PENDING = [
    "ECONNREFUSED", "EHOSTUNREACH", "ENETUNREACH", "EMSGSIZE", "EPROTO", "EACCES",
    "ENOPROTOOPT", "ENOTSUP", "EHOSTDOWN", "ENONET",
]  # fmt: skip
needs_batches = pytest.mark.skipif(find_calls() is None, reason="this system has no calls for many datagrams")
AT_ONCE = ["ENOBUFS", "EPERM", "EINVAL", "ENETDOWN"]


async def endpoint_to(server: Address, *, connect: bool = False) -> Endpoint:
    """A client's endpoint."""
    sock = await open_client_socket([server], connect=connect)
    return Endpoint(sock, peer=server if connect else None)


@pytest.mark.parametrize("host", LOOPBACKS)
@pytest.mark.parametrize("connect", [True, False])
async def test_datagrams_are_counted_in_both_directions(network: NetworkName, host: str, connect: bool) -> None:
    """G3: an empty one is one too."""
    with plain_socket(host) as server:
        with contextlib.closing(await endpoint_to(address_of(server), connect=connect)) as endpoint:
            for data in (b"", b"one", b"two"):
                assert await endpoint.send(data, address_of(server)) is None
            assert read_all(server) == [b"", b"one", b"two"]
            for data in (b"", b"reply"):
                server.sendto(data, (host, endpoint.address.port))
            received: list[bytes] = []
            while len(received) < 2:
                received += [datagram.data for datagram in (await endpoint.receive()).datagrams]
            assert received == [b"", b"reply"]
        statistics = endpoint.statistics()
        assert (statistics.datagrams_sent, statistics.datagrams_received, statistics.truncated) == (3, 2, 0)
        assert (statistics.send_errors, statistics.hints, statistics.kernel_drops) == ({}, {}, 0)


@pytest.mark.parametrize("name", AT_ONCE)
async def test_a_send_error_is_a_lost_datagram(network: NetworkName, name: str) -> None:
    """G6: it is named, counted, and raises nothing."""
    with plain_socket() as server:
        with contextlib.closing(await endpoint_to(address_of(server))) as endpoint:
            faults_of(endpoint._transport).sends.append(getattr(errno, name))
            assert await endpoint.send(b"lost", address_of(server)) == name
            assert await endpoint.send(b"sent", address_of(server)) is None
            assert read_all(server) == [b"sent"]
        assert endpoint.statistics().send_errors == {name: 1}
        assert endpoint.statistics().datagrams_sent == 1


@pytest.mark.parametrize("name", PENDING)
async def test_a_pending_error_does_not_cost_the_next_datagram(network: NetworkName, name: str) -> None:
    """G4: ICMP about an earlier datagram, which may be forged, is met by sending again."""
    with plain_socket() as server:
        with contextlib.closing(await endpoint_to(address_of(server))) as endpoint:
            faults_of(endpoint._transport).sends.append(getattr(errno, name))
            assert await endpoint.send(b"sent", address_of(server)) is None
            assert read_all(server) == [b"sent"]
        assert endpoint.statistics().send_errors == {}
        assert endpoint.statistics().datagrams_sent == 1


@pytest.mark.parametrize("name", PENDING)
async def test_the_same_error_again_and_again_is_this_datagrams_own(network: NetworkName, name: str) -> None:
    """G6: it costs one attempt; the tries are bounded."""
    with plain_socket() as server:
        with contextlib.closing(await endpoint_to(address_of(server))) as endpoint:
            faults = faults_of(endpoint._transport)
            faults.sends.extend([getattr(errno, name)] * _TRIES)
            assert await endpoint.send(b"lost", address_of(server)) == name
            assert not faults.sends
            assert read_all(server) == []
        assert endpoint.statistics().send_errors == {name: 1}


async def test_an_errno_without_a_name_is_counted_too(network: NetworkName) -> None:
    """Under the exception's."""
    with plain_socket() as server, contextlib.closing(await endpoint_to(address_of(server))) as endpoint:
        faults_of(endpoint._transport).sends.append(54_321)
        assert await endpoint.send(b"lost", address_of(server)) == "OSError"


@direct
async def test_a_full_buffer_is_no_error(network: NetworkName) -> None:
    """G6: EAGAIN waits."""
    with plain_socket() as server:
        with contextlib.closing(await endpoint_to(address_of(server))) as endpoint:
            faults_of(endpoint._transport).sends.extend([errno.EAGAIN, errno.EAGAIN])
            assert await endpoint.send(b"sent", address_of(server)) is None
            assert read_all(server) == [b"sent"]
        assert endpoint.statistics().send_errors == {}


@direct
async def test_a_full_buffer_loses_the_datagram_of_who_may_not_wait(network: NetworkName) -> None:
    """E7: a server never waits for one client at the cost of the others."""
    with plain_socket() as server:
        with contextlib.closing(await endpoint_to(address_of(server))) as endpoint:
            faults_of(endpoint._transport).sends.append(errno.EAGAIN)
            assert await endpoint.send(b"lost", address_of(server), may_wait=False) == "EAGAIN"
            assert read_all(server) == []
        assert endpoint.statistics().send_errors == {"EAGAIN": 1}


# Many at once


def numbered(count: int, peer: Address) -> list[Outgoing]:
    """Datagrams to send, each with its place."""
    return [(place.to_bytes(2, "big"), peer, None) for place in range(count)]


def places(datagrams: list[bytes]) -> list[int]:
    """Which of them these are."""
    return [int.from_bytes(data, "big") for data in datagrams]


@pytest.mark.parametrize("host", LOOPBACKS)
@pytest.mark.parametrize("connect", [True, False])
async def test_many_datagrams_leave_in_order(network: NetworkName, host: str, connect: bool) -> None:
    """More than one system call takes, and each to where it was to go."""
    with plain_socket(host) as server:
        with contextlib.closing(await endpoint_to(address_of(server), connect=connect)) as endpoint:
            assert await endpoint.send_batch(numbered(150, address_of(server))) == {}
            assert await endpoint.send_batch([]) == {}
            assert places(read_all(server)) == list(range(150))
        assert endpoint.statistics().datagrams_sent == 150


async def test_datagrams_of_every_length_to_different_peers_leave_at_once(network: NetworkName) -> None:
    """G3: what reaches whom does not depend on its neighbours; one that cannot leave is its own fault."""
    with plain_socket() as one, plain_socket() as two:
        with contextlib.closing(await endpoint_to(address_of(one))) as endpoint:
            lengths = [0, 1, 60_000, 65_508, 0, 7, 7, 7, 1200]
            outgoing: list[Outgoing] = [
                (bytes([place]) * length, address_of((one, two)[place % 2]), (None, "127.0.0.1")[place % 3 == 0])
                for place, length in enumerate(lengths)
            ]
            assert await endpoint.send_batch(outgoing) == {3: "EMSGSIZE"}
            assert read_all(one) == [data for data, peer, _ in outgoing if peer == address_of(one)]
            assert read_all(two) == [
                data for data, peer, _ in outgoing if peer == address_of(two) and len(data) < 65_508
            ]
        assert endpoint.statistics().datagrams_sent == 8


async def test_datagrams_that_cannot_be_sent_are_named_and_the_others_leave(network: NetworkName) -> None:
    """G6: each has its own errno, and is counted under it."""
    with plain_socket() as server:
        with contextlib.closing(await endpoint_to(address_of(server))) as endpoint:
            faults = [None, errno.EPERM, LOST, errno.ENOBUFS, errno.ENOBUFS, None]
            faults_of(endpoint._transport).sends.extend(faults)
            failed = await endpoint.send_batch(numbered(8, address_of(server)))
            assert failed == {1: "EPERM", 3: "ENOBUFS", 4: "ENOBUFS"}
            assert places(read_all(server)) == [0, 5, 6, 7]
        assert endpoint.statistics().send_errors == {"EPERM": 1, "ENOBUFS": 2}
        assert endpoint.statistics().datagrams_sent == 5


@pytest.mark.parametrize("name", PENDING)
async def test_without_news_of_icmp_an_error_is_the_datagrams_own(network: NetworkName, name: str) -> None:
    """G6: one try each, for a server whom anybody can ask from where no route leads back."""
    with plain_socket() as client:
        sock = await open_server_socket(Address("127.0.0.1", 0))
        with contextlib.closing(Endpoint(sock, hears_errors=False)) as endpoint:
            number = getattr(errno, name)
            faults_of(endpoint._transport).sends.extend([number, None, number])
            assert await endpoint.send(b"", address_of(client)) == errno.errorcode[number]
            failed = await endpoint.send_batch(numbered(4, address_of(client)))
            assert failed == {1: errno.errorcode[number]}
            assert places(read_all(client)) == [0, 2, 3]


async def test_an_answer_whose_departure_is_asked_for_fails_as_any_does(network: NetworkName) -> None:
    """G6: by the errno's name, and counted."""
    with plain_socket() as client:
        sock = await open_server_socket(Address("127.0.0.1", 0))
        with contextlib.closing(Endpoint(sock, hears_errors=False)) as endpoint:
            faults_of(endpoint._transport).sends.extend([errno.EPERM, None])
            assert await endpoint.send_stamped(b"x", address_of(client)) == ("EPERM", None)
            assert await endpoint.send_stamped(b"x", address_of(client)) == (None, None)  # nobody has asked for times
            found = endpoint.statistics()
            assert (found.datagrams_sent, found.send_errors) == (1, {"EPERM": 1})


@needs_batches
async def test_a_batch_that_fails_is_not_offered_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """E7: the work for a batch that nobody can be sent is as its length, not as its square."""
    offered = 0

    def refuse(descriptor: int, address: int, count: int, flags: int) -> int:
        nonlocal offered
        offered += count
        ctypes.set_errno(errno.ENETUNREACH)
        return -1

    def refuse_one(*_: object) -> None:
        nonlocal offered
        offered += 1
        raise OSError(errno.ENETUNREACH, "")

    endpoint = await endpoint_to(Address("127.0.0.1", 9))
    with contextlib.closing(endpoint):
        assert isinstance(endpoint._transport, KernelTransport)
        monkeypatch.setattr(endpoint._transport, "_send_nowait", refuse_one)
        endpoint._transport.calls = endpoint._transport.calls._replace(send=refuse)
        peers = [Address("127.0.0.1", port) for port in range(1, BATCH + 1)]
        assert len(await endpoint.send_batch([(b"", peer, None) for peer in peers])) == BATCH
    assert offered == BATCH + _TRIES * BATCH - 1


@pytest.mark.parametrize("name", PENDING)
async def test_pending_errors_cost_no_datagram_of_many(network: NetworkName, name: str) -> None:
    """G4: nor does a flood of them, unless it is as long for one datagram as the tries are."""
    with plain_socket() as server:
        with contextlib.closing(await endpoint_to(address_of(server))) as endpoint:
            pending = [getattr(errno, name)]
            faults_of(endpoint._transport).sends.extend(
                [*pending * (_TRIES - 1), None, *pending * _TRIES, None, *pending, None]
            )
            assert await endpoint.send_batch(numbered(4, address_of(server))) == {1: name}
            assert places(read_all(server)) == [0, 2, 3]
        assert endpoint.statistics().send_errors == {name: 1}


async def test_an_address_of_another_family_is_its_datagrams_own_fault(network: NetworkName) -> None:
    """G6: an IPv4 socket cannot reach it; the others leave."""
    with plain_socket() as server, contextlib.closing(await endpoint_to(address_of(server))) as endpoint:
        here, nowhere = address_of(server), Address("::1", 9)
        outgoing: list[Outgoing] = [(b"0", here, None), (b"1", nowhere, None), (b"2", here, None)]
        assert await endpoint.send_batch(outgoing) == {1: "EAFNOSUPPORT"}
        assert read_all(server) == [b"0", b"2"]


@direct
async def test_a_full_buffer_is_waited_for_by_many_too(network: NetworkName) -> None:
    """G6: unless they may not wait; then it costs those that met it."""
    with plain_socket() as server, contextlib.closing(await endpoint_to(address_of(server))) as endpoint:
        faults = faults_of(endpoint._transport)
        faults.sends.extend([None, errno.EAGAIN, errno.EAGAIN, None])
        assert await endpoint.send_batch(numbered(3, address_of(server))) == {}
        assert places(read_all(server)) == [0, 1, 2]
        faults.sends.extend([None, errno.EAGAIN, errno.EAGAIN, None])
        assert await endpoint.send_batch(numbered(4, address_of(server)), may_wait=False) == {
            1: "EAGAIN",
            2: "EAGAIN",
        }
        assert places(read_all(server)) == [0, 3]


async def test_sending_many_on_a_closed_endpoint_says_so(network: NetworkName) -> None:
    """G10: as sending one does."""
    endpoint = await endpoint_to(Address("127.0.0.1", 9))
    endpoint.close()
    with pytest.raises(trio.ClosedResourceError):
        await endpoint.send_batch(numbered(2, Address("127.0.0.1", 9)))


async def test_a_datagram_lost_on_the_way_counts_as_sent(network: NetworkName) -> None:
    """Nobody can know better."""
    with plain_socket() as server:
        with contextlib.closing(await endpoint_to(address_of(server))) as endpoint:
            faults_of(endpoint._transport).sends.append(LOST)
            assert await endpoint.send(b"lost", address_of(server)) is None
            assert read_all(server) == []
        assert endpoint.statistics().datagrams_sent == 1


async def test_a_dead_port_is_a_hint_and_no_error(network: NetworkName) -> None:
    """G5: ICMP port unreachable is counted, and the endpoint goes on sending."""
    dead = dead_address()
    with contextlib.closing(await endpoint_to(dead, connect=True)) as endpoint:
        assert await endpoint.send(b"one", dead) is None
        assert await endpoint.send(b"two", dead) is None
        batch = await endpoint.receive()
        assert batch.datagrams == []
        assert endpoint.statistics().hints == {"ECONNREFUSED": len(batch.hints) + len(batch.errors)}
        assert endpoint.statistics().send_errors == {}


@direct
async def test_a_dead_port_among_several_servers_is_a_hint_too(network: NetworkName) -> None:
    """G5: the kernel's error queue tells which of them it was."""
    dead = dead_address()
    with contextlib.closing(await endpoint_to(dead)) as endpoint:
        assert await endpoint.send(b"one", dead) is None
        assert await endpoint.send(b"two", dead) is None
        assert {hint.peer for hint in (await endpoint.receive()).hints} == {dead}
        assert set(endpoint.statistics().hints) == {"ECONNREFUSED"}
        assert endpoint.statistics().send_errors == {}


async def test_a_receive_error_is_counted_as_a_hint(network: NetworkName, monkeypatch: pytest.MonkeyPatch) -> None:
    """G5: where the system has no error queue, the errno is all there is."""
    monkeypatch.setattr("trio_udp._net._transports.has_error_queue", lambda sock: False)
    with plain_socket() as server:
        with contextlib.closing(await endpoint_to(address_of(server))) as endpoint:
            faults_of(endpoint._transport).receives.append(errno.EHOSTUNREACH)
            server.sendto(b"!", ("127.0.0.1", endpoint.address.port))
            while not endpoint.statistics().datagrams_received:
                await endpoint.receive()
        assert endpoint.statistics().hints == {"EHOSTUNREACH": 1}


async def test_truncated_datagrams_are_counted_apart(network: NetworkName, monkeypatch: pytest.MonkeyPatch) -> None:
    """G2: they are not among those received."""
    monkeypatch.setattr("trio_udp._net._transports._LARGEST", 3)
    with plain_socket() as server:
        with contextlib.closing(await endpoint_to(address_of(server))) as endpoint:
            for data in (b"long", b"not"):
                server.sendto(data, ("127.0.0.1", endpoint.address.port))
            while not endpoint.statistics().datagrams_received:
                await endpoint.receive()
        assert (endpoint.statistics().datagrams_received, endpoint.statistics().truncated) == (1, 1)


async def test_what_did_not_fit_into_the_receive_buffer_is_counted(
    network: NetworkName, autojump_clock: MockClock
) -> None:
    """The kernel says with each datagram how many were lost before it."""
    sock = await open_server_socket(Address("127.0.0.1", 0))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    with contextlib.closing(Endpoint(sock)) as endpoint:
        with plain_socket() as client:
            for _ in range(100):
                client.sendto(bytes(100), endpoint.address)
            with trio.move_on_after(1):
                while True:
                    await endpoint.receive()
            received = endpoint.statistics().datagrams_received
            assert 0 < received < 100
            client.sendto(b"last", endpoint.address)
            await endpoint.receive()
        assert endpoint.statistics().kernel_drops == 100 - received


async def test_closing_ends_everything_with_the_same_error(network: NetworkName) -> None:
    """G10: closing twice is fine, and the statistics remain."""
    endpoint = await endpoint_to(Address("127.0.0.1", 9))
    endpoint.close()
    endpoint.close()
    with pytest.raises(trio.ClosedResourceError):
        await endpoint.send(b"?", Address("127.0.0.1", 9))
    assert endpoint.statistics().receive_buffer is None
    assert endpoint.statistics().datagrams_sent == 0


async def test_the_granted_receive_buffer_is_reported(network: NetworkName) -> None:
    """What was asked for is not always what is granted."""
    sock = await open_client_socket([Address("127.0.0.1", 9)], connect=False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 10_000)
    granted = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    with contextlib.closing(Endpoint(sock)) as endpoint:
        assert endpoint.statistics().receive_buffer == granted


async def test_a_factorys_sockets_are_of_the_worlds_own_time() -> None:
    """Who puts something before the kernel's sockets changes no time since 1970: the clock is the system's."""
    async with trio.open_nursery() as nursery:
        with faulty_sockets(nursery), contextlib.closing(await endpoint_to(Address("127.0.0.1", 9))) as endpoint:
            before, now, after = time.time_ns(), endpoint.wall_clock(), time.time_ns()
    assert before <= now <= after


async def test_a_simulated_networks_sockets_are_of_its_own_time(autojump_clock: MockClock) -> None:
    """So that equal worlds say equal things; another machine's wall clock is not among them."""
    async with SimNet().running():
        with contextlib.closing(await endpoint_to(Address("127.0.0.1", 9))) as endpoint:
            await trio.sleep(3)
            assert endpoint.wall_clock() == round(trio.current_time() * 1e9)
