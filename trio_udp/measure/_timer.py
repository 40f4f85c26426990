"""Wait until a point of time, more exactly than Trio's own clock allows.

Trio waits in `epoll`, whose timeouts are whole milliseconds: `trio.sleep_until` is late by half of one (measured: 0.6
ms). Linux has timers that are descriptors; to wait for one of those is to wait until it is readable, to the
microsecond, and no processor spins. Everywhere else, and on any clock but the system's (a virtual one in a test),
Trio's own is used.
"""

import abc
import contextlib
import ctypes
import errno
import functools
import os
import struct
import sys
import time
from collections.abc import Callable, Iterator
from typing import Final, Protocol

import trio

from .._clock import runs_in_real_time

# struct itimerspec: interval and first expiry, seconds and nanoseconds each
_ITIMERSPEC: Final = struct.Struct("@qqqq")
# include/uapi/linux/timerfd.h and time.h
_CLOCK_MONOTONIC: Final = 1
_TFD_CLOEXEC: Final = 0o2000000
_TFD_TIMER_ABSTIME: Final = 1
_COUNT_SIZE: Final = 8
"""Bytes of how often a timer has expired, which can be read when it has."""
_SECOND: Final = 1_000_000_000

NAP: Final = 1_000_000
"""Nanoseconds for which a timer may keep all tasks waiting, where that is asked for."""


class Timer(Protocol):
    """Something to wait with."""

    def now(self) -> int:
        """Nanoseconds of a clock that is never set."""

    async def sleep_until(self, when: int) -> None:
        """Return at that time of this clock, or at once; a checkpoint in either case."""


class TrioTimer:
    """Trio's clock, whatever that is."""

    def now(self) -> int:
        """See `Timer.now`."""
        return round(trio.current_time() * _SECOND)

    async def sleep_until(self, when: int) -> None:
        """See `Timer.sleep_until`."""
        await trio.sleep_until(when / _SECOND)


class SystemTimer(abc.ABC):
    """The system's clock. What is made of it waits for less than `NAP` in one of two ways, and for more in another."""

    def __init__(self) -> None:
        self._left = 0
        """When Trio's loop was last left to itself by somebody who naps."""

    def now(self) -> int:
        """See `Timer.now`."""
        return time.monotonic_ns()

    async def nap_until(self, when: int) -> None:
        """As `sleep_until`, but for less than `NAP` no task runs meanwhile. A checkpoint once in a `NAP`.

        For waits that are about as short as a pass of Trio's loop, which takes 50 µs when it has slept (measured).
        """
        now = time.monotonic_ns()
        if now - self._left >= NAP:
            await trio.lowlevel.checkpoint()
            now = self._left = time.monotonic_ns()
        if when - now >= NAP:
            await self.sleep_until(when)
        elif when > now:
            self._nap(when)

    @abc.abstractmethod
    async def sleep_until(self, when: int) -> None:
        """See `Timer.sleep_until`."""

    @abc.abstractmethod
    def _nap(self, when: int) -> None:
        """Return at that time, which is near."""


class SpinningTimer(SystemTimer):
    """Looked at in every pass of Trio's loop: no one has to wake anybody up."""

    async def sleep_until(self, when: int) -> None:
        """See `Timer.sleep_until`."""
        await trio.lowlevel.checkpoint()
        while time.monotonic_ns() < when:
            await trio.lowlevel.checkpoint()

    def _nap(self, when: int) -> None:
        while time.monotonic_ns() < when:
            pass


class KernelTimer(SystemTimer):
    """With a timer descriptor. One task waits at a time."""

    def __init__(self, descriptor: int, set_time: Callable[[int], None]) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._set_time = set_time

    async def sleep_until(self, when: int) -> None:
        """See `Timer.sleep_until`."""
        if when <= time.monotonic_ns():
            await trio.lowlevel.checkpoint()
            return
        self._set_time(when)
        while time.monotonic_ns() < when:
            # How often it has expired need not be read: that goes when the time is set again.
            await trio.lowlevel.wait_readable(self._descriptor)

    def _nap(self, when: int) -> None:
        self._set_time(when)
        os.read(self._descriptor, _COUNT_SIZE)


@contextlib.contextmanager
def open_timer(*, spins: bool = False) -> Iterator[Timer]:
    """The best timer there is, for the length of the block; or one that keeps a processor busy, if it may."""
    is_real = runs_in_real_time()
    if spins and is_real:
        yield SpinningTimer()
        return
    library = find_library() if is_real else None
    if library is None:
        yield TrioTimer()
        return
    descriptor = library.timerfd_create(_CLOCK_MONOTONIC, _TFD_CLOEXEC)
    if descriptor < 0:  # out of descriptors, or a sandbox that forbids it
        yield TrioTimer()
        return
    try:
        yield KernelTimer(descriptor, functools.partial(_set_time, library, descriptor))
    finally:
        trio.lowlevel.notify_closing(descriptor)
        os.close(descriptor)


@functools.cache
def find_library() -> ctypes.CDLL | None:
    """A C library with timer descriptors; None where it has none. (From Python 3.13 on `os` has the same calls.)"""
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "timerfd_settime"):
        return None
    library.timerfd_create.argtypes = [ctypes.c_int, ctypes.c_int]
    library.timerfd_settime.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p]
    return library


def _set_time(library: ctypes.CDLL, descriptor: int, when: int) -> None:
    specification = _ITIMERSPEC.pack(0, 0, *divmod(when, _SECOND))
    if library.timerfd_settime(descriptor, _TFD_TIMER_ABSTIME, specification, None) < 0:
        number = ctypes.get_errno() or errno.EINVAL
        raise OSError(number, os.strerror(number))
