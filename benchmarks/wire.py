"""The one request and the one right answer that all benchmarks exchange: `tu1` datagrams of 24 + 64 bytes.

Every candidate answers with the request's own bytes and the direction bit set, so a server that only changes that byte
gives the same answer as one that runs the whole protocol, and one load generator can check them all byte by byte.
Written out here, by hand and lean, for the candidates that do without trio_udp. load.c has the same in C.
"""

import socket
import struct
from typing import Final

# version, type, flags, attempt, key id, reserved, payload length, instance id, request id
_HEADER: Final = struct.Struct("!BBBBBBH8s8s")
PAYLOAD: Final = bytes(range(64))
SIZE: Final = _HEADER.size + len(PAYLOAD)
IDS: Final = slice(8, 24)
"""Where the ids are in a datagram."""
RECEIVE_BUFFER: Final = 4 * 1024 * 1024
"""Bytes asked for by every socket of every candidate, so that none is slow because datagrams were lost."""


def request(request_id: bytes, payload: bytes = PAYLOAD) -> bytes:
    """A request with this id of 8 bytes."""
    return _HEADER.pack(0x09, 0x01, 0, 1, 0, 0, len(payload), b"benchmrk", request_id) + payload


def answer(data: bytes) -> bytes:
    """The right answer to a request: the least that a server can do."""
    return data[:1] + b"\x81" + data[2:]


def udp_socket() -> socket.socket:
    """A socket with the receive buffer that all candidates have."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    return sock
