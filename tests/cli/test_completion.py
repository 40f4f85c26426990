"""`completion` and `man`: made from the parser, by packages that not everybody has."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .command import run_here

COMMANDS = ("serve", "ping", "ask", "sim", "relay", "completion", "man")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "tcsh"])
def test_completion_knows_every_command_and_its_options(shell: str) -> None:
    """Taken from the parser, so that none can be forgotten."""
    shtab = pytest.importorskip("shtab", reason="the package shtab is not installed")
    if shell not in shtab.SUPPORTED_SHELLS:
        pytest.skip(f"this shtab does not know {shell}")
    code, out, err = run_here("completion", shell)
    text = "\n".join(out)
    assert (code, err) == (0, [])
    assert "trio-udp" in text
    for word in (*COMMANDS, "workers", "interval"):
        assert word in text


@pytest.mark.parametrize(
    ("words", "completed"),
    [(("se",), "serve"), (("ping", "--ra"), "--ramp"), (("report", "here"), "here.ndjson")],
)
def test_bash_takes_the_completion_and_completes_by_it(words: tuple[str, ...], completed: str, tmp_path: Path) -> None:
    """As a shell does it: source the script, and call the function it has registered. Names of files too."""
    pytest.importorskip("shtab", reason="the package shtab is not installed")
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("bash is not installed")
    (tmp_path / "here.ndjson").touch()
    _, out, _ = run_here("completion", "bash")
    typed, last = " ".join(["trio-udp", *words]), words[-1]
    question = (
        f'COMP_WORDS=({typed}); COMP_CWORD={len(words)}; ${{function}} trio-udp {last} x; echo "${{COMPREPLY[@]}}"'
    )
    name = 'function=$(complete -p trio-udp | sed "s/.*-F \\([^ ]*\\).*/\\1/")'
    script = "\n".join([*out, name, question])
    done = subprocess.run([bash, "--norc"], input=script, stdout=subprocess.PIPE, text=True, cwd=tmp_path, check=True)  # noqa: S603 - ours
    assert done.stdout.split() == [completed]


def test_a_shell_that_an_old_shtab_does_not_know_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """With those it knows."""
    shtab = pytest.importorskip("shtab", reason="the package shtab is not installed")
    monkeypatch.setattr(shtab, "SUPPORTED_SHELLS", ["bash"])
    line = "trio_udp completion: expected a shell that the installed shtab knows (bash), got 'fish'"
    assert run_here("completion", "fish") == (2, [], [line])


def test_man_page_has_every_command() -> None:
    """Roff, which `man` reads."""
    pytest.importorskip("argparse_manpage", reason="the package argparse-manpage is not installed")
    code, out, err = run_here("man")
    assert (code, err) == (0, [])
    assert out[0].startswith(".TH TRIO")
    assert not any(line.lstrip().startswith("[--") for line in out)  # lines that `man` would not fill
    text = "\n".join(out)
    for word in COMMANDS:
        assert f"trio\\-udp {word}" in text


@pytest.mark.parametrize(
    ("command", "module"), [(["completion", "bash"], "shtab"), (["man"], "argparse_manpage.manpage")]
)
def test_package_that_is_not_there_is_missed_politely(command: list[str], module: str) -> None:
    """One line that says how to get it, and exit code 2."""
    program = f"import sys; sys.modules[{module!r}] = None; from trio_udp._cli import main; sys.exit(main({command!r}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)  # noqa: S603 - ours
    line = f"expected the package '{module}' to be installed, and it is not: pip install 'trio-udp[shell]'"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"trio_udp {command[0]}: {line}\n")


def test_completion_of_a_shell_nobody_knows_is_one_line() -> None:
    """What, the value, and what was expected."""
    code, out, err = run_here("completion", "csh")
    assert (code, out) == (2, [])
    assert len(err) == 1
    assert "'csh'" in err[0]
