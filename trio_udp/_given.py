"""What a caller gives: refused at the call and in words, and not deep inside, if it is something else.

Such as None, a class in place of an object of it (`profile=TU1`), a number of seconds in place of a schedule, or a port
as it stands on a command line.
"""

from types import UnionType
from typing import get_args


def check_given(name: str, value: object, kind: type | UnionType) -> None:
    """`TypeError` for what is not of that kind; a protocol says it by its members."""
    if isinstance(value, type) or not isinstance(value, kind):
        wanted = " or ".join("None" if one is type(None) else one.__name__ for one in get_args(kind) or (kind,))
        got = f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
        raise TypeError(f"expected {name} to be {wanted}, got {got}")


def check_at_least(least: int, **limits: int) -> None:
    """`TypeError` for a limit that is no whole number, `ValueError` for one that is less."""
    for name, limit in limits.items():
        check_given(name, limit, int)
        if limit < least:
            raise ValueError(f"expected {name} to be at least {least}, got {limit}")


def check_server(host: str, port: int) -> None:
    """`TypeError` for what is no name or no number, `ValueError` for a port that nobody can be asked at."""
    check_given("host", host, str)
    check_given("port", port, int)
    if not 1 <= port <= 65_535:
        raise ValueError(f"expected a port from 1 to 65535, got {port}")
