"""Which of several paths is best."""

from hypothesis import given
from hypothesis import strategies as st

from trio_udp.measure import Distribution, Summary, rank_paths

from .records import summary


def path(lost: int, p99: int, p50: int) -> Summary:
    """A hundred probes."""
    rtt = Distribution(count=100 - lost, p50_ns=p50, p99_ns=p99) if lost < 100 else Distribution()
    return summary(sent=100, received=100 - lost, rtt=rtt)


PATHS = st.builds(path, st.integers(0, 100), st.integers(50, 99), st.integers(1, 50))


@given(st.lists(PATHS, max_size=8))
def test_none_before_another_is_worse_in_everything(paths: list[Summary]) -> None:
    """All are there, once each, and in order of their loss."""
    order = rank_paths(dict(enumerate(paths)))
    assert sorted(order) == list(range(len(paths)))
    losses = [paths[index].loss for index in order]
    assert losses == sorted(losses)


def test_loss_comes_first_then_the_slow_ones_then_the_median() -> None:
    """A path without replies is the last, and one of which nothing was sent too."""
    paths = {
        "silent": path(100, 0, 0),
        "lossy": path(1, 10, 10),
        "slow": path(0, 90, 10),
        "middling": path(0, 80, 30),
        "best": path(0, 80, 20),
        "unused": summary(),
    }
    assert rank_paths(paths) == ["best", "middling", "slow", "lossy", "unused", "silent"]
