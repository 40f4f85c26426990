"""Whose address is whose: hosts and translators, each with addresses that nobody else has."""

import ipaddress
import itertools
from collections.abc import Iterator
from typing import Final

from .._chaos import Packet
from .._net import Address
from ._hosts import Host
from ._nat import Nat, Place

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
_PUBLIC: Final = (ipaddress.IPv4Address("192.0.2.0"), ipaddress.IPv6Address("2001:db8::"))
_PRIVATE: Final = (ipaddress.IPv4Address("10.0.0.0"), ipaddress.IPv6Address("fd00::"))


class Places:
    """The hosts and translators of a network, by their addresses."""

    def __init__(self) -> None:
        self._at: dict[str, Place] = {}
        self._public = self._free(*_PUBLIC)
        self._private = self._free(*_PRIVATE)

    def free_addresses(self, nat: Nat | None = None) -> tuple[str, ...]:
        """Addresses that nobody has, one of each version; private ones behind a translator."""
        return next(self._public if nat is None else self._private)

    def settle(self, place: Place) -> None:
        """Let it have its addresses; `ValueError` if another has one of them, or if every host has."""
        for address in place.addresses:
            if address in self._at or Host.is_loopback(address):
                raise ValueError(f"expected an address that nobody has, got {address}")
            self._at[address] = place

    def at(self, address: str) -> Place | None:
        """Whose IP address that is."""
        return self._at.get(address)

    def name_at(self, address: str) -> str:
        """The name of whose address that is; the address itself if it is nobody's."""
        place = self._at.get(address)
        return address if place is None else place.name

    def end(self, address: Address) -> Place | None:
        """Whose address it is: behind a translator, the host's whose packets leave from there."""
        place = self._at.get(address.host)
        return place.host_at(address.port) or place if isinstance(place, Nat) else place

    def ends(self, packet: Packet) -> tuple[Place | None, Place | None]:
        """Where a packet comes from, and where it goes."""
        return self.end(packet.source), self.end(packet.destination)

    def _free(self, *bases: IPAddress) -> Iterator[tuple[str, ...]]:
        every = (tuple(str(base + number) for base in bases) for number in itertools.count(1))
        return filter(lambda addresses: self._at.keys().isdisjoint(addresses), every)
