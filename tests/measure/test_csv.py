"""A row for each probe, however many things became of it."""

import csv
import io

from hypothesis import example, given

from trio_udp.measure import (
    CSV_COLUMNS,
    Corrupted,
    CsvWriter,
    Direction,
    Duplicate,
    Event,
    Late,
    Lost,
    Refused,
    Summary,
)

from ..properties.test_truth import EVERYTHING, Faults, faults
from .recorded import events_of
from .records import reply_record, summary


def rows(*events: Event, writer: CsvWriter | None = None) -> list[dict[str, str]]:
    """What a spreadsheet makes of it."""
    writer = writer or CsvWriter("h")
    text = writer.header() + "".join(map(writer.rows, events))
    return list(csv.DictReader(io.StringIO(text)))


def corrupted(sequence: int) -> Corrupted:
    """A changed answer."""
    return Corrupted(sent_at_ns=1, sequence=sequence, rtt_ns=5, size=80, hop_limit=None, is_intact=False)


def lost(sequence: int) -> Lost:
    """No answer."""
    return Lost(sequence=sequence, direction=Direction.UPSTREAM, waited_ns=9, hint="ECONNREFUSED", sent_at_ns=4)


def test_a_row_has_what_its_record_has_and_empty_cells_elsewhere() -> None:
    """In columns that the first row names."""
    found = rows(reply_record(sequence=1, is_reordered=True), lost(2), Refused(sent_at_ns=1, sequence=3, reason="busy"))
    assert list(found[0]) == list(CSV_COLUMNS)
    reply, gone, refused = ({name: cell for name, cell in row.items() if cell} for row in found)
    assert reply["outcome"] == "reply"
    assert (reply["host"], reply["sequence"], reply["rtt_ns"], reply["is_reordered"]) == ("h", "1", "1000", "1")
    assert gone == {
        "host": "h", "outcome": "lost", "sequence": "2", "direction": "upstream", "waited_ns": "9",
        "hint": "ECONNREFUSED", "sent_at_ns": "4",
    }  # fmt: skip
    assert refused == {"host": "h", "outcome": "refused", "sequence": "3", "reason": "busy", "sent_at_ns": "1"}


def test_what_comes_later_adds_no_row() -> None:
    """Late answers, second ones, changed copies."""
    late = Late(sequence=1, rtt_ns=99)
    again = Duplicate(sequence=2, direction=Direction.DOWNSTREAM)
    found = rows(lost(1), late, corrupted(1), reply_record(sequence=2), again, corrupted(2), summary())
    assert [(row["sequence"], row["outcome"]) for row in found] == [("1", "lost"), ("2", "reply")]


def test_a_changed_answer_has_a_row_unless_a_good_one_comes() -> None:
    """At the end of the run, or when nothing can come any more."""
    good = rows(corrupted(1), reply_record(sequence=1), summary())
    assert [row["outcome"] for row in good] == ["reply"]
    found = rows(corrupted(1), corrupted(1), reply_record(sequence=2), summary())
    assert [(row["sequence"], row["outcome"]) for row in found] == [("2", "reply"), ("1", "corrupted")]
    far = rows(corrupted(1), reply_record(sequence=65_536), reply_record(sequence=65_537))
    assert [row["sequence"] for row in far] == ["65536", "1", "65537"]


@given(faults)
@example(EVERYTHING)
def test_every_probe_has_one_row_whatever_goes_wrong(plan: Faults) -> None:
    """On a simulated network with all faults at once."""
    events = events_of(plan)
    found = rows(*events)
    last = events[-1]
    assert isinstance(last, Summary)
    numbers = [int(row["sequence"]) for row in found]
    assert sorted(numbers) == list(range(1, last.sent + 1))
    assert sum(row["outcome"] == "reply" for row in found) == last.received
    assert sum(row["outcome"] == "corrupted" for row in found) == last.corrupted
