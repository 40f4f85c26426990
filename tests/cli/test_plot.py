"""`--plot`: the picture, as far as a test can see it, and what is refused."""

import re
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from trio_udp._cli import main
from trio_udp._cli._plot import draw, headline, lane_counts, spread, tick_text
from trio_udp.measure import Direction, Event, Lost, Missed, Refused, to_json
from trio_udp.measure._series import MOST_SPOTS, Series

from ..measure.recorded import any_event
from ..measure.records import summary
from ..measure.test_series import BEGAN, event_of, series_of, start
from .command import run_here

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def matplotlib() -> None:
    """Skip where it is not installed."""
    pytest.importorskip("matplotlib", reason="the package matplotlib is not installed")


def run(probes: int) -> list[Event]:
    """Every tenth is lost upstream, and every other tenth downstream."""
    kinds: dict[int, Direction | str] = {3: Direction.UPSTREAM, 8: Direction.DOWNSTREAM}
    return [start(), *(event_of(n * 10**7, kinds.get(n % 10, "reply"), 200_000 + 997 * n) for n in range(probes))]


def text_of(path: Path) -> list[str]:
    """All the words in an SVG picture."""
    return re.findall(r"<text[^>]*>([^<]+)</text>", path.read_text())


@pytest.mark.usefixtures("matplotlib")
def test_picture_says_what_its_axes_are(tmp_path: Path) -> None:
    """Units, that the scale is logarithmic, percentiles, and a lane for each direction."""
    found = summary(sent=100, received=80, lost_upstream=10, lost_downstream=10)
    draw(tmp_path / "run.svg", [series_of("192.0.2.1", [*run(100), found])])
    words = text_of(tmp_path / "run.svg")
    assert "192.0.2.1 · 100 sent, 80 received · 20 % without a reply in time" in words
    assert {"round-trip time (log scale)", "replies (log scale)", "one reply"} <= set(words)
    assert "seconds since 2025-11-26 00:00:00 UTC, when each probe was sent" in words
    assert {"lost upstream: 10", "lost downstream: 10", "lost, unknown: 0"} <= set(words)
    assert [word.split()[0] for word in words if word.startswith("p")] == ["p50", "p90", "p99", "p99.9"]
    assert not any(word.startswith(("changed", "refused")) for word in words)


@pytest.mark.usefixtures("matplotlib")
def test_long_run_is_drawn_in_bounded_size_and_says_what_was_put_together(tmp_path: Path) -> None:
    """Ten times as many probes, and no larger a file."""
    for name, probes in (("long", 5 * MOST_SPOTS), ("longer", 50 * MOST_SPOTS)):
        draw(tmp_path / f"{name}.svg", [series_of(name, run(probes))])
    words = text_of(tmp_path / "long.svg")
    assert "least to greatest" in words
    assert any(re.fullmatch(r"mean of [\d.]+ ms each", word) for word in words)
    assert sum(bool(re.fullmatch(r"up to [\d.]+ %", word)) for word in words) == 2
    sizes = [(tmp_path / f"{name}.svg").stat().st_size for name in ("long", "longer")]
    assert sizes[1] < 1.6 * sizes[0]


@pytest.mark.usefixtures("matplotlib")
def test_same_figures_make_the_same_file(tmp_path: Path) -> None:
    """A picture that is kept under version control changes only when the figures do."""
    for name in ("one.svg", "two.svg"):
        draw(tmp_path / name, [series_of("", run(30))])
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()


@pytest.mark.usefixtures("matplotlib")
def test_several_runs_and_runs_without_a_reply_are_drawn_as_well(tmp_path: Path) -> None:
    """One below the other; nothing is divided by nothing."""
    refused: list[Event] = [start(), Refused(sequence=1, reason="busy", sent_at_ns=BEGAN)]
    draw(tmp_path / "runs.png", [series_of("one", run(20)), Series("two"), series_of("three", refused)])
    assert (tmp_path / "runs.png").read_bytes().startswith(b"\x89PNG")
    draw(tmp_path / "runs.svg", [Series("two"), series_of("three", refused)])
    assert text_of(tmp_path / "runs.svg").count("no reply") == 2
    assert "refused: 1" in text_of(tmp_path / "runs.svg")


def test_summary_knows_more_than_the_events_did() -> None:
    """The server has had the last word by then."""
    events: list[Event] = [
        Lost(sequence=1, direction=Direction.UNKNOWN, sent_at_ns=BEGAN, waited_ns=1, hint=None),
        Missed(slots=2, before=2),
    ]
    series = series_of("host", events)
    assert (lane_counts(series)["unknown"], headline(series)) == (1, "host · 0 received · 2 slots missed")
    series.take(summary(sent=2, received=0, lost_upstream=1, late=1))
    assert (lane_counts(series)["unknown"], lane_counts(series)["upstream"]) == (0, 1)
    line = "host · 2 sent, 0 received · 100 % without a reply in time · 1 late · 2 slots missed"
    assert headline(series) == line


@given(st.lists(st.floats(0, 1), max_size=6).map(sorted))
def test_labels_do_not_cover_each_other(places: list[float]) -> None:
    """They move up, no further than they must, and stay in order."""
    moved = spread(places, 0.1)
    assert all(after - before >= 0.0999 for before, after in pairwise(moved))
    assert all(there >= wanted for there, wanted in zip(moved, places, strict=True))
    assert moved[:1] == places[:1]


def test_ticks_have_no_digits_that_say_nothing() -> None:
    """Ten is no more exact than that."""
    assert [tick_text(time) for time in (1e7, 2e5, 1500.0)] == ["10 ms", "200 µs", "1.5 µs"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("run.pdf", "expected a file name that ends in .svg or .png, got 'run.pdf'"),
        ("run", "expected a file name that ends in .svg or .png, got 'run'"),
        ("nowhere/run.svg", "expected a file in a directory that exists, got 'nowhere/run.svg'"),
        ("directory.svg", "expected a file that can be written, got 'directory.svg'"),
    ],
)
def test_file_that_cannot_be_drawn_is_refused_before_anything_is_sent(
    name: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line: what, the value, and what was expected."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "directory.svg").mkdir()
    assert main(["ping", "-c", "1", "--plot", name]) == 2
    assert capsys.readouterr() == ("", f"trio_udp ping: argument --plot: {expected}\n")


@pytest.mark.usefixtures("matplotlib")
def test_more_hosts_than_a_picture_has_room_for_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody is asked."""
    assert main(["ping", *["192.0.2.1"] * 33, "--plot", "run.png"]) == 2
    assert capsys.readouterr().err == "trio_udp ping: argument --plot: expected at most 32 runs, got 33\n"


async def test_matplotlib_that_is_not_there_is_missed_politely() -> None:
    """One line that says how to get it, and exit code 2, before anything is sent."""
    arguments = ["ping", "--plot", "run.svg"]
    program = (
        f"import sys; sys.modules['matplotlib'] = None; from trio_udp._cli import main; sys.exit(main({arguments}))"
    )
    done = await trio.run_process(
        [sys.executable, "-c", program], capture_stdout=True, capture_stderr=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, b"")
    assert re.fullmatch(
        r"trio_udp ping: expected the package 'matplotlib[.\w]*' to be installed, .*'trio-udp\[plot\]'\n",
        done.stderr.decode(),
    )


@pytest.mark.usefixtures("matplotlib")
def test_ping_draws_when_it_is_done(tmp_path: Path) -> None:
    """Below its usual output, which stays as it is."""
    picture = tmp_path / "run.svg"
    code, out, err = run_here("ping", "-c", "3", "-i", "0.01", "--plot", str(picture))
    assert (code, err, len(out)) == (0, [], 9)
    assert any("3 sent, 3 received" in word for word in text_of(picture))


@pytest.mark.usefixtures("matplotlib")
def test_report_draws_what_was_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every run of every file, one below the other, under its summary; whatever a host is called."""
    for name, host in (("one", "$x$"), ("two", "192.0.2.1\x1b")):
        events = [*run(20), summary(sent=20, received=16, lost_upstream=2, lost_downstream=2)]
        (tmp_path / name).write_text("".join(to_json(event, host=host) + "\n" for event in events * 2))
    files = [str(tmp_path / name) for name in ("one", "two")]
    assert main(["report", *files, "--plot", str(tmp_path / "runs.svg")]) == 0
    out, err = capsys.readouterr()
    assert (err, out.count("20 packets transmitted, 16 received")) == ("", 4)
    titles = [word for word in text_of(tmp_path / "runs.svg") if "sent, " in word]
    sums = "20 sent, 16 received · 20 % without a reply in time"
    assert titles == [
        f"{host} (192.0.2.1:1060) · {sums}" for host in ("$x$", "$x$", r"192.0.2.1\x1b", r"192.0.2.1\x1b")
    ]


@pytest.mark.usefixtures("matplotlib")
def test_report_draws_a_run_that_was_cut_with_what_its_events_add_up_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Sums as in the text."""
    (tmp_path / "cut").write_text("".join(to_json(event, host="h") + "\n" for event in run(20)[1:]))
    assert main(["report", str(tmp_path / "cut"), "--plot", str(tmp_path / "cut.svg")]) == 0
    assert "a run has no end" in capsys.readouterr().err
    assert any(word.startswith("h · ") and "16 received" in word for word in text_of(tmp_path / "cut.svg"))


@pytest.mark.usefixtures("matplotlib")
@given(events=st.lists(any_event(), max_size=8))
@settings(max_examples=20, deadline=None)
def test_a_picture_of_whatever_stands_in_a_file_can_be_drawn(events: list[Event]) -> None:
    """Times before the year 1700, negative round trips: a file may be from anywhere."""
    with tempfile.TemporaryDirectory() as name:
        draw(Path(name) / "run.svg", [series_of("h", events)])


@pytest.mark.usefixtures("matplotlib")
def test_report_refuses_a_picture_before_it_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And one of more runs than there is room for."""
    assert main(["report", "nowhere", "--plot", "run.jpeg"]) == 2
    line = "argument --plot: expected a file name that ends in .svg or .png, got 'run.jpeg'"
    assert capsys.readouterr() == ("", f"trio_udp report: {line}\n")
    (tmp_path / "runs").write_text((to_json(start(), host="h") + "\n") * 33)
    assert main(["report", str(tmp_path / "runs"), "--plot", str(tmp_path / "runs.svg")]) == 2
    assert "expected at most 32 runs, got 33" in capsys.readouterr().err


@pytest.mark.usefixtures("matplotlib")
async def test_pictures_of_the_documentation_can_be_drawn_again(tmp_path: Path) -> None:
    """By the script that the page names; the committed ones have the same titles."""
    script = ROOT / "docs/looking.py"
    await trio.run_process([sys.executable, "-W", "error", str(script), str(tmp_path)])
    for name, title in (("live.svg", "round trip"), ("plot.svg", "round-trip time (log scale)")):
        for directory in (tmp_path, ROOT / "docs/howto"):
            assert title in text_of(directory / name)
