"""The UDP adapter: the only place that knows sockets. It knows no protocol.

What few programs need is not here, but in modules of its own, which are imported where they are used: `_abilities`,
`_icmp` and `_pcapng`.
"""

from ._address import Address, loopback_of, normalise, to_sockaddr
from ._ancillary import Ancillary, Hint
from ._batch import Batch, Datagram, Datagrams, Outgoing, Transport
from ._kernel import KernelTransport, open_transport
from ._mmsg import BATCH
from ._options import NO_OPTIONS, SocketOptions
from ._resolve import resolve
from ._socket import open_client_socket, open_server_socket, open_server_sockets
from ._stamps import StampingTransport
from ._transports import PortableTransport, TrioTransport

__all__ = [
    "BATCH",
    "NO_OPTIONS",
    "Address",
    "Ancillary",
    "Batch",
    "Datagram",
    "Datagrams",
    "Hint",
    "KernelTransport",
    "Outgoing",
    "PortableTransport",
    "SocketOptions",
    "StampingTransport",
    "Transport",
    "TrioTransport",
    "loopback_of",
    "normalise",
    "open_client_socket",
    "open_server_socket",
    "open_server_sockets",
    "open_transport",
    "resolve",
    "to_sockaddr",
]
