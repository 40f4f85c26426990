"""Run an async function on a simulated network, in virtual time, from one seed.

`simulate` is a plain function, so it nests under Hypothesis' `@given`; `simulated` makes a plain test of an async one,
so pytest needs no plugin for it. Equal seeds give equal runs: the order in which Trio runs its tasks, what the network
loses, and the random bytes this package draws, all come from the seed. What your own code draws from `random` or
`os.urandom` does not; draw from `net.random` instead.
"""

import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Concatenate, Final, ParamSpec, TypeAlias, TypeVar, overload

import trio
from trio.testing import MockClock

from .._random import set_random_source
from ._scheduler import seeded_scheduler
from ._simnet import SimNet

T = TypeVar("T")
P = ParamSpec("P")

DEFAULT_TIME_LIMIT: Final = 31_536_000.0
"""A year. Nothing that is alive waits so long."""
_SHOWN: Final = 40
"""Packets shown with a failure."""


class NotDeterministic(AssertionError):
    """Two runs from one seed were not the same run."""


def simulate(
    async_fn: Callable[..., Awaitable[T]],
    *args: Any,
    net: SimNet | Callable[[int], SimNet] = SimNet,
    seed: int | None = None,
    time_limit: float = DEFAULT_TIME_LIMIT,
    check_determinism: bool = False,
) -> T:
    """Call `async_fn(net, *args)` in a `trio.run` of its own, and return what it returns.

    An exception comes out as it is, with the end of the trace as a note.

    Args:
        async_fn: given the network first; it runs on `net.localhost` until it says otherwise.
        args: passed on.
        net: the network, or a function that makes one from a seed.
        seed: of the network that is made here, and of Trio's scheduler; that of `net` by default if it is a `SimNet`,
            and 0 otherwise.
        time_limit: virtual seconds after which `Stalled` is raised, because every task waits for ever.
        check_determinism: run twice, and raise `NotDeterministic` if the traces differ. The network has to be made
            anew for that, so `net` must not be a `SimNet`.
    """
    __tracebackhide__ = True  # pytest shows what is the test's
    if check_determinism and isinstance(net, SimNet):
        raise ValueError("expected a function that makes a network to check determinism with, got a network")
    if seed is None:
        seed = net.seed if isinstance(net, SimNet) else 0
    world = net if isinstance(net, SimNet) else net(seed)
    result = _run_once(async_fn, args, world, seed, time_limit)
    if check_determinism and not isinstance(net, SimNet):
        again = net(seed)
        _run_once(async_fn, args, again, seed, time_limit)
        if again.trace.digest != world.trace.digest:
            raise NotDeterministic(_difference(world, again))
    return result


AsyncTest: TypeAlias = Callable[Concatenate[SimNet, P], Awaitable[T]]


@overload
def simulated(async_fn: AsyncTest[P, T], /) -> Callable[P, T]: ...
@overload
def simulated(
    *,
    net: Callable[[int], SimNet] = SimNet,
    seed: int = 0,
    time_limit: float = DEFAULT_TIME_LIMIT,
    check_determinism: bool = False,
) -> Callable[[AsyncTest[P, T]], Callable[P, T]]: ...
def simulated(
    async_fn: AsyncTest[P, T] | None = None,
    /,
    *,
    net: Callable[[int], SimNet] = SimNet,
    seed: int = 0,
    time_limit: float = DEFAULT_TIME_LIMIT,
    check_determinism: bool = False,
) -> Any:
    """Make a plain test of an async one that takes a network first: `@simulated`, below `@given` if there is one.

    The other parameters stay, so fixtures and Hypothesis fill them in. The options are those of `simulate`, as in
    `@simulated(seed=1)`.
    """
    run = functools.partial(simulate, net=net, seed=seed, time_limit=time_limit, check_determinism=check_determinism)

    def decorate(async_fn: AsyncTest[P, T]) -> Callable[P, T]:
        _check_test(async_fn)

        @functools.wraps(async_fn)
        def test(*args: P.args, **kwargs: P.kwargs) -> T:
            __tracebackhide__ = True
            return run(lambda world: async_fn(world, *args, **kwargs))

        signature = inspect.signature(async_fn)
        parameters = list(signature.parameters.values())[1:]
        test.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]  # what inspect reads
        del test.__wrapped__  # pytest would find the async function behind it
        return test

    return decorate if async_fn is None else decorate(async_fn)


def _check_test(async_fn: Callable[..., Any]) -> None:
    """Two mistakes that would show as something else: a method, and `@simulated` above `@given`."""
    name = getattr(async_fn, "__name__", repr(async_fn))
    if not inspect.iscoroutinefunction(async_fn):
        raise TypeError(f"expected an async function below @simulated, got {name}; @given belongs above it")
    if next(iter(inspect.signature(async_fn).parameters), None) in (None, "self"):
        raise TypeError(f"expected {name} to take a network first; in a method, call simulate()")


def _run_once(
    async_fn: Callable[..., Awaitable[T]], args: tuple[Any, ...], net: SimNet, seed: int, time_limit: float
) -> T:
    __tracebackhide__ = True

    async def main() -> T:
        __tracebackhide__ = True
        set_random_source(net.random.randbytes)
        async with net.running(time_limit=time_limit):
            return await async_fn(net, *args)
        raise AssertionError("unreachable: a network swallows no exception")

    with seeded_scheduler(seed):
        try:
            return trio.run(main, clock=MockClock(autojump_threshold=0))
        except BaseException as exc:  # `pytest.fail` and Ctrl-C want to be understood, too
            seeds = f"seed {seed}" if net.seed == seed else f"seed {seed} on a network of seed {net.seed}"
            exc.add_note(f"simulated network, {seeds}, {net.trace.count} packets:\n{net.trace.tail(_SHOWN)}")
            raise


def _difference(first: SimNet, second: SimNet) -> str:
    """The first line in which two traces differ."""
    lines, others = str(first.trace).splitlines(), str(second.trace).splitlines()
    for line, other in zip(lines, others, strict=False):
        if line != other:
            return f"two runs from one seed differ, first here:\n{line}\n{other}"
    return f"two runs from one seed differ: {len(lines)} and {len(others)} packets"
