"""A simulation is a plain call: deterministic, bounded, and honest about what failed."""

import inspect
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from trio._core import _run

import trio_udp
from trio_udp.testing import Conditions, NotDeterministic, SimNet, Stalled, simulate, simulated

from .worlds import bound, connected, heard

ROUGH: Final = Conditions(latency=0.02, jitter=0.01, loss=0.2, duplicate=0.1, reorder=0.1, corrupt=0.1)


async def chatter(net: SimNet) -> int:
    """Several clients of trio_udp and of plain sockets at once, over a rough link."""
    net.link(ROUGH)
    server_host, client_host = net.host("server"), net.host("client")
    answers = []

    async def ask(client: trio_udp.Client) -> None:
        for number in range(5):
            answers.append(await client.request(b"%d" % number))

    async def shout() -> None:
        sock = await connected(client_host, "server", 1060)
        for _ in range(10):
            await trio.sleep(net.random.random())
            await sock.send(net.random.randbytes(5))

    async with trio.open_nursery() as nursery:
        with server_host.here():
            await nursery.start(trio_udp.serve, lambda request: request.payload, 1060)
        with client_host.here():
            async with trio_udp.open_client("server", 1060) as client, trio.open_nursery() as asking:
                for _ in range(5):
                    asking.start_soon(ask, client)
                    asking.start_soon(shout)
        nursery.cancel_scope.cancel()
    return len(answers)


def digest(seed: int) -> str:
    """Of one run from this seed."""
    net = SimNet(seed=seed)
    assert simulate(chatter, net=net, seed=seed) == 25
    return net.trace.digest


def test_equal_seeds_give_equal_runs() -> None:
    """And different ones different runs."""
    assert digest(1) == digest(1) != digest(2)
    assert simulate(chatter, seed=3, check_determinism=True) == 25


def test_equal_seeds_give_equal_runs_in_other_processes() -> None:
    """Whatever Python's hash has for a seed there."""
    program = "from tests.simnet.test_simulate import digest; print(digest(4))"
    root = Path(__file__).parents[2]
    digests = set()
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run(  # noqa: S603 - ourselves
            [sys.executable, "-c", program], env=environment, cwd=root, capture_output=True, text=True, check=True
        )
        digests.add(done.stdout.strip())
    assert digests == {digest(4)}


def test_what_is_left_to_chance_elsewhere_is_found() -> None:
    """With the first line that differs, or the number of lines."""

    async def leave_to_chance(net: SimNet, size: int) -> None:
        sock = await bound(net.localhost)
        await sock.sendto(os.urandom(size), sock.getsockname())

    with pytest.raises(NotDeterministic, match=r"differ, first here:\n.*16 bytes.*\n.*16 bytes"):
        simulate(leave_to_chance, 16, check_determinism=True)

    runs = iter([1, 2])

    async def send_more(net: SimNet) -> None:
        sock = await bound(net.localhost)
        for _ in range(next(runs)):
            await sock.sendto(b"?", sock.getsockname())

    with pytest.raises(NotDeterministic, match="1 and 2 packets"):
        simulate(send_more, check_determinism=True)


def test_determinism_needs_a_new_network_for_each_run() -> None:
    """So a network is refused, and a function that makes one is not."""
    with pytest.raises(ValueError, match="expected a function that makes a network"):
        simulate(chatter, net=SimNet(), check_determinism=True)
    made = []

    def make(seed: int) -> SimNet:
        made.append(seed)
        return SimNet(seed=seed, conditions=Conditions(latency=5))

    simulate(_sleep, net=make, seed=9, check_determinism=True)
    assert made == [9, 9]


async def _sleep(net: SimNet) -> None:
    await trio.sleep(1)


def test_an_exception_comes_out_as_it_is_with_the_end_of_the_trace() -> None:
    """The same object, in no group."""
    failure = KeyError("a bug")

    async def fail(net: SimNet) -> None:
        server = await bound(net.host("server"), port=7)
        client = await connected(net.host("client"), "server", 7)
        for _ in range(50):
            await client.send(b"hello")
        assert await heard(server)
        raise failure

    with pytest.raises(KeyError) as caught:
        simulate(fail, seed=5)
    assert caught.value is failure
    (note,) = failure.__notes__
    assert note.startswith("simulated network, seed 5, 50 packets:\n… 10 packets before these\n")
    assert "client 192.0.2.3:" in note
    assert note.endswith("5 bytes 'hello'  delivered")


def test_a_failure_says_every_seed_that_makes_it_again() -> None:
    """That of a network that was made before is the scheduler's too, unless that has another."""

    async def fail(net: SimNet) -> None:
        await trio.lowlevel.checkpoint()
        raise KeyError(net.seed)

    for net, seed, said in (
        (SimNet(8), None, "seed 8, 0 packets"),
        (SimNet(8), 8, "seed 8, 0 packets"),
        (SimNet(8), 0, "seed 0 on a network of seed 8, 0 packets"),
        (SimNet, 5, "seed 5, 0 packets"),
        (SimNet, None, "seed 0, 0 packets"),
        (lambda seed: SimNet(seed + 1), 5, "seed 5 on a network of seed 6, 0 packets"),
    ):
        with pytest.raises(KeyError) as caught:
            simulate(fail, net=net, seed=seed)
        assert caught.value.__notes__[0].startswith(f"simulated network, {said}:")


def test_a_network_made_before_gives_its_seed_to_the_run() -> None:
    """So that one seed is enough to have everything again."""
    first, again = SimNet(4), SimNet(4)
    simulate(chatter, net=first)
    simulate(chatter, net=again, seed=4)
    assert first.trace.digest == again.trace.digest


def test_what_ends_a_wait_shows_nothing_of_how_the_network_waits() -> None:
    """On the real one no error came before it either."""

    async def wait(net: SimNet) -> None:
        sock = await bound(net.localhost)
        with trio.fail_after(1):
            await sock.recv(10)

    with pytest.raises(trio.TooSlowError) as caught:
        simulate(wait)
    error: BaseException | None = caught.value
    before = []
    while error is not None:
        before.append(type(error))
        error = error.__context__
    assert before == [trio.TooSlowError, trio.Cancelled]


def test_a_test_that_says_it_fails_shows_the_trace_too() -> None:
    """`pytest.fail` is no ordinary exception."""

    async def fail(net: SimNet) -> None:
        await (await bound(net.localhost)).sendto(b"hello", ("127.0.0.1", 7))
        pytest.fail("not good")

    with pytest.raises(pytest.fail.Exception) as caught:
        simulate(fail)
    assert "5 bytes 'hello'" in caught.value.__notes__[0]


def test_time_is_limited() -> None:
    """A simulation in which everybody waits for ever ends, and says so with its trace."""

    async def wait(net: SimNet) -> None:
        await (await bound(net.localhost)).recv(10)

    with pytest.raises(Stalled, match="time limit of 5") as caught:
        simulate(wait, time_limit=5)
    assert "0 packets" in caught.value.__notes__[0]


def test_what_fails_because_time_is_up_says_so() -> None:
    """Cleaning up, for example, is interrupted as everything else is."""

    async def wait(net: SimNet) -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise KeyError("not cleaned up")

    with pytest.raises(ExceptionGroup) as caught:
        simulate(wait, time_limit=5)
    (failure,) = caught.value.exceptions
    assert (repr(failure), failure.__notes__) == (
        "KeyError('not cleaned up')",
        ["the simulation reached its time limit of 5 s"],
    )


def test_a_year_passes_in_no_time() -> None:
    """And nothing stalls before."""

    async def sleep(net: SimNet) -> float:
        await trio.sleep(31_000_000)
        return net.now

    assert simulate(sleep) == 31_000_000


def test_arguments_and_results_are_passed_on() -> None:
    """The network comes first."""

    async def add(net: SimNet, one: int, other: int) -> int:
        await trio.lowlevel.checkpoint()
        return one + other

    assert simulate(add, 1, 2) == 3


def test_the_scheduler_is_as_it_was_afterwards() -> None:
    """The private names exist that are used for it, and they get back what they had."""
    before = _run._ALLOW_DETERMINISTIC_SCHEDULING, _run._r.getstate()
    simulate(chatter)
    assert (_run._ALLOW_DETERMINISTIC_SCHEDULING, _run._r.getstate()) == before
    with pytest.raises(Stalled):
        simulate(lambda net: trio.sleep_forever(), time_limit=1)
    assert (_run._ALLOW_DETERMINISTIC_SCHEDULING, _run._r.getstate()) == before


def test_simulations_in_several_threads_do_not_disturb_each_other() -> None:
    """Each thread's scheduler has the seed of its own simulation, and runs that are none have Trio's."""

    async def run_beside(is_over: threading.Event) -> None:
        while not is_over.is_set():
            await trio.lowlevel.checkpoint()

    before = _run._r, _run._ALLOW_DETERMINISTIC_SCHEDULING
    seeds = (1, 2, 3, 4)
    alone = [digest(seed) for seed in seeds]
    is_over = threading.Event()
    with ThreadPoolExecutor() as threads:
        beside = threads.submit(trio.run, run_beside, is_over)
        together = list(threads.map(digest, seeds))
        is_over.set()
        beside.result()
    assert together == alone
    assert (_run._r, _run._ALLOW_DETERMINISTIC_SCHEDULING) == before


def test_a_simulation_inside_another_is_refused_and_leaves_it_alone() -> None:
    """As Trio refuses a run inside a run; the outer one goes on in its order."""

    async def nest(net: SimNet, *, is_tried: bool) -> list[int]:
        if is_tried:
            with pytest.raises(RuntimeError, match="inside"):
                simulate(chatter)
        return await shuffled()

    assert simulate(partial(nest, is_tried=True), seed=5) == simulate(partial(nest, is_tried=False), seed=5)


async def shuffled() -> list[int]:
    """The order in which twenty tasks run."""
    ran: list[int] = []

    async def run(number: int) -> None:
        await trio.lowlevel.checkpoint()
        ran.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(run, number)
    return ran


def test_the_order_of_tasks_comes_from_the_seed() -> None:
    """Which of many tasks runs first is decided by it alone."""

    async def order(net: SimNet) -> list[int]:
        return await shuffled()

    assert simulate(order, seed=1) == simulate(order, seed=1)
    assert len({tuple(simulate(order, seed=seed)) for seed in range(5)}) > 1


@given(st.integers(), st.binary(max_size=50))
def test_simulations_nest_under_hypothesis(seed: int, payload: bytes) -> None:
    """Each example is a world of its own."""

    async def ask(net: SimNet) -> bytes:
        server, client = await bound(net.host("server"), port=7), await connected(net.host("client"), "server", 7)
        await client.send(payload)
        return await server.recv(100)

    assert simulate(ask, seed=seed) == payload


@pytest.fixture(name="word")
def word_fixture() -> str:
    """A fixture of pytest's."""
    return "fixture"


@pytest.mark.parametrize("number", [1, 2])
@simulated(seed=3, time_limit=100)
async def test_simulated_tests_take_fixtures_and_parameters(net: SimNet, word: str, number: int) -> None:
    """By their names, behind the network."""
    await trio.sleep(99)
    assert (net.seed, net.now, word, number in (1, 2)) == (3, 99, "fixture", True)


@given(number=st.integers())
@simulated(check_determinism=True)
async def test_simulated_tests_take_examples(net: SimNet, number: int) -> None:
    """Below `@given`."""
    await trio.sleep(1)
    assert isinstance(number, int)


@simulated
async def test_simulated_needs_no_parentheses_without_options(net: SimNet) -> None:
    """As `pytest.fixture`."""
    await trio.sleep(1)
    assert (net.seed, net.now) == (0, 1.0)


def test_simulated_makes_a_plain_function() -> None:
    """With the name, the words and the other parameters of the async one."""

    @simulated(net=lambda seed: SimNet(seed=seed + 1), seed=1)
    async def example(net: SimNet, one: int, *, other: str = "") -> str:
        """What it says."""
        await trio.lowlevel.checkpoint()
        return f"{net.seed} {one} {other}"

    assert not inspect.iscoroutinefunction(example)
    assert (example.__name__, example.__doc__) == ("example", "What it says.")
    assert str(inspect.signature(example)) == "(one: int, *, other: str = '') -> str"
    assert example(1, other="b") == "2 1 b"


def test_what_cannot_be_a_simulated_test_is_refused() -> None:
    """Where it is decorated, and with what to do: what is not async, what takes no network, and methods."""

    @given(number=st.integers())
    async def above(net: SimNet, number: int) -> None: ...

    async def nothing() -> None: ...

    class Tests:
        async def method(self, net: SimNet) -> None: ...

    decorate: Any = simulated()
    with pytest.raises(TypeError, match="expected an async function below @simulated, got above; @given belongs above"):
        decorate(above)
    for function in (nothing, Tests.method):
        with pytest.raises(
            TypeError, match=rf"expected {function.__name__} to take a network first; in a method, call"
        ):
            decorate(function)


def test_the_clients_random_bytes_come_from_the_seed() -> None:
    """But only inside: outside they are the system's."""

    async def draw(net: SimNet) -> bytes:
        await trio.lowlevel.checkpoint()
        return trio_udp._random.random_source()(8)

    async def draw_outside() -> bytes:
        await trio.lowlevel.checkpoint()
        return trio_udp._random.random_source()(8)

    assert simulate(draw, seed=1) == simulate(draw, seed=1) != simulate(draw, seed=2)
    assert trio.run(draw_outside) != trio.run(draw_outside)
