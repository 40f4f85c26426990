"""`--metrics ADDRESS`: the counters, for Prometheus to fetch.

A Trio task answers, with a small piece of HTTP/1.0 of our own around what `prometheus_client` writes: the server of
that package is a thread, which would read the counters while Trio's thread changes them. Nothing is done for a
datagram; the counters are read when somebody asks. Whoever connects is a stranger: so many of them at a time, so many
bytes and seconds each, and then the connection is closed.
"""

import argparse
import contextlib
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

import trio

from ._arguments import BadInput, explain

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

    from ._figures_out import Figure

_HOST: Final = "127.0.0.1"
_MOST_CONNECTIONS: Final = 16
_LONGEST_REQUEST: Final = 8192
_PATIENCE: Final = 5.0
"""Seconds for a request and its answer."""
_END: Final = b"\r\n\r\n"


def add_metrics(parser: argparse.ArgumentParser) -> None:
    """Add `--metrics`."""
    parser.add_argument(
        "--metrics",
        type=_address,
        metavar="[HOST:]PORT",
        help=f"show the counters to Prometheus there, by HTTP; on {_HOST} unless told otherwise",
    )


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    is_whole = ":" not in host or (host.startswith("[") and host.endswith("]"))
    if not (is_whole and port.isascii() and port.isdecimal() and len(port) < 6 and int(port) <= 65_535):
        raise argparse.ArgumentTypeError(
            f"expected a TCP port, or an address and a port, as 127.0.0.1:9100, got {text!r}"
        )
    return host.removeprefix("[").removesuffix("]") or _HOST, int(port)


@contextlib.asynccontextmanager
async def showing_metrics(
    address: tuple[str, int] | None,
    figures: Callable[[], Iterable["Figure"]],
    say: Callable[[str], None],
    refresh: Callable[[], Awaitable[object]] = trio.lowlevel.checkpoint,
) -> AsyncIterator[None]:
    """Show these figures there, if anywhere, for the length of the block.

    Args:
        address: where.
        figures: what to show; called for each answer.
        say: is told where.
        refresh: awaited before that, if the figures have to be fetched.
    """
    if address is None:
        yield
        return
    render = _renderer(figures)
    host, port = address
    try:
        listeners = await trio.open_tcp_listeners(port, host=host)
    except OSError as exc:
        raise explain(exc, host, port) from None
    async with trio.open_nursery() as nursery:
        for listener in listeners:
            found, at, *_ = listener.socket.getsockname()
            say(f"metrics at http://{f'[{found}]' if ':' in found else found}:{at}/metrics")
        limiter = trio.CapacityLimiter(_MOST_CONNECTIONS)
        nursery.start_soon(
            trio.serve_listeners, functools.partial(_answer, limiter, render, refresh=refresh), listeners
        )
        yield
        nursery.cancel_scope.cancel()


def _renderer(figures: Callable[[], Iterable["Figure"]]) -> Callable[[], tuple[str, bytes]]:
    """What makes the content's type and the content. `BadInput` where the package is not there."""
    try:
        import prometheus_client
    except ImportError:
        line = "--metrics needs the package prometheus-client: python -m pip install 'trio-udp[metrics]'"
        raise BadInput(line) from None
    registry = prometheus_client.CollectorRegistry(auto_describe=False)
    registry.register(_Collector(figures))
    return lambda: (prometheus_client.CONTENT_TYPE_LATEST, prometheus_client.generate_latest(registry))


class _Collector:
    """What `prometheus_client` asks for figures."""

    def __init__(self, figures: Callable[[], Iterable["Figure"]]) -> None:
        self._figures = figures

    def describe(self) -> Iterable["Metric"]:
        """Nothing in advance: what there is depends on what has happened."""
        return ()

    def collect(self) -> Iterator["Metric"]:
        """Each figure, those of one name together."""
        from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

        families: dict[str, Any] = {}
        for name, grows, labels, value in self._figures():
            family = families.get(name)
            if family is None:
                kind = CounterMetricFamily if grows else GaugeMetricFamily
                family = families[name] = kind(name, name.replace("_", " "), labels=list(labels))
            family.add_metric(list(labels.values()), value)
        yield from families.values()


async def _answer(
    limiter: trio.CapacityLimiter,
    render: Callable[[], tuple[str, bytes]],
    stream: trio.SocketStream,
    *,
    refresh: Callable[[], Awaitable[object]] = trio.lowlevel.checkpoint,
) -> None:
    """One connection: one request, one answer."""
    try:
        with contextlib.suppress(trio.BrokenResourceError, trio.WouldBlock), trio.move_on_after(_PATIENCE):
            limiter.acquire_nowait()
            try:
                await _talk(render, refresh, stream)
            finally:
                limiter.release()
    finally:
        await trio.aclose_forcefully(stream)


async def _talk(
    render: Callable[[], tuple[str, bytes]], refresh: Callable[[], Awaitable[object]], stream: trio.SocketStream
) -> None:
    request = await _read_request(stream)
    if request is None:
        return
    await refresh()
    await stream.send_all(_response_untrusted(request, render))
    await stream.send_eof()
    while await stream.receive_some(_LONGEST_REQUEST):
        pass  # to close on unread bytes would take the answer back


async def _read_request(stream: trio.SocketStream) -> bytes | None:
    """Its head, or as much as anybody needs; None if the other side has gone."""
    request = b""
    while _END not in request and len(request) < _LONGEST_REQUEST:
        some = await stream.receive_some(_LONGEST_REQUEST)
        if not some:
            return None
        request += some
    return request


def _response_untrusted(request: bytes, render: Callable[[], tuple[str, bytes]]) -> bytes:
    """The whole answer to these bytes of a stranger."""
    method, _, rest = request.partition(b"\r\n")[0].partition(b" ")
    path, _, version = rest.partition(b" ")
    if not version.startswith(b"HTTP/1.") or _END not in request:
        return _response("400 Bad Request", "text/plain", b"expected a request of HTTP/1\n")
    if path.partition(b"?")[0] not in (b"/", b"/metrics"):
        return _response("404 Not Found", "text/plain", b"expected /metrics\n")
    if method != b"GET":
        return _response("405 Method Not Allowed", "text/plain", b"expected GET\n", "Allow: GET\r\n")
    return _response("200 OK", *render())


def _response(status: str, kind: str, content: bytes, more: str = "") -> bytes:
    about = f"Content-Type: {kind}\r\nContent-Length: {len(content)}\r\n{more}Connection: close\r\n"
    return f"HTTP/1.0 {status}\r\n{about}\r\n".encode() + content
