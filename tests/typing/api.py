"""The public API as a user's type checker sees it. Checked by `nox -s types`; not run."""

from collections.abc import AsyncIterator, Mapping
from functools import partial
from typing import Any, TextIO, assert_type

import trio

import trio_udp
from trio_udp.measure import (
    Between,
    CsvWriter,
    Direction,
    Event,
    Fixed,
    Follower,
    Lines,
    Lost,
    Missed,
    Recording,
    ReplyRecord,
    Sample,
    Summary,
    TextWriter,
    Watch,
    compare,
    flood,
    from_json,
    json_schema,
    open_prober,
    runs_of,
    table_lines,
    to_json,
)
from trio_udp.testing import WorldPlan, run_world


def plain(request: trio_udp.Request) -> bytes:
    """A handler that answers at once."""
    assert_type(request.payload, bytes)
    assert_type(request.peer, trio_udp.Address)
    assert_type(request.local, trio_udp.Address)
    assert_type(request.attempt, int)
    assert_type(request.authenticated, bool)
    return request.payload


def silent(_request: trio_udp.Request) -> None:
    """A handler that never answers."""


async def waiting(request: trio_udp.Request) -> bytes | None:
    """A handler that may wait."""
    await trio.sleep(1)
    return request.payload or None


async def ask(client: trio_udp.Client) -> None:
    """Every way to ask."""
    assert_type(await client.request(b""), bytes)
    reply = await client.exchange(b"", policy=trio_udp.RetryPolicy(attempts=1), on_attempt=print)
    assert_type(reply.payload, bytes)
    assert_type(reply.rtt, float)
    assert_type(reply.peer, trio_udp.Address)
    assert_type(reply.hop_limit, int | None)
    async with client.request_many([b"", b""], max_in_flight=2) as results:
        assert_type(results, AsyncIterator[trio_udp.Result])
        async for result in results:
            assert_type(result, trio_udp.Result)
            assert_type(result.number, int)
            assert_type(result.reply, trio_udp.Reply | None)
            assert_type(result.error, trio_udp.UDPError | ValueError | None)
    assert_type(client.statistics(), trio_udp.ClientStatistics)
    assert_type(client.statistics().dropped.get(trio_udp.DropReason.LATE), int | None)
    await client.aclose()


async def ask_what_comes(client: trio_udp.Client, payloads: trio.MemoryReceiveChannel[bytes]) -> None:
    """Payloads that have to be waited for."""
    async with trio.open_nursery() as nursery, client.request_many(payloads, nursery=nursery) as results:
        assert_type([result.payload async for result in results], list[bytes])


async def main() -> None:
    """Every way to open and to serve."""
    async with trio.open_nursery() as nursery:
        for handler in (plain, silent, waiting):
            nursery.start_soon(trio_udp.serve, handler, 1060)
        nursery.start_soon(partial(trio_udp.serve, waiting, 0, host="::1", reuse_port=True, handler_nursery=nursery))
        limit = trio_udp.RateLimit(per_source=100, burst=200, overall=1e5)
        nursery.start_soon(partial(trio_udp.serve, plain, 0, rate_limit=limit))
        server: trio_udp.Server = await nursery.start(trio_udp.serve, plain, 0)
        assert_type(server.address, trio_udp.Address)
        assert_type(server.statistics(), trio_udp.ServerStatistics)
        async with trio_udp.open_client(*server.address) as client:
            assert_type(client, trio_udp.Client)
            await ask(client)
        async with trio_udp.open_client(servers=[server.address, ("::1", 1060)], profile=trio_udp.Book()) as client:
            await ask(client)
        await server.drain()


async def probe() -> str:
    """What a measurement tells."""
    async with (
        open_prober("127.0.0.1", 1060, size=100) as prober,
        prober.running(Fixed(0.01), count=3, every=1.0) as events,
    ):
        async for event in events:
            match event:
                case ReplyRecord():
                    assert_type(event.rtt_ns, int)
                    assert_type(event.network_ns, int | None)
                case Lost():
                    return str(event.direction)
                case _ if event.kind == "missed":  # the word is as good as the class
                    assert_type(event, Missed)
                    assert_type(event.slots, int)
    async with open_prober("127.0.0.1", 1060) as prober:
        summary = await prober.run(flood(), on_event=print)
    assert_type(summary, Summary)
    assert_type(summary.rtt.p99_ns, int | None)
    return f"{summary.loss:g} %"


def recorded(file: TextIO) -> list[str]:
    """What a recorded run tells."""
    (run,) = runs_of(Lines(file), Recording)
    assert_type(run, Recording)
    (first,), (second,) = (runs_of(Lines(file), Sample) for _ in range(2))
    found = compare(first, second)
    assert_type(found.p99.difference, Between | None)
    assert_type(json_schema(), dict[str, Any])
    event = from_json(to_json(run.summary(), host="h")).event
    assert_type(event, Event)
    return [CsvWriter("h").rows(event)]


async def follow(name: str) -> list[str]:
    """What is printed of a name that moves."""
    text, watch = TextWriter(name), Watch(name)
    follower = Follower(name, 1060, every=30.0, count=5, on_news=print)
    async for address in follower:
        assert_type(address, trio_udp.Address)
        async with open_prober(*address) as prober, follower.watching(prober):
            found = await prober.run(count=follower.left, on_event=watch.take)
            assert_type(
                watch.view(sent=prober.sent, waiting=prober.unanswered, elapsed=1.0).lost, Mapping[Direction, int]
            )
        assert_type(text.text(found), str)
    assert_type(await trio_udp.resolve(name, 1060), list[trio_udp.Address])
    return table_lines([(name, found)])


def simulated(server: trio_udp.Server) -> list[str]:
    """What a world has come to, and what a server has counted."""
    found = run_world(1, clients=2, seconds=60.0)
    assert_type(found.plan, WorldPlan)
    assert_type(found.dropped, Mapping[trio_udp.DropReason, int])
    totals = trio_udp.ServerTotals.of(server.statistics())
    return [found.digest, *(totals + totals).lines()]


def errors(error: trio_udp.UDPError) -> str:
    """What the errors tell."""
    match error:
        case trio_udp.NoReply():
            assert_type(error.peer, trio_udp.Address)
            assert_type(error.attempts, int)
            assert_type(error.elapsed, float)
            too_slow: trio.TooSlowError = error
            return str(too_slow)
        case trio_udp.PayloadTooLarge():
            value: ValueError = error
            return f"{value}: {error.size} of {error.limit}"
        case trio_udp.RemoteError():
            return error.reason
        case _:
            return ""
