"""The server's memory of at-most-once requests: what is let through, how long it is known, and how much it takes."""

import gc
import tracemalloc

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from trio_udp.proto import AnswerKind, DropReason, Once, ReplyCache
from trio_udp.proto._once import NO_BOOT, WINDOW
from trio_udp.proto._reply_cache import CLIENT_COST, KEPT_FOR, MAX_AGE, REPLY_COST, RESERVED, Kept, OnceRequest

BOOT = b"bootboot"
OWNER = (0, b"instance")
LAST = 2**32 - 1
RUNNING = REPLY_COST + RESERVED


def request(
    sequence: int = 0, first: int = 0, *, born: int = 100, boot: bytes = BOOT, owner: bytes = OWNER[1],
    is_proven: bool = True, key: bytes | None = None,
) -> OnceRequest:  # fmt: skip
    """One arrival; by default of a client's first request, whose key is told by its number."""
    once = Once(boot, born, sequence, first)
    return OnceRequest(once, (0, owner), key or owner + sequence.to_bytes(8, "big"), is_proven)


def let_through(cache: ReplyCache, arrival: OnceRequest, tick: int = 100) -> Kept:
    """A request that has to be new."""
    kept = cache.admit(arrival, tick, may_run=True)
    assert isinstance(kept, Kept)
    assert (kept.kind, kept.newest) == (None, None)
    kept.newest = arrival
    return kept


def run(cache: ReplyCache, arrival: OnceRequest, tick: int = 100, payload: bytes = b"done") -> Kept:
    """A request that has to be new, to its end."""
    kept = let_through(cache, arrival, tick)
    cache.settle(kept, AnswerKind.REPLY, payload)
    return kept


# What runs


def test_a_request_that_runs_and_one_that_has_run_are_known_again() -> None:
    """E1: the same note, whatever of it may have changed on the way."""
    cache = ReplyCache(BOOT)
    kept = let_through(cache, request())
    assert cache.admit(request(), 100, may_run=True) is kept
    cache.settle(kept, AnswerKind.REPLY, b"done")
    assert cache.admit(request(), 105, may_run=False) is kept
    assert (kept.kind, kept.payload, kept.newest) == (AnswerKind.REPLY, b"done", None)


@pytest.mark.parametrize(
    ("change", "answer"),
    [
        (request(boot=NO_BOOT, is_proven=True), AnswerKind.RETRY),
        (request(is_proven=False), AnswerKind.RETRY),
        (request(boot=b"previous"), AnswerKind.OUTCOME_UNKNOWN),
        (request(boot=b"previous", is_proven=False), AnswerKind.OUTCOME_UNKNOWN),
        (request(born=100 - MAX_AGE - 1), AnswerKind.OUTCOME_UNKNOWN),
        (request(born=101), AnswerKind.OUTCOME_UNKNOWN),
        (request(born=LAST), AnswerKind.OUTCOME_UNKNOWN),
        (request(WINDOW, 0), AnswerKind.BUSY),
        (request(2**31 - 1, 0), AnswerKind.BUSY),
        (request(2**31, 0), DropReason.REPLAYED),
        (request(0, 1), DropReason.REPLAYED),
        (request(LAST, 0), DropReason.REPLAYED),
    ],
)
def test_whatever_is_not_as_it_has_to_be_runs_nowhere_and_leaves_nothing(
    change: OnceRequest, answer: AnswerKind | DropReason
) -> None:
    """E1, E2, E3: one reason each, in the order in which they are looked at."""
    cache = ReplyCache(BOOT)
    assert cache.admit(change, 100, may_run=True) is answer
    assert (cache.clients_held, cache.bytes_held) == (0, 0)


@pytest.mark.parametrize("arrival", [request(born=100 - MAX_AGE), request(WINDOW - 1, 0), request(2, LAST)])
def test_what_is_just_as_it_has_to_be_runs(arrival: OnceRequest) -> None:
    """The other side of each limit."""
    let_through(ReplyCache(BOOT), arrival)


def test_completed_requests_are_forgotten_and_never_run_again() -> None:
    """E1: a copy that the network has kept back is dropped without an answer."""
    cache = ReplyCache(BOOT)
    for number in range(4):
        run(cache, request(number))
    run(cache, request(5, first=3))
    assert cache.bytes_held == CLIENT_COST + 2 * (REPLY_COST + len(b"done"))
    for number in range(3):
        assert cache.admit(request(number), 100, may_run=True) is DropReason.REPLAYED
    assert isinstance(cache.admit(request(3), 100, may_run=True), Kept)
    let_through(cache, request(4))


def test_first_incomplete_never_goes_back() -> None:
    """E1: an older datagram says less than is known."""
    cache = ReplyCache(BOOT)
    run(cache, request(5, first=5))
    run(cache, request(6, first=4))
    assert cache.admit(request(4, first=4), 100, may_run=True) is DropReason.REPLAYED


def test_numbers_go_on_after_the_last_one() -> None:
    """RFC 1982: 0 comes after 2^32 - 1, and what was before it is over."""
    cache = ReplyCache(BOOT)
    run(cache, request(LAST, first=LAST))
    run(cache, request(0, first=LAST))
    run(cache, request(1, first=0))
    assert cache.admit(request(LAST, first=LAST), 100, may_run=True) is DropReason.REPLAYED
    assert isinstance(cache.admit(request(0, first=LAST), 100, may_run=True), Kept)


def test_another_request_with_the_number_of_one_that_is_known_is_a_replay() -> None:
    """Its ids differ: somebody plays with numbers."""
    cache = ReplyCache(BOOT)
    run(cache, request())
    assert cache.admit(request(key=b"another request!"), 100, may_run=True) is DropReason.REPLAYED


def test_each_client_has_numbers_of_its_own() -> None:
    """By key id and instance id."""
    cache = ReplyCache(BOOT)
    run(cache, request())
    run(cache, request(owner=b"another!"))
    run(cache, request()._replace(owner=(1, OWNER[1])))
    assert cache.clients_held == 3


def test_busy_server_runs_nothing_new_and_keeps_no_note_of_it() -> None:
    """E10: what is known is answered all the same."""
    cache = ReplyCache(BOOT)
    assert cache.admit(request(), 100, may_run=False) is AnswerKind.BUSY
    assert cache.clients_held == 0
    run(cache, request())
    assert cache.admit(request(1), 100, may_run=False) is AnswerKind.BUSY
    assert isinstance(cache.admit(request(), 100, may_run=False), Kept)


# For how long


def test_client_is_forgotten_only_when_all_it_ever_sent_is_too_old() -> None:
    """E1: no minute in which a copy would be let through again."""
    cache = ReplyCache(BOOT)
    run(cache, request(born=100), tick=100)
    for tick in range(101, 101 + 2 * KEPT_FOR):
        answer = cache.admit(request(born=100), tick, may_run=True)
        assert answer is AnswerKind.OUTCOME_UNKNOWN if tick > 100 + MAX_AGE else isinstance(answer, Kept)
    assert (cache.clients_held, cache.bytes_held) == (0, 0)


def test_client_is_kept_after_its_last_request_not_its_first() -> None:
    """One that is born late is answered for as long."""
    cache = ReplyCache(BOOT)
    run(cache, request(0, born=100), tick=100)
    run(cache, request(1, born=104), tick=106)
    assert cache.admit(request(owner=b"another!"), 106 + KEPT_FOR, may_run=True) is AnswerKind.OUTCOME_UNKNOWN
    assert cache.clients_held == 1
    cache.admit(request(), 107 + KEPT_FOR, may_run=True)
    assert (cache.clients_held, cache.bytes_held) == (0, 0)


def test_clients_are_forgotten_in_the_order_in_which_they_were_last_heard() -> None:
    """And those behind the first that is still kept are not looked at."""
    cache = ReplyCache(BOOT)
    for minute, name in enumerate((b"client 1", b"client 2", b"client 3")):
        run(cache, request(owner=name), tick=100 + minute)
    cache.admit(request(owner=b"client 1"), 103, may_run=True)
    held = []
    for tick in range(104, 112):
        cache.admit(request(boot=NO_BOOT), tick, may_run=True)
        held.append(cache.clients_held)
    assert held == [3, 3, 3, 3, 2, 1, 0, 0]


def test_a_clock_that_goes_back_makes_nothing_young_again() -> None:
    """C8: the newest time counts."""
    cache = ReplyCache(BOOT)
    run(cache, request(born=100), tick=100)
    assert cache.admit(request(born=100), 110, may_run=True) is AnswerKind.OUTCOME_UNKNOWN
    assert cache.admit(request(born=100), 100, may_run=True) is AnswerKind.OUTCOME_UNKNOWN


def test_handler_that_outlives_its_client_settles_nothing() -> None:
    """What it takes was given back when the client was forgotten, or said that it is over."""
    cache = ReplyCache(BOOT)
    kept = let_through(cache, request())
    run(cache, request(1, first=1))
    cache.settle(kept, AnswerKind.REPLY, bytes(5000))
    assert (kept.kind, cache.bytes_held) == (AnswerKind.REPLY, CLIENT_COST + REPLY_COST + 4)
    late = let_through(cache, request(2, first=2))
    cache.admit(request(boot=NO_BOOT), 101 + KEPT_FOR, may_run=True)
    cache.settle(late, AnswerKind.ERROR, b"")
    assert cache.bytes_held == 0


# How much


def test_full_of_clients_it_is_busy_to_new_ones_and_forgets_nobody() -> None:
    """E2: never an eviction of what is alive."""
    cache = ReplyCache(BOOT, max_clients=2)
    for name in (b"client 1", b"client 2"):
        run(cache, request(owner=name))
    assert cache.admit(request(owner=b"client 3"), 100, may_run=True) is AnswerKind.BUSY
    run(cache, request(1, owner=b"client 1"))
    assert isinstance(cache.admit(request(owner=b"client 2"), 100, may_run=True), Kept)
    run(cache, request(born=107, owner=b"client 3"), tick=107)


def test_full_of_bytes_it_is_busy_to_all() -> None:
    """E2: room for a reply is set aside before its handler runs."""
    cache = ReplyCache(BOOT, max_bytes=CLIENT_COST + RUNNING)
    kept = let_through(cache, request())
    assert cache.admit(request(1), 100, may_run=True) is AnswerKind.BUSY
    assert cache.admit(request(owner=b"another!"), 100, may_run=True) is AnswerKind.BUSY
    cache.settle(kept, AnswerKind.REPLY, bytes(RESERVED))
    assert (cache.admit(request(), 100, may_run=True), kept.payload) == (kept, bytes(RESERVED))
    run(cache, request(1, first=1))


def test_reply_for_which_there_is_no_room_is_not_kept_and_nobody_runs_it_again() -> None:
    """E1, E2: who asks again is told that nobody knows."""
    cache = ReplyCache(BOOT, max_bytes=CLIENT_COST + RUNNING)
    kept = run(cache, request(), payload=bytes(RESERVED + 1))
    assert cache.admit(request(), 100, may_run=True) is kept
    assert (kept.kind, kept.payload) == (AnswerKind.OUTCOME_UNKNOWN, b"")
    assert cache.bytes_held == CLIENT_COST + REPLY_COST


def test_longer_reply_is_kept_where_there_is_room() -> None:
    """Silence takes least."""
    cache = ReplyCache(BOOT)
    run(cache, request(), payload=bytes(9000))
    assert cache.bytes_held == CLIENT_COST + REPLY_COST + 9000
    silent = let_through(cache, request(1, first=1))
    cache.settle(silent, AnswerKind.REPLY, None)
    assert (silent.payload, cache.bytes_held) == (None, CLIENT_COST + REPLY_COST)


@pytest.mark.parametrize("boot", [b"", bytes(8), b"bootboots"])
def test_boot_id_is_eight_bytes_that_say_something(boot: bytes) -> None:
    """All zeros are what a request says that has none."""
    with pytest.raises(ValueError, match="expected a boot id of 8 bytes that are not all zero"):
        ReplyCache(boot)


# Any order of anything


class AnyOrder(RuleBasedStateMachine):
    """E1: arrivals in any order, from anywhen, with minutes passing between them; nothing is let through twice."""

    def __init__(self) -> None:
        super().__init__()
        self.cache = ReplyCache(BOOT, max_clients=3, max_bytes=12_000)
        self.tick = 100
        self.sent: list[OnceRequest] = []
        self.ran: list[bytes] = []
        self.running: list[Kept] = []

    @rule(owner=st.sampled_from([b"client 1", b"client 2", b"client 3", b"client 4"]), ahead=st.integers(0, 70),
          first=st.integers(0, 80), age=st.integers(-1, 7))  # fmt: skip
    def send(self, owner: bytes, ahead: int, first: int, age: int) -> None:
        """A request that may be new, of any age."""
        key = len(self.sent).to_bytes(16, "big")
        self.sent.append(request(first + ahead, first, born=self.tick - age, owner=owner, key=key))
        self.arrive(self.sent[-1])

    @rule(which=st.integers(0, 10**6))
    def send_again(self, which: int) -> None:
        """Any that was ever sent."""
        if self.sent:
            self.arrive(self.sent[which % len(self.sent)])

    @rule(minutes=st.integers(1, 8))
    def wait(self, minutes: int) -> None:
        """Time passes."""
        self.tick += minutes

    @rule(size=st.integers(0, 3000))
    def end(self, size: int) -> None:
        """A handler ends."""
        if self.running:
            self.cache.settle(self.running.pop(0), AnswerKind.REPLY, bytes(size))

    def arrive(self, arrival: OnceRequest) -> None:
        """What the server does with it."""
        kept = self.cache.admit(arrival, self.tick, may_run=True)
        if isinstance(kept, Kept) and kept.kind is None and kept.newest is None:
            kept.newest = arrival
            self.ran.append(arrival.key)
            self.running.append(kept)

    @invariant()
    def nothing_ran_twice(self) -> None:
        """Whatever was sent again, and whenever."""
        assert len(set(self.ran)) == len(self.ran)

    @invariant()
    def nothing_is_beyond_its_limit(self) -> None:
        """E2."""
        assert self.cache.clients_held <= 3
        assert 0 <= self.cache.bytes_held <= 12_000


TestAnyOrder = AnyOrder.TestCase


@pytest.mark.parametrize("replies", [1, 2, 5, 6, 11, 22, 43, WINDOW])
def test_what_is_counted_is_no_less_than_what_it_takes(replies: int) -> None:
    """E2: the limit in bytes is one in memory, and not much less than that."""
    arrivals = [
        request(10_000 + number, 10_000, owner=b"%08d" % client, born=1000)
        for client in range(500)
        for number in range(replies)
    ]
    cache = ReplyCache(BOOT)
    gc.collect()
    tracemalloc.start()
    for arrival in arrivals:
        owner = arrival.owner[0], bytes(bytearray(arrival.owner[1]))  # as of a datagram of its own
        copy = arrival._replace(owner=owner, key=bytes(bytearray(arrival.key)))
        run(cache, copy, tick=1000, payload=bytes(100))
    del copy, owner
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert cache.bytes_held // 2 < taken <= cache.bytes_held
