"""`doctor`: a line for each finding, or a JSON object, and never a bad exit code for a bad host."""

import json

from trio_udp.measure import State

from .command import run_command, run_here


async def test_each_finding_is_a_line() -> None:
    """Its state first."""
    code, out, err = await run_command("doctor")
    assert (code, err) == (0, [])
    assert len(out) == 10
    assert {line.split()[0] for line in out} <= set(State)
    assert all(": " in line and "; " in line and line.isascii() for line in out)


def test_programs_get_json() -> None:
    """The fields of `Finding`."""
    code, out, _ = run_here("doctor", "--json")
    assert code == 0
    findings = [json.loads(line) for line in out]
    assert {tuple(finding) for finding in findings} == {("name", "state", "what", "meaning", "advice")}


def test_a_bad_argument_is_exit_code_2() -> None:
    """As everywhere."""
    code, out, err = run_here("doctor", "127.0.0.1")
    assert (code, out, len(err)) == (2, [], 1)
