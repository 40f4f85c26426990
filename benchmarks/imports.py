"""`import`: what trio_udp and `ping -c 1` cost beyond `import trio`, by the processor time of whole processes.

The sides are imported when they are asked for, so who only says `import trio_udp` pays for neither. The goal is about
programs that are one of them.
`ping` asks a server of its own process, so its figure holds that too. Processor time leaves out the waiting for the
answer, and neighbours lengthen it less than they delay the end.
"""

import functools
import os
import resource
import sys
import tempfile
from collections.abc import Mapping
from typing import Final

import children
import measure

TITLE: Final = "Import"
TRIO: Final = "`import trio`"
OURS: Final = "`import trio_udp`"
ASKING: Final = "`from trio_udp import open_client`"
ANSWERING: Final = "`from trio_udp import serve`"
PING: Final = "`ping -c 1`"
BEYOND: Final = {name: f"{name} less {TRIO}" for name in (OURS, ASKING, ANSWERING)}
ARGUMENTS: Final[dict[str, tuple[str, ...]]] = {
    TRIO: ("-c", "import trio"),
    OURS: ("-c", "import trio_udp"),
    ASKING: ("-c", "from trio_udp import open_client"),
    ANSWERING: ("-c", "from trio_udp import serve"),
    PING: ("-m", "trio_udp", "ping", "-c", "1", "-q"),
    "`pass`": ("-c", "pass"),
}
MORE_ROUNDS: Final = 3
"""A process is short, so there are this many times as many rounds."""


def run(options: measure.Options) -> list[measure.Comparison]:
    """Compare the processes."""
    comparison = measure.Comparison(TITLE, "processor ms", TRIO)
    with tempfile.TemporaryDirectory() as cache:
        # Compiled once and kept, as in every installation; the environment may say that nothing is to be kept.
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": cache, "PYTHONDONTWRITEBYTECODE": ""}
        candidates = {name: functools.partial(_time_process, name, environment) for name in ARGUMENTS}
        for candidate in candidates.values():
            candidate()
        measure.interleave(comparison, candidates, options.rounds * (1 if options.smoke else MORE_ROUNDS))
    for name, beyond in BEYOND.items():
        pairs = zip(comparison.samples[name], comparison.samples[TRIO], strict=True)
        comparison.samples[beyond] = [ours._replace(value=ours.value - trio.value) for ours, trio in pairs]
    return [comparison]


def _time_process(name: str, environment: Mapping[str, str]) -> tuple[float, int]:
    """Milliseconds of processor time; and nothing lost."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    children.run([sys.executable, *ARGUMENTS[name]], seconds=1, environment=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1000, 0
