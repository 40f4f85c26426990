"""Token buckets for sources nobody has to remember: what a source gets, and what others can take from it."""

import ipaddress
import itertools
import sys
import tracemalloc
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trio_udp.proto import Limiter, RateLimit, RefusalReason, rate_refusal
from trio_udp.proto._limits import CELLS, SECRET_SIZE, source_of

SECRET = bytes(range(SECRET_SIZE))
rates = st.floats(0.01, 1e6)
gaps = st.lists(st.floats(0, 10), max_size=60)


def limiter(secret: bytes = SECRET, **limits: Any) -> Limiter:
    """One with these limits."""
    return Limiter(RateLimit(**limits), secret)


def admitted(bucket: Limiter, host: str, times: list[float]) -> int:
    """How many of the requests that this host sends at those times are taken."""
    return sum(bucket.admits(host, now) for now in times)


class Exact:
    """A token bucket as a text book has it, for one source."""

    def __init__(self, rate: float, burst: int) -> None:
        self.rate = rate
        self.burst = burst
        self.tokens = float(burst)
        self.at = 0.0

    def admits(self, now: float) -> bool:
        """Whether there is a token left."""
        self.tokens = min(self.burst, self.tokens + (now - self.at) * self.rate)
        self.at = now
        if self.tokens < 1 - 0.001:
            return False
        self.tokens -= 1
        return True


# What one source gets


def test_burst_is_taken_at_once_and_the_rest_at_the_rate() -> None:
    """By hand, in binary fractions: three at once, then one each half second; what is refused costs nothing."""
    bucket = limiter(per_source=2, burst=3)
    times = [0, 0, 0, 0, 0.25, 0.5, 0.5, 0.75, 1.0, 100, 100, 100, 100]
    taken = [bucket.admits("192.0.2.1", now) for now in times]
    assert taken == [True, True, True, False, False, True, False, False, True, True, True, True, False]


@given(rate=rates, burst=st.integers(1, 20), gaps=gaps, start=st.floats(0, 1e6))
def test_one_source_gets_what_a_bucket_of_its_own_would_give(
    rate: float, burst: int, gaps: list[float], start: float
) -> None:
    """The table is an implementation: alone in it, nobody can tell; to a thousandth of a request, for rounding."""
    bucket = limiter(per_source=rate, burst=burst)
    exact = Exact(rate, burst)
    now, passed = start, 0.0
    for gap in gaps:
        now, passed = now + gap / rate, passed + gap / rate
        before = min(burst, exact.tokens + (passed - exact.at) * rate)
        taken = bucket.admits("192.0.2.1", now)
        if abs(before - 1 + 0.001) < 0.0005 + 1e-9 * rate:  # either is right; go on with what was said
            exact.tokens, exact.at = before - taken, passed
        else:
            assert taken == exact.admits(passed)


@given(
    rate=st.floats(0.1, 100),
    burst=st.integers(1, 10),
    requests=st.lists(st.tuples(st.integers(0, 300), st.floats(0, 0.5)), max_size=200),
)
def test_no_source_gets_more_than_its_burst_and_its_rate(
    rate: float, burst: int, requests: list[tuple[int, float]]
) -> None:
    """Whatever the others do, and however they collide: here all of them share few cells."""
    bucket = limiter(per_source=rate, burst=burst)
    places = {number: (number % 3, CELLS + number % 5) for number in range(301)}
    bucket._cells_of = lambda source: places[int(source.rpartition(".")[2])]  # type: ignore[method-assign]  # to collide
    now = 0.0
    taken: dict[int, list[float]] = {}
    for number, gap in requests:
        now += gap
        if bucket.admits(f"10.0.0.{number}", now):
            taken.setdefault(number, []).append(now)
    for times in taken.values():
        for first, last in itertools.combinations(range(len(times)), 2):
            assert last - first + 1 <= burst + rate * (times[last] - times[first]) + 0.01


def test_burst_is_a_seconds_worth_by_default_and_at_least_one() -> None:
    """Who asks once a minute may ask once."""
    assert admitted(limiter(per_source=7), "192.0.2.1", [5.0] * 20) == 7
    assert admitted(limiter(per_source=1 / 60), "192.0.2.1", [5.0] * 20) == 1


def test_the_clock_may_jump_forward() -> None:
    """C8, as after a suspend: buckets are full, and no fuller than that."""
    bucket = limiter(per_source=10, burst=5, overall=20)
    assert admitted(bucket, "192.0.2.1", [0.0] * 9) == 5
    assert admitted(bucket, "192.0.2.1", [1e9] * 9) == 5


# All of them together


def yes() -> bool:
    """What a request that is proven says."""
    return True


def test_overall_limit_holds_for_all_sources_together() -> None:
    """However many there are; nothing is kept about any of them. Half of what may come at once is for the proven."""
    bucket = limiter(overall=100)
    hosts = [f"10.0.{number // 250}.{number % 250}" for number in range(1000)]
    assert sum(bucket.admits(host, 0.0) for host in hosts) == 50
    assert sum(bucket.admits(host, 0.0, yes) for host in hosts) == 50
    assert not bucket.admits("192.0.2.1", 0.5)
    assert bucket.admits("192.0.2.1", 0.51)
    assert not bucket.admits("192.0.2.1", 0.51)
    assert not bucket._cells


def test_strangers_have_the_whole_rate_where_nobody_else_wants_it() -> None:
    """What is kept for the others is kept once, not each second."""
    bucket = limiter(overall=64)
    assert admitted(bucket, "192.0.2.1", [0.0] * 100) == 32
    assert admitted(bucket, "192.0.2.1", [1 + number / 64 for number in range(640)]) == 640


def test_a_rate_may_be_a_fraction() -> None:
    """Two at once of two and a half a second, and then each after two fifths of a second."""
    bucket = limiter(overall=2.5)
    taken = [bucket.admits("192.0.2.1", now, yes) for now in (0.0, 0.0, 0.0, 0.39, 0.4, 0.41)]
    assert taken == [True, True, False, False, True, False]


@pytest.mark.parametrize(("overall", "strangers"), [(0.1, 1), (1, 1), (2, 1), (3, 2), (4, 2), (5, 3)])
def test_strangers_are_never_left_with_nothing(overall: float, strangers: int) -> None:
    """Of an odd number theirs is the larger half; so below two a second there is nothing to keep."""
    bucket = limiter(overall=overall)
    assert admitted(bucket, "192.0.2.1", [5.0] * 9) == strangers
    assert sum(bucket.admits("192.0.2.2", 5.0, yes) for _ in range(9)) == max(1, int(overall)) - strangers


@given(
    rate=st.integers(2, 40) | st.floats(2, 40),
    requests=st.lists(st.tuples(st.booleans(), st.sampled_from([0, 0, 0, 1, 2, 9, 50])), max_size=200),
)
def test_the_proven_get_what_a_bucket_of_their_own_would_give_whatever_strangers_send(
    rate: float, requests: list[tuple[bool, int]]
) -> None:
    """With the whole rate and half the burst; and all together get no more than the limit says."""
    bucket = limiter(overall=rate)
    own = Exact(rate, int(rate) // 2)
    now = 0.0
    taken: list[float] = []
    for is_proven, gap in requests:
        now += gap / 8 / rate
        admits = bucket.admits("192.0.2.1", now, lambda is_proven=is_proven: is_proven)  # type: ignore[misc]  # bound now
        if is_proven and own.admits(now):
            assert admits
        if admits:
            taken.append(now)
    for first, last in itertools.combinations(range(len(taken)), 2):
        assert last - first + 1 <= rate + rate * (taken[last] - taken[first]) + 0.01


def test_proof_is_asked_for_only_where_strangers_are_not_taken() -> None:
    """It costs more than the answer: a cookie is baked for it, or two."""
    asked: list[int] = []

    def prove(number: int) -> Callable[[], bool]:
        def shows() -> bool:
            asked.append(number)
            return True

        return shows

    bucket = limiter(per_source=6, overall=8)
    assert [bucket.admits("192.0.2.1", 0.0, prove(number)) for number in range(8)] == [True] * 6 + [False] * 2
    assert asked == [4, 5, 6, 7]
    assert limiter(per_source=1).admits("192.0.2.1", 0.0, prove(9))
    assert 9 not in asked


def test_what_one_limit_refuses_costs_nothing_of_the_other() -> None:
    """A source above its rate takes no part of what all have; what all have refused is not held against anybody."""
    bucket = limiter(per_source=1, burst=2, overall=6)
    assert admitted(bucket, "192.0.2.1", [0.0] * 100) == 2
    assert admitted(bucket, "192.0.2.2", [0.0] * 100) == 1
    assert admitted(bucket, "192.0.2.2", [1.0] * 100) == 2


# What others can take from it


def test_a_refusal_names_the_limit_that_refused() -> None:
    """The source's own first: who keeps to that one need not know about the other."""
    bucket = limiter(per_source=2, overall=3)
    assert admitted(bucket, "192.0.2.1", [0.0] * 3) == 2
    assert bucket.refusal("192.0.2.1", 0.0) == rate_refusal(RefusalReason.RATE, 2)
    assert bucket.refusal("192.0.2.2", 0.0) == rate_refusal(RefusalReason.OVERALL_RATE, 3)
    together = limiter(overall=0.5)
    assert together.refusal("192.0.2.1", 0.0) == rate_refusal(RefusalReason.OVERALL_RATE, 0.5)


def test_a_million_spoofed_sources_take_nothing_from_an_honest_one_and_cost_no_memory() -> None:
    """E2, E7: a tenth of a million here, each once, at 100,000 a second; at this rate the table is good for 327,680."""
    random = Random(1)
    bucket = limiter(per_source=10, burst=10)
    honest = taken = 0
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(100_000):
            now = number / 100_000
            bucket.admits(f"{random.getrandbits(32):08x}", now)
            if number % 10_000 == 0:
                honest += 1
                taken += bucket.admits("192.0.2.1", now)
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert taken == honest == 10
    assert grown < 100_000


def test_sources_far_above_their_rate_take_few_others_with_them() -> None:
    """1,000 of them, never quiet: of 2,000 honest sources two are expected to suffer, (1000 / 32,768)**2 of them."""
    bucket = limiter(per_source=1, burst=2)
    for _ in range(5):
        for number in range(1000):
            bucket.admits(f"10.0.{number // 250}.{number % 250}", 0.0)
    refused = sum(not bucket.admits(f"172.16.{number // 250}.{number % 250}", 0.0) for number in range(2000))
    assert refused <= 10


def test_who_shares_a_cell_with_whom_is_the_secrets() -> None:
    """A forger that has a server of its own at home learns nothing about ours."""
    hosts = [f"10.0.{number // 250}.{number % 250}" for number in range(2000)]
    one, other = (limiter(secret, per_source=1) for secret in (SECRET, SECRET[::-1]))
    assert all(one._cells_of(host) == limiter(per_source=1)._cells_of(host) for host in hosts[:5])
    assert sum(one._cells_of(host)[0] == other._cells_of(host)[0] for host in hosts) < 5
    assert all(0 <= one._cells_of(host)[0] < CELLS <= one._cells_of(host)[1] < 2 * CELLS for host in hosts)
    rows = [{limited._cells_of(host)[0] for host in hosts} for limited in (one, other)]
    assert all(len(row) > 1900 for row in rows)  # spread: 59 pairs are expected to share a cell


def test_the_table_is_half_a_mebibyte_and_only_where_it_is_needed() -> None:
    """E2: at most 1 MiB."""
    assert sys.getsizeof(limiter(per_source=1)._cells) < 2**19 + 200
    assert sys.getsizeof(limiter(overall=1)._cells) < 200


# Sources


@given(st.ip_addresses(v=6), st.sampled_from(["", "%2"]))
@example(ipaddress.IPv6Address("::"), "")
@example(ipaddress.IPv6Address("::1"), "")
@example(ipaddress.IPv6Address("1::"), "")
@example(ipaddress.IPv6Address("1:2:3:4::"), "")
@example(ipaddress.IPv6Address("1:2:3::8"), "")
@example(ipaddress.IPv6Address("::4:5:6:7:8"), "")
@example(ipaddress.IPv6Address("1::4:5:6:7:8"), "")
@example(ipaddress.IPv6Address("fe80::1"), "%2")
def test_an_ipv6_source_is_its_network(address: ipaddress.IPv6Address, scope: str) -> None:
    """The first 64 bits, as the standard library reads them; on a link, of that link."""
    bits = int(address) >> 64
    groups = [f"{bits >> shift & 0xFFFF:x}" for shift in (48, 32, 16, 0)]
    assert source_of(f"{address}{scope}") == ":".join([*groups, scope[1:]])


def test_addresses_of_one_ipv6_network_share_and_others_do_not() -> None:
    """A flood from one customer's 2**64 addresses is one source."""
    bucket = limiter(per_source=1, burst=2)
    assert sum(bucket.admits(f"2001:db8:1:2::{number:x}", 0.0) for number in range(1, 100)) == 2
    assert bucket.admits("2001:db8:1:3::1", 0.0)


@given(st.ip_addresses(v=4))
def test_an_ipv4_source_is_its_address(address: ipaddress.IPv4Address) -> None:
    """Each for itself."""
    assert source_of(str(address)) == str(address)


# What makes no sense


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "expected per_source, overall or both, got neither"),
        ({"burst": 3}, "expected per_source, overall or both, got neither"),
        ({"per_source": 0}, "expected per_source to be a positive number of requests a second, got 0"),
        ({"per_source": float("inf")}, "expected per_source to be a positive number of requests a second, got inf"),
        ({"overall": float("nan")}, "expected overall to be a positive number of requests a second, got nan"),
        ({"overall": 5, "burst": 3}, "expected burst only with per_source, got 3"),
        ({"per_source": 5, "burst": 0}, "expected burst to be at least 1, got 0"),
    ],
)
def test_limits_without_sense_are_refused(arguments: dict[str, Any], message: str) -> None:
    """At once, and in one line."""
    with pytest.raises(ValueError, match=f"^{message}$"):
        RateLimit(**arguments)


@pytest.mark.parametrize("size", [0, 15, 17])
def test_a_secret_has_16_bytes(size: int) -> None:
    """Fewer could be tried."""
    with pytest.raises(ValueError, match=f"^expected 16 random bytes, got {size}$"):
        limiter(bytes(size), per_source=1)
