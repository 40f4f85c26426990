"""What the tests of the simulated network share."""

import socket

import trio
import trio.testing

from trio_udp.testing import Host, SimNet


async def bound(host: Host, address: str | None = None, port: int = 0) -> trio.socket.SocketType:
    """A socket of this host's, bound there; to any address of version 4 by default."""
    address = address or "0.0.0.0"  # noqa: S104 - simulated
    with host.here():
        sock = trio.socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
        await sock.bind((address, port))
    return sock


async def connected(host: Host, *peer: object) -> trio.socket.SocketType:
    """A socket of this host's, connected to there."""
    with host.here():
        sock = trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        await sock.connect(peer)
    return sock


async def heard(sock: trio.socket.SocketType, *, after: float = 0.0) -> list[bytes]:
    """Everything that has come by then."""
    await trio.sleep(after)
    found = []
    while sock.is_readable():
        found.append(await sock.recv(65_536))
    return found


def fates(net: SimNet) -> list[str]:
    """What became of every packet, in the order in which they were sent."""
    return ["; ".join(fate.what for fate in record.fates) or "on its way" for record in net.trace]
