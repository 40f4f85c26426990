"""Cookies: good for one address, port, instance and two minutes, at the server that baked them, and nowhere else."""

import ast
import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_udp.proto import Cookies, Peer, _cookie

SECRET = bytes(range(32))
PEER: Peer = ("192.0.2.1", 1060)
INSTANCE = b"instance"
times = st.floats(0, 1e9)
peers = st.tuples(st.sampled_from(["192.0.2.1", "192.0.2.11", "2001:db8::1", "fe80::1%2"]), st.integers(0, 65_535))
instances = st.binary(min_size=8, max_size=8)


@given(peer=peers, instance=instances, now=times, later=st.floats(0, 60))
def test_cookie_is_good_for_a_minute_at_least(peer: Peer, instance: bytes, now: float, later: float) -> None:
    """F7: this tick and the last are good."""
    cookies = Cookies(SECRET)
    assert cookies.accepts(cookies.grant(peer, instance, now), peer, instance, now + min(later, 59.999))


@given(peer=peers, instance=instances, now=times, later=st.floats(120, 1e9))
def test_cookie_is_bad_after_two_minutes(peer: Peer, instance: bytes, now: float, later: float) -> None:
    """F7: for good."""
    cookies = Cookies(SECRET)
    assert not cookies.accepts(cookies.grant(peer, instance, now), peer, instance, now + later)


def test_cookie_is_good_until_the_end_of_the_next_minute_exactly() -> None:
    """F7: the figure."""
    cookies = Cookies(SECRET)
    cookie = cookies.grant(PEER, INSTANCE, 60.0)
    good = [
        now for now in (0.0, 59.9, 60.0, 119.9, 120.0, 179.9, 180.0) if cookies.accepts(cookie, PEER, INSTANCE, now)
    ]
    assert good == [60.0, 119.9, 120.0, 179.9]


@given(peers, peers, instances, instances, times)
def test_cookie_is_good_for_nobody_else(peer: Peer, other: Peer, one: bytes, two: bytes, now: float) -> None:
    """F7: address, port and instance."""
    cookies = Cookies(SECRET)
    assert cookies.accepts(cookies.grant(peer, one, now), other, two, now) == ((peer, one) == (other, two))


@given(cookie=st.binary(max_size=32), now=times)
def test_guess_is_bad(cookie: bytes, now: float) -> None:
    """Of any length."""
    assert not Cookies(SECRET).accepts(cookie, PEER, INSTANCE, now)


def test_another_server_takes_it_for_a_guess() -> None:
    """F7: the secret is that of one start of a server."""
    assert not Cookies(SECRET[::-1]).accepts(Cookies(SECRET).grant(PEER, INSTANCE, 0.0), PEER, INSTANCE, 0.0)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_secret_has_one_length(size: int) -> None:
    """A shorter one could be guessed."""
    with pytest.raises(ValueError, match=f"expected 32 random bytes for the secret, got {size}"):
        Cookies(bytes(size))


def test_cookies_are_compared_in_constant_time() -> None:
    """F3: no cookie is on either side of a comparison that stops at the first difference."""
    compared = [node for node in ast.walk(ast.parse(inspect.getsource(_cookie))) if isinstance(node, ast.Compare)]
    assert [ast.unparse(node) for node in compared] == ["len(secret) != SECRET_SIZE"]
