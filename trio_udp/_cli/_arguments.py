"""What the sub-commands share: arguments and their errors, in one line each.

Every error says what is wrong, which value it was, and what was expected.
"""

import argparse
import contextlib
import errno
import math
import os
import re
import socket
from collections.abc import Callable, Iterator
from typing import Any, Final, NoReturn

from .. import TU1, Book, Profile

DEFAULT_PORT: Final = 1060
"""The book's."""
PROFILES: Final[dict[str, type[Profile]]] = {"tu1": TU1, "book": Book}

SubParsers = Any
"""What `add_subparsers` returns; argparse gives its type no public name."""


class BadInput(Exception):
    """Something the user can put right. Its text is the one line to print; the exit code is 2."""


def first_of(group: BaseExceptionGroup[Exception]) -> Exception:
    """The one exception to show of a group."""
    first = group.exceptions[0]
    return first_of(first) if isinstance(first, BaseExceptionGroup) else first


class OneLineParser(argparse.ArgumentParser):
    """An `ArgumentParser` whose errors are one line, without the usage in front of it."""

    def error(self, message: str) -> NoReturn:
        """Print the line and exit with 2."""
        self.exit(2, f"{self.prog}: {message} (see --help)\n")


_IN_A_SECOND: Final = {"ns": 1e9, "us": 1e6, "µs": 1e6, "\N{GREEK SMALL LETTER MU}s": 1e6, "ms": 1e3, "s": 1.0}
"""To divide by, as no float is 1e-6: 100 times the nearest is less than 0.0001. Two characters look like micro."""
_UNIT_LETTERS: Final = "".join(_IN_A_SECOND) + " "


def seconds_in(text: str) -> float:
    """`0.2`, `200ms` or `200us`, in seconds; `ValueError` for anything else."""
    figure = text.rstrip(_UNIT_LETTERS)
    return float(figure) / _IN_A_SECOND.get(text[len(figure) :].strip() or "s", math.nan)


def number(
    kind: Callable[[str], float], least: float, most: float = math.inf, unit: str = ""
) -> Callable[[str], float]:
    """An argparse type for a number within limits: an `int`, a `float`, or what `seconds_in` reads."""
    limits = f"{least:.10g} or more" if most == math.inf else f"{least:.10g} to {most:.10g}"
    what = "a whole number" if isinstance(kind, type) and issubclass(kind, int) else "a number"

    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most or value == math.inf:
            raise argparse.ArgumentTypeError(f"expected {what}{unit}, {limits}, got {text!r}")
        return value

    return parse


def rate(text: str) -> float | None:
    """An argparse type for requests a second; None is no limit."""
    if text == "off":
        return None
    try:
        value = float(text.removesuffix("/s"))
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"expected requests a second, such as 1000/s, or off, got {text!r}")
    return value


def add_port(parser: argparse.ArgumentParser, *, least: int) -> None:
    """Add `-p`."""
    parser.add_argument(
        "-p",
        "--port",
        type=number(int, least, 65_535),
        default=DEFAULT_PORT,
        help="UDP port of the server (default: %(default)s)" + ("; 0 takes a free one" if least == 0 else ""),
    )


def add_profile(parser: argparse.ArgumentParser) -> None:
    """Add `--profile`."""
    parser.add_argument(
        "--profile",
        choices=[*PROFILES],  # a list, which is what the oldest shtab can read
        default="tu1",
        help="wire format: ours, or plain text as in the book's programs (verified: weak)",
    )


def add_family(parser: argparse.ArgumentParser) -> None:
    """Add `-4` and `-6`."""
    is_like_numbers = parser._has_negative_number_optionals  # noqa: SLF001 - argparse has no other way to say so
    group = parser.add_mutually_exclusive_group()
    for digit, family in (("4", socket.AF_INET), ("6", socket.AF_INET6)):
        group.add_argument(
            f"-{digit}",
            dest="family",
            action="store_const",
            const=family,
            default=socket.AF_UNSPEC,
            help=f"use IPv{digit} only",
        )
    is_like_numbers.clear()  # so that `-c -1` is a bad number, and not another option


@contextlib.contextmanager
def missed_politely(extra: str) -> Iterator[None]:
    """Import in here what not everybody has; who has not is told how to get it."""
    try:
        yield
    except ImportError as exc:
        line = f"expected the package {exc.name!r} to be installed, and it is not: pip install 'trio-udp[{extra}]'"
        raise BadInput(line) from None


_HAS_PORT: Final = re.compile(r"([^:]*|\[.*\]):\d{1,5}")
"""How `relay` and many programs write a host and its port."""


@contextlib.contextmanager
def writing_to(path: str) -> Iterator[None]:
    """Say which file it is that cannot be written, and why."""
    try:
        yield
    except OSError as exc:
        raise BadInput(f"cannot write to {path!r}: {exc.strerror or exc}") from None


def explain(exc: OSError, host: str | None, port: int) -> BadInput:
    """What the user can do about a name or a socket that could not be had."""
    if isinstance(exc, socket.gaierror):
        hint = " (a port is given with -p)" if _HAS_PORT.fullmatch(host or "") else ""
        return BadInput(f"unknown host {host!r}: {exc.strerror or exc}{hint}")
    reasons = {
        errno.EADDRINUSE: f"port {port} is in use on this host, expected a free one",
        errno.EACCES: f"no permission to use port {port}, expected one above 1023",
        errno.EPERM: f"no permission to use port {port}",
        errno.EADDRNOTAVAIL: f"{host!r} is not an address of this host, expected one that is",
        errno.ENOPROTOOPT: "this system cannot share a port between processes: it has no SO_REUSEPORT",
        errno.EMFILE: "this process may have no more files and sockets open, expected a higher limit (ulimit -n)",
        errno.EAFNOSUPPORT: f"this host cannot use the address family of {host!r}",
    }
    return BadInput(reasons.get(exc.errno or 0, f"{host!r} port {port}: {os.strerror(exc.errno or 0)}"))


def printable(payload: bytes) -> str:
    """A stranger's bytes as text that cannot drive the terminal: control characters are escaped."""
    text = payload.decode(errors="backslashreplace")
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )
