"""What crossed the loopback interface and when, by the kernel: the one measure that is the same for every tool.

A packet socket with the kernel's stamps. It hears one address of the loopback network only, which nobody else uses, and
nobody reads from it while others are measured: the kernel keeps what it hears, so that no third process wakes up.
"""

import contextlib
import ctypes
import os
import select
import socket
import struct
import sys
from collections.abc import Iterator
from typing import Final, NamedTuple

import children

INTERFACE: Final = "lo"
# include/uapi/asm-generic/socket.h, linux/if_ether.h, linux/if_packet.h
_SO_ATTACH_FILTER: Final = 26
_SO_RCVBUFFORCE: Final = 33
_SO_TIMESTAMPNS: Final = 35
_ETH_P_IP: Final = 0x0800
_SOL_PACKET: Final = 263
_PACKET_STATISTICS: Final = 6
_ROOM: Final = 64 * 1024 * 1024
"""Bytes: more than 50,000 datagrams take in the kernel."""
_KEPT: Final = 128
"""Bytes of each, from its IP header on."""
_IP_HEADER: Final = 20
# struct sock_filter: code, jump if true, jump if false, operand
_INSTRUCTION: Final = struct.Struct("=HBBI")
_LOAD_WORD: Final = 0x20
_JUMP_IF_EQUAL: Final = 0x15
_RETURN: Final = 0x06
_SOURCE: Final = slice(12, 16)
_DESTINATION: Final = slice(16, 20)
# struct timespec, and what is told of packets: how many came, and how many there was no room for
_TIMESPEC: Final = struct.Struct("@qq")
_STATISTICS: Final = struct.Struct("=II")


class Packet(NamedTuple):
    """One that crossed."""

    at: float
    """Seconds since 1970."""
    is_probe: bool
    """Whether it went to the address that is listened for, and not from it."""
    data: bytes
    """Behind its IP header, and perhaps not to its end."""


def own_address() -> str:
    """One of the loopback network that only this process uses."""
    process = os.getpid() & 0xFFFF
    return f"127.101.{process >> 8}.{process & 0xFF}"


def why_not() -> str | None:
    """Why nothing can be heard here, if so."""
    if sys.platform != "linux":
        return "Linux only"
    try:
        socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0).close()
    except PermissionError:
        return "only root may listen on the loopback interface"
    return None


class Tap:
    """An open one."""

    def __init__(self, sock: socket.socket, address: str) -> None:
        self._socket = sock
        self._address = socket.inet_aton(address)

    def wait(self, seconds: float) -> None:
        """Return as soon as anything has crossed; `WrongAnswerError` if nothing does for so long."""
        if not select.select([self._socket], [], [], seconds)[0]:
            raise children.WrongAnswerError(f"nothing was sent for {seconds:g} s")

    def read(self) -> list[Packet]:
        """All that crossed; `WrongAnswerError` if the kernel had no room for some."""
        packets = []
        with contextlib.suppress(BlockingIOError):
            while True:
                data, control, *_ = self._socket.recvmsg(_KEPT, 128)
                seconds, nanoseconds = _TIMESPEC.unpack(control[0][2][: _TIMESPEC.size])
                is_probe = data[_DESTINATION] == self._address
                packets.append(Packet(seconds + nanoseconds / 1e9, is_probe, data[_IP_HEADER:]))
        _, lost = _STATISTICS.unpack(self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, _STATISTICS.size))
        if lost:
            raise children.WrongAnswerError(f"the kernel had no room for {lost} packets that crossed")
        return packets


@contextlib.contextmanager
def listening_for(address: str) -> Iterator[Tap]:
    """Hear what goes to that address and what comes from it, for as long as this lasts. Ask `why_not` first."""
    # Bound to no protocol until the filter is there, so that nothing else gets in.
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0) as sock:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _ROOM)
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        _attach(sock, _filter(address))
        sock.bind((INTERFACE, _ETH_P_IP))
        yield Tap(sock, address)


def _filter(address: str) -> bytes:
    """A program of the classic packet filter: keep what has this address at either end."""
    number = int.from_bytes(socket.inet_aton(address), "big")
    program = (
        (_LOAD_WORD, 0, 0, _DESTINATION.start),
        (_JUMP_IF_EQUAL, 2, 0, number),
        (_LOAD_WORD, 0, 0, _SOURCE.start),
        (_JUMP_IF_EQUAL, 0, 1, number),
        (_RETURN, 0, 0, _KEPT),
        (_RETURN, 0, 0, 0),
    )
    return b"".join(_INSTRUCTION.pack(*instruction) for instruction in program)


def _attach(sock: socket.socket, program: bytes) -> None:
    memory = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: how many instructions, and where they are
    pointer = struct.pack("@HP", len(program) // _INSTRUCTION.size, ctypes.addressof(memory))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, pointer)
