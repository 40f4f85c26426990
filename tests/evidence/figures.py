"""The figures, and how they are computed: in chunks, each from a seed of its own, by two processes that give way.

A chunk that is done is written down at once, so a run that was interrupted goes on where it was. What was written by
other code than today's is not believed: its name has a digest of the sources in it.
"""

import contextlib
import hashlib
import json
import multiprocessing
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple
from zlib import crc32

from tests.fuzz.run import fuzz
from tests.properties.test_untrusted import TRIALS

from . import certain, endless, floods, forgeries, residual
from .once import OnceSimulation, draw_faults
from .simulator import Broken, Simulation
from .swarm import draw_swarm

ROOT: Final = Path(__file__).parents[2]
KEPT: Final = ROOT / ".evidence"
"""Where chunks are written down."""
_SOURCES: Final = (
    "trio_udp/proto",
    "trio_udp/_chaos.py",
    "tests/properties/forge.py",
    *(f"tests/evidence/{name}.py" for name in ("figures", "forgeries", "once", "residual", "simulator", "swarm")),
)
_A_RUN: Final = 200
"""Requests of one simulated client."""
_UNDER_WAY: Final = 4
"""Chunks that are handed out at a time."""
_NICENESS: Final = 19

Chunk = Callable[[str, int, int], Counter[str]]
"""Seed, index and size of a chunk go in; what was counted comes out."""


class Figure(NamedTuple):
    """One of the large figures."""

    name: str
    promises: tuple[str, ...]
    usual: int
    """How many are tried when nobody says otherwise."""
    chunk_size: int
    chunk: Chunk
    result: Callable[[Counter[str]], dict[str, Any]]
    """What the evidence says about the counts."""
    sources: tuple[str, ...] = ()
    """What its chunks depend on besides what all do."""

    def command(self, seed: int, count: int) -> str:
        """What computes it again."""
        return f"python -m tests.evidence {self.name} --seed {seed} --count {count}"


def _forgeries(seed: str, index: int, size: int) -> Counter[str]:
    return forgeries.throw(Random(f"{seed} {index}"), size)


def _requests(seed: str, index: int, size: int) -> Counter[str]:
    counts: Counter[str] = Counter()
    for run in range(0, size, _A_RUN):
        name = f"{seed} {index} {run}"
        random = Random(name)
        simulation = Simulation(draw_swarm(random, min(_A_RUN, size - run)), random)
        try:
            counts.update(simulation.run())
        except Broken as exc:
            counts["violations"] += 1
            print(f"run {name!r}: {exc}", file=sys.stderr, flush=True)
        counts["runs"] += 1
    return counts


def _once(seed: str, index: int, size: int) -> Counter[str]:
    counts: Counter[str] = Counter()
    for run in range(0, size, _A_RUN):
        name = f"{seed} {index} {run}"
        random = Random(name)
        try:
            counts.update(OnceSimulation(min(_A_RUN, size - run), draw_faults(random), random).run())
        except Broken as exc:
            counts["violations"] += 1
            print(f"run {name!r}: {exc}", file=sys.stderr, flush=True)
    return counts


def _residual(seed: str, index: int, size: int) -> Counter[str]:
    return residual.ask(Random(f"{seed} {index}"), size, *residual.CELLS[index % len(residual.CELLS)])


def _inputs(seed: str, index: int, size: int) -> Counter[str]:
    name = list(TRIALS)[index % len(TRIALS)]
    return Counter({"inputs": fuzz(name, size, crc32(f"{seed} {index}".encode()) or 1), name: size})


def _flipped(seed: str, index: int, size: int) -> Counter[str]:
    return certain.flip(Random(f"{seed} {index}"), size)


def _answers(seed: str, index: int, size: int) -> Counter[str]:
    return certain.amplify(Random(f"{seed} {index}"), size)


def _injected(seed: str, index: int, size: int) -> Counter[str]:
    return certain.inject(Random(f"{seed} {index}"), size)


def _forks(seed: str, index: int, size: int) -> Counter[str]:
    return certain.fork(size)


def _floods(seed: str, index: int, size: int) -> Counter[str]:
    return floods.flood_all(size, size * 60e-6)


def _endless(seed: str, index: int, size: int) -> Counter[str]:
    return endless.run(size)


def _named(*names: str) -> Callable[[Counter[str]], dict[str, Any]]:
    return lambda counts: {name: counts[name] for name in names}


_ENDS: Final = ("replies", "no_reply", "busy", "error", "no_room", "cancelled")
_CERTAIN: Final = ("tests/evidence/certain.py",)
_FUZZED: Final = ("tests/properties/test_untrusted.py", "tests/fuzz", "trio_udp/_net/_ancillary.py")
FIGURES: Final = {
    figure.name: figure
    for figure in (
        Figure(
            "forgeries",
            ("A1", "A2"),
            10_000_000,
            50_000,
            _forgeries,
            _named("thrown", "forged", "mutated", "requests", "believed", "early", "misjudged"),
        ),
        Figure(
            "requests",
            ("A1", "A2", "A3", "A8", "A9", "C2", "C3", "C4", "C6", "E4"),
            10_000_000,
            20_000,
            _requests,
            _named("requests", "runs", "transmissions", "corrupted", "hints", "violations", *_ENDS),
        ),
        Figure(
            "once",
            ("E1", "E2", "E3", "E4", "F6"),
            1_000_000,
            10_000,
            _once,
            _named(
                "requests", "runs", "again", "restarts", "rebound", "stolen", "violations", *_ENDS, "outcome_unknown"
            ),
        ),
        Figure("residual", ("C7",), 1_200_000, 20_000, _residual, residual.result),
        Figure("flipped", ("F1",), 2_000, 20, _flipped, _named("messages", "bits", "believed"), _CERTAIN),
        Figure(
            "answers",
            ("E4",),
            1_000_000,
            10_000,
            _answers,
            _named("datagrams", "answers", "as long", "longer"),
            _CERTAIN,
        ),
        Figure("injected", ("E5",), 1_000_000, 20_000, _injected, _named("injected", "answered", "restless"), _CERTAIN),
        Figure("forks", ("A4",), 1_000, 1_000, _forks, _named("drawn", "equal"), _CERTAIN),
        Figure("inputs", ("A1", "A2"), 100_000_000, 500_000, _inputs, dict, _FUZZED),
        Figure("floods", ("E2", "E7"), 1_000_000, 1_000_000, _floods, dict, ("trio_udp", "tests/evidence/flooded.py")),
        Figure("endless", (), 600, 600, _endless, dict, ("trio_udp",)),
    )
}


def compute(figure: Figure, seed: int, count: int, *, processes: int, kept: Path | None = KEPT) -> dict[str, Any]:
    """One entry of the evidence. Equal arguments give equal entries, however often it was interrupted."""
    sizes = {
        start // figure.chunk_size: min(figure.chunk_size, count - start)
        for start in range(0, count, figure.chunk_size)
    }
    counts: Counter[str] = Counter()
    with _notebook(figure, seed, kept) as (done, write):
        for index, size in list(sizes.items()):
            if (index, size) in done:
                counts.update(done[index, size])
                del sizes[index]
        for index, found in _compute_chunks(figure, f"{figure.name} {seed}", sizes, processes):
            write(index, sizes[index], found)
            counts.update(found)
    return {
        "command": figure.command(seed, count),
        "count": count,
        "promises": list(figure.promises),
        "result": figure.result(counts),
        "seed": seed,
    }


def _compute_chunks(
    figure: Figure, seed: str, sizes: dict[int, int], processes: int
) -> Iterator[tuple[int, Counter[str]]]:
    """Chunks as they are done; in this process where one is enough."""
    if processes == 1:
        for index, size in sizes.items():
            yield index, figure.chunk(seed, index, size)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, os.nice, (_NICENESS,)) as pool:
        waiting = iter(sizes.items())
        running: dict[Future[Counter[str]], int] = {}
        while True:
            while len(running) < _UNDER_WAY and (following := next(waiting, None)) is not None:
                index, size = following
                running[pool.submit(figure.chunk, seed, index, size)] = index
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                yield running.pop(future), future.result()


Done = dict[tuple[int, int], Counter[str]]


@contextlib.contextmanager
def _notebook(
    figure: Figure, seed: int, kept: Path | None
) -> Iterator[tuple[Done, Callable[[int, int, Counter[str]], None]]]:
    """The chunks that were written down, and a function that writes one more; nothing is kept in no directory."""
    if kept is None:
        yield {}, lambda index, size, counts: None
        return
    kept.mkdir(exist_ok=True)
    path = kept / f"{figure.name}-{seed}-{_sources_digest(figure)}.jsonl"
    done: Done = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        with contextlib.suppress(ValueError):  # the last line of a run that was killed
            index, size, counts = json.loads(line)
            done[index, size] = Counter(counts)
    with path.open("a") as file:

        def write(index: int, size: int, counts: Counter[str]) -> None:
            print(json.dumps([index, size, counts], sort_keys=True), file=file, flush=True)

        yield done, write


def _sources_digest(figure: Figure) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for source in (*_SOURCES, *figure.sources):
        for path in sorted((ROOT / source).rglob("*.py")) or [ROOT / source]:
            digest.update(path.read_bytes())
    return digest.hexdigest()
