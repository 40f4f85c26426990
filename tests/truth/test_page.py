"""The table of docs/explanation/faults.md: it has a row for each fault, and says what happens."""

import pytest

from ..netns.attacks import version_of
from .page import COUNT, EACH_PROBE, PAGE, SEED, Row, our_lines, row, rows_in, what_happened, written
from .runs import FAULTS, ping, run_through, why_not


def test_the_page_has_a_row_for_each_fault() -> None:
    """In order, and nothing is empty. The options are the relay's for that fault."""
    found = rows_in(PAGE.read_text())
    assert [name for name in found if name != EACH_PROBE] == list(FAULTS)
    assert all(all(cells) for cells in found.values())
    assert {name: found[name].options for name in FAULTS} == {name: fault.options for name, fault in FAULTS.items()}


def test_the_table_is_written_without_touching_the_rest() -> None:
    """But for the line that says when."""
    text = PAGE.read_text()
    found = rows_in(text)
    (measured,) = (line for line in text.splitlines() if line.startswith("Measured on "))
    assert written(text, found, measured) == text
    changed = written(text, dict.fromkeys(found, Row("-c 1", "much", "`this`", "`that`")), "Measured on paper.")
    assert rows_in(changed)["forged ICMP"] == Row("-c 1", "much", "`this`", "`that`")
    kept = [[line for line in page.splitlines() if line[:1] != "|"] for page in (text, changed)]
    assert kept[0] == [measured if line == "Measured on paper." else line for line in kept[1]]


@pytest.mark.parametrize("name", ["lost upstream", "duplicated downstream", "forged replies", "forged ICMP"])
async def test_the_page_says_what_ping_prints(name: str) -> None:
    """And what the relay did. Where nothing is held back, each run is as the next one."""
    reason = why_not(FAULTS[name])
    if reason is not None:
        pytest.skip(reason)
    run = await run_through(FAULTS[name], ping("-q"), count=COUNT, seed=SEED)
    said = rows_in(PAGE.read_text())[name]
    assert (what_happened(run), sorted_words(our_lines(run))) == (said.happened, sorted_words(said.ours))


def sorted_words(line: str) -> list[str]:
    """Counts by reason stand in the order in which the first of each came, which is a matter of time."""
    return sorted(word for part in line.split("<br>") for word in part.strip("`").replace(",", "").split())


@pytest.mark.long
@pytest.mark.parametrize("name", FAULTS)
async def test_the_page_says_what_both_print(name: str) -> None:
    """Row by row. Where something is held back, and when a program ends, is another matter on each run."""
    version = version_of("irtt")
    reason = why_not(FAULTS[name]) or (None if version else "irtt is not installed")
    if reason is None and f"irtt {version}," not in PAGE.read_text():
        reason = f"the page is about another irtt, and {version} is installed"
    if reason is None and "reorder" in FAULTS[name].options:
        reason = "which datagrams overtake others is another matter on each run"
    if reason is not None:
        pytest.skip(reason)
    found, said = await row(FAULTS[name]), rows_in(PAGE.read_text())[name]
    assert (found.happened, sorted_words(found.ours)) == (said.happened, sorted_words(said.ours))
    ending, *others = found.irtts.split("<br>")
    assert ending in said.irtts
    assert others[-1] in said.irtts
    assert ending.startswith("`Terminated") or found.irtts == said.irtts
