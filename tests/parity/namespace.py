"""A network namespace for one test, with nothing but a loopback, so that forged ICMP changes nobody else's host."""

import contextlib
import ctypes
import functools
import socket
import sys
import threading
from collections.abc import Callable
from typing import Final, TypeVar

import pytest

from trio_udp.testing import Icmp, Packet

from ..netns.namespaces import loopback_up
from ..netns.packets import icmp_message, with_checksum

T = TypeVar("T")

_CLONE_NEWNET: Final = 0x40000000


def in_new_namespace(fn: Callable[[], T]) -> T:
    """Call this in a thread of its own, whose sockets are in a namespace of their own."""
    results: list[T] = []
    errors: list[BaseException] = []

    def call() -> None:
        try:
            _unshare()
            results.append(fn())
        except BaseException as exc:
            errors.append(exc)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    for error in errors:
        raise error
    return results[0]


def _unshare() -> None:
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare")
    loopback_up()


@functools.cache
def _can_unshare() -> bool:
    if sys.platform != "linux":
        return False
    with contextlib.suppress(OSError):
        return (
            in_new_namespace(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close())
            is None
        )
    return False


needs_namespace: Final = pytest.mark.skipif(not _can_unshare(), reason="no network namespace may be made here")


def forge_icmp(kind: str, about: Packet, mtu: int) -> None:
    """Send this ICMP error to the sender of the packet, on this thread's loopback."""
    version6 = ":" in about.source.host
    family = socket.AF_INET6 if version6 else socket.AF_INET
    protocol = socket.IPPROTO_ICMPV6 if version6 else socket.IPPROTO_ICMP
    message = icmp_message(Icmp(kind, about, mtu))
    with socket.socket(family, socket.SOCK_RAW, protocol) as sock:
        sock.sendto(message if version6 else with_checksum(message), (about.source.host, 0))
