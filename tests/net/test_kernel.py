"""Runs: datagrams that cross the kernel in one piece, and are on both sides what they were (G2, G3, G6)."""

import contextlib
import ctypes
import errno
import itertools
import shutil
import socket
import struct
import subprocess
import sys
from typing import Final

import pytest
import trio
from hypothesis import example, given
from hypothesis import strategies as st
from trio.testing import MockClock

from trio_udp._endpoint import Endpoint
from trio_udp._net import BATCH, Address, KernelTransport, Outgoing, open_server_socket, open_transport
from trio_udp._net._ancillary import UDP_GRO, UDP_SEGMENT
from trio_udp._net._batch import Datagram
from trio_udp._net._kernel import _CONTROLS, _LONGEST_RUN, _runs
from trio_udp._net._mmsg import Calls, find_calls

from ..networks import LOOPBACKS, address_of, plain_socket, read_all


def _has_runs() -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 0)
            sock.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
        except OSError:
            return False
    return find_calls() is not None


needs_runs = pytest.mark.skipif(not _has_runs(), reason="this kernel has no UDP_SEGMENT and UDP_GRO")


def test_the_calls_are_looked_for_where_they_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """A C library without them, or a system with others, leaves the portable way."""
    search = find_calls.__wrapped__
    monkeypatch.setattr(ctypes, "CDLL", lambda name, use_errno: object())
    assert search() is None
    monkeypatch.undo()
    monkeypatch.setattr(sys, "platform", "darwin")
    assert search() is None


@needs_runs
async def test_one_memory_serves_all_sockets_of_a_run() -> None:
    """G7: a socket more costs a descriptor, and no buffers."""
    one, other = await kernel_transport(), await kernel_transport()
    assert one._memory is other._memory
    for transport in (one, other):
        transport.close()


PEERS: Final = (Address("127.0.0.1", 1), Address("127.0.0.1", 2), None)
SOURCES: Final = (None, "127.0.0.1", "127.0.0.2")
lengths = st.sampled_from([0, 1, 2, 88, 88, 88, 1200, 30_000, 60_000])
outgoings = st.lists(st.tuples(lengths.map(bytes), st.sampled_from(PEERS), st.sampled_from(SOURCES)), max_size=80)


@given(outgoings, st.sampled_from([0, 100, _LONGEST_RUN]))
def test_a_run_is_what_the_kernel_can_divide_again(outgoing: list[Outgoing], longest: int) -> None:
    """One peer, one source, equal lengths but for a shorter last one; bounded; all there, in order."""
    runs = _runs(outgoing, longest)
    assert [each for run in runs for each in run] == outgoing
    for run in runs:
        sizes = [len(data) for data, _, _ in run]
        if len(run) > 1:
            assert len({(peer, source) for _, peer, source in run}) == 1
            assert set(sizes[:-1]) == {sizes[0]}
            assert 0 < sizes[-1] <= sizes[0]
            assert sum(sizes) <= longest


@given(st.lists(lengths, min_size=1, max_size=BATCH))
def test_what_can_leave_as_one_run_does(sizes: list[int]) -> None:
    """Two runs that follow each other could not have been one."""
    runs = _runs([(bytes(size), None, None) for size in sizes], _LONGEST_RUN)
    for one, other in itertools.pairwise(runs):
        first, last, following = len(one[0][0]), len(one[-1][0]), len(other[0][0])
        total = sum(len(data) for data, _, _ in one)
        assert not following or following > first or last < first or total + following > _LONGEST_RUN


@needs_runs
@pytest.mark.parametrize("host", LOOPBACKS)
def test_datagrams_survive_the_kernel_whatever_runs_they_make(host: str) -> None:
    """The same datagrams to the same peers, to a socket that takes runs and to one that does not."""

    # as much as the smallest usual receive buffer holds
    short = st.sampled_from([0, 1, 2, 88, 88, 88, 1200])

    @given(st.lists(st.tuples(short, st.integers(0, 1), st.booleans()), max_size=80))
    @example([(88, 0, False)] * 80)
    @example([(1200, 0, True)] * 60 + [(3, 0, True)] * 20)
    def check(sent: list[tuple[int, int, bool]]) -> None:
        trio.run(exchange, host, sent, clock=MockClock(autojump_threshold=0))

    check()


async def exchange(host: str, sent: list[tuple[int, int, bool]]) -> None:
    """Send each of these lengths to one of two peers, with a source or without, and compare."""
    sender = Endpoint(await open_server_socket(Address(host, 0)))
    receiver = Endpoint(await open_server_socket(Address(host, 0)))
    with contextlib.closing(sender), contextlib.closing(receiver), plain_socket(host) as plain:
        peers = (receiver.address, address_of(plain))
        outgoing: list[Outgoing] = [
            (bytes([number]) * length, peers[peer], host if source else None)
            for number, (length, peer, source) in enumerate(sent)
        ]
        assert await sender.send_batch(outgoing) == {}
        received: list[bytes] = []
        with trio.move_on_after(1):
            while True:
                batch = await receiver.receive()
                assert len(batch.datagrams) <= BATCH
                assert {datagram.peer for datagram in batch.datagrams} == {sender.address}
                received += [datagram.data for datagram in batch.datagrams]
        assert received == [data for data, peer, _ in outgoing if peer == peers[0]]
        assert read_all(plain) == [data for data, peer, _ in outgoing if peer == peers[1]]
        runs = [run for start in range(0, len(outgoing), BATCH) for run in _runs(outgoing[start:][:BATCH], 65_507)]
        joined = [each for run in runs if len(run) > 1 for each in run]
        assert sender.statistics().segments_sent == len(joined)
        assert receiver.statistics().segments_received == sum(peer == peers[0] for _, peer, _ in joined)
        assert receiver.statistics().datagrams_received == len(received)


async def kernel_transport() -> KernelTransport:
    """One that is bound to a free port."""
    transport = open_transport(await open_server_socket(Address("127.0.0.1", 0)))
    assert isinstance(transport, KernelTransport)
    return transport


def send_run(sock: socket.socket, data: bytes, size: int, to: Address) -> None:
    """Send all of this at once, to be divided."""
    sock.sendmsg([data], [(socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("=H", size))], 0, to)


@needs_runs
async def test_a_flood_of_runs_comes_in_batches_too() -> None:
    """E7: a run may hold more than a batch has room for; the rest waits for the next one, and nothing is lost."""
    with contextlib.closing(await kernel_transport()) as transport, plain_socket() as peer:
        here = address_of(transport.socket)
        for number in range(20):
            send_run(peer, b"".join(bytes([number, each]) * 10 for each in range(50)), 20, here)
        seen: list[bytes] = []
        while len(seen) < 1000:
            with trio.CancelScope() as scope:  # a reader that is cancelled loses nothing
                scope.cancel()
                await transport.receive()
            batch = await transport.receive()
            assert 0 < len(batch.datagrams) <= BATCH
            seen += [datagram.data for datagram in batch.datagrams]
        assert seen == [bytes([number, each]) * 10 for number in range(20) for each in range(50)]
        assert transport.segments_received == 1000


async def receive_from(transport: KernelTransport, peer: socket.socket, count: int) -> list[Datagram]:
    """What comes of so many datagrams, in one batch."""
    for number in range(count):
        peer.sendto(bytes(number), address_of(transport.socket))
    return list((await transport.receive()).datagrams)


@needs_runs
async def test_batches_of_every_size_leave_nothing_behind() -> None:
    """E7: not even what CPython puts aside by itself, 2,000 tuples of each length that it had made too long first."""
    sizes = range(1, 20)
    with contextlib.closing(await kernel_transport()) as transport, plain_socket() as peer:
        for round_number in range(35):
            if round_number == 5:
                before = sys.getallocatedblocks()
            assert [len(await receive_from(transport, peer, size)) for size in sizes] == [*sizes]
        assert sys.getallocatedblocks() - before < 30 * len(sizes) / 2


@needs_runs
async def test_losses_of_a_flood_are_counted_and_not_remembered() -> None:
    """E7: the kernel says another number each time, and what is kept ready is for what is the same each time."""
    with contextlib.closing(await kernel_transport()) as transport, plain_socket() as peer:
        transport.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        kept, told = len(_CONTROLS), []
        for _ in range(50):
            *rest, last = await receive_from(transport, peer, 60)
            assert {datagram.ancillary.kernel_drops for datagram in rest} <= {None}
            told.append(last.ancillary.kernel_drops or 0)
        assert told[0] == 0 < told[1] < told[-1]
        assert told == sorted(set(told))
        assert len(_CONTROLS) <= kept + 2


@needs_runs
async def test_closing_forgets_the_rest_of_a_run() -> None:
    """G10: who comes later is told that it is closed, and so is who waits."""
    transport = await kernel_transport()
    with plain_socket() as peer:
        send_run(peer, bytes(1000), 10, address_of(transport.socket))
        await transport.receive()
        transport.close()
        with pytest.raises(trio.ClosedResourceError):
            await transport.receive()


def refuse_once(transport: KernelTransport, number: int) -> None:
    """Let the next call that sends fail."""
    behind = transport.calls.send
    pending = [number]

    def send(descriptor: int, address: int, count: int, flags: int) -> int:
        if pending:
            ctypes.set_errno(pending.pop())
            return -1
        return behind(descriptor, address, count, flags)

    transport.calls = Calls(transport.calls.receive, send)


@needs_runs
@pytest.mark.parametrize(("name", "for_good"), [("EIO", True), ("EINVAL", True), ("EMSGSIZE", False)])
async def test_a_run_that_is_refused_leaves_in_parts(name: str, for_good: bool) -> None:
    """Nobody notices; and where the kernel cannot do it, it is not asked again."""
    with contextlib.closing(await kernel_transport()) as transport, plain_socket() as peer:
        refuse_once(transport, getattr(errno, name))
        outgoing: list[Outgoing] = [(bytes([number]), address_of(peer), None) for number in range(5)]
        assert await transport.send_batch(outgoing) == 5
        assert transport.segments_sent == 0
        assert await transport.send_batch(outgoing) == 5
        assert transport.segments_sent == (0 if for_good else 5)
        assert read_all(peer) == [data for data, _, _ in outgoing] * 2


@needs_runs
async def test_a_peer_that_cannot_be_sent_to_does_not_end_runs() -> None:
    """Port 0 is EINVAL for any datagram, and a source anyone can forge."""
    endpoint = Endpoint(await open_server_socket(Address("127.0.0.1", 0)))
    with contextlib.closing(endpoint), plain_socket() as peer:
        nowhere = Address("127.0.0.1", 0)
        assert await endpoint.send_batch([(b"?", nowhere, None)] * 3) == {0: "EINVAL", 1: "EINVAL", 2: "EINVAL"}
        assert await endpoint.send_batch([(b"?", address_of(peer), None)] * 3) == {}
        assert endpoint.statistics().segments_sent == 3


NARROW_PATH: Final = """
import socket, trio
from trio_udp._endpoint import Endpoint
from trio_udp._net import Address, open_server_socket

async def main():
    endpoint = Endpoint(await open_server_socket(Address("127.0.0.1", 0)))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        to = Address(*peer.getsockname())
        failed = await endpoint.send_batch([(bytes(size), to, None) for size in [1472] * 3 + [1473] * 3 + [9] * 3])
        print(failed, [len(peer.recv(65536)) for _ in range(6)], endpoint.statistics().segments_sent)

trio.run(main)
"""


@needs_runs
def test_a_datagram_of_a_run_is_no_longer_than_the_path_allows() -> None:
    """G4: where the loopback carries 1500 bytes, 1472 and headers fit; one more is an error, and never two halves."""
    enter = ["unshare", "--user", "--map-root-user", "--net", "sh", "-c"]
    prepare = "ip link set lo mtu 1500 up"
    if (
        not (shutil.which("unshare") and shutil.which("ip"))
        or subprocess.run([*enter, prepare], capture_output=True, check=False).returncode  # noqa: S603 - no input of anybody's
    ):
        pytest.skip("this host does not let us make a network namespace")
    done = subprocess.run(  # noqa: S603 - no input of anybody's
        [*enter, f'{prepare} && exec "$0" -c "$1"', sys.executable, NARROW_PATH],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    expected = "{3: 'EMSGSIZE', 4: 'EMSGSIZE', 5: 'EMSGSIZE'} [1472, 1472, 1472, 9, 9, 9] 5\n"
    assert (done.stdout, done.stderr) == (expected, "")
