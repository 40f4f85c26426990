"""One row for each probe, for spreadsheets: what became of it, when its wait ended.

A probe that was still waited for when the run was stopped has none, and what comes later (a late answer, a second one)
adds none. Of a changed answer the row waits, because a good one may still come: for no more probes than can be under
way at a time, so memory is bounded.
"""

import csv
import dataclasses
import io
from typing import Any, Final

from ._records import Corrupted, Event, Lost, Refused, ReplyRecord, Summary
from ._sequences import Sequences

_ENDS: Final = (ReplyRecord, Lost, Refused, Corrupted)
_FIELDS: Final = {record: [field.name for field in dataclasses.fields(record)] for record in _ENDS}
CSV_COLUMNS: Final = ("host", "outcome", *dict.fromkeys(name for names in _FIELDS.values() for name in names))
"""The first row: `outcome` is the record's `kind`; then the fields of all four records, empty where one has none."""
_MOST_WAITING: Final = 65_536
"""Probes under way at a time: one so far behind the last is waited for no more."""
_KEPT: Final = 2 * _MOST_WAITING


class CsvWriter:
    """Makes the rows of one run. They end in a line feed."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._ended = Sequences(_KEPT)
        self._changed: dict[int, Corrupted] = {}
        """By sequence, of which no good answer has come."""

    @staticmethod
    def header() -> str:
        """The first row."""
        return _row(CSV_COLUMNS)

    def rows(self, event: Event) -> str:
        """The rows that are due at this event: none, one, or more."""
        match event:
            case ReplyRecord() | Refused() | Lost():
                self._changed.pop(event.sequence, None)
                return self._old(event.sequence) + self._one(event)
            case Corrupted() if event.sequence not in self._ended:
                self._changed.setdefault(event.sequence, event)
            case Summary():
                return self._old(None)
            case _:
                pass
        return ""

    def _old(self, latest: int | None) -> str:
        """The rows of changed answers, of which a good one cannot come any more."""
        over = [number for number in self._changed if latest is None or number <= latest - _MOST_WAITING]
        return "".join(self._one(self._changed.pop(number)) for number in over)

    def _one(self, event: ReplyRecord | Lost | Refused | Corrupted) -> str:
        self._ended.add(event.sequence)
        values: dict[str, Any] = {name: getattr(event, name) for name in _FIELDS[type(event)]}
        values |= {"host": self._host, "outcome": event.kind}
        return _row(_cell(values.get(name)) for name in CSV_COLUMNS)


def _cell(value: object) -> object:
    """None is an empty cell, and a truth a digit, as spreadsheets have it."""
    return int(value) if isinstance(value, bool) else value


def _row(cells: Any) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()
