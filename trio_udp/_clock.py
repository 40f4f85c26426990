"""Whether a `trio.run` goes by a clock of the system's, or by one that somebody made up for it."""

import trio


def runs_in_real_time() -> bool:
    """Whether this `trio.run` has a clock on which a second lasts a second."""
    clock = trio.lowlevel.current_clock()
    return 0.5 < clock.deadline_to_sleep_time(clock.current_time() + 1) < 1.5
