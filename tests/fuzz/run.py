"""One function under the fuzzer, in a process of its own: libFuzzer ends the process that it has run in."""

import importlib.util
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from .targets import corpus

ROOT: Final = Path(__file__).parents[2]
LONGEST: Final = 300
"""Bytes of an input. Longer ones say nothing new: no function looks at the bytes of a payload."""


class Crash(Exception):
    """A function raised, or returned what it does not declare. The message is what the fuzzer printed."""


def has_fuzzer() -> bool:
    """Whether atheris is installed."""
    return importlib.util.find_spec("atheris") is not None


def fuzz(name: str, count: int, seed: int) -> int:
    """Feed one function so many inputs; how many it took. Raises `Crash` at the first that makes it fail."""
    with tempfile.TemporaryDirectory() as directory:
        for number, data in enumerate(corpus()):
            Path(directory, str(number)).write_bytes(data)
        options = [
            f"-runs={count}",
            f"-seed={seed}",
            f"-max_len={LONGEST}",
            "-print_final_stats=1",
            "-rss_limit_mb=1024",
        ]
        command = [sys.executable, "-m", "tests.fuzz.one", name, *options, directory]
        ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    done = re.search(r"^stat::number_of_executed_units:\s*(\d+)$", ran.stderr, re.MULTILINE)
    if ran.returncode or done is None:
        raise Crash(f"exit code {ran.returncode}\n{ran.stdout}{ran.stderr}")
    return int(done[1])
