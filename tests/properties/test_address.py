"""Address comparison (A6), for all addresses."""

import ipaddress
import socket

from hypothesis import given
from hypothesis import strategies as st

from trio_udp._net import Address, normalise, to_sockaddr
from trio_udp._net._address import address_of_name, name_of_address

PORTS = st.integers(0, 65_535)
FLOWS = st.integers(0, 2**20 - 1)
SCOPES = st.integers(0, 2**32 - 1)
LINK_LOCAL = st.integers(0, 2**64 - 1).map(lambda interface: ipaddress.IPv6Address(0xFE80 << 112 | interface))
MAPPED = st.ip_addresses(v=4).map(lambda host: ipaddress.IPv6Address(f"::ffff:{host}"))
IPV6_HOSTS = st.ip_addresses(v=6) | LINK_LOCAL | MAPPED
SOCKADDRS = st.tuples(st.ip_addresses(v=4).map(str), PORTS) | st.tuples(IPV6_HOSTS.map(str), PORTS, FLOWS, SCOPES)


@given(SOCKADDRS)
def test_normalising_is_idempotent(sockaddr: tuple[str, int]) -> None:
    """A6: the canonical form is its own canonical form, also by way of what the kernel is told."""
    address = normalise(sockaddr)
    assert normalise(address) == address
    assert normalise(to_sockaddr(address, socket.AF_INET6)) == address
    assert normalise(to_sockaddr(address, address.family)) == address


@given(SOCKADDRS)
def test_an_address_survives_the_kernels_own_form(sockaddr: tuple[str, int]) -> None:
    """A6: read from bytes or from Python's tuples, equal addresses are equal values."""
    address = normalise(sockaddr)
    assert address_of_name(name_of_address(address, socket.AF_INET6)) == address
    assert address_of_name(name_of_address(address, address.family)) == address


@given(st.ip_addresses(v=4), PORTS, FLOWS, SCOPES)
def test_a_mapped_address_equals_the_ipv4_address(
    host: ipaddress.IPv4Address, port: int, flow: int, scope: int
) -> None:
    """A6: whatever a dual-stack socket adds to it."""
    assert normalise((f"::ffff:{host}", port, flow, scope)) == normalise((str(host), port)) == Address(str(host), port)


@given(IPV6_HOSTS, PORTS, FLOWS, FLOWS, SCOPES)
def test_the_flow_label_never_counts(host: ipaddress.IPv6Address, port: int, one: int, other: int, scope: int) -> None:
    """A6: two datagrams of one peer may carry different ones."""
    assert normalise((str(host), port, one, scope)) == normalise((str(host), port, other, scope))


@given(IPV6_HOSTS, PORTS, SCOPES, SCOPES)
def test_the_scope_counts_for_link_local_addresses_only(
    host: ipaddress.IPv6Address, port: int, one: int, other: int
) -> None:
    """A6: on every other address a scope means nothing."""
    same = normalise((str(host), port, 0, one)) == normalise((str(host), port, 0, other))
    assert same == (one == other or not host.is_link_local)


@given(IPV6_HOSTS, PORTS, SCOPES)
def test_every_spelling_of_an_ipv6_address_is_the_same(host: ipaddress.IPv6Address, port: int, scope: int) -> None:
    """A6: long or short, upper or lower case."""
    spellings = {str(host), host.exploded, host.exploded.upper(), str(host).upper()}
    assert len({normalise((spelling, port, 0, scope)) for spelling in spellings}) == 1


@given(SOCKADDRS, SOCKADDRS)
def test_addresses_are_equal_only_if_they_reach_the_same_socket(one: tuple[str, int], other: tuple[str, int]) -> None:
    """A6: nobody is taken for somebody else: equal values are told to the kernel in equal words."""
    same = normalise(one) == normalise(other)
    assert same == (to_sockaddr(normalise(one), socket.AF_INET6) == to_sockaddr(normalise(other), socket.AF_INET6))
    assert same == (str(normalise(one)) == str(normalise(other)))
