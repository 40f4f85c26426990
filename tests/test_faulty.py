"""Faults where the socket is: whoever uses `trio.socket` knows nothing of them, and what they say is what happened."""

import errno
import functools
import math
import socket
from contextlib import closing
from random import Random
from typing import Any, Final

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

import trio_udp
from trio_udp import RetryPolicy
from trio_udp.testing import (
    DROP,
    Conditions,
    FaultySockets,
    Packet,
    Passage,
    Rule,
    SimNet,
    Verdict,
    by_number,
    copies,
    delay,
    faulty_sockets,
    flip_bit,
    refuse,
    replace,
    simulate,
)
from trio_udp.testing.strategies import conditions

from .networks import (
    address_of,
    descriptors,
    echo,
    network_fixture,  # noqa: F401 - pytest finds it by its name, network
    next_datagram,
    plain_socket,
    read_all,
    serving,
)

SCRIPT: Final[Rule] = by_number(
    {1: DROP, 2: copies(2), 3: delay(1.0), 5: lambda packet: replace(flip_bit(packet.data, 1))}
)


async def bound(host: str = "127.0.0.1") -> trio.socket.SocketType:
    """A UDP socket of whatever factory is installed."""
    sock = trio.socket.socket(type=socket.SOCK_DGRAM)
    await sock.bind((host, 0))
    return sock


def left(passages: list[Passage], direction: str) -> list[bytes]:
    """What they say has left in this direction, in order."""
    made = [copy for passage in passages if passage.direction == direction for copy in passage.copies]
    return [data for _, data in sorted((copy.order, copy.data) for copy in made if copy.order is not None)]


# What it says is what happened


@settings(max_examples=50)
@given(
    sending=conditions(corrupt=0.3),
    receiving=conditions(corrupt=0.3),
    gaps=st.lists(st.floats(0, 0.1), max_size=25),
    seed=st.integers(0, 99),
    limit=st.sampled_from([2, 1_000]),
)
def test_what_they_say_is_what_happened(
    sending: Conditions, receiving: Conditions, gaps: list[float], seed: int, limit: int
) -> None:
    """Every byte, in both directions; and the same again for the same seed."""
    runs = []
    for _ in range(2):

        async def main(net: SimNet) -> tuple[list[Passage], list[bytes], list[bytes], FaultySockets]:
            passages: list[Passage] = []
            here, there = [], []
            stranger = await bound()
            async with trio.open_nursery() as nursery:
                faults: dict[str, Any] = {
                    "sending": [sending.rule(Random(seed))],
                    "receiving": [receiving.rule(Random(seed + 1))],
                }
                with faulty_sockets(nursery, **faults, on_passage=passages.append, most_waiting=limit) as made:
                    sock = await bound()

                    async def answer() -> None:
                        while True:
                            data, peer = await stranger.recvfrom(1500)
                            there.append(data)
                            await stranger.sendto(data, peer)

                    async def read() -> None:
                        while True:
                            here.append(await sock.recv(1500))

                    nursery.start_soon(answer)
                    nursery.start_soon(read)
                    for number, gap in enumerate(gaps):
                        await trio.sleep(gap)
                        await sock.sendto(str(number).encode(), stranger.getsockname())
                    await trio.sleep(60)
                    nursery.cancel_scope.cancel()
            return passages, here, there, made

        runs.append(simulate(main, seed=seed))
    passages, here, there, made = runs[0]
    assert left(passages, "sending") == there
    assert left(passages, "receiving") == here
    assert made.sending.received == len(gaps)
    assert made.sending.sent == made.receiving.received == len(there)
    assert made.receiving.sent == len(here)
    assert made.sending.waiting == made.receiving.waiting == 0
    assert passages == runs[1][0]


async def test_a_script_for_what_is_sent(network: str, autojump_clock: object) -> None:
    """What is late leaves by itself, while nobody calls the socket."""
    with plain_socket() as server:
        async with trio.open_nursery() as nursery:
            with faulty_sockets(nursery, sending=[SCRIPT]) as made, await bound() as sock:
                for number in range(1, 6):
                    assert await sock.sendto(str(number).encode(), tuple(address_of(server))) == 1
                await trio.sleep(2)
                assert read_all(server) == [b"2", b"2", b"4", b"7", b"3"]
            assert len(nursery.child_tasks) == 0
    found = made.sending
    assert (found.dropped, found.duplicated, found.delayed, found.corrupted, found.reordered) == (1, 1, 1, 1, 1)
    assert made.receiving.received == 0


async def test_a_script_for_what_is_received(network: str, autojump_clock: object) -> None:
    """What is late is waited for, and cancelling that loses nothing."""
    with plain_socket() as server:
        async with trio.open_nursery() as nursery:
            with faulty_sockets(nursery, receiving=[SCRIPT]) as made, await bound() as sock:
                for number in range(1, 6):
                    server.sendto(str(number).encode(), sock.getsockname())
                received = [await sock.recv(1500) for _ in range(4)]
                with trio.move_on_after(0.5) as scope:
                    received.append(await sock.recv(1500))
                assert scope.cancelled_caught
                received.append(await sock.recv(1500))
                assert received == [b"2", b"2", b"4", b"7", b"3"]
    assert made.receiving.delayed == made.receiving.reordered == 1


@pytest.mark.parametrize("faulty", ["client", "server"])
async def test_clients_and_servers_know_nothing_of_it(network: str, faulty: str, autojump_clock: object) -> None:
    """Everything bad at once, on either side, and every request is answered."""
    said = Conditions(loss=0.1, duplicate=0.1, reorder=0.1, corrupt=0.05, latency=0.01, jitter=0.02)
    rules: dict[str, Any] = {"sending": [said.rule(Random(1))], "receiving": [said.rule(Random(2))]}
    opened = descriptors()
    async with trio.open_nursery() as nursery, trio.open_nursery() as late:
        if faulty == "server":
            with faulty_sockets(late, **rules) as made:
                server = await nursery.start(functools.partial(trio_udp.serve, echo, 0, host="127.0.0.1"))
                await ask_often(server)
        else:
            server = await nursery.start(functools.partial(trio_udp.serve, echo, 0, host="127.0.0.1"))
            with faulty_sockets(late, **rules) as made:
                await ask_often(server)
        nursery.cancel_scope.cancel()
    for counted in (made.sending, made.receiving):
        assert min(counted.dropped, counted.duplicated, counted.delayed, counted.corrupted) > 0
    assert descriptors() == opened


async def ask_often(server: trio_udp.Server) -> None:
    """100 requests; a bit that is flipped in a payload is not noticed without a key, so their lengths are compared."""
    async with trio_udp.open_client(*server.address, policy=RetryPolicy(attempts=20)) as client:
        for number in range(100):
            assert len(await client.request(bytes(number))) == number


async def test_replies_leave_from_the_address_that_was_asked(network: str, autojump_clock: object) -> None:
    """What comes with a datagram comes with it through the faults too: E6."""
    async with trio.open_nursery() as nursery:
        with faulty_sockets(nursery, sending=[late], receiving=[late]):
            everywhere = serving(echo, host="0.0.0.0")  # noqa: S104 - that is the point
            async with everywhere as server, trio_udp.open_client("127.0.0.2", server.address.port) as client:
                assert await client.request(b"hello") == b"hello"


def late(packet: Packet) -> Verdict:
    """A rule: everything takes a while."""
    return delay(0.01)


def never(packet: Packet) -> Verdict:
    """A rule: everything takes longer than anybody waits."""
    return delay(1000.0)


def change(packet: Packet) -> Verdict:
    """A rule: everything is put in brackets."""
    return replace(b"<" + packet.data + b">")


# One by one


async def test_errors_of_a_call_are_raised_by_it(network: str, autojump_clock: object) -> None:
    """Those of a verdict, and those of the socket; what fails later is counted."""
    script = by_number({1: refuse(errno.ENOBUFS), 3: delay(1.0)})
    async with trio.open_nursery() as nursery:
        with faulty_sockets(nursery, sending=[script]) as made, await bound() as sock:
            with pytest.raises(OSError, match="refused") as refused:
                await sock.sendto(b"1", ("127.0.0.1", 9))
            assert refused.value.errno == errno.ENOBUFS
            for number in (2, 3):
                data = bytes(70_000)
                if number == 2:
                    with pytest.raises(OSError, match="too long"):
                        await sock.sendto(data, ("127.0.0.1", 9))
                else:
                    await sock.sendto(data, ("127.0.0.1", 9))
            await trio.sleep(2)
    assert made.sending.reasons == {"refused": 1, "EMSGSIZE": 2}


async def test_what_waits_when_a_socket_is_closed_is_lost(network: str, autojump_clock: object) -> None:
    """And its task ends at once, with the nursery."""
    async with trio.open_nursery() as nursery:
        with faulty_sockets(nursery, sending=[never], receiving=[never]) as made, plain_socket() as server:
            sock = await bound()
            await sock.sendto(b"there", tuple(address_of(server)))
            server.sendto(b"back", sock.getsockname())
            with trio.move_on_after(1):
                await sock.recv(1500)
            sock.close()
    assert trio.current_time() < 100
    assert made.sending.reasons == made.receiving.reasons == {"closed": 1}


async def test_the_end_of_the_block_is_the_end_of_the_faults(network: str, autojump_clock: object) -> None:
    """New sockets have none; what waits is lost."""
    async with trio.open_nursery() as nursery:
        with plain_socket() as server:
            with faulty_sockets(nursery, sending=[never]) as made:
                sock = await bound()
                await sock.sendto(b"late", tuple(address_of(server)))
            with closing(await bound()) as other, closing(sock):
                await other.sendto(b"at once", tuple(address_of(server)))
                await wait_all_tasks_blocked()
                assert read_all(server) == [b"at once"]
    assert made.sending.reasons == {"closed": 1}


async def test_an_earlier_copy_does_not_wait_for_a_later_one(network: str, autojump_clock: object) -> None:
    """The task that carries them is told."""
    script = by_number({1: delay(2.0), 2: delay(1.0)})
    async with trio.open_nursery() as nursery:
        with plain_socket() as server, faulty_sockets(nursery, sending=[script]), await bound() as sock:
            began = trio.current_time()
            for number in (b"1", b"2"):
                await sock.sendto(number, tuple(address_of(server)))
            for expected, at in ((b"2", 1.0), (b"1", 2.0)):
                assert (await next_datagram(server))[0] == expected
                assert trio.current_time() - began == pytest.approx(at)


async def test_no_more_waits_than_was_allowed(network: str, autojump_clock: object) -> None:
    """The others are lost and counted, and one task carries them all."""
    async with trio.open_nursery() as nursery:
        with (
            plain_socket() as server,
            faulty_sockets(nursery, sending=[late], most_waiting=3) as made,
            await bound() as sock,
        ):
            for _ in range(10):
                await sock.sendto(b"", tuple(address_of(server)))
            assert len(nursery.child_tasks) == 1
            await trio.sleep(2)
            assert len(read_all(server)) == 3
    assert made.sending.reasons == {"overflow": 7}
    with pytest.raises(ValueError, match="expected most_waiting to be at least 1, got 0"):
        faulty_sockets(nursery, most_waiting=0).__enter__()


async def test_every_way_to_send_and_to_receive_has_the_faults(network: str, autojump_clock: object) -> None:
    """And gives what Trio's gives."""
    async with trio.open_nursery() as nursery:
        with (
            plain_socket() as server,
            faulty_sockets(nursery, sending=[change], receiving=[change]),
            await bound() as sock,
        ):
            here, there = sock.getsockname(), tuple(address_of(server))
            assert await sock.sendto(b"1", there) == 1
            assert await sock.sendto(b"2", 0, there) == 1
            assert await sock.sendmsg([b"3", bytearray(b"4")], [], 0, there) == 2
            await sock.connect(there)
            assert await sock.send(memoryview(b"5")) == 1
            await wait_all_tasks_blocked()
            assert read_all(server) == [b"<1>", b"<2>", b"<34>", b"<5>"]
            assert not sock.is_readable()
            for _ in range(6):
                server.sendto(b"data", here)
            assert sock.is_readable()
            buffer = bytearray(10)
            assert await sock.recv(1500) == b"<data>"
            assert await sock.recvfrom(1500) == (b"<data>", there)
            assert await sock.recv_into(buffer) == 6
            assert await sock.recvfrom_into(buffer, 3) == (3, there)
            assert buffer == b"<data>\0\0\0\0"
            data, _, flags, address = await sock.recvmsg(2, 100)
            assert (data, flags & socket.MSG_TRUNC, address) == (b"<d", socket.MSG_TRUNC, there)
            assert (await sock.recvmsg(1500))[:2] == (b"<data>", [])
            for refused in (sock.dup, sock.detach):
                with pytest.raises(NotImplementedError, match="cannot be separated"):
                    refused()
            with pytest.raises(NotImplementedError, match="cannot be peeked into"):
                await sock.recv(1500, socket.MSG_PEEK)


async def test_only_udp_is_faulty() -> None:
    """Others are Trio's own."""
    async with trio.open_nursery() as nursery:
        with faulty_sockets(nursery, sending=[never]):
            for kind in ((socket.AF_INET, socket.SOCK_STREAM), (socket.AF_UNIX, socket.SOCK_DGRAM)):
                with trio.socket.socket(*kind) as sock:
                    assert isinstance(sock, trio.socket.SocketType)


@pytest.mark.parametrize("network", ["factory"], indirect=True)
async def test_a_send_that_is_cancelled_is_a_loss(network: str, autojump_clock: object) -> None:
    """Only a socket that keeps its sender waiting can show it; what was cancelled before it began never came."""
    async with trio.open_nursery() as nursery:
        with faulty_sockets(nursery) as made, await bound() as sock:
            sock._behind.faults.sends.append(trio.Event())  # type: ignore[attr-defined]  # one of ours, of the test kit's
            for deadline in (-math.inf, trio.current_time() + 1):
                with trio.CancelScope(deadline=deadline) as scope:
                    await sock.sendto(b"", ("127.0.0.1", 9))
                assert scope.cancelled_caught
    assert (made.sending.received, made.sending.reasons) == (1, {"cancelled": 1})
