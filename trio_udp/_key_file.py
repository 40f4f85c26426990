"""Key files: one key a line, for its owner only.

    # the first is the one to ask with; a server accepts all of them
    1 blake2b-128 <secret in base64>
    2 blake2b-128 <secret in base64>

What must hold (F4): what others may read is no secret, and is refused; a file that is being written is never read half;
and no error shows what stands in it.
"""

import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from ._keys import Key
from .proto import MAX_KEY_ID

_LARGEST: Final = 65_536
"""Bytes: 255 keys and as many lines of comment fit into it."""
_OTHERS: Final = 0o077
_HEADER: Final = "# trio_udp keys: id, algorithm, secret. The first is the one to ask with; a server accepts all.\n"


def load_keys(path: str | os.PathLike[str]) -> list[Key]:
    """The keys of a file, at least one: `id algorithm secret` a line, `#` for comments. Ask with the first.

    Raises `ValueError` if group or others may do anything with the file, if it is not a regular file or not ours, and
    for a line that is no key; `OSError` if it cannot be read; `ImportError` as `Key`. None of them shows what it says.
    """
    with open(path, "rb", opener=_without_waiting) as file:
        _check(os.fstat(file.fileno()), os.fspath(path))
        text = file.read(_LARGEST + 1)
    if len(text) > _LARGEST:
        raise ValueError(f"key file {os.fspath(path)!r}: expected at most {_LARGEST} bytes, got more")
    return parse_keys(text.decode(errors="replace"), f"key file {os.fspath(path)!r}")


def _without_waiting(path: str, flags: int) -> int:
    """A pipe would keep us waiting."""
    return os.open(path, flags | os.O_NONBLOCK)


def _check(status: os.stat_result, path: str) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"key file {path!r}: expected a regular file, got something else")
    if status.st_uid != os.geteuid():
        raise ValueError(f"key file {path!r}: expected it to belong to user {os.geteuid()}, got {status.st_uid}")
    mode = stat.S_IMODE(status.st_mode)
    if mode & _OTHERS:
        raise ValueError(f"key file {path!r}: expected nobody but its owner to have access, got mode {mode:04o}")


def parse_keys(text: str, source: str) -> list[Key]:
    """The keys that these lines say, at least one, each with an id of its own. `source` is for errors."""
    keys: dict[int, Key] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            key = Key.from_line(line)
        except ValueError as exc:
            raise ValueError(f"{source}, line {number}: {exc}") from None
        if key.id in keys:
            raise ValueError(f"{source}, line {number}: expected an id that is not used above, got {key.id} again")
        keys[key.id] = key
    if not keys:
        raise ValueError(f"{source}: expected at least one key, got none")
    return list(keys.values())


def create_key_file(path: str, key: Key) -> None:
    """Write a new file, which only its owner may read; `FileExistsError` if there is something by that name."""
    _create(path, f"{_HEADER}{key.to_line()}\n")


def add_to_key_file(path: str, key: Key) -> None:
    """Put a key behind those in the file. Who reads it meanwhile reads what it said before."""
    before = Path(path).read_text(encoding="utf-8")
    if before and not before.endswith("\n"):
        before += "\n"
    target = os.path.realpath(path)
    draft = f"{target}.new"
    try:
        _create(draft, f"{before}{key.to_line()}\n")
        os.replace(draft, target)
    except FileExistsError:
        raise  # somebody else is adding a key
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(draft)
        raise


def _create(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def free_id(keys: Iterable[Key]) -> int:
    """The id for one key more: one above the highest, and the lowest free one when there is none above."""
    used = {key.id for key in keys}
    free = [id_ for id_ in range(1, MAX_KEY_ID + 1) if id_ not in used]
    if not free:
        raise ValueError(f"expected fewer than {MAX_KEY_ID} keys, got {len(used)}")
    return next((id_ for id_ in free if id_ > max(used, default=0)), free[0])
