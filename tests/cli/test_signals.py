"""Being told to stop again and again."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio
import trio.testing

from trio_udp._cli import _signals

from .command import MODULE, running
from .terminal import on_terminal


@pytest.mark.parametrize(
    ("command", "last"),
    [
        (["relay", "127.0.0.1:0", "127.0.0.1:9"], "chaos down: 0 received, 0 dropped, 0 sent"),
        (["serve", "127.0.0.1", "-p", "0"], "requests 0, replies 0, retries 0, busy 0, errors 0, unanswered 0"),
        (
            ["serve", "127.0.0.1", "-p", "0", "--workers", "2"],
            "requests 0, replies 0, retries 0, busy 0, errors 0, unanswered 0",
        ),
    ],
    ids=["relay", "serve", "workers"],
)
@pytest.mark.parametrize("number", _signals.STOPPING)
async def test_the_report_and_the_exit_code_are_the_same_however_often_it_is_told(
    command: list[str], last: str, number: signal.Signals
) -> None:
    """`timeout` tells twice, and others press ^C until something happens."""
    async with running(*command) as process:
        await process.line()
        while process.process.returncode is None:
            process.process.send_signal(number)
            await trio.sleep(0.001)
        assert (await process.rest())[-1] == last
        assert await process.end() == 0


async def test_what_is_left_of_a_signal_ends_nothing_and_afterwards_all_is_as_before() -> None:
    """A signal that nobody took is one that Trio hands on."""
    before = [signal.getsignal(number) for number in _signals.STOPPING]
    with _signals.as_they_were():
        with _signals.stopping_signals():
            os.kill(os.getpid(), signal.SIGTERM)
            await trio.testing.wait_all_tasks_blocked()
        os.kill(os.getpid(), signal.SIGINT)
    assert [signal.getsignal(number) for number in _signals.STOPPING] == before


async def test_who_is_not_to_hear_of_the_terminal_does_not() -> None:
    """`nohup` has SIGHUP ignored, and so does whoever is to run on."""
    program = ["sh", "-c", 'trap "" HUP; exec "$@"', "sh", *MODULE]
    async with running("ping", "-i", "0.02", program=program) as process:
        await process.line()
        process.process.send_signal(signal.SIGHUP)
        for _ in range(3):
            assert "icmp_seq=" in await process.line()
        process.interrupt()
        assert any("ping statistics" in line for line in await process.rest())
        assert await process.end() == 0


async def test_a_file_has_its_end_when_the_terminal_has_gone(tmp_path: Path) -> None:
    """With the progress of the run on it, which nobody reads any more."""
    with (tmp_path / "run").open("w") as file:
        async with on_terminal("ping", "--json", "-c", "1000", "-i", "0.02", stdout=file.fileno()) as terminal:
            await terminal.until(lambda received: "of 1000 sent" in received)
            while '"kind":"reply"' not in (tmp_path / "run").read_text():
                await trio.sleep(0.01)  # without one the exit code would be 1
            terminal.hang_up()
            assert await terminal.process.wait() == 0
    lines = (tmp_path / "run").read_text().splitlines()
    assert '"kind":"summary"' in lines[-1]


@pytest.mark.parametrize("imported", ["trio", "argparse"])
@pytest.mark.parametrize("start", ["-m", "-mtrio_udp", "script"])
def test_an_interrupt_while_it_is_imported_is_no_traceback(tmp_path: Path, start: str, imported: str) -> None:
    """The modules that take long come early, and who types ^C then has typed a command."""
    (tmp_path / f"{imported}.py").write_text("import signal; signal.raise_signal(signal.SIGINT)")
    script = tmp_path / "trio-udp"
    script.write_text("from trio_udp.__main__ import main\nmain()")
    command = {"-m": MODULE, "script": [sys.executable, str(script)]}.get(start, [sys.executable, start])
    assert _end_of(command, tmp_path) == (130, "")


def test_a_program_that_imports_the_library_keeps_its_interrupts(tmp_path: Path) -> None:
    """Only the command ends without a word; whoever runs another module, or catches the interrupt, is left alone."""
    (tmp_path / "trio.py").write_text("import signal; signal.raise_signal(signal.SIGINT)")
    (tmp_path / "program.py").write_text("try: import trio_udp\nexcept KeyboardInterrupt: raise SystemExit('caught')")
    for command in ([str(tmp_path / "program.py")], ["-m", "program"], ["-m", "program", "trio_udp"]):
        assert _end_of([sys.executable, *command], tmp_path) == (1, "caught\n")


def _end_of(command: list[str], first: Path) -> tuple[int, str]:
    """Exit code and standard error, with this directory before all others that modules come from."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(first), *filter(None, sys.path)])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603 - ours
    return done.returncode, done.stderr
