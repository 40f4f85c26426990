"""The documentation is true: every block of it is run, each as a test of its own.

- The `python` blocks of a page are run in a process of their own, one after the other. What each prints must be what
  the comments behind its `print(…)` lines say, in order; `...` stands for anything.
- A `console` block is typed into a shell, one `$ command` after the other. What appears must be what the page shows:
  `...` stands for anything, and for any number of lines if it has a line to itself; a time stands for any time, and a
  port of five digits for any port. A command that ends in `&` is waited for until it has printed what the page shows.
  A command that fails does so on purpose only if `$ echo $?` is next.
- There are no other blocks.

Two things are not as on the page. Ports 1060 to 1069 are exchanged for free ones, and `python` is this interpreter with
that port as default, because somebody may be serving on 1060. And `python -m pip install …` and `python -m nox …` are
left out, because they would run this test; they must be what .ci/run and noxfile.py do.
"""

import dataclasses
import functools
import importlib.util
import inspect
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from itertools import takewhile, zip_longest
from pathlib import Path
from types import ModuleType
from typing import Any, Final, NamedTuple

import pytest

import trio_udp
from trio_udp import DropReason, measure, testing
from trio_udp._cli import main
from trio_udp.proto import HEADER_SIZE, MessageType
from trio_udp.testing import strategies

ROOT: Final = Path(__file__).parent.parent
PAGES: Final = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
TEXTS: Final = {page: page.read_text() for page in PAGES}
LONGEST_RUN: Final = 60.0
"""Seconds before a block that hangs is ended."""

FENCE: Final = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
VARIES: Final = re.compile(r"\.\.\.|\d+(?:\.\d+)?(?=/\d|(?:/| ?m?s\b))|(?:(?<=:)|(?<=port ))\d{5}\b")
COMMAND: Final = re.compile(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)
SAID: Final = re.compile(r"^ *print\(.*\)  # (.*)$", re.MULTILINE)
PORT: Final = re.compile(r"\b106\d\b")
BOOTSTRAP: Final = re.compile(r"python -m (?:pip install|nox)\b[^&\n]*?(?= && |$)", re.MULTILINE)

PYTHON: Final = """#!/bin/sh
case "$1 $2" in
    "-m trio_udp") shift 2; exec {python} -c '
import runpy
from trio_udp._cli import _arguments
_arguments.DEFAULT_PORT = {port}
runpy.run_module("trio_udp", run_name="__main__", alter_sys=True)' "$@";;
    *) exec {python} "$@";;
esac
"""
"""The command `python` of the pages."""


class Block(NamedTuple):
    """One fenced block."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


BLOCKS: Final = [
    Block(page, text.count("\n", 0, fence.start()) + 1, fence[1], fence[2])
    for page, text in TEXTS.items()
    for fence in FENCE.finditer(text)
]


def with_free_ports(text: str) -> tuple[str, int]:
    """The text with free ports in place of 1060 to 1069, and what 1060 has become."""
    with ExitStack() as probes:
        ports: list[int] = []
        while len(ports) < 10:
            probe = probes.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            with suppress(OSError):
                probe.bind(("", random.randrange(20_000, 32_000)))  # below the ports that the system hands out
                ports.append(probe.getsockname()[1])
    return PORT.sub(lambda found: str(ports[int(found[0]) - 1060]), text), ports[0]


def what_is_missing(text: str) -> str:
    """Some blocks want more than every host has: what that is, or nothing."""
    if "::" in text:
        try:
            with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
                probe.bind(("::1", 0))
        except OSError:
            return "IPv6, which this host does not have"
    for word, module, package in (
        ("OpenSSL", "OpenSSL", "pyopenssl"),
        ("--plot", "matplotlib", "matplotlib"),
        ("--hdr", "hdrh", "hdrhistogram"),
    ):
        if word in text and importlib.util.find_spec(module) is None:
            return f"the package {package}, which is not installed"
    if re.search(r"\bss -", text) and shutil.which("ss") is None:
        return "the command ss of iproute2, which this host does not have"
    return ""


def skip_where_impossible(text: str) -> None:
    """With the reason."""
    if missing := what_is_missing(text):
        pytest.skip(f"this block needs {missing}")


def pattern(expected: str) -> str:
    """A regular expression for output as a page shows it."""
    return "".join(r"(?:.*\n)*?" if line == "..." else _line_pattern(line) for line in expected.splitlines())


def _line_pattern(line: str) -> str:
    """Times and ports vary, and so does what `...` stands for."""
    fixed = map(re.escape, VARIES.split(line))
    varying = (".*" if found == "..." else r"[\d.]+" for found in VARIES.findall(line))
    return "".join(part for pair in zip_longest(fixed, varying, fillvalue="") for part in pair) + r"\n"


END: Final = "\nprint('END OF A BLOCK')\n"
"""Behind each block of a page that is run."""


class Run(NamedTuple):
    """What came of a page's `python` blocks, as far as this host can run them."""

    done: subprocess.CompletedProcess[str]
    programs: list[str]
    printed: list[str]


@functools.cache
def run_of(page: Path) -> Run:
    """Once, however many blocks it has. Warnings are errors here too."""
    texts = [block.text for block in BLOCKS if block.page == page and block.language == "python"]
    possible = takewhile(lambda text: not what_is_missing(text), texts)
    text, _ = with_free_ports("".join(text + END for text in possible))
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "blocks.py").write_text(text)
        done = subprocess.run(
            [sys.executable, "-W", "error", "blocks.py"],
            cwd=directory,
            capture_output=True,
            text=True,
            timeout=LONGEST_RUN,
            check=False,
        )
    return Run(done, text.split(END), done.stdout.split("END OF A BLOCK\n"))


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "python"], ids=str)
def test_python_block_prints_what_its_comments_say(block: Block) -> None:
    """After the blocks before it on the page, and with nothing on standard error."""
    blocks = [other for other in BLOCKS if other.page == block.page and other.language == "python"]
    number = blocks.index(block)
    skip_where_impossible("\n".join(other.text for other in blocks[: number + 1]))
    done, programs, printed = run_of(block.page)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(programs) == len(printed)
    said = "\n".join(SAID.findall(programs[number]))
    assert re.fullmatch(pattern(said), printed[number]), f"expected:\n{said}\ngot:\n{printed[number]}"


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "console"], ids=str)
def test_console_block_shows_what_appears(block: Block, tmp_path: Path) -> None:
    """One shell for the block; whatever it started is ended with it."""
    text, port = with_free_ports(BOOTSTRAP.sub("true", block.text))
    skip_where_impossible(text)
    for directory in ("examples", "tests"):
        (tmp_path / directory).symlink_to(ROOT / directory)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python").write_text(PYTHON.format(python=sys.executable, port=port))
    (tmp_path / "bin/python").chmod(0o755)
    # Unbuffered, the lines of two programs would mix.
    settings = {"PYTHONWARNINGS": "error", "PYTHONUNBUFFERED": ""}
    type_all(text, tmp_path, {**os.environ, **settings, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"})


def type_all(text: str, directory: Path, environment: dict[str, str]) -> None:
    """Type each command of a block into a shell, and compare what appears."""
    assert text.startswith("$ "), "output of what?"
    commands = COMMAND.findall(text)
    pipe = subprocess.PIPE
    with subprocess.Popen(
        ["bash"],  # noqa: S607 - the one people have
        stdin=pipe,
        stdout=pipe,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=directory,
        env=environment,
        start_new_session=True,
    ) as shell:
        watchdog = threading.Timer(LONGEST_RUN, os.killpg, [shell.pid, signal.SIGKILL])
        watchdog.start()
        try:
            for (command, expected), (following, _) in zip(commands, [*commands[1:], ("", "")], strict=True):
                code = type_one(shell, command, pattern(expected))
                assert code == "MARK 0\n" or following == "echo $?", f"$ {command}\nended with {code or 'nothing'}"
        finally:
            watchdog.cancel()
            os.killpg(shell.pid, signal.SIGKILL)


def type_one(shell: subprocess.Popen[str], command: str, expected: str) -> str:
    """Type one command and read until it ends, or, behind `&`, until it has printed enough."""
    assert shell.stdin is not None
    assert shell.stdout is not None
    goes_on = command.endswith("&")
    # The mark shows that the command has ended; `( exit )` gives its exit code to the command after it.
    print(command if goes_on else f"{command}\ncode=$?; echo MARK $code; (exit $code)", file=shell.stdin, flush=True)
    seen = ""
    while not (goes_on and re.fullmatch(expected, seen)):
        line = shell.stdout.readline()
        if not line or line.startswith("MARK "):
            assert re.fullmatch(expected, seen), f"$ {command}\nprinted:\n{seen}expected to match:\n{expected}"
            return line
        seen += line
    return "MARK 0\n"


@pytest.mark.parametrize(
    "text", ["$ echo one\ntwo\n", "$ echo one\n", "$ true\none\n", "$ false\n", "$ echo 5 s\n5 m\n"]
)
def test_console_block_that_is_wrong_fails(text: str, tmp_path: Path) -> None:
    """Other output, more output, less output, an exit code that the page does not show."""
    with pytest.raises(AssertionError):
        type_all(text, tmp_path, dict(os.environ))


def test_every_block_is_of_a_kind_that_is_run() -> None:
    """No fence is left over, indented, or in a language that nobody runs."""
    for page, text in TEXTS.items():
        fences = [line for line in text.splitlines() if line.lstrip().startswith(("```", "~~~"))]
        assert len(fences) == 2 * len(FENCE.findall(text)), page
    assert {block.language for block in BLOCKS} == {"python", "console"}


def test_every_function_on_a_page_is_used_on_it() -> None:
    """A function that is only defined would pass for a block that is run."""
    for page in PAGES:
        code = "\n".join(block.text for block in BLOCKS if block.page == page and block.language == "python")
        for name in re.findall(r"^(?:async )?def (\w+)", code, re.MULTILINE):
            assert len(re.findall(rf"\b{name}\b", code)) > 1, f"{page.relative_to(ROOT)}: {name}"


def test_commands_left_out_are_those_of_ci() -> None:
    """What the blocks cannot run is what .ci/run and the nox sessions do, to the letter."""
    ci = (ROOT / ".ci/run").read_text()
    sessions = (ROOT / "noxfile.py").read_text()
    commands = {found for block in BLOCKS if block.language == "console" for found in BOOTSTRAP.findall(block.text)}
    assert {"python -m pip install .", "python -m pip install nox", "python -m nox"} <= commands
    for command in commands:
        last = command.split()[-1]
        assert command in ci or f'session.install("{last}")' in sessions or f"\ndef {last}(" in sessions, command


REFERENCE: Final = TEXTS[ROOT / "docs/reference.md"]


def section(heading: str) -> str:
    """What the reference says under `### heading…`."""
    found = re.search(rf"^### `{re.escape(heading)}\b.*?(?=^##|\Z)", REFERENCE, re.MULTILINE | re.DOTALL)
    assert found, f"the reference has no section on {heading}"
    return found[0]


@pytest.mark.parametrize("name", trio_udp.__all__)
def test_reference_says_all_about_every_public_name(name: str) -> None:
    """Every parameter, field, method and property of it."""
    about = section(name)
    thing = getattr(trio_udp, name)
    expected: set[str] = set()
    if inspect.isclass(thing) and name not in {"DropReason", "TU1", "Book"}:  # whose members have tables of their own
        expected = {member for member in vars(thing) if not member.startswith("_")}
    if inspect.isfunction(thing) or (inspect.isclass(thing) and issubclass(thing, (Exception, trio_udp.RetryPolicy))):
        expected |= set(inspect.signature(thing.__init__ if inspect.isclass(thing) else thing).parameters)
    expected -= {"self", "args", "kwargs"}
    assert {member for member in expected if not re.search(rf"`[^`]*\b{member}\b[^`]*`", about)} == set()


GIVEN: Final = (
    *("Copy", "DirectionStatistics", "FaultySockets", "Passage", "Relay", "RelayStatistics"),
    *("CaseResult", "Delivery", "Ending", "Fate", "Forged", "Held", "Host", "Icmp", "Nat", "Packet", "Record"),
    *("Report", "SimSocket", "SimUDP", "Trace", "Verdict"),
)
"""Classes of which a test is given objects, rather than making them."""
TEST_KIT: Final = TEXTS[ROOT / "docs/reference_testing.md"]


@pytest.mark.parametrize(
    ("module", "name"), [(module, name) for module in (testing, strategies) for name in module.__all__]
)
def test_reference_has_every_name_of_the_test_kit(module: ModuleType, name: str) -> None:
    """In the first column of a table, with every parameter of what a test calls by itself."""
    rows = re.findall(rf"^\|(?=[^|]*`{name}[`(])(.*)$", TEST_KIT, re.MULTILINE)
    assert rows, f"the reference of the test kit does not have {name}"
    thing = getattr(module, name)
    is_class = inspect.isclass(thing) and not issubclass(thing, Exception) and name not in GIVEN
    if inspect.isfunction(thing) or is_class:
        for parameter in inspect.signature(thing).parameters:
            assert any(re.search(rf"\b{parameter}\b", row) for row in rows), parameter


MEASURE: Final = TEXTS[ROOT / "docs/reference_measure.md"]

RUNNING: Final = (
    *(measure.CsvWriter, measure.IrttRun, measure.Lines, measure.Prober, measure.Recording, measure.Sample),
    *(measure.Schedule, measure.TakesEvents, measure.Buckets, measure.Correction, measure.KneeSearch),
    *(measure.TextWriter, measure.Snapshot, measure.Follower, measure.Followed),
    *(measure.Watch, measure.Series, measure.Spot),
)
"""Classes of which the methods and properties are to be there."""


@pytest.mark.parametrize("name", measure.__all__)
def test_reference_has_every_name_of_the_measuring_kit(name: str) -> None:
    """In the first column of a table, with every parameter, field, method and property."""
    rows = re.findall(rf"^\|(?=[^|]*`{name}[`(])(.*)$", MEASURE, re.MULTILINE)
    assert rows, f"the reference of measuring does not have {name}"
    thing = getattr(measure, name)
    expected = set(inspect.signature(thing).parameters) if inspect.isfunction(thing) else set()
    if dataclasses.is_dataclass(thing):
        expected = {field.name for field in dataclasses.fields(thing)}
    elif thing in (measure.Fixed, measure.Poisson, measure.Adaptive):
        expected = set(inspect.signature(thing).parameters)
    elif thing in RUNNING:
        expected = {member for member in vars(thing) if not member.startswith("_")}
    elif hasattr(thing, "_fields"):
        expected = set(thing._fields)
    assert {member for member in expected if not any(re.search(rf"\b{member}\b", row) for row in rows)} == set()


def called(thing: Callable[..., Any]) -> str:
    """Its parameters, as the reference writes them: `first, *, second`."""
    words: list[str] = []
    for parameter in inspect.signature(thing).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not any(word.startswith("*") for word in words):
            words.append("*")
        words.append(f"*{parameter.name}" if parameter.kind is parameter.VAR_POSITIONAL else parameter.name)
    return ", ".join(word for word in words if word != "self")


@pytest.mark.parametrize(
    ("page", "places"),
    [
        (TEST_KIT, (testing, strategies, testing.SimNet)),
        (MEASURE, (measure, measure.Prober, measure.Watch)),
    ],
    ids=["testing", "measure"],
)
def test_reference_says_how_what_it_names_is_called(page: str, places: tuple[object, ...]) -> None:
    """With all parameters in their order, and a `*` before those that go by name."""
    rows = "".join(line for line in page.splitlines(keepends=True) if line.startswith("|"))
    written = re.findall(r"`(?:await |async with )?(\w+)\(([a-z_*, ]+)\)`", rows)
    found = [(name, words, getattr(place, name)) for name, words in written for place in places if hasattr(place, name)]
    assert len(found) > 20
    one_of_many = {"rule", "run", "take"}  # names of methods of several classes
    assert {
        name: called(thing) for name, words, thing in found if name not in one_of_many and words != called(thing)
    } == {}


@pytest.mark.parametrize("command", ["serve", "ping", "report", "compare", "ask", "keygen", "sim", "relay", "doctor"])
def test_reference_has_every_option_of_the_command(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """As `--help` lists them, and no other."""
    with pytest.raises(SystemExit):
        main([command, "--help"])
    options = set(re.findall(r"(?<![\w-])--?[a-zA-Z0-9]+\b", capsys.readouterr().out.partition("options:")[2]))
    rows = "".join(
        line for line in section(f"python -m trio_udp {command}").splitlines(keepends=True) if line.startswith("| `-")
    )
    assert set(re.findall(r"(?<![\w-])--?[a-zA-Z0-9]+\b", rows)) == options


def test_reference_has_the_wire_format_and_the_drop_reasons() -> None:
    """The fields are without gaps and as long as the header; the numbers and names are the code's."""
    end = 0
    for offset, size in re.findall(r"^\| (\d+) \| (\d+) \| [a-z ]+ \|", REFERENCE, re.MULTILINE):
        assert int(offset) == end
        end += int(size)
    assert end == HEADER_SIZE
    types = re.findall(r"^\| `([A-Z_]+)` \| (0x\w\w) \|", REFERENCE, re.MULTILINE)
    assert types == [(kind.name, f"0x{kind:02x}") for kind in MessageType]
    reasons = REFERENCE.partition("\n## Drop reasons\n")[2]
    assert set(re.findall(r"^\| `(\w+)` \|", reasons, re.MULTILINE)) == set(DropReason)


def test_every_link_leads_somewhere() -> None:
    """To a file of this repository, or to a heading of a page; links to the world are not followed."""
    for page, text in TEXTS.items():
        for target in re.findall(r"\]\((?!https?:)([^)]+)\)", text):
            path, _, anchor = target.partition("#")
            to = (page.parent / path).resolve() if path else page
            assert to.exists(), f"{page.relative_to(ROOT)}: {target}"
            headings = (
                [re.sub(r"[^\w -]", "", line.lstrip("# ")).lower() for line in to.read_text().splitlines()]
                if anchor
                else []
            )
            assert not anchor or anchor in [heading.replace(" ", "-") for heading in headings], target


def test_every_test_named_on_a_page_exists() -> None:
    """A promise is quoted with the test that holds it."""
    named = {name for text in TEXTS.values() for name in re.findall(r"`(test_\w+)`", text)}
    defined = {
        name for path in ROOT.glob("tests/**/test_*.py") for name in re.findall(r"def (test_\w+)", path.read_text())
    }
    assert named <= defined


def test_picture_shows_what_appears() -> None:
    """`docs/picture.svg` is what `docs/picture.py` draws today, but for the figures."""
    command = [sys.executable, "docs/picture.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LONGEST_RUN, check=True)  # noqa: S603 - ours
    drawn, committed = (
        [re.sub(r"[\d.]+", "0", line) for line in re.findall(r">([^<]*)</text>", svg)]
        for svg in (done.stdout, (ROOT / "docs/picture.svg").read_text())
    )
    assert drawn == committed
