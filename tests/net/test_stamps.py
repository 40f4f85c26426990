"""The kernel's times: of the datagram they belong to, in order, and none where the kernel does not say."""

import errno
import itertools
import socket
import struct
import time
from collections.abc import Iterator

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from trio_udp._net import (
    Address,
    PortableTransport,
    StampingTransport,
    _ancillary,
    open_client_socket,
    open_server_socket,
    open_transport,
)
from trio_udp._net._ancillary import NOTHING, Departure, read_control, read_departure, read_stamped_control, read_time

from ..networks import LOOPBACKS, address_of, installed, plain_socket

TIMESPEC = struct.Struct("@qq")
ERROR = struct.Struct("=IBBBBII")

needs_linux = pytest.mark.skipif(not _ancillary.IS_LINUX, reason="only Linux has SO_TIMESTAMPING")


@pytest.fixture(name="sink", params=LOOPBACKS)
def sink_fixture(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    """Somebody to send to."""
    with plain_socket(request.param) as sock:
        yield sock


async def open_stamping(peer: Address) -> StampingTransport:
    """A transport that can send there."""
    transport = open_transport(await open_client_socket([peer], connect=False), stamps=True)
    assert isinstance(transport, StampingTransport)
    return transport


async def echo_once(transport: StampingTransport, sink: socket.socket, data: bytes) -> int | None:
    """Send it there and back; when it came, if the kernel said so."""
    await transport.send(data, address_of(sink), None)
    sink.sendto(*sink.recvfrom(100))
    batch = await transport.receive()
    while not batch.datagrams:
        batch = await transport.receive()
    return batch.datagrams[0].ancillary.arrived


async def stamping_begun(transport: StampingTransport, sink: socket.socket) -> int:
    """How many datagrams it took: the kernel turns its clock on for arrivals some time after the first socket asks."""
    with trio.fail_after(10):
        for sent in itertools.count(1):
            if await echo_once(transport, sink, b"begun?") is not None:
                return sent
    raise AssertionError


@needs_linux
async def test_each_datagram_has_the_times_at_which_it_left_and_came(sink: socket.socket) -> None:
    """Between readings of our own, of the same clock; and each departure is told once."""
    transport = await open_stamping(address_of(sink))
    try:
        begun = await stamping_begun(transport, sink)
        for number in range(begun, begun + 5):
            before = time.time_ns()
            came = await echo_once(transport, sink, b"x" * number)
            after = time.time_ns()
            left = transport.take_departure(number)
            assert left is not None
            assert came is not None
            assert before <= left <= came <= after
            assert transport.take_departure(number) is None
    finally:
        transport.close()


@needs_linux
async def test_departures_wake_nobody_with_nothing(sink: socket.socket) -> None:
    """A batch that was waited for is never empty, whatever the error queue says."""
    transport = await open_stamping(address_of(sink))
    try:
        await transport.send(b"x", address_of(sink), None)
        with trio.move_on_after(0.01) as scope:
            await transport.receive()
        assert scope.cancelled_caught
        assert transport.take_departure(0) is not None
    finally:
        transport.close()


@needs_linux
async def test_after_an_error_the_count_begins_anew(sink: socket.socket) -> None:
    """An error may have been counted by the kernel, or not; the next datagram has its own time all the same."""
    peer = address_of(sink)
    transport = await open_stamping(peer)
    try:
        await transport.send(b"first", peer, None)
        with pytest.raises(OSError, match=r"(?i)too long"):
            await transport.send(bytes(70_000), peer, None)
        before = time.time_ns()
        await transport.send(b"second", peer, None)
        await transport.receive(may_wait=False)
        first, second = transport.take_departure(0), transport.take_departure(1)
        assert first is not None
        assert second is not None
        assert first <= before <= second
    finally:
        transport.close()


@needs_linux
async def test_an_icmp_error_that_a_send_comes_upon_is_heard_too(sink: socket.socket) -> None:
    """Each once: the send has to empty the queue before the count begins anew, and what it finds there is no waste."""
    dead = address_of(sink)
    sink.close()
    transport = await open_stamping(dead)
    try:
        await transport.send(b"one", dead, None)
        with pytest.raises(ConnectionRefusedError):
            await transport.send(b"two", dead, None)
        await transport.send(b"three", dead, None)
        hints = (await transport.receive()).hints
        assert [hint.quote for hint in hints] == [b"one", b"three"]
    finally:
        transport.close()


@needs_linux
async def test_icmp_errors_are_still_heard(sink: socket.socket) -> None:
    """They come through the same queue (G5)."""
    dead = address_of(sink)
    sink.close()
    transport = await open_stamping(dead)
    try:
        await transport.send(b"anybody?", dead, None)
        hints = (await transport.receive()).hints
        assert [(hint.peer, hint.quote, hint.error) for hint in hints] == [(dead, b"anybody?", "ECONNREFUSED")]
        assert transport.take_departure(0) is not None
    finally:
        transport.close()


@needs_linux
async def test_departures_that_nobody_asks_for_are_bounded(
    sink: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest are forgotten."""
    monkeypatch.setattr("trio_udp._net._stamps._KEPT", 2)
    peer = address_of(sink)
    transport = await open_stamping(peer)
    try:
        for _ in range(4):
            await transport.send(b"x", peer, None)
        await transport.receive(may_wait=False)
        assert [transport.take_departure(number) is None for number in range(4)] == [True, True, False, False]
    finally:
        transport.close()


async def test_without_the_kernels_help_there_are_no_times_and_all_else_works(
    sink: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another system."""
    monkeypatch.setattr(_ancillary, "IS_LINUX", False)
    peer = address_of(sink)
    transport = await open_stamping(peer)
    try:
        await transport.send(b"x", peer, None)
        with pytest.raises(OSError, match=r"(?i)too long"):
            await transport.send(bytes(70_000), peer, None)
        data, sender = sink.recvfrom(100)
        sink.sendto(data, sender)
        batch = await transport.receive()
        assert [(datagram.data, datagram.ancillary.arrived) for datagram in batch.datagrams] == [(b"x", None)]
        assert transport.take_departure(0) is None
    finally:
        transport.close()


@needs_linux
@pytest.mark.parametrize("network", ["kernel", "portable"])
async def test_a_server_learns_when_datagrams_came_once_it_asks(network: str) -> None:
    """Before, and on other sockets, it is not told."""
    async with installed(network):  # type: ignore[arg-type]  # one of the names
        with plain_socket() as sender:
            sock = trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            await sock.bind(("127.0.0.1", 0))
            transport = open_transport(sock)
            there = transport.socket.getsockname()
            try:
                sender.sendto(b"before", there)
                assert (await transport.receive()).datagrams[0].ancillary == NOTHING
                transport.stamp_arrivals()
                before = time.time_ns()
                sender.sendto(b"after", there)
                arrived = (await transport.receive()).datagrams[0].ancillary.arrived
                assert arrived is not None
                assert before <= arrived <= time.time_ns()
                assert transport.take_departure(0) is None
            finally:
                transport.close()


@needs_linux
@pytest.mark.parametrize("network", ["kernel", "portable"])
@pytest.mark.parametrize("source", [None, "127.0.0.1"])
async def test_a_server_learns_when_one_answer_left(network: str, source: str | None) -> None:
    """Once it asks for times, and only of what it asks about; after an error, too."""
    async with installed(network):  # type: ignore[arg-type]  # one of the names
        with plain_socket() as sink:
            peer = address_of(sink)
            transport = open_transport(await open_server_socket(Address("127.0.0.1", 0)))
            try:
                assert await transport.send_stamped(b"too soon", peer, source) is None
                transport.stamp_arrivals()
                for data in (b"one", b"two"):
                    await transport.send(b"not asked about", peer, source)
                    before = time.time_ns()
                    left = await transport.send_stamped(data, peer, source)
                    assert left is not None
                    assert before <= left <= time.time_ns()
                with pytest.raises(OSError, match=r"(?i)too long"):
                    await transport.send_stamped(bytes(70_000), peer, source)
                assert await transport.send_stamped(b"three", peer, source) is not None
                with trio.move_on_after(0.01) as scope:
                    await transport.receive()
                assert scope.cancelled_caught  # nothing is left that would wake it
            finally:
                transport.close()
            with pytest.raises(trio.ClosedResourceError):
                await transport.send_stamped(b"four", peer, source)
            assert [sink.recv(100) for _ in range(6)] == [
                b"too soon", b"not asked about", b"one", b"not asked about", b"two", b"three"
            ]  # fmt: skip


@needs_linux
async def test_a_departure_that_is_told_late_is_nobody_elses() -> None:
    """The kernel may say it when it likes: then it is not known."""
    with plain_socket() as sink:
        transport = open_transport(await open_server_socket(Address("127.0.0.1", 0)))
        assert isinstance(transport, PortableTransport)
        try:
            transport.stamp_arrivals()
            transport._stamped = 7  # as if seven others had not been told of yet
            assert await transport.send_stamped(b"x", address_of(sink), None) is None
        finally:
            transport.close()


def control_message(level: int, kind: int, data: bytes) -> bytes:
    """As the kernel lays it out."""
    return struct.pack("@Nii", 16 + len(data), level, kind) + data.ljust(-(-len(data) // 8) * 8, b"\0")


@given(st.integers(0, 2**33), st.integers(0, 999_999_999), st.booleans())
def test_a_time_in_front_of_other_control_messages_is_read(seconds: int, nanoseconds: int, has_ttl: bool) -> None:
    """And the rest is read as without it."""
    rest = control_message(socket.IPPROTO_IP, _ancillary.IP_TTL, struct.pack("=i", 64)) if has_ttl else b""
    times = TIMESPEC.pack(seconds, nanoseconds) + bytes(32)
    stamp = control_message(socket.SOL_SOCKET, _ancillary.SO_TIMESTAMPING, times)
    ancillary, size = read_control(rest)
    expected = ancillary._replace(arrived=seconds * 10**9 + nanoseconds or None)
    assert read_stamped_control(stamp + rest) == (expected, size)
    assert read_stamped_control(rest) == (ancillary, size)


def test_no_time_is_none() -> None:
    """The kernel leaves zeros where it has none."""
    assert read_time(bytes(48)) is None
    assert read_time(TIMESPEC.pack(1, 2) + bytes(32)) == 1_000_000_002


@pytest.mark.parametrize("kind", [(socket.IPPROTO_IP, 11), (socket.IPPROTO_IPV6, 25)])
def test_a_departure_is_told_from_an_icmp_error(kind: tuple[int, int]) -> None:
    """By its origin."""
    stamp = (socket.SOL_SOCKET, _ancillary.SO_TIMESTAMPING, TIMESPEC.pack(5, 6) + bytes(32))
    number = ERROR.pack(errno.ENOMSG, 4, 0, 0, 0, 0, 77)
    assert read_departure([stamp, (*kind, number)]) == Departure(77, 5_000_000_006)
    assert read_departure([(*kind, number)]) == Departure(77, None)
    assert read_departure([stamp, (*kind, ERROR.pack(errno.ECONNREFUSED, 2, 3, 3, 0, 0, 77))]) is None
    assert read_departure([(*kind, number[:8])]) is None
