"""One simulated UDP socket, non-blocking, as the kernel would have it: no Trio, no clock.

It behaves as Linux does, error numbers included; `tests/parity` holds that, behaviour by behaviour, against the real
kernel. `trio_udp.testing._socket` puts Trio's awaitable interface around it.
"""

import errno
import os
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from .._chaos import Icmp, Packet, ip_length
from .._net import Address, normalise, to_sockaddr
from ._icmp import ICMP_CODES
from ._options import (
    IP,
    IP_MTU,
    IP_MTU_DISCOVER,
    IP_PKTINFO,
    IP_RECVERR,
    IP_RECVTTL,
    IP_TTL,
    IPV6,
    IPV6_HOPLIMIT,
    IPV6_MTU,
    IPV6_MTU_DISCOVER,
    IPV6_PKTINFO,
    IPV6_RECVERR,
    IPV6_RECVHOPLIMIT,
    IPV6_RECVPKTINFO,
    IPV6_UNICAST_HOPS,
    IPV6_V6ONLY,
    PMTUDISC_DO,
    PMTUDISC_DONT,
    PMTUDISC_PROBE,
    PMTUDISC_WANT,
    SO_DOMAIN,
    SO_PROTOCOL,
    SO_RXQ_OVFL,
    NotSimulated,
    Options,
)

if TYPE_CHECKING:
    from ._hosts import Host

ControlMessage = tuple[int, int, bytes]
Received = tuple[bytes, list[ControlMessage], int, Any]
"""What `recvmsg` returns: data, control messages, flags, source address."""

_LARGEST: Final = 65_507
_OVERHEAD: Final = 768
"""Bytes of receive buffer that a datagram takes beside its own (measured)."""
_ERRORS_KEPT: Final = 256
_IN_PKTINFO: Final = struct.Struct("=i4s4s")
_IN6_PKTINFO: Final = struct.Struct("=16sI")
_EXTENDED_ERROR: Final = struct.Struct("=IBBBBII")
"""struct sock_extended_err: errno, origin, type, code, pad, info, data."""
_INTERFACE: Final = 2
_LOOPBACK_INTERFACE: Final = 1

_ICMP_ERRNOS: Final = {
    # kind: (errno, whether a connected socket hears of it without IP_RECVERR); net/ipv4/icmp.c, icmp_err_convert
    "port unreachable": (errno.ECONNREFUSED, True),
    "host unreachable": (errno.EHOSTUNREACH, False),
    "network unreachable": (errno.ENETUNREACH, False),
    "prohibited": (errno.EHOSTUNREACH, True),
    "fragmentation needed": (errno.EMSGSIZE, True),
}
_ICMP_ERRNOS_V6: Final = {
    # net/ipv6/icmp.c, tab_unreach and icmpv6_err_convert
    "port unreachable": (errno.ECONNREFUSED, True),
    "host unreachable": (errno.EHOSTUNREACH, False),
    "network unreachable": (errno.ENETUNREACH, False),
    "prohibited": (errno.EACCES, True),
    "fragmentation needed": (errno.EMSGSIZE, False),
}


class QueuedError(NamedTuple):
    """What the error queue holds for one ICMP error, or for a datagram that our own host refused."""

    quote: bytes
    destination: Address
    errno: int
    origin: int
    type: int
    code: int
    mtu: int
    offender: Address | None


def error(number: int) -> OSError:
    """As the kernel says it."""
    return OSError(number, os.strerror(number))


class SimUDP:
    """A UDP socket of a simulated host. Its methods are those of `socket.socket` in non-blocking mode."""

    def __init__(self, host: "Host", family: socket.AddressFamily, number: int) -> None:
        self.host = host
        self.family = family
        self.options = Options(family)
        self.local: Address | None = None
        """Where it is bound; the host is unspecified for a wildcard."""
        self.peer: Address | None = None
        """Where it is connected to."""
        self.drops = 0
        """Datagrams that its full receive buffer has lost."""
        self.on_event: Callable[[], None] = lambda: None
        """Called when there is something to read, an error, or nothing any more because it was closed."""
        self._number = number
        self._queue: deque[Packet] = deque()
        self._queued_bytes = 0
        self._errors: deque[QueuedError] = deque(maxlen=_ERRORS_KEPT)
        self._pending = 0
        """The errno that the next call reports, once."""

    # Names

    def fileno(self) -> int:
        """A number that is no real descriptor's, so that system calls fail instead of meeting somebody else's."""
        return self._number

    def getsockname(self) -> Any:
        """As the kernel has it: the unspecified address and port 0 before it is bound."""
        self._check_open()
        return self._sockaddr(self.local or Address(self._unspecified, 0))

    def getpeername(self) -> Any:
        """`ENOTCONN` unless connected."""
        self._check_open()
        if self.peer is None:
            raise error(errno.ENOTCONN)
        return self._sockaddr(self.peer)

    def bind(self, sockaddr: Any) -> None:
        """Take an address of this host and a port."""
        self._check_open()
        if self.local is not None:
            raise error(errno.EINVAL)
        self.local = self.host.bind(self, self._address(sockaddr))

    def connect(self, sockaddr: Any) -> None:
        """Choose one peer, and the source address that goes there. What is queued already stays."""
        self._check_open()
        peer = self.host.reachable(self._address(sockaddr))
        source = self.host.source_for(peer)
        if self.local is None:
            self.local = self.host.bind(self, Address(self._unspecified, 0))
        if self.local.is_unspecified:
            self.local = Address(source, self.local.port)
        self.peer = peer

    def close(self) -> None:
        """Give the port back. Closing twice is fine."""
        if self._number != -1:
            self._number = -1
            self.host.unbind(self)
            self.on_event()

    def shutdown(self, how: int) -> None:
        """Not simulated: on UDP it is a trick to wake readers."""
        raise NotSimulated("shutdown of a UDP socket is not simulated")

    # Options

    def setsockopt(self, level: int, name: int, value: int | bytes | None, length: int | None = None) -> None:
        """As the kernel, for the options that matter; `NotSimulated` for the others."""
        self._check_open()
        if length is not None:
            raise NotSimulated("setsockopt with a length is not simulated")
        if (level, name) == (IPV6, IPV6_V6ONLY) and self.local is not None:
            raise error(errno.EINVAL)
        self.options.set(level, name, value)

    def getsockopt(self, level: int, name: int, buffer_size: int = 0) -> int | bytes:
        """As the kernel."""
        self._check_open()
        value = self._special_option(level, name)
        if value is None:
            value = self.options.get(level, name)
        return struct.pack("i", value)[:buffer_size] if buffer_size else value

    def _special_option(self, level: int, name: int) -> int | None:
        if (level, name) in ((IP, IP_MTU), (IPV6, IPV6_MTU)):
            if self.peer is None:
                raise error(errno.ENOTCONN)
            return self.host.path_mtu(self.peer)
        if (level, name) == (socket.SOL_SOCKET, socket.SO_ERROR):
            pending, self._pending = self._pending, 0
            return pending
        return {
            (socket.SOL_SOCKET, socket.SO_TYPE): int(socket.SOCK_DGRAM),
            (socket.SOL_SOCKET, SO_DOMAIN): int(self.family),
            (socket.SOL_SOCKET, SO_PROTOCOL): socket.IPPROTO_UDP,
            (socket.SOL_SOCKET, socket.SO_ACCEPTCONN): 0,
        }.get((level, name))

    # Sending

    def send(self, data: Any, flags: int = 0) -> int:
        """To the peer."""
        return self.sendmsg([data], (), flags)

    def sendto(self, data: Any, *args: Any) -> int:
        """`sendto(data, address)` or `sendto(data, flags, address)`."""
        flags, address = args if len(args) == 2 else (0, *args)
        return self.sendmsg([data], (), flags, address)

    def sendmsg(self, buffers: Iterable[Any], ancdata: Iterable[Any] = (), flags: int = 0, address: Any = None) -> int:
        """Send one datagram. It never has to wait: a simulated send buffer is never full."""
        self._check_open()
        if flags & ~int(socket.MSG_DONTWAIT):
            raise NotSimulated(f"sending with flags {flags:#x} is not simulated")
        data = b"".join(map(bytes, buffers))
        if len(data) > _LARGEST:
            raise error(errno.EMSGSIZE)
        self._raise_pending()
        if address is None and self.peer is None:
            raise error(errno.EDESTADDRREQ)
        destination = self.peer if address is None else self.host.reachable(self._address(address))
        assert destination is not None
        if destination.port == 0:
            raise error(errno.EINVAL)
        source, hop_limit = self._read_control(ancdata, destination)
        self._transmit(data, destination, source, hop_limit)
        return len(data)

    def _transmit(self, data: bytes, destination: Address, source: str | None, hop_limit: int) -> None:
        if self.local is None:
            self.local = self.host.bind(self, Address(self._unspecified, 0))
        if source is None:
            source = self.host.source_for(destination) if self.local.is_unspecified else self.local.host
        packet = Packet(data, Address(source, self.local.port), destination, hop_limit=hop_limit)
        refused = self.host.transmit(packet._replace(may_fragment=self._may_fragment(packet)))
        if refused is not None:
            raise error(refused)

    def _may_fragment(self, packet: Packet) -> bool:
        """Whether it leaves without "don't fragment"; `EMSGSIZE` if it would have to and must not."""
        destination = packet.destination
        discovery = self._discovery(destination)
        limit = self.host.mtu_to(destination) if discovery == PMTUDISC_PROBE else self.host.path_mtu(destination)
        if discovery == PMTUDISC_DONT or ip_length(packet) <= limit:
            return discovery == PMTUDISC_DONT
        if discovery == PMTUDISC_WANT:
            return True
        if self._hears_icmp(destination):
            self._errors.append(QueuedError(packet.data, destination, errno.EMSGSIZE, 1, 0, 0, limit, None))
        raise error(errno.EMSGSIZE)

    def _read_control(self, ancdata: Iterable[Any], destination: Address) -> tuple[str | None, int]:
        """The source address and the hop limit that control messages ask for."""
        version6 = destination.family == socket.AF_INET6
        source, hop_limit = None, self.options[(IPV6, IPV6_UNICAST_HOPS) if version6 else (IP, IP_TTL)]
        for level, kind, data in ancdata:
            if (level, kind) == (IP, IP_PKTINFO):
                source = socket.inet_ntoa(_IN_PKTINFO.unpack(bytes(data))[1])
            elif (level, kind) == (IPV6, IPV6_PKTINFO):
                packed, scope = _IN6_PKTINFO.unpack(bytes(data))
                source = normalise((socket.inet_ntop(socket.AF_INET6, packed), 0, 0, scope)).host
            elif (level, kind) in ((IP, IP_TTL), (IPV6, IPV6_HOPLIMIT)):
                hop_limit = struct.unpack("i", bytes(data))[0]
            else:
                raise NotSimulated(f"sending with control message {kind} of level {level} is not simulated")
        if source in ("0.0.0.0", "::"):  # noqa: S104 - the kernel's word for no wish
            source = None
        if source is not None and not self.host.owns(source):
            raise error(errno.EINVAL)
        return source, hop_limit

    # Receiving

    def recv(self, size: int, flags: int = 0) -> bytes:
        """The next datagram's bytes."""
        return self.recvmsg(size, 0, flags)[0]

    def recvfrom(self, size: int, flags: int = 0) -> tuple[bytes, Any]:
        """The next datagram and where it claims to come from."""
        data, _, _, sockaddr = self.recvmsg(size, 0, flags)
        return data, sockaddr

    def recvmsg(self, size: int, ancillary_size: int = 0, flags: int = 0) -> Received:
        """The next datagram with all that is known about it; `BlockingIOError` when there is none."""
        self._check_open()
        if flags & ~int(socket.MSG_DONTWAIT | socket.MSG_PEEK | socket.MSG_ERRQUEUE):
            raise NotSimulated(f"receiving with flags {flags:#x} is not simulated")
        if flags & socket.MSG_ERRQUEUE:
            return self._receive_error(size, ancillary_size)
        self._raise_pending()
        if not self._queue:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        packet = self._queue[0]
        if not flags & socket.MSG_PEEK:
            self._queue.popleft()
            self._queued_bytes -= _footprint(packet)
        control, cut = _fit(self._control(packet), ancillary_size)
        cut |= int(socket.MSG_TRUNC) if len(packet.data) > size else 0
        return packet.data[:size], control, cut, self._sockaddr(packet.source)

    @property
    def is_readable(self) -> bool:
        """Whether a call to receive would have something to say."""
        return bool(self._queue or self._pending or self._errors)

    def receive_packet(self, packet: Packet) -> bool:
        """Queue a packet that arrived; whether there was room for it."""
        if self._queued_bytes + _footprint(packet) > self.options[socket.SOL_SOCKET, socket.SO_RCVBUF]:
            self.drops += 1
            return False
        self._queue.append(packet)
        self._queued_bytes += _footprint(packet)
        self.on_event()
        return True

    def receive_icmp(self, icmp: Icmp, router: Address) -> None:
        """Hear of an ICMP error about a packet of this socket's."""
        about = icmp.about
        version6 = about.destination.family == socket.AF_INET6
        number, is_fatal = (_ICMP_ERRNOS_V6 if version6 else _ICMP_ERRNOS)[icmp.kind]
        if icmp.kind == "fragmentation needed":
            discovery = self._discovery(about.destination)
            if not version6 and discovery == PMTUDISC_DONT:
                return
            if version6 and discovery == PMTUDISC_DO:
                is_fatal = True
        if self._hears_icmp(about.destination):
            icmp_type, code = ICMP_CODES[icmp.kind][2:] if version6 else ICMP_CODES[icmp.kind][:2]
            origin = 3 if version6 else 2
            queued = QueuedError(about.data, about.destination, number, origin, icmp_type, code, icmp.mtu, router)
            self._errors.append(queued)
        elif not (is_fatal and self.peer is not None):
            return
        self._pending = number
        self.on_event()

    def _receive_error(self, size: int, ancillary_size: int) -> Received:
        if not self._errors:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        found = self._errors.popleft()
        self._pending = self._errors[0].errno if self._errors and self._errors[0].origin != 1 else 0
        version6 = self.family == socket.AF_INET6 and found.destination.family == socket.AF_INET6
        offender = bytes(16) if found.offender is None else _packed_sockaddr(found.offender)
        extended = _EXTENDED_ERROR.pack(found.errno, found.origin, found.type, found.code, 0, found.mtu, 0)
        message = (IPV6, IPV6_RECVERR) if version6 else (IP, IP_RECVERR)
        control, cut = _fit([(*message, extended + offender)], ancillary_size)
        flags = int(socket.MSG_ERRQUEUE) | cut | (int(socket.MSG_TRUNC) if len(found.quote) > size else 0)
        return found.quote[:size], control, flags, self._sockaddr(found.destination)

    def _control(self, packet: Packet) -> list[ControlMessage]:
        options, host = self.options, packet.destination.host
        interface = _LOOPBACK_INTERFACE if self.host.is_loopback(host) else _INTERFACE
        found: list[ControlMessage] = []
        if options[socket.SOL_SOCKET, SO_RXQ_OVFL] and self.drops:
            found.append((socket.SOL_SOCKET, SO_RXQ_OVFL, struct.pack("=I", self.drops)))
        if packet.destination.family == socket.AF_INET:
            packed = socket.inet_aton(host)
            if options[IP, IP_PKTINFO]:
                found.append((IP, IP_PKTINFO, _IN_PKTINFO.pack(interface, packed, packed)))
            if options[IP, IP_RECVTTL]:
                found.append((IP, IP_TTL, struct.pack("=i", packet.hop_limit)))
        plain = host.partition("%")[0]
        if self.family == socket.AF_INET6:
            mapped = plain if ":" in plain else f"::ffff:{plain}"
            if options[IPV6, IPV6_RECVPKTINFO]:
                packed = socket.inet_pton(socket.AF_INET6, mapped)
                found.append((IPV6, IPV6_PKTINFO, _IN6_PKTINFO.pack(packed, interface)))
            if options[IPV6, IPV6_RECVHOPLIMIT] and ":" in plain:
                found.append((IPV6, IPV6_HOPLIMIT, struct.pack("=i", packet.hop_limit)))
        return found

    # Small parts

    @property
    def _unspecified(self) -> str:
        return "::" if self.family == socket.AF_INET6 else "0.0.0.0"  # noqa: S104 - the kernel's word

    def takes(self, packet: Packet) -> int:
        """How well this socket fits a packet: 0 not at all, more is better."""
        assert self.local is not None
        if self.peer is not None and self.peer != packet.source:
            return 0
        family = packet.destination.family
        if self.local.is_unspecified:
            if family != self.local.family and not self.is_dual_stack_wildcard(self.local):
                return 0
        elif self.local.host != packet.destination.host:
            return 0
        return 1 + 2 * (not self.local.is_unspecified) + 4 * (self.peer is not None) + (family == self.family)

    @property
    def is_v6only(self) -> bool:
        """Whether it speaks version 6 only."""
        return bool(self.options[IPV6, IPV6_V6ONLY])

    def is_dual_stack_wildcard(self, address: Address) -> bool:
        """Whether this socket, bound to that address, takes version 4 too."""
        return address.host == "::" and not self.is_v6only

    def _discovery(self, destination: Address) -> int:
        version6 = destination.family == socket.AF_INET6
        return self.options[(IPV6, IPV6_MTU_DISCOVER) if version6 else (IP, IP_MTU_DISCOVER)]

    def _hears_icmp(self, destination: Address) -> bool:
        version6 = destination.family == socket.AF_INET6
        return bool(self.options[(IPV6, IPV6_RECVERR) if version6 else (IP, IP_RECVERR)])

    def _raise_pending(self) -> None:
        if self._pending:
            number, self._pending = self._pending, 0
            raise error(number)

    def _check_open(self) -> None:
        if self._number == -1:
            raise error(errno.EBADF)

    def _address(self, sockaddr: Any) -> Address:
        """A numeric address of this socket's family, in canonical form."""
        if not isinstance(sockaddr, tuple) or len(sockaddr) < 2:
            raise TypeError(f"expected an address as a tuple of host and port, got {sockaddr!r}")
        host, port = sockaddr[:2]
        if not 0 <= port <= 65_535:
            raise OverflowError("port must be 0-65535.")
        host = host or self._unspecified
        if (":" in host) != (self.family == socket.AF_INET6):
            raise socket.gaierror(socket.EAI_ADDRFAMILY, "Address family for hostname not supported")
        address = normalise((host, port, *sockaddr[2:]))
        if address.family == socket.AF_INET and self.family == socket.AF_INET6 and self.is_v6only:
            raise error(errno.ENETUNREACH)
        return address

    def _sockaddr(self, address: Address) -> Any:
        return to_sockaddr(address, self.family)


def _footprint(packet: Packet) -> int:
    return _OVERHEAD + len(packet.data)


def _fit(messages: list[ControlMessage], size: int) -> tuple[list[ControlMessage], int]:
    """The control messages that fit, and `MSG_CTRUNC` if one did not."""
    fitting: list[ControlMessage] = []
    for message in messages:
        size -= socket.CMSG_SPACE(len(message[2]))
        if size < 0:
            return fitting, int(socket.MSG_CTRUNC)
        fitting.append(message)
    return fitting, 0


def _packed_sockaddr(address: Address) -> bytes:
    """struct sockaddr_in or sockaddr_in6, as it stands behind an extended error."""
    host = address.host.partition("%")[0]
    if address.family == socket.AF_INET:
        return struct.pack("=HH4s8x", socket.AF_INET, 0, socket.inet_aton(host))
    return struct.pack("=HHI16sI", socket.AF_INET6, 0, 0, socket.inet_pton(socket.AF_INET6, host), 0)
