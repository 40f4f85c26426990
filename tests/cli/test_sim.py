"""`sim`: one world from one seed."""

import math
import os
import re
import subprocess
import sys
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_udp import TU1, DropReason, testing
from trio_udp._cli import main
from trio_udp.proto import Answer
from trio_udp.testing import run_world
from trio_udp.testing._world import draw_plan

from .command import MODULE, run_here

VERDICT = r"""seed 7, 1 min: clients 5, servers [123], partitions \d, crashes \d, NAT rebindings \d
network: Conditions\(loss=0\.\d+, .*\)
requests \d+: replies \d+, given up \d+, cancelled \d+, wrong answers 0
packets \d+, \d+ of them forged
dropped: \d+ \w+(, \d+ \w+)*
violations 0
digest [0-9a-f]{32}
"""

PINNED = "d1e6a5a24dfdd7912bbee2b848bfe4ba"
"""Of the world below. It changes with anything that changes a packet, a draw or the order of two tasks: a new Trio, a
new way to draw ids. Then write the new one here; what must not differ is what two Pythons or two machines say."""


def test_sim_prints_a_verdict_and_exits_0() -> None:
    """A short line for each thing one wants to know."""
    code, out, err = run_here("sim", "--seed", "7", "--minutes", "1", "--clients", "5")
    assert (code, err) == (0, [])
    assert re.fullmatch(VERDICT, "\n".join([*out, ""]))


def test_a_world_has_the_digest_it_always_had() -> None:
    """The same on every Python that the tests run on, and on every machine."""
    findings = run_world(1, clients=3, seconds=30.0)
    assert (findings.violations, findings.digest) == (0, PINNED)


def test_equal_seeds_are_equal_worlds_in_every_process() -> None:
    """Whatever the hashes of strings are; another seed is another world."""
    printed = [
        subprocess.run(  # noqa: S603 - this interpreter, on our own command
            [*MODULE, "sim", "--minutes", "2", "--clients", "10", "--seed", seed],
            env={**os.environ, "PYTHONHASHSEED": hashes},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed, hashes in (("3", "1"), ("3", "2"), ("4", "2"))
    ]
    assert printed[0] == printed[1]
    assert printed[1].splitlines()[-1] != printed[2].splitlines()[-1]


def test_an_hour_of_a_hundred_clients_breaks_no_promise() -> None:
    """20 % loss, duplication, reordering and a forger of every kind: each of them is dropped for its reason."""
    findings = run_world(2, clients=100, seconds=3600.0, loss=0.2)
    assert (findings.said, findings.violations, findings.wrong) == ((), 0, 0)
    assert findings.requests == findings.replies + findings.given_up + findings.cancelled
    assert findings.requests > 500
    assert findings.forged > 500
    kinds = {"WRONG_PEER", "UNKNOWN_REQUEST", "MALFORMED", "WRONG_VERSION", "WRONG_DIRECTION", "DUPLICATE"}
    assert {DropReason[kind] for kind in kinds} <= set(findings.dropped)


def test_a_server_that_lost_power_twice_comes_back() -> None:
    """Found by this seed: the second time, while it was down, made it forget who waited for it to come back."""
    findings = run_world(3, clients=2, seconds=3600.0)
    (first, second) = sorted(findings.plan.crashes)
    assert first.which == second.which
    assert first.begins < second.begins < first.begins + first.lasts
    assert findings.said == ()


@given(random=st.randoms(use_true_random=False), seconds=st.floats(6, 86_400))
def test_a_plan_keeps_within_the_world(random: Random, seconds: float) -> None:
    """Whatever is drawn: outages begin before the end, and concern a server that there is."""
    plan = draw_plan(random, clients=1, seconds=seconds)
    for outage in (*plan.partitions, *plan.crashes):
        assert 0 <= outage.begins <= seconds
        assert 0 <= outage.which < plan.servers
        assert outage.lasts >= 1
    assert all(0 <= at <= seconds for at in plan.rebindings)


def test_a_client_that_believes_its_own_request_is_found_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1, the first violations, and the command that repeats it."""
    decode = TU1.decode_answer_untrusted

    def believe_reflections(self: TU1, data: bytes) -> Answer | DropReason:
        answer = decode(self, data)
        if answer is DropReason.WRONG_DIRECTION:
            return Answer(data[8:24], data[24:], data[3])
        return answer

    monkeypatch.setattr(TU1, "decode_answer_untrusted", believe_reflections)
    assert main(["sim", "--seed", "3", "--clients", "20", "--minutes", "2", "--loss", "0.1"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert any(re.fullmatch(r"violation: b'client .*\?' was answered b'client .*\?' by .*", line) for line in lines)
    assert "repeat it: python -m trio_udp sim --seed 3 --minutes 2 --clients 20 --loss 0.1" in lines


def test_an_exception_is_a_failure_that_can_be_repeated(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever it is."""

    def fail(*args: object, **kwargs: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(testing, "run_world", fail)
    assert main(["sim", "--seed", "3"]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "RuntimeError: a bug\n" in printed.err
    assert printed.err.endswith("repeat it: python -m trio_udp sim --seed 3 --minutes 10 --clients 50\n")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"clients": 0}, "expected 1 client or more, got 0"),
        ({"seconds": 0.0}, "expected more than 0 seconds, and an end, got 0.0"),
        ({"seconds": math.inf}, "got inf"),
        ({"loss": 1.5}, "expected a share of losses from 0 to 1, got 1.5"),
    ],
)
def test_a_world_that_cannot_be_is_refused(changes: dict[str, Any], said: str) -> None:
    """Before anything is simulated, with what was expected."""
    with pytest.raises(ValueError, match=re.escape(said)):
        run_world(1, **{"clients": 1, "seconds": 1.0, **changes})


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--seed"),
        (["--seed", "x"], "expected a whole number, 0 or more, got 'x'"),
        (["--seed", "-1"], "got '-1'"),
        (["--seed", "1", "--minutes", "0"], "expected a number, 0.1 to 1440, got '0'"),
        (["--seed", "1", "--clients", "0"], "expected a whole number, 1 to 10000, got '0'"),
        (["--seed", "1", "--loss", "2"], "expected a number, 0 to 1, got '2'"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """As with the other commands."""
    with pytest.raises(SystemExit) as ended:
        main(["sim", *arguments])
    printed = capsys.readouterr()
    assert (ended.value.code, printed.out, printed.err.count("\n")) == (2, "", 1)
    assert said in printed.err


def test_no_other_command_imports_the_test_kit() -> None:
    """Decision 0015: `ping` does not pay for it."""
    code = "import sys, trio_udp.__main__; print([name for name in sys.modules if name.startswith('trio_udp.testing')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603 - ours
    assert done.stdout == "[]\n"
