"""What is imported, and what is not: nobody waits for what he has not asked for."""

import os
import subprocess
import sys
from typing import Final

import pytest

from trio_udp import measure

NOT_FOR_ALL: Final = frozenset(
    [
        "argparse",
        "csv",
        "json",
        "statistics",
        *(f"trio_udp.{name}" for name in ("measure", "_cli", "testing", "_chaos", "_direction", "_faulty", "_relay")),
    ]
)
"""What `import trio_udp` leaves out."""
NOT_FOR_PING: Final = frozenset(
    [
        *("csv", "json", "statistics", "fractions"),
        *(f"trio_udp.{name}" for name in ("testing", "_chaos", "_direction", "_faulty", "_relay", "_words")),
        *(
            f"trio_udp.measure.{name}"
            for name in ("_compare", "_csv", "_doctor", "_ndjson", "_objectives", "_recordings")
        ),
        *(f"trio_udp._cli.{name}" for name in ("_following", "_live", "_plot", "_screen", "serve")),
    ]
)
"""What `ping -c 1` leaves out, which asks for none of it."""


def loaded(script: str) -> set[str]:
    """The modules that a process of its own has when this has run, beside those that come with Trio."""
    lines = f"import sys, trio\nbefore = set(sys.modules)\n{script}\nprint(*set(sys.modules) - before)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", lines]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)  # noqa: S603 - ours
    return set(done.stdout.splitlines()[-1].split())


def test_a_program_imports_nothing_that_only_commands_need() -> None:
    """What measures, tests and reads arguments stays where it is."""
    found = loaded("import trio_udp")
    assert "trio_udp._client" in found
    assert found & NOT_FOR_ALL == set()


def test_a_ping_imports_nothing_that_its_other_options_need() -> None:
    """Once around: a server of its own is asked, and the summary is printed."""
    found = loaded("from trio_udp._cli import main\nassert main(['ping', '-c', '1', '-q']) == 0")
    assert "trio_udp.measure._ledger" in found
    assert found & NOT_FOR_PING == set()


def test_what_is_imported_late_is_there_all_the_same() -> None:
    """Every public name of the measuring kit, for `from … import *` too, and in `dir` before it was asked for."""
    found = loaded(
        "from trio_udp.measure import *\nassert {compare.__name__, CsvWriter.__name__} == {'compare', 'CsvWriter'}"
    )
    assert "trio_udp.measure._compare" in found
    assert set(measure.__all__) <= set(dir(measure))
    assert all(hasattr(measure, name) for name in measure.__all__)


def test_a_name_that_is_not_there_is_said_to_be_missing() -> None:
    """Nothing is imported for a name that is misspelt, or no public one."""
    with pytest.raises(AttributeError, match="no attribute 'comparison_of'"):
        _ = measure.comparison_of  # type: ignore[attr-defined]  # that is the point
    with pytest.raises(ImportError, match="comparison_of"):
        exec("from trio_udp.measure import comparison_of")  # noqa: S102 - the same
