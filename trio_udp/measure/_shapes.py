"""How each type that a record's fields have is written as JSON, read back, and described by a JSON Schema.

One table for all three, and the records' own annotations in front of it: what is written, read and described cannot
differ. Reading raises `ValueError`, which says what was expected, and nothing else, whatever it is given.
"""

import dataclasses
import enum
import functools
import reprlib
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from .._net import Address

_HIGHEST_PORT: Final = 65_535
_LEAST, _MOST = -(2**63), 2**63 - 1


class Shape(NamedTuple):
    """One type in JSON."""

    schema: Mapping[str, object]
    write: Callable[[Any], object]
    """To what `json.dumps` takes."""
    read: Callable[[object], Any]
    """From what `json.loads` gives."""


def _same(value: Any) -> Any:
    """What JSON has a type for is written as it is; words and their enumerations are."""
    return value


def _exactly(kind: type, name: str) -> Callable[[object], Any]:
    def read(value: object) -> object:
        if type(value) is not kind:  # a bool is an int, and would pass for one
            raise ValueError(f"expected {name}, got {reprlib.repr(value)}")
        return value

    return read


def _integer(value: object) -> int:
    if type(value) is not int or not _LEAST <= value <= _MOST:
        raise ValueError(f"expected a whole number of 64 bits, got {reprlib.repr(value)}")
    return value


_text = _exactly(str, "a text")
_object = _exactly(dict, "an object")


def _read_address(value: object) -> Address:
    match value:
        case {"host": str(host), "port": int(port)} if type(port) is int and 0 <= port <= _HIGHEST_PORT:
            return Address(host, port)
    raise ValueError(f"expected an object of a host and a port, got {reprlib.repr(value)}")


_ADDRESS_SCHEMA: Final = {
    "type": "object",
    "properties": {"host": {"type": "string"}, "port": {"type": "integer", "minimum": 0, "maximum": _HIGHEST_PORT}},
    "required": ["host", "port"],
}
_PLAIN: Final[dict[object, Shape]] = {
    int: Shape({"type": "integer", "minimum": _LEAST, "maximum": _MOST}, _same, _integer),
    bool: Shape({"type": "boolean"}, _same, _exactly(bool, "true or false")),
    str: Shape({"type": "string"}, _same, _text),
    Address: Shape(_ADDRESS_SCHEMA, Address._asdict, _read_address),
}


@functools.cache
def shape_of(annotation: Any) -> Shape:
    """What a field so annotated looks like. `TypeError` for what no record has had yet."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation in _PLAIN:
        return _PLAIN[annotation]
    if origin is types.UnionType and len(arguments) == 2 and arguments[1] is types.NoneType:
        return _optional(shape_of(arguments[0]))
    if origin is Mapping:
        return _mapping(*map(shape_of, arguments))
    if isinstance(annotation, type) and issubclass(annotation, enum.StrEnum):
        return _words(annotation)
    if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        write, read = writer_of(annotation), reader_of(annotation)
        return Shape({"$ref": f"#/$defs/{annotation.__name__}"}, write, read)
    raise TypeError(f"no way to write {annotation} is known")


def _optional(inner: Shape) -> Shape:
    return Shape(
        {"anyOf": [inner.schema, {"type": "null"}]},
        lambda value: None if value is None else inner.write(value),
        lambda value: None if value is None else inner.read(value),
    )


def _words(kind: type[enum.StrEnum]) -> Shape:
    def read(value: object) -> enum.StrEnum:
        try:
            return kind(_text(value))
        except ValueError:
            raise ValueError(f"expected one of {', '.join(kind)}, got {reprlib.repr(value)}") from None

    return Shape({"enum": [str(word) for word in kind]}, _same, read)


def _mapping(key: Shape, value: Shape) -> Shape:
    def read(found: object) -> dict[Any, Any]:
        return {key.read(name): value.read(inner) for name, inner in _object(found).items()}

    schema = {"type": "object", "propertyNames": key.schema, "additionalProperties": value.schema}
    return Shape(schema, lambda counts: {name: value.write(inner) for name, inner in counts.items()}, read)


# Records: objects whose keys are their fields' names


def _shapes(record: type) -> dict[str, Shape]:
    hints = typing.get_type_hints(record)
    return {field.name: shape_of(hints[field.name]) for field in dataclasses.fields(record)}


def writer_of(record: type) -> Callable[[Any], dict[str, object]]:
    """A function that makes a record into an object."""
    shapes = [(name, None if shape.write is _same else shape.write) for name, shape in _shapes(record).items()]

    def write(value: Any) -> dict[str, object]:
        return {
            name: getattr(value, name) if writer is None else writer(getattr(value, name)) for name, writer in shapes
        }

    return write


def reader_of(record: type) -> Callable[[object], Any]:
    """A function that makes an object into a record.

    Keys that it does not know are left alone, and fields that have a default may be missing: a later version may have
    added them.
    """
    shapes, needed = _shapes(record), _needed(record)

    def read(value: object) -> Any:
        found = _object(value)
        missing = [name for name in needed if name not in found]
        if missing:
            raise ValueError(f"expected {missing[0]}, which is missing")
        fields = {}
        for name, shape in shapes.items():
            if name in found:
                try:
                    fields[name] = shape.read(found[name])
                except ValueError as exc:
                    raise ValueError(f"{name}: {exc}") from None
        return record(**fields)

    return read


def _needed(record: type) -> list[str]:
    missing = dataclasses.MISSING
    fields = dataclasses.fields(record)
    return [field.name for field in fields if field.default is missing and field.default_factory is missing]


def record_schema(record: type) -> dict[str, object]:
    """The schema of a record's object."""
    return {
        "description": (record.__doc__ or "").partition("\n")[0],
        "type": "object",
        "properties": {name: shape.schema for name, shape in _shapes(record).items()},
        "required": _needed(record),
    }


def records_in(record: type) -> Iterator[type]:
    """The records that a record has as fields, some of them several times."""
    for hint in typing.get_type_hints(record).values():
        for kind in (hint, *typing.get_args(hint)):
            if isinstance(kind, type) and dataclasses.is_dataclass(kind):
                yield kind
                yield from records_in(kind)
