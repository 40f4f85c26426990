"""A name whose addresses change while one measures: a run for each address, one after the other.

What must hold: whatever the name service says or does not say, nothing ends but the run whose address is not the name's
any more; what is counted for one address is never mixed with what is counted for another; and who has stopped a
follower is given no further address, whatever happens to the name meanwhile.
"""

import contextlib
import math
import socket
from collections.abc import AsyncIterator, Callable
from typing import NamedTuple, Protocol, TypeAlias

import trio

from .._beside import beside
from .._given import check_server
from .._net import Address, loopback_of, resolve


class Moved(NamedTuple):
    """A name has other addresses now."""

    host: str
    before: Address
    """That of the run, which is no more the name's."""
    now: Address
    """The first of those that it has."""

    def __str__(self) -> str:
        return f"{self.host}: is now {self.now.host}, and no more {self.before.host}"


class Unresolved(NamedTuple):
    """A name could not be resolved; it will be tried again."""

    host: str
    reason: str
    """As the name service says it, or whoever knows better."""

    def __str__(self) -> str:
        return f"{self.host}: cannot be resolved: {self.reason}"


News: TypeAlias = Moved | Unresolved
"""What a follower has to say, each in one line by `str`."""


def _nothing(news: News) -> None:
    """What to do with news that nobody wants."""


class Followed(Protocol):
    """A run, as a follower has to know it; a `Prober` is one."""

    @property
    def peer(self) -> Address:
        """The address that is probed."""

    @property
    def sent(self) -> int:
        """Probes sent so far."""

    def stop(self) -> None:
        """End in good order."""


class Follower:
    """Follows a name whose addresses change.

        follower = Follower("server.example", 1060, every=30.0)
        async for address in follower:
            async with open_prober(*address) as prober, follower.watching(prober):
                await prober.run(count=follower.left)

    It gives the name's first address as soon as it has one. While a run is being watched, the name is resolved again
    and again; when the run's address is no more among the name's, the run is stopped, and the next turn of the loop has
    the new address. A name that cannot be resolved ends nothing. The loop ends when a run has ended for another reason,
    when all is sent, or by `stop`.

    It may be cancelled at any time, as whatever is Trio's; a look-up that the system has begun goes on unseen.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        # Which addresses, and how often to look for them
        every: float,
        family: socket.AddressFamily = socket.AF_UNSPEC,
        # When to end, and whom to tell
        count: int | None = None,
        on_news: Callable[[News], object] = _nothing,
    ) -> None:
        """Follow this name.

        Args:
            host: name or numeric address.
            port: 1 to 65535.
            every: seconds between two look-ups.
            family: `socket.AF_INET` or `socket.AF_INET6` to use only addresses of that kind.
            count: probes of all runs together; without an end by default.
            on_news: called with each `Moved` and each `Unresolved`, but once only as long as that stays as it is. What
                it raises ends the loop.

        Raises:
            ValueError: an argument makes no sense.
            TypeError: the host is no text, or the port no number.
        """
        check_server(host, port)
        if not 0 < every < math.inf:
            raise ValueError(f"expected look-ups every so many seconds, more than 0, got {every}")
        if count is not None and count < 1:
            raise ValueError(f"expected a count of 1 or more, got {count}")
        self._host = host
        self._port = port
        self._every = every
        self._family = family
        self._count = count
        self._on_news = on_news
        self._trouble: Unresolved | None = None
        """What was said last, if it is still so."""
        self._search = trio.CancelScope()
        self._run: Followed | None = None
        self._sent = 0
        """By the runs before this one."""
        self._has_next = True
        self._is_stopped = False

    @property
    def left(self) -> int | None:
        """How many probes are left to send; None without a `count`."""
        if self._count is None:
            return None
        sent = self._sent + (0 if self._run is None else self._run.sent)
        return max(self._count - sent, 0)

    def __aiter__(self) -> "Follower":
        return self

    async def __anext__(self) -> Address:
        """The name's address, as soon as it has one."""
        if not self._has_next or self._is_stopped or self.left == 0:
            await trio.lowlevel.checkpoint()
            raise StopAsyncIteration
        address = None
        with trio.CancelScope() as self._search:
            address = await self._find()
        if address is None or self._is_stopped:
            raise StopAsyncIteration
        self._has_next = False  # unless the run ends because the name has moved
        return address

    @contextlib.asynccontextmanager
    async def watching(self, run: Followed) -> AsyncIterator[None]:
        """While the block runs, `stop` stops this run, and so does the name when it leaves the run's address.

        An exception of the block's is raised as it is.
        """
        self._run = run
        try:
            async with beside(self._watch, run):
                yield
        finally:
            self._run = None
            self._sent += run.sent

    def stop(self) -> None:
        """Look for no further address, and stop the run that is being watched, in good order."""
        self._is_stopped = True
        self._search.cancel()
        if self._run is not None:
            self._run.stop()

    async def _find(self) -> Address:
        while True:
            addresses = await self._resolve()
            if addresses:
                return addresses[0]
            await trio.sleep(self._every)

    async def _watch(self, run: Followed) -> None:
        """Until the run's address is not the name's any more."""
        while True:
            await trio.sleep(self._every)
            addresses = await self._resolve()
            if addresses and run.peer not in addresses:
                self._on_news(Moved(self._host, run.peer, addresses[0]))
                self._has_next = True
                run.stop()
                return

    async def _resolve(self) -> list[Address]:
        """All addresses, or none: that is said, once, and is no reason to stop."""
        try:
            found = await resolve(self._host, self._port, self._family)
        except (OSError, ValueError) as exc:
            trouble = Unresolved(self._host, str(getattr(exc, "strerror", None) or exc))
            if trouble != self._trouble:
                self._on_news(trouble)
            self._trouble = trouble
            return []
        self._trouble = None
        return [loopback_of(address) for address in found]
