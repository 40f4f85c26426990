"""Whom `ping` is to ask: hosts, files of hosts, all addresses of a name, and one host from many ports."""

import argparse
import contextlib
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple, TextIO

from .. import resolve
from ._arguments import BadInput, explain, number, seconds_in
from ._fingers import scoped

MOST_TARGETS: Final = 1024
"""What can be read in a table, and is sent by one process in time."""
_DESCRIPTORS_EACH: Final = 2
"""A socket and a timer."""
_OTHER_DESCRIPTORS: Final = 64
"""Streams, files, Trio's own, and a few connections of who asks for counters."""
_LONGEST_LINE: Final = 1000
_BYTE_ORDER_MARK: Final = "\ufeff"
"""What editors of some systems write before the first line."""


class Target(NamedTuple):
    """One path to measure."""

    label: str
    """What to call it."""
    host: str
    """The name or address to resolve."""
    port: int
    path: int = 0
    """Which of several source ports, from 1 on; 0 if there is one only."""


def add_targets(parser: argparse.ArgumentParser) -> None:
    """Add `--hosts`, `--all-addresses`, `--resolve-every` and `--ports`."""
    add = parser.add_argument
    add("--hosts", dest="files", action="append", default=[], metavar="FILE", help="read hosts, one a line; - is stdin")
    add("--all-addresses", action="store_true", help="ping each address that a name has, instead of the first")
    ways = parser.add_mutually_exclusive_group()
    ways.add_argument(
        "--resolve-every",
        type=number(seconds_in, 0.01, unit=" of seconds"),
        metavar="SECONDS",
        help="resolve names again, this often, and follow them",
    )
    ways.add_argument(
        "--ports",
        type=number(int, 2, MOST_TARGETS),
        metavar="N",
        help="from so many ports of ours, and rank them: routers choose paths by port",
    )


async def targets_of(arguments: argparse.Namespace) -> list[Target]:
    """All of them, in order; empty if none is named. `BadInput` if there are too many, or a file is none of hosts."""
    if arguments.all_addresses and arguments.resolve_every is not None:
        raise BadInput("argument --resolve-every: expected no --all-addresses with it: addresses do not move")
    hosts = [*arguments.hosts]
    for name in arguments.files:
        hosts += _read_file(name)
    targets = [Target(host, scoped(host, arguments.interface), arguments.port) for host in hosts]
    if arguments.all_addresses:
        targets = [each for target in targets for each in await _all_addresses(target.host, arguments)]
    labels = told_apart(target.label for target in targets)
    targets = [target._replace(label=label) for target, label in zip(targets, labels, strict=True)]
    return spread(targets, arguments.ports)


def told_apart(labels: Iterable[str]) -> Iterator[str]:
    """Each once, with a number if it has been there: readers of streams, tables and counters know runs by labels."""
    seen: Counter[str] = Counter()
    for label in labels:
        seen[label] += 1
        yield label if seen[label] == 1 else f"{label} ({seen[label]})"


def spread(targets: list[Target], ports: int | None) -> list[Target]:
    """Each from so many ports."""
    if ports is not None:
        paths = range(1, ports + 1)
        targets = [Target(target.label, target.host, target.port, path) for target in targets for path in paths]
    if len(targets) > MOST_TARGETS:
        raise BadInput(f"expected at most {MOST_TARGETS} paths to measure, got {len(targets)}")
    return targets


async def _all_addresses(host: str, arguments: argparse.Namespace) -> list[Target]:
    try:
        addresses = await resolve(host, arguments.port, arguments.family)
    except OSError as exc:
        raise explain(exc, host, arguments.port) from None
    return [
        Target(address.host if address.host == host else f"{host}/{address.host}", address.host, arguments.port)
        for address in addresses
    ]


def make_room_for(paths: int) -> None:
    """Have as many descriptors as so many paths take, if this user may: the usual limit is for programs with few."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource  # Unix has it

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = _DESCRIPTORS_EACH * paths + _OTHER_DESCRIPTORS
        if hard != resource.RLIM_INFINITY:
            wanted = min(wanted, hard)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _read_file(name: str) -> list[str]:
    try:
        if name == "-":
            return list(_hosts_in(sys.stdin, "standard input"))
        with open(name, encoding="utf-8") as file:
            return list(_hosts_in(file, name))
    except (OSError, UnicodeDecodeError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else "it is no text in UTF-8"
        raise BadInput(f"cannot read hosts from {name!r}: {why}") from None


def _hosts_in(file: TextIO, name: str) -> Iterator[str]:
    """One a line; what is behind a # is a comment."""
    found = 0
    for at, line in _lines(file):
        words = line.removeprefix(_BYTE_ORDER_MARK).partition("#")[0].split()
        if not words:
            continue
        found += 1
        if len(words) > 1 or len(line) > _LONGEST_LINE:
            raise BadInput(f"expected one host a line, got {line.strip()[:60]!r} in line {at} of {name}")
        if found > MOST_TARGETS:
            raise BadInput(f"expected at most {MOST_TARGETS} hosts, got more in {name}")
        yield words[0]
    if not found:
        raise BadInput(f"expected a host in {name}, got none")


def _lines(file: TextIO) -> Iterable[tuple[int, str]]:
    """Cut where they are longer than any host, so that no line fills the memory."""
    at = 0
    while line := file.readline(_LONGEST_LINE + 2):
        at += 1
        yield at, line
