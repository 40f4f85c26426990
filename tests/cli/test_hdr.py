"""`report --hdr`: what HdrHistogram's own programs read."""

import re
import sys
from pathlib import Path

import pytest
import trio

from trio_udp._cli import main
from trio_udp.measure import Event, Missed, to_json

from ..measure.records import reply_record, start, summary


def write(path: Path, *events: Event) -> str:
    """A recorded run."""
    path.write_text("".join(to_json(event, host="h") + "\n" for event in events))
    return str(path)


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[list[list[str]], str]:
    """The rows of figures, and what stands below them."""
    pytest.importorskip("hdrh.histogram", reason="the package hdrhistogram is not installed")
    assert main(["report", *words]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    head, _, rest = out.partition("\n\n")
    assert head.split() == ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"]
    rows, _, foot = rest.partition("#")
    return [line.split() for line in rows.splitlines()], foot


def test_percentiles_have_the_columns_that_plotters_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Ascending, in nanoseconds to three digits; the last row is all of them."""
    file = write(tmp_path / "run", *(reply_record(sequence=n, rtt_ns=n * 1_000_000) for n in range(1, 101)), summary())
    rows, foot = printed(capsys, file, "--hdr")
    values, shares, counts = ([float(row[column]) for row in rows] for column in range(3))
    assert (values, shares, counts) == (sorted(values), sorted(shares), sorted(counts))
    assert rows[-1][1:] == ["1.000000000000", "100"]
    middle = next(value for value, share in zip(values, shares, strict=True) if share >= 0.5)
    assert 50e6 <= middle <= 60e6  # the row behind the middle
    found = re.search(r"Mean +=\s+([\d.]+), StdDeviation +=\s+([\d.]+)\]", foot)
    assert found is not None
    assert float(found[1]) == pytest.approx(50.5e6, rel=0.001)
    assert float(found[2]) == pytest.approx(28.866e6, rel=0.001)


def test_corrected_ones_have_what_could_not_be_sent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And the raw ones have not. What no time can be is cut, and no error: a file may be from anywhere."""
    first = reply_record(sequence=1, rtt_ns=500, late_ns=0)
    events: list[Event] = [start(slot_ns=1000), Missed(slots=9, before=1), first]
    events += [Missed(slots=2**63 - 1, before=2), reply_record(sequence=2, rtt_ns=2**63 - 1)]
    file = write(tmp_path / "run", *events, reply_record(sequence=3, rtt_ns=-5), summary())
    assert printed(capsys, file, "--hdr")[0][-1][2] == "3"
    assert float(printed(capsys, write(tmp_path / "short", *events[:3]), "--hdr-corrected")[0][-1][0]) == 9503
    assert int(printed(capsys, file, "--hdr-corrected")[0][-1][2]) > 2**62


def test_only_one_run_has_a_histogram(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The format has no room for more."""
    pytest.importorskip("hdrh.histogram", reason="the package hdrhistogram is not installed")
    file = write(tmp_path / "run", start(), start())
    assert main(["report", file, "--hdr"]) == 2
    assert capsys.readouterr() == ("", f"trio_udp report: {file}: expected one run, got 2\n")


async def test_hdrhistogram_that_is_not_there_is_missed_politely() -> None:
    """One line that says how to get it, and exit code 2."""
    program = "import sys; sys.modules['hdrh'] = None; from trio_udp._cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", program, "report", "nowhere", "--hdr"]
    done = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)
    assert (done.returncode, done.stdout) == (2, b"")
    assert re.fullmatch(
        r"trio_udp report: expected the package 'hdrh[.\w]*' .*'trio-udp\[histogram\]'\n", done.stderr.decode()
    )
