"""Being told to stop again and again."""

import os
import signal

import pytest
import trio
import trio.testing

from trio_udp._cli import _signals

from .command import running


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
