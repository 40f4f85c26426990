"""From clock readings to times: which are to be trusted, and what of a round trip was spent where.

The wall clock may be set at any moment (C8), and the kernel's stamps are of the wall clock. So they are believed only
where they fit between readings of our own, and never where they make more of a round trip than the monotonic clock
does.
"""

from typing import NamedTuple

from ..proto import Times
from ._records import Stamps


class Readings(NamedTuple):
    """The client's clocks around one round trip, in nanoseconds; None where the kernel said nothing."""

    sent: int
    """Monotonic, before the call that sent the probe."""
    sent_wall: int
    left: int | None
    """The kernel's wall clock when the probe left."""
    came: int | None
    """The kernel's wall clock when the reply came."""
    received: int
    """Monotonic, when this program had the reply."""
    received_wall: int


class Timing(NamedTuple):
    """One round trip, in nanoseconds; see `ReplyRecord`."""

    stamps: Stamps
    rtt: int
    total: int
    client_queue: int | None
    wake_up: int | None
    server: int | None
    network: int | None
    left_at: int
    """When it left, by the best wall clock there is."""
    came_at: int


def timing_of(readings: Readings, times: Times | None) -> Timing:
    """Make the best of these."""
    sent, sent_wall, left, came, received, received_wall = readings
    total = max(received - sent, 0)
    stamps, rtt, queue, wake_up = Stamps.USER, total, None, None
    left_at, came_at = sent_wall, received_wall
    if came is not None and 0 <= received_wall - came <= total:
        stamps, came_at = Stamps.RECEIVE, came
        wake_up = received_wall - came
        rtt = total - wake_up
        if left is not None and 0 <= left - sent_wall <= total and 0 <= came - left <= total:
            stamps, left_at = Stamps.KERNEL, left
            queue = left - sent_wall
            rtt = came - left
    server = None if times is None else times.turnaround
    if server is not None and server > rtt:
        server = None  # a server that says so has a clock of its own kind
    network = None if server is None else rtt - server
    return Timing(stamps, rtt, total, queue, wake_up, server, network, left_at, came_at)
