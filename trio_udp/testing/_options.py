"""The socket options that matter to UDP, their defaults and their limits, as Linux has them.

What stands in no table here is not simulated, and says so.
"""

import errno
import os
import socket
import struct
from collections.abc import Callable
from enum import IntEnum
from typing import Final, NamedTuple

IP: Final = socket.IPPROTO_IP
IPV6: Final = socket.IPPROTO_IPV6

# include/uapi/linux/in.h, in6.h and asm-generic/socket.h: Python names only some of them
IP_TOS: Final = 1
IP_TTL: Final = 2
IP_PKTINFO: Final = 8
IP_MTU_DISCOVER: Final = 10
IP_RECVERR: Final = 11
IP_RECVTTL: Final = 12
IP_MTU: Final = 14
IPV6_UNICAST_HOPS: Final = 16
IPV6_MTU_DISCOVER: Final = 23
IPV6_MTU: Final = 24
IPV6_RECVERR: Final = 25
IPV6_V6ONLY: Final = 26
IPV6_RECVPKTINFO: Final = 49
IPV6_PKTINFO: Final = 50
IPV6_RECVHOPLIMIT: Final = 51
IPV6_HOPLIMIT: Final = 52
SO_RXQ_OVFL: Final = 40
SO_PROTOCOL: Final = 38
SO_DOMAIN: Final = 39

PMTUDISC_DONT: Final = 0
PMTUDISC_WANT: Final = 1
PMTUDISC_DO: Final = 2
PMTUDISC_PROBE: Final = 3
_PMTUDISC_INTERFACE: Final = 4
_PMTUDISC_OMIT: Final = 5
_INT: Final = struct.Struct("=i")

DEFAULT_BUFFER: Final = 212_992
"""net.core.rmem_default and rmem_max, as Linux has them where nobody has changed them; the same for sending."""


class NotSimulated(NotImplementedError):
    """The simulated network has nothing like that, and does not pretend. The text names it."""


class Option(NamedTuple):
    """One socket option whose value is a number."""

    default: int
    kind: str
    """One of the keys of `_GRANTED`."""
    least: int = 0
    most: int = 1


OPTIONS: Final[dict[tuple[int, int], Option]] = {
    (socket.SOL_SOCKET, socket.SO_REUSEADDR): Option(0, "flag"),
    (socket.SOL_SOCKET, socket.SO_REUSEPORT): Option(0, "flag"),
    (socket.SOL_SOCKET, socket.SO_RCVBUF): Option(DEFAULT_BUFFER, "buffer", 2304),
    (socket.SOL_SOCKET, socket.SO_SNDBUF): Option(DEFAULT_BUFFER, "buffer", 4608),
    (socket.SOL_SOCKET, SO_RXQ_OVFL): Option(0, "flag"),
    (socket.SOL_SOCKET, socket.SO_BROADCAST): Option(0, "flag"),
    (IP, IP_TOS): Option(0, "byte"),
    (IP, IP_TTL): Option(64, "range", 1, 255),
    (IP, IP_PKTINFO): Option(0, "flag"),
    (IP, IP_RECVTTL): Option(0, "flag"),
    (IP, IP_RECVERR): Option(0, "flag"),
    (IP, IP_MTU_DISCOVER): Option(PMTUDISC_WANT, "discovery", 0, PMTUDISC_PROBE),
    (IPV6, IPV6_V6ONLY): Option(0, "flag"),
    (IPV6, IPV6_UNICAST_HOPS): Option(64, "range", 0, 255),
    (IPV6, IPV6_RECVPKTINFO): Option(0, "flag"),
    (IPV6, IPV6_RECVHOPLIMIT): Option(0, "flag"),
    (IPV6, IPV6_RECVERR): Option(0, "flag"),
    (IPV6, IPV6_MTU_DISCOVER): Option(PMTUDISC_WANT, "discovery", 0, PMTUDISC_PROBE),
}
READ_ONLY: Final = frozenset(
    [
        *((socket.SOL_SOCKET, name) for name in (socket.SO_ERROR, socket.SO_TYPE, socket.SO_ACCEPTCONN)),
        *((socket.SOL_SOCKET, SO_DOMAIN), (socket.SOL_SOCKET, SO_PROTOCOL), (IP, IP_MTU)),
    ]
)


class Options:
    """The options of one socket."""

    def __init__(self, family: socket.AddressFamily) -> None:
        self._family = family
        self._values = dict(_DEFAULTS)
        self.wants_control = False
        """Whether anything has been asked for that comes beside datagrams."""

    def set(self, level: int, name: int, value: object) -> None:
        """As `setsockopt`."""
        if level == IPV6 and self._family != socket.AF_INET6:
            raise error(errno.ENOPROTOOPT)
        number = _number(level, value)
        if (level, name) in READ_ONLY:
            raise error(errno.ENOPROTOOPT)
        option = _find(level, name)
        self._values[level, name] = _GRANTED[option.kind](option, number)
        self.wants_control = any(self._values[name] for name in _COMES_BESIDE)

    def get(self, level: int, name: int) -> int:
        """As `getsockopt` for a number."""
        self.check_level(level)
        _find(level, name)
        return self._values[level, name]

    def check_level(self, level: int) -> None:
        """Raise what reading version 6's options of a socket of version 4 raises."""
        if level == IPV6 and self._family != socket.AF_INET6:
            raise error(errno.EOPNOTSUPP)

    def __getitem__(self, level_and_name: tuple[int, int]) -> int:
        return self._values[level_and_name]


_COMES_BESIDE: Final = (
    *((IP, IP_PKTINFO), (IP, IP_RECVTTL), (IPV6, IPV6_RECVPKTINFO), (IPV6, IPV6_RECVHOPLIMIT)),
    (socket.SOL_SOCKET, SO_RXQ_OVFL),
)
_DEFAULTS: Final = {name: option.default for name, option in OPTIONS.items()}


def _flag(option: Option, number: int) -> int:
    """Any number but 0 is 1."""
    return int(bool(number))


def _buffer(option: Option, number: int) -> int:
    """The kernel takes it as unsigned, grants what its limit allows, and doubles it for its own bookkeeping."""
    return max(2 * min(number % 2**32, DEFAULT_BUFFER), option.least)


def _byte(option: Option, number: int) -> int:
    return number % 256


def _range(option: Option, number: int) -> int:
    """-1 is the default again."""
    if number == -1:
        return option.default
    if not option.least <= number <= option.most:
        raise error(errno.EINVAL)
    return number


def _discovery(option: Option, number: int) -> int:
    if number in (_PMTUDISC_INTERFACE, _PMTUDISC_OMIT):
        raise NotSimulated(f"path MTU discovery {number} is not simulated, only 0 to {PMTUDISC_PROBE}")
    return _range(option, number if number != -1 else -2)


_GRANTED: Final[dict[str, Callable[[Option, int], int]]] = {
    "flag": _flag,
    "buffer": _buffer,
    "byte": _byte,
    "range": _range,
    "discovery": _discovery,
}


def _find(level: int, name: int) -> Option:
    option = OPTIONS.get((level, name))
    if option is None:
        raise NotSimulated(f"socket option {name} of level {level} is not simulated")
    return option


def _number(level: int, value: object) -> int:
    """What the kernel reads; Python refuses what is neither an int of C's nor bytes. IP's options may be short."""
    if isinstance(value, int) and -(2**31) <= value < 2**31:
        return value
    if isinstance(value, str | int) or value is None:
        raise TypeError(f"expected a number of 32 bits or bytes, got {value!r}")
    data = bytes(memoryview(value))  # type: ignore[arg-type]  # anything else is its TypeError
    if len(data) >= _INT.size:
        return int(_INT.unpack_from(data)[0])
    if level != IP:
        raise error(errno.EINVAL)
    return data[0] if data else 0


def error(number: int) -> OSError:
    """As the kernel says it."""
    return OSError(number, os.strerror(number))


def word_of(kind: type[IntEnum], number: int) -> str:
    """What a number is called, if it has a name."""
    return kind(number).name if number in set(kind) else str(number)
