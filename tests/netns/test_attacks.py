"""The rows of docs/explanation/attacks.md: what attacks do to our programs, and that the page says what they do to all.

A program that is not installed is skipped, and so is one that is installed in another version than the page is about.
"""

import functools
from typing import Final

import pytest
import trio

from .attacks import BURST, FLOOD, PAGE, PROGRAMS, ROWS, Column, columns, measure, version_of, without_figures, written

OURS: Final = {
    "a stranger's datagram": "ignored",
    "junk from the server's address": "ignored",
    "right shape, wrong id": "ignored",
    "forged ICMP unreachable": "ignored",
    "answers loop between servers": "no",
    "bytes out for a byte in, at most": "1.00",
    f"memory, {FLOOD:,} requests from as many sources": "steady",
    f"{BURST:,} requests while it is busy": "keeps 1,024, refuses 3,976",
    "a byte 0x80": "answers on",
}


@functools.cache
def measured(name: str) -> dict[str, str]:
    """What happens to this program."""
    return trio.run(measure, name)


@pytest.mark.usefixtures("hosts")
@pytest.mark.parametrize("row", OURS)
def test_our_own_programs_withstand(row: str) -> None:
    """A1, A2, E2, E4, E5, E7, E9, G5: the client gets its answer, the server is nobody's weapon."""
    assert measured("trio_udp")[row] == OURS[row]


@pytest.mark.long
@pytest.mark.usefixtures("hosts")
@pytest.mark.parametrize("name", PROGRAMS)
def test_the_page_says_what_happens_to(name: str) -> None:
    """Row by row, but for how fast and how much."""
    version = version_of(name)
    if version is None:
        pytest.skip(f"{name} is not installed")
    column = columns(PAGE.read_text())[name]
    if column.version != version:
        pytest.skip(f"the page is about {name} {column.version}, and {version} is installed")
    said, happened = (
        {row: without_figures(word) for row, word in words.items()} for words in (column.words, measured(name))
    )
    assert said == happened


def test_the_page_has_a_column_for_each_program_and_a_row_for_each_attack() -> None:
    """Whatever is installed."""
    said = columns(PAGE.read_text())
    assert list(said) == list(PROGRAMS)
    for column in said.values():
        assert list(column.words) == list(ROWS)
        assert all(column.words.values())


def test_a_column_is_written_without_touching_the_rest() -> None:
    """So that a host without irtt can still measure what it has."""
    text = PAGE.read_text()
    found = columns(text)
    assert written(text, found) == text
    found["anyio"] = Column("99.9", dict.fromkeys(ROWS, "a word"))
    changed = written(text, found)
    assert columns(changed) == found
    assert [line for line in changed.splitlines() if line[:1] != "|"] == [
        line for line in text.splitlines() if line[:1] != "|"
    ]


@pytest.mark.parametrize(
    ("word", "compared"),
    [
        ("for ever, 5,221 a second", "for ever"),
        ("grows, 11.5 MiB", "grows"),
        ("26.00", "26.00"),
        ("ends, exit 0: prohibited", "ends, exit 0: prohibited"),
    ],
)
def test_speeds_and_sizes_are_not_compared(word: str, compared: str) -> None:
    """Another machine has others; everything else is compared to the letter."""
    assert without_figures(word) == compared
