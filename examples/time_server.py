"""A server and a client in one program: what time is it?

The handler is an `async def`, so each request has a task of its own and may wait without holding up the others. The
client knows nothing about retransmission: `trio.fail_after` is the only limit it sets.
"""

from datetime import UTC, datetime

import trio

import trio_udp


async def tell_the_time(request: trio_udp.Request) -> bytes:
    """Answer one request; a real server would look something up here."""
    await trio.sleep(0.05)
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return f"{request.payload.decode(errors='replace')} It is {now}.".encode()


async def main() -> None:
    """Serve, ask three times, and stop gently."""
    async with trio.open_nursery() as nursery:
        server: trio_udp.Server = await nursery.start(trio_udp.serve, tell_the_time, 0)
        print(f"serving on port {server.address.port}")

        async with trio_udp.open_client("127.0.0.1", server.address.port) as client:
            for _ in range(3):
                with trio.fail_after(2):
                    reply = await client.exchange(b"What time is it?")
                print(f"{reply.payload.decode()} (asked {reply.peer.host}, {reply.attempts} transmissions)")

        await server.drain()
    statistics = server.statistics()
    print(
        f"answered {statistics.replies} of {statistics.requests} requests, {statistics.retries} asked again with room"
    )


if __name__ == "__main__":
    trio.run(main)
