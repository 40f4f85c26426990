"""What the kernel says beside a datagram: where it was sent to, its hop limit, how many it dropped, what ICMP reported.

All of it is asked for when a socket is opened and read from control messages. Python names only some of the constants,
so Linux's numbers stand here; elsewhere the options are not set and nothing of this arrives.
"""

import contextlib
import errno
import functools
import ipaddress
import socket
import struct
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from ._address import Address, SockAddr, normalise

IS_LINUX: Final = sys.platform == "linux"

# include/uapi/linux/in.h and in6.h, asm-generic/socket.h
IP_PKTINFO: Final = 8
IP_MTU_DISCOVER: Final = 10
IP_RECVERR: Final = 11
IP_RECVTTL: Final = 12
IP_TTL: Final = 2
IPV6_MTU_DISCOVER: Final = 23
IPV6_RECVERR: Final = 25
IPV6_RECVPKTINFO: Final = 49
IPV6_PKTINFO: Final = 50
IPV6_RECVHOPLIMIT: Final = 51
IPV6_HOPLIMIT: Final = 52
SO_RXQ_OVFL: Final = 40
SO_TIMESTAMPING: Final = 37
PMTUDISC_PROBE: Final = 3
# include/uapi/linux/net_tstamp.h
_TX_SOFTWARE: Final = 1 << 1
_RX_SOFTWARE: Final = 1 << 3
_SOFTWARE: Final = 1 << 4
_OPT_ID: Final = 1 << 7
_OPT_TSONLY: Final = 1 << 11
# include/uapi/linux/udp.h; the level is IPPROTO_UDP
UDP_SEGMENT: Final = 103
UDP_GRO: Final = 104

ControlMessage = tuple[int, int, bytes]

_IN_PKTINFO: Final = struct.Struct("=i4s4s")
"""struct in_pktinfo: interface index, local address, destination address in the header."""
_IN6_PKTINFO: Final = struct.Struct("=16sI")
"""struct in6_pktinfo: address, interface index."""
_TIMESPEC: Final = struct.Struct("@qq")
"""struct timespec: seconds, nanoseconds."""
_TIMESTAMPING_SIZE: Final = 3 * _TIMESPEC.size
"""struct scm_timestamping: by the software, nothing, by the device."""
_INT: Final = struct.Struct("=i")
_UINT: Final = struct.Struct("=I")
_UINT16: Final = struct.Struct("=H")
_CMSGHDR: Final = struct.Struct("@Nii")
"""struct cmsghdr: length with this header, level, type. The next one begins where a size_t may."""
_ALIGNMENT: Final = struct.calcsize("@N")
_DROPS: Final = _CMSGHDR.pack(_CMSGHDR.size + _UINT.size, socket.SOL_SOCKET, SO_RXQ_OVFL)
"""The header of how many were lost."""
_DROPS_SPACE: Final = len(_DROPS) + _ALIGNMENT
"""It and the number, up to where the next one begins: a 32-bit number fits into a size_t."""
_SOCK_EXTENDED_ERR: Final = struct.Struct("=IBBBBII")
"""struct sock_extended_err: errno, origin, type, code, pad, info, data."""
_ERRORS: Final = ((socket.IPPROTO_IP, IP_RECVERR), (socket.IPPROTO_IPV6, IPV6_RECVERR))
_FROM_TIMESTAMPING: Final = 4
"""SO_EE_ORIGIN_TIMESTAMPING, of the same file as these:"""
_FROM_ICMP: Final = (2, 3)
"""SO_EE_ORIGIN_ICMP and SO_EE_ORIGIN_ICMP6 (include/uapi/linux/errqueue.h)."""


class Ancillary(NamedTuple):
    """What came beside one datagram; None where the kernel did not say."""

    local: str | None = None
    """The address of ours it was sent to, and the source its answer has to have (E6)."""
    hop_limit: int | None = None
    """What is left of the IP header's TTL or hop limit."""
    kernel_drops: int | None = None
    """Datagrams this socket's full receive buffer has lost so far. In batches only beside the last one."""
    arrived: int | None = None
    """When the kernel had it: nanoseconds of its wall clock. Only where it was asked for."""

    def losing(self, drops: int) -> "Ancillary":
        """The same beside a datagram before which so many were lost."""
        return Ancillary(self.local, self.hop_limit, drops, self.arrived)


NOTHING: Final = Ancillary()


def read_ancillary(control_messages: Iterable[ControlMessage]) -> Ancillary:
    """Parse the control messages of one datagram."""
    found: dict[str, Any] = {}
    for level, kind, data in control_messages:
        reader = _READERS.get((level, kind))
        if reader is not None:
            field, read = reader
            found[field] = read(data)
    return Ancillary(**found)


def read_control(control: bytes) -> tuple[Ancillary, int]:
    """The same from memory as the kernel left it; and how long each datagram of a run is, or 0 for a single one."""
    messages = list(_split_control(control))
    sizes = [_int(data) for level, kind, data in messages if (level, kind) == (socket.IPPROTO_UDP, UDP_GRO)]
    return read_ancillary(messages), max(sizes, default=0)


def read_stamped_control(control: bytes) -> tuple[Ancillary, int]:
    """The same where each datagram has a time of its own: the rest is what many of them have in common.

    The kernel writes the time first of all.
    """
    end = _CMSGHDR.size + _TIMESTAMPING_SIZE
    if len(control) < end or _CMSGHDR.unpack_from(control)[1:] != (socket.SOL_SOCKET, SO_TIMESTAMPING):
        return read_control(control)
    ancillary, size = read_control(control[end:])
    return ancillary._replace(arrived=read_time(control[_CMSGHDR.size : end])), size


def read_time(data: bytes) -> int | None:
    """Nanoseconds in a struct timespec, or in the first of several; None for none."""
    seconds, nanoseconds = _TIMESPEC.unpack_from(data)
    return seconds * 1_000_000_000 + nanoseconds or None


def without_drops(controls: Sequence[bytes]) -> tuple[int, Sequence[bytes]]:
    """How many datagrams were lost by now, 0 where the last control does not say; and the controls without that.

    In a flood it is another number beside nearly every datagram, and what stands behind it is what they have in common.
    From the first loss on the kernel writes it beside each of them, first of all.
    """
    last = controls[-1]
    if not last.startswith(_DROPS):
        return 0, controls
    rest = [control[_DROPS_SPACE:] if control.startswith(_DROPS) else control for control in controls]
    return _unsigned(last[_CMSGHDR.size : _CMSGHDR.size + _UINT.size]), rest


def _split_control(control: bytes) -> Iterator[ControlMessage]:
    at = 0
    while at + _CMSGHDR.size <= len(control):
        length, level, kind = _CMSGHDR.unpack_from(control, at)
        yield level, kind, control[at + _CMSGHDR.size : at + length]
        at += max(-(-length // _ALIGNMENT) * _ALIGNMENT, _CMSGHDR.size)


@functools.lru_cache(maxsize=1024)
def write_control(source: str | None, segment: int) -> bytes:
    """What to send a datagram with: from where, and how long each one of a run is, or 0 for a single one."""
    messages = [] if source is None else source_ancillary(source)
    if segment:
        messages = [*messages, (socket.IPPROTO_UDP, UDP_SEGMENT, _UINT16.pack(segment))]
    return b"".join(
        (_CMSGHDR.pack(_CMSGHDR.size + len(data), level, kind) + data).ljust(
            _CMSGHDR.size + -(-len(data) // _ALIGNMENT) * _ALIGNMENT, b"\0"
        )
        for level, kind, data in messages
    )


def _local_ipv4(data: bytes) -> str:
    return socket.inet_ntoa(_IN_PKTINFO.unpack(data)[1])


def _local_ipv6(data: bytes) -> str:
    packed, interface = _IN6_PKTINFO.unpack(data)
    return normalise((socket.inet_ntop(socket.AF_INET6, packed), 0, 0, interface)).host


def _int(data: bytes) -> int:
    number: int = _INT.unpack(data)[0]
    return number


def _unsigned(data: bytes) -> int:
    number: int = _UINT.unpack(data)[0]
    return number


_READERS: Final[dict[tuple[int, int], tuple[str, Callable[[bytes], str | int | None]]]] = {
    (socket.SOL_SOCKET, SO_TIMESTAMPING): ("arrived", read_time),
    (socket.IPPROTO_IP, IP_PKTINFO): ("local", _local_ipv4),
    (socket.IPPROTO_IPV6, IPV6_PKTINFO): ("local", _local_ipv6),
    (socket.IPPROTO_IP, IP_TTL): ("hop_limit", _int),
    (socket.IPPROTO_IPV6, IPV6_HOPLIMIT): ("hop_limit", _int),
    (socket.SOL_SOCKET, SO_RXQ_OVFL): ("kernel_drops", _unsigned),
}


@functools.lru_cache(maxsize=1024)
def source_ancillary(local: str) -> list[ControlMessage]:
    """The control message that makes a datagram leave from this address; none for one that cannot be a source."""
    host, _, scope = local.partition("%")
    address = ipaddress.ip_address(host)
    if address.is_multicast:
        return []
    if address.version == 4:
        return [(socket.IPPROTO_IP, IP_PKTINFO, _IN_PKTINFO.pack(0, address.packed, bytes(4)))]
    return [(socket.IPPROTO_IPV6, IPV6_PKTINFO, _IN6_PKTINFO.pack(address.packed, int(scope or 0)))]


STAMP_IT: Final[ControlMessage] = (socket.SOL_SOCKET, SO_TIMESTAMPING, _UINT.pack(_TX_SOFTWARE))
"""What to send a datagram with of which the kernel is to say when it leaves."""


def ask_for_stamps(sock: socket.socket, *, departures: bool) -> bool:
    """Have the kernel say when each datagram comes, and when each leaves, or else each that is sent with `STAMP_IT`.

    Those that leave are counted from 0 anew. False where it does not do this at all.
    """
    stamps = _RX_SOFTWARE | _SOFTWARE | _OPT_ID | _OPT_TSONLY | (_TX_SOFTWARE if departures else 0)
    with contextlib.suppress(OSError):
        if IS_LINUX:
            sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING, 0)  # only from nothing on it counts from 0
            sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING, stamps)
            return True
    return False


class Departure(NamedTuple):
    """The kernel's word that a datagram of ours has left."""

    number: int
    """Which: they are counted from 0."""
    at: int | None
    """Nanoseconds of its wall clock."""


def read_departure(control_messages: Iterable[ControlMessage]) -> Departure | None:
    """What one message from the error queue says of a departure; None for any other. No stranger writes these."""
    number = at = None
    for level, kind, data in control_messages:
        if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPING):
            at = read_time(data)
        elif (level, kind) in _ERRORS and len(data) >= _SOCK_EXTENDED_ERR.size:
            _, origin, _, _, _, _, found = _SOCK_EXTENDED_ERR.unpack_from(data)
            number = found if origin == _FROM_TIMESTAMPING else None
    return None if number is None else Departure(number, at)


def has_error_queue(sock: socket.socket) -> bool:
    """Whether its ICMP errors come with the datagram that each is about."""
    level, option = _ERRORS[sock.family == socket.AF_INET6]
    with contextlib.suppress(OSError):
        return IS_LINUX and bool(sock.getsockopt(level, option))
    return False


class Hint(NamedTuple):
    """An ICMP error about a datagram of ours. Anyone can forge one, so it is a hint and ends nothing by itself (G5)."""

    peer: Address
    """Where our datagram was going."""
    quote: bytes
    """The beginning of our datagram, as far as the error quotes it."""
    error: str
    """The name of the errno it stands for, as `ECONNREFUSED`."""


def read_error_untrusted(
    quote: bytes, control_messages: Iterable[ControlMessage], sockaddr: SockAddr | None
) -> Hint | None:
    """What one message from the socket's error queue says; None when it is not about a datagram of ours."""
    for level, kind, data in control_messages:
        if (level, kind) in _ERRORS and sockaddr:
            if len(data) < _SOCK_EXTENDED_ERR.size:
                return None
            number, origin = _SOCK_EXTENDED_ERR.unpack_from(data)[:2]
            if origin not in _FROM_ICMP:
                return None  # our own kernel's word, such as EMSGSIZE: the call that sent has heard it already
            return Hint(normalise(sockaddr), quote, errno.errorcode.get(number, str(number)))
    return None
