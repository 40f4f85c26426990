"""What a caller gives in place of what was asked for is refused at the call, in words."""

import functools
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final, cast

import pytest

import trio_udp
from trio_udp import TU1, RetryPolicy
from trio_udp.measure import Fixed, open_prober
from trio_udp.testing import Lose, Plan, SimNet

HERE: Final[dict[str, Any]] = {"host": "127.0.0.1", "port": 9}
BOTH: Final = {
    "expected profile to be Profile or None, got the class TU1": {"profile": TU1},
    "expected profile to be Profile or None, got str": {"profile": "tu1"},
    "expected options to be SocketOptions, got NoneType": {"options": None},
    "expected options to be SocketOptions, got dict": {"options": {"hop_limit": 1}},
    "expected a Key, got str": {"key": "secret"},
    "expected port to be int, got str": {"port": "1060"},
    "expected port to be int, got float": {"port": 1060.0},
    "expected host to be str, got bytes": {"host": b"127.0.0.1"},
}
PAIRS: Final = "expected servers to be pairs of a host and a port, got"
CLIENT: Final = {
    "expected max_in_flight to be int, got str": {"max_in_flight": "3"},
    "expected max_in_flight to be int, got float": {"max_in_flight": 1.5},
    "expected max_payload to be int, got NoneType": {"max_payload": None},
    f"{PAIRS} '127.0.0.1'": {"host": None, "port": None, "servers": ("127.0.0.1", 1060)},
    f"{PAIRS} '127.0.0.1:1060'": {"host": None, "port": None, "servers": ["127.0.0.1:1060"]},
    "expected port to be int, got NoneType": {"host": None, "port": None, "servers": [("127.0.0.1", None)]},
}
POLICY: Final = "expected policy to be RetryPolicy or None, got int"
SERVER: Final = {
    "expected profile to be Profile or None, got the class TU1": {"profile": TU1},
    "expected rate_limit to be RateLimit or None, got int": {"rate_limit": 100},
    "expected port to be int, got str": {"port": "1060"},
    "expected host to be str or None, got int": {"host": 3},
    "expected max_handlers to be int, got str": {"max_handlers": "3"},
    "expected max_payload to be int, got float": {"max_payload": 1e3},
}


@pytest.mark.parametrize(("said", "given"), [*BOTH.items(), *CLIENT.items(), (POLICY, {"policy": 5})])
async def test_a_client_refuses_what_is_no_such_object(said: str, given: dict[str, Any]) -> None:
    """Before it opens anything."""
    with pytest.raises(TypeError, match=f"^{said}$"):
        async with trio_udp.open_client(**(HERE | given)):
            pass


@pytest.mark.parametrize(("said", "given"), BOTH.items())
async def test_a_prober_refuses_what_is_no_such_object(said: str, given: dict[str, Any]) -> None:
    """With the same words."""
    with pytest.raises(TypeError, match=f"^{said}$"):
        async with open_prober(**(HERE | given)):
            pass


@pytest.mark.parametrize(("said", "given"), SERVER.items())
async def test_a_server_refuses_what_is_no_such_object(said: str, given: dict[str, Any]) -> None:
    """Before it takes a port."""
    with pytest.raises(TypeError, match=f"^{said}$"):
        await trio_udp.serve(lambda request: request.payload, **(HERE | given))


async def test_a_server_refuses_what_cannot_be_called() -> None:
    """Or every request would be answered ERROR, with a traceback in the log."""
    with pytest.raises(TypeError, match=r"^expected a handler to call, got bytes$"):
        await trio_udp.serve(b"answer", 0, host="127.0.0.1")  # type: ignore[arg-type]


def yields(request: object) -> Iterator[bytes]:
    """What somebody writes who wants to answer twice."""
    yield b"once"
    yield b"twice"


async def yields_later(request: object) -> AsyncIterator[bytes]:
    """The same, and waits."""
    yield b"once"


class Yields:
    """The same as an object."""

    def __call__(self, request: object) -> Iterator[bytes]:
        """Answer."""
        yield b"once"


@pytest.mark.parametrize("handler", [yields, yields_later, Yields(), functools.partial(yields)])
async def test_a_server_refuses_a_handler_that_yields(handler: Any) -> None:
    """It would be called for each request, and none would have an answer."""
    with pytest.raises(TypeError, match=r"^expected a handler that returns bytes or None, got one that yields: .*"):
        await trio_udp.serve(handler, 0, host="127.0.0.1")


async def test_a_request_refuses_what_is_no_policy() -> None:
    """Alone and among many; and the client goes on."""
    wrong: Any = 5
    async with trio_udp.open_client("127.0.0.1", 9) as client:
        with pytest.raises(TypeError, match=r"^expected policy to be RetryPolicy, got int$"):
            await client.request(b"?", policy=wrong)
        with pytest.raises(TypeError, match=r"^expected policy to be RetryPolicy, got int$"):
            async with client.request_many([b"?"], policy=wrong):
                pass
        assert client.statistics().in_flight == 0
        with pytest.raises(trio_udp.NoReply):
            await client.request(b"?", policy=RetryPolicy(attempts=1, initial=0.01, adaptive=False))


def test_a_simulated_network_refuses_what_would_fail_in_the_middle_of_a_run() -> None:
    """Where nobody would know which line of the test it came from."""
    net, wrong = SimNet(), cast("Any", 0.3)
    with pytest.raises(TypeError, match=r"^expected conditions to be Conditions, got float$"):
        net.link(wrong)
    with pytest.raises(TypeError, match=r"^expected data to be bytes, got float$"):
        net.inject(wrong, ("192.0.2.1", 1), ("192.0.2.2", 2))
    with pytest.raises(
        TypeError, match=r"^expected an action of a plan to be Change or Inject or IcmpError, got float$"
    ):
        Plan(Lose(1), wrong)
    assert net.trace.count == 0


@pytest.mark.parametrize(("wrong", "got"), [(0.2, "float"), (Fixed, "the class Fixed")])
async def test_a_run_refuses_what_is_no_schedule(wrong: Any, got: str) -> None:
    """An interval is easily given in its place; the prober can still run with one."""
    async with open_prober("127.0.0.1", 9) as prober:
        with pytest.raises(TypeError, match=f"^expected schedule to be Schedule or None, got {got}$"):
            await prober.run(wrong)
        assert (await prober.run(Fixed(0.001), count=1, wait=0.01)).sent == 1
