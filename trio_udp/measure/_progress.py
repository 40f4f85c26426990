"""How far a run with an end is, and how long it will take."""

import math

from .._layout import clock_text


def estimate(elapsed: float, sent: int, count: int | None, deadline: float) -> float:
    """Seconds left, at the pace so far, infinite if nobody knows: until all is sent or time is up."""
    left = max(deadline - elapsed, 0.0)
    if count is not None and sent:
        left = min(left, max(count - sent, 0) * elapsed / sent)
    return left


def share_done(elapsed: float, sent: int, count: int | None, deadline: float) -> float:
    """From 0 to 1: of the probes or of the time, whatever is further."""
    of_probes = sent / count if count else 0.0
    return min(max(of_probes, elapsed / deadline), 1.0)


def progress_line(elapsed: float, sent: int, count: int | None, deadline: float) -> str:
    """`  42 %  420 of 1000 sent, about 0:58 left`.

    Args:
        elapsed: seconds since the beginning.
        sent: probes so far.
        count: probes to be sent in all; None without such an end.
        deadline: seconds that the run lasts at most; infinite without such an end.
    """
    share = math.floor(100 * share_done(elapsed, sent, count, deadline))
    of = "" if count is None else f" of {count}"
    left = estimate(elapsed, sent, count, deadline)
    eta = "" if left == math.inf else f", about {clock_text(math.ceil(left))} left"
    return f"{share:3d} %  {sent}{of} sent{eta}"
