"""`offload`: what segmentation offload brings where many requests go from one client to one `serve`.

Requests of equal length to one server cross the kernel in one piece (UDP_SEGMENT), and so do their answers (UDP_GRO).
The same again with neither, and with the C echo, which has neither, in the place of `serve`. The clients are those of
`clients`, with as many requests in flight as there are tasks.

Run as a script with `serve`, or with what clients.py takes, this is that server, or that client. With `without` before
that it is without offload.
"""

import functools
import sys
from typing import Final
from unittest import mock

import children
import clients
import measure
import servers
import trio

TITLE: Final = "Offload, 1000 in flight"
IN_FLIGHT: Final = 1000
TASKS: Final = "1000 tasks, `serve`"
TASKS_WITHOUT: Final = "1000 tasks, `serve`, no offload"
TASKS_C: Final = "1000 tasks, C `recvmmsg` echo"
MANY: Final = "`request_many`, `serve`"
MANY_WITHOUT: Final = "`request_many`, `serve`, no offload"
PIPELINED: Final = "plain Python, pipelined, `serve`"


def run(options: measure.Options) -> list[measure.Comparison]:
    """Compare with and without."""
    comparison = measure.Comparison(TITLE, "requests/s", TASKS_WITHOUT)
    candidates: dict[str, measure.Measurement] = {
        TASKS: _measurement(clients.OURS, (), options),
        TASKS_WITHOUT: _measurement(clients.OURS, ("without",), options),
        MANY: _measurement(clients.OURS_MANY, (), options),
        MANY_WITHOUT: _measurement(clients.OURS_MANY, ("without",), options),
        PIPELINED: _measurement(clients.PIPELINED, (), options),
    }
    no_compiler = children.why_no_compiler()
    if no_compiler:
        comparison.skipped[TASKS_C] = no_compiler
        return [measure.interleave(comparison, candidates, options.rounds)]
    with children.load_program() as program:
        candidates[TASKS_C] = functools.partial(_ask, clients.OURS, (program, "echo-many"), (), options)
        return [measure.interleave(comparison, candidates, options.rounds)]


def _measurement(client: str, mode: tuple[str, ...], options: measure.Options) -> measure.Measurement:
    return functools.partial(_ask, client, (sys.executable, __file__, *mode, "serve"), mode, options)


def _ask(client: str, server: children.Command, mode: tuple[str, ...], options: measure.Options) -> tuple[float, int]:
    return clients.ask(client, IN_FLIGHT, server, options, script=(__file__, *mode))


def _main(arguments: list[str]) -> None:
    if arguments[0] == "serve":
        trio.run(servers.serve, servers.echo)
    elif arguments[0] == clients.OURS:
        trio.run(clients.shared_client, *clients.read_arguments(arguments), IN_FLIGHT)
    else:
        clients.CLIENTS[arguments[0]](*clients.read_arguments(arguments))


if __name__ == "__main__" and sys.argv[1] == "without":
    with mock.patch("trio_udp._net._kernel.has_option", return_value=False):
        _main(sys.argv[2:])
elif __name__ == "__main__":
    _main(sys.argv[1:])
