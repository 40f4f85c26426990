"""Network times less lags: each lag is taken off its own reply, whatever becomes of those that tell of it."""

from random import Random
from typing import Final, NamedTuple

from hypothesis import example, given
from hypothesis import strategies as st

from trio_udp.measure._lags import NetworkTimes
from trio_udp.measure._ledger import Entry, Ledger
from trio_udp.measure._timing import Readings
from trio_udp.proto import REPORT, AnswerKind, Heard, Probe, Times
from trio_udp.proto._times import ProbeTable, decode_times_untrusted, with_turnaround

PEER: Final = ("192.0.2.2", 4711)
INSTANCE: Final = bytes(8)
BOOT: Final = 1_700_000_000 * 10**9
APART: Final = 10**8
"""Between the network times of one probe and the next, in nanoseconds: many more than any lag."""


class Path(NamedTuple):
    """How likely each fault is, and how many replies are on their way at most."""

    lost: float
    duplicate: float
    silent: float
    """That the kernel does not say when a reply left."""
    restart: float
    expire: float
    under_way: int
    probes: int
    seed: int


class Said(NamedTuple):
    """A reply under way."""

    sequence: int
    times: Times | None
    rtt: int
    lag: int


class World:
    """A server that knows when its replies leave, a client that counts, and all that can go wrong between them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.random = Random(path.seed)
        self.table = ProbeTable(began=BOOT)
        self.ledger = Ledger(slot=APART)
        self.entries: dict[int, Entry] = {}
        self.lags: dict[int, int] = {}
        """Of the replies that are counted, by sequence."""

    def run(self) -> None:
        """Ask, answer and listen, and ask for a report at the end, perhaps twice."""
        under_way: list[Said] = []
        for sequence in range(1, self.path.probes + 1):
            self.entries[sequence] = self.entry(sequence)
            self.ledger.send(self.entries[sequence])
            if self.has(self.path.restart):
                self.table = ProbeTable(began=BOOT + sequence * 2**30)
            for _ in range(self.copies()):
                said = self.answer(sequence)
                under_way += [said] * self.copies()
            while len(under_way) > self.random.randint(0, self.path.under_way):
                self.hear(under_way.pop(self.random.randrange(len(under_way))))
            if self.has(self.path.expire):
                self.expire(self.random.randint(1, sequence))
        for said in under_way:
            self.hear(said)
        for _ in range(self.copies()):
            self.hear(self.answer(REPORT))

    def has(self, share: float) -> bool:
        """Whether this one has the fault."""
        return self.random.random() < share

    def copies(self) -> int:
        """How many arrive."""
        return 0 if self.has(self.path.lost) else 1 + self.has(self.path.duplicate)

    def entry(self, sequence: int) -> Entry:
        """What the client knows of a probe."""
        return Entry(Probe(sequence, INSTANCE * 2, b""), due=0, sent=0, sent_wall=BOOT)

    def answer(self, sequence: int) -> Said:
        """What the server says, and, when that has left, notes."""
        turnaround, lag = self.random.randint(0, 10**6), self.random.randint(1, APART // 10)
        times = with_turnaround(self.table.receive(PEER, INSTANCE, sequence, arrived=BOOT), BOOT + turnaround)
        if not self.has(self.path.silent):
            self.table.note_departure(PEER, INSTANCE, times, BOOT + turnaround + lag)
        return Said(sequence, decode_times_untrusted(times), sequence * APART + turnaround + lag, lag)

    def hear(self, said: Said) -> None:
        """One arrives."""
        entry = self.entries.get(said.sequence) or self.entry(said.sequence)
        received = self.ledger.received
        heard = Heard(entry.probe, AnswerKind.REPLY, said.times, is_right=True, is_intact=True, size=80)
        self.ledger.hear(heard, entry, Readings(0, BOOT, None, None, said.rtt, BOOT + said.rtt), None)
        if self.ledger.received > received:
            self.lags[said.sequence] = said.lag
        if self.has(0.3):
            self.ledger.catch_up()
        if self.has(0.1):
            self.ledger.summary(0, 0, {})

    def expire(self, sequence: int) -> None:
        """The client waits for this one no longer."""
        if not self.entries[sequence].fate:
            self.ledger.expire(self.entries[sequence], 0)

    def network_times(self) -> list[int]:
        """All that are in the distribution."""
        self.ledger._sums.complete()
        times = self.ledger._sums.network
        return sorted([*times.settled._values, *times.settled._waiting, *times._less_lags(times._waiting)[0]])


shares = st.sampled_from([0.0, 0.0, 0.05, 0.4])
paths = st.builds(
    Path, shares, shares, shares, shares, shares, st.integers(0, 40), st.integers(1, 150), st.integers(0, 2**32 - 1)
)


@given(paths)
@example(Path(0.1, 0.1, 0.1, 0.05, 0.05, 5, 150, 1))
@example(Path(0.0, 0.0, 0.0, 0.0, 0.0, 0, 150, 1))
def test_a_lag_is_taken_off_its_own_reply_or_none(path: Path) -> None:
    """Probes and replies lost, doubled, overtaken and late, servers in turn, silent kernels: every time is there once,
    exactly less its lag or as it was."""
    world = World(path)
    world.run()
    found = world.network_times()
    summary = world.ledger.summary(0, 0, {})
    assert len(found) == summary.received == summary.network.count
    less = [
        sequence * APART == time
        for (sequence, lag), time in zip(sorted(world.lags.items()), found, strict=True)
        if time in (sequence * APART, sequence * APART + lag)
    ]
    assert len(less) == len(found)
    assert sum(less) == summary.lags_known
    assert summary.network.mean_ns == (sum(found) // len(found) if found else None)
    if summary.reported is not None:
        gone = [lag for (_, lag), is_less in zip(sorted(world.lags.items()), less, strict=True) if is_less]
        assert summary.reported.departure_lag_ns == (sum(gone) // len(gone) if gone else None)


@given(st.sampled_from([0.0, 0.5, 1.0]), st.integers(1, 150), st.integers(0, 2**32 - 1))
def test_where_nothing_is_lost_every_lag_is_known(duplicate: float, probes: int, seed: int) -> None:
    """Of the last reply by the report, of the first to a probe that came twice by the second, and however often the
    sums are asked for."""
    world = World(Path(0.0, duplicate, 0.0, 0.0, 0.0, 0, probes, seed))
    world.run()
    assert world.ledger.summary(0, 0, {}).lags_known == probes
    assert world.network_times() == [number * APART for number in range(1, probes + 1)]


@given(st.lists(st.integers(0, 3), min_size=2, max_size=150))
def test_a_lag_may_come_a_few_replies_too_soon_or_too_late(places: list[int]) -> None:
    """Where replies overtake each other, six at most between two neighbours: only that of the last one is not told."""
    network, count = NetworkTimes(), len(places)
    for number in sorted(range(1, count + 1), key=lambda number: number + places[number - 1]):
        lag = number - 1 if number > 1 else None  # of the one before it, each its own
        network.extend([(1000 + number, Times(1, 0, number, 0, 0, 1, 0, 0, 0, by_kernel=True, lag=lag))])
    found = network.result()
    assert found.lags_known == count - 1
    assert (found.times.min_ns, found.times.max_ns) == (1000, 1000 + count)


numbers = st.integers(0, 5)
words = st.builds(
    Times, st.integers(1, 2), st.just(0), numbers, st.just(0), st.just(0), st.just(1), st.just(0), st.just(0),
    st.just(0), st.just(True), st.none() | st.integers(0, 50),
)  # fmt: skip


@given(st.lists(st.tuples(st.none() | st.integers(0, 50), words)), st.lists(st.tuples(numbers, numbers, numbers)))
def test_nothing_is_less_than_nothing_and_nothing_is_left_out(
    replies: list[tuple[int | None, Times]], told: list[tuple[int, int, int]]
) -> None:
    """Whatever a server tells, of which numbers ever."""
    network = NetworkTimes()
    for at, reply in enumerate(replies):
        network.extend([reply])
        if at < len(told):
            network.tell(*told[at])
        assert network.result() == network.result()
    found = network.result()
    times = [time for time, _ in replies if time is not None]
    assert found.times.count == len(times)
    assert found.lags_known <= len(times)
    if times:
        assert found.times.min_ns is not None
        assert found.times.mean_ns is not None
        assert found.times.min_ns >= 0
        taken = sum(times) // len(times) - found.times.mean_ns
        assert abs(taken - (found.lag_ns or 0) * found.lags_known // len(times)) <= 2


def test_what_waits_is_bounded() -> None:
    """However many replies there are, and whatever their numbers."""
    network = NetworkTimes()
    for number in range(1, 1000):
        network.extend([(100, Times(1, 0, 7 * number, 0, 0, 1, 0, 0, 0, by_kernel=True, lag=5))])
        assert len(network._waiting) <= 8
        assert len(network._told) == 64
    assert network.result().times.count == 999
