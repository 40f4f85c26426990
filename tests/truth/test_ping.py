"""`ping` through a relay that does harm: every figure that it prints is the relay's own truth, or says it is unknown.

The relay stands on real sockets between `ping`, a process, and a server. Its truth is what has left it, in that order.
"""

import json
from collections import Counter
from typing import Any, Final

import pytest
import trio

from trio_udp._layout import counted

from .figures import Truth
from .runs import FAULTS, Fault, Run, ping, run_through, why_not

COUNT: Final = 40
SEED: Final = 5


async def measured(fault: Fault, *options: str, has_last_word: bool = True) -> tuple[Run, Truth]:
    """What `ping` said, and what happened."""
    run = await run_through(fault, ping(*options), count=COUNT, seed=SEED, has_last_word=has_last_word)
    assert (run.ended.code, run.ended.err, run.counted.kernel_drops) == (0, "", 0)
    happened = run.happened()
    assert happened.figures["sent"] == COUNT
    return run, happened


def events_of(run: Run) -> dict[str, list[dict[str, Any]]]:
    """What it said in JSON, by kind."""
    found: dict[str, list[dict[str, Any]]] = {}
    for line in run.ended.out.splitlines():
        event = json.loads(line)
        found.setdefault(event["kind"], []).append(event)
    return found


@pytest.mark.parametrize("name", FAULTS)
async def test_every_figure_is_the_truth(name: str) -> None:
    """The events and the summary for programs, and the lines of another run for people."""
    reason = why_not(FAULTS[name])
    if reason is not None:
        pytest.skip(reason)
    async with trio.open_nursery() as nursery:
        for check, option in ((check_events, "--json"), (check_lines, "-q")):
            nursery.start_soon(check, FAULTS[name], option)


async def check_events(fault: Fault, option: str) -> None:
    """The summary, and the events that it is the sum of."""
    run, happened = await measured(fault, option)
    events = events_of(run)
    (summary,) = events["summary"]
    assert {name: summary[name] for name in happened.figures} == happened.figures
    assert summary["is_complete"]
    assert summary["rejected"] == {str(reason): count for reason, count in happened.rejected.items()}
    assert summary["hints"] == run.hints
    assert summary["rtt"]["count"] == sum(summary["stamps"].values()) == summary["received"]
    _check_each(events, happened)


def _check_each(events: dict[str, list[dict[str, Any]]], happened: Truth) -> None:
    """Each of them is true by itself."""
    figures = happened.figures
    kinds = ("reply", "corrupted", "rejected")
    assert [len(events.get(kind, ())) for kind in kinds] == [
        figures["received"],
        figures["changed"],
        happened.rejected.total(),
    ]
    lost = {event["sequence"]: event["direction"] for event in events.get("lost", ())}
    assert lost.keys() == happened.lost.keys()
    named = {sequence: direction for sequence, direction in lost.items() if direction != "unknown"}
    assert named == {sequence: happened.lost[sequence] for sequence in named}
    repeated = Counter(event["direction"] for event in events.get("duplicate", ()))
    assert repeated["downstream"] == figures["duplicated_downstream"]
    assert repeated["upstream"] <= figures["duplicated_upstream"]  # the answer to the other one may be lost


async def check_lines(fault: Fault, option: str) -> None:
    """Each line of the summary but for the times."""
    run, happened = await measured(fault, option)
    said = run.ended.out.splitlines()[3:]
    packets, _, _ = said[0].rpartition(", time ")
    details = dict(
        line.split(": ") for line in said[1:] if not line.startswith(("rtt ", "percentiles ", "missed slots: "))
    )
    for title in ("rejected", "icmp hints, perhaps forged"):  # in the order in which they came
        if title in details:
            details[title] = ", ".join(sorted(details[title].split(", ")))
    assert (packets, details) == (packets_line(happened.figures), expected_details(happened, run.hints))


def packets_line(figures: dict[str, int]) -> str:
    """What iputils says too, and its words for more."""
    repeated = figures["duplicated_upstream"] + figures["duplicated_downstream"]
    loss = 100 * (figures["sent"] - figures["received"]) / figures["sent"]
    parts = [f"{figures['sent']} packets transmitted", f"{figures['received']} received"]
    parts += [f"+{repeated} duplicates"] * bool(repeated)
    parts += [f"+{figures['corrupted']} corrupted"] * bool(figures["corrupted"])
    return ", ".join([*parts, f"{loss:g}% packet loss"])


def expected_details(happened: Truth, hints: Counter[str]) -> dict[str, str]:
    """The lines behind it."""
    figures = happened.figures
    ways = ("upstream", "downstream")
    lines = {
        "lost": counted({way: figures[f"lost_{way}"] for way in ways}),
        "reordered": counted({way: figures[f"reordered_{way}"] for way in ways}),
        "changed": counted({"answers": figures["changed"]}),
        "rejected": ", ".join(sorted(f"{count} {reason}" for reason, count in happened.rejected.items())),
        "icmp hints, perhaps forged": ", ".join(sorted(f"{count} {name}" for name, count in hints.items())),
    }
    return {title: line for title, line in lines.items() if line}


@pytest.mark.parametrize("name", ["lost upstream", "lost downstream", "duplicated downstream", "forged replies"])
async def test_without_the_servers_last_word_what_cannot_be_told_is_unknown(name: str) -> None:
    """Nothing is named that is not so, and the sums are right."""
    run, happened = await measured(FAULTS[name], "--json", has_last_word=False)
    (summary,) = events_of(run)["summary"]
    assert not summary["is_complete"]
    lost = [f"lost_{way}" for way in ("upstream", "downstream", "unknown")]
    assert sum(summary[way] for way in lost) == sum(happened.figures[way] for way in lost) == len(happened.lost)
    assert summary["lost_upstream"] <= happened.figures["lost_upstream"]
    assert summary["lost_downstream"] <= happened.figures["lost_downstream"]
    for figure in ("received", "corrupted", "duplicated_downstream", "reordered", "reordered_downstream", "changed"):
        assert summary[figure] == happened.figures[figure]
