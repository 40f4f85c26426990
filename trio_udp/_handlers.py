"""What a handler is, and the first step of one that is `async def`."""

import contextvars
import functools
import inspect
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, NamedTuple

from ._net import Address


class Request(NamedTuple):
    """What a handler is given."""

    payload: bytes
    """The client's bytes. They may come from anyone."""
    peer: Address
    """Where the datagram says it came from. Anyone can write anything there."""
    local: Address
    """The address of ours it was sent to; the reply leaves from there."""
    attempt: int
    """Which transmission of the request this is, from 1; 0 where the wire format does not say."""
    authenticated: bool = False
    """Whether a key vouches for the payload. Not for the peer: whoever sees a request can send it again."""


SyncHandler = Callable[[Request], bytes | None]
AsyncHandler = Callable[[Request], Awaitable[bytes | None]]
Handler = SyncHandler | AsyncHandler


def is_async(handler: Handler) -> bool:
    """Whether what this returns has to be awaited."""
    return any(map(inspect.iscoroutinefunction, _functions_of(handler)))


def is_generator(handler: Handler) -> bool:
    """Whether this has a `yield` in it, plain or async: what it returns then can never be a reply."""
    functions = _functions_of(handler)
    return any(map(inspect.isgeneratorfunction, functions)) or any(map(inspect.isasyncgenfunction, functions))


def _functions_of(handler: Callable[..., object]) -> tuple[Callable[..., object], ...]:
    """What may run when this is called: itself, or the method of an object."""
    while isinstance(handler, functools.partial):
        handler = handler.func
    return handler, type(handler).__call__


class Waiting(NamedTuple):
    """A handler that has begun to wait. It belongs to the task that has run its first step, and never to another."""

    coroutine: Coroutine[Any, Any, bytes | None]
    trap: object
    """What it said to Trio and Trio has not heard yet."""
    context: contextvars.Context


async def call(handler: AsyncHandler, request: Request) -> bytes | None:
    """Run an async handler, all of it."""
    return await handler(request)


def begin(handler: AsyncHandler, request: Request, context: contextvars.Context) -> bytes | Waiting | None:
    """Run an async handler in this task until it waits or returns."""
    coroutine = handler(request)
    if not isinstance(coroutine, types.CoroutineType):
        coroutine = _await(coroutine)
    try:
        trap = context.run(coroutine.send, None)
    except StopIteration as stop:
        result: bytes | None = stop.value
        return result
    return Waiting(coroutine, trap, context)


async def _await(awaitable: Awaitable[bytes | None]) -> bytes | None:
    return await awaitable


@types.coroutine
def go_on(waiting: Waiting) -> Generator[Any, Any, bytes | None]:
    """Say its trap to Trio, and be its coroutine from then on: what `await` would do, had it not begun already.

    Nothing may be awaited between the first step and this.
    """
    coroutine, trap, _ = waiting
    try:
        while True:
            try:
                answer = yield trap
            except GeneratorExit:
                coroutine.close()
                raise
            except BaseException as exc:
                trap = coroutine.throw(exc)
            else:
                trap = coroutine.send(answer)
    except StopIteration as stop:
        result: bytes | None = stop.value
        return result
