"""Control messages: what comes beside a datagram, and what a sender asks for beside one, as Linux lays them out."""

import errno
import socket
import struct
from collections.abc import Iterable
from typing import Final, NamedTuple

from .._chaos import Packet
from .._net import normalise
from ._options import (
    IP,
    IP_PKTINFO,
    IP_RECVTTL,
    IP_TTL,
    IPV6,
    IPV6_HOPLIMIT,
    IPV6_PKTINFO,
    IPV6_RECVHOPLIMIT,
    IPV6_RECVPKTINFO,
    NotSimulated,
    Options,
    error,
)

ControlMessage = tuple[int, int, bytes]

LOOPBACK_INTERFACE: Final = 1
INTERFACE: Final = 2
_IN_PKTINFO: Final = struct.Struct("=i4s4s")
_IN6_PKTINFO: Final = struct.Struct("=16sI")
_INT: Final = struct.Struct("=i")
_HEADER: Final = socket.CMSG_LEN(0)


class Wishes(NamedTuple):
    """What control messages ask for, for one datagram; None where they do not."""

    source: str | None = None
    hop_limit: int | None = None


NO_WISHES: Final = Wishes()


def read_wishes(messages: Iterable[ControlMessage], family: socket.AddressFamily, *, version6: bool) -> Wishes:
    """Read the control messages of a datagram to an address of version 6, or not. `EINVAL` for nonsense.

    The other version's messages are ignored, but that version 6's packet info may name a mapped address.
    """
    wishes = NO_WISHES
    for level, kind, data in messages:
        if level not in (IP, IPV6):
            raise NotSimulated(f"sending with control message {kind} of level {level} is not simulated")
        mapped = (level, kind) == (IPV6, IPV6_PKTINFO) and family == socket.AF_INET6
        if level != (IPV6 if version6 else IP) and not mapped:
            continue
        reader = _READERS.get((level, kind))
        if reader is None:
            raise NotSimulated(f"sending with control message {kind} of level {level} is not simulated")
        wishes = reader(wishes, bytes(data))
        if mapped and not version6 and wishes.source is not None and ":" in wishes.source:
            raise error(errno.EINVAL)
    return wishes


def _source(wishes: Wishes, data: bytes) -> Wishes:
    if len(data) != _IN_PKTINFO.size:
        raise error(errno.EINVAL)
    _, chosen, _ = _IN_PKTINFO.unpack(data)
    return wishes._replace(source=socket.inet_ntoa(chosen) if any(chosen) else None)


def _source_v6(wishes: Wishes, data: bytes) -> Wishes:
    if len(data) < _IN6_PKTINFO.size:
        raise error(errno.EINVAL)
    packed, scope = _IN6_PKTINFO.unpack_from(data)
    source = normalise((socket.inet_ntop(socket.AF_INET6, packed), 0, 0, scope)).host
    return wishes._replace(source=source if any(packed) else None)


def _ttl(wishes: Wishes, data: bytes) -> Wishes:
    if len(data) != _INT.size or not 1 <= _INT.unpack(data)[0] <= 255:
        raise error(errno.EINVAL)
    return wishes._replace(hop_limit=_INT.unpack(data)[0])


def _hop_limit(wishes: Wishes, data: bytes) -> Wishes:
    if len(data) != _INT.size or not -1 <= _INT.unpack(data)[0] <= 255:
        raise error(errno.EINVAL)
    hop_limit = _INT.unpack(data)[0]
    return wishes._replace(hop_limit=None if hop_limit == -1 else hop_limit)


_READERS: Final = {
    (IP, IP_PKTINFO): _source,
    (IP, IP_TTL): _ttl,
    (IPV6, IPV6_PKTINFO): _source_v6,
    (IPV6, IPV6_HOPLIMIT): _hop_limit,
}


def control_of(packet: Packet, options: Options, family: socket.AddressFamily, interface: int) -> list[ControlMessage]:
    """What a socket of this family with these options gets beside a packet, in the kernel's order."""
    host = packet.destination.host.partition("%")[0]
    version6 = ":" in host
    found: list[ControlMessage] = []
    if family == socket.AF_INET6 and options[IPV6, IPV6_RECVPKTINFO]:
        packed = socket.inet_pton(socket.AF_INET6, host if version6 else f"::ffff:{host}")
        found.append((IPV6, IPV6_PKTINFO, _IN6_PKTINFO.pack(packed, interface)))
    if version6 and options[IPV6, IPV6_RECVHOPLIMIT]:
        found.append((IPV6, IPV6_HOPLIMIT, _INT.pack(packet.hop_limit)))
    if not version6 and options[IP, IP_PKTINFO]:
        packed = socket.inet_aton(host)
        found.append((IP, IP_PKTINFO, _IN_PKTINFO.pack(interface, packed, packed)))
    if not version6 and options[IP, IP_RECVTTL]:
        found.append((IP, IP_TTL, _INT.pack(packet.hop_limit)))
    return found


def fit(messages: list[ControlMessage], size: int) -> tuple[list[ControlMessage], int]:
    """What of them there is room for, the last one cut short if need be; and `MSG_CTRUNC` if anything is missing."""
    fitting: list[ControlMessage] = []
    for level, kind, data in messages:
        if size < _HEADER:
            return fitting, int(socket.MSG_CTRUNC)
        fitting.append((level, kind, data[: size - _HEADER]))
        if size < socket.CMSG_LEN(len(data)):
            return fitting, int(socket.MSG_CTRUNC)
        size -= socket.CMSG_SPACE(len(data))
    return fitting, 0
