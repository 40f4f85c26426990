"""What befalls a machine: devices that go down, addresses and routes that come and go, more addresses than one."""

import pytest
import trio

from trio_udp import Client, NoReply, Request, RetryPolicy

from .namespaces import Host
from .programs import OTHER, SERVER, asking, cabled, serving, upper

pytestmark = pytest.mark.usefixtures("hosts")


async def until_failed(client: Client, error: str) -> None:
    """Wait until an attempt has failed like that."""
    while error not in client.statistics().endpoint.send_errors:
        await trio.sleep(0.01)


@pytest.mark.parametrize("connect", [True, False])
@pytest.mark.parametrize("host", [address.partition("/")[0] for address in OTHER])
async def test_a_reply_leaves_from_whichever_address_was_asked(host: str, connect: bool) -> None:
    """E6: two of IPv4 and two of IPv6, on one device. A client that is connected would not even see another one."""
    async with cabled() as (here, there), serving(there), asking(here, host, connect=connect) as client:
        reply = await client.exchange(b"question")
        assert (reply.payload, reply.attempts, reply.peer.host) == (b"QUESTION", 1, host)
        assert client.statistics().dropped == {}


@pytest.mark.parametrize("connect", [True, False])
async def test_a_device_that_goes_down_costs_attempts_and_no_request(connect: bool) -> None:
    """G6: the same request is answered when it comes up again."""
    async with cabled() as (here, there), serving(there), asking(here, SERVER, connect=connect) as client:
        assert await client.request(b"before") == b"BEFORE"
        here.ip("link set eth0 down")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(up_when_failed, here, client)
            reply = await client.exchange(b"meanwhile")
        assert reply.payload == b"MEANWHILE"
        assert reply.attempts > 1


async def up_when_failed(here: Host, client: Client) -> None:
    """Somebody plugs it in again."""
    await until_failed(client, "ENETUNREACH")
    here.ip("link set eth0 up")


async def test_a_servers_device_that_goes_down_costs_answers_and_no_request() -> None:
    """G6, E7: the server serves on, and answers when it comes up again."""
    async with cabled() as (here, there), serving(there) as server, asking(here, SERVER) as client:
        assert await client.request(b"before") == b"BEFORE"
        there.ip("link set eth0 down")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.request, b"meanwhile")
            await trio.sleep(0.15)
            assert client.statistics().in_flight == 1
            there.ip("link set eth0 up")
        assert client.statistics().replies == 2
        assert server.statistics().requests >= 2


@pytest.mark.parametrize("connect", [True, False])
async def test_an_address_that_is_taken_away_comes_back(connect: bool) -> None:
    """G6: the client's own; a connected socket keeps it in mind, and cannot send without it."""
    async with cabled() as (here, there), serving(there), asking(here, SERVER, connect=connect) as client:
        assert await client.request(b"before") == b"BEFORE"
        here.ip("addr del 192.0.2.1/24 dev eth0")
        with pytest.raises(NoReply):
            await client.request(b"meanwhile", policy=RetryPolicy(initial=0.02, adaptive=False, jitter=0, attempts=3))
        assert client.statistics().endpoint.send_errors
        here.ip("addr add 192.0.2.1/24 dev eth0")
        assert await client.request(b"after") == b"AFTER"


async def test_a_server_whose_address_is_taken_away_while_it_answers_serves_on() -> None:
    """E6, E7: the reply has nowhere to leave from, which is counted; its new address is answered from."""
    async with cabled() as (here, there):

        def lose_the_address(request: Request) -> bytes:
            if request.payload == b"lose it":
                there.ip(f"addr del {SERVER}/24 dev eth0")
                there.ip("addr add 192.0.2.9/24 dev eth0")
            return upper(request)

        once = RetryPolicy(initial=0.05, adaptive=False, jitter=0, attempts=1)
        async with serving(there, lose_the_address) as server:
            async with asking(here, SERVER, policy=once) as client:
                with pytest.raises(NoReply):
                    await client.request(b"lose it")
            async with asking(here, "192.0.2.9") as client:
                assert await client.request(b"question") == b"QUESTION"
            assert (server.statistics().requests, server.statistics().unanswered) == (2, 1)


async def test_a_missing_route_costs_attempts_until_there_is_one() -> None:
    """G6: neither opening the client nor asking fails for it."""
    far = "198.51.100.7"
    async with cabled() as (here, there), serving(there), asking(here, far) as client, trio.open_nursery() as nursery:
        there.ip(f"addr add {far}/32 dev eth0")
        nursery.start_soon(route_when_failed, here, client, far)
        reply = await client.exchange(b"question")
        assert (reply.payload, reply.peer.host) == (b"QUESTION", far)
        assert client.statistics().endpoint.send_errors["ENETUNREACH"] == reply.attempts - 1


async def route_when_failed(here: Host, client: Client, far: str) -> None:
    """Somebody types the line that was forgotten."""
    await until_failed(client, "ENETUNREACH")
    here.ip(f"route add {far} via {SERVER}")


@pytest.mark.parametrize("connect", [True, False])
async def test_a_device_that_carries_less_than_the_datagram_ends_nothing_but_it(connect: bool) -> None:
    """G1, G4: the kernel refuses what is too long for the device; what fits is answered."""
    once = RetryPolicy(initial=0.05, adaptive=False, jitter=0, attempts=2)
    async with cabled() as (here, there), serving(there), asking(here, SERVER, connect=connect) as client:
        here.ip("link set eth0 mtu 600")
        with pytest.raises(NoReply):
            await client.request(bytes(1000), policy=once)
        assert client.statistics().endpoint.send_errors == {"EMSGSIZE": 2}
        assert await client.request(bytes(500)) == bytes(500)
