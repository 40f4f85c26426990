"""Cases of a conformance suite: each is an async function in a small world of its own, run to its verdict."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Final, Generic, NamedTuple, TypeVar

from .._chaos import Conditions
from ._options import NotSimulated
from ._report import CaseResult
from ._simnet import SimNet, Stalled
from ._simulate import simulate

World = TypeVar("World")

LATENCY: Final = 0.01
"""Seconds one way: what a case does when a datagram arrives comes before whatever is sent in answer."""
JUNK: Final = {
    "empty": b"",
    "one_byte": b"\x80",
    "text": b"FAKE",
    "huge": bytes(range(256)) * 255 + bytes(227),
}
"""By name. The last has 65,507 bytes, the most that UDP over IPv4 carries."""

_TRACE_TAIL: Final = 12
_SHOWN: Final = 100
"""Characters of somebody else's value."""


class CaseFailed(Exception):
    """Raised in a case, with what happened."""


class Case(NamedTuple, Generic[World]):
    """One case of a suite."""

    name: str
    reason: str
    """One sentence: what must hold, or who attacks."""
    run: Callable[[World], Awaitable[str | None]]
    """Raises `CaseFailed`, or returns what is worth reporting."""


def case(run: Callable[[World], Awaitable[str | None]]) -> Case[World]:
    """A case of an async function: named like it, and its docstring is the reason."""
    assert run.__doc__ is not None
    return Case(run.__name__, run.__doc__, run)


def run_case(
    found: Case[World], open_world: Callable[[SimNet], AbstractAsyncContextManager[World]], seed: int, time_limit: float
) -> CaseResult:
    """Run one case in a world of its own, for so many virtual seconds at most."""
    net = SimNet(seed=seed, conditions=Conditions(latency=LATENCY))
    try:
        happened = simulate(_play, found, open_world, net=net, seed=seed, time_limit=time_limit)
    except (CaseFailed, Stalled) as failure:
        return CaseResult(found.name, found.reason, False, str(failure), net.trace.tail(_TRACE_TAIL))
    return CaseResult(found.name, found.reason, True, happened or "", "")


async def _play(
    net: SimNet, found: Case[World], open_world: Callable[[SimNet], AbstractAsyncContextManager[World]]
) -> str | None:
    happened: str | None = None
    failure: Exception | None = None
    async with open_world(net) as world:
        try:
            happened = await found.run(world)
        except (CaseFailed, NotSimulated) as exc:
            failure = exc  # raised below, outside the nurseries of the world, which would wrap it in a group
    if failure is not None:
        raise failure
    return happened


def shown(value: object) -> str:
    """A value or an exception of somebody else's, short enough for a line."""
    text = _sentence(unwrapped(value)) if isinstance(value, Exception) else repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _sentence(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".removesuffix(": ")


def unwrapped(error: Exception) -> Exception:
    """What is in a group of one, as a nursery makes it."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
