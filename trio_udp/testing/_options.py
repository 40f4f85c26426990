"""The socket options that matter to UDP, their defaults and their limits, as Linux has them.

What stands in no table here is not simulated, and says so.
"""

import errno
import socket
import struct
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

DEFAULT_BUFFER: Final = 212_992
"""net.core.rmem_default and rmem_max."""
LEAST_BUFFER: Final = 2304


class NotSimulated(NotImplementedError):
    """The simulated network has nothing like that, and does not pretend. The text names it."""


class Option(NamedTuple):
    """One socket option whose value is a number."""

    default: int
    least: int = 0
    most: int = 1
    settable: bool = True


OPTIONS: Final[dict[tuple[int, int], Option]] = {
    (socket.SOL_SOCKET, socket.SO_REUSEADDR): Option(0),
    (socket.SOL_SOCKET, socket.SO_REUSEPORT): Option(0),
    (socket.SOL_SOCKET, socket.SO_RCVBUF): Option(DEFAULT_BUFFER, 0, 2**31 - 1),
    (socket.SOL_SOCKET, socket.SO_SNDBUF): Option(DEFAULT_BUFFER, 0, 2**31 - 1),
    (socket.SOL_SOCKET, SO_RXQ_OVFL): Option(0),
    (socket.SOL_SOCKET, socket.SO_BROADCAST): Option(0),
    (IP, IP_TOS): Option(0, 0, 255),
    (IP, IP_TTL): Option(64, 1, 255),
    (IP, IP_PKTINFO): Option(0),
    (IP, IP_RECVTTL): Option(0),
    (IP, IP_RECVERR): Option(0),
    (IP, IP_MTU_DISCOVER): Option(PMTUDISC_WANT, 0, PMTUDISC_PROBE),
    (IPV6, IPV6_V6ONLY): Option(0),
    (IPV6, IPV6_UNICAST_HOPS): Option(64, 0, 255),
    (IPV6, IPV6_RECVPKTINFO): Option(0),
    (IPV6, IPV6_RECVHOPLIMIT): Option(0),
    (IPV6, IPV6_RECVERR): Option(0),
    (IPV6, IPV6_MTU_DISCOVER): Option(PMTUDISC_WANT, 0, PMTUDISC_PROBE),
}
"""A flag takes any number, as in the kernel: not 0 is 1."""


class Options:
    """The options of one socket."""

    def __init__(self, family: socket.AddressFamily) -> None:
        self._family = family
        self._values = {name: option.default for name, option in OPTIONS.items()}

    def set(self, level: int, name: int, value: int | bytes | None) -> None:
        """As `setsockopt`."""
        number = _number(value)
        option = self._find(level, name)
        if option.most == 1:
            number = int(bool(number))
        if not option.least <= number <= option.most:
            raise OSError(errno.EINVAL, "Invalid argument")
        if (level, name) in ((socket.SOL_SOCKET, socket.SO_RCVBUF), (socket.SOL_SOCKET, socket.SO_SNDBUF)):
            # The kernel grants what its limit allows, and doubles it for its own bookkeeping.
            number = max(2 * min(number, DEFAULT_BUFFER), LEAST_BUFFER)
        self._values[level, name] = number

    def get(self, level: int, name: int) -> int:
        """As `getsockopt` for a number."""
        self._find(level, name)
        return self._values[level, name]

    def __getitem__(self, level_and_name: tuple[int, int]) -> int:
        return self._values[level_and_name]

    def _find(self, level: int, name: int) -> Option:
        option = OPTIONS.get((level, name))
        if option is None:
            raise NotSimulated(f"socket option {name} of level {level} is not simulated")
        if level == IPV6 and self._family != socket.AF_INET6:
            raise OSError(errno.ENOPROTOOPT, "Protocol not available")
        return option


def _number(value: int | bytes | None) -> int:
    if isinstance(value, int):
        return value
    if value is None or len(value) != struct.calcsize("i"):
        raise OSError(errno.EINVAL, "Invalid argument")
    number: int = struct.unpack("i", value)[0]
    return number
