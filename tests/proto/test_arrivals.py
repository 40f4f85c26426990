"""A window of sequence numbers: what is new, what came again, and what nobody can tell any more."""

from hypothesis import given
from hypothesis import strategies as st

from trio_udp.proto import Arrival, SequenceWindow


def test_numbers_are_told_apart_by_what_came_before_them() -> None:
    """RFC 4737: reordered is what is new and came behind a greater one."""
    window = SequenceWindow()
    came = [window.receive(number) for number in (1, 3, 2, 3, 2, 4)]
    next_one, again, behind = Arrival.NEXT, Arrival.DUPLICATE, Arrival.REORDERED
    assert came == [next_one, next_one, behind, again, again, next_one]
    assert (window.received, window.duplicates, window.reordered, window.highest) == (6, 2, 1, 4)
    assert window.bits == 0b1111


def test_what_lies_too_far_behind_is_neither_new_nor_a_duplicate() -> None:
    """It is counted, and nothing else is said of it."""
    window = SequenceWindow(4)
    assert [window.receive(number) for number in (1, 5, 2, 1)] == [Arrival.NEXT, Arrival.NEXT, Arrival.REORDERED, None]
    assert (window.received, window.duplicates, window.reordered) == (4, 0, 1)


def test_a_leap_of_four_thousand_million_costs_no_memory() -> None:
    """A stranger chooses the numbers."""
    window = SequenceWindow()
    window.receive(1)
    assert window.receive(2**32 - 1) is Arrival.NEXT
    assert window.bits == 1


@given(st.lists(st.integers(1, 60), max_size=100))
def test_a_window_agrees_with_a_set_of_all_numbers(numbers: list[int]) -> None:
    """As long as none is too old."""
    window = SequenceWindow(64)
    seen: set[int] = set()
    for number in numbers:
        expected = Arrival.NEXT
        if number in seen:
            expected = Arrival.DUPLICATE
        elif number < max(seen, default=0):
            expected = Arrival.REORDERED
        assert window.receive(number) is expected
        seen.add(number)
    assert window.received == len(numbers)
    assert window.received - window.duplicates == len(seen)
    assert window.bits == sum(1 << (window.highest - number) for number in seen)
