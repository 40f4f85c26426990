"""`--live`, progress and `^\\`, as people meet them: on a terminal, or on none."""

import re
import signal
import sys
from pathlib import Path

import pytest
import trio

from .command import run_here, running
from .terminal import NOWHERE, on_terminal

FOREVER = ("ping", "-i", "0.2")
COLOUR = re.compile(r"\x1b\[[0-9;]*3[0-7][0-9;]*m")
SUMMARY = re.compile(r"(\d+) packets transmitted, \1 received, 0% packet loss")


@pytest.fixture
def rich() -> None:
    """Skip where it is not installed."""
    pytest.importorskip("rich", reason="the package rich is not installed")


def last_picture(received: str) -> str:
    """What was drawn last, without the codes for colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", received.rpartition("\x1b[J")[2]).replace("\r\n", "\n")


@pytest.mark.usefixtures("rich")
async def test_live_draws_until_interrupted_and_the_summary_follows() -> None:
    """In place, with colours; the last picture stays, the cursor was never hidden, and no line is of one reply."""
    async with on_terminal(*FOREVER, "--live") as terminal:
        await terminal.until(lambda seen: seen.count("PING localhost") >= 3 and "p99.9" in seen)
        terminal.process.send_signal(signal.SIGINT)
        assert await terminal.end() == 0
    picture = last_picture(terminal.received)
    assert re.match(r"PING localhost \(127\.0\.0\.1:\d+\)  56 bytes of data", picture)
    assert re.search(r"^last \d+ probes  ▁ .* to █ .*, log scale.*\n[▁▂▃▄▅▆▇█·]+\n", picture, re.MULTILINE)
    assert "↑ upstream 0  ↓ downstream 0  ✕ unknown 0" in picture
    assert SUMMARY.search(picture)
    assert COLOUR.search(terminal.received)
    assert "icmp_seq" not in terminal.received
    assert "\x1b[?" not in terminal.received


@pytest.mark.usefixtures("rich")
@pytest.mark.parametrize("columns", [100, 40, 20])
async def test_a_picture_is_erased_to_its_last_line_when_the_next_one_is_drawn(columns: int) -> None:
    """However narrow the terminal: what is erased are all lines of the picture before."""
    async with on_terminal(*FOREVER, "--live", COLUMNS=str(columns), LINES="60") as terminal:
        await terminal.until(lambda seen: seen.count("\x1b[J") >= 4 and "p99.9" in seen)
        terminal.process.send_signal(signal.SIGINT)
        assert await terminal.end() == 0
    pictures = re.findall(r"\x1b\[J(.*?)\r\x1b\[(\d+)A(?=\x1b\[J)", terminal.received, re.DOTALL)
    assert len(pictures) >= 3
    for picture, erased in pictures:
        assert picture.count("\n") == int(erased)
        assert max(map(len, re.sub(r"\x1b\[[0-9;]*m|\r", "", picture).split("\n"))) < max(columns, 25)


@pytest.mark.usefixtures("rich")
async def test_no_color_is_respected() -> None:
    """https://no-color.org: bold and dim are left, and no colours."""
    async with on_terminal("ping", "-c", "5", "-i", "0.05", "--live", NO_COLOR="1") as terminal:
        assert await terminal.end() == 0
    assert "▁" in terminal.received
    assert not COLOUR.search(terminal.received)


@pytest.mark.usefixtures("rich")
async def test_live_is_all_ascii_on_a_terminal_that_knows_nothing_else() -> None:
    """The signs have other ones, and nothing fails."""
    async with on_terminal("ping", "-c", "5", "-i", "0.05", "--live", PYTHONIOENCODING="ascii") as terminal:
        assert await terminal.end() == 0
    assert terminal.received.isascii()
    assert re.search(r"\d us ", terminal.received)


def test_live_falls_back_to_lines_without_a_terminal() -> None:
    """Whether rich is there or not: it is not needed."""
    code, out, err = run_here("ping", "-c", "2", "-i", "0.01", "--live")
    assert (code, err) == (0, [])
    assert [line for line in out if "icmp_seq=" in line] == out[1:3]


async def test_live_falls_back_to_lines_on_a_terminal_that_cannot_move_its_cursor() -> None:
    """`TERM=dumb`, as in an editor."""
    async with on_terminal("ping", "-c", "2", "-i", "0.01", "--live", TERM="dumb") as terminal:
        assert await terminal.end() == 0
    assert terminal.received.count("icmp_seq=") == 2
    assert "\x1b" not in terminal.received


async def test_rich_that_is_not_there_is_missed_politely() -> None:
    """One line that says how to get it, and exit code 2, before anything is sent."""
    missing = "import sys; sys.modules['rich.console'] = None"
    program = f"{missing}; from trio_udp._cli import main; sys.exit(main(['ping', '--live']))"
    async with on_terminal(sys.executable, "-c", program) as terminal:
        assert await terminal.end() == 2
    (line,) = terminal.received.splitlines()
    assert re.fullmatch(r"trio_udp ping: expected the package 'rich[.\w]*' to be installed, .*'trio-udp\[live\]'", line)


async def test_quit_signal_asks_for_a_snapshot_on_standard_error() -> None:
    """In iputils' words; the run goes on."""
    async with on_terminal(*FOREVER, stdout=NOWHERE) as terminal:
        await until_it_catches_quits(terminal.process.pid)
        terminal.process.send_signal(signal.SIGQUIT)
        await terminal.until(lambda seen: "packets" in seen)
        terminal.process.send_signal(signal.SIGINT)
        assert await terminal.end() == 0
    assert re.search(r"\d+/\d+ packets, \d+% loss(, min/avg/ewma/max = [\d.]+(/[\d.]+){3} ms)?\r\n", terminal.received)


async def until_it_catches_quits(pid: int) -> None:
    """Wait until it catches SIGQUIT."""
    mask = 0
    while not mask & 1 << (signal.SIGQUIT - 1):
        await trio.sleep(0.01)
        status = Path(f"/proc/{pid}/status").read_text()
        mask = int(re.findall(r"SigCgt:\s*(\w+)", status)[0], 16)


@pytest.mark.usefixtures("rich")
async def test_snapshot_stands_above_the_picture() -> None:
    """On the same terminal: the picture is erased, and drawn again below."""
    async with on_terminal(*FOREVER, "--live") as terminal:
        await terminal.until(lambda seen: "p99.9" in seen)
        terminal.process.send_signal(signal.SIGQUIT)
        await terminal.until(lambda seen: bool(re.search(r"\x1b\[J\d+/\d+ packets, .*ms\r\n\x1b\[1mPING", seen)))


async def test_progress_is_on_standard_error_when_only_that_is_a_terminal() -> None:
    """One line with an estimate, erased in the end."""
    async with on_terminal("ping", "-c", "15", "-i", "0.1", stdout=NOWHERE) as terminal:
        assert await terminal.end() == 0
    assert re.search(r"\r\x1b\[K *\d+ %  \d+ of 15 sent, about 0:0\d left", terminal.received)
    assert terminal.received.endswith("\r\x1b[K")
    assert "\n" not in terminal.received


@pytest.mark.parametrize("arguments", [("-c", "3"), ()])
async def test_no_progress_where_replies_are_seen_or_nothing_ends(arguments: tuple[str, ...]) -> None:
    """A run with an end whose replies are on the terminal, and a run without end whose replies are not."""
    stdout = None if arguments else NOWHERE
    async with on_terminal("ping", "-i", "0.2", *arguments, stdout=stdout) as terminal:
        if not arguments:
            await until_it_catches_quits(terminal.process.pid)
            terminal.process.send_signal(signal.SIGINT)
        await terminal.end()
    assert "sent" not in terminal.received


async def test_no_progress_without_a_terminal() -> None:
    """A log of a service is no place for it."""
    async with running("ping", "-c", "2", "-i", "0.6") as process:
        assert not any("%  " in line for line in await process.rest())
