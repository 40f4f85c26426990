"""`check_client`: a careful client passes, each flaw is found under its name, and every case is failed by some flaw."""

# ruff: noqa: D101, D102 - a flaw is named by its class, and its methods are those of the careful one

import os
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

import pytest
import trio

import trio_udp
from trio_udp.proto import Book
from trio_udp.testing import CaseResult, NotConformant, NotSimulated, Report, check_client
from trio_udp.testing._client_cases import CLIENT_CASES

from ..networks import reply_to

Flawed = Callable[[str, int], Awaitable[object]]


# A format as small as can be: an id, a mark for the direction, a length, a text.

ID: Final = 4


def answer(request: bytes, text: bytes = b"noon") -> bytes:
    """What the honest server says."""
    return request[:ID] + b"!" + bytes([len(text)]) + text


def forge(request: bytes) -> bytes:
    """What a forger says."""
    return answer(request, b"midnight")


class Careful:
    """A client that does everything right. Each flaw is a subclass that does one thing otherwise."""

    attempts = 4

    def __init__(self) -> None:
        self.calls = 0

    def new_id(self) -> bytes:
        """What a forger has to guess."""
        return os.urandom(ID)

    async def open(self, host: str, port: int) -> trio.socket.SocketType:
        """A socket for one request."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = trio.socket.socket(family, socket.SOCK_DGRAM)
        await sock.bind(("", 0))
        return sock

    def close(self, sock: trio.socket.SocketType) -> None:
        """Whatever happens, at the end of the request."""
        sock.close()

    def is_from_server(self, source: Any, host: str, port: int) -> bool:
        """Whether to look at a datagram at all."""
        return tuple(source[:2]) == (host, port)

    def is_mine(self, data: bytes, number: bytes) -> bool:
        """Whether it has the right id."""
        return data[:ID] == number

    def is_whole(self, data: bytes) -> bool:
        """Whether it is as long as it says."""
        return len(data) > ID + 1 and len(data) == ID + 2 + data[ID + 1]

    def is_answer(self, data: bytes) -> bool:
        """Whether it is no request."""
        return data[ID : ID + 1] == b"!"

    def look_at(self, data: bytes) -> None:
        """See each datagram first, for flaws that die of some."""

    async def wait_for_answer(self, sock: trio.socket.SocketType, number: bytes, host: str, port: int) -> bytes:
        """The text of the answer to this request."""
        while True:
            data, source = await sock.recvfrom(65_535)
            self.look_at(data)
            checks = self.is_from_server(source, host, port), self.is_mine(data, number), self.is_answer(data)
            if all(checks) and self.is_whole(data):
                return bytes(data[ID + 2 :])

    async def __call__(self, host: str, port: int) -> bytes:
        """Ask once."""
        self.calls += 1
        number = self.new_id()
        sock = await self.open(host, port)
        try:
            for attempt in range(self.attempts):
                await sock.sendto(number + b"?time", (host, port))
                with trio.move_on_after(2**attempt):
                    return await self.wait_for_answer(sock, number, host, port)
            raise trio.TooSlowError
        finally:
            self.close(sock)


class TakesAnyHost(Careful):
    def is_from_server(self, source: Any, host: str, port: int) -> bool:
        return bool(source[1] == port)


class TakesAnyPort(Careful):
    def is_from_server(self, source: Any, host: str, port: int) -> bool:
        return bool(source[0] == host)


class DiesOfStrangers(Careful):
    def is_from_server(self, source: Any, host: str, port: int) -> bool:
        assert source[:2] == (host, port)
        return True


class TakesAnyId(Careful):
    def is_mine(self, data: bytes, number: bytes) -> bool:
        return True


class HasOneId(Careful):
    def new_id(self) -> bytes:
        return b"same"


class Counts(Careful):
    def new_id(self) -> bytes:
        return (500_000 + self.calls).to_bytes(ID)


class HasOnePort(Careful):
    async def open(self, host: str, port: int) -> trio.socket.SocketType:
        sock = trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        await sock.bind(("", 5000))
        return sock


class TakesLateAnswers(TakesAnyId, HasOnePort):
    """Without an id the port is all that tells requests apart."""


class DiesOf(Careful):
    """Of one kind of junk."""

    def __init__(self, is_deadly: Callable[[bytes], bool]) -> None:
        super().__init__()
        self.is_deadly = is_deadly

    def look_at(self, data: bytes) -> None:
        assert not self.is_deadly(data)


class TakesRequests(Careful):
    def is_answer(self, data: bytes) -> bool:
        return True

    def is_whole(self, data: bytes) -> bool:
        return super().is_whole(data) or data[ID:] == b"?time"


class TakesHalves(Careful):
    def is_whole(self, data: bytes) -> bool:
        return len(data) > ID + 2


class HearsErrors(Careful):
    async def open(self, host: str, port: int) -> trio.socket.SocketType:
        sock = await super().open(host, port)
        sock.setsockopt(socket.IPPROTO_IP, 11, 1)  # IP_RECVERR
        return sock


class Connects(Careful):
    async def open(self, host: str, port: int) -> trio.socket.SocketType:
        sock = await super().open(host, port)
        await sock.connect((host, port))
        return sock


class AsksOnce(Careful):
    attempts = 1


class DiesOfOldAnswers(Careful):
    """Keeps its socket for the next request."""

    kept: tuple[trio.lowlevel.TrioToken, trio.socket.SocketType] | None = None

    async def open(self, host: str, port: int) -> trio.socket.SocketType:
        token = trio.lowlevel.current_trio_token()
        if self.kept is None or self.kept[0] is not token:
            self.kept = token, await super().open(host, port)
        return self.kept[1]

    def close(self, sock: trio.socket.SocketType) -> None:
        pass

    def is_mine(self, data: bytes, number: bytes) -> bool:
        assert not (self.is_answer(data) and self.is_whole(data)) or super().is_mine(data, number)
        return super().is_mine(data, number)


class NeverEnds(Careful):
    attempts = 2

    async def __call__(self, host: str, port: int) -> bytes:
        while True:
            try:
                return await super().__call__(host, port)
            except trio.TooSlowError:
                await trio.sleep(60)


class AsksAgainAtJunk(Careful):
    async def wait_for_answer(self, sock: trio.socket.SocketType, number: bytes, host: str, port: int) -> bytes:
        while True:
            data, source = await sock.recvfrom(65_535)
            if data == answer(number) and self.is_from_server(source, host, port):
                return b"noon"
            await sock.sendto(number + b"?time", (host, port))


class SwallowsCancellation(Careful):
    async def __call__(self, host: str, port: int) -> bytes:
        try:
            return await super().__call__(host, port)
        except trio.Cancelled:
            return b""


class SaysGoodbye(Careful):
    async def __call__(self, host: str, port: int) -> bytes:
        try:
            return await super().__call__(host, port)
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(1)


class ForgetsToClose(Careful):
    def close(self, sock: trio.socket.SocketType) -> None:
        pass


RECOGNISED: Final = {"answer_from_another_host", "answer_from_another_port"}
DEADLY_ICMP: Final = {"icmp_port_unreachable", "icmp_prohibited", "icmp_fragmentation_needed"}
LOSSES: Final = {"first_request_lost", "first_answer_lost", "server_comes_up_later"}

FLAWS: Final[dict[str, tuple[Callable[[], Careful], set[str]]]] = {
    "takes any host": (TakesAnyHost, {"answer_from_another_host"}),
    "takes any port": (TakesAnyPort, {"answer_from_another_port"}),
    "dies of strangers": (DiesOfStrangers, {*RECOGNISED, "junk_from_a_stranger"}),
    "takes any id": (TakesAnyId, {"answer_to_another_request"}),
    "has one id": (HasOneId, {"answer_to_another_request", "id_is_predictable"}),
    "counts": (Counts, {"id_is_predictable"}),
    "has one port": (HasOnePort, {"port_is_predictable"}),
    "takes late answers": (TakesLateAnswers, {"answer_to_another_request", "late_answer", "port_is_predictable"}),
    "dies of nothing": (
        lambda: DiesOf(lambda data: not data),
        {"junk_empty", "junk_from_a_stranger", "flood_of_junk"},
    ),
    "dies of one byte": (lambda: DiesOf(b"\x80".__eq__), {"junk_one_byte", "junk_from_a_stranger"}),
    "dies of text": (lambda: DiesOf(b"FAKE".__eq__), {"junk_text", "junk_from_a_stranger"}),
    "dies of much": (lambda: DiesOf(lambda data: len(data) > 9000), {"junk_huge", "junk_from_a_stranger"}),
    "takes requests": (TakesRequests, {"junk_echo"}),
    "takes halves": (TakesHalves, {"truncated_answer"}),
    "hears errors": (
        HearsErrors,
        {*DEADLY_ICMP, "icmp_host_unreachable", "icmp_network_unreachable", "server_comes_up_later"},
    ),
    "connects": (Connects, {*DEADLY_ICMP, "server_comes_up_later"}),
    "asks once": (AsksOnce, LOSSES),
    "dies of old answers": (
        DiesOfOldAnswers,
        {"answer_twice", "answer_to_another_request", "late_answer", "port_is_predictable"},
    ),
    "never ends": (NeverEnds, {"silence"}),
    "asks again at junk": (AsksAgainAtJunk, {"storm"}),
    "swallows cancellation": (SwallowsCancellation, {"cancelled"}),
    "says goodbye": (SaysGoodbye, {"cancelled"}),
    "forgets to close": (ForgetsToClose, {"cancelled"}),
}


def check(client: Flawed, **options: Any) -> Report:
    """Check a client of the small format."""
    return check_client(client, answer=answer, forge=forge, **options)


@pytest.mark.parametrize("host", ["192.0.2.80", "2001:db8::80"])
@pytest.mark.parametrize("seed", range(3))
def test_a_careful_client_passes(seed: int, host: str) -> None:
    """All cases, over both versions of IP, whatever the seed."""
    report = check(Careful(), seed=seed, host=host)
    assert report.passed == ("undisturbed", *(case.name for case in CLIENT_CASES))


@pytest.mark.parametrize("name", FLAWS)
def test_a_flaw_is_found_under_its_name(name: str) -> None:
    """Each flaw fails its cases and no others."""
    make, expected = FLAWS[name]
    report = check(make(), known=expected)
    assert set(report.failed) == expected


def test_every_case_is_failed_by_some_flaw() -> None:
    """A case that nothing fails would check nothing."""
    assert {name for _, names in FLAWS.values() for name in names} == {case.name for case in CLIENT_CASES}


@pytest.mark.parametrize("connect", [True, False])
@pytest.mark.parametrize("host", ["192.0.2.80", "2001:db8::80"])
def test_our_own_client_passes(host: str, connect: bool) -> None:
    """A1, A2, A3, G5: with the format of its own it passes every case."""

    async def ask(host: str, port: int) -> bytes:
        async with trio_udp.open_client(host, port, connect=connect) as client:
            return await client.request(b"What time is it?")

    report = check_client(
        ask,
        answer=partial(reply_to, payload=b"noon"),
        forge=partial(reply_to, payload=b"midnight"),
        host=host,
    )
    assert report["storm"].happened == "5 transmissions"  # C4


def test_one_client_for_all_requests_keeps_its_port() -> None:
    """What tells its requests apart are their ids; its port is the price of one socket for all."""
    clients: dict[trio.lowlevel.TrioToken, tuple[trio_udp.Client, object]] = {}

    async def ask(host: str, port: int) -> bytes:
        token = trio.lowlevel.current_trio_token()
        if token not in clients:
            opened = trio_udp.open_client(host, port)
            clients[token] = await opened.__aenter__(), opened
        return await clients[token][0].request(b"What time is it?")

    check_client(
        ask,
        answer=partial(reply_to, payload=b"noon"),
        forge=partial(reply_to, payload=b"midnight"),
        known={"port_is_predictable"},
    )


def test_the_book_profile_fails_where_its_format_has_nothing_to_check() -> None:
    """Verified: weak. Any text from the server's address is believed, and there is no id."""

    async def ask(host: str, port: int) -> bytes:
        async with trio_udp.open_client(host, port, profile=Book()) as client:
            return await client.request(b"What time is it?")

    believed = {"junk_empty", "junk_text", "junk_echo", "flood_of_junk", "truncated_answer"}
    check_client(
        ask,
        answer=lambda request: b"Your data was 16 bytes long",
        forge=lambda request: b"FAKE",
        known={*believed, "answer_to_another_request", "id_is_predictable"},
    )


def test_what_fails_undisturbed_is_reported_alone() -> None:
    """There is nothing to compare the other cases with, and no list of known failures helps."""

    async def fail(host: str, port: int) -> None:
        raise ValueError("wrong port")

    with pytest.raises(NotConformant) as caught:
        check(fail, known={"silence"})
    assert caught.value.report.failed == ("undisturbed",)
    assert caught.value.report["undisturbed"].happened == "raised ValueError: wrong port"


def test_a_client_that_cannot_be_ended_is_ended() -> None:
    """The suite does not hang, whatever hangs."""

    class Shields(Careful):
        async def wait_for_answer(self, sock: Any, number: bytes, host: str, port: int) -> bytes:
            with trio.CancelScope(shield=True):
                return await super().wait_for_answer(sock, number, host, port)
            raise AssertionError("unreachable: a scope that nobody cancels")

    with pytest.raises(NotConformant) as caught:
        check(Shields(), ends_within=1)
    assert {"silence", "cancelled"} <= set(caught.value.report.failed)


def test_a_client_that_sends_without_end_is_stopped() -> None:
    """No time passes while it sends, so no time limit ends it."""

    async def flood(host: str, port: int) -> None:
        with trio.socket.socket(type=socket.SOCK_DGRAM) as sock:
            while True:
                await sock.sendto(b"", (host, port))

    with pytest.raises(NotConformant) as caught:
        check(flood)
    assert caught.value.report["undisturbed"].happened == "sent more than 1000 datagrams"


def test_a_forgery_that_looks_like_the_answer_is_refused() -> None:
    """It would make every case pass."""
    with pytest.raises(ValueError, match="tell from the honest one"):
        check_client(Careful(), answer=answer, forge=answer)


@pytest.mark.parametrize("known", ["silence", ["silense"]])
def test_a_known_failure_has_to_be_a_case(known: Any) -> None:
    """A slip in the list is an error, and so is one name where several are expected."""
    with pytest.raises(ValueError, match="expected"):
        check(Careful(), known=known)


def test_what_is_not_simulated_is_no_verdict_on_the_client() -> None:
    """It comes out as it is, from whatever nursery."""

    async def multicast(host: str, port: int) -> None:
        async with trio.open_nursery():
            with trio.socket.socket(type=socket.SOCK_DGRAM) as sock:
                await sock.sendto(b"", ("224.0.0.251", 5353))

    with pytest.raises(NotSimulated, match="multicast"):
        check(multicast)


def test_equal_seeds_give_equal_reports() -> None:
    """Down to the packets, for a client that draws from nowhere else."""

    def reports(seed: int) -> tuple[CaseResult, ...]:
        with pytest.raises(NotConformant) as caught:
            check(HasOneId(), seed=seed)
        return caught.value.report.results

    assert reports(1) == reports(1)
    assert reports(1) != reports(2)
