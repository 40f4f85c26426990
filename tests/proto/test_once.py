"""At most once, the 20 bytes and the client's numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_udp.proto import Once, read_once_untrusted
from trio_udp.proto._once import NO_BOOT, UNBORN, WINDOW, Ledger, OnceState, Token, distance

BOOT = b"bootboot"
TOKEN = Token(BOOT, 7, 0.0)
TOLD = Once(BOOT, 7).encode()
LAST = 2**32 - 1
numbers = st.integers(0, LAST)


@given(st.binary(min_size=20, max_size=20))
def test_reading_and_writing_undo_each_other(data: bytes) -> None:
    """Any 20 bytes say something, and one thing."""
    assert read_once_untrusted(data).encode() == data


def test_layout() -> None:
    """As the description of the wire has it."""
    assert Once(BOOT, 1, 2, 3).encode() == BOOT + bytes([0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3])


@given(start=numbers, steps=numbers)
def test_distance_counts_forwards_past_the_last_number(start: int, steps: int) -> None:
    """RFC 1982."""
    assert distance(start, (start + steps) % 2**32) == steps


def test_nothing_can_be_born_before_the_server_has_told_when() -> None:
    """A request without a boot id runs nowhere."""
    assert Ledger().fresh_token(0.0) is None


def test_token_is_fresh_for_less_than_a_minute() -> None:
    """Its cookie is good for that long at least, and its tick is the server's or the one before."""
    ledger = Ledger()
    ledger.learn(TOLD, 10.0)
    assert ledger.fresh_token(10.0) == ledger.fresh_token(69.9) == (BOOT, 7, 10.0)
    assert ledger.fresh_token(70.0) is None


def test_token_without_a_boot_id_is_none() -> None:
    """It would be taken for a request that asks for one, for ever."""
    ledger = Ledger()
    ledger.learn(Once(NO_BOOT, 7).encode(), 0.0)
    assert ledger.token is None


def test_older_news_of_the_server_do_not_replace_newer() -> None:
    """The network has reordered them: one of them is from before a restart."""
    ledger = Ledger()
    ledger.learn(TOLD, 10.0)
    ledger.learn(Once(b"previous", 3).encode(), 9.0)
    assert ledger.token == (BOOT, 7, 10.0)
    ledger.learn(Once(BOOT, 8).encode(), 10.0)
    assert ledger.token == (BOOT, 8, 10.0)


@pytest.mark.parametrize("start", [0, LAST - 3])
@given(order=st.permutations(range(8)))
def test_first_incomplete_is_the_lowest_number_that_is_not_over(start: int, order: list[int]) -> None:
    """In whatever order they end, and past the last number too."""
    ledger = Ledger(start)
    given = [ledger.enter(TOKEN).sequence for _ in order]
    assert given == [(start + step) % 2**32 for step in range(8)]
    open_ones = set(range(8))
    for step in order:
        ledger.complete(given[step])
        open_ones.remove(step)
        assert distance(start, ledger.first) == min(open_ones, default=8)
        assert ledger.room == WINDOW - 8 + min(open_ones, default=8)


def test_request_says_when_it_was_born_and_what_is_over_by_now() -> None:
    """The first for good, the second as it is at each transmission."""
    ledger = Ledger()
    earlier, state = OnceState(), OnceState()
    assert state.extension() == UNBORN
    earlier.bind(ledger, TOKEN)
    state.bind(ledger, TOKEN)
    assert state.extension() == Once(BOOT, 7, 1, 0).encode()
    ledger.learn(Once(b"nextboot", 9).encode(), 1.0)
    earlier.complete()
    assert state.extension() == Once(BOOT, 7, 1, 1).encode()


def test_request_that_went_nowhere_has_no_number_to_give_back() -> None:
    """And none is given back twice."""
    ledger, state = Ledger(), OnceState()
    state.complete()
    state.distrust()
    state.bind(ledger, TOKEN)
    ledger.learn(TOLD, 0.0)
    state.distrust()
    assert ledger.token is None
    state.complete()
    state.complete()
    assert ledger.first == 1
    assert state.extension() == UNBORN
