"""The window: what halves it, what makes it grow, and what it never does (C6)."""

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trio_udp.proto import Window

RTO = 1.0


class Lost:
    """A transmission, and for how long it is waited for: a retransmission timeout or longer."""

    def __init__(self, sent: float, wait: float) -> None:
        self.sent = sent
        self.due = sent + RTO * wait


def lose_all(window: Window, sent: float, count: int, now: float) -> None:
    """So many that were sent at one time are all sent again."""
    for _ in range(count):
        window.lose(sent, now)


def test_it_begins_with_as_many_as_there_may_be() -> None:
    """The user's own limit; half of what the usual receive buffer holds by default."""
    assert Window(128).size == Window(128).most == 128


def test_a_burst_that_is_lost_halves_it_once() -> None:
    """All of it was under way before anybody could know."""
    window = Window(128)
    lose_all(window, 0.0, 128, now=1.0)
    assert window.size == 64
    lose_all(window, 0.5, 10, now=1.7)  # sent before that, and timed out later
    assert window.size == 64
    window.lose(1.0, now=3.0)  # what was sent again is lost again
    assert window.size == 32


def test_it_ends_at_one() -> None:
    """So that there is always one that finds out."""
    window = Window(128)
    sizes = []
    for now in range(1, 10):
        lose_all(window, now - 1.0, 5, now=now)
        sizes.append(window.size)
    assert sizes == [64, 32, 16, 8, 4, 2, 1, 1, 1]


def test_it_grows_by_one_for_as_many_answers_as_it_allows() -> None:
    """Additive increase: one in a round trip. After a loss it begins to count again."""
    window = Window(8)
    window.lose(0.0, now=1.0)
    sizes = []
    for _ in range(12):
        window.answer()
        sizes.append(window.size)
    assert sizes == [4, 4, 4, 5, 5, 5, 5, 5, 6, 6, 6, 6]
    window.lose(1.0, now=2.0)
    for _ in range(2):
        window.answer()
        assert window.size == 3
    window.answer()
    assert window.size == 4


def test_it_grows_no_further_than_it_began() -> None:
    """However many are answered."""
    window = Window(3)
    window.lose(0.0, now=1.0)
    for _ in range(100):
        window.answer()
    assert window.size == 3


EVENTS = st.one_of(
    st.tuples(st.just("send"), st.floats(1, 4)),  # with this wait, in RTOs
    st.tuples(st.just("answer"), st.floats(0, 0)),
    st.tuples(st.just("pass"), st.floats(0, 3)),
)


@given(st.integers(1, 200), st.lists(EVENTS, max_size=100))
@example(1, [("send", 1.0), ("pass", 1.0)])
def test_it_stays_within_its_bounds_and_is_halved_at_most_once_in_a_timeout(
    most: int, events: list[tuple[str, float]]
) -> None:
    """C6: whatever is sent, lost and answered when; and a loss behind the last halving always counts."""
    window = Window(most)
    now = 0.0
    halved: list[float] = []
    under_way: list[Lost] = []

    def time_out() -> None:
        for lost in sorted(under_way, key=lambda lost: lost.due):
            if lost.due > now:
                continue
            before = window.size
            window.lose(lost.sent, lost.due)
            if not halved or lost.sent >= halved[-1]:
                assert window.size == max(before // 2, 1)
                halved.append(lost.due)
            else:
                assert window.size == before
            under_way.remove(lost)

    for event, amount in events:
        before = window.size
        match event:
            case "send":
                under_way.append(Lost(now, amount))
            case "answer":
                window.answer()
                assert before <= window.size <= before + 1
            case "pass":
                now += amount
                time_out()
        assert 1 <= window.size <= most
    assert all(later - earlier >= RTO - 1e-9 for earlier, later in itertools.pairwise(halved))


@pytest.mark.parametrize("loss", [0.02, 0.2])
def test_it_recovers_between_losses(loss: float) -> None:
    """The price of a steady loss: where a round trip is short beside the timeout it is back before the next halving."""
    window = Window(32)
    sizes = []
    for trip in range(10_000):
        now = trip * 0.001
        if trip % 200 == 199:  # the first loss of each 0.2 s is what counts, however many there are
            window.lose(now - 0.2, now)
        for _ in range(round(window.size * (1 - loss))):
            window.answer()
        sizes.append(window.size)
    assert min(sizes) >= 16
    assert sum(sizes) / len(sizes) > 30
