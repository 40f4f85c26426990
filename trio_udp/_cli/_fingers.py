"""The letters that `ping` has beside the first ones, with the meaning that iputils gave them.

What the datagrams carry and where they leave (`-I -M -Q -t`), and how replies are shown (`-a -D -f -n -O`).
"""

import argparse
import errno
import ipaddress
import os
import re
import socket
from collections.abc import Callable
from typing import Final

from .. import SocketOptions
from ..measure import Progress, Schedule
from ._arguments import BadInput, number

_CODE_POINTS: Final = {
    **{f"cs{number}": number * 8 for number in range(8)},  # RFC 2474
    **{f"af{number}{drop}": number * 8 + drop * 2 for number in range(1, 5) for drop in range(1, 4)},  # RFC 2597
    "ef": 46,  # RFC 3246
    "va": 44,  # RFC 5865
    "le": 1,  # RFC 8622
}
"""DSCP by their names; the byte in the header has two more bits behind them."""

_LINK_LOCAL: Final = re.compile(r"fe[89ab][0-9a-f]:", re.IGNORECASE)
"""fe80::/10 as it is written."""
_NO_SENDER: Final = {
    errno.EADDRNOTAVAIL: "it is not an address of this host",
    errno.ENODEV: "this host has no such interface",
    errno.EPERM: "this user may not choose an interface; expected an address",
    errno.EAFNOSUPPORT: "it is not of the host's address family",
}
"""What is wrong with `-I`."""
_DAY: Final = 86_400 * 1_000_000_000


def add_fingers(parser: argparse.ArgumentParser) -> None:
    """Add the letters."""
    add = parser.add_argument
    add("-I", "--interface", metavar="NAME", help="send from this interface, or this address of ours")
    add("-t", "--ttl", type=number(int, 1, 255), metavar="N", help="routers that a probe may pass, 1 to 255")
    byte = "byte in the IP header, 0 to 255, 0x for hexadecimal, or a DSCP: ef, cs1, af21, ..."
    add("-Q", "--tos", type=_traffic_class, metavar="TCLASS", help=byte)
    words = ("do", "dont", "want", "probe")
    add("-M", "--pmtudisc", choices=words, help="path MTU discovery (default: probe)")
    add("-D", "--timestamps", action="store_true", help="begin each line with the time, since 1970")
    add("-O", "--outstanding", action="store_true", help="say so when a probe is sent and the last is unanswered")
    add("-a", "--audible", action="store_true", help="ring the bell for each reply")
    add("-n", "--numeric", action="store_true", help="show no names")


def _traffic_class(text: str) -> int:
    if text.lower() in _CODE_POINTS:
        return _CODE_POINTS[text.lower()] << 2
    try:
        value = int(text, 16 if text.lower().startswith("0x") else 10)
    except ValueError:
        value = -1
    if not 0 <= value <= 255:
        raise argparse.ArgumentTypeError(f"expected 0 to 255, 0x0 to 0xff, or a DSCP such as ef, got {text!r}")
    return value


def socket_options(arguments: argparse.Namespace) -> SocketOptions:
    """What the probes' socket is to be."""
    source, interface = None, arguments.interface
    if interface is not None and _is_address(interface):
        source, interface = interface, None
    try:
        return SocketOptions(
            source=source,
            interface=interface,
            hop_limit=arguments.ttl,
            traffic_class=arguments.tos,
            path_mtu=arguments.pmtudisc,
        )
    except ValueError as exc:
        raise BadInput(f"argument -I: {exc}") from None


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def scoped(host: str, interface: str | None) -> str:
    """The host, in the scope of `-I` where it needs one and has none: a link-local address is one of every link."""
    if interface is None or _is_address(interface) or not _LINK_LOCAL.match(host) or "%" in host:
        return host
    try:
        socket.if_nametoindex(interface)
    except OSError:
        raise _no_sender(interface, errno.ENODEV) from None
    return f"{host}%{interface}"


def explain_interface(exc: OSError, interface: str | None) -> BadInput | None:
    """What is wrong with `-I`, if that is why there is no socket."""
    if interface is None or exc.errno not in _NO_SENDER:
        return None
    return _no_sender(interface, exc.errno)


def _no_sender(interface: str, number: int) -> BadInput:
    return BadInput(f"cannot send from {interface!r}: {_NO_SENDER[number]} ({os.strerror(number)})")


class Until:
    """A schedule that ends, as `-w` has it: a probe that were due then would be lost for want of time, and not on the
    path."""

    def __init__(self, behind: Schedule, seconds: float) -> None:
        """Nothing is due so long after the beginning of the run, or later."""
        self._behind = behind
        self._end = round(seconds * 1e9)
        self.slot = behind.slot
        self.reacts = behind.reacts

    def next_due(self, progress: Progress) -> int:
        """See `Schedule.next_due`; what would be due too late is due when the run has long been stopped."""
        due = self._behind.next_due(progress)
        return due if due < self._end else due + _DAY

    def skip(self, due: int, now: int) -> tuple[int, int]:
        """See `Schedule.skip`."""
        return self._behind.skip(due, now)


class Watched:
    """A schedule that tells when a probe is due, just before it is sent."""

    def __init__(self, behind: Schedule, on_due: Callable[[int], None]) -> None:
        """Call `on_due` with the number of probes sent before it."""
        self._behind = behind
        self._on_due = on_due
        self._number = 0
        self.slot = behind.slot
        self.reacts = behind.reacts

    def next_due(self, progress: Progress) -> int:
        """See `Schedule.next_due`."""
        self._number = progress.number
        return self._behind.next_due(progress)

    def skip(self, due: int, now: int) -> tuple[int, int]:
        """See `Schedule.skip`."""
        self._on_due(self._number)
        return self._behind.skip(due, now)
