"""The error tree: who is whose, which facts an error carries, and its exact sentence."""

import copy
import pickle

import pytest
import trio

from trio_udp import Address, NoReply, PayloadTooLarge, ProtocolError, RemoteError, ServerBusy, UDPError

ONE = (Address("127.0.0.1", 1060),)
TWO = (*ONE, Address("::1", 1060))

PARENTS = {
    UDPError: (Exception,),
    NoReply: (UDPError, trio.TooSlowError),
    RemoteError: (UDPError,),
    ServerBusy: (RemoteError,),
    PayloadTooLarge: (UDPError, ValueError),
    ProtocolError: (UDPError,),
}

SENTENCES = {
    "no reply from 127.0.0.1:1060 after 5 attempts in 3.1 s": NoReply(ONE, attempts=5, elapsed=3.1),
    "no reply from 127.0.0.1:1060 after 1 attempt in 0.0 s": NoReply(ONE, attempts=1, elapsed=0.0),
    "no reply from 127.0.0.1:1060, [::1]:1060 after 10 attempts in 31.0 s (last error: ECONNREFUSED)": NoReply(
        TWO, attempts=10, elapsed=31.0, hint="ECONNREFUSED"
    ),
    "127.0.0.1:1060: the handler failed": RemoteError(ONE, "the handler failed"),
    "127.0.0.1:1060, [::1]:1060: the server is busy": ServerBusy(TWO, "the server is busy"),
    "payload is too large: expected at most 1200 bytes, got 2000": PayloadTooLarge(2000, 1200),
}


@pytest.mark.parametrize(("error", "parents"), PARENTS.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_an_error_is_caught_under_each_of_its_names(
    error: type[UDPError], parents: tuple[type[Exception], ...]
) -> None:
    """As drawn in the module's docstring; a remote fault is never an `OSError`."""
    assert error.__bases__ == parents
    assert not issubclass(error, OSError)


@pytest.mark.parametrize(("sentence", "error"), SENTENCES.items())
def test_an_error_says_what_happened(sentence: str, error: UDPError) -> None:
    """To whom, how often, for how long; and with no full stop."""
    assert str(error) == sentence


@pytest.mark.parametrize("error", SENTENCES.values(), ids=SENTENCES)
def test_an_error_survives_being_copied_and_sent_to_another_process(error: UDPError) -> None:
    """Test runners and process pools do that to exceptions."""
    for twin in (copy.copy(error), copy.deepcopy(error), pickle.loads(pickle.dumps(error))):  # noqa: S301 - our own
        assert type(twin) is type(error)
        assert str(twin) == str(error)
        assert vars(twin) == vars(error)


def test_facts_are_attributes() -> None:
    """Nobody has to read the sentence."""
    silent = NoReply(TWO, attempts=10, elapsed=31.0, hint="EPERM")
    assert (silent.servers, silent.peer, silent.attempts, silent.elapsed) == (TWO, TWO[0], 10, 31.0)
    assert silent.hint == "EPERM"
    assert NoReply(ONE, attempts=1, elapsed=1.0).hint is None
    failed = RemoteError(TWO, "the handler failed")
    assert (failed.servers, failed.peer, failed.reason) == (TWO, TWO[0], "the handler failed")
    assert (PayloadTooLarge(2000, 1200).size, PayloadTooLarge(2000, 1200).limit) == (2000, 1200)
