"""Waiting until a point of time: on whatever clock there is."""

import os
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from trio_udp._clock import runs_in_real_time
from trio_udp.measure import _timer
from trio_udp.measure._timer import NAP, KernelTimer, SpinningTimer, SystemTimer, TrioTimer, open_timer

needs_timerfd = pytest.mark.skipif(_timer.find_library() is None, reason="this system has no timer descriptors")


class Passes:
    """Those of Trio's loop in which other tasks have their turn."""

    number = 0

    async def count(self) -> None:
        """For ever."""
        while True:
            await trio.lowlevel.checkpoint()
            self.number += 1


async def test_on_a_virtual_clock_trio_waits(autojump_clock: MockClock) -> None:
    """Exactly."""
    assert not runs_in_real_time()
    with open_timer() as timer:
        assert isinstance(timer, TrioTimer)
        began = timer.now()
        await timer.sleep_until(began + 3_600_000_000_000)
        assert timer.now() == began + 3_600_000_000_000


@needs_timerfd
async def test_on_the_systems_clock_the_kernel_waits() -> None:
    """Not a nanosecond too short; a point in the past is a checkpoint."""
    assert runs_in_real_time()
    with open_timer() as timer:
        assert isinstance(timer, KernelTimer)
        for nanoseconds in (1, 100_000, 1_000_000):
            when = timer.now() + nanoseconds
            await timer.sleep_until(when)
            assert timer.now() >= when
        with trio.CancelScope() as scope:
            scope.cancel()
            await timer.sleep_until(0)
        assert scope.cancelled_caught


async def test_one_who_spins_waits_as_long_and_lets_others_run() -> None:
    """On the system's clock; on a virtual one time would stand still."""
    passes = Passes()
    with open_timer(spins=True) as timer:
        assert isinstance(timer, SpinningTimer)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(passes.count)
            when = timer.now() + 3_000_000
            await timer.sleep_until(when)
            assert timer.now() >= when
            nursery.cancel_scope.cancel()
        with trio.CancelScope() as scope:
            scope.cancel()
            await timer.sleep_until(0)
        assert scope.cancelled_caught
    assert passes.number > 1


@needs_timerfd
@pytest.mark.parametrize("spins", [False, True])
async def test_naps_are_long_enough_and_others_have_their_turn_once_in_a_while(spins: bool) -> None:
    """After a NAP of naps at the latest; a longer wait is Trio's, and a point in the past is no wait."""
    passes = Passes()
    with open_timer(spins=spins) as timer:
        assert isinstance(timer, SystemTimer)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(passes.count)
            for _ in range(40):
                when = timer.now() + NAP // 10
                await timer.nap_until(when)
                assert timer.now() >= when
            assert passes.number >= 2
            passes.number, when = 0, timer.now() + 2 * NAP
            await timer.nap_until(when)
            assert timer.now() >= when
            assert passes.number > 0
            nursery.cancel_scope.cancel()


@needs_timerfd
async def test_one_who_naps_can_be_cancelled() -> None:
    """Once in a NAP."""
    with open_timer() as timer:
        assert isinstance(timer, KernelTimer)
        with trio.CancelScope() as scope:
            scope.cancel()
            while True:
                await timer.nap_until(timer.now() + NAP // 10)
        assert scope.cancelled_caught


async def test_nobody_spins_on_a_virtual_clock(autojump_clock: MockClock) -> None:
    """It would never move."""
    with open_timer(spins=True) as timer:
        assert isinstance(timer, TrioTimer)


@needs_timerfd
async def test_waiting_can_be_cancelled_and_leaves_no_descriptor() -> None:
    """G9."""
    before = os.listdir("/dev/fd")
    with open_timer() as timer:
        with trio.move_on_after(0.001) as scope:
            await timer.sleep_until(timer.now() + 10**12)
        assert scope.cancelled_caught
        await timer.sleep_until(timer.now() + 1)  # an expiry of the one before is not taken for this one's
    assert os.listdir("/dev/fd") == before


@needs_timerfd
@pytest.mark.parametrize("create", [lambda *_: -1, None])
async def test_without_a_descriptor_trio_waits(monkeypatch: pytest.MonkeyPatch, create: Any) -> None:
    """There is none left, or this system has none."""

    class Library:
        timerfd_create = staticmethod(create) if create else None

    monkeypatch.setattr(_timer, "find_library", lambda: Library() if create else None)
    with open_timer() as timer:
        assert isinstance(timer, TrioTimer)


@needs_timerfd
async def test_a_time_that_the_kernel_refuses_is_an_error() -> None:
    """It cannot come from a schedule, whose intervals are checked."""
    library = _timer.find_library()
    assert library is not None
    with pytest.raises(OSError, match="Bad file descriptor"):
        _timer._set_time(library, -1, 0)


def test_other_systems_have_no_such_timers(monkeypatch: pytest.MonkeyPatch) -> None:
    """And an old C library has none either."""
    _timer.find_library.cache_clear()
    monkeypatch.setattr("sys.platform", "darwin")
    assert _timer.find_library() is None
    _timer.find_library.cache_clear()
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("ctypes.CDLL", lambda *_, **__: object())
    assert _timer.find_library() is None
    _timer.find_library.cache_clear()
