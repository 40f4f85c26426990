"""What a figure depends on: the machine, the versions, who else was running."""

import contextlib
import os
import platform
import shlex
import sys
from importlib import metadata
from pathlib import Path
from typing import Final

import children

_PACKAGES: Final = ("trio", "trio-udp", "uvloop", "anyio", "asyncudp", "dnspython")


def describe() -> dict[str, str]:
    """It all, to be printed above the tables."""
    load = " ".join(f"{average:.2f}" for average in os.getloadavg())
    return {
        "machine": f"{_processor_name()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}",
        "software": f"{platform.python_implementation()} {platform.python_version()}, {_versions()}",
        "load": f"load average before the first round: {load}",
        "pinned": str(children.CORES),
        "command": shlex.join(["python", *sys.argv]),
    }


def _processor_name() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _versions() -> str:
    found = []
    for name in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found.append(f"{name} {metadata.version(name)}")
    return ", ".join(found)
