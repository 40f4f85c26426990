"""`ping --fail-if` and `--wait-for`: exit codes and lines, on a clock that jumps."""

import pytest
from trio.testing import MockClock

import trio_udp
from trio_udp.measure import parse_condition

from .command import run_command, run_here
from .test_ping import ping_code


def echo(request: trio_udp.Request) -> bytes:
    """Answer all."""
    return request.payload


def silent(_request: trio_udp.Request) -> None:
    """Answer nothing."""


def every_other(request: trio_udp.Request) -> bytes | None:
    """Answer half of the probes."""
    every_other.probes += 1  # type: ignore[attr-defined]  # a counter
    return request.payload if every_other.probes % 2 else None  # type: ignore[attr-defined]  # see above


every_other.probes = 0  # type: ignore[attr-defined]  # see above


async def test_objectives_that_hold_change_nothing(
    autojump_clock: MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 0, and not a word."""
    conditions = [parse_condition(text) for text in ("p99>20s", "loss>1%", "replies<3")]
    assert await ping_code(echo, count=3, fail_if=conditions) == (0, 2.0)
    assert capsys.readouterr().err == ""


async def test_each_broken_objective_has_a_line_and_the_exit_code_is_3(
    autojump_clock: MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those that hold have none."""
    every_other.probes = 0  # type: ignore[attr-defined]  # see above
    conditions = [parse_condition(text) for text in ("loss>1%", "p99>20s", "lost>1")]
    code, _ = await ping_code(every_other, count=4, fail_if=conditions)
    assert code == 3
    assert capsys.readouterr().err.splitlines() == [
        "127.0.0.1: broken objective loss>1%: loss is 50%",
        "127.0.0.1: broken objective lost>1: lost is 2",
    ]


async def test_a_loss_of_everything_breaks_an_objective_of_times(
    autojump_clock: MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whichever way it compares: nobody can tell, and 3 goes before the 1 of no replies."""
    conditions = [parse_condition(text) for text in ("p99>20ms", "p99<=20ms")]
    assert (await ping_code(silent, count=2, wait=1.0, fail_if=conditions))[0] == 3
    assert capsys.readouterr().err.splitlines() == [
        "127.0.0.1: broken objective p99>20ms: p99 is unknown: no reply",
        "127.0.0.1: broken objective p99<=20ms: p99 is unknown: no reply",
    ]


async def test_waiting_ends_as_soon_as_it_is_so(autojump_clock: MockClock, capsys: pytest.CaptureFixture[str]) -> None:
    """The third reply comes at 2 s; `-c` and `-w` would have let it go on."""
    code, took = await ping_code(echo, count=100, deadline=50.0, wait_for=[parse_condition("replies>=3")])
    assert code == 0
    assert 2.0 <= took < 3.0
    assert "3 packets transmitted, 3 received" in capsys.readouterr().out


async def test_waiting_in_vain_is_exit_code_1(autojump_clock: MockClock) -> None:
    """All conditions have to hold, and other replies are no comfort."""
    conditions = [parse_condition("replies>=2"), parse_condition("replies>=9")]
    assert await ping_code(echo, deadline=4.5, wait_for=conditions) == (1, 4.5)


async def test_what_is_waited_for_cannot_be_so_while_nobody_can_tell(autojump_clock: MockClock) -> None:
    """No reply is not a fast reply."""
    assert (await ping_code(silent, deadline=3.0, wait_for=[parse_condition("p99<1s")]))[0] == 1


@pytest.mark.parametrize("option", ["--fail-if", "--wait-for"])
def test_a_bad_condition_is_one_line_and_exit_code_2(option: str) -> None:
    """What was expected, and what came."""
    code, out, err = run_here("ping", "-c", "1", option, "p99>20")
    assert (code, out) == (2, [])
    assert len(err) == 1
    assert f"argument {option}: expected a time with its unit" in err[0]


async def test_the_command_itself_says_3() -> None:
    """As a process, on its own server."""
    code, out, err = await run_command("ping", "-c", "2", "-i", "0.01", "--fail-if", "replies<=2")
    assert (code, err) == (3, ["localhost: broken objective replies<=2: replies is 2"])
    assert any("2 packets transmitted, 2 received" in line for line in out)
