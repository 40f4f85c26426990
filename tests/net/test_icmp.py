"""ICMP errors as bytes, against others who write them."""

import socket

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from trio_udp import Address
from trio_udp._net._icmp import ICMP_CODES, RawSocketForbidden, icmp_about, open_icmp_forger
from trio_udp.testing import Icmp, Packet

from ..netns.packets import encode_icmp

CLIENTS = {4: Address("192.0.2.1", 40_000), 6: Address("2001:db8::1", 40_000)}
SERVERS = {4: Address("192.0.2.2", 1060), 6: Address("2001:db8::2", 1060)}
HEADERS = {4: 20, 6: 40}


@given(st.sampled_from([4, 6]), st.sampled_from(sorted(ICMP_CODES)), st.binary(max_size=500))
def test_an_error_is_what_a_router_would_send(version: int, kind: str, data: bytes) -> None:
    """Type, code, both checksums, and the packet that it quotes, whole where there is room."""
    client, server = CLIENTS[version], SERVERS[version]
    written = icmp_about(kind, data, client, server)
    wanted = encode_icmp(Icmp(kind, Packet(data, client, server, may_fragment=False)), server.host)
    assert written[HEADERS[version] :] == wanted[HEADERS[version] :]
    assert len(written) == len(wanted)


def test_a_long_packet_is_quoted_as_far_as_there_is_room() -> None:
    """576 bytes in all, which every link carries (RFC 1812)."""
    assert len(icmp_about("port unreachable", bytes(60_000), CLIENTS[4], SERVERS[4])) == 576


class NoRawSockets(trio.abc.SocketFactory):
    """Those of a user without privileges."""

    def socket(self, family: int = 0, kind: int = 0, proto: int = 0) -> trio.socket.SocketType:
        """See `trio.abc.SocketFactory.socket`."""
        raise PermissionError(1, "Operation not permitted")


async def test_who_may_not_forge_is_told_what_it_takes() -> None:
    """In the error's own words."""
    trio.socket.set_custom_socket_factory(NoRawSockets())
    with pytest.raises(RawSocketForbidden, match="for root or who has CAP_NET_RAW"):
        open_icmp_forger(socket.AF_INET)


async def test_an_error_that_cannot_be_sent_is_told_by_its_name() -> None:
    """As a datagram is (G6)."""
    try:
        forger = open_icmp_forger(socket.AF_INET)
    except RawSocketForbidden as exc:
        pytest.skip(str(exc))
    try:
        assert await forger.send(bytes(70_000), Address("127.0.0.1", 9)) == "EMSGSIZE"
    finally:
        forger.close()
