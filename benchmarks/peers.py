"""Peers that may or may not be installed. Whatever is not there is skipped, and the table says why."""

import asyncio
import importlib
import importlib.util
import shutil
from collections.abc import Coroutine


def why_no_package(name: str) -> str | None:
    """Why a peer that needs this package cannot take part, if it cannot."""
    return None if importlib.util.find_spec(name) else f"{name} is not installed"


def why_no_program(name: str) -> str | None:
    """The same for a program."""
    return None if shutil.which(name) else f"{name} is not installed"


def run_on_uvloop(main: Coroutine[object, object, None]) -> None:
    """As `asyncio.run`, on uvloop's loop."""
    with asyncio.Runner(loop_factory=importlib.import_module("uvloop").new_event_loop) as runner:
        runner.run(main)
