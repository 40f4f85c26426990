"""What this system can do for UDP, tried and not guessed: on sockets of its own, over loopback, in no time."""

import contextlib
import select
import socket
from pathlib import Path
from typing import Final, NamedTuple

from . import _ancillary as anc
from ._kernel import has_option
from ._mmsg import find_calls
from ._socket import RECEIVE_BUFFER

_RECEIVE_LIMIT: Final = Path("/proc/sys/net/core/rmem_max")
_PATIENCE: Final = 0.2
"""Seconds to wait for an ICMP error over loopback, which comes at once or never."""
_QUEUE: Final = getattr(socket, "MSG_ERRQUEUE", 0)


class Abilities(NamedTuple):
    """What there is."""

    has_batches: bool
    """recvmmsg and sendmmsg: many datagrams in one system call."""
    sends_runs: bool
    """UDP_SEGMENT: many datagrams cross the kernel in one piece."""
    receives_runs: bool
    """UDP_GRO: the same the other way."""
    has_error_queue: bool
    """IP_RECVERR: ICMP errors come with the datagram that they are about."""
    has_ipv6: bool
    """An IPv6 socket can be bound to the loopback address."""
    receive_wanted: int
    """Bytes of receive buffer that our sockets ask for."""
    receive_granted: int | None
    """What they get; None where that cannot be asked."""
    receive_limit: int | None
    """net.core.rmem_max; None where there is no such file."""


def find_abilities() -> Abilities:
    """Try all of them."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        return Abilities(
            has_batches=find_calls() is not None,
            sends_runs=has_option(sock, anc.UDP_SEGMENT, 0),
            receives_runs=has_option(sock, anc.UDP_GRO, 1),
            has_error_queue=_has_error_queue(),
            has_ipv6=_has_ipv6(),
            receive_wanted=RECEIVE_BUFFER,
            receive_granted=_receive_granted(sock),
            receive_limit=_receive_limit(),
        )


def _has_error_queue() -> bool:
    """Whether asking a port where nobody listens brings the error, with the datagram."""
    if not anc.IS_LINUX:
        return False
    kind = (socket.AF_INET, socket.SOCK_DGRAM)
    with contextlib.suppress(OSError), socket.socket(*kind) as sock, socket.socket(*kind) as closed:
        closed.bind(("127.0.0.1", 0))
        address = closed.getsockname()
        closed.close()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_IP, anc.IP_RECVERR, 1)
        sock.sendto(b"?", address)
        waiting = select.poll()  # an error is no data: `select` would not see it
        waiting.register(sock, 0)
        waiting.poll(_PATIENCE * 1000)
        return sock.recvmsg(16, 512, _QUEUE)[0] == b"?"
    return False


def _has_ipv6() -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.bind(("::1", 0))
        return True
    return False


def _receive_granted(sock: socket.socket) -> int | None:
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    with contextlib.suppress(OSError):
        granted = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        return granted // 2 if anc.IS_LINUX else granted  # socket(7): Linux says twice what it grants
    return None


def _receive_limit() -> int | None:
    try:
        return int(_RECEIVE_LIMIT.read_text())
    except (OSError, ValueError):
        return None
