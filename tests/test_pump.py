"""How a task waits for its answer: a request alone, which is likely to find it there, looks before it waits."""

from collections.abc import Sequence

import trio
from trio.testing import MockClock

from trio_udp._client import Client
from trio_udp._endpoint import Endpoint
from trio_udp._net import Address, Ancillary, Batch, Datagram, Outgoing
from trio_udp._pump import NEAR
from trio_udp.proto import TU1, AnswerKind, ClientProtocol, DropReason, Question

SERVER = Address("127.0.0.1", 1060)


class Echo(Endpoint):
    """An endpoint whose server answers after so many seconds, and which says how it was read."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.waited: list[bool] = []
        """Of each read, whether it would have waited."""
        self._came: list[Datagram] = []

    async def receive(self, *, may_wait: bool = True) -> Batch:
        """Wait for the answer, or take it if it is there: one that needs no time at all is."""
        self.waited.append(may_wait)
        if may_wait:
            await trio.sleep(self.seconds)
        came, self._came = (self._came, []) if may_wait or not self.seconds else ([], self._came)
        return Batch(came, [], [], 0)

    async def send_some(self, outgoing: Sequence[Outgoing], *, may_wait: bool = True) -> tuple[int, str | None]:
        """Have these answered."""
        for data, _, _ in outgoing:
            await self.send(data, SERVER)
        return len(outgoing), None

    async def send(self, data: bytes, peer: Address, source: str | None = None, *, may_wait: bool = True) -> None:
        """Have it answered."""
        question = TU1().decode_question_untrusted(data)
        assert isinstance(question, Question)
        answer = TU1().encode_answer(question, AnswerKind.REPLY, question.payload)
        self._came.append(Datagram(answer, SERVER, Ancillary()))

    def close(self) -> None:
        """Nothing to close."""


def client_of(endpoint: Endpoint) -> Client:
    """A client that uses this one."""
    protocol = ClientProtocol(TU1(), [SERVER], random=bytes(8))
    draws = iter(range(1000))
    return Client(
        endpoint,
        protocol,
        policy=TU1.policy,
        at_most_once=False,
        random_bytes=lambda size: next(draws).to_bytes(size, "big"),
    )


async def test_a_request_alone_looks_before_it_waits_once_an_answer_was_near(autojump_clock: MockClock) -> None:
    """The first one waits; those behind it find their answers there, and need neither a timer nor a wait."""
    endpoint = Echo(0.0)
    client = client_of(endpoint)
    for number in range(3):
        assert await client.request(b"%d" % number) == b"%d" % number
    assert endpoint.waited == [False, True, False, False]  # before the first of all, what strangers have sent is read


async def test_a_request_waits_at_once_where_the_last_answer_was_far(autojump_clock: MockClock) -> None:
    """A look that finds nothing is the last one until an answer is near again."""
    endpoint = Echo(2 * NEAR)
    client = client_of(endpoint)
    for _ in range(2):
        await client.request(b"")
    assert endpoint.waited == [False, True, True]
    endpoint.seconds = 0.0
    for _ in range(2):
        await client.request(b"")
    endpoint.seconds = 2 * NEAR
    for _ in range(2):
        await client.request(b"")
    assert endpoint.waited[3:] == [True, False, False, True, True]


async def test_requests_that_are_under_way_together_do_not_look(autojump_clock: MockClock) -> None:
    """Their answers are better read together."""
    endpoint = Echo(0.0)
    client = client_of(endpoint)
    await client.request(b"")
    endpoint.waited.clear()
    async with client.request_many([b"one", b"two"]) as results:
        assert [result.payload async for result in results] == [b"one", b"two"]
    assert endpoint.waited == [True]


async def test_a_request_that_is_cancelled_while_it_looks_leaves_nothing_behind(autojump_clock: MockClock) -> None:
    """Its answer, when it comes, is late; and somebody else can read."""
    endpoint = Echo(0.0)
    client = client_of(endpoint)
    await client.request(b"")
    with trio.CancelScope() as scope:
        scope.cancel()
        await client.request(b"")
    assert scope.cancelled_caught
    assert client._pump.reader is None
    assert len(client._protocol.exchanges) == 0
    assert await client.request(b"again") == b"again"
    assert client._protocol.dropped == {DropReason.LATE: 1}
