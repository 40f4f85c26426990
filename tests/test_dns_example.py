"""`examples/dns_client.py`: Hypothesis and the suite find its bug, and the same client without the bug passes."""

import importlib.util
import re
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
import trio
from hypothesis import Phase, given, settings

from trio_udp.testing import (
    Conditions,
    Delay,
    Duplicate,
    Inject,
    Lose,
    NotConformant,
    Plan,
    SimNet,
    Swap,
    check_client,
    simulate,
)
from trio_udp.testing.strategies import plans

LookUp = Callable[[str, str], Awaitable[str]]
SERVER: Final = "192.0.2.53"


def load_example() -> Any:
    """The example as a module."""
    path = Path(__file__).parent.parent / "examples" / "dns_client.py"
    spec = importlib.util.spec_from_file_location("dns_client", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


dns_client: Final = load_example()
HONEST: Final = partial(dns_client.encode_answer, address=dns_client.RIGHT)
FORGED: Final = partial(dns_client.encode_answer, address=dns_client.WRONG)

BELIEVED: Final = {
    "answer_from_another_host",
    "answer_from_another_port",
    "answer_to_another_request",
    "flood_of_junk",
    "junk_echo",
    "junk_huge",
    "junk_text",
    "truncated_answer",
}
DIED_OF: Final = {"junk_empty", "junk_one_byte", "junk_from_a_stranger"}


async def serve(*, task_status: trio.TaskStatus[None]) -> None:
    """An honest name server."""
    with trio.socket.socket(type=trio.socket.SOCK_DGRAM) as sock:
        await sock.bind(("", 53))
        task_status.started()
        while True:
            query, client = await sock.recvfrom(512)
            await sock.sendto(HONEST(query), client)


async def look_up_carefully(name: str, server: str, port: int = 53) -> str:
    """The example's client, with four conditions and the rest of the wait."""
    query = dns_client.encode_query(name, int.from_bytes(dns_client.random.randbytes(2)))
    with trio.socket.socket(type=trio.socket.SOCK_DGRAM) as sock:
        for seconds in (1, 2, 4):
            await sock.sendto(query, (server, port))
            with trio.move_on_after(seconds):
                while True:
                    data, source = await sock.recvfrom(512)
                    if source == (server, port) and is_answer(query, data):
                        return socket.inet_ntoa(data[-4:])
    raise trio.TooSlowError


def is_answer(query: bytes, data: bytes) -> bool:
    """Same id, an answer, same question, one record."""
    same_id = data[:2] == query[:2] and data[2:3] >= b"\x80"
    return same_id and data[12 : len(query)] == query[12:] and len(data) == len(query) + struct.calcsize("!3HIHI")


async def under(net: SimNet, plan: Plan, look_up: LookUp) -> None:
    """A client is never told anything else than the server's answer, whatever the plan does to its queries."""
    server, client = net.host("server", SERVER), net.host("client")
    net.link(Conditions(latency=0.05))
    found = dns_client.RIGHT
    async with trio.open_nursery() as nursery:
        await nursery.start(server.run, serve)
        with client.here(), plan.on(net, source=client), suppress(trio.TooSlowError, OSError):
            found = await look_up(dns_client.NAME, SERVER)
        nursery.cancel_scope.cancel()
    assert found == dns_client.RIGHT


PLANS: Final = plans(Lose, Delay, Duplicate, Swap, Inject, packets=3, seconds=0.1)


def test_on_a_good_day_the_client_works() -> None:
    """It asks, is answered, and even asks again: nobody would notice anything."""
    simulate(under, Plan(), dns_client.look_up)
    simulate(under, Plan(Lose(1)), dns_client.look_up)


def test_hypothesis_finds_the_bug_and_shows_a_plan_one_reads_at_a_glance() -> None:
    """One forged datagram after the first query; printed as the code that makes it again."""

    @settings(database=None, max_examples=500, phases=[Phase.generate, Phase.shrink])
    @given(plan=PLANS)
    def nobody_is_believed_but_the_server(plan: Plan) -> None:
        simulate(under, plan, dns_client.look_up)

    with pytest.raises(AssertionError) as caught:
        nobody_is_believed_but_the_server()
    notes = "\n".join(caught.value.__notes__)
    shown = re.search(r"plan=(Plan\(Inject\(after=1, source=\('198.51.100.1', 1060\), data=.*\)\)),\n", notes)
    assert shown, notes
    assert "198.51.100.1:1060 > client 192.0.2.2:" in notes
    with pytest.raises(AssertionError):
        simulate(under, eval(shown[1]), dns_client.look_up)  # noqa: S307 - the plan of two lines above


@given(plan=PLANS)
def test_under_any_plan_the_client_without_the_bug_believes_only_the_server(plan: Plan) -> None:
    """The same property, held."""
    simulate(under, plan, look_up_carefully)


def test_the_suite_finds_the_bug() -> None:
    """It believes strangers, guesses and junk, and dies of what is too short."""
    client = partial(dns_client.look_up, dns_client.NAME)
    with pytest.raises(NotConformant) as caught:
        check_client(client, answer=HONEST, forge=FORGED, port=53)
    report = caught.value.report
    assert set(report.failed) == BELIEVED | DIED_OF
    assert report["answer_from_another_host"].happened == f"returned '{dns_client.WRONG}'"
    assert "203.0.113.66:53 > client 192.0.2.10" in report["answer_from_another_host"].trace


def test_the_same_client_without_the_bug_passes() -> None:
    """What is missing is four conditions and the rest of the wait."""
    check_client(partial(look_up_carefully, dns_client.NAME), answer=HONEST, forge=FORGED, port=53)
