"""`--metrics`: what may be fetched, in the words of the statistics, and strangers who connect."""

import contextlib
import dataclasses
import importlib.util
import re
import socket
import sys
from collections.abc import AsyncIterator
from typing import cast

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

import trio_udp
from trio_udp import Address, DropReason, EndpointStatistics, ServerStatistics
from trio_udp._cli import _metrics, main
from trio_udp._cli._arguments import BadInput
from trio_udp._cli._figures_out import Figure, ping_figures, server_figures
from trio_udp._cli._metrics import _LONGEST_REQUEST, _MOST_CONNECTIONS, _answer, _response_untrusted, showing_metrics
from trio_udp.measure import Distribution

from ..measure.records import summary
from .command import run_here, running

needs_prometheus = pytest.mark.skipif(
    importlib.util.find_spec("prometheus_client") is None, reason="the package prometheus-client is not installed"
)
ENDPOINT = EndpointStatistics(
    datagrams_sent=1, datagrams_received=2, segments_sent=0, segments_received=0, truncated=0,
    send_errors={"ENETUNREACH": 3}, hints={}, kernel_drops=4, receive_buffer=None,
)  # fmt: skip


def render() -> tuple[str, bytes]:
    """Some content."""
    return "text/plain", b"content\n"


def server_statistics() -> ServerStatistics:
    """Each counter a number of its own."""
    values = {
        field.name: number for number, field in enumerate(dataclasses.fields(ServerStatistics)) if field.type is int
    }
    dropped = {DropReason.MALFORMED: 7, DropReason.TRUNCATED: 8}
    return ServerStatistics(**values, dropped=dropped, endpoints={Address("::1", 5): ENDPOINT})


def test_a_server_is_shown_in_the_words_of_its_statistics() -> None:
    """Each number once; reasons, errnos and endpoints are labels."""
    statistics = server_statistics()
    figures = server_figures(statistics)
    shown = {(figure.name, *figure.labels.items()): figure.value for figure in figures}
    for field in dataclasses.fields(statistics):
        if field.type is int:
            assert shown[f"trio_udp_server_{field.name}",] == getattr(statistics, field.name)
    assert shown["trio_udp_server_dropped", ("reason", "malformed")] == 7
    assert shown["trio_udp_server_endpoint_kernel_drops", ("endpoint", "[::1]:5")] == 4
    assert shown["trio_udp_server_endpoint_send_errors", ("endpoint", "[::1]:5"), ("errno", "ENETUNREACH")] == 3
    assert len(shown) == len(figures)
    assert {figure.name for figure in figures if not figure.grows} == {
        f"trio_udp_server_{name}" for name in ("handlers", "clients_held", "reply_bytes_held")
    }


def test_pings_are_shown_in_the_words_of_their_sums() -> None:
    """By host; what may become less is no counter."""
    rtt = Distribution(count=1, p50_ns=1_500_000, p99_ns=2_000_000)
    found = summary(sent=3, received=2, lost_unknown=1, rtt=rtt, rejected={DropReason.WRONG_PEER: 4})
    figures = ping_figures([("a", found), ("a", summary())])
    assert Figure("trio_udp_ping_sent", True, {"host": "a", "path": "1"}, 3) in figures
    assert Figure("trio_udp_ping_sent", True, {"host": "a", "path": "2"}, 0) in figures
    assert Figure("trio_udp_ping_lost_unknown", False, {"host": "a", "path": "1"}, 1) in figures
    rejected = {"host": "a", "path": "1", "reason": "wrong_peer"}
    assert Figure("trio_udp_ping_rejected", True, rejected, 4) in figures
    median = {"host": "a", "path": "1", "quantile": "0.5"}
    assert Figure("trio_udp_ping_rtt_seconds", False, median, 0.0015) in figures
    assert not any("at_ns" in figure.name or "elapsed" in figure.name for figure in figures)
    assert len({(figure.name, *figure.labels.items()) for figure in figures}) == len(figures)


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET /metrics HTTP/1.1", b"200 OK"),
        (b"GET /metrics?x=y HTTP/1.0", b"200 OK"),
        (b"GET / HTTP/1.1", b"200 OK"),
        (b"GET /other HTTP/1.1", b"404 Not Found"),
        (b"POST /metrics HTTP/1.1", b"405 Method Not Allowed"),
        (b"GET /metrics", b"400 Bad Request"),
        (b"\x16\x03\x01", b"400 Bad Request"),
    ],
)
def test_a_request_has_the_answer_that_http_has_for_it(request_line: bytes, status: bytes) -> None:
    """With its length, and closed behind it."""
    response = _response_untrusted(request_line + b"\r\nHost: x\r\n\r\n", render)
    head, _, content = response.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 " + status + b"\r\n")
    assert b"Content-Length: %d\r\n" % len(content) in head
    assert head.endswith(b"Connection: close")


@given(st.binary(max_size=200))
def test_whatever_a_stranger_sends_has_an_answer(request_bytes: bytes) -> None:
    """And no exception."""
    assert _response_untrusted(request_bytes, render).startswith(b"HTTP/1.0 ")


async def send(request: bytes, *, eof: bool = False) -> bytes:
    """What comes back for these bytes, until the connection is closed."""
    ours, theirs = trio.testing.memory_stream_pair()
    answer = b""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_answer, trio.CapacityLimiter(1), render, cast("trio.SocketStream", theirs))
        await ours.send_all(request)
        if eof:
            await ours.send_eof()
        with contextlib.suppress(trio.BrokenResourceError):
            while some := await ours.receive_some():
                answer += some
        await ours.aclose()
    return answer


async def test_a_connection_has_one_answer_and_an_end(autojump_clock: MockClock) -> None:
    """Whether the other side says something sensible, too much, too little, or nothing more."""
    began = trio.current_time()
    assert (await send(b"GET /metrics HTTP/1.1\r\n\r\n")).endswith(b"\r\n\r\ncontent\n")
    assert (await send(b"x" * 2 * _LONGEST_REQUEST)).startswith(b"HTTP/1.0 400")
    assert await send(b"GET /met", eof=True) == b""
    assert trio.current_time() == began
    assert await send(b"GET /met") == b""
    assert trio.current_time() == began + _metrics._PATIENCE


async def test_connections_are_bounded() -> None:
    """One too many is closed at once."""
    limiter = trio.CapacityLimiter(1)
    limiter.acquire_on_behalf_of_nowait("somebody")
    ours, theirs = trio.testing.memory_stream_pair()
    with trio.fail_after(10):
        await _answer(limiter, render, cast("trio.SocketStream", theirs))
        assert await ours.receive_some() == b""
    assert _MOST_CONNECTIONS > 1


@contextlib.asynccontextmanager
async def watched(*words: str) -> AsyncIterator[str]:
    """A command with its metrics: the port they are at."""
    async with running(*words, "--metrics", "0") as process:
        while not (found := re.search(r"metrics at http://127\.0\.0\.1:(\d+)/metrics", await process.line())):
            pass
        yield found[1]


async def fetch(port: str) -> str:
    """As Prometheus does it."""
    stream = await trio.open_tcp_stream("127.0.0.1", int(port))
    async with stream:
        await stream.send_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        return b"".join([some async for some in stream]).decode()


@needs_prometheus
async def test_serve_shows_what_prometheus_reads() -> None:
    """Counters end in _total, as it wants them."""
    async with watched("serve", "127.0.0.1", "-p", "0") as port:
        answer = await fetch(port)
    assert answer.startswith("HTTP/1.0 200 OK\r\nContent-Type: text/plain")
    assert "\n# TYPE trio_udp_server_requests_total counter\ntrio_udp_server_requests_total 0.0\n" in answer
    assert "\n# TYPE trio_udp_server_handlers gauge\n" in answer


@needs_prometheus
async def test_ping_shows_what_prometheus_reads() -> None:
    """While it runs."""
    async with watched("ping", "-i", "0.05") as port:
        with trio.fail_after(10):
            while not re.search(r'trio_udp_ping_received_total\{host="localhost",path="1"\} [1-9]', await fetch(port)):
                await trio.sleep(0.05)


async def test_without_the_package_it_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which says how to get it."""
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(BadInput, match=r"pip install 'trio-udp\[metrics\]'"):
        async with showing_metrics(("127.0.0.1", 0), list, print):
            pass


@needs_prometheus
def test_a_port_that_is_taken_is_one_line() -> None:
    """As for any other port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        code, _, err = run_here("ping", "-c", "1", "--metrics", str(port))
    assert (code, err) == (2, [f"trio_udp ping: port {port} is in use on this host, expected a free one"])


@pytest.mark.parametrize(
    "address", ["", "x", "127.0.0.1", "127.0.0.1:", "1:65536", "::1", "::1:9100", "[::1", "[::1:9100", "::1]:9100"]
)
def test_an_address_that_is_none_is_one_line(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With what was expected; an IPv6 address has brackets."""
    with pytest.raises(SystemExit) as ended:
        main(["serve", "--metrics", address])
    assert ended.value.code == 2
    assert f"as 127.0.0.1:9100, got {address!r}" in capsys.readouterr().err


def test_an_address_is_read_with_its_port_and_a_port_alone_is_of_this_host() -> None:
    """Nobody else reaches it unless that is asked for."""
    assert _metrics._address("[::1]:9100") == ("::1", 9100)
    assert _metrics._address("9100") == ("127.0.0.1", 9100)
    assert _metrics._address("0.0.0.0:0") == ("0.0.0.0", 0)  # noqa: S104 - read, not bound


@needs_prometheus
async def test_workers_are_shown_as_one_server() -> None:
    """Whatever each of them has had, the sum is what was sent, at the moment in which it is asked for."""
    async with running("serve", "127.0.0.1", "-p", "0", "--workers", "2", "--metrics", "0") as server:
        found = re.search(r"metrics at http://127\.0\.0\.1:(\d+)/metrics", await server.line())
        address = re.search(r"listening on 127\.0\.0\.1:(\d+)", await server.line())
        assert found
        assert address
        for _ in range(12):  # from many ports, so that both have something to do
            async with trio_udp.open_client("127.0.0.1", int(address[1])) as client:
                await client.request(b"?", policy=trio_udp.RetryPolicy(initial=60, attempts=1))
        answer = await fetch(found[1])
        server.interrupt()
        assert await server.end() == 0
    for name, value in (("replies_total", 12), ("workers", 2), ("workers_silent", 0), ("workers_ended_total", 0)):
        assert f"\ntrio_udp_server_{name} {value}.0\n" in answer


@needs_prometheus
def test_a_port_that_is_taken_stops_workers_before_they_start() -> None:
    """In one line, as without them."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        code, out, err = run_here("serve", "--workers", "2", "--metrics", str(port), "-p", "0")
    assert (code, out) == (2, [])
    assert err == [f"trio_udp serve: port {port} is in use on this host, expected a free one"]
