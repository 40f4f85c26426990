"""Find out what this host can do for measuring."""

import contextlib
import ctypes
import struct
import sys
from typing import Final

import trio

from .._net._abilities import find_abilities
from ._calibrate import noise_floor
from ._doctor import Facts, Finding, judge
from ._records import Summary
from ._timer import KernelTimer, open_timer

# struct timex: modes, and the kernel's offset, frequency, maximum error and estimated error in µs; status
_TIMEX: Final = struct.Struct("@Illlli")
_TIMEX_SIZE: Final = 1024
"""More than any kernel's."""
_TIME_ERROR: Final = 5
"""sys/timex.h: the clock is not synchronised."""
_PATIENCE: Final = 10.0
"""Seconds for the noise floor, which takes a fifth of one unless loopback is closed."""


async def examine() -> list[Finding]:
    """Try what this host can do, over loopback only, and say what it means. Takes about a quarter of a second.

    The same findings in the same order on every host; what cannot be found out is `State.UNKNOWN`.
    """
    with open_timer() as timer:
        has_timer = isinstance(timer, KernelTimer)
    synchronised, error = _ask_clock()
    facts = Facts(
        abilities=await trio.to_thread.run_sync(find_abilities),
        has_timer=has_timer,
        is_synchronised=synchronised,
        clock_error_ns=error,
        descriptors=_descriptors(),
        noise=await _noise(),
    )
    return judge(facts)


async def _noise() -> Summary | None:
    with contextlib.suppress(OSError), trio.move_on_after(_PATIENCE):
        return await noise_floor()
    return None


def _ask_clock() -> tuple[bool | None, int | None]:
    """Whether the kernel calls its wall clock synchronised, and how far off it may be in nanoseconds."""
    if sys.platform != "linux":
        return None, None
    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "adjtimex"):
        return None, None
    memory = ctypes.create_string_buffer(_TIMEX_SIZE)  # modes 0: only to read
    state = library.adjtimex(memory)
    if state < 0:  # a sandbox that forbids even that
        return None, None
    _modes, _offset, _frequency, most, _estimate, _status = _TIMEX.unpack_from(memory)
    return (True, most * 1000) if state != _TIME_ERROR else (False, None)


def _descriptors() -> int | None:
    try:
        import resource  # noqa: PLC0415 - Unix has it
    except ImportError:
        return None
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if limit == resource.RLIM_INFINITY else limit
