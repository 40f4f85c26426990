"""Adversaries: off the path they guess, on the path they see, alter, replay, delay, swallow and answer first."""

from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from trio_udp.testing import (
    ICMP_KINDS,
    Conditions,
    Host,
    OffPath,
    OnPath,
    SimNet,
    SimSocket,
    any_of,
    any_port,
    drop,
    guess,
    simulate,
    simulated,
)

STRANGER = ("203.0.113.66", 53)


class Scene:
    """A client with a connected socket, a server that echoes in capitals, and another host on the same network."""

    def __init__(self, net: SimNet) -> None:
        self.net = net
        self.client, self.server, self.other = (net.host(name) for name in ("client", "server", "other"))
        self.address = (self.server.addresses[0], 1060)
        self.asked: list[bytes] = []

    async def open(self, host: Host | None = None) -> SimSocket:
        """A client's socket."""
        with (host or self.client).here():
            sock = trio.socket.socket(type=trio.socket.SOCK_DGRAM)
            await sock.connect(self.address)
        assert isinstance(sock, SimSocket)
        return sock

    async def serve(self, task_status: trio.TaskStatus[None]) -> None:
        """Echo in capitals, and note what came."""
        with self.server.here():
            sock = trio.socket.socket(type=trio.socket.SOCK_DGRAM)
        await sock.bind(("0.0.0.0", 1060))  # noqa: S104 - simulated
        task_status.started()
        while True:
            data, peer = await sock.recvfrom(2000)
            self.asked.append(data)
            await sock.sendto(data.upper(), peer)


async def everything(sock: SimSocket, seconds: float = 60.0) -> list[bytes]:
    """What arrives there within a minute."""
    found = []
    with trio.move_on_after(seconds):
        while True:
            found.append(await sock.recv(2000))
    return found


Attack = Callable[[Scene, SimSocket], Any]


def attacked(attack: Attack, *requests: bytes, **options: Any) -> tuple[list[bytes], list[bytes]]:
    """What the client hears and the server was asked when the client asks this, with `attack` around it."""

    async def main(net: SimNet) -> tuple[list[bytes], list[bytes]]:
        net.link(Conditions(latency=0.05))
        scene = Scene(net)
        async with trio.open_nursery() as nursery:
            await nursery.start(scene.serve)
            sock = await scene.open()
            with attack(scene, sock):
                for request in requests:
                    await sock.send(request)
                    await trio.sleep(0.01)
                heard = await everything(sock)
            nursery.cancel_scope.cancel()
        return heard, scene.asked

    return simulate(main, **options)


def spy(scene: Scene) -> OnPath:
    """Somebody between client and server."""
    return OnPath(scene.net, scene.client, scene.server)


# What a forger draws


@given(template=st.binary(max_size=12), first=st.integers(-3, 14), last=st.integers(-3, 14), seed=st.integers(0, 99))
def test_guess_changes_its_fields_and_nothing_else(template: bytes, first: int, last: int, seed: int) -> None:
    """Slices mean what they mean for bytes; what is outside of them stays."""
    field = slice(first, last)
    made = guess(template, field)(Random(seed))
    blank = bytearray(template)
    made_blank = bytearray(made)
    width = len(template[field])
    blank[field] = bytes(width)
    made_blank[field] = bytes(width)
    assert blank == made_blank
    assert made == guess(template, field)(Random(seed))


def test_guesses_cover_all_values() -> None:
    """Every byte of a field, every port of a range, every one of several; and from equal seeds, the same ones."""
    random = Random(1)
    assert len({guess(b"..x", slice(0, 1), slice(1, 2))(random)[:1] for _ in range(5000)}) == 256
    assert {any_port("192.0.2.1", range(7, 10))(random) for _ in range(200)} == {("192.0.2.1", n) for n in (7, 8, 9)}
    assert {any_of(*ICMP_KINDS)(random) for _ in range(200)} == set(ICMP_KINDS)
    host, port = any_port("192.0.2.1")(random)
    assert host == "192.0.2.1"
    assert 1 <= port <= 65_535


def test_impossible_choices_are_refused() -> None:
    """Where they are written."""
    with pytest.raises(ValueError, match="expected something to choose from"):
        any_of()
    for ports in (range(2), range(1, 65_537), range(5, 5)):
        with pytest.raises(ValueError, match="expected ports from 1 to 65535"):
            any_port("192.0.2.1", ports)


# Off the path


@simulated(check_determinism=True)
async def test_off_path_flood_is_bounded_in_count_and_rate(net: SimNet) -> None:
    """So many packets at such a rate, to the microsecond, each drawn anew."""
    sock = trio.socket.socket(type=trio.socket.SOCK_DGRAM)
    await sock.bind(("127.0.0.1", 1060))
    forger = OffPath(net)
    datagram = guess(b"??answer", slice(0, 2))

    def strike() -> None:
        forger.send(datagram, source=any_of(STRANGER, ("198.51.100.7", 7)), to=("127.0.0.1", 1060))

    began = trio.current_time()
    await forger.flood(strike, count=1000, rate=3000)
    assert trio.current_time() - began == pytest.approx(999 / 3000)
    assert forger.sent == 1000
    assert isinstance(sock, SimSocket)
    heard = [sock.kernel.recvfrom(100) for _ in range(100)]
    assert len({data for data, _ in heard}) > 90
    assert {data[2:] for data, _ in heard} == {b"answer"}
    assert {source for _, source in heard} == {STRANGER, ("198.51.100.7", 7)}
    with pytest.raises(ValueError, match="expected a rate above 0 a second, got 0"):
        await forger.flood(strike, count=1, rate=0)


def test_off_path_forger_reaches_a_connected_socket_in_its_peers_name_only() -> None:
    """`connect` keeps strangers out, and no more than that: the source is whatever the forger writes."""

    def attack(scene: Scene, sock: SimSocket) -> Any:
        forger, client = OffPath(scene.net), sock.getsockname()
        forger.send(b"from a stranger", source=STRANGER, to=client)
        forger.send(b"as the server", source=scene.address, to=client)
        forger.send(b"late", source=scene.address, to=client, after=5.0)
        return OnPath(scene.net).watching()

    heard, asked = attacked(attack, b"question")
    assert heard == [b"as the server", b"QUESTION", b"late"]
    assert asked == [b"question"]


@pytest.mark.parametrize(
    ("kind", "expected"), [("port unreachable", 111), ("prohibited", 113), ("fragmentation needed", 90)]
)
def test_off_path_forger_needs_no_packet_for_an_icmp_error(kind: str, expected: int) -> None:
    """The addresses of a connected socket are all that it has to guess; with one wrong, nobody hears of it."""

    async def main(net: SimNet) -> None:
        scene = Scene(net)
        sock = await scene.open()
        client, option = sock.getsockname(), (trio.socket.SOL_SOCKET, trio.socket.SO_ERROR)
        forger = OffPath(net)
        forger.icmp(kind, source=client, destination=STRANGER)
        forger.icmp(kind, source=(client[0], client[1] ^ 1), destination=scene.address)
        assert sock.getsockopt(*option) == 0
        forger.icmp(any_of(kind), source=client, destination=scene.address, quote=b"made up", mtu=1000)
        assert sock.getsockopt(*option) == expected
        assert forger.sent == 3

    simulate(main)


def test_off_path_forger_finds_a_16_bit_id_at_the_rate_of_rfc_5452() -> None:
    """A5: with n guesses of one in 65,536, a fixed id falls with 1 - (1 - 2^-16)^n; here all of 2^16 times four."""
    random = Random(5)
    draw = guess(b"\0\0", slice(0, 2))
    hits = sum(draw(random) == b"\x12\x34" for _ in range(4 * 65_536))
    assert 0 < hits < 20


def test_forger_may_draw_from_a_source_of_its_own() -> None:
    """Then it moves nothing else that is drawn."""

    async def main(net: SimNet, random: Random | None) -> float:
        OffPath(net, random=random).send(guess(b"....", slice(None)), source=STRANGER, to=("127.0.0.1", 9))
        return net.random.random()

    assert simulate(main, Random(9), seed=3) == SimNet(seed=3).random.random() != simulate(main, None, seed=3)


# On the path


@pytest.mark.parametrize(
    ("act", "heard", "asked"),
    [
        (lambda scene: spy(scene).watching(), [b"A", b"B"], [b"a", b"b"]),
        (lambda scene: spy(scene).swallow(), [], []),
        (lambda scene: spy(scene).swallow(source=scene.server), [], [b"a", b"b"]),
        (lambda scene: spy(scene).swallow(source=scene.other), [b"A", b"B"], [b"a", b"b"]),
        (lambda scene: spy(scene).repeat(2, source=scene.client), [b"A", b"A", b"B", b"B"], [b"a", b"a", b"b", b"b"]),
        (lambda scene: spy(scene).repeat(2, apart=1.0, source=scene.client), [b"A", b"B"] * 2, [b"a", b"b"] * 2),
        (lambda scene: spy(scene).alter(lambda data: data + b"!", source=scene.client), [b"A!", b"B!"], [b"a!", b"b!"]),
        (
            lambda scene: spy(scene).answer_first(lambda data: b"FAKE" if data == b"a" else None),
            [b"FAKE", b"A", b"B"],
            [b"a", b"b"],
        ),
        (lambda scene: OnPath(scene.net, scene.client, scene.other).swallow(), [b"A", b"B"], [b"a", b"b"]),
        (lambda scene: OnPath(scene.net, scene.client).swallow(), [], []),
        (lambda scene: OnPath(scene.net).doing(lambda packet: drop("no")), [], []),
    ],
)  # fmt: skip
def test_on_path_adversary_decides_about_what_passes_between_its_places(
    act: Any, heard: list[bytes], asked: list[bytes]
) -> None:
    """And about nothing else. What is altered or delayed arrives at once, or so much later."""
    assert attacked(lambda scene, sock: act(scene), b"a", b"b") == (heard, asked)


@simulated()
async def test_on_path_adversary_delays(net: SimNet) -> None:
    """To the microsecond."""
    scene = Scene(net)
    async with trio.open_nursery() as nursery:
        await nursery.start(scene.serve)
        sock = await scene.open()
        with spy(scene).delay(2.5, source=scene.server):
            await sock.send(b"question")
            assert await sock.recv(100) == b"QUESTION"
        assert trio.current_time() == pytest.approx(2.5)
        nursery.cancel_scope.cancel()


@simulated()
async def test_on_path_adversary_remembers_and_replays(net: SimNet) -> None:
    """What it saw, a bounded number of packets; to either side, with its own bytes if it likes."""
    scene = Scene(net)
    async with trio.open_nursery() as nursery:
        await nursery.start(scene.serve)
        sock, stranger = await scene.open(), await scene.open(scene.other)
        with OnPath(net, scene.client, scene.server, keep=3).watching() as seer:
            await stranger.send(b"unseen")
            for request in (b"a", b"b"):
                await sock.send(request)
                await sock.recv(100)
        await sock.send(b"after the block")
        await sock.recv(100)
        assert [packet.data for packet in seer.seen] == [b"A", b"b", b"B"]
        seer.replay(seer.seen[1])
        seer.replay(seer.seen[2], b"other bytes")
        seer.answer(seer.seen[1], b"in the server's name", after=1.0)
        assert sorted(await everything(sock)) == [b"B", b"in the server's name", b"other bytes"]
        nursery.cancel_scope.cancel()


@simulated()
async def test_acts_nest_and_the_innermost_is_asked_first(net: SimNet) -> None:
    """A packet that two acts of one adversary are asked about was still seen once."""
    scene = Scene(net)
    async with trio.open_nursery() as nursery:
        await nursery.start(scene.serve)
        sock = await scene.open()
        seer = spy(scene)
        with seer.alter(bytes.title), seer.swallow(source=scene.server), seer.watching():
            await sock.send(b"question")
            assert await everything(sock) == []
        assert scene.asked == [b"Question"]
        assert [packet.data for packet in seer.seen] == [b"question", b"QUESTION"]
        nursery.cancel_scope.cancel()


@simulated()
async def test_on_path_adversary_alters_no_icmp_and_answers_none(net: SimNet) -> None:
    """An ICMP error has no payload to alter; swallowing one is possible."""
    scene = Scene(net)
    sock = await scene.open()
    made: list[bytes] = []

    def make(data: bytes) -> None:
        made.append(data)

    seer = spy(scene)
    with seer.alter(lambda data: data + b"!"), seer.answer_first(make):
        await sock.send(b"question")
        await trio.sleep(0)
    assert made == [b"question"]
    with pytest.raises(ConnectionRefusedError):
        await sock.recv(100)
    with seer.swallow(source=scene.server):
        await sock.send(b"question")
    assert await everything(sock) == []
    assert [packet.icmp is not None for packet in seer.seen] == [False, True, False, True]


@given(seed=st.integers(0, 1000))
def test_equal_seeds_give_equal_attacks(seed: int) -> None:
    """The adversary draws from the network's source and from nothing else."""

    async def main(net: SimNet) -> str:
        forger = OffPath(net)
        strike = partial(forger.send, guess(b"....", slice(1, 3)), source=any_port("192.0.2.9"), to=("127.0.0.1", 9))
        await forger.flood(strike, count=5, rate=10)
        return net.trace.digest

    assert simulate(main, seed=seed, check_determinism=True) == simulate(main, seed=seed)
