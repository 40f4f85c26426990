"""The core's own errors: facts as attributes, the sentence made of them."""

import pickle

import pytest

from trio_udp.proto import PayloadTooLarge, ProtocolError, UDPError


def test_payload_too_large_says_size_and_limit() -> None:
    """G1: refused before sending, with both figures as attributes and in the sentence and in the repr."""
    error = PayloadTooLarge(2000, 1200)
    assert (error.size, error.limit) == (2000, 1200)
    assert str(error) == "payload is too large: expected at most 1200 bytes, got 2000"
    assert repr(error) == "PayloadTooLarge(2000, 1200)"


def test_payload_too_large_survives_pickling() -> None:
    """It may cross a process boundary, as any exception of a worker does."""
    error = pickle.loads(pickle.dumps(PayloadTooLarge(2000, 1200)))  # noqa: S301 - our own bytes
    assert (error.size, error.limit) == (2000, 1200)


@pytest.mark.parametrize(
    ("kind", "parents"), [(PayloadTooLarge, (UDPError, ValueError)), (ProtocolError, (UDPError,)), (UDPError, ())]
)
def test_errors_are_what_callers_catch(kind: type[Exception], parents: tuple[type[Exception], ...]) -> None:
    """One root for all, and the built-in error where one says the same."""
    assert all(issubclass(kind, parent) for parent in (*parents, Exception))
    assert not issubclass(kind, OSError)
