"""The trace: what one reads, and the digest that stands for all of it."""

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_udp._net import Address
from trio_udp.testing import Icmp, Packet, Trace

HERE: Final = Address("192.0.2.1", 1)
THERE: Final = Address("2001:db8::2", 2)


def packet(data: bytes = b"data", number: int = 1, sent_at: float = 0.5) -> Packet:
    """A packet from here to there."""
    return Packet(data, HERE, THERE, sent_at, number)


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"", "0 bytes"),
        (b"hello", "5 bytes 'hello'"),
        (b"hello, wide world", "17 bytes 'hello, wide '…"),
        (b"\x00\x80", "2 bytes 00 80"),
        (b"\n", "1 bytes 0a"),
        (bytes(13), "13 bytes 00 00 00 00 00 00 00 00 00 00 00 00…"),
    ],
)
def test_a_line_says_who_sent_what_to_whom(data: bytes, shown: str) -> None:
    """Text as text, the rest as numbers, and not too much of it."""
    trace = Trace()
    trace.begin(packet(data))
    assert str(trace) == f"  0.500000  #1  192.0.2.1:1 > [2001:db8::2]:2  {shown}  on its way"


def test_a_line_says_what_became_of_it() -> None:
    """Every copy: when, if not at once, and as what, if it was changed."""
    trace = Trace(lambda host: "here" if host == HERE.host else host)
    record = trace.begin(packet())
    trace.end(record, 0.5, "delivered", b"data")
    trace.end(record, 0.75, "delivered", b"dada")
    trace.end(record, 0.75, "delivered", b"")
    trace.end(record, 1.0, "receive buffer full")
    assert str(trace) == (
        "  0.500000  #1  here 192.0.2.1:1 > [2001:db8::2]:2  4 bytes 'data'"
        "  delivered; delivered at 0.750000 as 'dada'; delivered at 0.750000 as nothing"
        "; receive buffer full at 1.000000"
    )


def test_forgeries_and_icmp_are_called_so() -> None:
    """An ICMP error names the packet it is about."""
    trace = Trace()
    trace.begin(packet(), injected=True)
    trace.begin(Packet(b"", HERE, THERE, 1.0, 2, icmp=Icmp("prohibited", packet())))
    first, second = str(trace).splitlines()
    assert "forged: 4 bytes" in first
    assert "  ICMP prohibited, about #1  " in second


@given(st.integers(0, 20), st.integers(0, 5), st.integers(0, 25))
def test_only_the_newest_are_kept(count: int, kept: int, shown: int) -> None:
    """A bounded number; how many are missing is said."""
    trace = Trace(kept=kept)
    for number in range(count):
        trace.begin(packet(number=number))
    assert (trace.count, len(trace)) == (count, min(count, kept))
    assert [record.packet.number for record in trace] == list(range(max(count - kept, 0), count))
    lines = trace.tail(shown).splitlines()
    missing = count - min(count, kept, shown)
    assert lines[:1] == ([f"… {missing} packets before these"] if missing else lines[:1])
    assert len(lines) == min(count, kept, shown) + bool(missing)


def digest_of(*events: tuple[Packet, list[tuple[float, str, bytes | None]]], kept: int = 10) -> str:
    """Of a trace with these packets and their fates."""
    trace = Trace(kept=kept)
    for sent, fates in events:
        record = trace.begin(sent)
        for fate in fates:
            trace.end(record, *fate)
    return trace.digest


def test_the_digest_depends_on_everything() -> None:
    """Whatever differs, it differs; but not for what is kept, or said twice."""
    fate = (0.5, "delivered", b"data")
    icmp = Packet(b"", HERE, THERE, 0.5, 1, icmp=Icmp("prohibited", packet()))
    reference = digest_of((packet(), [fate]))
    different = [
        digest_of(),
        digest_of((packet(), [])),
        digest_of((packet(), [fate, fate])),
        digest_of((packet(b"dato"), [fate])),
        digest_of((packet(number=2), [fate])),
        digest_of((packet(sent_at=0.500000001), [fate])),
        digest_of((packet()._replace(source=THERE), [fate])),
        digest_of((packet()._replace(destination=HERE), [fate])),
        digest_of((packet(), [(0.6, "delivered", b"data")])),
        digest_of((packet(), [(0.5, "lost", b"data")])),
        digest_of((packet(), [(0.5, "delivered", b"dada")])),
        digest_of((icmp, [])),
        digest_of((icmp._replace(icmp=Icmp("prohibited", packet(), 5)), [])),
        digest_of((icmp._replace(icmp=Icmp("prohibited", packet(number=7))), [])),
        digest_of((icmp._replace(icmp=Icmp("port unreachable", packet())), [])),
    ]
    assert len({reference, *different}) == len(different) + 1
    assert digest_of((packet(), [fate]), kept=0) == reference
    assert len(reference) == 32


def test_a_forgery_counts_as_one() -> None:
    """The same bytes from the host itself are another event."""
    honest, forged = Trace(), Trace()
    honest.begin(packet())
    forged.begin(packet(), injected=True)
    assert honest.digest != forged.digest
