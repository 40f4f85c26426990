"""The client's table of open requests, and the accept rule: a datagram is matched by its peer *and* its key.

What must hold: an entry is found only under the peer it was opened to (A1, A8), at most until it is closed (A3, A9),
and a stranger can make nothing here grow. Closed keys are remembered, a bounded number of them, for one purpose: to
tell an answer that came twice or too late from one that was never asked for. Forgetting one changes only the counter it
goes to.
"""

from collections import OrderedDict
from collections.abc import Collection, Iterable
from typing import Final, Generic, TypeVar

from ._drop_reason import DropReason

Peer = tuple[str, int]
"""A remote address in its one canonical form: equal addresses are equal values (A6)."""

Entry = TypeVar("Entry")

REMEMBERED: Final = 4096
"""Closed keys kept for the counters: about 1 MiB, and a minute at 60 requests a second."""


class ExchangeTable(Generic[Entry]):
    """Open requests by peer and key. Bounded by what the client itself opens."""

    def __init__(self, peers: Iterable[Peer], *, remembered: int = REMEMBERED) -> None:
        self._open: dict[Peer, dict[bytes, Entry]] = {peer: {} for peer in peers}
        self.peers: Final[Collection[Peer]] = self._open.keys()
        """Those whom this client asks at all."""
        self._closed: OrderedDict[tuple[Peer, bytes], DropReason] = OrderedDict()
        self._remembered = remembered

    def __len__(self) -> int:
        return sum(map(len, self._open.values()))

    def open(self, peer: Peer, key: bytes, entry: Entry) -> None:
        """Expect answers with this key from this peer. An open key is an error: ids are never reused (A9)."""
        keys = self._open[peer]
        if key in keys:
            raise ValueError(f"a request with key {key.hex() or '(none)'} is already open to {peer}")
        keys[key] = entry

    def match(self, peer: Peer, key: bytes) -> Entry | DropReason:
        """The open request this answers, or why it answers none."""
        keys = self._open.get(peer)
        if keys is None:
            return DropReason.WRONG_PEER
        entry = keys.get(key)
        if entry is None:
            return self._closed.get((peer, key), DropReason.UNKNOWN_REQUEST)
        return entry

    def close(self, peer: Peer, key: bytes, reason: DropReason) -> None:
        """Believe nothing more with this key; count what still comes as `reason`."""
        del self._open[peer][key]
        closed = self._closed
        before = len(closed)
        closed[peer, key] = reason
        if len(closed) == before:
            closed.move_to_end((peer, key))
        elif before == self._remembered:
            closed.popitem(last=False)
