"""What our ping and irtt print about the same faults, as a table: `python -m tests.truth` writes it into the page.

Both measure through one relay with one seed, so that the same happens to the same probes. Where it did not, because a
program had no time for a probe, or one overtook another, both measure again, and at last each has its own truth. A
program that ends early has its row; that is what it prints.
"""

import json
import platform
import re
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Final, NamedTuple

import trio

import trio_udp

from ..netns.attacks import version_of
from .runs import FAULTS, ROOT, Fault, Run, irtt, ping, run_through, why_not

PAGE: Final = ROOT / "docs" / "explanation" / "faults.md"
COUNT: Final = 100
SEED: Final = 5
TRIES: Final = 3
EACH_PROBE: Final = "which ones were lost"
"""The row about the files that both write, a record for each probe."""
HEAD: Final = "| fault | what the relay did |"
MEASURED: Final = re.compile(r"^Measured on .*\n", re.MULTILINE)


class Row(NamedTuple):
    """What stands in the table about one fault."""

    options: str
    happened: str
    ours: str
    irtts: str


# What the relay did


def what_happened(run: Run) -> str:
    """Its own counts of what it did to the probes and their answers."""
    up, down = run.counted.up, run.counted.down
    counts = {
        "dropped": (up.dropped, down.dropped),
        "sent twice": (up.duplicated, down.duplicated),
        "reordered": (up.reordered, down.reordered),
        "corrupted": (up.corrupted, down.corrupted),
    }
    done = [f"{what}: {_up_and_down(*found)}" for what, found in counts.items() if any(found)]
    forged = ", ".join(f"{count} {kind}" for kind, count in sorted(down.forgeries.items()))
    return "<br>".join([*done, *([f"forged: {forged}"] if forged else [])])


def _up_and_down(up: int, down: int) -> str:
    return ", ".join(f"{count} {way}" for way, count in (("up", up), ("down", down)) if count)


def which_were_lost(run: Run) -> str:
    """How many on which way, each known by its number."""
    return f"lost: {_counted(Counter(run.happened().lost.values()))}"


def _counted(found: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(found.items(), reverse=True))


# What the programs print


def our_lines(run: Run) -> str:
    """Of the summary, without what is about time."""
    packets, *rest = run.ended.out.splitlines()[3:]
    lines = [
        packets.rpartition(", time ")[0],
        *(line for line in rest if not line.startswith(("rtt ", "percentiles ", "missed slots: "))),
    ]
    return "<br>".join(map(_code, [*lines, _exit(run)]))


_IRTT_SAYS: Final = ("Terminated", "packets sent/received", "server packets received", "*** DUPLICATES", "late (")


def irtts_lines(run: Run) -> str:
    """The same of its summary. Each duplicate has a line besides."""
    said = (re.sub(r"\d+\.\d+\.\d+\.\d+:\d+", "…", line.strip()) for line in run.ended.out.splitlines())
    return "<br>".join(map(_code, [*(line for line in said if line.startswith(_IRTT_SAYS)), _exit(run)]))


def _exit(run: Run) -> str:
    return f"exit {run.ended.code}"


def _code(line: str) -> str:
    return f"`{line}`"


def our_records(run: Run) -> str:
    """Of `--json`: what the lines about lost probes say."""
    events = map(json.loads, run.ended.out.splitlines())
    return _judged(run, {event["sequence"]: event["direction"] for event in events if event["kind"] == "lost"})


_IRTTS_WORDS: Final = {"true_up": "upstream", "true_down": "downstream", "true": "unknown"}


def irtts_records(run: Run) -> str:
    """Of `-o`: what `lost` says of each probe."""
    trips = json.loads(run.ended.out)["round_trips"]
    return _judged(run, {trip["seqno"] + 1: _IRTTS_WORDS[trip["lost"]] for trip in trips if trip["lost"] != "false"})


def _judged(run: Run, said: dict[int, str]) -> str:
    """How many are said to be lost on which way, and how much of that is wrong."""
    happened = run.happened().lost
    wrong = sum(way not in ("unknown", happened.get(probe)) for probe, way in said.items())
    return f"{_counted(Counter(said.values()))}; {wrong or 'none'} of them wrong"


# Measuring


async def row(fault: Fault) -> Row:
    """What both print."""
    return await _row(fault, ("-q",), ("-q",), (what_happened, our_lines, irtts_lines))


async def row_of_records(fault: Fault) -> Row:
    """What both write about each probe."""
    return await _row(fault, ("--json",), ("-Q", "-o", "-"), (which_were_lost, our_records, irtts_records))


Reader = Callable[[Run], str]


async def _row(
    fault: Fault, our_options: tuple[str, ...], its_options: tuple[str, ...], readers: tuple[Reader, Reader, Reader]
) -> Row:
    happened, ours, irtts = readers
    for _ in range(TRIES):
        run = await run_through(fault, ping(*our_options), count=COUNT, seed=SEED)
        its = await run_through(fault, irtt(*its_options), count=COUNT, seed=SEED)
        is_same = ends_early(its) or happened(run) == happened(its)
        if is_same and (ends_early(its) or sent(run) == sent(its)):
            break
    what = happened(run) if is_same else f"{happened(run)}<br>in irtt's run {happened(its)}"
    return Row(fault.options, what, ours(run), irtts(its))


def sent(run: Run) -> int:
    """How many probes; on a busy host irtt leaves some out."""
    return run.happened().figures["sent"]


def ends_early(run: Run) -> bool:
    """Whether the program gave up."""
    return sent(run) < 0.9 * COUNT


# The page


def lines(rows: dict[str, Row]) -> Iterator[str]:
    """Of the table."""
    yield f"{HEAD} `trio_udp ping` | `irtt client` |"
    yield "|---|---|---|---|"
    for name, found in rows.items():
        yield f"| {name}: `{found.options}` | {found.happened} | {found.ours} | {found.irtts} |"


def rows_in(text: str) -> dict[str, Row]:
    """The table on a page, by its faults."""
    table = (line for line in text.splitlines() if line.startswith("| ") and not line.startswith(HEAD))
    cells = ([cell.strip() for cell in line.strip("|").split("|")] for line in table)
    heads = ((re.fullmatch(r"(.*): `(.*)`", head), rest) for head, *rest in cells)
    return {head[1]: Row(head[2], *rest) for head, rest in heads if head is not None}


def written(text: str, rows: dict[str, Row], measured: str) -> str:
    """The page with this table in place of the one it has."""
    before, head, rest = text.partition(HEAD)
    behind = [line for line in (head + rest).splitlines() if not line.startswith("|")]
    return MEASURED.sub(measured + "\n", before) + "\n".join([*lines(rows), *behind]) + "\n"


async def measure() -> dict[str, Row]:
    """All rows, one after the other."""
    rows = {}
    for name, fault in FAULTS.items():
        rows[name] = await row(fault)
        print(name, *rows[name], sep="\n    ", flush=True)
        if name == "reordered and lost":
            rows[EACH_PROBE] = await row_of_records(fault)
            print(EACH_PROBE, *rows[EACH_PROBE], sep="\n    ", flush=True)
    return rows


def main() -> None:
    """Measure, and write the page."""
    version = version_of("irtt")
    reason = why_not(FAULTS["all at once"]) or (None if version else "irtt is not installed")
    if reason is not None:
        raise SystemExit(reason)
    rows = trio.run(measure)
    today = f"{datetime.now(UTC):%-d %B %Y}"
    here = f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    measured = f"Measured on {today} with trio_udp {trio_udp.__version__} and irtt {version}, on {here}:"
    PAGE.write_text(written(PAGE.read_text(), rows, measured))
