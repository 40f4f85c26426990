"""A network namespace for one test, with nothing but a loopback, so that forged ICMP changes nobody else's host."""

import contextlib
import ctypes
import fcntl
import functools
import socket
import struct
import sys
import threading
from collections.abc import Callable
from typing import Final, TypeVar

import pytest

from trio_udp.testing import Packet
from trio_udp.testing._icmp import ICMP_CODES

T = TypeVar("T")

_CLONE_NEWNET: Final = 0x40000000
_SIOCSIFFLAGS: Final = 0x8914
_UP: Final = 1


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
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _UP))


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
    icmp_type, code = ICMP_CODES[kind][2:] if version6 else ICMP_CODES[kind][:2]
    quote = (_quoted_ipv6 if version6 else _quoted_ipv4)(about)
    header = struct.pack("!BBHI", icmp_type, code, 0, mtu)
    if not version6:
        header = struct.pack("!BBHI", icmp_type, code, _checksum(header + quote), mtu)
    family = socket.AF_INET6 if version6 else socket.AF_INET
    protocol = socket.IPPROTO_ICMPV6 if version6 else socket.IPPROTO_ICMP
    with socket.socket(family, socket.SOCK_RAW, protocol) as sock:
        sock.sendto(header + quote, (about.source.host, 0))


def _quoted_ipv4(about: Packet) -> bytes:
    addresses = socket.inet_aton(about.source.host) + socket.inet_aton(about.destination.host)
    length = 28 + len(about.data)
    header = struct.pack("!BBHHHBBH", 0x45, 0, length, 0, 0x4000, 64, socket.IPPROTO_UDP, 0) + addresses
    checksum = struct.pack("!H", _checksum(header))
    return header[:10] + checksum + header[12:] + _udp(about)


def _quoted_ipv6(about: Packet) -> bytes:
    addresses = b"".join(socket.inet_pton(socket.AF_INET6, end.host) for end in (about.source, about.destination))
    return struct.pack("!IHBB", 0x60000000, 8 + len(about.data), socket.IPPROTO_UDP, 64) + addresses + _udp(about)


def _udp(about: Packet) -> bytes:
    return struct.pack("!HHHH", about.source.port, about.destination.port, 8 + len(about.data), 0) + about.data


def _checksum(data: bytes) -> int:
    """RFC 1071."""
    data += bytes(len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
