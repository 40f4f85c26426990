"""The parent's part of `serve --workers`, with small programs for workers, and virtual time to restart them in."""

import argparse
import dataclasses
import json
import math
import os
import re
import socket
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
from hypothesis import example, given
from hypothesis import strategies as st
from trio.testing import MockClock

from trio_udp import DropReason, ServerTotals
from trio_udp._chaos import Conditions
from trio_udp._cli import _workers, main
from trio_udp._cli._figures_out import Figure, figures_in, summed
from trio_udp._cli._orders import Orders
from trio_udp._cli._pipe import Post, message_of, messages, totals_from_json
from trio_udp._cli._restarts import FIRST_WAIT, MOST_QUICK_ENDS, QUICK, Restarts
from trio_udp._cli._watched import Watched
from trio_udp._cli._workers import Crew

NAMES = ("requests", "replies", "retries", "busy", "errors", "unanswered", "outcome_unknown", "absorbed")
RARE = NAMES[-2:]
"""Not shown where there are none."""
COUNTS = st.integers(0, 2**63)
TOTALS = st.builds(
    ServerTotals,
    **dict.fromkeys((*NAMES, "kernel_drops"), COUNTS),
    dropped=st.dictionaries(st.sampled_from(DropReason), COUNTS),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from([*NAMES]),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from([*NAMES, "dropped", "kernel_drops"]), inner),
    max_leaves=8,
)


def in_all(count: int) -> dict[str, object]:
    """Totals as a worker sends them, each of them so many."""
    return dict.fromkeys((*NAMES, "kernel_drops"), count) | {"dropped": {}}


ONE = json.dumps({"totals": in_all(1)})
READY = "print('{\"ready\": true}', flush=True)"
DRAINED = "sys.stdin.readline()"
STOPPED = "sys.stdin.read()"
REPORT = f"print({ONE!r}, flush=True)"


def program(*steps: str) -> list[str]:
    """A worker that does this."""
    return [sys.executable, "-S", "-c", "; ".join(("import os, signal, sys, time", *steps))]


def printed(count: int, *more: str) -> list[str]:
    """The report of so many of these workers."""
    figures = ", ".join(f"{name} {count}" for name in NAMES if count or name not in RARE)
    losses = [f"lost in a full receive buffer: {count}"] if count else []
    return ["", "--- server statistics ---", figures, *losses, *more]


def report_of(crew: Crew) -> list[str]:
    """What stands at the end of a crew's work."""
    return crew.totals.lines(crew.missing)


@asynccontextmanager
async def working(commands: Sequence[Sequence[str]], limit: float = 60) -> AsyncIterator[tuple[Crew, Orders]]:
    """A crew, once it is ready; it is waited for at the end of the block. The limit is for real clocks."""
    orders, ready = Orders(), trio.Event()
    calls: list[str] = []

    def all_ready() -> None:
        calls.append("all")
        ready.set()

    crew = Crew(commands, orders, first_ready=lambda: calls.append("first"), all_ready=all_ready)
    with trio.fail_after(limit):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(crew.work)
            await ready.wait()
            yield crew, orders
    assert calls == ["first", "all"]  # once each, whatever is started again


async def test_a_crew_waits_for_reports_of_all(capsys: pytest.CaptureFixture[str]) -> None:
    """Those that need until they are told to stop, too."""
    speaking = f"print({json.dumps({'say': 'x', 'event': 'y', 'fields': {}})!r}, flush=True)"
    commands = [program(READY, DRAINED, REPORT), program(READY, DRAINED, speaking, STOPPED, REPORT)]
    async with working(commands) as (crew, orders):
        orders.drain.set()
        with trio.fail_after(60):
            while capsys.readouterr().out != "x\n":
                await trio.sleep(0.01)
            while report_of(crew) != printed(1):
                await trio.sleep(0.01)
        orders.give_stop()
    assert report_of(crew) == printed(2)
    assert crew.failure is None


LAST_WORDS = {
    "none": "pass",
    "cut short": f"print({ONE[:-1]!r}, end='', flush=True)",
    "whole but for its end": f"print({ONE!r}, end='', flush=True)",
    "nonsense": 'print(\'{"figures": {"ended": 1}}\', flush=True)',
}


@pytest.mark.parametrize("words", LAST_WORDS.values(), ids=LAST_WORDS)
async def test_a_killed_workers_words_are_not_trusted(words: str) -> None:
    """What was not said whole is missing, and that is said."""
    killed = program(READY, DRAINED, words, "os.kill(os.getpid(), signal.SIGKILL)")
    async with working([program(READY, DRAINED, REPORT), killed]) as (crew, orders):
        orders.drain.set()
    assert report_of(crew) == printed(1, "workers that ended without a report, counted as far as they had told: 1")


async def test_a_worker_that_does_not_obey_is_killed(autojump_clock: MockClock) -> None:
    """Some seconds after the order to stop; the clock jumps over them, and over nothing before."""
    async with working([program(READY, "time.sleep(600)")], limit=math.inf) as (crew, orders):
        began = trio.current_time()
        orders.give_stop()
    assert trio.current_time() - began == pytest.approx(5)
    assert report_of(crew) == printed(0, "workers that ended without a report, counted as far as they had told: 1")


async def test_a_cancelled_crew_leaves_no_process() -> None:
    """G9: however it is left."""
    orders, ready = Orders(), trio.Event()
    read, write = os.pipe()
    holding = program(f"os.write({write}, b'.')", READY, STOPPED)
    crew = Crew([holding], orders, first_ready=lambda: None, all_ready=ready.set)
    os.set_inheritable(write, True)
    with pytest.MonkeyPatch.context() as patch:
        start = trio.lowlevel.open_process
        patch.setattr(trio.lowlevel, "open_process", lambda *args, **options: start(*args, **options, pass_fds=[write]))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(crew.work)
            await ready.wait()
            nursery.cancel_scope.cancel()
    os.close(write)
    with open(read, "rb") as reading:
        assert reading.read() == b"."  # and then the end: nobody holds the other side any more


async def test_a_worker_that_keeps_dying_is_given_up(
    autojump_clock: MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    """After the fifth time; the others drain and report."""
    commands = [program(READY, DRAINED, REPORT), program(READY, REPORT, "sys.exit(3)")]
    crew = Crew(commands, Orders(), first_ready=lambda: None, all_ready=lambda: None)
    began = trio.current_time()
    await crew.work()
    assert crew.failure is not None
    assert crew.failure.startswith("worker 2 ended 5 times soon after its start, at last: process ")
    assert crew.failure.endswith(" ended with exit code 3")
    assert report_of(crew) == printed(6)
    assert trio.current_time() - began == pytest.approx(0.1 + 0.2 + 0.4 + 0.8)
    lines = capsys.readouterr().err.splitlines()
    assert [line.rpartition("; ")[2] for line in lines] == [
        f"starting another in {n:g} s" for n in (0.1, 0.2, 0.4, 0.8)
    ]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (program('print(\'{"failed": "no port"}\')', "sys.exit(2)"), "no port"),
        (program("sys.exit(1)"), r"process \d+ ended with exit code 1"),
        (["/nonexistent/python"], "cannot start a process: No such file or directory"),
    ],
)
async def test_a_worker_that_cannot_begin_is_the_end(bad: Sequence[str], reason: str) -> None:
    """Nothing is tried again before all are there; why is said by whoever knows."""
    orders = Orders()
    crew = Crew([program(READY, DRAINED, REPORT), bad], orders, first_ready=lambda: None, all_ready=lambda: None)
    with trio.fail_after(60):
        await crew.work()
    assert crew.failure is not None
    assert re.fullmatch(reason, crew.failure)
    assert not crew.has_been_ready


@pytest.mark.parametrize("steps", [['print(\'{"failed": "no port"}\')'], [READY, "sys.exit(3)"]])
def test_a_crew_that_gives_up_is_one_line_and_exit_code_2(
    steps: Sequence[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Behind the report, if the world was told that somebody listens."""
    monkeypatch.setattr(_workers, "_command", lambda *_: program(*steps))
    monkeypatch.setattr(_workers, "Restarts", lambda: Restarts(quick_ends=MOST_QUICK_ENDS - 1))
    assert main(["serve", "--workers", "2", "-p", "0", "127.0.0.1"]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    if READY in steps:
        assert "worker " in captured.err
        assert "--- server statistics ---" in captured.out
    else:
        assert captured.err == "trio_udp serve: no port\n"
        assert captured.out == ""


@given(st.lists(st.floats(0, 1e6)))
def test_restarts_are_bounded(lives: list[float]) -> None:
    """Five quick ends in a row are the last; until then the waits double, from the first one of a row."""
    restarts, row = Restarts(), 0
    for lived in lives:
        wait = restarts.wait_after(lived)
        row = row + 1 if lived < QUICK else 0
        if row == MOST_QUICK_ENDS:
            assert wait is None
            return
        assert wait == pytest.approx(FIRST_WAIT * 2 ** max(row - 1, 0))


# What is watched meanwhile

FIGURE = st.builds(
    Figure,
    name=st.sampled_from(["a", "b"]),
    grows=st.booleans(),
    labels=st.dictionaries(st.sampled_from(["x", "y"]), st.sampled_from(["1", "2"])),
    value=st.integers(0, 2**63),
)


def tell(*figures: Figure) -> str:
    """A worker's step: it tells what it has counted."""
    return f"print({json.dumps({'counted': figures})!r}, flush=True)"


def tell_all(count: int) -> str:
    """The same, with what stands in the report."""
    message = {"counted": [counter(count)], "so_far": in_all(count)}
    return f"print({json.dumps(message)!r}, flush=True)"


def told(*figures: Figure) -> str:
    """The same when it is ordered."""
    return f"sys.stdin.readline(); {tell(*figures)}"


def counter(value: int) -> Figure:
    """Of something that only grows."""
    return Figure("trio_udp_server_requests", True, {}, value)


def gauge(value: int) -> Figure:
    """Of something that does not."""
    return Figure("trio_udp_server_handlers", False, {}, value)


def about_workers(running: int, silent: int, ended: int) -> list[Figure]:
    """What the parent knows by itself."""
    return [
        Figure("trio_udp_server_workers", False, {}, running),
        Figure("trio_udp_server_workers_silent", False, {}, silent),
        Figure("trio_udp_server_workers_ended", True, {}, ended),
    ]


def report_step(count: int) -> str:
    """A worker's step: its report."""
    return f"print({json.dumps({'totals': in_all(count)})!r}, flush=True)"


async def test_a_crew_tells_the_sum_of_what_its_workers_have_counted() -> None:
    """By asking them; what one had counted that has ended stays counted, and what it held is held no more."""
    one = program(READY, told(counter(3), gauge(1)), DRAINED, REPORT)
    other = program(READY, told(counter(4), gauge(1)), DRAINED, tell(counter(9), gauge(2)), REPORT)
    async with working([one, other]) as (crew, orders):
        assert crew.watched.figures() == about_workers(2, 0, 0)
        await crew.watched.refresh()
        assert crew.watched.figures() == [counter(7), gauge(2), *about_workers(2, 0, 0)]
        orders.drain.set()
        with trio.fail_after(60):
            while crew.watched.figures()[-1].value != 2:
                await trio.sleep(0.01)
    assert crew.watched.figures() == [counter(3 + 9), *about_workers(0, 0, 2)]


async def test_what_a_killed_worker_had_told_stands_in_the_report_as_it_does_in_what_is_watched() -> None:
    """The last that it told, once; one that reports is counted by that alone."""
    killed = program(READY, tell_all(2), tell_all(3), DRAINED, "os.kill(os.getpid(), signal.SIGKILL)")
    other = program(READY, tell_all(1), DRAINED, tell_all(4), report_step(4))
    async with working([killed, other]) as (crew, orders):
        orders.drain.set()
    assert crew.watched.figures()[0] == counter(3 + 4)
    assert dataclasses.asdict(crew.totals) == in_all(3 + 4)
    assert crew.missing == 1


async def test_a_worker_that_does_not_tell_is_waited_for_a_second(autojump_clock: MockClock) -> None:
    """Then it counts with what it told before, and that is said until it tells again."""
    watched = Watched()
    mate = watched.begin()
    mate.take([counter(5)])
    began = trio.current_time()
    await watched.refresh()
    assert trio.current_time() - began == pytest.approx(1)
    assert watched.figures() == [counter(5), *about_workers(1, 1, 0)]
    mate.take([counter(6)])
    assert watched.figures() == [counter(6), *about_workers(1, 0, 0)]


async def test_nobody_waits_for_a_worker_that_has_ended(autojump_clock: MockClock) -> None:
    """Not even for the second."""
    watched = Watched()
    mate = watched.begin()
    with trio.fail_after(0.5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watched.refresh)
            await trio.testing.wait_all_tasks_blocked()
            watched.end(mate)
    assert watched.figures() == about_workers(0, 0, 1)


@given(st.lists(st.lists(FIGURE, max_size=6), max_size=4))
def test_a_sum_has_all_that_was_told(several: list[list[Figure]]) -> None:
    """Each name with the same labels once, also after JSON; and what is put together in another way is the same."""
    assert [figures_in(json.loads(json.dumps(figures))) for figures in several] == several
    sums = summed(several)
    assert sum(figure.value for figure in sums) == sum(figure.value for figures in several for figure in figures)
    keys = [(figure.name, sorted(figure.labels.items())) for figure in sums]
    assert all(keys.count(key) == 1 for key in keys)
    by_steps: list[Figure] = []
    for figures in several:
        by_steps = summed([by_steps, figures])
    assert [figure.value for figure in by_steps] == [figure.value for figure in sums]


@given(JSON | st.lists(JSON, min_size=1))
def test_other_json_is_no_list_of_figures(value: object) -> None:
    """Another version may send it."""
    assert figures_in(value) in (None, [])


@pytest.mark.parametrize("wrong", [[1, True, {}, 1], ["a", 1, {}, 1], ["a", True, {"x": 1}, 1], ["a", True, {}, "1"]])
def test_a_figure_with_something_else_in_it_is_none(wrong: list[object]) -> None:
    """And takes the others with it."""
    assert figures_in([["a", True, {}, 1], wrong]) is None


async def test_an_order_that_is_given_twice_before_it_has_left_leaves_once() -> None:
    """And in the order in which they were given; a worker that has just died gets none, which harms nobody."""
    post = Post()
    ours, theirs = trio.testing.memory_stream_pair()
    for order in (b"tell\n", b"reload keys\n", b"tell\n"):
        post.put(order)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(post.deliver, ours)
        await trio.testing.wait_all_tasks_blocked()
        assert await theirs.receive_some() == b"tell\nreload keys\n"
        await theirs.aclose()
        post.put(b"tell\n")
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()


# What goes through the pipe


@given(st.lists(TOTALS, max_size=5))
@example([ServerTotals(dropped={DropReason.WRONG_PEER: 0})])  # a reason that nothing was dropped for
def test_a_total_is_the_sum_of_all(several: list[ServerTotals]) -> None:
    """Field by field, also of those that were sent as JSON."""
    received = [totals_from_json(json.loads(json.dumps(dataclasses.asdict(totals)))) for totals in several]
    assert received == several
    whole = sum(several, ServerTotals())
    for name in (*NAMES, "kernel_drops"):
        assert getattr(whole, name) == sum(getattr(totals, name) for totals in several)
    for reason in DropReason:
        assert whole.dropped.get(reason, 0) == sum(totals.dropped.get(reason, 0) for totals in several)
    assert len(whole.lines()) == 3 + any(whole.dropped.values()) + (whole.kernel_drops > 0)
    assert whole.lines(2)[-1] == "workers that ended without a report, counted as far as they had told: 2"


@given(JSON)
def test_other_json_is_no_totals(value: object) -> None:
    """Another version may send it."""
    assert totals_from_json(value) is None


@pytest.mark.parametrize(
    "wrong", [{"requests": True}, {"more": 1}, {"dropped": 1}, {"dropped": {"new": 1}}, {"dropped": {"late": "1"}}]
)
def test_totals_with_something_else_in_them_are_none(wrong: dict[str, object]) -> None:
    """A counter that is none, one that nobody knows, and a reason of the next version."""
    assert totals_from_json(dataclasses.asdict(ServerTotals())) == ServerTotals()
    assert totals_from_json(dataclasses.asdict(ServerTotals()) | wrong) is None


@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_whatever_a_worker_writes_is_a_message_or_nothing(line: bytes) -> None:
    """It is never an exception."""
    assert isinstance(message_of(line), dict)


def test_json_that_is_too_deep_is_nothing() -> None:
    """Nor is this, which overflows a stack."""
    assert message_of(b"[" * 100_000) == {}


@given(st.lists(st.binary(min_size=1)))
def test_messages_are_whole_lines(chunks: list[bytes]) -> None:
    """However they are cut; what comes after the last line's end is not one."""

    class Chunks(trio.abc.ReceiveStream):
        async def receive_some(self, max_bytes: int | None = None) -> bytes:
            await trio.lowlevel.checkpoint()
            return chunks.pop(0) if chunks else b""

        async def aclose(self) -> None:
            await trio.lowlevel.checkpoint()

    async def main() -> int:
        return len([message async for message in messages(Chunks())])

    lines = b"".join(chunks).count(b"\n")
    assert trio.run(main) == lines


# What a worker is


def arguments(**changes: object) -> argparse.Namespace:
    """Of the command that starts the workers."""
    usual = {"profile": "tu1", "drop": 0.25, "seed": 7, "family": socket.AF_UNSPEC, "interface": "", "key_file": None}
    usual |= {"limit": 10_000.0, "limit_all": None}
    faults = dict.fromkeys(("chaos", "chaos_up", "chaos_down"))
    return argparse.Namespace(**{**usual, **faults, "log_format": "json", **changes})


def after(command: Sequence[str], option: str) -> str:
    """An option's value."""
    return command[command.index(option) + 1]


def test_workers_have_the_faults_that_the_command_was_given() -> None:
    """In the words that are read as the same."""
    said = Conditions.parse("delay=10ms±3ms,drop=5%,burst=gilbert(1%,30%)")
    command = _workers._command(arguments(chaos=said, chaos_down=Conditions()), 9, 1)
    found = [word.partition("=") for word in command if word.startswith("--chaos")]
    assert [(option, Conditions.parse(text)) for option, _, text in found] == [
        ("--chaos", said),
        ("--chaos-down", Conditions()),
    ]


def test_workers_lose_different_requests_but_the_same_again() -> None:
    """Each has a seed of its own, made of the one that was given; none, if none was."""
    seeds = [after(_workers._command(arguments(), 9, number), "--seed") for number in range(1, 9)]
    assert len(set(seeds)) == 8
    assert seeds[2] == after(_workers._command(arguments(), 9, 3), "--seed")
    assert seeds[2] != after(_workers._command(arguments(seed=8), 9, 3), "--seed")
    assert "--seed" not in _workers._command(arguments(seed=None), 9, 3)


@pytest.mark.parametrize(("family", "expected"), [(socket.AF_INET, ["-4"]), (socket.AF_INET6, ["-6"]), (0, [])])
def test_workers_are_told_what_the_command_was_told(family: int, expected: list[str]) -> None:
    """And the port that was found."""
    command = _workers._command(arguments(family=family, interface="-x"), 4711, 1)
    assert [option for option in command if option in ("-4", "-6")] == expected
    assert (after(command, "-p"), after(command, "--drop"), after(command, "--profile")) == ("4711", "0.25", "tu1")
    assert after(command, "--log-format") == "json"
    assert command[-2:] == ["--", "-x"]
    assert {"--limit=10000.0/s", "--limit-all=off"} <= set(command)


@pytest.mark.parametrize(("change", "expected"), [(lambda path: [os.getcwd(), *path], False), (sorted, True)])
def test_workers_look_for_modules_where_the_command_did(
    change: Callable[[list[str]], list[str]], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A script does not look into the current directory, where anybody may have put a `trio_udp.py`."""
    elsewhere = [path for path in sys.path if path not in ("", os.getcwd())]
    monkeypatch.setattr(sys, "path", change(elsewhere))
    assert ("-P" in _workers._command(arguments(), 9, 1)) == expected
