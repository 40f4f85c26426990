"""Which faults a simulated run has, how strong they are, and what its client does: drawn anew for each run.

Swarm testing: in each run each fault is off with an even chance, so that runs with every fault at once do not hide what
needs some of them to be absent.
"""

from random import Random
from typing import Final, NamedTuple

from trio_udp._chaos import Conditions, GilbertElliott
from trio_udp.proto import BOOK, COAP, STUN, RetryPolicy

POLICIES: Final = (
    RetryPolicy(),
    RetryPolicy(attempts=1),
    RetryPolicy(attempts=3, jitter=0.0),
    RetryPolicy(attempts=4, initial=0.3, multiplier=1.0, adaptive=False),
    RetryPolicy(attempts=8, initial=0.5, maximum_interval=2.0),
    RetryPolicy(give_up_after=4.0),
    BOOK,
    STUN,
    COAP,
)


class Swarm(NamedTuple):
    """One run. Shares are from 0 to 1, times are seconds."""

    requests: int
    servers: int = 1
    conditions: Conditions = Conditions()
    """Of each direction between the client and each server."""
    policy: RetryPolicy = POLICIES[0]
    spacing: float = 0.1
    """Between two requests, on average."""
    cancelled: float = 0.0
    """Share of the requests that are cancelled before long, if they are not over by then."""
    busy: float = 0.0
    error: float = 0.0
    """Shares of what reaches a server that it refuses in these words."""
    lengthy: float = 0.0
    """Share of the replies that do not fit an unpadded request, or no request at all."""
    hinted: float = 0.0
    """Share of the transmissions that an ICMP error quotes."""
    corrupted: float = 0.0
    """Share of the datagrams with one bit turned over, where the format can tell."""
    partitions: tuple[tuple[float, float], ...] = ()
    """From when to when nothing gets through."""


def draw_swarm(random: Random, requests: int) -> Swarm:
    """A run of so many requests."""

    def maybe(most: float) -> float:
        return most * random.random() if random.random() < 0.5 else 0.0

    spacing = 0.01 + 0.2 * random.random()
    conditions = Conditions(
        loss=maybe(0.4),
        burst=GilbertElliott(0.05 * random.random(), 0.1 + 0.3 * random.random()) if random.random() < 0.5 else None,
        latency=0.001 + maybe(0.4),
        jitter=maybe(0.2),
        duplicate=maybe(0.3),
        reorder=maybe(0.3),
        reorder_by=0.01 + maybe(1.0),
        bandwidth=200_000.0 if random.random() < 0.2 else None,
    )
    begins = [random.random() * spacing * requests for _ in range(int(maybe(4.0)))]
    return Swarm(
        requests,
        servers=1 + int(maybe(3.0)),
        conditions=conditions,
        policy=random.choice(POLICIES),
        spacing=spacing,
        cancelled=maybe(0.3),
        busy=maybe(0.4),
        error=maybe(0.2),
        lengthy=maybe(0.3),
        hinted=maybe(0.3),
        corrupted=maybe(0.2),
        partitions=tuple((begin, begin + 10 * random.random()) for begin in begins),
    )
