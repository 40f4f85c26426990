"""Objects that a caller gives for what belongs together: refused at the call, and not deep inside, if they are others.

Such as None, a class in place of an object of it (`profile=TU1`), or a number of seconds in place of a schedule.
"""

from types import UnionType
from typing import get_args


def check_given(name: str, value: object, kind: type | UnionType) -> None:
    """`TypeError` for what is not of that kind; a protocol says it by its members."""
    if isinstance(value, type) or not isinstance(value, kind):
        wanted = " or ".join("None" if one is type(None) else one.__name__ for one in get_args(kind) or (kind,))
        got = f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
        raise TypeError(f"expected {name} to be {wanted}, got {got}")
