"""Many requests, few descriptors: one server and one client carry thousands of tasks, over every network."""

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_udp import Client, Request, open_client

from .networks import (
    NetworkName,
    address_of,
    descriptors,
    network_fixture,  # noqa: F401 - pytest finds it by its name, network
    plain_socket,
    serving,
)


def shout(request: Request) -> bytes:
    """An answer that belongs to one request only."""
    return request.payload.upper()


async def ask(client: Client, number: int, answers: dict[int, bytes]) -> None:
    """One of many tasks."""
    answers[number] = await client.request(f"question {number}".encode())


@pytest.mark.parametrize("connect", [True, False])
async def test_a_thousand_tasks_each_get_their_own_answer(
    network: NetworkName, autojump_clock: MockClock, connect: bool
) -> None:
    """G7: from one server, over one shared client, with two descriptors more than before."""
    answers: dict[int, bytes] = {}
    before = descriptors()
    async with (
        serving(shout, host="127.0.0.1") as server,
        open_client(*server.address, connect=connect) as client,
        trio.open_nursery() as nursery,
    ):
        for number in range(1000):
            nursery.start_soon(ask, client, number, answers)
        during = set()
        while len(answers) < 1000:
            during.add(descriptors())
            await trio.lowlevel.checkpoint()
        assert during == {before + 2}
    assert answers == {number: f"QUESTION {number}".encode() for number in range(1000)}
    assert descriptors() == before


@pytest.mark.parametrize("in_flight", [128, 10_000])
async def test_ten_thousand_requests_use_one_descriptor(
    network: NetworkName, autojump_clock: MockClock, in_flight: int
) -> None:
    """G7, G10: in flight, or waiting for their turn; closing the client ends them all, each once."""
    ended = 0

    async def wait_for_closing() -> None:
        nonlocal ended
        with pytest.raises(trio.ClosedResourceError):
            await client.request(b"?")
        ended += 1

    with plain_socket() as silent:
        before = descriptors()
        opening = open_client(*address_of(silent), max_in_flight=in_flight)
        async with opening as client, trio.open_nursery() as nursery:
            for _ in range(10_000):
                nursery.start_soon(wait_for_closing)
            await wait_all_tasks_blocked()
            assert client.statistics().in_flight == in_flight
            assert len(nursery.child_tasks) == 10_000
            assert descriptors() == before + 1
            await client.aclose()
        assert ended == 10_000
        assert len(client._protocol.exchanges) == 0
        assert descriptors() == before
