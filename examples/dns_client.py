"""A DNS client as people write it, with a bug as old as UDP: it believes whoever answers first.

`look_up` never asks where an answer comes from, nor which question it answers. Nothing shows on a good day. On the
simulated network of `trio_udp.testing` the days are bad ones.
"""

import random
import socket
import struct
from functools import partial

import trio

from trio_udp.testing import NotConformant, check_client

NAME = "www.example.com"
RIGHT, WRONG = "192.0.2.7", "203.0.113.66"


async def look_up(name: str, server: str, port: int = 53) -> str:
    """Ask a server for the address of a name, three times at most."""
    query = encode_query(name, random.randrange(65_536))
    with trio.socket.socket(type=trio.socket.SOCK_DGRAM) as sock:
        for seconds in (1, 2, 4):
            await sock.sendto(query, (server, port))
            with trio.move_on_after(seconds):
                data, _ = await sock.recvfrom(512)
                return socket.inet_ntoa(data[-4:])
    raise trio.TooSlowError(f"{server} does not answer")


def encode_query(name: str, number: int) -> bytes:
    """RFC 1035: a header with an id, and one question for an A record."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack("!6H", number, 0x0100, 1, 0, 0, 0) + labels + struct.pack("!BHH", 0, 1, 1)


def encode_answer(query: bytes, address: str) -> bytes:
    """What a server answers: the same id and question, and one record."""
    header = query[:2] + struct.pack("!5H", 0x8180, 1, 1, 0, 0)
    return header + query[12:] + struct.pack("!3HIH", 0xC00C, 1, 1, 60, 4) + socket.inet_aton(address)


def main() -> None:
    """Look for what makes it return something else than the server's answer."""
    honest, forged = partial(encode_answer, address=RIGHT), partial(encode_answer, address=WRONG)
    try:
        check_client(partial(look_up, NAME), answer=honest, forge=forged, port=53)
    except NotConformant as error:
        print(f"{len(error.report.failed)} of {len(error.report)} cases failed, among them:")
        for case in ("answer_from_another_host", "answer_to_another_request", "junk_text"):
            print(f"{case}: {error.report[case].happened}")


if __name__ == "__main__":
    main()
