"""From clock readings to times: the best that fit together, and never more than the monotonic clock says."""

from hypothesis import given
from hypothesis import strategies as st

from trio_udp.measure import Stamps
from trio_udp.measure._timing import Readings, timing_of
from trio_udp.proto import Times

WALL = 1_700_000_000 * 10**9
READINGS = Readings(1000, WALL, WALL + 20, WALL + 80, 1100, WALL + 100)


def times(turnaround: int | None) -> Times:
    """A server's word."""
    return Times(1, 0, 1, 0, 0, 1, 0, WALL, turnaround, by_kernel=True)


def test_a_round_trip_is_split_where_the_kernel_and_the_server_speak() -> None:
    """Queue 20, kernel to kernel 60 of which 25 in the server, wake-up 20."""
    found = timing_of(READINGS, times(25))
    assert found.stamps is Stamps.KERNEL
    assert (found.rtt, found.total, found.client_queue, found.wake_up) == (60, 100, 20, 20)
    assert (found.server, found.network) == (25, 35)
    assert (found.left_at, found.came_at) == (WALL + 20, WALL + 80)


def test_without_the_kernels_word_on_leaving_its_word_on_arrival_is_used() -> None:
    """As most pings do it."""
    found = timing_of(READINGS._replace(left=None), None)
    assert (found.stamps, found.rtt, found.client_queue, found.wake_up) == (Stamps.RECEIVE, 80, None, 20)
    assert (found.server, found.network) == (None, None)


def test_without_the_kernel_there_is_our_own_clock() -> None:
    """And nothing to split."""
    found = timing_of(READINGS._replace(came=None), times(None))
    assert (found.stamps, found.rtt, found.client_queue, found.wake_up) == (Stamps.USER, 100, None, None)
    assert (found.server, found.network) == (None, None)


def test_a_server_that_took_longer_than_the_round_trip_is_not_believed() -> None:
    """Its clock is of a kind of its own."""
    assert timing_of(READINGS, times(61)).server is None


walls = st.integers(WALL - 500, WALL + 500)


readings = st.builds(
    Readings, st.just(1000), walls, walls | st.none(), walls | st.none(), st.integers(1000, 1200), walls
)


@given(readings, st.none() | st.integers(0, 300).map(times))
def test_whatever_the_wall_clock_does_the_parts_fit_into_the_whole(clocks: Readings, said: Times | None) -> None:
    """C8: it may be set at any moment."""
    found = timing_of(clocks, said)
    assert found.total == clocks.received - clocks.sent
    assert 0 <= found.rtt <= found.total
    for part in (found.client_queue, found.wake_up, found.server, found.network):
        assert part is None or 0 <= part <= found.total
