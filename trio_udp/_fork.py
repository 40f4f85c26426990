"""What becomes of a client in a forked process: it is closed there, and says so; the parent's goes on.

Parent and child would read one socket, and take each other's answers. Ids are no danger, because each is drawn from the
system when it is needed (A4). A server needs nothing of the kind: nobody calls it, and Trio does not support going on
with a run in a forked process.
"""

import os
from typing import Final, Protocol
from weakref import WeakSet


class Orphan(Protocol):
    """What must not be used in a forked process."""

    def disown(self) -> None:
        """This is a forked process."""


_open: Final[WeakSet[Orphan]] = WeakSet()


def disown_at_fork(orphan: Orphan) -> None:
    """Tell it when it finds itself in a forked process."""
    _open.add(orphan)


def _disown_all() -> None:
    for orphan in list(_open):
        orphan.disown()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_disown_all)
