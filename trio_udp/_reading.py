"""Who reads the sockets of a server, and in which task each handler runs.

One task at a time has the role of reading a socket: it takes a batch, runs the handlers, sends their answers together,
and takes the next. Plain handlers end on the spot, and so do async ones that do not wait. When one does wait, the task
that has begun it stays with it until it ends, and hands its role to another task, and the rest of the batch to two.

What must hold: there are no more tasks than handlers that wait (E9), datagrams of a batch, and a few spare ones; a
handler that has begun to wait goes on in the task that began it; and whatever a handler leaves behind in a task, say a
cancel scope that it never closes, somebody reads until all is cancelled (E8).
"""

import logging
from collections import deque
from collections.abc import Iterable
from typing import Final

import trio

from ._answering import Answering
from ._endpoint import Endpoint
from ._handlers import Waiting
from ._role import Role, Turn

logger: Final = logging.getLogger("trio_udp")

SPARE: Final = 64
"""Tasks kept for the next handlers that wait, about 2 KiB each; measured: as many as a batch has datagrams."""


class Reading:
    """The tasks that read all sockets of one server."""

    def __init__(self, answering: Answering) -> None:
        self._answering = answering
        self._spare: list[trio.lowlevel.Task] = []
        self._roles: deque[Role] = deque()
        """For the spare tasks that have been woken."""
        self._is_cancelled = False
        """Whether all of it is, and not one task alone."""

    def start_in(self, nursery: trio.Nursery, endpoints: Iterable[Endpoint]) -> None:
        """Begin to read. Wait in `until_cancelled` then, in the task that has opened the nursery."""
        self._nursery = nursery
        for endpoint in endpoints:
            nursery.start_soon(self._work, self._answering.role_of(endpoint))

    async def until_cancelled(self) -> None:
        """Wait for that, and know it before any task that reads does: Trio asks all who wait before it wakes one."""

        def give_up(_: object) -> trio.lowlevel.Abort:
            self._is_cancelled = True
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(give_up)

    async def _work(self, role: Role) -> None:
        """A task's life: read until a handler waits, see it through, and be ready for the next time.

        A scope that a handler has left open, as an asynchronous generator does which is not closed, may cancel this
        task alone. That ends it and nothing else.
        """
        task = trio.lowlevel.current_task()
        own_context = task.context
        try:
            while True:
                begun = await self._read(role)
                if begun is not None:
                    turn, waiting = begun
                    self._share(role)
                    task.context = waiting.context
                    await self._answering.waiting.see_through(turn, waiting)
                    task.context = own_context
                if len(self._spare) >= SPARE:
                    return
                role = await self._wait_for_role(task)
        except BaseException as exc:
            if not self._is_of_one_task(exc):
                raise

    async def _read(self, role: Role) -> tuple[Turn, Waiting] | None:
        """Answer whatever comes, until a handler waits; None if there is no more to do."""
        try:
            while True:
                begun = self._answering.go_through(role)
                if begun is not None:
                    return begun
                await role.send()
                if not role.is_through():
                    if role.is_slow:
                        await trio.lowlevel.checkpoint()
                elif role.reads:
                    self._answering.open(role, await role.endpoint.receive())
                else:
                    return None
        except BaseException as exc:
            role.give_up()
            if self._is_of_one_task(exc):
                self._read_on(role)
            raise

    def _read_on(self, role: Role) -> None:
        """Let another task read, as this one is cancelled."""
        logger.error(
            "a handler left a cancel scope open, which has cancelled the task that was reading %s",
            role.endpoint.address,
            extra={"event": "scope_left_open"},
        )
        self._nursery.start_soon(self._work, role)

    def _share(self, role: Role) -> None:
        """Hand over what is left, one half each to two others, who do the same if they have to.

        So when all handlers wait, a batch of 64 has begun after six passes of Trio's loop, and not after 64: measured,
        a quarter less processor time for each of them.
        """
        for part in role.halve():
            if part is not None:
                self._hand_over(part)

    def _hand_over(self, role: Role) -> None:
        """Let another task read. Nothing is awaited here: this one has begun to wait for something else."""
        if self._spare:
            self._roles.append(role)
            trio.lowlevel.reschedule(self._spare.pop())
        else:
            self._nursery.start_soon(self._work, role)

    async def _wait_for_role(self, task: trio.lowlevel.Task) -> Role:
        def give_up(_: object) -> trio.lowlevel.Abort:
            self._spare.remove(task)
            return trio.lowlevel.Abort.SUCCEEDED

        self._spare.append(task)
        await trio.lowlevel.wait_task_rescheduled(give_up)
        return self._roles.popleft()

    def _is_of_one_task(self, exc: BaseException) -> bool:
        """Whether this says that a task is cancelled, and nothing else, while the server is not."""
        return not self._is_cancelled and _is_cancellation(exc)


def _is_cancellation(exc: BaseException) -> bool:
    """Whether it is that and nothing else."""
    if isinstance(exc, BaseExceptionGroup):
        return all(map(_is_cancellation, exc.exceptions))
    return isinstance(exc, trio.Cancelled)
