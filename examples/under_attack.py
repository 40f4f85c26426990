"""A forger in the same nursery throws junk and guesses at the client and at the server. Nothing is believed.

To forge a source address takes a raw socket and so a privilege. Here the client has been told that the forger is a
server as well, so that everything the forger sends has a source the client knows: as good as forged. What it does not
know are the 128 random bits of each request.
"""

import os
import random
import socket
from functools import partial

import trio

import trio_udp
from trio_udp.proto import Message, MessageType, encode_message

HOST = "127.0.0.1"


def forgeries() -> list[bytes]:
    """Junk, a guess at a reply, another version, a reply cut short, and a request, which only a client finds odd."""
    reply = encode_message(Message(MessageType.REPLY, 1, os.urandom(16), b"FAKE"))
    request = encode_message(Message(MessageType.REQUEST, 1, os.urandom(16), b"FAKE"))
    return [os.urandom(random.randrange(100)), reply, b"\x80" + reply[1:], reply[:-1], request]


async def forge(forger: socket.socket, ports: list[int]) -> None:
    """Send without end: a volley to each port whenever it is our turn."""
    while True:
        for port in ports:
            for data in forgeries():
                forger.sendto(data, (HOST, port))
        await trio.lowlevel.checkpoint()


async def main() -> None:
    """Ask while the forger throws, and count."""
    questions = [f"question {number}".encode() for number in range(500)]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as forger:
        forger.bind((HOST, 0))
        async with trio.open_nursery() as nursery:
            echo = partial(trio_udp.serve, lambda request: request.payload, 0, host=HOST)
            server: trio_udp.Server = await nursery.start(echo)
            servers = [server.address, trio_udp.Address(*forger.getsockname())]
            async with trio_udp.open_client(servers=servers) as client:
                nursery.start_soon(forge, forger, [client.address.port, server.address.port])
                answers = [await client.request(question) for question in questions]
            nursery.cancel_scope.cancel()

    right = sum(map(bytes.__eq__, answers, questions))
    print(f"{len(questions)} requests, {right} right answers, {answers.count(b'FAKE')} fakes believed")
    for name, statistics in ("client", client.statistics()), ("server", server.statistics()):
        dropped = ", ".join(f"{count} {reason}" for reason, count in sorted(statistics.dropped.items()))
        print(f"the {name} dropped: {dropped}")


if __name__ == "__main__":
    trio.run(main)
