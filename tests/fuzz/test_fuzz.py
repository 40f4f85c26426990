"""The fuzzer's targets, without the fuzzer; and the fuzzer in small, where it is installed."""

import pytest

from tests.properties.test_untrusted import TRIALS
from trio_udp.proto import TU1, DropReason

from .run import Crash, fuzz, has_fuzzer
from .targets import corpus, target

needs_fuzzer = pytest.mark.skipif(not has_fuzzer(), reason="atheris is not installed")


@pytest.mark.parametrize("name", TRIALS)
def test_every_untrusted_function_has_a_target_that_takes_the_corpus(name: str) -> None:
    """Also when it is cut short at any place."""
    run = target(name)
    for data in corpus():
        for end in range(len(data) + 1):
            run(data[:end])


@pytest.mark.parametrize("name", ["proto._tu1.TU1.decode_answer_untrusted", "proto._codec.decode_message_untrusted"])
def test_target_notices_a_result_that_is_not_declared(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It can fail."""
    monkeypatch.setitem(TRIALS, name, TRIALS[name]._replace(feed=lambda data: DropReason.LATE))
    with pytest.raises(AssertionError, match=r"returned <DropReason\.LATE"):
        target(name)(b"")


def test_target_of_the_accept_rule_notices_what_is_believed_and_should_not_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """It can fail too: here a client forgets to look at the instance id."""
    decode = TU1.decode_answer_untrusted
    monkeypatch.setattr(
        TU1, "decode_answer_untrusted", lambda self, data: decode(self, data[:8] + b"\x01" * 8 + data[16:])
    )
    reply = bytes([9, 0x81, 0, 1, 0, 0, 0, 0]) + b"\x07" * 8 + b"\x02" * 8
    with pytest.raises(AssertionError, match="was believed"):
        target("proto._client.ClientProtocol._match_untrusted")(reply)


@needs_fuzzer
@pytest.mark.parametrize("name", TRIALS)
def test_fuzzer_finds_nothing_in_a_moment(name: str) -> None:
    """The same as `nox -s fuzz`, with fewer inputs."""
    assert fuzz(name, 2_000, 1) == 2_000


@needs_fuzzer
def test_fuzzer_says_what_it_found() -> None:
    """A name that is no function's fails in the other process, and is a crash like any other."""
    with pytest.raises(Crash, match="KeyError"):
        fuzz("nobody", 10, 1)
