"""Whether the properties notice a change to the accept rule."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

from .conditions import Condition

PROPERTIES: Final = (
    "test_forgery.py",
    "test_measuring_and_keys.py",
    "test_codec.py",
    "test_untrusted.py",
    "test_client_machine.py",
)
"""Those that feed the core whatever may arrive; what notices most comes first."""
_MEASURING_AND_KEYS: Final = (
    *("_seal.py", "_probes.py", "_times.py"),
    *("ClientProtocol._open_untrusted", "_unspoken", "TU1.decode_probe_answer_untrusted"),
)
NEAREST: Final = dict.fromkeys(_MEASURING_AND_KEYS, "test_measuring_and_keys.py") | {
    "_decode_timed_untrusted": "test_codec.py"
}
"""Which of them comes first instead for conditions of that module, or of that function."""

_NOTHING_FAILED: Final = 0
_A_TEST_FAILED: Final = 1


def first_to_notice(copy: Path, condition: Condition) -> str | None:
    """The first property that fails without this condition, tried in a copy of package and tests; None if none does."""
    module = copy / "trio_udp/proto" / condition.module
    intact = module.read_text()
    module.write_text(condition.source)
    try:
        return first_to_fail(copy, NEAREST.get(condition.function, NEAREST.get(condition.module)))
    finally:
        module.write_text(intact)


def first_to_fail(copy: Path, nearest: str | None = None) -> str | None:
    """The first property that fails in this copy; `RuntimeError` where the properties could not even be run."""
    paths = [f"tests/properties/{name}" for name in sorted(PROPERTIES, key=lambda name: name != nearest)]
    options = ("-x", "-q", "--tb=line", "-p", "no:cacheprovider", "--hypothesis-profile=mutation")
    # No byte code: two versions of a module may be of equal size and of the same second.
    command = [sys.executable, "-B", "-m", "pytest", *options, *paths]
    done = subprocess.run(command, cwd=copy, check=False, capture_output=True, text=True)
    failed = re.search(r"^FAILED \S+?::(.+?)(?: - .*)?$", done.stdout, re.MULTILINE)
    if done.returncode == _A_TEST_FAILED and failed:
        return failed[1]
    if done.returncode != _NOTHING_FAILED:
        raise RuntimeError(f"expected the properties to pass or to fail, got:\n{done.stdout}{done.stderr}")
    return None
