"""`report` and `compare`: what was recorded, said again; and files that are none."""

import io
import json
from pathlib import Path

import pytest

from trio_udp import Address
from trio_udp._cli import main
from trio_udp.measure import Distribution, Event, Start, Summary, summary_lines, to_json

from ..measure.records import reply_record, summary
from .command import run_here


def write(path: Path, *events: Event, host: str = "h") -> str:
    """A recorded run."""
    path.write_text("".join(to_json(event, host=host) + "\n" for event in events))
    return str(path)


def run_of(*times: int, sent: int | None = None) -> list[Event]:
    """A run with these round trips."""
    total = len(times) if sent is None else sent
    replies = [reply_record(sequence=number, rtt_ns=time) for number, time in enumerate(times, 1)]
    return [*replies, summary(sent=total, received=len(times), lost_unknown=total - len(times))]


def told() -> Summary:
    """Sums with something in them."""
    times = Distribution(count=1, min_ns=1_000_000, mean_ns=1_000_000, max_ns=1_000_000, deviation_ns=0)
    return summary(sent=3, received=1, lost_upstream=2, rtt=times, elapsed_ns=5_000_000, missed_slots=4)


def test_report_prints_what_ping_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same words from the same sums."""
    assert main(["report", write(tmp_path / "run", reply_record(), told())]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == summary_lines("h", told())
    assert "rtt min/avg/max/mdev = 1.000/1.000/1.000/0.000 ms" in out
    assert err == ""


def test_report_of_a_real_run_is_that_of_its_text(tmp_path: Path) -> None:
    """Through files, as users do it."""
    _, out, _ = run_here("ping", "--json", "-c", "3", "-i", "0.01")
    (tmp_path / "run").write_text("\n".join(out) + "\n")
    code, said, _ = run_here("report", str(tmp_path / "run"))
    assert code == 0
    assert said[1] == "--- localhost ping statistics ---"
    assert said[2].startswith("3 packets transmitted, 3 received, 0% packet loss, time ")


def test_report_has_one_summary_for_each_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In one file, of any host."""
    start = Start(at_ns=0, peer=Address("::1", 1), profile="tu1", size=56, datagram_size=80, has_times=True)
    text = "".join(
        to_json(event, host=host) + "\n"
        for host, event in (("a", start), ("b", start), ("b", told()), ("a", told()), ("a", start), ("a", told()))
    )
    (tmp_path / "run").write_text(text)
    assert main(["report", str(tmp_path / "run")]) == 0
    titles = [line for line in capsys.readouterr().out.splitlines() if line.startswith("---")]
    assert titles == [f"--- {host} ping statistics ---" for host in "aba"]


def test_a_stream_that_was_cut_is_reported_with_a_note(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to where it was cut, from a file or from standard input."""
    path = Path(write(tmp_path / "run", *run_of(1_000_000, 3_000_000)))
    cut = path.read_text()[:-20]
    path.write_text(cut)
    monkeypatch.setattr("sys.stdin", io.StringIO(cut))
    for name in (str(path), "-"):
        assert main(["report", name]) == 0
        out, err = capsys.readouterr()
        assert "2 packets transmitted, 2 received, 0% packet loss" in out
        assert "rtt min/avg/max/mdev = 1.000/2.000/3.000/1.000 ms" in out
        assert err.splitlines() == [
            f"{name}: the last line is cut short, and left out",
            f"{name}: a run has no end; what follows is what its events add up to",
        ]


def test_what_stands_in_a_file_does_not_drive_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It may be from anywhere."""
    main(["report", write(tmp_path / "run", summary(hints={"\x1b[2J": 1}), host="\x1b]0;\udc80")])
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert r"\x1b[2J" in out


BAD = '{"version":1}\n'


@pytest.mark.parametrize("command", ["report", "compare"])
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("\n" + BAD, "{path}: line 2: expected a kind and a host, got None"),
        ("\udcff\udcfe\n", "{path}: line 1: expected an object of JSON, got '\ufffd\ufffd\\n'"),
        ("", "{path}: expected lines of `ping --json`, got none"),
        (None, "cannot read '{path}': No such file or directory"),
    ],
    ids=["bad line", "no text", "empty", "no file"],
)
def test_a_file_that_is_none_is_one_line_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, content: str | None, reason: str
) -> None:
    """With the number of its first bad line."""
    path = tmp_path / "run"
    if content is not None:
        path.write_bytes(content.encode(errors="surrogateescape"))
    good = write(tmp_path / "good", *run_of(1))
    assert main([command, str(path), *([good] if command == "compare" else [])]) == 2
    assert capsys.readouterr() == ("", f"trio_udp {command}: {reason.format(path=path)}\n")


def test_irtts_json_is_of_one_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two are one line and exit code 2, and so are more probes than can be written one by one."""
    path = write(tmp_path / "run", *run_of(5000, 7000))
    assert main(["report", "--irtt", path]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [trip["delay"]["rtt"] for trip in document["round_trips"]] == [5000, 7000]
    start = Start(at_ns=0, peer=Address("::1", 1), profile="tu1", size=56, datagram_size=80, has_times=True)
    assert main(["report", "--irtt", write(tmp_path / "two", start, start)]) == 2
    assert capsys.readouterr().err == f"trio_udp report: {tmp_path / 'two'}: expected one run, got 2\n"
    assert main(["report", "--irtt", write(tmp_path / "many", summary(sent=10**12))]) == 2
    assert "expected at most 10000000 probes" in capsys.readouterr().err


@pytest.mark.parametrize("option", [["--irtt"], ["--hdr"], ["--plot", "run.svg"]])
def test_what_is_about_each_probe_is_not_made_of_sums(
    option: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`ping --json -q` leaves them out, and `report --irtt` once said that all of them were lost."""
    pytest.importorskip({"--irtt": "json", "--hdr": "hdrh", "--plot": "matplotlib"}[option[0]])
    path = write(tmp_path / "run", summary(sent=2, received=2))
    assert main(["report", *option, path]) == 2
    said = f"trio_udp report: {path}: expected a line for each probe, got only sums, as `ping -q` writes them\n"
    assert capsys.readouterr() == ("", said)


def test_compare_says_a_word_only_where_the_interval_excludes_zero(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of each figure by itself."""
    slow = write(tmp_path / "a", *run_of(*range(5_000_000, 5_600_000, 1000), sent=700))
    fast = write(tmp_path / "b", *run_of(*range(1_000_000, 1_600_000, 1000)))
    assert main(["compare", slow, fast]) == 0
    assert main(["compare", fast, slow]) == 0
    assert main(["compare", fast, fast]) == 0
    words = [line.rpartition(": ")[2] for line in capsys.readouterr().out.splitlines() if " A " in line]
    assert (
        words
        == ["B is faster", "B is faster", "B is lower", "B is slower", "B is slower", "B is higher"]
        + ["could be chance"] * 3
    )


def test_compare_says_where_there_is_too_little_to_say(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A question mark for a limit that there is none of."""
    few = write(tmp_path / "few", *run_of(*range(1_000_000, 1_010_000, 1000)))
    none = write(tmp_path / "none", *run_of(sent=10))
    assert main(["compare", few, few, "--confidence", "90"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "A: 10 sent, 10 received; B: 10 sent, 10 received",
        "90% confidence intervals in brackets",
        "p50: A 1.004 [1.001 to 1.008] ms, B 1.004 [1.001 to 1.008] ms, "
        "difference +0.000 [-0.007 to +0.007] ms: could be chance",
        "p99: A 1.009 [1.008 to ?] ms, B 1.009 [1.008 to ?] ms, difference +0.000 [? to ?] ms: too few replies to say",
        "loss: A 0.000 [0.000 to 21.294] %, B 0.000 [0.000 to 21.294] %, "
        "difference +0.000 [-21.294 to +21.294] %: could be chance",
    ]
    assert main(["compare", few, none]) == 0
    out = capsys.readouterr().out
    assert "p50: nothing to compare\np99: nothing to compare\n" in out
    assert "B is higher" in out
    sums = write(tmp_path / "sums", summary(sent=10, received=10))
    assert main(["compare", few, sums, "--confidence", "90%"]) == 0
    out, err = capsys.readouterr()
    assert (out.splitlines()[1:3], err) == (
        ["90% confidence intervals in brackets", "p50: nothing to compare"],
        f"{sums}: only sums, as `ping -q` writes them: times cannot be compared\n",
    )
    two = Path(few).read_text() + Path(none).read_text().replace('"h"', '"other"')
    (tmp_path / "two").write_text(two)
    assert main(["compare", few, str(tmp_path / "two")]) == 2
    assert capsys.readouterr().err == f"trio_udp compare: {tmp_path / 'two'}: expected one run, got 2\n"
