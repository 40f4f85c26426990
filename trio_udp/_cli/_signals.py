"""What the sub-commands do when they are told to stop."""

from collections.abc import AsyncIterator

import trio


async def cancel_at_next_signal(signals: AsyncIterator[int], scope: trio.CancelScope) -> None:
    """Wait for a signal, and cancel."""
    await anext(signals)
    scope.cancel()
