"""`keygen`: a new key, in a file that only its owner may read. The secret is shown to nobody."""

import argparse

from .. import Key, load_keys
from .._key_file import add_to_key_file, create_key_file, free_id
from .._keys import ALGORITHMS, BLAKE2B
from ..proto import MAX_KEY_ID
from ._arguments import BadInput, SubParsers, number


def add_to(commands: SubParsers) -> None:
    """Describe the sub-command to argparse."""
    parser = commands.add_parser(
        "keygen",
        help="make a key",
        description="Write a new key file, or add a key to one; only its owner may read it.",
    )
    parser.add_argument("file", metavar="FILE", help="where the key goes; must not exist yet, except with --add")
    parser.add_argument("--add", action="store_true", help="add a key to the file, behind those it has")
    parser.add_argument("--id", type=number(int, 1, MAX_KEY_ID), metavar="N", help="key id (default: a free one)")
    parser.add_argument("--algorithm", choices=[*ALGORITHMS], default=BLAKE2B, help="default: %(default)s")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the file."""
    path: str = arguments.file
    try:
        present = load_keys(path) if arguments.add else []
        id_ = free_id(present) if arguments.id is None else arguments.id
        if id_ in {key.id for key in present}:
            raise BadInput(f"key file {path!r}: expected an id that is not used in it, got {id_}")
        key = Key.generate(id_, algorithm=arguments.algorithm)
        (add_to_key_file if arguments.add else create_key_file)(path, key)
    except OSError as exc:
        raise BadInput(f"key file {exc.filename or path!r}: {exc.strerror or exc}") from None
    except (ValueError, ImportError) as exc:
        raise BadInput(str(exc)) from None
    print(f"key {key.id} ({key.algorithm}) is in {path}", flush=True)
    return 0
