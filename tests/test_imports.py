"""What is imported, and what is not: nobody waits for what he has not asked for."""

import ast
import inspect
import os
import subprocess
import sys
from types import ModuleType
from typing import Final

import pytest

import trio_udp
from trio_udp import measure, proto, testing

COMMANDS_ONLY: Final = frozenset(
    [
        *("argparse", "csv", "json", "statistics"),
        *(f"trio_udp.{name}" for name in ("measure", "_cli", "testing", "_chaos", "_direction", "_faulty", "_relay")),
    ]
)
ASKING: Final = frozenset(
    [
        *(f"trio_udp.{name}" for name in ("_client", "_pump", "_reply", "_results")),
        *(f"trio_udp.proto.{name}" for name in ("_client", "_exchange", "_timers", "_window")),
    ]
)
ANSWERING: Final = frozenset(
    [
        *(f"trio_udp.{name}" for name in ("_server", "_reading", "_answering", "_waiting", "_handlers")),
        *(f"trio_udp.proto.{name}" for name in ("_server", "_limits", "_reply_cache", "_validation")),
    ]
)
NOT_FOR_PING: Final = frozenset(
    [
        *("csv", "json", "statistics", "fractions"),
        *(f"trio_udp.{name}" for name in ("testing", "_chaos", "_direction", "_faulty", "_relay", "_words")),
        *(f"trio_udp.measure.{name}" for name in ("_compare", "_csv", "_doctor", "_ndjson", "_objectives")),
        *(f"trio_udp._cli.{name}" for name in ("_following", "_live", "_plot", "_screen", "serve")),
    ]
)
"""What `ping -c 1` leaves out, which asks for none of it."""
PACKAGES: Final = (trio_udp, proto, measure, testing)
"""Those that import some of their names late."""


def loaded(script: str) -> set[str]:
    """The modules that a process of its own has when this has run, beside those that come with Trio."""
    lines = f"import sys, trio\nbefore = set(sys.modules)\n{script}\nprint(*set(sys.modules) - before)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", lines]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)  # noqa: S603 - ours
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    ("script", "needs", "leaves"),
    [
        ("import trio_udp", {"trio_udp._keys", "trio_udp.proto._tu1"}, COMMANDS_ONLY | ASKING | ANSWERING),
        ("from trio_udp import open_client", ASKING, COMMANDS_ONLY | ANSWERING),
        ("import trio_udp\ntrio_udp.serve", ANSWERING, COMMANDS_ONLY | ASKING),
        ("from trio_udp.proto import ClientProtocol", {"trio_udp.proto._client"}, COMMANDS_ONLY | ANSWERING),
    ],
)
def test_a_program_imports_the_side_that_it_is(script: str, needs: set[str], leaves: set[str]) -> None:
    """Who asks does not wait for what answers, nor the other way round, nor either for what only commands need."""
    found = loaded(script)
    assert needs <= found
    assert found & leaves == set()


def test_a_ping_imports_nothing_that_its_other_options_need() -> None:
    """Once around: a server of its own is asked, and the summary is printed."""
    found = loaded("from trio_udp._cli import main\nassert main(['ping', '-c', '1', '-q']) == 0")
    assert "trio_udp.measure._ledger" in found
    assert found & (NOT_FOR_PING | ASKING) == set()


def test_a_simulated_network_imports_no_protocol() -> None:
    """It is for any UDP code; only a world of our own has clients and servers in it."""
    assert loaded("from trio_udp.testing import simulate") & (ASKING | ANSWERING) == set()
    assert loaded("from trio_udp.testing import run_world") >= ASKING | ANSWERING


@pytest.mark.parametrize("package", PACKAGES)
def test_what_is_imported_late_is_there_all_the_same(package: ModuleType) -> None:
    """Every public name, one by one in a process that has none yet, for `import *`, and in `dir`."""
    name = package.__name__
    script = f"import {name}\nfor name in {name}.__all__: assert name in dir({name}); getattr({name}, name)"
    assert name in loaded(script)
    assert name in loaded(f"from {name} import *\nimport {name}\nassert set({name}.__all__) <= set(globals())")
    assert all(hasattr(package, public) for public in package.__all__)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_name_comes_from_where_type_checkers_think_it_does(package: ModuleType) -> None:
    """There is one list for them and one for the interpreter."""
    tree = ast.parse(inspect.getsource(package))
    blocks = [node.body for node in tree.body if isinstance(node, ast.If) and isinstance(node.test, ast.Name)]
    imports = [node for block in blocks for node in block if isinstance(node, ast.ImportFrom)]
    assert {node.module: tuple(alias.name for alias in node.names) for node in imports} == package._LATE
    assert all(node.level == 1 for node in imports)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_name_that_is_not_there_is_said_to_be_missing(package: ModuleType) -> None:
    """As by every other module."""
    with pytest.raises(AttributeError, match=f"'{package.__name__}' has no attribute 'open_cleint'"):
        _ = package.open_cleint
    with pytest.raises(ImportError, match="open_cleint"):
        exec(f"from {package.__name__} import open_cleint")  # noqa: S102 - a name in a statement
