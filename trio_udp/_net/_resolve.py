"""From names to addresses, all of them."""

import socket

import trio

from ._address import Address, lacks_scope, normalise


async def resolve(host: str | None, port: int, family: socket.AddressFamily = socket.AF_UNSPEC) -> list[Address]:
    """All addresses of a name, best first, each once; None means every address of this host (to listen on).

    Raises `ValueError` for a port that is none and for a link-local address without a scope, which the kernel can do
    nothing with, `TypeError` for a host or port of another kind, and `socket.gaierror` for a name without an address.
    Beside other addresses of a name, one without its scope is left out. When it is cancelled, what the system has begun
    goes on in its thread, and nobody waits for it.
    """
    _check_kinds(host, port)
    if not 0 <= port <= 65_535:
        raise ValueError(f"expected a port from 0 to 65535, got {port}")
    if host is not None and "\0" in host:  # C would read the name up to here
        raise socket.gaierror(socket.EAI_NONAME, "not a host name: it has a NUL in it")
    flags = socket.AI_PASSIVE if host is None else 0
    try:
        found = await trio.socket.getaddrinfo(host, port, family, socket.SOCK_DGRAM, 0, flags)
    except (
        ValueError
    ) as exc:  # what Python says to a name that cannot even be asked for, such as one with a label too long
        raise socket.gaierror(socket.EAI_NONAME, f"not a host name: {exc}") from None
    addresses = list(dict.fromkeys(normalise(sockaddr) for *_, sockaddr in found))
    usable = [address for address in addresses if not lacks_scope(address)]
    if addresses and not usable:
        raise ValueError(f"expected a link-local address with a scope, as fe80::1%eth0, got {addresses[0].host}")
    return usable


def _check_kinds(host: object, port: object) -> None:
    """What Python's own look-up would say of them is `OSError: Int or String expected`."""
    if not (host is None or isinstance(host, str)):
        raise TypeError(f"expected host to be str or None, got {type(host).__name__}")
    if not isinstance(port, int):
        raise TypeError(f"expected port to be int, got {type(port).__name__}")
