"""Address translators: what hosts behind them have in common with a home, an office, a telephone network."""

import itertools
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, NamedTuple

from .._chaos import Icmp, Packet
from .._net import Address
from ._hosts import FIRST_PORT, PORTS, Host, of_version

if TYPE_CHECKING:
    from ._simnet import SimNet

_FILTERED: Final = "dropped by NAT"
_MAPPINGS_KEPT: Final = 16_384
_PEERS_KEPT: Final = 1024


class Nat:
    """An address translator: hosts behind it share its outside addresses. Made by `SimNet.nat`.

    Yours are `addresses`, `rebind` and `host_at`; the network calls the others.

    It gives each inside address and port one outside port, and lets in only what comes from where that port has sent
    to (RFC 4787: endpoint-independent mapping, address- and port-dependent filtering).
    """

    def __init__(self, net: "SimNet", name: str, addresses: tuple[str, ...]) -> None:
        self.net: Final = net
        self.name: Final = name
        self.addresses: Final = addresses
        """Its outside addresses: the first of a version is where packets of that version leave from."""
        self._ports = itertools.cycle(range(FIRST_PORT, FIRST_PORT + PORTS))
        self._by_source: OrderedDict[Address, _Mapping] = OrderedDict()
        self._by_port: dict[int, _Mapping] = {}

    def __repr__(self) -> str:
        return f"<Nat {self.name} {' '.join(self.addresses)}>"

    def rebind(self) -> None:
        """Forget all mappings, as at a restart: the next packet of a flow leaves from another port."""
        self._by_source.clear()
        self._by_port.clear()

    def is_inside(self, address: str) -> bool:
        """Whether an IP address is that of a host behind this translator."""
        place = self.net.host_of(address)
        return isinstance(place, Host) and place.nat is self

    def outside(self, destination: Address) -> str:
        """Which of its addresses packets leave from that go there; `ENETUNREACH` where it has none of that version."""
        return of_version(self.addresses, destination)

    def host_at(self, port: int) -> Host | None:
        """Whose packets leave from this outside port."""
        mapping = self._by_port.get(port)
        return None if mapping is None else mapping.host

    def outward(self, packet: Packet) -> Packet:
        """The packet as the world sees it."""
        if packet.icmp is not None:
            return self._icmp_outward(packet, packet.icmp)
        mapping = self._by_source.get(packet.source) or self._map(packet.source)
        mapping.peers[packet.destination] = None
        if len(mapping.peers) > _PEERS_KEPT:
            del mapping.peers[next(iter(mapping.peers))]
        return packet._replace(source=Address(self.outside(packet.destination), mapping.port))

    def receive(self, packet: Packet) -> str:
        """Take a packet from outside; what became of it."""
        if packet.icmp is not None:
            return self._receive_icmp(packet, packet.icmp)
        mapping = self._by_port.get(packet.destination.port)
        if mapping is None or packet.source not in mapping.peers:
            return _FILTERED
        return mapping.host.receive(packet._replace(destination=mapping.source))

    def _icmp_outward(self, packet: Packet, icmp: Icmp) -> Packet:
        about = icmp.about
        mapping = self._by_source.get(about.destination)
        port = about.destination.port if mapping is None else mapping.port
        outside = self.outside(packet.destination)
        about = about._replace(destination=Address(outside, port))
        return packet._replace(source=Address(outside, 0), icmp=icmp._replace(about=about))

    def _receive_icmp(self, packet: Packet, icmp: Icmp) -> str:
        about = icmp.about
        mapping = self._by_port.get(about.source.port)
        if mapping is None or about.source.host not in self.addresses:
            return _FILTERED
        icmp = icmp._replace(about=about._replace(source=mapping.source))
        return mapping.host.receive(packet._replace(destination=mapping.source, icmp=icmp))

    def _map(self, source: Address) -> "_Mapping":
        host = self.net.host_of(source.host)
        assert isinstance(host, Host)
        if len(self._by_source) >= _MAPPINGS_KEPT:
            _, forgotten = self._by_source.popitem(last=False)
            del self._by_port[forgotten.port]
        port = next(port for port in self._ports if port not in self._by_port)
        self._by_source[source] = self._by_port[port] = mapping = _Mapping(source, host, port, {})
        return mapping


class _Mapping(NamedTuple):
    """What a translator remembers of one inside address and port."""

    source: Address
    host: Host
    port: int
    peers: dict[Address, None]
    """Where it has sent to, oldest first: who may answer."""


Place = Host | Nat
"""Whose an IP address can be."""
