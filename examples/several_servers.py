"""Three servers, two of them dead: the client finds the one that lives, and the next when that dies too.

One server's port is closed, so that the kernel refuses; one hears and says nothing; one answers. Every request goes to
the servers in turn until one answers. Who answered last is asked first, so the price is paid once.
"""

from functools import partial

import trio

import trio_udp

HOST = "127.0.0.1"


def silent(request: trio_udp.Request) -> None:
    """Hear a request and say nothing, as a server that hangs."""


def named(name: bytes) -> trio_udp.Handler:
    """A handler that says who answers."""
    return lambda request: name


async def main() -> None:
    """Ask, let the server that answers die, and ask again."""
    async with trio.open_nursery() as nursery:

        async def start(handler: trio_udp.Handler) -> trio_udp.Server:
            server: trio_udp.Server = await nursery.start(partial(trio_udp.serve, handler, 0, host=HOST))
            return server

        closed, hung, first, second = [
            await start(handler) for handler in (silent, silent, named(b"first"), named(b"second"))
        ]
        await closed.drain()

        async with trio_udp.open_client(servers=[s.address for s in (closed, hung, first, second)]) as client:
            for question in range(1, 7):
                reply = await client.exchange(b"Who are you?")
                print(f"question {question}: {reply.payload.decode()}, transmissions: {reply.attempts}")
                if question == 3:
                    await first.drain()
                    print("the first server is gone")
            hints = dict(client.statistics().endpoint.hints)
        print(f"ICMP errors, which ended nothing: {hints}")
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
