"""A name service with nothing in it but what the test says, and says differently a moment later."""

import functools
import ipaddress
import socket
from typing import Any, Final

import trio

from .._net import Address, normalise, to_sockaddr
from ._options import NotSimulated, word_of

Answer = list[str] | OSError
"""Numeric addresses, best first; or the error that asking raises, such as `socket.gaierror`."""

AddressInfo = Any
"""Family, kind, protocol, canonical name and socket address, as `socket.getaddrinfo` has them."""

_SERVICES: Final = {"domain": 53, "ntp": 123, "coap": 5683}
_SERVICE_NAMES: Final = {port: name for name, port in _SERVICES.items()}
_UNKNOWN: Final = (socket.EAI_NONAME, "Name or service not known")


class Names(trio.abc.HostnameResolver):
    """Names of the simulated network: a mapping that may change while programs run."""

    def __init__(self) -> None:
        self.table: dict[str, Answer] = {"localhost": ["127.0.0.1", "::1"]}
        """What each name resolves to."""

    async def getaddrinfo(  # noqa: PLR0917 - the interface of trio.abc.HostnameResolver
        self,
        host: bytes | str | None,
        port: bytes | str | int | None,
        family: int = 0,
        type: int = 0,  # noqa: A002 - the interface's own word
        proto: int = 0,
        flags: int = 0,
    ) -> list[AddressInfo]:
        """See `trio.abc.HostnameResolver`. Trio itself answers for numeric addresses."""
        await trio.lowlevel.checkpoint()
        if type not in (0, socket.SOCK_DGRAM) or proto not in (0, socket.IPPROTO_UDP):
            kind = word_of(socket.SocketKind, type)
            raise NotSimulated(f"only UDP is simulated, not names for sockets of type {kind} and protocol {proto}")
        addresses = self._look_up(host, flags)
        number = _port(port)
        found = [Address(name, number) for name in addresses]
        wanted = [address for address in found if family in (socket.AF_UNSPEC, address.family)]
        if not wanted and family == socket.AF_INET6 and flags & socket.AI_V4MAPPED:
            return [_info(address, socket.AF_INET6, proto) for address in found]
        if not wanted:
            raise socket.gaierror(socket.EAI_NODATA, "No address associated with hostname")
        return [_info(address, address.family, proto) for address in wanted]

    async def getnameinfo(self, sockaddr: Any, flags: int) -> tuple[str, str]:
        """The first name of an address, or the address itself."""
        await trio.lowlevel.checkpoint()
        host, port = sockaddr[:2]
        name = host if flags & socket.NI_NUMERICHOST else self.name_of(host)
        if name == host and flags & socket.NI_NAMEREQD:
            raise socket.gaierror(*_UNKNOWN)
        return name, str(port) if flags & socket.NI_NUMERICSERV else _SERVICE_NAMES.get(port, str(port))

    def name_of(self, address: str) -> str:
        """The first name of a numeric address, or the address itself."""
        for name, answer in self.table.items():
            if isinstance(answer, list) and address in answer:
                return name
        return address

    def _look_up(self, host: bytes | str | None, flags: int) -> list[str]:
        if not host:
            return ["0.0.0.0", "::"] if flags & socket.AI_PASSIVE else ["127.0.0.1", "::1"]  # noqa: S104 - not bound
        name = host.decode() if isinstance(host, bytes) else host
        if _is_numeric(name):
            return [name]
        # As it was written into the table, or as one writes names there.
        answer: Any = self.table.get(name) or self.table.get(name.lower().rstrip("."))
        if answer is None or flags & socket.AI_NUMERICHOST:
            raise socket.gaierror(*_UNKNOWN)
        if isinstance(answer, OSError):
            # A fresh one each time: an exception object keeps the traceback of where it was raised.
            raise type(answer)(*answer.args)
        if not isinstance(answer, list):
            raise TypeError(f"expected the name {name!r} to be a list of addresses or an OSError, got {answer!r}")
        return answer


def _info(address: Address, family: socket.AddressFamily, proto: int) -> AddressInfo:
    return (family, socket.SOCK_DGRAM, proto or socket.IPPROTO_UDP, "", to_sockaddr(address, family))


def _is_numeric(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _port(port: bytes | str | int | None) -> int:
    if port is None or isinstance(port, int):
        return port or 0
    text = port.decode() if isinstance(port, bytes) else port
    number = int(text) if text.isdecimal() else _SERVICES.get(text)
    if number is None:
        raise socket.gaierror(socket.EAI_SERVICE, f"Servname not supported for ai_socktype: {text}")
    return number


@functools.lru_cache(maxsize=1024)
def numeric(sockaddr: tuple[Any, ...]) -> Address:
    """The canonical form of a numeric address; `ValueError` for a name."""
    ipaddress.ip_address(sockaddr[0])
    return normalise(sockaddr)


def temporary_failure() -> socket.gaierror:
    """What asking raises while no name server answers."""
    return socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
