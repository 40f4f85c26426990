"""Turns: as many requests of a client as its window allows are under way at a time. Others stand in line.

A `trio.Semaphore` in what it does, except that the window may become smaller than the number of turns that are taken:
then the next ones that are given back are nobody's. Beyond that it says how many have been let in and have not run yet,
so that whoever is about to send for all can wait for them.
"""

from collections import OrderedDict
from collections.abc import MutableMapping
from typing import Generic, TypeVar

import trio

from .proto import Window

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
    """As many turns as the window has room for, and a line of tasks that wait for one."""

    __slots__ = ("_line", "_window", "awake", "taken")

    def __init__(self, window: Window) -> None:
        self._window = window
        self.taken = 0
        """Turns that somebody has. Who knows that there is one adds it here."""
        self.awake = 0
        """Tasks that were given a turn in line, and have not run since."""
        self._line: OrderedDict[trio.lowlevel.Task, trio.lowlevel.Task] = OrderedDict()

    @property
    def max_value(self) -> int:
        """The most there may ever be."""
        return self._window.most

    @property
    def value(self) -> int:
        """Turns that nobody has; below zero if more are taken than there are by now."""
        return self._window.size - self.taken

    def acquire_nowait(self) -> bool:
        """Take a turn, if there is one and nobody waits for it; whether there was."""
        if self.taken >= self._window.size or self._line:
            return False
        self.taken += 1
        return True

    async def acquire(self) -> None:
        """Stand in line until there is a turn, and take it."""
        task = trio.lowlevel.current_task()
        self._line[task] = task
        await trio.lowlevel.wait_task_rescheduled(Leave(self._line, task))
        self.awake -= 1

    def release(self) -> None:
        """Give it back, and let in whom the window has room for: nobody, if it has shrunk, or two, if it has grown."""
        self.taken -= 1
        while self._line and self.taken < self._window.size:
            self.taken += 1
            self.awake += 1
            trio.lowlevel.reschedule(self._line.popitem(last=False)[0])
