"""What this system can do, tried."""

import socket
from pathlib import Path

import pytest

from trio_udp._net import _abilities as abilities
from trio_udp._net import _ancillary as anc
from trio_udp._net._abilities import Abilities, find_abilities
from trio_udp._net._socket import RECEIVE_BUFFER

from ..networks import descriptors, needs_ipv6

linux = pytest.mark.skipif(not anc.IS_LINUX, reason="only Linux has all of these")


@linux
def test_linux_has_what_our_transports_use() -> None:
    """They are tried in the same way; and no socket is left open."""
    before = descriptors()
    found = find_abilities()
    assert (found.has_batches, found.has_error_queue) == (True, True)
    assert found.receive_wanted == RECEIVE_BUFFER
    assert found.receive_granted is not None
    assert found.receive_limit is not None
    assert found.receive_granted == min(found.receive_wanted, found.receive_limit)
    assert descriptors() == before


@needs_ipv6
def test_ipv6_is_there_where_a_socket_can_be_bound() -> None:
    """As other tests find it."""
    assert find_abilities().has_ipv6


def test_a_system_that_has_nothing_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an exception."""

    class Bare(socket.socket):
        def setsockopt(self, *args: object) -> None:
            raise OSError

        def getsockopt(self, *args: object) -> int:  # type: ignore[override]  # one of its forms
            raise OSError

        def bind(self, address: object) -> None:
            raise OSError

    monkeypatch.setattr(socket, "socket", Bare)
    monkeypatch.setattr(abilities, "find_calls", lambda: None)
    monkeypatch.setattr(abilities, "_RECEIVE_LIMIT", Path("/nowhere"))
    nothing = Abilities(
        has_batches=False, sends_runs=False, receives_runs=False, has_error_queue=False, has_ipv6=False,
        receive_wanted=RECEIVE_BUFFER, receive_granted=None, receive_limit=None,
    )  # fmt: skip
    assert find_abilities() == nothing
    monkeypatch.setattr(anc, "IS_LINUX", False)
    assert find_abilities() == nothing
