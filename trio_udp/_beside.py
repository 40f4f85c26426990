"""A task that runs beside a block of the caller's, and ends with it."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVarTuple

import trio

Given = TypeVarTuple("Given")


@contextlib.asynccontextmanager
async def beside(run: Callable[[*Given], Awaitable[object]], *given: *Given) -> AsyncIterator[None]:
    """While the block runs, so does this; it is cancelled where the block ends. The block's exception is raised as it
    is, and what the task raises in a group, as a nursery does it."""
    failure: BaseException | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, *given)
        try:
            yield
        except BaseException as exc:
            failure = exc  # raised below, outside the nursery that would wrap it in a group
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
