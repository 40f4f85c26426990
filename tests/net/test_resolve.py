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


@pytest.mark.parametrize("host", ["fe80::1", "febf::1", "on one link"])
async def test_a_link_local_address_without_a_scope_is_refused(host: str) -> None:
    """At once, and not by `EINVAL` from every call that uses it; a scope of any spelling will do."""
    trio.socket.set_custom_hostname_resolver(Names({"on one link": ["fe80::1"]}))
    with pytest.raises(ValueError, match=r"^expected a link-local address with a scope, as fe80::1%eth0, got fe"):
        await resolve(host, 7)
    assert [each.host for each in await resolve("fe80::1%1", 7)] == ["fe80::1%1"]
    assert [each.host for each in await resolve("fe80::1%lo", 7)] == [f"fe80::1%{socket.if_nametoindex('lo')}"]


@pytest.mark.parametrize("host", ["fec0::1", "fe7f::1", "169.254.0.1", "ff02::1"])
async def test_other_addresses_need_no_scope(host: str) -> None:
    """Not even those of IPv4 that are link-local."""
    assert await resolve(host, 7) == [Address(host, 7)]


async def test_an_address_without_its_scope_is_left_out_beside_others() -> None:
    """What a name service can say of a host is no mistake of the caller's."""
    trio.socket.set_custom_hostname_resolver(Names({"both": ["fe80::1", "127.0.0.1"]}))
    assert await resolve("both", 7) == [Address("127.0.0.1", 7)]


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
