"""`examples/dns_responder.py`: whatever comes, it answers in DNS or not at all, and briefly."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_udp.proto import AnswerKind, Question, ServerProtocol

dns_message: Final = pytest.importorskip("dns.message", reason="dnspython is not installed")
LONGEST: Final = 512
TRUNCATED: Final = 0x0200


def load_example() -> Any:
    """The example as a module."""
    path = Path(__file__).parent.parent / "examples" / "dns_responder.py"
    spec = importlib.util.spec_from_file_location("dns_responder", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


example: Final = load_example()
QUERY: Final = dns_message.make_query("a.example", "A").to_wire()
damaged: Final = st.builds(
    lambda at, byte: QUERY[:at] + byte + QUERY[at + 1 :],
    st.integers(0, len(QUERY) - 1),
    st.binary(min_size=1, max_size=1),
)


def ask(kind: AnswerKind, payload: bytes) -> Any:
    """The message that answers the query with this."""
    answer = example.DNS().encode_answer(Question(QUERY[:2], QUERY, 0, len(QUERY)), kind, payload)
    return dns_message.from_wire(answer)


def test_without_dnspython_it_says_what_is_missing(tmp_path: Path) -> None:
    """One line, and no traceback."""
    (tmp_path / "dns.py").write_text("raise ImportError('as if it were not there')")
    path = Path(__file__).parent.parent / "examples" / "dns_responder.py"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])}
    command = [sys.executable, str(path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603 - ours
    said = "expected the package dnspython to be installed, and it is not: pip install dnspython\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", said)


@given(st.binary(max_size=100) | damaged)
def test_whatever_comes_is_met_with_silence_or_with_a_short_answer(data: bytes) -> None:
    """Never an exception, never an answer to an answer, never more than 512 bytes unless the question had more."""
    server = ServerProtocol(example.DNS())
    question = server.receive_datagram(data)
    if isinstance(question, Question):
        assert not data[2] & 0x80
        payload = example.answer(SimpleNamespace(payload=question.payload))
        if payload is not None:
            _, datagram = server.reply(question, payload)
            assert datagram is not None
            assert len(datagram) <= max(LONGEST, len(data))
            assert datagram[:2] == data[:2]
            assert datagram[2] & 0x80


def test_an_answer_that_is_too_long_is_the_question_truncated() -> None:
    """So that who asked may ask again over TCP."""
    truncated = ask(AnswerKind.RETRY, b"")
    assert (truncated.rcode().name, truncated.answer) == ("NOERROR", [])
    assert truncated.flags & TRUNCATED


@pytest.mark.parametrize("kind", [AnswerKind.BUSY, AnswerKind.ERROR])
def test_a_failure_is_told_in_the_words_of_dns(kind: AnswerKind) -> None:
    """SERVFAIL, to the same question."""
    failed = ask(kind, b"")
    assert failed.rcode().name == "SERVFAIL"
    assert failed.question == dns_message.from_wire(QUERY).question
