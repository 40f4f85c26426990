"""From names to addresses, all of them."""

import socket

import pytest
import trio

from trio_udp._net import Address, resolve

from ..networks import Names

ANY = {Address("0.0.0.0", 7), Address("::", 7)}  # noqa: S104 - compared, not bound


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "192.0.2.7"])
async def test_a_numeric_address_is_itself(host: str) -> None:
    """Nobody is asked."""
    trio.socket.set_custom_hostname_resolver(Names({}))
    assert await resolve(host, 7) == [Address(host, 7)]


async def test_no_name_is_every_address_of_this_host() -> None:
    """For listening; of one family if asked."""
    assert set(await resolve(None, 7)) <= ANY
    assert await resolve(None, 7, socket.AF_INET) == [Address("0.0.0.0", 7)]  # noqa: S104 - compared, not bound


async def test_a_name_is_all_its_addresses_in_order_each_once() -> None:
    """A mapped address is the IPv4 address it stands for."""
    names = {"many": ["::1", "127.0.0.2", "::ffff:127.0.0.2", "127.0.0.1", "127.0.0.2"]}
    trio.socket.set_custom_hostname_resolver(Names(names))
    assert await resolve("many", 7) == [Address("::1", 7), Address("127.0.0.2", 7), Address("127.0.0.1", 7)]
    assert await resolve("many", 7, socket.AF_INET) == [Address("127.0.0.2", 7), Address("127.0.0.1", 7)]


@pytest.mark.parametrize("port", [-1, 65_536, 10**9])
async def test_a_port_that_is_none_is_refused(port: int) -> None:
    """The C library would take it modulo 65536."""
    with pytest.raises(ValueError, match=f"^expected a port from 0 to 65535, got {port}$"):
        await resolve("127.0.0.1", port)


async def test_a_name_without_address_is_an_error_of_the_resolver() -> None:
    """As everywhere in Python."""
    trio.socket.set_custom_hostname_resolver(Names({}))
    with pytest.raises(socket.gaierror):
        await resolve("nobody", 7)


@pytest.mark.parametrize("host", ["a" * 64 + ".example", "ex..ample", "127.0.0.1\0.example"])
async def test_a_name_that_cannot_be_asked_for_is_the_same_error(host: str) -> None:
    """Python says UnicodeError to the first two, and cuts the third off at its NUL, which is a place nobody named."""
    with pytest.raises(socket.gaierror, match="not a host name"):
        await resolve(host, 7)
