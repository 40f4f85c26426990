"""Every example runs as it is, without arguments, ends by itself, and prints what it is there to show."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

EXAMPLES: Final = Path(__file__).parent.parent / "examples"
LONGEST_RUN: Final = 60.0
"""Seconds before an example that hangs is ended; each takes less than three on an idle machine."""
LONGEST_TEXT: Final = 60
"""Lines that can be read at one look."""

SHOWS: Final = {
    "time_server.py": r"""serving on port \d+
(What time is it\? It is \d{4}-\d\d-\d\dT[\d:.]+\+00:00\. \(asked 127\.0\.0\.1, \d+ transmissions?\)
){3}answered 3 of \d+ requests, \d+ asked again with room
""",
    "thousand_clients.py": r"""1000 clients, 1000 right answers, [02] descriptors
\d+ datagrams sent, \d+ received
""",
    "several_servers.py": r"""question 1: first, transmissions: \d+
question 2: first, transmissions: \d+
question 3: first, transmissions: \d+
the first server is gone
question 4: second, transmissions: \d+
question 5: second, transmissions: \d+
question 6: second, transmissions: \d+
ICMP errors, which ended nothing: \{.*\}
""",
    "dns_client.py": r"""11 of 27 cases failed, among them:
answer_from_another_host: returned '203\.0\.113\.66'
answer_to_another_request: returned '203\.0\.113\.66'
junk_text: returned '70\.65\.75\.69'
""",
    "dns_responder.py": r"""a\.example\. 60 IN A 192\.0\.2\.7
truncated
""",
    "under_attack.py": r"""500 requests, 500 right answers, 0 fakes believed
the client dropped: \d+ malformed, \d+ unknown_request, \d+ wrong_direction, \d+ wrong_version
the server dropped: \d+ malformed, \d+ wrong_direction, \d+ wrong_version
""",
}


@pytest.mark.parametrize("name", SHOWS)
def test_example_prints_what_it_is_there_to_show(name: str) -> None:
    """In a process of its own, with warnings as errors."""
    done = subprocess.run(  # noqa: S603 - this interpreter, on an example of ours
        [sys.executable, "-W", "error", str(EXAMPLES / name)],
        capture_output=True,
        text=True,
        timeout=LONGEST_RUN,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(SHOWS[name], done.stdout), done.stdout


def test_every_example_is_run_and_short() -> None:
    """At most 60 lines each, and none that nobody runs."""
    lines = {path.name: len(path.read_text().splitlines()) for path in EXAMPLES.glob("*.py")}
    assert set(lines) == set(SHOWS)
    assert max(lines.values()) <= LONGEST_TEXT, lines
