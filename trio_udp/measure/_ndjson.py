"""Events as lines of JSON, and back: a stream that says its version, and a JSON Schema made from the same records.

A line is one object: `version`, `kind`, `host`, and the fields of the record of that kind. `version` changes with
everything that an old reader would misunderstand; fields may be added without that, and are ignored by readers that do
not know them. Nothing is kept, so a stream may be endless.
"""

import json
import reprlib
import typing
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from ._records import Event
from ._shapes import reader_of, record_schema, records_in, writer_of

STREAM_VERSION: Final = 1
"""What `version` says."""
_EVENTS: Final[tuple[Any, ...]] = typing.get_args(Event)
_WRITERS: Final = {record: writer_of(record) for record in _EVENTS}
_READERS: Final = {record.kind: reader_of(record) for record in _EVENTS}
_ENVELOPE: Final = ("version", "kind", "host")


class Line(NamedTuple):
    """One line of a stream."""

    host: str
    """Whose run it is of: streams of several runs are mixed."""
    event: Event


class BadLine(ValueError):
    """A line is none of a stream. Its text says which one and why."""

    def __init__(self, number: int, reason: str) -> None:
        super().__init__(f"line {number}: {reason}")
        self.number = number
        """Of the line, from 1."""


def to_json(event: Event, *, host: str) -> str:
    """An event as a line of JSON, without its end."""
    head = {"version": STREAM_VERSION, "kind": event.kind, "host": host}
    return json.dumps(head | _WRITERS[type(event)](event), separators=(",", ":"))


def from_json(text: str) -> Line:
    """The opposite; `ValueError` for anything that `to_json` does not write."""
    try:
        found = json.loads(text)
    except RecursionError:
        raise ValueError("expected an object of JSON, got a nest of them") from None
    except ValueError:
        raise ValueError(f"expected an object of JSON, got {reprlib.repr(text)}") from None
    match found:
        case {"version": version} if type(version) is int and version == STREAM_VERSION:
            pass
        case {"version": version}:
            raise ValueError(f"expected version {STREAM_VERSION}, got {reprlib.repr(version)}")
        case _:
            raise ValueError(f"expected an object with a version, got {reprlib.repr(text)}")
    match found:
        case {"kind": str(kind), "host": str(host)} if kind in _READERS:
            return Line(host, _READERS[kind](found))
    raise ValueError(f"expected a kind and a host, got {reprlib.repr(found.get('kind'))}")


class Lines:
    """Reads a stream, line by line: `for line in Lines(file)`.

    Raises `BadLine`, but not for a last line whose end is missing: whoever wrote it was interrupted, as `is_cut` says
    then. Empty lines are skipped.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = texts
        self.is_cut = False
        """Whether the last line was left out. Only known at the end."""

    def __iter__(self) -> Iterator[Line]:
        texts = iter(self._texts)
        for number, text in enumerate(texts, 1):
            if not text.strip():
                continue
            try:
                line = from_json(text)
            except ValueError as exc:
                if text.endswith("\n") or next(texts, None) is not None:
                    raise BadLine(number, str(exc)) from None
                self.is_cut = True
                return
            yield line


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of one line."""
    nested = {kind.__name__: kind for record in _EVENTS for kind in records_in(record)}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"A line of a measurement's stream, version {STREAM_VERSION}",
        "description": "Times are whole numbers of nanoseconds; those named at_ns since 1970.",
        "oneOf": [{"$ref": f"#/$defs/{record.kind}"} for record in _EVENTS],
        "$defs": {record.kind: _event_schema(record) for record in _EVENTS}
        | {name: record_schema(kind) for name, kind in sorted(nested.items())},
    }


def _event_schema(record: Any) -> dict[str, Any]:
    schema: dict[str, Any] = record_schema(record)
    values = ({"const": STREAM_VERSION}, {"const": record.kind}, {"type": "string"})
    schema["properties"] = dict(zip(_ENVELOPE, values, strict=True)) | schema["properties"]
    schema["required"] = [*_ENVELOPE, *schema["required"]]
    return schema
