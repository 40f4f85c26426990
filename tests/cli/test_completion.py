"""`completion` and `man`: made from the parser, by packages that not everybody has."""

import shutil
import sys
from pathlib import Path

import pytest
import trio

from .command import run_command

COMMANDS = ("serve", "ping", "ask", "sim", "relay", "completion", "man")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "tcsh"])
async def test_completion_knows_every_command_and_its_options(shell: str) -> None:
    """Taken from the parser, so that none can be forgotten."""
    shtab = pytest.importorskip("shtab", reason="the package shtab is not installed")
    if shell not in shtab.SUPPORTED_SHELLS:
        pytest.skip(f"this shtab does not know {shell}")
    code, out, err = await run_command("completion", shell)
    text = "\n".join(out)
    assert (code, err) == (0, [])
    assert "trio-udp" in text
    for word in (*COMMANDS, "workers", "interval"):
        assert word in text


@pytest.mark.parametrize(
    ("words", "completed"),
    [(("se",), b"serve"), (("ping", "--ra"), b"--ramp"), (("report", "here"), b"here.ndjson")],
)
async def test_bash_takes_the_completion_and_completes_by_it(
    words: tuple[str, ...], completed: bytes, tmp_path: Path
) -> None:
    """As a shell does it: source the script, and call the function it has registered. Names of files too."""
    pytest.importorskip("shtab", reason="the package shtab is not installed")
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("bash is not installed")
    (tmp_path / "here.ndjson").touch()
    _, out, _ = await run_command("completion", "bash")
    typed, last = " ".join(["trio-udp", *words]), words[-1]
    question = (
        f'COMP_WORDS=({typed}); COMP_CWORD={len(words)}; ${{function}} trio-udp {last} x; echo "${{COMPREPLY[@]}}"'
    )
    name = 'function=$(complete -p trio-udp | sed "s/.*-F \\([^ ]*\\).*/\\1/")'
    script = "\n".join([*out, name, question])
    done = await trio.run_process([bash, "--norc"], stdin=script.encode(), capture_stdout=True, cwd=tmp_path)
    assert done.stdout.split() == [completed]


async def test_a_shell_that_an_old_shtab_does_not_know_is_one_line() -> None:
    """With those it knows."""
    pytest.importorskip("shtab", reason="the package shtab is not installed")
    change = "import shtab, sys; shtab.SUPPORTED_SHELLS = ['bash']"
    program = f"{change}; from trio_udp._cli import main; sys.exit(main(['completion', 'fish']))"
    command = [sys.executable, "-c", program]
    done = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)
    line = b"trio_udp completion: expected a shell that the installed shtab knows (bash), got 'fish'\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, b"", line)


async def test_man_page_has_every_command() -> None:
    """Roff, which `man` reads."""
    pytest.importorskip("argparse_manpage", reason="the package argparse-manpage is not installed")
    code, out, err = await run_command("man")
    assert (code, err) == (0, [])
    assert out[0].startswith(".TH TRIO")
    assert not any(line.lstrip().startswith("[--") for line in out)  # lines that `man` would not fill
    text = "\n".join(out)
    for word in COMMANDS:
        assert f"trio\\-udp {word}" in text


@pytest.mark.parametrize(
    ("command", "module"), [(["completion", "bash"], "shtab"), (["man"], "argparse_manpage.manpage")]
)
async def test_package_that_is_not_there_is_missed_politely(command: list[str], module: str) -> None:
    """One line that says how to get it, and exit code 2."""
    program = f"import sys; sys.modules[{module!r}] = None; from trio_udp._cli import main; sys.exit(main({command!r}))"
    done = await trio.run_process(
        [sys.executable, "-c", program], capture_stdout=True, capture_stderr=True, check=False
    )
    line = f"expected the package '{module}' to be installed, and it is not: pip install 'trio-udp[shell]'"
    assert (done.returncode, done.stdout, done.stderr.decode()) == (2, b"", f"trio_udp {command[0]}: {line}\n")


async def test_completion_of_a_shell_nobody_knows_is_one_line() -> None:
    """What, the value, and what was expected."""
    code, out, err = await run_command("completion", "csh")
    assert (code, out) == (2, [])
    assert len(err) == 1
    assert "'csh'" in err[0]
