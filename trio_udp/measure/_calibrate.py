"""What of a measurement is the tool itself."""

import functools
from typing import Final

import trio

from .._handlers import Request
from .._server import serve
from ._prober import open_prober
from ._records import Summary
from ._schedules import Fixed

_PROBES: Final = 200
_INTERVAL: Final = 0.001


async def noise_floor(*, count: int = _PROBES, interval: float = _INTERVAL) -> Summary:
    """Probe a server in this process over loopback: no path is shorter, so what takes time is the tool and this host.

    Takes `count` probes, one every `interval` seconds. Of its `Summary`, `rtt` is the least that is ever reported here,
    `client_queue` and `wake_up` are what this program adds to `total`, and `missed_slots` says how punctual it can be.
    """
    async with trio.open_nursery() as nursery:
        server = await nursery.start(functools.partial(serve, _echo, 0, host="127.0.0.1"))
        async with open_prober(*server.address) as prober:
            found = await prober.run(Fixed(interval), count=count)
        nursery.cancel_scope.cancel()
    return found


def _echo(request: Request) -> bytes:
    return request.payload
