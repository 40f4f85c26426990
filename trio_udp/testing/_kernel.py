"""One simulated UDP socket, non-blocking, as the kernel would have it: no Trio, no clock.

It behaves as Linux does, error numbers included; `tests/parity` holds that, behaviour by behaviour, against the real
kernel. `trio_udp.testing._socket` puts Trio's awaitable interface around it.
"""

import errno
import socket
import struct
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from .._chaos import Icmp, Packet, ip_length_of
from .._net import Address, normalise, to_sockaddr
from ._ancillary import INTERFACE, LOOPBACK_INTERFACE, NO_WISHES, ControlMessage, Wishes, control_of, fit, read_wishes
from ._buffer import ReceiveBuffer
from ._icmp import errno_of, error_control, reported, too_large
from ._options import (
    IP,
    IP_MTU,
    IP_MTU_DISCOVER,
    IP_RECVERR,
    IP_TTL,
    IPV6,
    IPV6_MTU,
    IPV6_MTU_DISCOVER,
    IPV6_RECVERR,
    IPV6_UNICAST_HOPS,
    IPV6_V6ONLY,
    PMTUDISC_DONT,
    PMTUDISC_PROBE,
    PMTUDISC_WANT,
    SO_DOMAIN,
    SO_PROTOCOL,
    SO_RXQ_OVFL,
    NotSimulated,
    Options,
    error,
)

if TYPE_CHECKING:
    from ._hosts import Host

Received = tuple[bytes, list[ControlMessage], int, Any]
"""What `recvmsg` returns: data, control messages, flags, source address."""

_LARGEST: Final = {False: 65_507, True: 65_527}
"""Bytes of payload, by whether it goes by version 6, whose own header does not count."""
_NOT_EVEN_TRIED: Final = 65_535
"""Bytes of payload: more than this the kernel refuses in version 4 without looking further."""
_DISCOVERY: Final = {False: (IP, IP_MTU_DISCOVER), True: (IPV6, IPV6_MTU_DISCOVER)}
_RECVERR: Final = {False: (IP, IP_RECVERR), True: (IPV6, IPV6_RECVERR)}
_HOPS: Final = {False: (IP, IP_TTL), True: (IPV6, IPV6_UNICAST_HOPS)}
_RECEIVE_BUFFER: Final = (socket.SOL_SOCKET, socket.SO_RCVBUF)
_COUNT_DROPS: Final = (socket.SOL_SOCKET, SO_RXQ_OVFL)
_HARMLESS: Final = int(socket.MSG_DONTWAIT)
_RECEIVE_FLAGS: Final = int(socket.MSG_DONTWAIT | socket.MSG_PEEK | socket.MSG_ERRQUEUE)
_PEEK: Final = int(socket.MSG_PEEK)
_ERROR_QUEUE: Final = int(socket.MSG_ERRQUEUE)
_TRUNCATED: Final = int(socket.MSG_TRUNC)


class SimUDP:
    """A UDP socket of a simulated host. Its methods are those of `socket.socket` in non-blocking mode.

    Beside those, `drops` and `is_readable` are yours; the network calls the others.
    """

    def __init__(self, host: "Host", family: socket.AddressFamily, number: int) -> None:
        self.host = host
        self.family = family
        self.options = Options(family)
        self.local: Address | None = None
        """Where it is bound; the host is unspecified for a wildcard."""
        self.peer: Address | None = None
        """Where it is connected to."""
        self.on_event: Callable[[], None] = lambda: None
        """Called when there is something to read, an error, or nothing any more because it was closed."""
        self._number = number
        self._unspecified = "::" if family == socket.AF_INET6 else "0.0.0.0"  # noqa: S104 - the kernel's word
        self._buffer = ReceiveBuffer()
        self._pending = 0
        """The errno that the next call reports, once."""

    def __repr__(self) -> str:
        peer = "" if self.peer is None else f" to {self.peer}"
        where = "closed" if self._number == -1 else f"{self.local or 'unbound'}{peer}"
        return f"<SimUDP of {self.host.name}, {where}>"

    # Names

    def fileno(self) -> int:
        """A number that is no real descriptor's, so that system calls fail instead of meeting somebody else's."""
        return self._number

    def getsockname(self) -> Any:
        """As the kernel has it: the unspecified address and port 0 before it is bound."""
        self._check_open()
        return to_sockaddr(self.local or Address(self._unspecified, 0), self.family)

    def getpeername(self) -> Any:
        """`ENOTCONN` unless connected, and to a port that is not 0."""
        self._check_open()
        if self.peer is None or self.peer.port == 0:
            raise error(errno.ENOTCONN)
        return to_sockaddr(self.peer, self.family)

    def bind(self, sockaddr: Any) -> None:
        """Take an address of this host and a port."""
        self._check_open()
        address = self._address(sockaddr)
        if self.local is not None or _lacks_scope(address) or (self.is_v6only and address.family != self.family):
            raise error(errno.EINVAL)
        self.local = self.host.bind(self, address)

    def connect(self, sockaddr: Any) -> None:
        """Choose one peer, and the source address that goes there. What is queued already stays."""
        self._check_open()
        peer = self._reachable(self._destination(self._address(sockaddr)))
        if _lacks_scope(peer):
            raise error(errno.EINVAL)
        source = self._source_for(peer)
        self._bind_if_unbound()
        assert self.local is not None
        if self.local.is_unspecified:
            self.local = Address(source, self.local.port)
        self.peer = peer

    def close(self) -> None:
        """Give the port back. Closing twice is fine."""
        if self._number != -1:
            self.host.forget(self)
            self._number = -1
            self.on_event()

    # Options

    def setsockopt(self, level: int, name: int, value: int | bytes | None, length: int | None = None) -> None:
        """As the kernel, for the options that matter; `NotSimulated` for the others."""
        self._check_open()
        if length is not None:
            raise NotSimulated("setsockopt with a length is not simulated")
        if (level, name) == (IPV6, IPV6_V6ONLY) and self.local is not None:
            raise error(errno.EINVAL)
        self.options.set(level, name, value)
        if (level, name) in _RECVERR.values() and not self.options[level, name]:
            self._buffer.clear_errors()

    def getsockopt(self, level: int, name: int, buffer_size: int = 0) -> int | bytes:
        """As the kernel."""
        self._check_open()
        if not 0 <= buffer_size <= 1024:
            raise OSError("getsockopt buflen out of range")
        value = self._read_only_option(level, name)
        if value is None:
            value = self.options.get(level, name)
        return struct.pack("=i", value)[:buffer_size] if buffer_size else value

    def _read_only_option(self, level: int, name: int) -> int | None:
        if (level, name) in ((IP, IP_MTU), (IPV6, IPV6_MTU)):
            self.options.check_level(level)
            if self.peer is None:
                raise error(errno.ENOTCONN)
            return self.host.path_mtu(self.peer)
        if level != socket.SOL_SOCKET:
            return None
        if name == socket.SO_ERROR:
            pending, self._pending = self._pending, 0
            return pending
        return {
            socket.SO_TYPE: int(socket.SOCK_DGRAM),
            socket.SO_ACCEPTCONN: 0,
            SO_DOMAIN: int(self.family),
            SO_PROTOCOL: socket.IPPROTO_UDP,
        }.get(name)

    # Sending

    def send(self, data: Any, flags: int = 0) -> int:
        """To the peer."""
        return self.sendmsg([data], (), flags)

    def sendto(self, data: Any, *args: Any) -> int:
        """`sendto(data, address)` or `sendto(data, flags, address)`."""
        if not 1 <= len(args) <= 2:
            raise TypeError(f"sendto takes 2 or 3 arguments, got {1 + len(args)}")
        flags = args[0] if len(args) == 2 else 0
        return self.sendmsg([data], (), flags, args[-1])

    def sendmsg(self, buffers: Iterable[Any], ancdata: Iterable[Any] = (), flags: int = 0, address: Any = None) -> int:
        """Send one datagram. It never has to wait: a simulated send buffer is never full."""
        self._check_open()
        if flags & ~_HARMLESS:
            raise NotSimulated(f"sending with flags {flags:#x} is not simulated")
        data = b"".join(buffers)
        named = None if address is None else self._destination(self._address(address))
        self._bind_if_unbound()
        destination = self.peer if named is None else self._reachable(named)
        if destination is None:
            raise error(errno.EDESTADDRREQ)
        if named is not None and destination.port == 0:
            raise error(errno.EINVAL)
        version6 = ":" in destination.host
        if len(data) > _LARGEST[version6]:
            if not version6 and len(data) > _NOT_EVEN_TRIED:
                raise error(errno.EMSGSIZE)
            raise self._too_large(destination, self.host.path_mtu(destination))
        self._transmit(
            data, destination, read_wishes(ancdata, self.family, version6=version6) if ancdata else NO_WISHES
        )
        return len(data)

    def _transmit(self, data: bytes, destination: Address, wishes: Wishes) -> None:
        assert self.local is not None
        version6 = ":" in destination.host
        source = wishes.source
        if source is None:
            source = self._source_for(destination)
        elif not self.host.owns(source):
            raise error(errno.EINVAL if version6 else errno.ENETUNREACH)
        if not version6 and self.host.is_loopback(source) and not self.host.owns(destination.host):
            raise error(errno.EINVAL)
        hop_limit = self.options[_HOPS[version6]] if wishes.hop_limit is None else wishes.hop_limit
        may_fragment = self._may_fragment(data, destination, version6=version6)
        self._raise_pending()
        packet = Packet(
            data, Address(source, self.local.port), destination, hop_limit=hop_limit, may_fragment=may_fragment
        )
        refused = self.host.transmit(packet)
        if refused is not None:
            raise error(refused)

    def _may_fragment(self, data: bytes, destination: Address, *, version6: bool) -> bool:
        """Whether it may be divided on its way; `EMSGSIZE` if it would have to and must not.

        In version 6 only the sender divides, and does that only to what it knows not to fit.
        """
        discovery = self.options[_DISCOVERY[version6]]
        limit = self.host.mtu_to(destination) if discovery == PMTUDISC_PROBE else self.host.path_mtu(destination)
        if ip_length_of(len(data), version6=version6) <= limit:
            return discovery == PMTUDISC_DONT and not version6
        if discovery in (PMTUDISC_WANT, PMTUDISC_DONT):
            return True
        raise self._too_large(destination, limit)

    def _too_large(self, destination: Address, limit: int) -> OSError:
        if self._hears_icmp(destination):
            self._buffer.put_error(too_large(destination, limit), self.options[_RECEIVE_BUFFER])
        return error(errno.EMSGSIZE)

    def _source_for(self, destination: Address) -> str:
        """Where what is sent there comes from. A socket bound to one version's address cannot reach the other's."""
        if self.local is None or self.local.is_unspecified:
            return self.host.source_for(destination)
        if self.local.family == destination.family:
            return self.local.host
        raise error(errno.EAFNOSUPPORT if ":" in destination.host else errno.ENETUNREACH)

    def _bind_if_unbound(self) -> None:
        if self.local is None:
            self.local = self.host.bind(self, Address(self._unspecified, 0))

    # Receiving

    def recv(self, size: int, flags: int = 0) -> bytes:
        """The next datagram's bytes."""
        if size == 0:
            return b""  # Python does not even ask the kernel then
        return self.recvmsg(size, 0, flags)[0]

    def recvfrom(self, size: int, flags: int = 0) -> tuple[bytes, Any]:
        """The next datagram and where it claims to come from."""
        data, _, _, sockaddr = self.recvmsg(size, 0, flags)
        return data, sockaddr

    def recvmsg(self, size: int, ancillary_size: int = 0, flags: int = 0) -> Received:
        """The next datagram with all that is known about it; `BlockingIOError` when there is none."""
        if size < 0 or ancillary_size < 0:
            raise ValueError(f"expected a buffer size of 0 or more bytes, got {min(size, ancillary_size)}")
        self._check_open()
        if flags & ~_RECEIVE_FLAGS:
            raise NotSimulated(f"receiving with flags {flags:#x} is not simulated")
        if flags & _ERROR_QUEUE:
            return self._receive_error(size, ancillary_size)
        self._raise_pending()
        if not self._buffer.packets:
            raise error(errno.EAGAIN)
        packet, _, drops = self._buffer.packets[0]
        if not flags & _PEEK:
            self._buffer.take()
        control, cut = fit(self._control(packet, drops), ancillary_size) if self.options.wants_control else ([], 0)
        if len(packet.data) > size:
            cut |= _TRUNCATED
        return packet.data[:size], control, cut, to_sockaddr(packet.source, self.family)

    @property
    def is_readable(self) -> bool:
        """Whether a call to receive would have something to say."""
        return bool(self._buffer.packets or self._pending or self._buffer.errors)

    @property
    def drops(self) -> int:
        """Datagrams that its full receive buffer has lost."""
        return self._buffer.drops

    def receive_packet(self, packet: Packet) -> bool:
        """Queue a packet that arrived; whether there was room for it."""
        if not self._buffer.put(packet, self.options[_RECEIVE_BUFFER]):
            return False
        self.on_event()
        return True

    def receive_icmp(self, icmp: Icmp, router: Address) -> None:
        """Hear of an ICMP error about a packet of this socket's."""
        about = icmp.about
        version6 = ":" in about.destination.host
        number, is_fatal = errno_of(icmp)
        if icmp.kind == "fragmentation needed" and self.options[_DISCOVERY[version6]] == PMTUDISC_DONT:
            if not version6:
                return
            is_fatal = False
        if self._hears_icmp(about.destination):
            self._buffer.put_error(reported(icmp, router), self.options[_RECEIVE_BUFFER])
        elif not (is_fatal and self.peer is not None):
            return
        self._pending = number
        self.on_event()

    def _receive_error(self, size: int, ancillary_size: int) -> Received:
        errors = self._buffer.errors
        if not errors:
            raise error(errno.EAGAIN)
        found = self._buffer.take_error()
        if errors and errors[0].is_icmp:
            self._pending = errors[0].errno
        elif found.is_icmp:
            self._pending = 0
        control, cut = fit([error_control(found, self.family)], ancillary_size)
        if len(found.quote) > size:
            cut |= _TRUNCATED
        return found.quote[:size], control, _ERROR_QUEUE | cut, to_sockaddr(found.destination, self.family)

    def _control(self, packet: Packet, drops: int) -> list[ControlMessage]:
        interface = LOOPBACK_INTERFACE if self.host.is_loopback(packet.destination.host) else INTERFACE
        control = control_of(packet, self.options, self.family, interface)
        if drops and self.options[_COUNT_DROPS]:
            control.insert(0, (*_COUNT_DROPS, struct.pack("=I", drops)))
        return control

    def takes(self, packet: Packet) -> int:
        """How well this socket fits a packet: 0 not at all, more is better."""
        assert self.local is not None
        if self.peer is not None and self.peer not in (packet.source, (packet.source.host, 0)):
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

    # Small parts

    def _hears_icmp(self, destination: Address) -> bool:
        return bool(self.options[_RECVERR[":" in destination.host]])

    def _raise_pending(self) -> None:
        if self._pending:
            number, self._pending = self._pending, 0
            raise error(number)

    def _check_open(self) -> None:
        if self._number == -1:
            raise error(errno.EBADF)

    def _address(self, sockaddr: Any) -> Address:
        """A numeric address of this socket's family, in canonical form; as Python checks it."""
        if not isinstance(sockaddr, tuple) or len(sockaddr) < 2:
            raise TypeError(f"expected an address as a tuple of host and port, got {sockaddr!r}")
        host, port, *rest = sockaddr
        if not 0 <= port <= 65_535:
            raise OverflowError(f"expected a port from 0 to 65535, got {port}")
        if rest and not 0 <= rest[0] <= _MOST_FLOW_LABEL:
            raise OverflowError(f"expected a flow label from 0 to {_MOST_FLOW_LABEL}, got {rest[0]}")
        host = host or self._unspecified
        if (":" in host) != (self.family == socket.AF_INET6):
            raise socket.gaierror(socket.EAI_ADDRFAMILY, "Address family for hostname not supported")
        return normalise((host, port, *rest))

    def _destination(self, address: Address) -> Address:
        """One that this socket's version reaches."""
        if address.family != self.family and self.is_v6only:
            raise error(errno.ENETUNREACH)
        return address

    def _reachable(self, destination: Address) -> Address:
        may_broadcast = bool(self.options[socket.SOL_SOCKET, socket.SO_BROADCAST])
        return self.host.reachable(destination, may_broadcast=may_broadcast)


_MOST_FLOW_LABEL: Final = 0xFFFFF


def _lacks_scope(address: Address) -> bool:
    """Whether it is link-local, of a link that is not said."""
    return address.host.startswith("fe80:") and "%" not in address.host
