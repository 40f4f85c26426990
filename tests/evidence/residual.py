"""C7: the share of requests that stay without a reply is (1 - (1 - p)²)ⁿ, for losses p each way and n attempts."""

import itertools
import math
from collections import Counter
from random import Random
from typing import Any, Final, NamedTuple

from trio_udp._chaos import Conditions
from trio_udp.proto import RetryPolicy

from .simulator import Simulation
from .swarm import Swarm

LOSSES: Final = (0.1, 0.2, 0.4)
ATTEMPTS: Final = (1, 2, 3, 5)
CELLS: Final = tuple(itertools.product(LOSSES, ATTEMPTS))
_AT_ONCE: Final = 1000
"""Requests of one client."""


class Cell(NamedTuple):
    """What was counted for one loss and one number of attempts."""

    loss: float
    attempts: int
    requests: int
    failed: int

    @property
    def expected(self) -> float:
        """How many should have failed."""
        return self.requests * (1 - (1 - self.loss) ** 2) ** self.attempts

    @property
    def chi_square(self) -> float:
        """Of failed and answered together: one degree of freedom."""
        return (self.failed - self.expected) ** 2 / (self.expected * (1 - self.expected / self.requests))


def ask(random: Random, count: int, loss: float, attempts: int) -> Counter[str]:
    """Ask so many times, and count the requests and the failures of that cell."""
    counts: Counter[str] = Counter()
    conditions = Conditions(loss=loss, latency=0.02)
    while counts["requests"] < count:
        requests = min(_AT_ONCE, count - counts["requests"])
        swarm = Swarm(requests, conditions=conditions, policy=RetryPolicy(attempts=attempts))
        counts.update(Simulation(swarm, random).run())
    return Counter({f"{loss} {attempts} requests": counts["requests"], f"{loss} {attempts} failed": counts["no_reply"]})


def cells(counts: Counter[str]) -> list[Cell]:
    """What was counted, a cell for each loss and number of attempts that was tried."""
    found = [Cell(p, n, counts[f"{p} {n} requests"], counts[f"{p} {n} failed"]) for p, n in CELLS]
    return [cell for cell in found if cell.requests]


def result(counts: Counter[str]) -> dict[str, Any]:
    """The test of the formula, as the evidence states it."""
    tried = cells(counts)
    statistic = sum(cell.chi_square for cell in tried)
    return {
        "cells": [[*cell, round(cell.expected, 1)] for cell in tried],
        "chi_square": round(statistic, 2),
        "degrees_of_freedom": len(tried),
        "p_value": round(p_value(statistic, len(tried)), 3),
    }


def p_value(statistic: float, degrees: int) -> float:
    """The chance of a chi-square at least that large, by the recurrence of the incomplete gamma function."""
    x = statistic / 2
    a, q = (1.0, math.exp(-x)) if degrees % 2 == 0 else (0.5, math.erfc(math.sqrt(x)))
    while a < degrees / 2:
        q += x**a * math.exp(-x) / math.gamma(a + 1)
        a += 1
    return q
