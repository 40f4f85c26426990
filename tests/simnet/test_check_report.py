"""What the conformance suites hand back: a report that can be read, and an error for what was not known."""

import re
from pathlib import Path

import pytest
import trio

from trio_udp.testing import CaseResult, NotConformant, Report, check_client
from trio_udp.testing._client_cases import CLIENT_CASES
from trio_udp.testing._report import check_names, judge
from trio_udp.testing._server_cases import SERVER_CASES

GOOD = CaseResult("silence", "It ends by itself.", True, "", "")
BAD = CaseResult("storm", "It must not send more.", False, "77 transmissions", "0.0  #1  a > b\n0.1  #2  b > a")
REPORT = Report("client x", [GOOD, BAD])


def test_a_report_prints_as_a_table_with_the_packets_of_what_failed() -> None:
    """What passed has one line, and so has what failed; what failed is explained below."""
    assert str(REPORT).splitlines() == [
        "client x: 1 of 2 cases passed",
        "silence  passed",
        "storm    FAILED  77 transmissions",
        "",
        "storm: It must not send more.",
        "  77 transmissions",
        "  0.0  #1  a > b",
        "  0.1  #2  b > a",
    ]


def test_a_report_is_a_collection_of_results_by_name() -> None:
    """In the order in which they were found."""
    assert list(REPORT) == [GOOD, BAD]
    assert len(REPORT) == 2
    assert (REPORT["storm"], REPORT.passed, REPORT.failed) == (BAD, ("silence",), ("storm",))
    with pytest.raises(KeyError):
        REPORT["absent"]


def test_exactly_the_known_failures_may_fail() -> None:
    """The report comes back then."""
    assert judge(REPORT, {"storm"}) is REPORT


def test_an_unknown_failure_is_an_error() -> None:
    """An AssertionError: a test fails, and shows the report."""
    with pytest.raises(AssertionError, match=r"^failed: storm\nclient x: 1 of 2") as caught:
        judge(REPORT, ())
    error = caught.value
    assert isinstance(error, NotConformant)
    assert (error.report, error.unexpected, error.mended) == (REPORT, ("storm",), ())


def test_a_failing_test_shows_itself_and_not_the_suite() -> None:
    """The last line that pytest shows of the way there is the test's own call."""
    with pytest.raises(NotConformant) as caught:
        check_client(_believe_anything, answer=lambda request: request + b"!", forge=lambda request: request + b"?")
    shown = [entry.name for entry in caught.traceback if not entry.ishidden(caught)]
    assert shown == ["test_a_failing_test_shows_itself_and_not_the_suite"]


async def _believe_anything(host: str, port: int) -> bytes:
    with trio.fail_after(5), trio.socket.socket(type=trio.socket.SOCK_DGRAM) as sock:
        await sock.sendto(b"who?", (host, port))
        return await sock.recv(100)


def test_a_known_failure_that_passes_is_an_error() -> None:
    """The list of known failures stays true."""
    with pytest.raises(NotConformant, match=r"^known to fail, but passed: silence\n") as caught:
        judge(REPORT, {"storm", "silence"})
    assert (caught.value.unexpected, caught.value.mended) == ((), ("silence",))


def test_both_kinds_of_surprise_are_told() -> None:
    """In one error."""
    with pytest.raises(NotConformant, match=r"^failed: storm; known to fail, but passed: silence\n"):
        judge(REPORT, {"silence"})


def test_a_name_that_is_no_case_is_refused() -> None:
    """With the names that are."""
    check_names({"storm"}, ["silence", "storm"])
    with pytest.raises(ValueError, match=r"^expected one of silence, storm, got 'strom'$"):
        check_names(["strom"], ["silence", "storm"])
    with pytest.raises(ValueError, match=r"^expected names of cases, got one string, 'storm'$"):
        check_names("storm", ["silence", "storm"])


def test_the_how_to_lists_every_case_with_its_reason() -> None:
    """In the order of the suites, and no other."""
    page = (Path(__file__).parent.parent.parent / "docs/howto/check_your_own.md").read_text()
    listed = re.findall(r"^\| `(\w+)` \| (.*) \|$", page, re.MULTILINE)
    client, server = ([(case.name, case.reason) for case in cases] for cases in (CLIENT_CASES, SERVER_CASES))
    assert listed == client + server
