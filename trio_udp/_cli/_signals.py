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
HANGUP: Final = signal.SIGHUP
"""The terminal has gone: what is written into files should have its end all the same."""


@contextlib.contextmanager
def stopping_signals(*, hangup: bool = False) -> Iterator[AsyncIterator[int]]:
    """The signals that stop a command, for the length of the block. What nobody has taken by its end, and what comes
    behind it, ends nothing until `as_they_were` does.

    With `hangup` SIGHUP is one of them, unless whoever started the command has it ignored, as `nohup` does.
    """
    is_heard = hangup and signal.getsignal(HANGUP) is signal.SIG_DFL
    numbers = (*STOPPING, HANGUP) if is_heard else STOPPING
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)  # which is what Trio goes back to, and hands on to what it has left
    with trio.open_signal_receiver(*numbers) as signals:
        yield signals


@contextlib.contextmanager
def as_they_were() -> Iterator[None]:
    """Behind this block, what stops us is handled as before."""
    before = {number: signal.getsignal(number) for number in (*STOPPING, HANGUP)}
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
