"""A host with a raw socket: writes what it likes where the kernel would write the truth."""

import contextlib
import socket
from collections.abc import Iterator
from typing import Final

from trio_udp import Address
from trio_udp.testing import Icmp, Packet

from .namespaces import Host
from .packets import encode_udp, icmp_message, with_checksum

_RAW: Final = {False: socket.AF_INET, True: socket.AF_INET6}
"""By whether it is version 6."""


class Forger:
    """Somebody on this host. Made by `forger`."""

    def __init__(self, datagrams: dict[bool, socket.socket], errors: dict[bool, socket.socket]) -> None:
        self._datagrams = datagrams
        self._errors = errors

    def send(self, data: bytes, source: Address, destination: Address) -> None:
        """Send a datagram that says it comes from there."""
        packet = encode_udp(Packet(data, source, destination))
        self._datagrams[":" in destination.host].sendto(packet, (destination.host, 0))

    def send_icmp(self, kind: str, about: Packet, *, mtu: int = 0) -> None:
        """Tell the sender of a datagram, which it need not have sent, what became of it."""
        version6 = ":" in about.source.host
        message = icmp_message(Icmp(kind, about, mtu))
        self._errors[version6].sendto(message if version6 else with_checksum(message), (about.source.host, 0))


@contextlib.contextmanager
def forger(on: Host | None) -> Iterator[Forger]:
    """Someone who forges on this host, or in this thread's own namespace."""
    make = socket.socket if on is None else on.socket
    with contextlib.ExitStack() as opened:

        def raw(version6: bool, protocol: int) -> socket.socket:
            return opened.enter_context(make(_RAW[version6], socket.SOCK_RAW, protocol))

        yield Forger(
            # With IPPROTO_RAW the IP header is the forger's own, too.
            {version6: raw(version6, socket.IPPROTO_RAW) for version6 in _RAW},
            {False: raw(False, socket.IPPROTO_ICMP), True: raw(True, socket.IPPROTO_ICMPV6)},
        )
