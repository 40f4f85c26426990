"""How far a run is, and how long it will take."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_udp._layout import clock_text
from trio_udp.measure import progress_line
from trio_udp.measure._progress import estimate, share_done

seconds = st.floats(0, 1e6)


@pytest.mark.parametrize(
    ("elapsed", "sent", "count", "deadline", "line"),
    [
        (0.0, 0, 1000, math.inf, "  0 %  0 of 1000 sent"),
        (42.0, 420, 1000, math.inf, " 42 %  420 of 1000 sent, about 0:58 left"),
        (10.0, 10, 1000, 40.0, " 25 %  10 of 1000 sent, about 0:30 left"),
        (10.0, 10, None, 7210.0, "  0 %  10 sent, about 2:00:00 left"),
        (10.0, 1000, 1000, math.inf, "100 %  1000 of 1000 sent, about 0:00 left"),
        (50.0, 10, None, 40.0, "100 %  10 sent, about 0:00 left"),
    ],
)
def test_progress_is_of_the_probes_or_of_the_time(
    elapsed: float, sent: int, count: int | None, deadline: float, line: str
) -> None:
    """Whatever ends the run first; nothing is foretold before the first probe."""
    assert progress_line(elapsed, sent, count, deadline) == line


@given(elapsed=seconds, sent=st.integers(0, 10**6), count=st.integers(1, 10**6), deadline=st.floats(0.001, 1e6))
def test_progress_is_a_share_and_its_estimate_is_not_beyond_the_deadline(
    elapsed: float, sent: int, count: int, deadline: float
) -> None:
    """Whatever the figures are."""
    assert 0 <= share_done(elapsed, sent, count, deadline) <= 1
    assert 0 <= estimate(elapsed, sent, count, deadline) <= deadline


def test_hours_are_shown_only_if_there_are_any() -> None:
    """As a clock would."""
    assert [clock_text(value) for value in (0, 59.9, 61, 3600, 90_061)] == [
        "0:00",
        "0:59",
        "1:01",
        "1:00:00",
        "25:01:01",
    ]
