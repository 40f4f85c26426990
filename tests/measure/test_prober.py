"""`Prober`: over all networks, in virtual time where a test waits for anything."""

import contextlib
import errno
import sys
import time
from functools import partial
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

import trio_udp
from trio_udp import DropReason
from trio_udp._endpoint import Endpoint
from trio_udp.measure import (
    Adaptive,
    Direction,
    Event,
    Fixed,
    Interval,
    Late,
    Lost,
    Missed,
    Prober,
    Rejected,
    ReplyRecord,
    Skipped,
    Stamps,
    Start,
    Summary,
    flood,
    noise_floor,
    open_prober,
)
from trio_udp.testing import DROP, Delivery, Packet, SimNet, Verdict, delay, flip_bit, simulate

from ..networks import (
    NetworkName,
    address_of,
    direct,
    echo,
    faults_of,
    network_fixture,  # noqa: F401 - pytest finds it by its name, network
    plain_socket,
    serving,
)


async def test_a_run_tells_of_each_probe_and_ends_with_the_sums(
    network: NetworkName, autojump_clock: MockClock
) -> None:
    """On every network."""
    events: list[Event] = []
    async with serving(echo, host="127.0.0.1") as server, open_prober(*server.address) as prober:
        await trio.sleep(1)
        found = await prober.run(Fixed(0.5), count=3, on_event=events.append)
        assert prober.peer == server.address
        assert prober.address.port != server.address.port
        assert prober.profile.name == "tu1"
    start, *replies, last = events
    assert isinstance(start, Start)
    assert (start.peer, start.size, start.datagram_size, start.has_times) == (server.address, 56, 80, True)
    assert [reply.sequence for reply in replies if isinstance(reply, ReplyRecord)] == [1, 2, 3]
    assert last is found
    assert (found.sent, found.received, found.elapsed_ns) == (3, 3, 1_000_000_000)
    assert found == prober.summary() or found.received == prober.summary().received
    assert server.statistics().requests == 4


async def test_the_server_says_on_which_way_a_probe_was_lost(network: NetworkName, autojump_clock: MockClock) -> None:
    """A handler that is silent once: the probe arrived, and no reply came."""
    silent = iter([b"first", None, b"third"])

    def handler(request: trio_udp.Request) -> bytes | None:
        return request.payload if next(silent) else None

    events: list[Event] = []
    async with serving(handler, host="127.0.0.1") as server, open_prober(*server.address) as prober:
        await trio.sleep(1)
        found = await prober.run(Fixed(0.1), count=3, wait=0.5, on_event=events.append)
    assert (found.received, found.lost_downstream, found.lost_upstream, found.lost_unknown) == (2, 1, 0, 0)
    assert found.is_complete
    lost = [event for event in events if isinstance(event, Lost)]
    assert [(event.sequence, event.direction, event.waited_ns) for event in lost] == [
        (2, Direction.DOWNSTREAM, 500_000_000)
    ]
    first, last = (event for event in events if isinstance(event, ReplyRecord))
    assert first.sent_at_ns < lost[0].sent_at_ns < last.sent_at_ns


@pytest.mark.parametrize("wait", [0.3, 10])
def test_what_is_said_of_the_last_probes_waits_for_the_servers_last_word(wait: float) -> None:
    """One is overtaken, and its answer is lost: the last reply says that it had not arrived, though later it does."""
    ids: set[bytes] = set()

    def rule(packet: Packet) -> Verdict | None:
        if packet.data[1] == 0x81:
            return DROP if packet.data[8:24] in ids else None
        if packet.data[31] != 2:
            return None
        ids.add(packet.data[8:24])
        return delay(0.05)

    async def main(net: SimNet) -> tuple[Summary, list[Event]]:
        events: list[Event] = []
        async with serving(echo, host="127.0.0.1") as server, open_prober(*server.address) as prober:
            await trio.sleep(1)
            with net.rule(rule):
                return await prober.run(Fixed(0.01), count=3, wait=wait, on_event=events.append), events

    found, events = simulate(main)
    assert (found.received, found.lost_downstream, found.is_complete) == (2, 1, True)
    told = [(event.sequence, event.direction) for event in events if isinstance(event, Lost)]
    assert told == [(2, Direction.DOWNSTREAM)]
    assert isinstance(events[-1], Summary)


@pytest.mark.parametrize("reports", [1, 4])
def test_a_changed_last_word_is_asked_for_again_and_doubts_nothing(reports: int) -> None:
    """One flipped bit in it once made the direction of every loss unknown, and ended the asking."""
    spoilt: list[bytes] = []

    def rule(packet: Packet) -> Verdict | None:
        if packet.data[1] == 0x01 and packet.data[28:32] == bytes([0, 0, 0, 2]):
            return DROP
        if packet.data[1] == 0x81 and packet.data[75] & 2 and len(spoilt) < reports:
            spoilt.append(packet.data)
            return Verdict((Delivery(data=flip_bit(packet.data, 8 * 50)),))
        return None

    async def main(net: SimNet) -> Summary:
        async with serving(echo, host="127.0.0.1") as server, open_prober(*server.address) as prober:
            await trio.sleep(1)
            with net.rule(rule):
                return await prober.run(Fixed(0.01), count=3, wait=0.3)

    found = simulate(main)
    assert (len(spoilt), found.rejected) == (reports, {DropReason.CORRUPTED: reports})
    assert (found.received, found.lost_upstream, found.is_complete) == (2, 1, True)


@pytest.mark.parametrize("size", [0, 51])
async def test_without_room_for_times_nothing_is_known_about_directions(
    network: NetworkName, autojump_clock: MockClock, size: int
) -> None:
    """As in ping, which measures nothing then; here only the server's share is missing."""
    async with serving(echo, host="127.0.0.1") as server, open_prober(*server.address, size=size) as prober:
        found = await prober.run(Fixed(0.1), count=2)
    assert (found.received, found.is_complete, found.server.count) == (2, False, 0)
    assert server.statistics().requests == 2


async def test_the_books_server_can_be_measured(network: NetworkName, autojump_clock: MockClock) -> None:
    """One probe at a time, as its format cannot tell two apart: a slot is missed while one is under way."""

    def sentence(request: trio_udp.Request) -> bytes | None:
        return b"Your data was %d bytes long" % len(request.payload) if request.payload else None

    async with serving(sentence, host="127.0.0.1", profile=trio_udp.Book()) as server:
        async with open_prober(*server.address, profile=trio_udp.Book(), size=9) as prober:
            found = await prober.run(Fixed(0.1), count=2)
        assert (found.received, found.is_complete) == (2, False)
        async with open_prober(*server.address, profile=trio_udp.Book(), size=0) as prober:
            found = await prober.run(Fixed(0.1), count=2, wait=0.95)
        assert (found.sent, found.lost_unknown, found.missed_slots) == (2, 2, 9)


async def test_nobody_there_is_a_hint_and_a_loss_of_unknown_direction(
    network: NetworkName, autojump_clock: MockClock
) -> None:
    """G5: and the run goes on to its end."""
    with plain_socket() as sock:
        silent = address_of(sock)
        async with open_prober(*silent) as prober:
            found = await prober.run(Fixed(1.0), count=2, wait=3)
    assert (found.sent, found.lost_unknown, found.elapsed_ns) == (2, 2, 4_000_000_000)


@direct
async def test_an_icmp_error_is_told_with_the_probe_that_it_quotes(
    network: NetworkName, autojump_clock: MockClock
) -> None:
    """It may be forged, so it ends nothing."""
    with plain_socket() as sock:
        dead = address_of(sock)
    events: list[Event] = []
    async with open_prober(*dead) as prober:
        found = await prober.run(Fixed(1.0), count=1, wait=3, on_event=events.append)
    assert found.hints == {"ECONNREFUSED": 1}
    lost = [event for event in events if isinstance(event, Lost)]
    assert [(event.hint, event.waited_ns) for event in lost] == [("ECONNREFUSED", 3_000_000_000)]


async def test_a_reply_that_comes_too_late_is_told_and_not_received(
    network: NetworkName, autojump_clock: MockClock
) -> None:
    """The first handler takes longer than is waited for."""
    waits = iter([2.0, 0.0, 0.0, 0.0])

    async def handler(request: trio_udp.Request) -> bytes:
        await trio.sleep(next(waits))
        return request.payload

    events: list[Event] = []
    async with serving(handler, host="127.0.0.1") as server, open_prober(*server.address) as prober:
        found = await prober.run(Fixed(1.0), count=4, wait=0.5, on_event=events.append)
    assert (found.received, found.late, found.lost) == (3, 1, 0)
    assert [event.sequence for event in events if isinstance(event, Late)] == [1]


async def test_strangers_are_counted_and_change_nothing(network: NetworkName, autojump_clock: MockClock) -> None:
    """A1, A2."""
    events: list[Event] = []
    with plain_socket() as stranger:

        def forge(request: trio_udp.Request) -> bytes:
            stranger.sendto(b"FAKE", request.peer)
            return request.payload

        async with serving(forge, host="127.0.0.1") as server, open_prober(*server.address) as prober:
            found = await prober.run(Fixed(0.1), count=2, on_event=events.append)
        there = address_of(stranger)
    assert (found.received, found.rejected) == (2, {DropReason.WRONG_PEER: 2})
    rejected = [event for event in events if isinstance(event, Rejected)]
    assert [(event.reason, event.peer) for event in rejected] == [(DropReason.WRONG_PEER, there)] * 2


async def test_a_probe_that_cannot_be_sent_is_lost_upstream(network: NetworkName, autojump_clock: MockClock) -> None:
    """G6: it costs one probe, the kernel's word on the next ones is theirs, and the server confirms the sums."""
    events: list[Event] = []
    async with serving(echo, host="127.0.0.1") as server, open_prober(*server.address) as prober:
        await trio.sleep(1)
        faults_of(prober._endpoint._transport).sends.extend([None, errno.ENOBUFS])
        found = await prober.run(Fixed(0.1), count=4, wait=0.5, on_event=events.append)
    assert (found.received, found.lost_upstream, found.is_complete) == (3, 1, True)
    lost = [event for event in events if isinstance(event, Lost)]
    assert [(event.sequence, event.direction, event.hint) for event in lost] == [(2, Direction.UPSTREAM, "ENOBUFS")]


@direct
async def test_what_the_kernel_cut_short_is_rejected(network: NetworkName, autojump_clock: MockClock) -> None:
    """G2: there is room for what was asked for, and no reply is longer than that."""
    with plain_socket() as stranger:

        def flood_it(request: trio_udp.Request) -> bytes:
            stranger.sendto(bytes(3000), request.peer)
            return request.payload

        async with serving(flood_it, host="127.0.0.1") as server, open_prober(*server.address) as prober:
            found = await prober.run(Fixed(0.1), count=1)
        assert (found.received, found.rejected) == (1, {DropReason.TRUNCATED: 1})
        async with serving(flood_it, host="127.0.0.1") as server, open_prober(*server.address, size=4000) as prober:
            found = await prober.run(Fixed(0.1), count=1)
        assert (found.received, found.rejected) == (1, {DropReason.WRONG_PEER: 1})


async def test_stop_ends_a_run_in_good_order(network: NetworkName, autojump_clock: MockClock) -> None:
    """The server is still asked; what was under way is pending."""

    async def handler(request: trio_udp.Request) -> bytes:
        await trio.sleep(0.3)
        return request.payload

    async with (
        serving(handler, host="127.0.0.1") as server,
        open_prober(*server.address) as prober,
        trio.open_nursery() as nursery,
    ):

        async def stop() -> None:
            await trio.sleep(1.15)
            prober.stop()

        nursery.start_soon(stop)
        found = await prober.run(Fixed(0.2))
    assert (found.sent, found.received, found.pending, found.lost) == (6, 5, 1, 0)
    assert 1_150_000_000 <= found.elapsed_ns < 1_200_000_000


async def test_a_server_tells_how_much_later_its_replies_left(network: NetworkName) -> None:
    """By its kernel, with the next reply or the report; a simulated one has no such stamps. In real time, as those."""
    async with serving(echo, host="127.0.0.1") as server, open_prober(*server.address) as prober:
        found = await prober.run(Fixed(0.001), count=20)
    assert found.reported is not None
    has_stamps = network in {"kernel", "portable"} and sys.platform == "linux"
    assert (found.lags_known > 0, found.reported.departure_lag_ns is not None) == (has_stamps, has_stamps)
    assert found.lags_known <= found.network.count
    if found.lags_known:
        assert found.network.min_ns is not None
        assert found.network.min_ns >= 0


def test_what_comes_before_the_servers_last_word_is_received() -> None:
    """Whoever stops a run while a reply is under way still has that reply."""

    async def main(net: SimNet) -> tuple[Summary, list[int]]:
        numbers: list[int] = []

        def note(event: Event) -> None:
            if isinstance(event, ReplyRecord):
                numbers.append(event.sequence)

        async with (
            serving(echo, host="127.0.0.1") as server,
            open_prober(*server.address) as prober,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(stop_after, prober, 1.01)
            with net.rule(lambda packet: delay(0.03)):
                return await prober.run(Fixed(0.2), on_event=note), numbers

    async def stop_after(prober: Prober, seconds: float) -> None:
        await trio.sleep(seconds)
        prober.stop()

    found, numbers = simulate(main)
    assert (found.sent, found.received, found.pending, found.late) == (6, 6, 0, 0)
    assert numbers == [1, 2, 3, 4, 5, 6]


async def test_a_cancelled_run_leaves_its_sums(network: NetworkName, autojump_clock: MockClock) -> None:
    """A deadline of Trio's ends it at once."""
    async with serving(echo, host="127.0.0.1") as server, open_prober(*server.address) as prober:
        assert prober.summary().sent == 0
        assert (prober.sent, prober.unanswered) == (0, 0)
        with trio.move_on_after(0.95):
            await prober.run(Fixed(0.1))
        assert (prober.summary().sent, prober.summary().received) == (10, 10)
        assert (prober.sent, prober.unanswered) == (10, 0)
        assert prober.summary().elapsed_ns == 950_000_000


async def test_a_prober_runs_once(network: NetworkName, autojump_clock: MockClock) -> None:
    """Its sums are of one run."""
    async with serving(echo, host="127.0.0.1") as server, open_prober(*server.address) as prober:
        await prober.run(Fixed(0.1), count=1)
        with pytest.raises(RuntimeError, match="runs once"):
            await prober.run()


async def test_events_can_be_iterated_over(network: NetworkName, autojump_clock: MockClock) -> None:
    """From the start to the summary, and with the intervals that were asked for."""
    async with (
        serving(echo, host="127.0.0.1") as server,
        open_prober(*server.address) as prober,
        prober.running(Fixed(0.1), count=10, every=0.38) as events,
    ):
        found = [event async for event in events]
    assert isinstance(found[0], Start)
    assert isinstance(found[-1], Summary)
    intervals = [event for event in found if isinstance(event, Interval)]
    assert [event.sent for event in intervals] == [4, 4, 2]
    assert found[-2] is intervals[-1]
    assert 2 * 380_000_000 < intervals[-1].elapsed_ns <= found[-1].elapsed_ns < 3 * 380_000_000
    assert sum(isinstance(event, ReplyRecord) for event in found) == 10


async def test_a_last_interval_in_which_nothing_happened_is_not_told(
    network: NetworkName, autojump_clock: MockClock
) -> None:
    """Who draws them would draw a gap that is none."""
    found: list[Event] = []
    async with (
        serving(echo, host="127.0.0.1") as server,
        open_prober(*server.address) as prober,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(partial(prober.run, Fixed(10), every=0.4, on_event=found.append))
        await trio.sleep(1)
        prober.stop()
        await wait_all_tasks_blocked()
    assert [event.sent for event in found if isinstance(event, Interval)] == [1, 0]


async def test_probes_that_the_kernel_refuses_to_send_are_counted_by_why(
    network: NetworkName, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No route, say: they are lost upstream, and others are not."""
    really, calls = Endpoint.send, 0

    async def send(self: Endpoint, *args: Any, **kwargs: Any) -> str | None:
        nonlocal calls
        calls += 1
        return "ENETUNREACH" if calls in (1, 2) else await really(self, *args, **kwargs)

    async with serving(echo, host="127.0.0.1") as server, open_prober(*server.address) as prober:
        monkeypatch.setattr(Endpoint, "send", send)
        found = await prober.run(Fixed(0.1), count=3, wait=0.5)
    assert (found.not_sent, found.lost_upstream, found.received) == ({"ENETUNREACH": 2}, 2, 1)


async def test_leaving_the_block_ends_the_run_and_an_exception_stays_what_it_is(
    network: NetworkName, autojump_clock: MockClock
) -> None:
    """No group around it."""
    async with serving(echo, host="127.0.0.1") as server:
        async with open_prober(*server.address) as prober, prober.running() as events:
            assert isinstance(await anext(events), Start)
        async with open_prober(*server.address) as prober:
            with pytest.raises(KeyError):
                async with prober.running():
                    raise KeyError


async def test_who_takes_events_too_slowly_is_told_how_many_are_missing(
    network: NetworkName, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is bounded, and the figures are not touched."""
    monkeypatch.setattr("trio_udp.measure._events.EVENTS_KEPT", 3)
    async with (
        serving(echo, host="127.0.0.1") as server,
        open_prober(*server.address) as prober,
        prober.running(Fixed(0.1), count=8) as events,
    ):
        await trio.sleep(10)
        found = [event async for event in events]
    assert found[0] == Skipped(events=7)
    assert [type(event) for event in found[1:]] == [ReplyRecord, ReplyRecord, Summary]
    assert isinstance(found[-1], Summary)
    assert found[-1].received == 8


async def test_a_run_that_ends_before_it_begins_has_sums_too(network: NetworkName, autojump_clock: MockClock) -> None:
    """Whoever wants to see datagrams waits for an address of ours first; nothing has been sent then, in no time."""
    async with serving(echo, host="127.0.0.1") as server, open_prober(*server.address) as prober:
        with trio.CancelScope() as scope:
            scope.cancel()
            await prober.run(on_datagram=lambda _: None)
        found = prober.summary()
    assert scope.cancelled_caught
    assert (found.sent, found.elapsed_ns) == (0, 0)


@pytest.mark.parametrize("schedule", [flood(), Adaptive(0.2)], ids=["flood", "adaptive"])
async def test_schedules_that_react_follow_the_answers(
    network: NetworkName, autojump_clock: MockClock, schedule: Adaptive
) -> None:
    """A handler takes 3 ms, so that one probe is sent every 3 ms; and when it is silent, after the whole interval."""

    async def handler(request: trio_udp.Request) -> bytes | None:
        await trio.sleep(0.003)
        return request.payload

    async with serving(handler, host="127.0.0.1") as server, open_prober(*server.address) as prober:
        found = await prober.run(schedule, count=10)
    assert found.received == 10
    assert 0.029 < found.elapsed_ns / 1e9 < 0.032
    assert found.missed_slots == 0


async def test_more_probes_than_can_be_under_way_are_not_sent(
    network: NetworkName, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a timetable their slots are missed; a flood waits for room."""
    monkeypatch.setattr("trio_udp.measure._run.MOST_UNDER_WAY", 2)
    events: list[Event] = []
    with plain_socket() as sock:
        async with open_prober(*address_of(sock)) as prober:
            found = await prober.run(Fixed(0.1), count=4, wait=0.95, on_event=events.append)
        assert (found.sent, found.missed_slots) == (4, 8)
        assert [(event.slots, event.before) for event in events if isinstance(event, Missed)] == [(8, 3)]
        async with open_prober(*address_of(sock)) as prober:
            found = await prober.run(flood(), count=3, wait=1)
        assert found.sent == 3


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"count": 0}, "expected a count from 1 to 4294967295, got 0"),
        ({"count": 2**32}, "expected a count from 1 to 4294967295, got 4294967296"),
        ({"wait": 0}, "expected to wait for more than 0 and at most 3600 seconds, got 0"),
        ({"every": 0.0}, "expected more than 0 seconds between interval events, got 0"),
    ],
)
async def test_arguments_that_make_no_sense_are_refused(options: dict[str, float], sentence: str) -> None:
    """With what was expected and what came."""
    async with open_prober("127.0.0.1", 9) as prober:
        with pytest.raises(ValueError, match=sentence):
            await prober.run(**options)  # type: ignore[arg-type]  # one at a time


async def test_a_port_or_a_size_out_of_range_is_refused() -> None:
    """Before a socket is opened."""
    for port in (0, 65_536):
        with pytest.raises(ValueError, match=f"expected a port from 1 to 65535, got {port}"):
            async with open_prober("127.0.0.1", port):
                pass
    with pytest.raises(ValueError, match="expected a size from 0 to 65483 bytes, got 65484"):
        async with open_prober("127.0.0.1", 9, size=65_484):
            pass


async def test_closing_ends_a_run(network: NetworkName, autojump_clock: MockClock) -> None:
    """G10: with `ClosedResourceError`, in a group as it comes from a task."""
    async with serving(echo, host="127.0.0.1") as server, contextlib.AsyncExitStack() as stack:
        prober = await stack.enter_async_context(open_prober(*server.address))
        with pytest.raises(ExceptionGroup) as caught:  # noqa: PT012 - both ends of it belong together
            async with trio.open_nursery() as nursery:
                nursery.start_soon(partial(prober.run, Fixed(0.1)))
                await wait_all_tasks_blocked()
                await stack.aclose()
        assert caught.group_contains(trio.ClosedResourceError)


async def test_a_reflector_that_knows_nothing_can_be_measured(network: NetworkName, autojump_clock: MockClock) -> None:
    """It sets the direction bit, and sends everything else back."""
    with plain_socket() as sock:
        there = address_of(sock)

        def reflect(event: Event) -> None:
            with contextlib.suppress(BlockingIOError):
                data, peer = sock.recvfrom(2048)
                sock.sendto(data[:1] + b"\x81" + data[2:], peer)

        async with open_prober(*there) as prober, trio.open_nursery() as nursery:

            async def reflecting() -> None:
                while True:
                    await trio.sleep(0.01)
                    reflect(prober.summary())

            nursery.start_soon(reflecting)
            found = await prober.run(Fixed(0.1), count=3)
            nursery.cancel_scope.cancel()
    assert (found.received, found.is_complete, found.lost) == (3, False, 0)


async def test_the_noise_floor_is_a_run_against_a_server_of_its_own(autojump_clock: MockClock) -> None:
    """In this process, and nothing of it is left."""
    found = await noise_floor(count=5, interval=0.5)
    assert (found.sent, found.received, found.elapsed_ns) == (5, 5, 2_000_000_000)


async def test_the_kernel_says_when_probes_left_and_replies_came() -> None:
    """In real time, on real sockets, every sample; its share is less than the whole."""
    async with serving(echo, host="127.0.0.1") as server, open_prober(*server.address) as prober:
        found = await prober.run(Fixed(0.001), count=20)
    assert found.received == 20
    if found.stamps != {Stamps.KERNEL: 20}:
        pytest.skip(f"this kernel has no software timestamps for loopback: {found.stamps}")
    assert found.client_queue.count == found.wake_up.count == found.network.count == 20
    assert found.rtt.min_ns is not None
    assert found.total.min_ns is not None
    assert found.rtt.min_ns < found.total.min_ns
    assert found.clock is not None
    assert abs(found.clock.offset_ns) <= found.clock.error_ns


def test_a_run_leaves_nothing_open() -> None:
    """Neither a probe nor a question for a report."""

    async def main(net: SimNet) -> Prober:
        async with serving(echo, host="127.0.0.1") as server, open_prober(*server.address) as prober:
            await prober.run(Fixed(0.001), count=300)
        return prober

    prober = simulate(main, net=SimNet(trace_limit=10))
    assert len(prober._protocol) == 0
    assert len(prober._ledger._directions._lost) == 0


class Steps(trio.abc.Instrument):
    """Counts how often the task that reads is woken."""

    def __init__(self) -> None:
        self.count = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """One step of some task."""
        self.count += task.name.endswith("Run._receive")


async def test_that_a_probe_has_left_wakes_nobody() -> None:
    """The kernel says so by making the socket readable; at 200 µs a probe there is no time for a task to look at it."""
    steps = Steps()
    with plain_socket() as silent:
        async with open_prober(*address_of(silent)) as prober:
            trio.lowlevel.add_instrument(steps)
            try:
                found = await prober.run(Fixed(0.002), count=20, wait=0.01)
            finally:
                trio.lowlevel.remove_instrument(steps)
    assert found.lost == 20
    assert 1 <= steps.count <= 3  # to begin, and to be cancelled


async def test_one_who_naps_reads_between_two_probes_and_misses_nothing() -> None:
    """At 200 µs a probe there is no time to wake another task for each reply: what was there waits for the slot's end,
    and the kernel says when it came."""
    steps = Steps()
    async with serving(echo, host="127.0.0.1") as server, open_prober(*server.address, naps=True) as prober:
        trio.lowlevel.add_instrument(steps)
        try:
            found = await prober.run(Fixed(0.0002), count=200)
        finally:
            trio.lowlevel.remove_instrument(steps)
    assert (found.sent, found.received, found.lost) == (200, 200, 0)
    if Stamps.KERNEL not in found.stamps:
        pytest.skip(f"this kernel has no software timestamps for loopback: {found.stamps}")
    assert 1 <= steps.count < 100


async def test_one_who_naps_is_cancelled_and_stopped_like_any_other() -> None:
    """Other tasks have their turn once a millisecond, and one of them may be who ends it."""
    with plain_socket() as silent:
        async with open_prober(*address_of(silent), naps=True) as prober, trio.open_nursery() as nursery:
            nursery.start_soon(prober.run, Fixed(0.0002))
            await has_sent(prober)
            nursery.cancel_scope.cancel()
        assert prober.sent == prober.summary().pending
        async with open_prober(*address_of(silent), naps=True) as prober, trio.open_nursery() as nursery:
            nursery.start_soon(prober.run, Fixed(0.0002))
            await has_sent(prober)
            prober.stop()
    assert prober.sent == prober.summary().pending


async def has_sent(prober: Prober) -> None:
    """Wait until a few probes are under way, however long a busy machine takes for that."""
    with trio.fail_after(60):
        while prober.sent < 10:
            await trio.lowlevel.checkpoint()


async def test_one_who_naps_finds_room_in_the_replies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no more may be under way nothing is sent, and replies are looked for all the same."""
    monkeypatch.setattr("trio_udp.measure._run.MOST_UNDER_WAY", 2)
    async with serving(echo, host="127.0.0.1") as server, open_prober(*server.address, naps=True) as prober:
        found = await prober.run(Fixed(0.0002), count=30)
    assert found.received == 30


async def test_one_who_naps_reads_while_nothing_can_be_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no route any more, say: what was asked before that is answered all the same, and in time."""
    really, calls = Endpoint.send, 0

    async def send(self: Endpoint, *args: Any, **kwargs: Any) -> str | None:
        nonlocal calls
        calls += 1
        return await really(self, *args, **kwargs) if calls == 1 else "ENETUNREACH"

    sent_before: list[int] = []

    def note(event: Event) -> None:
        if isinstance(event, ReplyRecord):
            sent_before.append(prober.sent)

    async with serving(echo, host="127.0.0.1") as server, open_prober(*server.address, naps=True) as prober:
        monkeypatch.setattr(Endpoint, "send", send)
        await prober.run(Fixed(0.0002), count=300, on_event=note)
    assert len(sent_before) == 1
    assert sent_before[0] < 300


class Stopped(trio.abc.Instrument):
    """A process that is stopped for a while, just when its server has replied for the first time."""

    def __init__(self, server: trio_udp.Server, clock: MockClock, seconds: float) -> None:
        self._server = server
        self._clock = clock
        self._seconds = seconds

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """Time passes, and nobody has his turn."""
        if self._seconds and self._server.statistics().replies:
            self._clock.jump(self._seconds)
            self._seconds = 0.0


async def test_what_came_while_the_process_was_stopped_is_not_lost(mock_clock: MockClock) -> None:
    """The reply is there before it is looked for: whoever has his turn first, it is taken before the probe is given up.
    (Trio chooses at random: some times, to have both.)"""
    for _ in range(8):
        async with serving(echo, host="127.0.0.1") as server, open_prober(*server.address) as prober:
            stopped = Stopped(server, mock_clock, seconds=30.0)
            trio.lowlevel.add_instrument(stopped)
            try:
                found = await prober.run(count=1, wait=10.0)
            finally:
                trio.lowlevel.remove_instrument(stopped)
        if Stamps.KERNEL not in found.stamps and not found.lost:
            pytest.skip(f"this kernel has no software timestamps for loopback: {found.stamps}")
        assert (found.received, found.lost, found.late) == (1, 0, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says when a datagram came")
async def test_what_came_too_late_while_the_process_was_stopped_is_late(
    mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel says when it came; not even a process that was stopped has waited for that long."""
    monkeypatch.setattr(Endpoint, "wall_clock", lambda self: time.time_ns() - 20_000_000_000)
    events: list[Event] = []
    async with serving(echo, host="127.0.0.1") as server, open_prober(*server.address) as prober:
        stopped = Stopped(server, mock_clock, seconds=30.0)
        trio.lowlevel.add_instrument(stopped)
        try:
            found = await prober.run(count=1, wait=10.0, on_event=events.append)
        finally:
            trio.lowlevel.remove_instrument(stopped)
    assert (found.received, found.lost, found.late) == (0, 0, 1)
    assert [type(event) for event in events] == [Start, Lost, Late, Summary]
