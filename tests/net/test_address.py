"""Addresses compare in parsed form (A6): a table of pairs, and what the kernel is told."""

import errno
import socket

import pytest

from trio_udp._net import Address, loopback_of, normalise, to_sockaddr

IPV4 = socket.AF_INET
IPV6 = socket.AF_INET6

SAME = {
    "mapped": (("127.0.0.1", 1060), ("::ffff:127.0.0.1", 1060, 0, 0)),
    "mapped, written in hexadecimal": (("127.0.0.1", 1060), ("::ffff:7f00:1", 1060, 0, 0)),
    "mapped, with a scope": (("192.0.2.7", 1060), ("::ffff:192.0.2.7", 1060, 0, 3)),
    "mapped link-local": (("169.254.1.1", 1060), ("::ffff:169.254.1.1", 1060, 0, 3)),
    "two-element IPv6": (("::1", 1060), ("::1", 1060, 0, 0)),
    "flow label": (("2001:db8::1", 1060, 0, 0), ("2001:db8::1", 1060, 0xBEEF, 0)),
    "flow label of a link-local": (("fe80::1", 1060, 0, 2), ("fe80::1", 1060, 0xBEEF, 2)),
    "scope of a global": (("2001:db8::1", 1060, 0, 0), ("2001:db8::1", 1060, 0, 4)),
    "scope of a unique local": (("fd00::1", 1060, 0, 1), ("fd00::1", 1060, 0, 2)),
    "scope of the loopback": (("::1", 1060, 0, 0), ("::1", 1060, 0, 1)),
    "scope by number and in the name": (("fe80::1", 1060, 0, 2), ("fe80::1%2", 1060, 0, 2)),
    "scope in the name alone": (("fe80::1", 1060, 0, 2), ("fe80::1%2", 1060, 0, 0)),
    "long form": (("::1", 1060, 0, 0), ("0:0:0:0:0:0:0:1", 1060, 0, 0)),
    "upper case": (("2001:db8::abcd", 1060, 0, 0), ("2001:DB8::ABCD", 1060, 0, 0)),
}

DIFFERENT = {
    "port": (("127.0.0.1", 1060), ("127.0.0.1", 1061)),
    "host": (("127.0.0.1", 1060), ("127.0.0.2", 1060)),
    "port of a mapped": (("127.0.0.1", 1060), ("::ffff:127.0.0.1", 1061, 0, 0)),
    "compatible is not mapped": (("127.0.0.1", 1060), ("::127.0.0.1", 1060, 0, 0)),
    "the two loopbacks": (("127.0.0.1", 1060), ("::1", 1060, 0, 0)),
    "the two unspecified": (("0.0.0.0", 1060), ("::", 1060, 0, 0)),  # noqa: S104 - compared, not bound
    "scope of a link-local": (("fe80::1", 1060, 0, 2), ("fe80::1", 1060, 0, 3)),
    "scope of a link-local in the name": (("fe80::1%2", 1060, 0, 0), ("fe80::1%3", 1060, 0, 0)),
    "no scope of a link-local": (("fe80::1", 1060, 0, 0), ("fe80::1", 1060, 0, 3)),
}


@pytest.mark.parametrize(("one", "other"), SAME.values(), ids=SAME)
def test_spellings_of_one_address_are_equal_values(one: tuple[str, int], other: tuple[str, int]) -> None:
    """A6: however the kernel spells a peer, it is one value with one hash."""
    assert normalise(one) == normalise(other)
    assert hash(normalise(one)) == hash(normalise(other))


@pytest.mark.parametrize(("one", "other"), DIFFERENT.values(), ids=DIFFERENT)
def test_different_addresses_stay_different(one: tuple[str, int], other: tuple[str, int]) -> None:
    """A6: nothing that names another peer is thrown away."""
    assert normalise(one) != normalise(other)


@pytest.mark.parametrize(
    ("sockaddr", "text"),
    [
        (("127.0.0.1", 1060), "127.0.0.1:1060"),
        (("::ffff:127.0.0.1", 1060, 0, 0), "127.0.0.1:1060"),
        (("::1", 1060, 0, 0), "[::1]:1060"),
        (("fe80::1", 1060, 0, 2), "[fe80::1%2]:1060"),
        (("fe80::1", 1060, 0, 0), "[fe80::1]:1060"),
    ],
)
def test_an_address_is_written_as_in_a_url(sockaddr: tuple[str, int], text: str) -> None:
    """The port is told from the last group of an IPv6 address."""
    address = normalise(sockaddr)
    assert (str(address), f"{address}", f"{address:>30}") == (text, text, text.rjust(30))


@pytest.mark.parametrize(
    ("address", "family", "sockaddr"),
    [
        (Address("127.0.0.1", 9), IPV4, ("127.0.0.1", 9)),
        (Address("127.0.0.1", 9), IPV6, ("::ffff:127.0.0.1", 9, 0, 0)),
        (Address("::1", 9), IPV6, ("::1", 9, 0, 0)),
        (Address("fe80::1%2", 9), IPV6, ("fe80::1", 9, 0, 2)),
        (Address("fe80::1", 9), IPV6, ("fe80::1", 9, 0, 0)),
    ],
)
def test_the_kernel_is_told_the_address_in_the_terms_of_the_socket(
    address: Address, family: socket.AddressFamily, sockaddr: tuple[object, ...]
) -> None:
    """What `to_sockaddr` says is what `normalise` reads."""
    assert to_sockaddr(address, family) == sockaddr
    assert normalise(sockaddr) == address


def test_an_ipv4_socket_cannot_send_to_an_ipv6_address() -> None:
    """The error is the kernel's own, and names the address."""
    with pytest.raises(OSError, match=r"an IPv4 socket cannot use \[::1\]:9") as caught:
        to_sockaddr(Address("::1", 9), IPV4)
    assert caught.value.errno == errno.EAFNOSUPPORT


def test_a_scope_may_be_an_interface_name() -> None:
    """`fe80::1%lo`, as people write it, is `fe80::1%1`, as the kernel compares it."""
    index, name = socket.if_nameindex()[0]
    assert normalise((f"fe80::1%{name}", 9, 0, 0)) == Address(f"fe80::1%{index}", 9)
    assert to_sockaddr(Address(f"fe80::1%{name}", 9), IPV6) == ("fe80::1", 9, 0, index)


def test_an_address_unpacks_into_host_and_port() -> None:
    """So `open_client(*server.address)` works."""
    host, port = Address("127.0.0.1", 1060)
    assert (host, port) == ("127.0.0.1", 1060)


@pytest.mark.parametrize(("host", "family"), [("127.0.0.1", IPV4), ("::1", IPV6), ("fe80::1%2", IPV6)])
def test_an_address_knows_its_family(host: str, family: socket.AddressFamily) -> None:
    """A mapped address has become IPv4 before this is asked."""
    assert Address(host, 0).family == family


@pytest.mark.parametrize(
    ("host", "reached"),
    [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("127.0.0.2", "127.0.0.2"), ("::1", "::1"), ("192.0.2.1", "192.0.2.1")],  # noqa: S104 - the same
)
def test_the_unspecified_address_is_reached_on_the_loopback(host: str, reached: str) -> None:
    """A7: a reply to what was sent to 0.0.0.0 comes from 127.0.0.1, and is expected from there."""
    address = Address(host, 1060)
    assert loopback_of(address) == Address(reached, 1060)
    assert address.is_unspecified == (host != reached)
