"""What a simulated world was made of, and what it has come to: the records of `run_world`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from .._chaos import Conditions
from ..proto import DropReason


class Outage(NamedTuple):
    """Something is down for a while."""

    begins: float
    lasts: float
    which: int
    """The number of the server."""


class WorldPlan(NamedTuple):
    """What the seed has decided before the world begins. Times are seconds, shares from 0 to 1."""

    clients: int
    seconds: float
    """When clients ask for the last time."""
    servers: int
    conditions: Conditions
    """Of all links."""
    behind_nat: float
    """Share of the clients."""
    impatient: float
    """Share of the requests that are cancelled early."""
    forged: float
    """Forgeries thrown for each transmission that passes, on average."""
    partitions: tuple[Outage, ...]
    """A server is cut off from half of the clients."""
    crashes: tuple[Outage, ...]
    """A server has no power."""
    rebindings: tuple[float, ...]
    """When address translators forget."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldReport:
    """What a world has come to. The counters are of all clients and all servers together."""

    plan: WorldPlan
    requests: int
    """Each is in one of the next three, unless it ended with an error, which is a violation."""
    replies: int
    given_up: int
    """Requests whose schedule ended without a reply."""
    cancelled: int
    """Requests of impatient clients."""
    wrong: int
    """Replies that are not what the server said; violations too."""
    packets: int
    """All that were sent, the forged ones among them."""
    forged: int
    """Of these: thrown by the forger, at clients and at servers."""
    dropped: Mapping[DropReason, int]
    """Datagrams that were not believed; by the sockets themselves some more."""
    violations: int
    """How often something did not hold; there should be none, whatever the seed."""
    said: tuple[str, ...]
    """The first hundred of these, a sentence each."""
    digest: str
    """Stands for every packet, its time and its fate: equal in all runs of one world."""
