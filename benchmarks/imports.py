"""`import`: what `import trio_udp` costs beyond `import trio`, by the processor time of whole processes."""

import functools
import os
import resource
import sys
import tempfile
from collections.abc import Mapping
from statistics import median
from typing import Final

import measure

TRIO: Final = "`import trio`"
OURS: Final = "`import trio_udp`"
CODE: Final = {TRIO: "import trio", OURS: "import trio_udp", "`pass`": "pass"}
MORE_ROUNDS: Final = 3
"""A process is short, so there are this many times as many rounds."""


def run(options: measure.Options) -> list[measure.Comparison]:
    """Compare the processes."""
    comparison = measure.Comparison("Import", "processor ms", TRIO)
    with tempfile.TemporaryDirectory() as cache:
        # Compiled once and kept, as in every installation; the environment may say that nothing is to be kept.
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": cache, "PYTHONDONTWRITEBYTECODE": ""}
        candidates = {name: functools.partial(_time_process, code, options, environment) for name, code in CODE.items()}
        candidates[OURS]()
        measure.interleave(comparison, candidates, options.rounds * (1 if options.smoke else MORE_ROUNDS))
    more = [ours - trio for ours, trio in zip(comparison.values(OURS), comparison.values(TRIO), strict=True)]
    comparison.notes.append(f"trio_udp over trio: {median(more):+.1f} ms ({min(more):+.1f} to {max(more):+.1f}).")
    return [comparison]


def _time_process(code: str, options: measure.Options, environment: Mapping[str, str]) -> tuple[float, int]:
    """Milliseconds of processor time, which neighbours lengthen less than they delay the end; and nothing lost."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    measure.run([sys.executable, "-c", code], options, core=measure.CORES.client, environment=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1000, 0
