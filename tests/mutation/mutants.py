"""Mutants of the core, made and tried by mutmut: what survives, in words that outlive the next edit elsewhere."""

import re
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final, NamedTuple

MUTMUT: Final = str(Path(sys.executable).with_name("mutmut"))
PACKAGE: Final = "trio_udp.proto"
LISTED: Final = Path(__file__).with_name("survivors.toml")
NOTICED: Final = "killed"
"""What mutmut calls it. A mutant that took too long is not noticed: perhaps the machine was only busy."""


class Mutant(NamedTuple):
    """A change that no test notices. Not its number but its words identify it, for numbers move with every edit."""

    function: str
    changes: tuple[str, ...]
    """The lines of the difference, without indentation: `- before` and `+ after`."""


class Trial(NamedTuple):
    """What became of all mutants of those modules that were tried."""

    fates: Mapping[str, Counter[str]]
    """How many there were of each, in mutmut's words, by module."""
    survivors: list[Mutant]

    @property
    def total(self) -> int:
        """Mutants."""
        return sum(fates.total() for fates in self.fates.values())

    @property
    def score(self) -> float:
        """The part that was noticed, of all; whatever mutmut could not try was not noticed."""
        return sum(fates[NOTICED] for fates in self.fates.values()) / self.total


def listed_survivors() -> dict[Mutant, str]:
    """The mutants that are known to survive, and why each is no other program or no worse one."""
    entries = tomllib.loads(LISTED.read_text()).get("survivor", [])
    return {Mutant(entry["function"], tuple(entry["changes"])): entry["why"] for entry in entries}


def try_all(copy: Path, workers: int, modules: Collection[str]) -> Trial:
    """Make and try every mutant of these modules, in a directory that has a copy of the package and of its tests."""
    patterns = [f"{PACKAGE}.{module}.*" for module in modules]
    subprocess.run([MUTMUT, "run", "--max-children", str(workers), *patterns], cwd=copy, check=True)
    found = re.findall(
        rf"^ +({re.escape(PACKAGE)}\.(\w+)\.\S+): (.+)$", _said(copy, "results", "--all", "1"), re.MULTILINE
    )
    fates: dict[str, Counter[str]] = {}
    survivors = []
    for name, module, fate in found:
        if module in modules:
            fates.setdefault(module, Counter())[fate] += 1
            survivors += [] if fate == NOTICED else [_mutant(name, _said(copy, "show", name))]
    return Trial(fates, survivors)


def _said(copy: Path, *arguments: str) -> str:
    return subprocess.run([MUTMUT, *arguments], cwd=copy, check=True, capture_output=True, text=True).stdout


def _mutant(name: str, difference: str) -> Mutant:
    """`package.module.xǁClassǁmethod__mutmut_7` or `package.module.x_function__mutmut_7`, and what is shown for it."""
    mangled = re.sub(r"__mutmut_\d+$", "", name.rpartition(".")[2])
    function = mangled.removeprefix("xǁ").replace("ǁ", ".") if "ǁ" in mangled else mangled.removeprefix("x_")
    lines = re.findall(r"^([-+])(?!\1\1 )(.*)$", difference, re.MULTILINE)
    return Mutant(function, tuple(f"{sign} {line.strip()}" for sign, line in lines))
