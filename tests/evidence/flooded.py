"""`python -m tests.evidence.flooded serve | flood KIND PORT COUNT SECONDS`: the other processes of `floods`.

Each writes lines of JSON, and ends by itself: the server with its standard input, the flooder when it is through.
"""

import json
import os
import socket
import struct
import sys
import time
from collections.abc import Iterator
from functools import partial
from itertools import count as count_up
from itertools import cycle
from pathlib import Path
from random import Random
from typing import Final

import trio

import trio_udp
from trio_udp.proto import Message, MessageType, encode_message

_IP_PKTINFO: Final = 8
_FLOODER: Final = "127.66.66.66"
_LONGEST: Final = 120.0
"""Seconds after which a flooder ends, whatever it was asked for."""
_PACE: Final = 20_000
"""Datagrams a second where they are counted, so that the server has them and not its full buffer."""

Datagram = tuple[bytes, str]
"""What to send, and from which address of loopback's."""


def _answer(request: trio_udp.Request) -> bytes:
    return request.payload


async def _serve() -> None:
    """Serve, and at each line of standard input say what is held; at its end, end."""
    async with trio.open_nursery() as nursery:
        server = await nursery.start(partial(trio_udp.serve, _answer, 0, host="127.0.0.1"))
        print(json.dumps({"port": server.address.port}), flush=True)
        while await trio.to_thread.run_sync(sys.stdin.readline):
            received = sum(endpoint.datagrams_received for endpoint in server.statistics().endpoints.values())
            print(json.dumps({"resident": resident("self"), "received": received}), flush=True)
        nursery.cancel_scope.cancel()


def resident(process: int | str) -> int:
    """Bytes of a process in memory, which is named as in /proc."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _flood(kind: str, port: int, count: int, seconds: float) -> int:
    """Send so many, or for so long at full speed, and say how many."""
    begins = time.monotonic()
    ends = begins + (seconds or _LONGEST)
    sent = 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for data, source in KINDS[kind](Random(kind)):
            packet_info = struct.pack("=I4s4s", 0, socket.inet_aton(source), bytes(4))
            sock.sendmsg([data], [(socket.IPPROTO_IP, _IP_PKTINFO, packet_info)], 0, ("127.0.0.1", port))
            sent += 1
            if sent == count or (sent % 1000 == 0 and time.monotonic() > ends):
                return sent
            if count and sent % 100 == 0:
                time.sleep(max(begins + sent / _PACE - time.monotonic(), 0))
    raise AssertionError("a flood never ends by itself")


def _request(ids: bytes, once: bytes = b"") -> bytes:
    return encode_message(Message(MessageType.REQUEST, 1, ids, b"a question like any other", once=once))


def _junk(random: Random) -> Iterator[Datagram]:
    """Bytes of all lengths, the first of them right as often as not; from one address."""
    some = [random.choice((b"", b"\x09\x01")) + random.randbytes(random.randrange(100)) for _ in range(10_000)]
    for data in cycle(some):
        yield data, _FLOODER


def _sources(random: Random) -> Iterator[Datagram]:
    """Good requests, each from another address."""
    data = _request(random.randbytes(16))
    for number in count_up(1 << 23):
        yield data, f"127.{number >> 16}.{number >> 8 & 0xFF}.{number & 0xFF}"


def _opens(random: Random) -> Iterator[Datagram]:
    """Good requests, each of another client, who wants at-most-once; from one address."""
    data = _request(random.randbytes(16), once=bytes(20))
    for number in count_up(1):
        yield data[:8] + number.to_bytes(8, "big") + data[16:], _FLOODER


def _duplicates(random: Random) -> Iterator[Datagram]:
    """One and the same request."""
    data = _request(random.randbytes(16))
    while True:
        yield data, _FLOODER


KINDS: Final = {"junk": _junk, "sources": _sources, "opens": _opens, "duplicates": _duplicates}

if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve"]:
            trio.run(_serve)
        case ["flood", kind, port, count, seconds]:
            print(json.dumps({"sent": _flood(kind, int(port), int(count), float(seconds))}), flush=True)
        case arguments:
            sys.exit(f"expected serve, or flood KIND PORT COUNT SECONDS, got {arguments}")
