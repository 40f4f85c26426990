"""What servers have counted, in few words."""

import dataclasses

import pytest

from trio_udp import Address, DropReason, EndpointStatistics, ServerStatistics, ServerTotals

ENDPOINT = EndpointStatistics(
    datagrams_sent=1, datagrams_received=2, segments_sent=0, segments_received=0, truncated=0, send_errors={}, hints={},
    kernel_drops=4, receive_buffer=None,
)  # fmt: skip
COUNTERS = [field.name for field in dataclasses.fields(ServerStatistics) if field.type is int]


def statistics() -> ServerStatistics:
    """Each counter a number of its own."""
    counters = {name: number for number, name in enumerate(COUNTERS, start=10)}
    dropped = {DropReason.MALFORMED: 7, DropReason.TRUNCATED: 8}
    endpoints = {Address("::1", 5): ENDPOINT, Address("127.0.0.1", 5): ENDPOINT}
    return ServerStatistics(**counters, dropped=dropped, endpoints=endpoints)


def test_totals_are_the_servers_own_counters() -> None:
    """By the same names; what the kernel dropped is of all endpoints together."""
    totals = ServerTotals.of(statistics())
    for field in dataclasses.fields(ServerTotals):
        if field.name != "kernel_drops":
            assert getattr(totals, field.name) == getattr(statistics(), field.name)
    assert totals.kernel_drops == 8


def test_totals_of_nothing_add_nothing() -> None:
    """So that they can be summed from there."""
    totals = ServerTotals.of(statistics())
    assert totals + ServerTotals() == ServerTotals() + totals == totals
    assert (totals + totals).dropped == {DropReason.MALFORMED: 14, DropReason.TRUNCATED: 16}


@pytest.mark.parametrize(
    ("totals", "missing", "more"),
    [
        (ServerTotals(), 0, []),
        (ServerTotals(dropped={DropReason.LATE: 2, DropReason.DUPLICATE: 1}), 0, ["dropped: 2 late, 1 duplicate"]),
        (ServerTotals(kernel_drops=3), 0, ["lost in a full receive buffer: 3"]),
        (ServerTotals(), 1, ["workers that ended without a report, counted as far as they had told: 1"]),
    ],
)
def test_lines_are_those_of_serve(totals: ServerTotals, missing: int, more: list[str]) -> None:
    """What did not happen has no line."""
    counters = "requests 0, replies 0, retries 0, busy 0, errors 0, unanswered 0"
    assert totals.lines(missing) == ["", "--- server statistics ---", counters, *more]


def test_counters_of_at_most_once_are_shown_where_there_are_any() -> None:
    """Few servers have them."""
    (_, _, line) = ServerTotals(requests=2, absorbed=1).lines()
    assert line == "requests 2, replies 0, retries 0, busy 0, errors 0, unanswered 0, absorbed 1"
