"""The budget for asking again what was refused: a bounded share of the requests."""

from hypothesis import example, given
from hypothesis import strategies as st

from trio_udp.proto import RetryBudget
from trio_udp.proto._retry_budget import RESERVE, SHARE


def test_it_begins_with_a_reserve_and_then_has_a_share() -> None:
    """A client that asks seldom need not know of it; one that asks much gets one in five."""
    budget = RetryBudget()
    assert [budget.spend(1) for _ in range(RESERVE + 5)] == [True] * RESERVE + [False] * 5
    assert [budget.spend(1 + requests) for requests in range(1, 11)] == [*[False] * 4, True] * 2
    assert budget.withheld == 5 + 8


def test_it_does_not_save_up() -> None:
    """A million requests without a retry are no reason for a hundred thousand retries."""
    budget = RetryBudget()
    assert sum(budget.spend(10**6) for _ in range(1000)) == RESERVE


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=50))
@example([(0, 200)])
def test_retries_are_a_bounded_share_of_requests(steps: list[tuple[int, int]]) -> None:
    """From any time on: so many requests, then so many that would be sent again, and again."""
    budget = RetryBudget()
    requests, retries, history = 0, 0, [(0, 0)]
    for asked, again in steps:
        requests += asked
        retries += sum(budget.spend(requests) for _ in range(again))
        history.append((requests, retries))
    assert budget.withheld == sum(again for _, again in steps) - retries
    for then, before in history:
        assert retries - before <= RESERVE + SHARE * (requests - then) + 1e-6
