"""Names whose addresses change: found, watched and followed."""

from collections.abc import Callable

import pytest
import trio
from trio.testing import MockClock

import trio_udp
from trio_udp import Address
from trio_udp.measure import Fixed, Follower, Moved, News, Unresolved, open_prober

from ..networks import moving_name, serving

UNKNOWN = Unresolved("server.test", "Name or service not known")


class Run:
    """One that sends nothing by itself."""

    def __init__(self, peer: Address) -> None:
        self.peer = peer
        self.sent = 0
        self.is_over = trio.Event()

    def stop(self) -> None:
        """See `Followed`."""
        self.is_over.set()


def nothing(run: Run) -> None:
    """Let it go on."""


async def followed(follower: Follower, act: Callable[[Run], object] = nothing) -> list[Run]:
    """All runs of a loop; something is done when each begins, and each goes on until it is stopped."""
    runs = []
    async for address in follower:
        runs.append(Run(address))
        async with follower.watching(runs[-1]):
            act(runs[-1])
            await runs[-1].is_over.wait()
    return runs


async def test_a_name_that_moves_is_measured_at_each_of_its_addresses(autojump_clock: MockClock) -> None:
    """No probe more than asked for in all; the first address is taken, and kept as long as the name has it."""
    names = moving_name("127.0.0.2")
    asked = []

    def note(request: trio_udp.Request) -> bytes:
        asked.append(request.local.host)
        if len(asked) == 3:
            names.addresses[:] = ["127.0.0.3", "127.0.0.4"]
        if len(asked) == 5:
            names.addresses.reverse()
        return request.payload

    news: list[News] = []
    async with serving(note, host="0.0.0.0") as server:  # noqa: S104 - all of 127.0.0.0/8
        follower = Follower("server.test", server.address.port, every=1.5, count=9, on_news=news.append)
        found = []
        async for address in follower:
            async with open_prober(*address) as prober, follower.watching(prober):
                found.append(await prober.run(Fixed(1.0), count=follower.left))
    assert [summary.received for summary in found] == [asked.count("127.0.0.2"), asked.count("127.0.0.3")]
    assert len(asked) == 9
    assert asked == sorted(asked)
    before, now = (Address(f"127.0.0.{last}", server.address.port) for last in (2, 3))
    assert news == [Moved("server.test", before, now)]
    assert str(news[0]) == "server.test: is now 127.0.0.3, and no more 127.0.0.2"


async def test_a_name_that_vanishes_ends_nothing(autojump_clock: MockClock) -> None:
    """It is told once, and again when it was there in between; the run goes on."""
    names = moving_name("127.0.0.1")
    news: list[News] = []
    follower = Follower("server.test", 1060, every=1.0, on_news=news.append)

    async def come_and_go() -> None:
        for _ in range(2):
            names.addresses.clear()
            await trio.sleep(5.5)
            names.addresses.append("127.0.0.1")
            await trio.sleep(5.5)
        follower.stop()

    async with trio.open_nursery() as nursery:
        runs = await followed(follower, lambda _: nursery.start_soon(come_and_go))
    assert len(runs) == 1
    assert news == [UNKNOWN, UNKNOWN]
    assert str(UNKNOWN) == "server.test: cannot be resolved: Name or service not known"


async def test_a_name_without_an_address_is_waited_for(autojump_clock: MockClock) -> None:
    """Until it has one."""
    names = moving_name()
    follower = Follower("server.test", 1060, every=1.0)
    began = trio.current_time()

    async def appear() -> None:
        await trio.sleep(2.5)
        names.addresses.append("127.0.0.7")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(appear)
        (run,) = await followed(follower, Run.stop)
    assert run.peer == ("127.0.0.7", 1060)
    assert trio.current_time() - began == pytest.approx(3.0)


async def test_a_stop_ends_the_search_for_an_address(autojump_clock: MockClock) -> None:
    """At once, and a follower that has been stopped gives none afterwards either."""
    names = moving_name()
    follower = Follower("server.test", 1060, every=1e6)

    async def stop() -> None:
        await trio.sleep(1)
        follower.stop()

    with trio.fail_after(2):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stop)
            assert await followed(follower) == []
    names.addresses.append("127.0.0.1")
    assert await followed(follower) == []


async def test_a_stop_is_not_undone_by_a_name_that_moves_while_the_run_ends(autojump_clock: MockClock) -> None:
    """A run that is stopped asks its server for a last word, and that takes a while."""
    names = moving_name("127.0.0.1")
    news: list[News] = []
    follower = Follower("server.test", 1060, every=1.0, on_news=news.append)
    addresses = []
    async for address in follower:
        addresses.append(address.host)
        async with follower.watching(Run(address)):
            follower.stop()
            names.addresses[:] = ["127.0.0.2"]
            await trio.sleep(3)
    assert addresses == ["127.0.0.1"]
    assert len(news) == 1


async def test_a_run_that_ends_by_itself_is_the_last(autojump_clock: MockClock) -> None:
    """Whatever its count was; and no look-up comes after it."""
    moving_name("127.0.0.1")
    assert len(await followed(Follower("server.test", 1060, every=1.0), Run.stop)) == 1


async def test_runs_share_a_count(autojump_clock: MockClock) -> None:
    """What the first has sent is not left for the second; when all is sent, there is no third."""
    names = moving_name("127.0.0.1")
    follower = Follower("server.test", 1060, every=1.0, count=5)
    left = []

    def act(run: Run) -> None:
        left.append(follower.left)
        run.sent = 2 if len(left) == 1 else 3
        left.append(follower.left)
        names.addresses[:] = [f"127.0.0.{len(left)}"]

    await followed(follower, act)
    assert left == [5, 3, 3, 0]
    assert Follower("server.test", 1060, every=1.0).left is None


async def test_an_exception_of_the_block_is_raised_as_it_is(autojump_clock: MockClock) -> None:
    """No group around it; one of `on_news` ends the block in a group, as every task's does."""
    names = moving_name("127.0.0.1")
    run = Run(Address("127.0.0.1", 1060))
    with pytest.raises(KeyError, match="own"):
        async with Follower("server.test", 1060, every=1.0).watching(run):
            raise KeyError("own")

    def fail(news: News) -> None:
        raise KeyError(str(news))

    names.addresses[:] = ["127.0.0.2"]
    with pytest.RaisesGroup(pytest.RaisesExc(KeyError, match="is now 127.0.0.2")):
        async with Follower("server.test", 1060, every=1.0, on_news=fail).watching(run):
            await trio.sleep_forever()


async def test_a_cancelled_follower_leaves_nothing_behind(autojump_clock: MockClock) -> None:
    """While it looks for an address, and while it watches a run."""
    names = moving_name()
    for addresses in ([], ["127.0.0.1"]):
        names.addresses[:] = addresses
        follower = Follower("server.test", 1060, every=1.0)
        with trio.move_on_after(5.5) as scope:
            await followed(follower)
        assert scope.cancelled_caught


async def test_the_unspecified_address_is_this_host(autojump_clock: MockClock) -> None:
    """A7: as for a prober, so that a run there is not taken for one somewhere else."""
    moving_name("0.0.0.0")  # noqa: S104 - asked, and not listened on
    (run,) = await followed(Follower("server.test", 1060, every=1.0), Run.stop)
    assert run.peer.host == "127.0.0.1"


@pytest.mark.parametrize(
    ("port", "every", "count", "said"),
    [
        (0, 1.0, None, "expected a port from 1 to 65535, got 0"),
        (1, 0.0, None, "expected look-ups every so many seconds, more than 0, got 0.0"),
        (1, float("inf"), None, "got inf"),
        (1, float("nan"), None, "got nan"),
        (1, 1.0, 0, "expected a count of 1 or more, got 0"),
    ],
)
def test_what_makes_no_sense_is_refused(port: int, every: float, count: int | None, said: str) -> None:
    """When it is made."""
    with pytest.raises(ValueError, match=said):
        Follower("server.test", port, every=every, count=count)
