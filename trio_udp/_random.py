"""Where ids come from: the system's random source (A4), unless a simulation has put a seeded one in its place."""

import os
from collections.abc import Callable
from typing import Final

import trio

RandomBytes = Callable[[int], bytes]

_source: Final[trio.lowlevel.RunVar[RandomBytes]] = trio.lowlevel.RunVar("trio_udp random bytes", default=os.urandom)


def random_source() -> RandomBytes:
    """The function that gives so many random bytes, for this `trio.run`."""
    return _source.get()


def set_random_source(source: RandomBytes) -> None:
    """Draw from this instead, until the end of this `trio.run`: for simulations, which must be repeatable."""
    _source.set(source)
