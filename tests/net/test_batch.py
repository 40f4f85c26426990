"""Datagrams in and out: the bodies that all transports share, and what only the kernel's own can show."""

import contextlib
import errno
import socket
import sys
from collections.abc import Callable, Iterator
from typing import cast

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_udp._net import (
    BATCH,
    Address,
    Batch,
    Hint,
    KernelTransport,
    PortableTransport,
    Transport,
    TrioTransport,
    _transports,
    open_client_socket,
    open_server_socket,
    open_transport,
)
from trio_udp._net._mmsg import calls_of_this_run

from ..networks import (
    LOOPBACKS,
    NetworkName,
    address_of,
    at_most_steps,
    awaitable,
    dead_address,
    direct,
    faults_of,
    needs_ipv6,
    network_fixture,  # noqa: F401 - pytest finds it by its name, network
    plain_socket,
    read_all,
)

LOOPBACK = Address("127.0.0.1", 0)


async def server_transport(address: Address = LOOPBACK) -> Transport:
    """Bound to a free port."""
    return open_transport(await open_server_socket(address))


async def client_transport(*servers: Address, connect: bool = False) -> Transport:
    """Able to send to these."""
    return open_transport(await open_client_socket(list(servers), connect=connect))


def port_of(transport: Transport) -> int:
    """Where it listens."""
    port: int = transport.socket.getsockname()[1]
    return port


async def receive_all(transport: Transport, count: int) -> list[Batch]:
    """Batches until they hold this many datagrams."""
    batches: list[Batch] = []
    while sum(len(batch.datagrams) for batch in batches) < count:
        batches.append(await transport.receive())
    return batches


TRANSPORTS = {
    "kernel": KernelTransport,
    "portable": PortableTransport,
    "factory": TrioTransport,
    "simnet": TrioTransport,
}


async def test_each_network_has_its_transport(network: NetworkName) -> None:
    """Only the kernel's own sockets take the fast path, and only where the calls for it exist."""
    with contextlib.closing(await server_transport()) as transport:
        assert type(transport) is TRANSPORTS[network]


@pytest.mark.parametrize("host", LOOPBACKS)
@pytest.mark.parametrize("data", [b"", b"x", bytes(65_000)], ids=["empty", "one byte", "large"])
async def test_a_datagram_goes_there_and_back(network: NetworkName, host: str, data: bytes) -> None:
    """G3: a zero-length datagram is a datagram, in both directions, and a large one is not divided."""
    with contextlib.closing(await server_transport(Address(host, 0))) as transport, plain_socket(host) as peer:
        peer.sendto(data, transport.socket.getsockname())
        batch = await transport.receive()
        assert [(datagram.data, datagram.peer) for datagram in batch.datagrams] == [(data, address_of(peer))]
        await transport.send(data, address_of(peer), None)
        assert read_all(peer) == [data]


@pytest.mark.parametrize("source", [None, "127.0.0.1", "127.0.0.2"])
async def test_a_datagram_leaves_from_the_source_it_is_given(network: NetworkName, source: str | None) -> None:
    """E6: without one the kernel chooses."""
    transport = await server_transport(Address("0.0.0.0", 0))  # noqa: S104 - more than one address to leave from
    with plain_socket() as peer:
        await transport.send(b"!", address_of(peer), source)
        assert peer.recvfrom(10) == (b"!", (source or "127.0.0.1", port_of(transport)))
    transport.close()


async def test_a_truncated_datagram_is_counted_and_not_delivered(
    network: NetworkName, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G2: its neighbours are."""
    monkeypatch.setattr(_transports, "_LARGEST", 4)
    with contextlib.closing(await server_transport()) as transport:
        with plain_socket() as peer:
            for data in (b"1234", b"12345", b"123", b"x" * 60_000):
                peer.sendto(data, transport.socket.getsockname())
            batches = await receive_all(transport, 2)
            if sum(batch.truncated for batch in batches) < 2:
                batches.append(await transport.receive())
        assert [datagram.data for batch in batches for datagram in batch.datagrams] == [b"1234", b"123"]
        assert sum(batch.truncated for batch in batches) == 2


async def test_closing_wakes_who_waits_for_a_datagram(network: NetworkName) -> None:
    """G10: with `ClosedResourceError`; and closing twice is fine."""
    with contextlib.closing(await server_transport()) as transport:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_ends_with_closed, transport.receive)
            await wait_all_tasks_blocked()
            transport.close()


@pytest.mark.parametrize("source", [None, "127.0.0.1"])
async def test_a_closed_transport_says_so(network: NetworkName, source: str | None) -> None:
    """G10: the caller that comes too late gets the same error as the one that was waiting."""
    transport = await server_transport()
    transport.close()
    with pytest.raises(trio.ClosedResourceError):
        await transport.send(b"?", Address("127.0.0.1", 9), source)
    with pytest.raises(trio.ClosedResourceError):
        await transport.send(b"?", None, None)
    with pytest.raises(trio.ClosedResourceError):
        await transport.receive()


async def _ends_with_closed(call: Callable[[], object]) -> None:
    with pytest.raises(trio.ClosedResourceError):
        await call()  # type: ignore[misc]  # any coroutine function


async def test_a_send_error_is_the_kernels(network: NetworkName) -> None:
    """G1, underneath: what is longer than any datagram does not leave."""
    with contextlib.closing(await server_transport()) as transport:
        with plain_socket() as peer, pytest.raises(OSError, match="too long") as caught:
            await transport.send(bytes(65_508), address_of(peer), None)
        assert caught.value.errno == errno.EMSGSIZE


async def test_a_receive_error_without_an_explanation_is_reported_by_its_name(network: NetworkName) -> None:
    """G5: what ICMP causes on a system without an error queue is part of a batch, not an exception."""
    with contextlib.closing(await server_transport()) as transport:
        faults_of(transport).receives.extend([errno.ECONNREFUSED, errno.EHOSTUNREACH])
        with plain_socket() as peer:
            peer.sendto(b"!", transport.socket.getsockname())
            batches = await receive_all(transport, 1)
        assert [error for batch in batches for error in batch.errors] == ["ECONNREFUSED", "EHOSTUNREACH"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has error queues")
@direct
async def test_an_error_that_the_queue_has_explained_before_is_not_reported_again(network: NetworkName) -> None:
    """G5: the kernel puts it there, wakes who reads, and only then has a call fail. One ICMP error is one hint."""
    with (
        plain_socket() as peer,
        contextlib.closing(await client_transport(address_of(peer), connect=False)) as transport,
    ):
        await transport.send(b"?", address_of(peer), None)
        faults_of(transport).receives.append(errno.ECONNREFUSED)
        peer.sendto(b"!", peer.recvfrom(2048)[1])
        batches = await receive_all(transport, 1)
        assert [batch.errors + batch.hints for batch in batches] == [[]]


@direct
async def test_a_wake_up_reads_all_there_is_up_to_64(network: NetworkName) -> None:
    """However many came, the task that reads them yields to the others in between (64 a batch)."""
    with contextlib.closing(await server_transport()) as transport:
        with plain_socket() as peer:
            for number in range(BATCH + 36):
                peer.sendto(number.to_bytes(2, "big"), transport.socket.getsockname())
            batches = [await transport.receive(), await transport.receive()]
        assert [len(batch.datagrams) for batch in batches] == [64, 36]
        assert [int.from_bytes(datagram.data, "big") for batch in batches for datagram in batch.datagrams] == [
            *range(100)
        ]


@direct
async def test_behind_a_full_batch_the_next_one_is_waited_for_if_it_is_not_there(network: NetworkName) -> None:
    """Whether it comes at once, later, or the socket is closed first; and looking for it is a checkpoint."""
    with contextlib.closing(await server_transport()) as transport, plain_socket() as peer:

        async def fill_a_batch() -> None:
            for _ in range(BATCH):
                peer.sendto(b"!", transport.socket.getsockname())
            assert len((await transport.receive()).datagrams) == BATCH

        await fill_a_batch()
        peer.sendto(b"at once", transport.socket.getsockname())
        with trio.testing.assert_checkpoints():
            assert [datagram.data for datagram in (await transport.receive()).datagrams] == [b"at once"]
        await fill_a_batch()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_receives_nothing_but, b"later", transport)
            await wait_all_tasks_blocked()
            peer.sendto(b"later", transport.socket.getsockname())
        await fill_a_batch()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_ends_with_closed, transport.receive)
            await trio.lowlevel.checkpoint()
            transport.close()


async def test_what_is_there_can_be_taken_without_waiting(network: NetworkName, autojump_clock: MockClock) -> None:
    """A2: as a client does before it sends; a closed socket is closed for that too."""
    with contextlib.closing(await server_transport()) as transport, plain_socket() as peer:
        assert await transport.receive(may_wait=False) == Batch([], [], [], 0)
        for data in (b"one", b"two"):
            peer.sendto(data, transport.socket.getsockname())
        found: list[bytes] = []
        while any(batch := await transport.receive(may_wait=False)):
            found += [datagram.data for datagram in batch.datagrams]
        assert found == [b"one", b"two"]
        transport.close()
        with pytest.raises(trio.ClosedResourceError):
            await transport.receive(may_wait=False)


class Misleading:
    """Stands before a socket, and says that there is something to read, or cannot say."""

    def __init__(self, behind: object, error: type[Exception] | None) -> None:
        self._behind = behind
        self._error = error

    def __getattr__(self, name: str) -> object:
        return getattr(self._behind, name)

    def is_readable(self) -> bool:
        """Wrong, or not there."""
        if self._error is not None:
            raise self._error
        return True


@awaitable
@pytest.mark.parametrize("error", [None, AttributeError, NotImplementedError])
async def test_a_socket_that_misleads_is_not_waited_for(
    network: NetworkName, autojump_clock: MockClock, error: type[Exception] | None
) -> None:
    """E7: a datagram with a wrong checksum makes a socket readable, and there is nothing to read."""
    with contextlib.closing(await server_transport()) as transport:
        assert isinstance(transport, TrioTransport)
        transport.socket = cast("trio.socket.SocketType", Misleading(transport.socket, error))
        with trio.fail_after(1):
            assert await transport.receive(may_wait=False) == Batch([], [], [], 0)


@direct
async def test_a_wake_up_for_nothing_is_no_batch(network: NetworkName) -> None:
    """The kernel may find a bad checksum only when the datagram is read: then there is none, and waiting goes on."""
    with contextlib.closing(await server_transport()) as transport, plain_socket() as peer:
        faults_of(transport).receives.append(errno.EAGAIN)
        peer.sendto(b"!", transport.socket.getsockname())
        assert [datagram.data for datagram in (await transport.receive()).datagrams] == [b"!"]


# The error queue


DEAD = {
    "IPv4": ["127.0.0.1"],
    "IPv6": ["::1"],
    "dual-stack, IPv4 asked": ["127.0.0.1", "::1"],
    "dual-stack, IPv6 asked": ["::1", "127.0.0.1"],
}


@needs_ipv6
@pytest.mark.parametrize("hosts", DEAD.values(), ids=DEAD)
@direct
async def test_icmp_arrives_as_a_hint_on_an_unconnected_socket(network: NetworkName, hosts: list[str]) -> None:
    """G5: with the peer and the datagram it is about, so that it can be told from one made up."""
    dead = [dead_address(host) for host in hosts]
    with contextlib.closing(await client_transport(*dead)) as transport:
        await transport.send(b"hello", dead[0], None)
        assert await transport.receive() == Batch([], [Hint(dead[0], b"hello", "ECONNREFUSED")], [], 0)


@pytest.mark.parametrize("host", LOOPBACKS)
@direct
async def test_icmp_arrives_as_a_hint_on_a_connected_socket(network: NetworkName, host: str) -> None:
    """G5: the same, where the kernel would otherwise only say ECONNREFUSED to the next call."""
    dead = dead_address(host)
    with contextlib.closing(await client_transport(dead, connect=True)) as transport:
        await transport.send(b"hello", None, None)
        assert await transport.receive() == Batch([], [Hint(dead, b"hello", "ECONNREFUSED")], [], 0)


@pytest.mark.parametrize("connect", [True, False])
@direct
async def test_a_send_that_meets_a_pending_error_leaves_the_hint_to_be_read(
    network: NetworkName, connect: bool
) -> None:
    """G5: it was about an earlier datagram; the reader wakes up for it, once."""
    dead = dead_address()
    with contextlib.closing(await client_transport(dead, connect=connect)) as transport:
        await transport.send(b"one", None if connect else dead, None)
        with pytest.raises(ConnectionRefusedError):
            await transport.send(b"two", None if connect else dead, None)
        assert (await transport.receive()).hints == [Hint(dead, b"one", "ECONNREFUSED")]
        with trio.move_on_after(0) as scope:
            await transport.receive()
        assert scope.cancelled_caught


@direct
async def test_no_hint_is_lost_among_many(network: NetworkName) -> None:
    """G5: there may be more of them than one batch has datagrams."""
    dead = dead_address()
    with contextlib.closing(await client_transport(dead)) as transport:
        sent = 0
        while sent < BATCH + 36:
            with contextlib.suppress(ConnectionRefusedError):  # about the one before
                await transport.send(b"?", dead, None)
                sent += 1
        hints = 0
        while hints < sent:
            hints += len((await transport.receive()).hints)
        assert hints == sent


@direct
async def test_the_error_queue_may_hold_what_is_no_error(network: NetworkName) -> None:
    """Time stamps of what was sent come through it too, if asked for: they are taken out, and are no hints."""
    with plain_socket() as server, contextlib.closing(await client_transport(address_of(server))) as transport:
        transport.socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING, TRANSMISSIONS)
        await transport.send(b"?", address_of(server), None)
        await trio.lowlevel.wait_readable(transport.socket)  # the stamp is in the queue
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_receives_nothing_but, b"!", transport)
            await wait_all_tasks_blocked()
            server.sendto(b"!", ("127.0.0.1", port_of(transport)))


SO_TIMESTAMPING = 37
TRANSMISSIONS = 0x02 | 0x10
"""SOF_TIMESTAMPING_TX_SOFTWARE and SOF_TIMESTAMPING_SOFTWARE, include/uapi/linux/net_tstamp.h."""


async def _receives_nothing_but(data: bytes, transport: Transport) -> None:
    batch = await transport.receive()
    assert [datagram.data for datagram in batch.datagrams] == [data]
    assert batch == Batch(batch.datagrams, [], [], 0)


@direct
async def test_hints_and_datagrams_come_together(network: NetworkName) -> None:
    """A dead server does not hide a living one."""
    dead = dead_address()
    with plain_socket() as living:
        with contextlib.closing(await client_transport(dead, address_of(living))) as transport:
            for number in range(3):
                with contextlib.suppress(ConnectionRefusedError):
                    await transport.send(bytes([number]), dead, None)
                living.sendto(bytes([number]), ("127.0.0.1", port_of(transport)))
            hints: list[Hint] = []
            datagrams: list[bytes] = []
            while len(datagrams) < 3 or not hints:
                batch = await transport.receive()
                hints += batch.hints
                datagrams += [datagram.data for datagram in batch.datagrams]
        assert {hint.peer for hint in hints} == {dead}
        assert datagrams == [b"\0", b"\1", b"\2"]


@pytest.mark.parametrize("connect", [True, False])
async def test_an_icmp_error_wakes_the_reader_once(
    network: NetworkName, connect: bool, autojump_clock: MockClock
) -> None:
    """G5: an error that nobody takes out of its queue would keep the reader, and the processor, busy for ever."""
    dead = dead_address()
    with contextlib.closing(await client_transport(dead, connect=connect)) as transport:
        reports = 0
        await transport.send(b"hello", None if connect else dead, None)
        with at_most_steps(500), trio.move_on_after(1):
            while True:
                batch = await transport.receive()
                reports += len(batch.hints) + len(batch.errors)
        assert reports <= 1


# A full send buffer


@contextlib.contextmanager
def full_transport() -> Iterator[tuple[Transport, socket.socket]]:
    """A transport whose kernel buffer has no room, and who can make some by reading. (UDP on loopback always has.)"""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        theirs.setblocking(False)
        calls = calls_of_this_run()
        transport = PortableTransport(ours) if calls is None else KernelTransport(ours, calls)
        with contextlib.suppress(BlockingIOError):
            while True:
                ours.send(b"filler")
        yield transport, theirs


@direct
async def test_a_full_buffer_is_waited_for(network: NetworkName) -> None:
    """G6: EAGAIN waits; two tasks may be waiting at once, and each datagram leaves once, in order."""
    with full_transport() as (transport, peer):
        async with trio.open_nursery() as nursery:
            for name in (b"one", b"two", b"three"):
                nursery.start_soon(transport.send, name, None, None)
                await wait_all_tasks_blocked()
            received = read_all(peer)
            assert set(received) == {b"filler"}
        assert read_all(peer) == [b"one", b"two", b"three"]


@direct
async def test_giving_up_a_full_buffer_leaves_the_turn_to_the_next(network: NetworkName) -> None:
    """G9: a cancelled sender, at the head of the line or in it, sends nothing and blocks nobody."""
    with full_transport() as (transport, peer):
        async with trio.open_nursery() as nursery:
            scopes = [trio.CancelScope() for _ in range(3)]
            for number, scope in enumerate(scopes):
                nursery.start_soon(_send_within, scope, transport, bytes([number]))
                await wait_all_tasks_blocked()
            scopes[1].cancel()
            scopes[0].cancel()
            await wait_all_tasks_blocked()
            read_all(peer)
        assert read_all(peer) == [b"\2"]


async def _send_within(scope: trio.CancelScope, transport: Transport, data: bytes) -> None:
    with scope:
        await transport.send(data, None, None)


@direct
async def test_closing_wakes_everybody_who_waits_for_a_full_buffer(network: NetworkName) -> None:
    """G10: the one who waits for the kernel, and those who wait behind it."""
    with full_transport() as (transport, _):
        async with trio.open_nursery() as nursery:
            for number in range(3):
                nursery.start_soon(_ends_with_closed, lambda number=number: transport.send(bytes([number]), None, None))
            await wait_all_tasks_blocked()
            transport.close()


@direct
async def test_a_flood_of_errors_is_read_in_batches_too(network: NetworkName, autojump_clock: MockClock) -> None:
    """E7: however many ICMP errors wait, one wake-up reads 64 of them and the task yields."""
    dead = dead_address()
    with contextlib.closing(await client_transport(dead, connect=False)) as transport:
        for _ in range(3 * BATCH):
            with contextlib.suppress(ConnectionRefusedError):
                await transport.send(b"hello", dead, None)
        batch = await transport.receive()
        assert 0 < len(batch.hints) <= BATCH
        assert len(batch.errors) <= BATCH
