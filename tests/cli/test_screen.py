"""What `--live` looks like, without a terminal."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_udp import DropReason
from trio_udp._cli._screen import LEVELS, Line, broken, drawn_bar, fit, scale_of, screen, sign_of
from trio_udp.measure import Buckets, Direction
from trio_udp.measure._watch import Cell, Mark, View


def view(cells: tuple[Cell, ...] = (), **changes: Any) -> View:
    """A run with these as its last probes."""
    times = Buckets()
    for cell in cells:
        if isinstance(cell, int):
            times.add(cell, 1)
    values: dict[str, Any] = {
        "host": "example.org", "peer": "192.0.2.1:1060", "size": 56, "elapsed": 61.0, "sent": len(cells), "waiting": 0,
        "received": 0, "lost": dict.fromkeys(Direction, 0), "late": 0, "changed": 0, "refused": 0, "missed_slots": 0,
        "rejected": {}, "cells": cells, "times": times, "corrected": Buckets(),
    }  # fmt: skip
    return View(**(values | changes))


def plain(lines: list[Line]) -> list[str]:
    """As it looks without colours."""
    return ["".join(text for text, _ in line).rstrip() for line in lines]


def test_screen_shows_everything_that_happened_without_colours() -> None:
    """Sums, loss by direction, rejects by reason, the last probes, percentiles, and the distribution on a log scale."""
    cells = (
        100_000,
        100_000,
        Mark.UPSTREAM,
        200_000,
        Mark.DOWNSTREAM,
        Mark.UNKNOWN,
        Mark.REFUSED,
        1_600_000,
        Mark.WAITING,
    )
    corrected = Buckets()
    for time in (100_000, 200_000, 5_000_000):
        corrected.add(time, 1)
    found = view(
        cells,
        corrected=corrected,
        waiting=1,
        received=4,
        refused=1,
        missed_slots=3,
        lost={Direction.UPSTREAM: 1, Direction.DOWNSTREAM: 1, Direction.UNKNOWN: 1},
        rejected={DropReason.WRONG_PEER: 2, DropReason.MALFORMED: 1},
    )
    assert plain(screen(found, 60)) == [
        "PING example.org (192.0.2.1:1060)  56 bytes of data  1:01",
        "sent 9  received 4  waiting 1  loss 50 %  refused 1  slots",
        "missed 3",
        "lost  ↑ upstream 1  ↓ downstream 1  ✕ unknown 1",
        "rejected  2 wrong_peer, 1 malformed",
        "",
        "last 9 probes  ▁ 100 µs to █ 1.60 ms, log scale  ! refused",
        "· waiting",
        "▁▁↑▃↓✕!█·",
        "",
        "round trip  percentiles to half a percent; replies by time,",
        "log scale",
        "           min     p50     p90     p99     p99.9   max",
        "raw        100 µs  100 µs  1.60 ms 1.60 ms 1.60 ms 1.60 ms",
        "corrected  100 µs  200 µs  5.00 ms 5.00 ms 5.00 ms 5.00 ms",
        " 100 µs █████████████████████████████████████████████████ 2",
        " 142 µs",
        " 200 µs ████████████████████████▌ 1",
        " 283 µs",
        " 400 µs",
        " 566 µs",
        " 801 µs",
        "1.13 ms ████████████████████████▌ 1",
    ]


def test_screen_is_all_ascii_where_the_terminal_wants_that() -> None:
    """Each sign has another one."""
    lines = plain(screen(view((100_000, Mark.UPSTREAM, *Mark), received=1), 60, ascii_only=True))
    assert all(line.isascii() for line in lines)
    assert "_^^vx>#!." in lines


def test_before_a_run_begins_nobody_is_named_but_the_host() -> None:
    """It once said that there were 0 bytes of data for ()."""
    assert plain(screen(view(peer="", size=0, elapsed=0.0), 60))[0] == "PING example.org  0:00"


def test_a_run_without_replies_says_so() -> None:
    """And draws no distribution."""
    assert plain(screen(view((Mark.WAITING,), waiting=1), 60))[4:] == [
        "last 1 probes  · waiting",
        "·",
        "",
        "round trip  no reply yet",
    ]


@given(
    cells=st.lists(st.integers(1, 10**10) | st.sampled_from(Mark), max_size=200).map(tuple), width=st.integers(12, 130)
)
def test_nothing_is_wider_than_the_terminal_but_a_word(cells: tuple[Cell, ...], width: int) -> None:
    """And of the last probes there are as many as it has columns."""
    lines = plain(screen(view(cells), width))
    assert all(len(line) <= width or " " not in line.strip() for line in lines)
    signs = {*LEVELS[0], *(mark.value[0] for mark in Mark)}
    assert max((len(line) for line in lines if {*line} <= signs), default=0) == min(len(cells), width)


@given(st.lists(st.tuples(st.text("ab ", max_size=30), st.sampled_from("xy"))), st.integers(1, 40))
def test_a_line_is_broken_between_its_words(line: Line, width: int) -> None:
    """None is lost, none changes its style, and a line that fits stays as it is."""
    rows = broken(line, width)
    words = [(word, style) for text, style in line for word in text.split()]
    assert [(word, style) for row in rows for text, style in row for word in text.split()] == words
    assert all(len(text) <= width or len(text.split()) == 1 for text in plain(rows))
    whole = "".join(text for text, _ in line)
    if len(whole) <= width:
        assert ["".join(text for text, _ in row) for row in rows] == [whole]


@given(share=st.floats(0, 1), room=st.integers(1, 200))
def test_a_bar_is_as_long_as_its_share_and_something_is_never_nothing(share: float, room: int) -> None:
    """To an eighth of a column; or to a whole one in ASCII."""
    bar = drawn_bar(share, room)
    assert len(bar) <= room
    assert abs(len(bar) - share * room) <= 1.1
    assert bool(bar) == (share > 0) == bool(drawn_bar(share, room, ascii_only=True))


@pytest.mark.parametrize(
    ("runs", "height", "shown"),
    [
        (0, 10, []),
        (1, 3, ["a0", "a1", "a2"]),
        (2, 5, ["a0", "a1", "", "b0", "b1"]),
        (2, 3, ["a0", "", "b0"]),
        (2, 2, ["a0", "b0"]),
        (2, 1, ["a0"]),
    ],
)
def test_several_runs_share_the_terminal(runs: int, height: int, shown: list[str]) -> None:
    """As many lines of each as there is room for, the first ones first."""
    screens: list[list[Line]] = [[[(f"{name}{row}", "")] for row in range(4)] for name in "ab"[:runs]]
    found = plain(fit(screens, height))
    assert found == shown
    assert len(found) <= height


@given(cells=st.lists(st.integers(1, 10**10) | st.sampled_from(Mark), max_size=50))
def test_every_cell_has_one_sign_and_longer_times_no_lower_ones(cells: list[int | Mark]) -> None:
    """Also in ASCII; and no mark looks like a time."""
    scale = scale_of(cells)
    for ascii_only in (False, True):
        signs = [sign_of(cell, scale, ascii_only=ascii_only) for cell in cells]
        assert all(len(sign) == 1 for sign in signs)
        assert not ascii_only or "".join(signs).isascii()
        ordered = sorted((cell, sign) for cell, sign in zip(cells, signs, strict=True) if not isinstance(cell, Mark))
        heights = [LEVELS[ascii_only].index(sign) for _, sign in ordered]
        assert heights == sorted(heights)


def test_no_two_signs_are_alike() -> None:
    """For those who see no colours."""
    for ascii_only in (False, True):
        signs = [mark.value[ascii_only] for mark in Mark] + list(LEVELS[ascii_only])
        assert len(set(signs)) == len(signs)
