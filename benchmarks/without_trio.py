"""Runs hot_paths.py with `trio_udp.proto` imported without its parent, which imports Trio.

For callgrind, under which everything takes fifty times as long: an import too.
"""

import importlib
import importlib.util
import sys
import types


def main() -> None:
    """Put an empty package in the place of the parent, and go on."""
    spec = importlib.util.find_spec("trio_udp")
    if spec is None or spec.submodule_search_locations is None:
        raise ImportError("trio_udp is not installed")
    parent = types.ModuleType("trio_udp")
    parent.__path__ = list(spec.submodule_search_locations)
    sys.modules["trio_udp"] = parent
    importlib.import_module("hot_paths").main()


if __name__ == "__main__":
    main()
