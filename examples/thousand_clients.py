"""One server and a thousand client tasks in one nursery, over two sockets.

All tasks share one client. Each gets the answer to its own question, because answers are matched by their ids and not
by the order in which they come: the server answers in random order on purpose.
"""

import os
import random
from functools import partial
from pathlib import Path

import trio

import trio_udp

CLIENTS = 1000
DESCRIPTORS = Path("/proc/self/fd")


async def square(request: trio_udp.Request) -> bytes:
    """Answer after a random wait, so that answers overtake each other."""
    await trio.sleep(random.uniform(0, 0.05))
    return str(int(request.payload) ** 2).encode()


def descriptors() -> int:
    """Files and sockets this process has open, where the system says so."""
    return len(os.listdir(DESCRIPTORS)) if DESCRIPTORS.exists() else 0


async def main() -> None:
    """Start everything in one nursery."""
    answers: dict[int, int] = {}
    before = descriptors()
    async with trio.open_nursery() as nursery:
        server: trio_udp.Server = await nursery.start(partial(trio_udp.serve, square, 0, host="127.0.0.1"))
        async with trio_udp.open_client(*server.address) as client:

            async def ask(number: int) -> None:
                answers[number] = int(await client.request(str(number).encode()))

            async with trio.open_nursery() as clients:
                for number in range(CLIENTS):
                    clients.start_soon(ask, number)
            in_use = descriptors() - before
            statistics = client.statistics()
        nursery.cancel_scope.cancel()

    right = sum(answers[number] == number**2 for number in range(CLIENTS))
    print(f"{CLIENTS} clients, {right} right answers, {in_use} descriptors")
    print(f"{statistics.endpoint.datagrams_sent} datagrams sent, {statistics.endpoint.datagrams_received} received")


if __name__ == "__main__":
    trio.run(main)
