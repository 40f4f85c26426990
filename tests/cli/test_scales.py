"""The arithmetic behind pictures of times."""

import math
from collections import Counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trio_udp._cli._scales import bars, place, span, time_text

times = st.lists(st.integers(-5, 10**11), min_size=1, max_size=80)


def counted(values: list[int]) -> list[tuple[int, int]]:
    """Ascending, and how often each is there."""
    return sorted(Counter(values).items())


@given(values=times, number=st.integers(1, 60))
@example(values=[5, 5], number=8)
@example(values=[0], number=1)
def test_bars_hold_every_time_once_and_stand_side_by_side(values: list[int], number: int) -> None:
    """Nothing is left out, however far from the others it is; and each is as many times as long as its neighbour."""
    found = bars(counted(values), number)
    assert sum(bar.replies for bar in found) == len(values)
    assert [bar.high for bar in found[:-1]] == [bar.low for bar in found[1:]]
    assert len({round(bar.high / bar.low, 6) for bar in found}) == 1
    for bar in found:
        within = sum(bar.low * 1.000001 <= max(value, 1) < bar.high * 0.999999 for value in values)
        assert within <= bar.replies


def test_no_times_have_no_bars() -> None:
    """Rather than eight of nothing between nowhere and nowhere."""
    assert bars([], 8) == []


@given(values=times)
def test_a_scale_has_a_place_for_each_time_in_their_order(values: list[int]) -> None:
    """From 0 to 1; and times that are nearly the same are not blown up."""
    scale = span(values)
    places = [place(value, scale) for value in sorted(values)]
    assert places == sorted(places)
    assert places[0] >= 0
    assert places[-1] <= 1
    if max(values) < 1.1 * min(values):
        assert places[-1] - places[0] < 0.2


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0 ns"), (7, "7 ns"), (999, "999 ns"), (999.9, "1.00 µs"), (1000, "1.00 µs"), (61_234, "61.2 µs"),
        (99_960, "100 µs"), (999_960, "1.00 ms"), (3_210_000, "3.21 ms"), (12_300_000_000, "12.3 s"),
        (4_000_000_000_000, "4000 s"), (-1500, "-1.50 µs"),
    ],
)  # fmt: skip
def test_times_have_three_digits_and_a_unit(ns: float, text: str) -> None:
    """Also where rounding reaches the next unit."""
    assert time_text(ns) == text


@given(ns=st.floats(1, 9.99e11))
@example(ns=10.5)
def test_a_time_is_what_its_text_says(ns: float) -> None:
    """To three digits or a whole nanosecond, and with at most seven characters."""
    value, unit = time_text(ns).split()
    said = float(value) * {"s": 1e9, "ms": 1e6, "µs": 1e3, "ns": 1}[unit]
    assert math.isclose(said, ns, rel_tol=0.0051, abs_tol=0.5)
    assert len(time_text(ns)) <= len("1.00 ms")
