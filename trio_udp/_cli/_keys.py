"""Where the commands get their keys: from a file, or from the environment. Never from the command line, which everybody
on this host can read (F4).
"""

import argparse
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from .. import Key, load_keys
from .._key_file import parse_keys
from ._arguments import BadInput

if TYPE_CHECKING:
    from ._orders import Bell

VARIABLE: Final = "TRIO_UDP_KEY"
"""The lines of a key file; for a single key, its line."""


def add_key_file(parser: argparse.ArgumentParser) -> None:
    """Add `--key-file`."""
    parser.add_argument(
        "--key-file",
        metavar="FILE",
        help=f"keys, as keygen writes them; the environment variable {VARIABLE} holds the same where there is no file",
    )


def keys_from(arguments: argparse.Namespace) -> list[Key] | None:
    """The user's keys; None without any."""
    path: str | None = arguments.key_file
    text = os.environ.get(VARIABLE)
    try:
        if path is not None:
            return load_keys(path)
        return None if text is None else parse_keys(text, f"environment variable {VARIABLE}")
    except OSError as exc:
        raise BadInput(f"key file {path!r}: {exc.strerror or exc}") from None
    except (ValueError, ImportError) as exc:
        raise BadInput(str(exc)) from None


def first_key(arguments: argparse.Namespace) -> Key | None:
    """The one to ask with."""
    keys = keys_from(arguments)
    return keys[0] if keys else None


def names_of(keys: list[Key]) -> str:
    """What may be said about them."""
    return ", ".join(f"{key.id} ({key.algorithm})" for key in keys)


async def reload_keys(
    bell: "Bell",
    arguments: argparse.Namespace,
    use: Callable[[list[Key]], object],
    complain: Callable[[str, str], object],
) -> None:
    """At each order read the file again. What cannot be used changes nothing, and is said in one line."""
    while True:
        await bell.heard()
        try:
            use(keys_from(arguments) or [])
        except (BadInput, ValueError) as exc:
            complain("keys_unchanged", f"the keys stay as they are: {exc}")
