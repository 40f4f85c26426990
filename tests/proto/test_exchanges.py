"""The table of open requests: matched by peer and key, remembered for a while when closed."""

import pytest

from trio_udp.proto import DropReason, ExchangeTable, Peer

A: Peer = ("192.0.2.1", 1060)
B: Peer = ("192.0.2.2", 1060)
STRANGER: Peer = ("192.0.2.1", 1061)


def test_open_request_is_found_under_its_peer_and_key_only() -> None:
    """A1, A8: the same key from another peer, or another key from the same, finds nothing."""
    table: ExchangeTable[str] = ExchangeTable([A, B])
    table.open(A, b"key", "entry")
    assert table.match(A, b"key") == "entry"
    assert table.match(A, b"other") is DropReason.UNKNOWN_REQUEST
    assert table.match(B, b"key") is DropReason.UNKNOWN_REQUEST
    assert table.match(STRANGER, b"key") is DropReason.WRONG_PEER


def test_two_peers_may_hold_the_same_key() -> None:
    """The book's format has one key for everybody."""
    table: ExchangeTable[str] = ExchangeTable([A, B])
    table.open(A, b"", "to a")
    table.open(B, b"", "to b")
    assert (table.match(A, b""), table.match(B, b""), len(table)) == ("to a", "to b", 2)


def test_table_knows_the_peers_it_was_made_for_and_no_other() -> None:
    """Opening a request is no way to add one."""
    table: ExchangeTable[str] = ExchangeTable([A])
    assert A in table.peers
    assert STRANGER not in table.peers
    with pytest.raises(KeyError):
        table.open(STRANGER, b"key", "entry")


@pytest.mark.parametrize(("key", "shown"), [(b"\x01\xff", "01ff"), (b"", "(none)")])
def test_open_key_cannot_be_opened_again(key: bytes, shown: str) -> None:
    """A9: that would hand one request's answer to another."""
    table: ExchangeTable[str] = ExchangeTable([A])
    table.open(A, key, "first")
    with pytest.raises(ValueError, match="already open") as caught:
        table.open(A, key, "second")
    assert str(caught.value) == f"a request with key {shown} is already open to {A}"
    assert table.match(A, key) == "first"


@pytest.mark.parametrize("reason", [DropReason.DUPLICATE, DropReason.LATE])
def test_closed_request_is_gone_at_once_and_remembered_with_its_reason(reason: DropReason) -> None:
    """A3, A9: for the counters only."""
    table: ExchangeTable[str] = ExchangeTable([A, B])
    table.open(A, b"key", "entry")
    table.close(A, b"key", reason)
    assert len(table) == 0
    assert table.match(A, b"key") is reason
    assert table.match(B, b"key") is DropReason.UNKNOWN_REQUEST


def test_oldest_closed_request_is_forgotten_first() -> None:
    """A9: the memory is bounded; closing a key again makes it the newest."""
    table: ExchangeTable[str] = ExchangeTable([A], remembered=2)
    for key in (b"1", b"2", b"1", b"3"):
        table.open(A, key, "entry")
        table.close(A, key, DropReason.LATE)
    found = [table.match(A, key) for key in (b"1", b"2", b"3")]
    assert found == [DropReason.LATE, DropReason.UNKNOWN_REQUEST, DropReason.LATE]


def test_table_may_remember_nothing() -> None:
    """Forgetting changes only the counter that a late answer goes to."""
    table: ExchangeTable[str] = ExchangeTable([A], remembered=0)
    table.open(A, b"key", "entry")
    table.close(A, b"key", DropReason.LATE)
    assert table.match(A, b"key") is DropReason.UNKNOWN_REQUEST


def test_reopened_key_is_open() -> None:
    """The book's format has but one key: its last request must not shadow this one."""
    table: ExchangeTable[str] = ExchangeTable([A])
    table.open(A, b"", "first")
    table.close(A, b"", DropReason.DUPLICATE)
    table.open(A, b"", "second")
    assert table.match(A, b"") == "second"
