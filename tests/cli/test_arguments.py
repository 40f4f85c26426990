"""Bad input: one line that says what, the value, and what was expected; exit code 2; never a traceback."""

import errno
import io
import os
import socket
import sys

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from trio_udp._cli import main
from trio_udp._cli._arguments import explain, printable
from trio_udp._cli._commands import COMMANDS

BAD = [
    ([], "required"),
    (["dance"], "'dance'"),
    (["ping", "-c", "0", "h"], "expected a whole number, 1 to 4294967295, got '0'"),
    (["ping", "-c", "x", "h"], "expected a whole number, 1 to 4294967295, got 'x'"),
    (["ping", "-c", "9999999999", "h"], "expected a whole number, 1 to 4294967295, got '9999999999'"),
    (["ping", "-c", "-1", "h"], "expected a whole number, 1 to 4294967295, got '-1'"),
    (["ping", "-i", "0", "h"], "expected a number of seconds, 0.0001 to 86400, got '0'"),
    (["ping", "-i", "-.5", "h"], "got '-.5'"),
    (["ping", "-i", "1e9", "h"], "got '1e9'"),
    (["ping", "--ramp", "9", "-i", "1e9", "h"], "got '1e9'"),
    (["ping", "-i", "inf", "h"], "got 'inf'"),
    (["ping", "-w", "1e300", "h"], "expected a number of seconds, 0.001 to 1000000000, got '1e300'"),
    (["ping", "-W", "nan", "h"], "got 'nan'"),
    (["ping", "-w-1", "h"], "got '-1'"),
    (["ping", "-s", "65484", "h"], "expected a whole number, 0 to 65483, got '65484'"),
    (["ping", "-p", "0", "h"], "expected a whole number, 1 to 65535, got '0'"),
    (["ping", "-4", "-6", "h"], "not allowed with"),
    (["ask", "h"], "TEXT"),
    (["ask", "h", "t", "-p", "65536"], "got '65536'"),
    (["ask", "h", "t", "--profile", "nonsense"], "'nonsense'"),
    (["serve", "--drop", "1.5"], "expected a number, 0 to 1, got '1.5'"),
    (["serve", "--seed", "x"], "'x'"),
    (["serve", "--workers", "0"], "expected a whole number, 1 to 256, got '0'"),
    (["serve", "-p-1"], "got '-1'"),
    *(
        (["serve", *limit], f"expected requests a second, such as 1000/s, or off, got {limit[-1]!r}")
        for limit in (
            ["--limit", "0"],
            ["--limit", "1000/h"],
            ["--limit", ""],
            ["--limit", "inf"],
            ["--limit-all", "nan/s"],
            ["--limit-all", "none"],
        )
    ),
]


@pytest.mark.parametrize(("arguments", "said"), BAD)
def test_bad_arguments_are_one_line_and_exit_code_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever argparse has to say stands in one line."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    printed = capsys.readouterr()
    assert ended.value.code == 2
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert said in printed.err


@pytest.mark.parametrize("option", [["-6"], ["--all-addresses"], ["--resolve-every", "1"]])
def test_what_is_about_a_host_is_refused_without_one(option: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The server that `ping` starts then is where it is: an option that does nothing looks as if it had."""
    assert main(["ping", "-c", "1", *option]) == 2
    assert capsys.readouterr().err == f"trio_udp ping: argument {option[0]}: expected a HOST with it, got none\n"


def test_addresses_are_not_resolved_again(capsys: pytest.CaptureFixture[str]) -> None:
    """Each of `--all-addresses` is an address, and no name that `--resolve-every` could follow."""
    assert main(["ping", "-c", "1", "--all-addresses", "--resolve-every", "1", "localhost"]) == 2
    said = "argument --resolve-every: expected no --all-addresses with it: addresses do not move"
    assert capsys.readouterr().err == f"trio_udp ping: {said}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["ping", "-c", "1", "name.invalid"], "unknown host 'name.invalid'"),
        (["ping", "-c", "1", "127.0.0.1", "name.invalid"], "unknown host 'name.invalid'"),
        (["ping", "-c", "1", "127.0.0.1:1060"], "(a port is given with -p)"),
        (["ask", "[::1]:1060", "hello"], "(a port is given with -p)"),
        (["ping", "-c", "1", "a..b"], "unknown host 'a..b'"),
        (["ping", "-c", "1", ""], "unknown host ''"),
        (["ping", "-c", "1", "-6", "127.0.0.1"], "unknown host '127.0.0.1'"),
        (["ask", "name.invalid", "hello"], "unknown host 'name.invalid'"),
        (["ask", "127.0.0.1", "x" * 1201], "expected at most 1200 bytes, got 1201"),
        (["ask", "127.0.0.1", "é", "--profile", "book"], "expected ASCII text"),
        (["serve", "name.invalid"], "unknown host 'name.invalid'"),
        (["serve", "203.0.113.1"], "'203.0.113.1' is not an address of this host"),
    ],
)
def test_what_the_system_refuses_is_one_line_and_exit_code_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Unknown hosts, addresses that are not ours, texts that cannot be sent."""
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1
    assert said in printed.err


def test_a_port_in_use_is_one_line_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    """G8: the second server does not get the port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        assert main(["serve", "127.0.0.1", "-p", str(port)]) == 2
    assert capsys.readouterr().err == f"trio_udp serve: port {port} is in use on this host, expected a free one\n"


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EAFNOSUPPORT, errno.ENETDOWN])
def test_every_other_reason_names_host_or_port(number: int) -> None:
    """Those no test can bring about everywhere."""
    line = str(explain(OSError(number, os.strerror(number)), "the.host", 999))
    assert "999" in line or "the.host" in line


@given(st.binary())
def test_printed_replies_cannot_drive_the_terminal(payload: bytes) -> None:
    """Whatever a stranger sends, what is printed is printable, and in one line."""
    assert printable(payload).isprintable()


def test_text_is_printed_as_it_is() -> None:
    """Escapes are for control characters and broken UTF-8 only."""
    assert printable("grüße, 世界".encode()) == "grüße, 世界"
    assert printable(b"\x1b[2J\xff") == "\\x1b[2J\\xff"


@pytest.mark.parametrize("command", [*COMMANDS])
def test_help_can_be_read_on_any_terminal(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Signs that its encoding does not have are escaped; they once ended in a traceback."""
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", out)
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    out.seek(0)
    assert out.read().startswith(f"usage: trio_udp {command}")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """`--version` names the program."""
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("trio_udp ")


async def test_a_command_is_all_that_is_imported() -> None:
    """Who asks does not pay for what measures, plots or relays."""
    program = (
        "import sys; from trio_udp._cli import main\n"
        "try: main(['ask', '--help'])\n"
        "finally: sys.exit([name for name in ('measure', '_relay') if f'trio_udp.{name}' in sys.modules] or 0)"
    )
    done = await trio.run_process(
        [sys.executable, "-c", program], capture_stdout=True, capture_stderr=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"usage: ")
