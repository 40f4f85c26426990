"""Names of the simulated network: they resolve, do not, or change."""

import socket
from typing import Any, Final

import pytest
import trio

from trio_udp.testing import NotSimulated, SimNet, simulated, temporary_failure

UDP: Final = socket.SOCK_DGRAM


async def resolve(host: Any, port: Any = 7, family: int = 0, flags: int = 0) -> list[Any]:
    """The socket addresses of a name."""
    found = await trio.socket.getaddrinfo(host, port, family, UDP, 0, flags)
    assert {(kind, proto, name) for _, kind, proto, name, _ in found} == {(UDP, socket.IPPROTO_UDP, "")}
    return [sockaddr for *_, sockaddr in found]


@simulated()
async def test_a_host_has_its_addresses(net: SimNet) -> None:
    """All of them, or those of one version; in capitals, with a dot at the end, as bytes."""
    net.host("Server", "198.51.100.1", "2001:db8:1::1", "198.51.100.2")
    four, six = [("198.51.100.1", 7), ("198.51.100.2", 7)], [("2001:db8:1::1", 7, 0, 0)]
    assert await resolve("server") == [four[0], six[0], four[1]]
    assert await resolve("SERVER.", family=socket.AF_INET) == four
    assert await resolve(b"server", family=socket.AF_INET6) == six


@simulated()
async def test_a_name_is_found_as_it_was_written(net: SimNet) -> None:
    """In capitals, or not."""
    net.names["Server.Example"] = ["198.51.100.1"]
    assert await resolve("Server.Example") == [("198.51.100.1", 7)]
    with pytest.raises(socket.gaierror):
        await resolve("server.example")


@simulated()
async def test_a_name_that_is_no_list_of_addresses_says_so(net: SimNet) -> None:
    """Not even one address, whose letters are a list of a kind."""
    net.names["service"] = "198.51.100.1"  # type: ignore[assignment]  # what is tested
    with pytest.raises(TypeError, match=r"expected the name 'service' to be a list of addresses .* got '198"):
        await resolve("service")


@simulated()
async def test_names_change_while_programs_run(net: SimNet) -> None:
    """To other addresses, to an error, to nothing."""
    net.names["service"] = ["198.51.100.1"]
    assert await resolve("service") == [("198.51.100.1", 7)]
    net.names["service"] = ["198.51.100.2"]
    assert await resolve("service") == [("198.51.100.2", 7)]
    net.names["service"] = failure = temporary_failure()
    for _ in range(2):
        with pytest.raises(socket.gaierror, match="Temporary failure") as caught:
            await resolve("service")
        assert caught.value is not failure
        assert caught.value.errno == socket.EAI_AGAIN
    del net.names["service"]
    with pytest.raises(socket.gaierror, match="not known"):
        await resolve("service")


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
@simulated()
async def test_no_name_is_this_host(net: SimNet, family: int) -> None:
    """The loopback to send to, the wildcard to bind to."""
    there, anywhere = (("127.0.0.1", "0.0.0.0"), ("::1", "::"))[family == socket.AF_INET6]  # noqa: S104 - a name
    names = {(await resolve(None, "coap", family, flags))[0][:2] for flags in (0, socket.AI_PASSIVE)}
    assert names == {(there, 5683), (anywhere, 5683)}


@simulated()
async def test_version_4_can_be_mapped(net: SimNet) -> None:
    """If there is no version 6, and somebody asks for it."""
    net.names["four"], net.names["both"] = ["198.51.100.1"], ["198.51.100.1", "2001:db8:1::1"]
    assert await resolve("four", 7, socket.AF_INET6, socket.AI_V4MAPPED) == [("::ffff:198.51.100.1", 7, 0, 0)]
    assert await resolve("both", 7, socket.AF_INET6, socket.AI_V4MAPPED) == [("2001:db8:1::1", 7, 0, 0)]
    with pytest.raises(socket.gaierror, match="No address"):
        await resolve("four", 7, socket.AF_INET6)


@simulated()
async def test_ports_are_numbers_or_a_few_services(net: SimNet) -> None:
    """Of UDP."""
    net.names["server"] = ["198.51.100.1"]
    ports = {port: (await resolve("server", port))[0][1] for port in (None, 7, "8", b"9", "domain", b"ntp")}
    assert ports == {None: 0, 7: 7, "8": 8, b"9": 9, "domain": 53, b"ntp": 123}
    with pytest.raises(socket.gaierror, match="Servname not supported"):
        await resolve("server", "gopher")


@simulated()
async def test_numeric_addresses_need_no_name_service(net: SimNet) -> None:
    """Neither in Trio nor asked directly; and names are none."""
    assert await resolve("203.0.113.1") == [("203.0.113.1", 7)]
    found = await net.getaddrinfo("203.0.113.1", "domain", 0, UDP)
    assert found[0][4] == ("203.0.113.1", 53)
    with pytest.raises(socket.gaierror, match="not known"):
        await resolve("localhost", flags=socket.AI_NUMERICHOST)


@simulated()
async def test_names_of_tcp_servers_are_not_simulated(net: SimNet) -> None:
    """Rather than looking as if they did not exist."""
    with pytest.raises(NotSimulated, match="only UDP is simulated"):
        await trio.socket.getaddrinfo("localhost", 80, 0, socket.SOCK_STREAM)
    with pytest.raises(NotSimulated, match="only UDP is simulated"):
        await trio.socket.getaddrinfo("localhost", 80, 0, 0, socket.IPPROTO_TCP)


@simulated()
async def test_addresses_have_names(net: SimNet) -> None:
    """The first one, unless it is asked for numbers."""
    net.names["other"], net.names["broken"] = ["198.51.100.1"], temporary_failure()
    net.host("server", "198.51.100.1")
    assert await trio.socket.getnameinfo(("198.51.100.1", 53), 0) == ("other", "domain")
    numbers = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
    assert await trio.socket.getnameinfo(("198.51.100.1", 53), numbers) == ("198.51.100.1", "53")
    assert await trio.socket.getnameinfo(("127.0.0.1", 9), 0) == ("localhost", "9")
    assert await trio.socket.getnameinfo(("203.0.113.1", 9), 0) == ("203.0.113.1", "9")
    with pytest.raises(socket.gaierror, match="not known"):
        await trio.socket.getnameinfo(("203.0.113.1", 9), socket.NI_NAMEREQD)


@simulated()
async def test_sockets_look_names_up(net: SimNet) -> None:
    """When they bind, connect and send."""
    net.host("server", "198.51.100.1")
    with net.hosts["server"].here():
        server = trio.socket.socket(type=UDP)
    await server.bind(("server", 7))
    client = trio.socket.socket(type=UDP)
    await client.connect(("server", "7"))
    await client.send(b"1")
    await client.sendto(b"2", ("server", 7))
    await client.sendmsg([b"3"], [], 0, ("server", 7))
    assert [await server.recv(10) for _ in range(3)] == [b"1", b"2", b"3"]
    with pytest.raises(socket.gaierror, match="not known"):
        await client.connect(("nobody", 7))
