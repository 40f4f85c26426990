"""On which way probes were lost: named where the server's word supports it, and unknown everywhere else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_udp.measure import Direction
from trio_udp.measure._directions import Directions
from trio_udp.proto import Arrival, Times

UP, DOWN, UNKNOWN = Direction.UPSTREAM, Direction.DOWNSTREAM, Direction.UNKNOWN
LONG = 10**12


def word(*came: int, state: int = 1, memory: int = LONG, duplicates: int = 0, received: int | None = None) -> Times:
    """What a server tells that had these probes."""
    highest = max(came)
    window = sum(1 << (highest - 1 - each) for each in set(came) if highest - 64 <= each < highest)
    count = len(set(came)) + duplicates if received is None else received
    return Times(state, memory, count, duplicates, 0, highest, window, 0, 0, by_kernel=True)


def counts(directions: Directions) -> tuple[int, int, int]:
    """Upstream, downstream, unknown."""
    return directions.counts[UP], directions.counts[DOWN], directions.counts[UNKNOWN]


def test_before_the_server_says_anything_nothing_is_known() -> None:
    """But what never left is lost upstream."""
    directions = Directions()
    assert directions.lose(1) is UNKNOWN
    assert directions.lose(2, never_left=True) is UP
    assert not directions.has_counted_all
    assert directions.settled(2, 0) is None


def test_its_window_says_what_came_and_what_did_not() -> None:
    """When the probe is given up, or later, when the next word comes."""
    directions = Directions()
    directions.lose(2)
    assert directions.tell(word(1, 3, 4), 5) is Arrival.NEXT
    assert counts(directions) == (1, 0, 0)
    assert directions.lose(3) is DOWN
    assert directions.lose(5) is UNKNOWN
    directions.tell(word(1, 3, 4, 5, 6), 5)
    assert counts(directions) == (1, 2, 0)
    assert directions.lose(6) is DOWN
    directions.tell(word(1, 2, 3, 4, 5, 6, 7), 5)  # the second one was only very late
    assert counts(directions) == (0, 4, 0)


def test_a_server_that_may_have_forgotten_the_beginning_names_only_what_came() -> None:
    """It has counted for less time than the run lasts."""
    directions = Directions()
    directions.tell(word(3, 4, memory=99), 100)
    assert directions.lose(3) is DOWN
    assert directions.lose(2) is UNKNOWN
    directions.tell(word(3, 4, memory=99), 100, is_report=True)
    assert directions.settled(4, 2) is None


def test_a_server_that_lost_count_names_only_what_came() -> None:
    """From then on; its later word counts anew."""
    directions = Directions()
    directions.tell(word(1, 2, 3), 1)
    before = directions.has_counted_all
    directions.tell(word(5, state=2), 1)
    assert (before, directions.has_counted_all) == (True, False)
    assert directions.lose(4) is UNKNOWN
    assert directions.latest is not None
    assert directions.latest.state == 2
    # A reply of the first state that comes late is of a count that is over.
    assert directions.tell(word(1, 2, received=2), 1) is Arrival.REORDERED
    assert directions.latest.state == 2


def test_what_was_named_upstream_is_unknown_once_the_server_has_lost_count() -> None:
    """It may have arrived after the last word of the count that is lost."""
    directions = Directions()
    directions.tell(word(1, 3), 1)
    assert (directions.lose(2), directions.lose(3)) == (UP, DOWN)
    directions.tell(word(5, state=2), 1)
    assert counts(directions) == (0, 1, 1)


def test_replies_are_numbered_by_the_servers_count() -> None:
    """So copies are told from new ones, for each state by itself, of which a few are remembered."""
    directions = Directions()
    arrivals = [directions.tell(word(*range(1, count + 1)), 1) for count in (1, 3, 2, 3)]
    assert arrivals == [Arrival.NEXT, Arrival.NEXT, Arrival.REORDERED, Arrival.DUPLICATE]
    assert directions.reordered == 1
    for state in range(2, 20):
        assert directions.tell(word(1, state=state), 1) is Arrival.NEXT
    assert len(directions._replies) == 8


def test_a_report_is_a_word_and_no_reply() -> None:
    """It repeats the number of the last one."""
    directions = Directions()
    directions.tell(word(1), 1)
    assert directions.tell(word(1), 1, is_report=True) is None
    assert directions.tell(word(1, 2), 1) is Arrival.NEXT


def test_what_came_late_is_lost_no_more() -> None:
    """In whatever direction it was counted; also when that is no longer remembered."""
    directions = Directions()
    directions.tell(word(1, 3), 1)
    directions.lose(2)
    directions.find(2)
    assert counts(directions) == (0, 0, 0)
    for sequence in range(100, 2000):
        directions.lose(sequence)
    assert len(directions._lost) == 1024
    directions.find(100)
    assert counts(directions) == (0, 0, 1899)
    directions.tell(word(1, 3, 1999), 1)
    assert counts(directions) == (1023, 1, 875)  # three have arrived, and it is known which
    directions.counts = {UP: 5, DOWN: 1, UNKNOWN: 0}
    directions.find(101)
    assert counts(directions) == (4, 1, 0)


def test_the_last_word_settles_the_counts() -> None:
    """Of ten, eight came, and two of those twice; six answers came back."""
    directions = Directions()
    directions.tell(word(*range(3, 11), duplicates=2), 1)
    assert directions.settled(10, 6) is None  # it may have had more since
    directions.tell(word(*range(3, 11), duplicates=2), 1, is_report=True)
    assert directions.settled(10, 6) == {UP: 2, DOWN: 2, UNKNOWN: 0}


def test_a_server_that_cannot_count_settles_nothing() -> None:
    """More than were sent, or fewer than were answered: never a negative figure, and never more than all."""
    directions = Directions()
    directions.tell(word(1, 2, 3), 1, is_report=True)
    assert directions.settled(2, 1) is None
    assert directions.settled(5, 4) is None
    assert directions.settled(5, 3) == {UP: 2, DOWN: 0, UNKNOWN: 0}


def test_what_has_arrived_is_remembered_when_the_window_has_passed_it() -> None:
    """A probe is given up long after; the server has told meanwhile, once."""
    directions = Directions()
    for highest in range(3, 200):
        directions.tell(word(*range(1, highest + 1)), 5, answers=highest)
    assert directions.lose(2) is DOWN


def test_what_has_not_arrived_is_named_as_long_as_all_that_have_are_known() -> None:
    """By the server's count: if nothing else has arrived than what it has told by number, this has not."""
    directions = Directions()
    came = [1]
    for highest in range(3, 200):
        came.append(highest)
        directions.tell(word(*came, duplicates=7), 5, answers=highest)
    assert directions.lose(2) is UP
    directions.tell(word(*came, *range(300, 400)), 5)  # 200 to 299 were told of in no window
    assert directions.lose(250) is UNKNOWN
    assert counts(directions) == (1, 0, 1)


def test_more_unanswered_probes_than_are_remembered_are_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest are forgotten, and not taken for those that never arrived."""
    monkeypatch.setattr("trio_udp.measure._directions._UNANSWERED", 3)
    directions = Directions()
    for highest in range(1, 100):
        directions.tell(word(*range(1, highest + 1)), 5)
    assert [directions.lose(sequence) for sequence in (1, 20, 97, 98, 99)] == [UNKNOWN, UNKNOWN, DOWN, DOWN, DOWN]


@given(
    arriving=st.lists(st.integers(1, 400), max_size=300),
    heard=st.sets(st.integers(0, 299)),
    swaps=st.lists(st.integers(0, 298), max_size=20),
    in_order=st.booleans(),
)
def test_what_is_named_is_true_when_the_server_last_spoke(
    arriving: list[int], heard: set[int], swaps: list[int], in_order: bool
) -> None:
    """Whatever arrives in whatever order, and whichever words are heard, overtaking each other."""
    arriving = sorted(arriving) if in_order else arriving
    words = []
    for at, sequence in enumerate(arriving):
        came = arriving[: at + 1]
        if at in heard:
            words.append((at, sequence, word(*came, duplicates=len(came) - len(set(came)))))
    for at in swaps:
        words[at : at + 2] = words[at : at + 2][::-1]
    directions = Directions()
    for _, sequence, told in words:
        directions.tell(told, 5, answers=sequence)
    last = max((at for at, _, _ in words), default=-1)
    came_by_then = set(arriving[: last + 1])
    for sequence in set(range(1, 401)) - {sequence for _, sequence, _ in words}:
        named = directions.lose(sequence)
        assert named is UNKNOWN or (named is DOWN) == (sequence in came_by_then)
