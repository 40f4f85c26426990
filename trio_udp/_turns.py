"""Turns: how many requests of a client may be under way at a time. Others stand in line.

A `trio.Semaphore` in what it does. Beyond that it says how many have been let in and have not run yet, so that whoever
is about to send for all can wait for them.
"""

from collections import OrderedDict
from collections.abc import MutableMapping
from typing import Generic, TypeVar

import trio

Key = TypeVar("Key")


class Leave(Generic[Key]):
    """Called by Trio when a task that waits in a table is cancelled. An object: a closure is four times as large."""

    __slots__ = ("_key", "_table")

    def __init__(self, table: MutableMapping[Key, trio.lowlevel.Task], key: Key) -> None:
        self._table = table
        self._key = key

    def __call__(self, raise_cancel: object) -> trio.lowlevel.Abort:
        self._table.pop(self._key, None)
        return trio.lowlevel.Abort.SUCCEEDED


class Turns:
    """A number of turns, and a line of tasks that wait for one."""

    __slots__ = ("_line", "awake", "max_value", "value")

    def __init__(self, most: int) -> None:
        self.max_value = most
        self.value = most
        """Turns that nobody has."""
        self.awake = 0
        """Tasks that were given a turn in line, and have not run since."""
        self._line: OrderedDict[trio.lowlevel.Task, trio.lowlevel.Task] = OrderedDict()

    def acquire_nowait(self) -> bool:
        """Take a turn, if there is one; whether there was."""
        if not self.value:
            return False
        self.value -= 1
        return True

    async def acquire(self) -> None:
        """Stand in line until there is a turn, and take it."""
        task = trio.lowlevel.current_task()
        self._line[task] = task
        await trio.lowlevel.wait_task_rescheduled(Leave(self._line, task))
        self.awake -= 1

    def release(self) -> None:
        """Give it to the first in line, or back."""
        if self._line:
            self.awake += 1
            trio.lowlevel.reschedule(self._line.popitem(last=False)[0])
        else:
            self.value += 1
