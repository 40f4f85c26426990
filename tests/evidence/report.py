"""The evidence as README shows it: a table made from docs/evidence.json, and from nothing else."""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from .figures import ROOT

EVIDENCE: Final = ROOT / "docs/evidence.json"
README: Final = ROOT / "README.md"
_TABLE: Final = re.compile(r"(?<=^\| what was tried \|).*?(?=\n\n)", re.MULTILINE | re.DOTALL)
_HEAD: Final = "| what was tried |"

Entry = Mapping[str, Any]


def _forgeries(result: Entry) -> tuple[str, str]:
    tried = f"{result['thrown']:,} forged or mutated replies, thrown at {result['requests']:,} open requests"
    came_out = f"{result['believed']:,} believed, {result['early']:,} requests ended or moved"
    return tried, f"{came_out}, {result['misjudged']:,} dropped for another reason than the right one"


def _requests(result: Entry) -> tuple[str, str]:
    tried = f"{result['requests']:,} simulated requests in {result['runs']:,} networks, each with faults of its own"
    came_out = f"{result['violations']:,} runs in which anything did not hold; {result['replies']:,} replies"
    return tried, f"{came_out}, {result['transmissions']:,} transmissions"


def _once(result: Entry) -> tuple[str, str]:
    tried = f"{result['requests']:,} simulated at-most-once requests, {result['restarts']:,} restarts of the server"
    tried += f", {result['rebound']:,} changes of address, {result['stolen']:,} replays"
    came_out = f"{result['violations']:,} runs in which a handler ran twice or anything else did not hold"
    return tried, f"{came_out}; {result['again']:,} arrivals of what was running or had run"


def _residual(result: Entry) -> tuple[str, str]:
    asked = sum(cell[2] for cell in result["cells"])
    tried = f"{asked:,} requests, failures against (1 - (1 - p)²)ⁿ for {len(result['cells'])} pairs of p and n"
    return (
        tried,
        f"χ² = {result['chi_square']}, {result['degrees_of_freedom']} degrees of freedom, P = {result['p_value']}",
    )


def _inputs(result: Entry) -> tuple[str, str]:
    functions = len(result) - 1
    tried = f"{result['inputs']:,} inputs by a fuzzer, at the {functions} functions that first touch network bytes"
    return tried, "0 raised, or returned what they do not declare"


def _flipped(result: Entry) -> tuple[str, str]:
    tried = f"{result['bits']:,} flipped bits, all of {result['messages']:,} sealed messages of every kind, both ways"
    return tried, f"{result['believed']:,} believed"


def _answers(result: Entry) -> tuple[str, str]:
    tried = f"{result['answers']:,} answers of every kind to {result['datagrams']:,} datagrams of strangers"
    return tried, f"{result['longer']:,} longer than what they answer, {result['as long']:,} as long"


def _injected(result: Entry) -> tuple[str, str]:
    tried = f"{result['injected']:,} datagrams, each at one of two servers that echo"
    came_out = f"{result['answered']:,} answered by one datagram, {result['restless']:,} by more or by the other server"
    return tried, came_out


def _forks(result: Entry) -> tuple[str, str]:
    return (
        f"{result['drawn']:,} ids, half of them drawn in a fork each, half by the parent",
        f"{result['equal']:,} equal",
    )


def _floods(result: Entry) -> tuple[str, str]:
    kinds = ("junk", "sources", "opens", "duplicates")
    sent = " + ".join(f"{result[f'{kind} sent']:,}" for kind in kinds)
    growth = max(result[f"{kind} growth"] for kind in kinds)
    answered = min(result[f"{kind} replies"] / result[f"{kind} requests"] for kind in kinds)
    tried = f"{sent} datagrams at one server: 60 s of junk, spoofed sources, new clients, duplicates"
    return tried, f"memory grew by {growth / 1024:.0f} KiB at most; {answered:.1%} of honest requests answered at least"


def _endless(result: Entry) -> tuple[str, str]:
    growth = max(result[f"{name} growth"] for name in ("server", "lines", "json"))
    tried = f"{result['sent']:,} probes of `ping -i 0.001`, in the {result['seconds']} s after the first minute"
    came_out = f"{result['received']:,} answered; memory of ping and of `serve` grew by {growth / 1024:.0f} KiB at most"
    return tried, came_out


_SAY: Final[dict[str, Callable[[Entry], tuple[str, str]]]] = {
    "forgeries": _forgeries,
    "requests": _requests,
    "once": _once,
    "residual": _residual,
    "flipped": _flipped,
    "answers": _answers,
    "injected": _injected,
    "forks": _forks,
    "inputs": _inputs,
    "floods": _floods,
    "endless": _endless,
}


def write_evidence(entries: Mapping[str, Entry], *, evidence: Path = EVIDENCE, page: Path = README) -> None:
    """Write the JSON, and the page's table from it."""
    written, tables = _TABLE.subn(lambda _: table(entries).removeprefix(_HEAD), page.read_text())
    if tables != 1:
        raise ValueError(f"expected one table that begins with {_HEAD!r} in {page.name}, got {tables}")
    evidence.write_text(json.dumps(entries, indent=2, sort_keys=True, ensure_ascii=False) + "\n")
    page.write_text(written)


def table(entries: Mapping[str, Entry]) -> str:
    """The table, a row for each figure."""
    rows = [f"{_HEAD} held | what came out |", "|---|---|---|"]
    for name, say in _SAY.items():
        entry = entries[name]
        tried, came_out = say(entry["result"])
        rows.append(f"| {tried} | {' '.join(entry['promises'])} | {came_out} |")
    return "\n".join(rows)


def table_in(text: str) -> str:
    """The table that a page has."""
    found = _TABLE.search(text)
    return "" if found is None else _HEAD + found[0]


def read_evidence(path: Path = EVIDENCE) -> dict[str, Entry]:
    """What docs/evidence.json says."""
    entries: dict[str, Entry] = json.loads(path.read_text())
    return entries
