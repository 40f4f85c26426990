"""The fast transport: one system call for a batch of datagrams, where the C library has such calls.

It behaves as the portable one, which is its base and its fallback.
"""

import socket
from collections.abc import Sequence

import trio

from ._address import address_of_name, name_of_address
from ._ancillary import NOTHING, read_control, write_control
from ._batch import TRUNCATED, Batch, Datagram, Outgoing, PortableTransport, Transport, TrioTransport
from ._mmsg import BATCH, Calls, Leaving, calls_of_this_run, memory_of_this_run
from ._socket import is_kernel_socket


def open_transport(sock: trio.socket.SocketType) -> Transport:
    """Take over an open socket: directly where it is the kernel's, through its own methods otherwise."""
    if not is_kernel_socket(sock):
        return TrioTransport(sock)
    own = socket.socket(fileno=sock.detach())
    calls = calls_of_this_run()
    return PortableTransport(own) if calls is None else KernelTransport(own, calls)


class KernelTransport(PortableTransport):
    """A real descriptor, one call a batch."""

    def __init__(self, sock: socket.socket, calls: Calls) -> None:
        super().__init__(sock)
        self.calls = calls
        self._memory = memory_of_this_run(self._largest)

    def _drain(self) -> Batch:
        batch = Batch([], [], [], 0)
        truncated = 0
        for _ in range(BATCH):
            try:
                truncated = self._read(batch.datagrams)
            except BlockingIOError:
                pass
            except OSError as exc:
                self._explain(exc, batch)
                continue
            break
        return self._complete(batch, truncated)

    def _read(self, datagrams: list[Datagram]) -> int:
        """Append what has come; how many more were cut short."""
        truncated = 0
        for data, name, control, flags in self._memory.receive(self.calls.receive, self.socket.fileno()):
            if flags & TRUNCATED:
                truncated += 1
                continue
            ancillary, _segment = read_control(control) if control else (NOTHING, 0)
            datagrams.append(Datagram(data, address_of_name(name), ancillary))
        return truncated

    async def send_batch(self, outgoing: Sequence[Outgoing], *, may_wait: bool = True) -> int:
        """See `Transport.send_batch`."""
        while True:
            try:
                return self._send_batch_nowait(outgoing)
            except OSError as exc:
                await self._wait_for_room(exc, may_wait=may_wait)

    def _send_batch_nowait(self, outgoing: Sequence[Outgoing]) -> int:
        messages: list[Leaving] = []
        for data, peer, source in outgoing[:BATCH]:
            try:
                name = b"" if peer is None else name_of_address(peer, self._family)
            except OSError:
                if messages:
                    break  # it is the next call's first
                raise
            messages.append((data, name, b"" if source is None else write_control(source, 0)))
        return self._memory.send(self.calls.send, self.socket.fileno(), messages)
