"""The timers of many exchanges: the next one, those that are due, and never many more entries than those that wait."""

import math

from hypothesis import example, given
from hypothesis import strategies as st

from trio_udp.proto import Timers


class Waiting:
    """What waits for a time."""

    def __init__(self) -> None:
        self.due = math.inf


def test_nobody_waits_for_ever() -> None:
    """No time to wait for, and nobody is due at any."""
    timers: Timers[Waiting] = Timers()
    assert timers.earliest() == math.inf
    assert timers.take_due(10**9) == []


def test_those_that_are_due_are_taken_in_the_order_of_their_times_and_once() -> None:
    """Of two with one time, the first to wait is the first."""
    timers: Timers[Waiting] = Timers()
    one, two, three, four = (Waiting() for _ in range(4))
    for waiting, due in ((one, 2.0), (two, 1.0), (three, 2.0), (four, 3.0)):
        timers.set(waiting, due)
    assert timers.earliest() == 1.0
    assert timers.take_due(0.9) == []
    assert timers.take_due(2.0) == [two, one, three]
    assert [waiting.due for waiting in (one, two, three, four)] == [math.inf, math.inf, math.inf, 3.0]
    assert timers.take_due(2.0) == []
    assert timers.earliest() == 3.0


def test_a_new_time_takes_the_place_of_the_old_one_earlier_or_later() -> None:
    """Also the same time again."""
    timers: Timers[Waiting] = Timers()
    one = Waiting()
    for due in (5.0, 3.0, 4.0, 4.0):
        timers.set(one, due)
        assert timers.earliest() == due
    assert timers.take_due(4.0) == [one]
    assert timers.take_due(9.0) == []


def test_who_waits_no_more_is_not_due() -> None:
    """However often that is said."""
    timers: Timers[Waiting] = Timers()
    one, two = Waiting(), Waiting()
    timers.set(one, 1.0)
    timers.set(two, 2.0)
    timers.clear(one)
    timers.clear(one)
    assert timers.earliest() == 2.0
    assert timers.take_due(2.0) == [two]


def test_entries_that_count_no_more_are_cleared_out_whether_others_come_or_go() -> None:
    """G7: requests that are answered leave nothing behind, at any rate and however long the waits."""
    timers: Timers[Waiting] = Timers()
    for _ in range(10_000):
        one = Waiting()
        timers.set(one, 1.0)
        timers.clear(one)
        assert len(timers) <= 66
    crowd = [Waiting() for _ in range(1000)]
    for number, waiting in enumerate(crowd):
        timers.set(waiting, float(number))
    for number, waiting in enumerate(reversed(crowd)):
        timers.clear(waiting)
        assert len(timers) <= 2 * (999 - number) + 64
    for due in range(10_000):
        timers.set(crowd[0], float(due))
        assert len(timers) <= 66
    assert timers.take_due(10_000.0) == [crowd[0]]


def test_a_time_that_is_set_again_and_again_is_kept_once() -> None:
    """G7: also with another time in between."""
    timers: Timers[Waiting] = Timers()
    one = Waiting()
    for number in range(1000):
        timers.set(one, float(number % 2))
        assert len(timers) <= 66
    assert timers.take_due(1.0) == [one]
    assert timers.take_due(1.0) == []


def test_clearing_out_leaves_those_that_wait_in_their_order() -> None:
    """C4: what others do, however often, loses nobody's time."""
    timers: Timers[Waiting] = Timers()
    crowd = [Waiting() for _ in range(50)]
    for number, waiting in enumerate(crowd):
        timers.set(waiting, 1000.0 - number)
    restless = Waiting()
    for number in range(1000):
        timers.set(restless, float(number))
        timers.clear(restless)
    assert timers.take_due(1000.0) == crowd[::-1]


class Counting:
    """What waits for a time, and counts how often anybody looks at it."""

    looks = 0

    def __init__(self) -> None:
        self._due = math.inf

    @property
    def due(self) -> float:
        """As `Timers` reads it."""
        Counting.looks += 1
        return self._due

    @due.setter
    def due(self, due: float) -> None:
        self._due = due


@given(st.lists(st.tuples(st.sampled_from(["grow", "move", "shrink", "flicker"]), st.integers(1, 200)), max_size=8))
@example([("grow", 60)])
@example([("grow", 200), ("move", 200), ("shrink", 200)])
@example([("flicker", 200), ("grow", 200)])
@example(
    [("grow", 196), ("move", 121), ("move", 109), ("shrink", 85), ("flicker", 135), ("move", 147), ("flicker", 91)]
)
def test_setting_and_clearing_look_at_a_few_entries_each_in_the_long_run(phases: list[tuple[str, int]]) -> None:
    """G7: clearing out is paid for by what made it necessary; more requests in flight make none of them dearer."""
    timers: Timers[Counting] = Timers()
    waiting: list[Counting] = []
    steps = 0
    Counting.looks = 0
    for phase, times in phases:
        for step in range(times):
            steps += 1
            match phase:
                case "grow":
                    waiting.append(Counting())
                    timers.set(waiting[-1], float(step))
                case "move" if waiting:
                    timers.set(waiting[step % len(waiting)], float(step + 1000))
                case "shrink" if waiting:
                    timers.clear(waiting.pop())
                case _:
                    one = Counting()
                    timers.set(one, float(step))
                    timers.clear(one)
    assert Counting.looks <= 10 * steps


ACTIONS = st.tuples(st.sampled_from(["set", "clear", "take"]), st.integers(0, 9), st.integers(0, 20))


@given(st.lists(ACTIONS, max_size=300))
def test_timers_are_a_table_of_times_whatever_happens_in_whatever_order(actions: list[tuple[str, int, int]]) -> None:
    """G7, C4: the same as looking at everybody each time, with a bounded number of entries."""
    timers: Timers[Waiting] = Timers()
    everybody = [Waiting() for _ in range(10)]
    table: dict[Waiting, int] = {}
    for action, number, time in actions:
        match action:
            case "set":
                timers.set(everybody[number], time)
                table[everybody[number]] = time
            case "clear":
                timers.clear(everybody[number])
                table.pop(everybody[number], None)
            case _:
                taken = timers.take_due(time)
                due = {waiting: when for waiting, when in table.items() if when <= time}
                assert [due[waiting] for waiting in taken] == sorted(due.values())
                assert set(taken) == set(due)
                table = {waiting: when for waiting, when in table.items() if waiting not in due}
        assert timers.earliest() == min(table.values(), default=math.inf)
        assert [waiting.due for waiting in everybody] == [table.get(waiting, math.inf) for waiting in everybody]
        assert len(timers) <= 2 * len(table) + 64
