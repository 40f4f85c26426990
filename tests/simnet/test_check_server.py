"""`check_server`: a careful server passes, each flaw is found under its name, and every case is failed by some flaw."""

# ruff: noqa: D101, D102 - a flaw is named by its class, and its methods are those of the careful one

import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any, Final

import pytest
import trio

import trio_udp
from trio_udp.proto import TU1, Book
from trio_udp.testing import NotConformant, NotSimulated, Report, check_server
from trio_udp.testing._server_cases import SERVER_CASES

from ..networks import echo

REQUEST: Final = b"?time, and some room for the answer"
PKTINFO: Final = (socket.IPPROTO_IP, 8)  # IP_PKTINFO
ANY: Final = "0.0.0.0"  # noqa: S104 - on a simulated host


class Careful:
    """A server that does everything right. Each flaw is a subclass that does one thing otherwise."""

    def answer(self, data: bytes) -> bytes | None:
        """The answer to a datagram, or None."""
        return b"!noon" if data == REQUEST else None

    async def send(self, sock: trio.socket.SocketType, data: bytes, ancillary: Any, peer: Any) -> None:
        """From the address that was asked; what cannot be sent is lost."""
        source = next(content for *_, content in ancillary)[4:8]
        control = [(*PKTINFO, struct.pack("=i4s4s", 0, source, bytes(4)))]
        with contextlib.suppress(OSError):
            await sock.sendmsg([data], control, 0, peer)

    @contextlib.asynccontextmanager
    async def open(self, port: int) -> AsyncIterator[trio.socket.SocketType]:
        """Its socket."""
        with trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setsockopt(*PKTINFO, 1)
            await sock.bind((ANY, port))
            yield sock

    async def __call__(self, port: int, *, task_status: trio.TaskStatus[None]) -> None:
        """Serve."""
        async with self.open(port) as sock:
            task_status.started()
            while True:
                data, ancillary, _, peer = await sock.recvmsg(65_535, 64)
                answer = self.answer(data)
                if answer is not None:
                    await self.send(sock, answer, ancillary, peer)


class AnswersFromAnywhere(Careful):
    async def send(self, sock: trio.socket.SocketType, data: bytes, ancillary: Any, peer: Any) -> None:
        await super().send(sock, data, [(*PKTINFO, bytes(12))], peer)


class AnswersTheNewest(Careful):
    """And forgets who asked before."""

    async def send(self, sock: trio.socket.SocketType, data: bytes, ancillary: Any, peer: Any) -> None:
        while sock.is_readable():
            *_, peer = await sock.recvmsg(65_535, 64)
        await super().send(sock, data, ancillary, peer)


class RemembersTooMuch(Careful):
    """And takes what comes again from one port for answered."""

    def __init__(self) -> None:
        self.peers: set[Any] = set()

    async def send(self, sock: trio.socket.SocketType, data: bytes, ancillary: Any, peer: Any) -> None:
        if (trio.lowlevel.current_task(), peer) not in self.peers:
            self.peers.add((trio.lowlevel.current_task(), peer))
            await super().send(sock, data, ancillary, peer)


class DiesOf(Careful):
    """Of one kind of junk."""

    def __init__(self, is_deadly: Callable[[bytes], bool]) -> None:
        self.is_deadly = is_deadly

    def answer(self, data: bytes) -> bytes | None:
        assert not self.is_deadly(data)
        return super().answer(data)


class DiesOfErrors(Careful):
    """Of those of the calls that send."""

    async def send(self, sock: trio.socket.SocketType, data: bytes, ancillary: Any, peer: Any) -> None:
        source = next(content for *_, content in ancillary)[4:8]
        await sock.sendmsg([data], [(*PKTINFO, struct.pack("=i4s4s", 0, source, bytes(4)))], 0, peer)


class DiesOfPortZero(Careful):
    async def send(self, sock: trio.socket.SocketType, data: bytes, ancillary: Any, peer: Any) -> None:
        assert peer[1]
        await super().send(sock, data, ancillary, peer)


class HearsErrors(Careful):
    @contextlib.asynccontextmanager
    async def open(self, port: int) -> AsyncIterator[trio.socket.SocketType]:
        async with super().open(port) as sock:
            sock.setsockopt(socket.IPPROTO_IP, 11, 1)  # IP_RECVERR
            yield sock


class Slow(Careful):
    """Each answer takes a moment, one after the other."""

    async def send(self, sock: trio.socket.SocketType, data: bytes, ancillary: Any, peer: Any) -> None:
        await trio.sleep(0.1)
        await super().send(sock, data, ancillary, peer)


class Explains(Careful):
    """What is not a request is answered with less than it was."""

    def answer(self, data: bytes) -> bytes | None:
        return super().answer(data) or (b"!" if data and data != b"!noon" else None)


class AnswersAnswers(Careful):
    def answer(self, data: bytes) -> bytes | None:
        return super().answer(data) or (data if data == b"!noon" else None)


class Talks(Careful):
    def answer(self, data: bytes) -> bytes | None:
        answer = super().answer(data)
        return answer and answer * 20


class TalksToJunk(Careful):
    def answer(self, data: bytes) -> bytes | None:
        return super().answer(data) or (None if data == b"!noon" else b"!what is " + data[:20] + b"?")


class KeepsItsPort(Careful):
    @contextlib.asynccontextmanager
    async def open(self, port: int) -> AsyncIterator[trio.socket.SocketType]:
        sock = trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setsockopt(*PKTINFO, 1)
        await sock.bind((ANY, port))
        yield sock


JUNK_TALK: Final = {"silent_to_junk", "amplification_of_junk", "two_servers"}

FLAWS: Final[dict[str, tuple[Callable[[], Careful], set[str]]]] = {
    "answers from anywhere": (AnswersFromAnywhere, {"address_asked"}),
    "answers the newest": (AnswersTheNewest, {"port_that_asked"}),
    "remembers too much": (RemembersTooMuch, {"duplicate"}),
    "dies of nothing": (lambda: DiesOf(lambda data: not data), {"junk_empty", "truncated_request", "thousand_sources"}),
    "dies of one byte": (lambda: DiesOf(b"\x80".__eq__), {"junk_one_byte"}),
    "dies of text": (lambda: DiesOf(b"FAKE".__eq__), {"junk_text"}),
    "dies of much": (lambda: DiesOf(lambda data: len(data) > 9000), {"junk_huge"}),
    "dies of errors": (DiesOfErrors, {"sending_fails", "source_port_zero"}),
    "dies of port zero": (DiesOfPortZero, {"source_port_zero"}),
    "hears errors": (HearsErrors, {"icmp_errors"}),
    "slow": (Slow, {"thousand_sources"}),
    "explains": (Explains, {"silent_to_junk", "two_servers"}),
    "answers answers": (AnswersAnswers, {"silent_to_answers", "two_servers"}),
    "talks": (Talks, {"amplification"}),
    "talks to junk": (TalksToJunk, JUNK_TALK),
    "keeps its port": (KeepsItsPort, {"cancelled"}),
}


def check(serve: Any, **options: Any) -> Report:
    """Check a server of the small format."""
    return check_server(serve, request=REQUEST, **options)


@pytest.mark.parametrize("seed", range(3))
def test_a_careful_server_passes(seed: int) -> None:
    """All cases, whatever the seed; and the report says how many bytes it gives for one."""
    report = check(Careful(), is_answer=lambda request, answer: (request, answer) == (REQUEST, b"!noon"), seed=seed)
    assert report.passed == ("undisturbed", *(case.name for case in SERVER_CASES))
    assert report["amplification"].happened == f"{5 / len(REQUEST):.2f} bytes out for each byte in"


@pytest.mark.parametrize("name", FLAWS)
def test_a_flaw_is_found_under_its_name(name: str) -> None:
    """Each flaw fails its cases and no others."""
    make, expected = FLAWS[name]
    report = check(make(), known=expected)
    assert set(report.failed) == expected


def test_every_case_is_failed_by_some_flaw() -> None:
    """A case that nothing fails would check nothing."""
    assert {name for _, names in FLAWS.values() for name in names} == {case.name for case in SERVER_CASES}


async def echo_later(request: trio_udp.Request) -> bytes:
    """A handler that waits."""
    await trio.sleep(0.05)
    return request.payload


@pytest.mark.parametrize("handler", [echo, echo_later])
def test_our_own_server_passes(handler: Any) -> None:
    """E4, E5, E6, E8: with the format of its own it passes every case, with either kind of handler."""
    request = TU1().encode_request(b"What time is it?", TU1().new_key(b"", bytes(8), bytes(8)), 1, 0)
    report = check_server(partial(trio_udp.serve, handler), request=request)
    assert report["amplification"].happened == "1.00 bytes out for each byte in"


def test_the_book_profile_answers_anything_and_at_length() -> None:
    """Whatever is ASCII is a request; decision 0003 has the price."""

    def handler(request: trio_udp.Request) -> bytes:
        return b"Your data was %d bytes long" % len(request.payload)

    report = check_server(
        partial(trio_udp.serve, handler, profile=Book()),
        request=b"What time is it?",
        known={"silent_to_junk", "amplification", "amplification_of_junk"},
    )
    assert report["amplification"].happened == "1.69 bytes out for each byte in"


def test_an_echo_server_answers_another_for_ever() -> None:
    """CVE-2024-2169, RFC 862."""

    async def serve(port: int, *, task_status: trio.TaskStatus[None]) -> None:
        with trio.socket.socket(type=socket.SOCK_DGRAM) as sock:
            await sock.bind((ANY, port))
            task_status.started()
            while True:
                await sock.sendto(*await sock.recvfrom(65_535))

    with pytest.raises(NotConformant) as caught:
        check(serve)
    report = caught.value.report
    assert {"two_servers", "silent_to_junk", "silent_to_answers", "address_asked"} <= set(report.failed)
    assert report["two_servers"].happened.startswith("a request led to 50")


def test_a_server_that_does_not_start_is_reported_alone() -> None:
    """With the error, and no list of known failures helps."""

    async def fail(port: int, *, task_status: trio.TaskStatus[None]) -> None:
        raise OSError(98, "Address already in use")

    with pytest.raises(NotConformant) as caught:
        check(fail, known={"duplicate"})
    report = caught.value.report
    assert report.failed == ("undisturbed",)
    assert report["undisturbed"].happened == "could not be started: OSError: [Errno 98] Address already in use"


def test_a_server_that_dies_is_reported_with_what_it_died_of() -> None:
    """What comes out of its nurseries is unwrapped."""

    class Dies(Careful):
        def answer(self, data: bytes) -> bytes | None:
            raise ValueError("no")

    async def serve(port: int, *, task_status: trio.TaskStatus[None]) -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(Dies(), port)
            task_status.started()

    with pytest.raises(NotConformant) as caught:
        check(serve)
    happened = caught.value.report["undisturbed"].happened
    assert happened == "no answer within 5 virtual seconds: the server raised ValueError: no"


def test_an_answer_that_is_none_is_reported() -> None:
    """If it is said how to tell."""
    with pytest.raises(NotConformant) as caught:
        check(Careful(), is_answer=lambda request, answer: False)
    assert caught.value.report["undisturbed"].happened == "sent b'!noon', which is no answer"


def test_a_known_failure_has_to_be_a_case() -> None:
    """A slip in the list is an error."""
    with pytest.raises(ValueError, match="expected one of address_asked, "):
        check(Careful(), known={"adress_asked"})


@pytest.mark.parametrize("late", [False, True])
def test_what_is_not_simulated_is_no_verdict_on_the_server(late: bool) -> None:
    """It comes out as it is, whether it happens at the start or at a request."""

    class Multicasts(Careful):
        @contextlib.asynccontextmanager
        async def open(self, port: int) -> AsyncIterator[trio.socket.SocketType]:
            async with super().open(port) as sock:
                if not late:
                    await sock.sendto(b"", ("224.0.0.251", 5353))
                yield sock

        async def send(self, sock: trio.socket.SocketType, data: bytes, ancillary: Any, peer: Any) -> None:
            await sock.sendto(b"", ("224.0.0.251", 5353))

    with pytest.raises(NotSimulated, match="multicast"):
        check(Multicasts())
