"""`examples/dns_client.py`: the suite finds its bug, and the same client without the bug passes."""

import importlib.util
import socket
import struct
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
import trio

from trio_udp.testing import NotConformant, SimNet, check_client, simulate


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


def test_on_a_good_day_the_client_works() -> None:
    """It asks, is answered, and even asks again: nobody would notice anything."""

    async def main(net: SimNet) -> str:
        server = net.host("server", "192.0.2.53")

        async def serve(*, task_status: trio.TaskStatus[None]) -> None:
            with trio.socket.socket(type=trio.socket.SOCK_DGRAM) as sock:
                await sock.bind(("192.0.2.53", 53))
                task_status.started()
                await sock.recvfrom(512)  # lost, let us say
                query, client = await sock.recvfrom(512)
                await sock.sendto(HONEST(query), client)

        async with trio.open_nursery() as nursery:
            with server.here():
                await nursery.start(serve)
            with net.host("client").here():
                return str(await dns_client.look_up(dns_client.NAME, "192.0.2.53"))
        raise AssertionError("unreachable: a nursery swallows no exception")

    assert simulate(main) == dns_client.RIGHT


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

    async def look_up(server: str, port: int) -> str:
        query = dns_client.encode_query(dns_client.NAME, int.from_bytes(dns_client.random.randbytes(2)))
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
        same_id = data[:2] == query[:2] and data[2:3] >= b"\x80"
        return same_id and data[12 : len(query)] == query[12:] and len(data) == len(query) + struct.calcsize("!3HIHI")

    check_client(look_up, answer=HONEST, forge=FORGED, port=53)
