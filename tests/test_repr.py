"""What objects say of themselves, in a debugger and where a test fails: which one it is, and whether it is over."""

import trio

import trio_udp
from trio_udp.measure import open_prober
from trio_udp.testing import SimNet, SimSocket, simulated

from .networks import echo, serving


async def test_a_client_and_a_prober_say_whom_they_ask() -> None:
    """All servers, and in which order."""
    async with trio_udp.open_client(servers=[("127.0.0.1", 9), ("::1", 9)]) as client:
        assert repr(client) == "<Client of 127.0.0.1:9, [::1]:9>"
    assert repr(client) == "<Client of 127.0.0.1:9, [::1]:9, closed>"
    async with open_prober("127.0.0.1", 9) as prober:
        assert repr(prober) == "<Prober of 127.0.0.1:9>"


async def test_a_server_says_where_it_listens() -> None:
    """And later, where it did."""
    async with serving(echo, host="127.0.0.1") as server:
        assert repr(server) == f"<Server at 127.0.0.1:{server.address.port}>"
        await server.drain()
        assert repr(server) == f"<Server at 127.0.0.1:{server.address.port}, stopped>"


@simulated(seed=7)
async def test_a_simulated_socket_says_whose_it_is(net: SimNet) -> None:
    """Trio's own class refuses, and then the failure of a test could not be shown."""
    client, server = net.host("client"), net.host("server", "192.0.2.9")
    assert repr(net) == "<SimNet of seed 7, hosts localhost, client, server>"
    with server.here():
        sock = trio.socket.socket(type=trio.socket.SOCK_DGRAM)
    assert isinstance(sock, SimSocket)
    assert repr(sock) == "<SimSocket of server, unbound>"
    await sock.bind(("", 7))
    assert (repr(sock), repr(sock.kernel)) == (
        "<SimSocket of server, 0.0.0.0:7>",
        "<SimUDP of server, 0.0.0.0:7>",
    )
    await sock.connect((client.addresses[0], 8))
    assert repr(sock) == f"<SimSocket of server, 192.0.2.9:7 to {client.addresses[0]}:8>"
    sock.close()
    assert repr(sock) == "<SimSocket of server, closed>"
