"""What a client knows of a server it has not heard of, and how its dealings with it begin."""

import pytest

from trio_udp.proto._asked import Asked, KnownServer

from .talk import A, Talk


def test_of_a_server_that_was_never_heard_of_nothing_is_known() -> None:
    """C1: no round-trip time, no cookie, and no reason to send more than the request."""
    server = KnownServer(A, b"instance")
    assert (server.peer, server.instance) == (A, b"instance")
    assert (server.needs_room, server.needs_cookie, server.cookie) == (False, False, b"")
    assert (server.estimator.rto, server.ledger.room) == (None, 64)


@pytest.mark.parametrize(("needs_room", "padded_from"), [(False, None), (True, 1)])
def test_padding_begins_with_the_first_attempt_where_the_server_has_asked_for_it_before(
    needs_room: bool, padded_from: int | None
) -> None:
    """Otherwise there is none, and nothing was sent, given or said yet."""
    server = KnownServer(A, b"instance")
    server.needs_room = needs_room
    asked = Asked(Talk(A).exchange, server, b"key")
    assert (asked.server, asked.key, asked.padded_from) == (server, b"key", padded_from)
    assert (asked.sent, asked.stamps, asked.step, asked.grants, asked.granted_from) == ((), (), 0, 0, 0)
    assert (asked.is_asked_again, asked.is_out, asked.failure) == (False, False, None)
