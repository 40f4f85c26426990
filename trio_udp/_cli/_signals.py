"""What the sub-commands do when they are told to stop.

What must hold: whoever is told to stop says what it has counted, however often it is told. `timeout` tells twice, and
so do people with little patience.
"""

import contextlib
import signal
from collections.abc import AsyncIterator, Iterator
from typing import Final

import trio

STOPPING: Final = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def stopping_signals() -> Iterator[AsyncIterator[int]]:
    """The signals that stop a command, for the length of the block. What nobody has taken by its end, and what comes
    behind it, ends nothing until `as_they_were` does."""
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)  # which is what Trio goes back to, and hands on to what it has left
    with trio.open_signal_receiver(*STOPPING) as signals:
        yield signals


@contextlib.contextmanager
def as_they_were() -> Iterator[None]:
    """Behind this block, what stops us is handled as before."""
    before = {number: signal.getsignal(number) for number in STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is not handler:
                signal.signal(number, handler)


async def cancel_at_next_signal(signals: AsyncIterator[int], scope: trio.CancelScope) -> None:
    """Wait for a signal, and cancel."""
    await anext(signals)
    scope.cancel()
