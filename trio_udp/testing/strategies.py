"""Hypothesis strategies for whatever goes over UDP: networks, faults, forgeries, addresses, datagrams, callers.

    @given(plan=plans(Lose, Delay, packets=4))
    def test_client_survives(plan): ...

They shrink to what is read at a glance: few actions, small numbers, the plain kind before the exotic one. What they
draw prints as code that makes it again. Everything is bounded, and the bounds are arguments: a test can say what
has to work, and a client with five attempts need not survive a plan that loses six packets.

This module alone needs Hypothesis.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

try:
    from hypothesis import strategies as st
except ImportError as exc:
    raise ImportError("trio_udp.testing.strategies needs Hypothesis: pip install hypothesis") from exc

from .._chaos import ICMP_KINDS, Conditions, GilbertElliott, flip_bit
from .._net import normalise
from ._plans import (
    Action,
    Ask,
    Corrupt,
    Delay,
    Duplicate,
    IcmpError,
    Inject,
    Lose,
    Plan,
    Script,
    Swap,
    Truncate,
)

__all__ = [
    "FORGERIES",
    "LARGEST",
    "PEER_KINDS",
    "Forged",
    "client_scripts",
    "conditions",
    "datagrams",
    "forged_replies",
    "peers",
    "plans",
]

SockAddr = tuple[str, int]
LARGEST: Final = 65_507
"""Bytes of the largest UDP payload over IPv4."""
_READABLE: Final = 2048
"""Bytes of a datagram that Hypothesis prints without a warning; it gives one from some 7,500 on."""
_PERCENT: Final = 100
_MILLISECONDS: Final = 1000


def _shares(most: float) -> st.SearchStrategy[float]:
    """Whole percents: these print as they are meant."""
    return st.integers(0, round(most * _PERCENT)).map(lambda percent: percent / _PERCENT)


def _seconds(most: float, *, least: float = 0.0) -> st.SearchStrategy[float]:
    """Whole milliseconds."""
    return st.integers(round(least * _MILLISECONDS), round(most * _MILLISECONDS)).map(_from_milliseconds)


def _from_milliseconds(milliseconds: int) -> float:
    return milliseconds / _MILLISECONDS


# Networks


@st.composite
def _bursts(draw: st.DrawFn, most: float) -> GilbertElliott:
    """Channels that are bad for at most this share of the packets, in the long run."""
    share, length = draw(_shares(most)), draw(st.integers(1, 10))
    leave = 1 / length
    return GilbertElliott(enter=min(1.0, share * leave / (1 - share)), leave=leave)


def conditions(
    *,
    loss: float = 0.3,
    bursts: bool = True,
    latency: float = 0.2,
    jitter: float = 0.1,
    duplicate: float = 0.3,
    reorder: float = 0.3,
    corrupt: float = 0.0,
) -> st.SearchStrategy[Conditions]:
    """Network conditions that are no worse than these. Shrinks to a perfect link.

    Args:
        loss: the largest share of packets lost, below 1, and the largest share lost in bursts beside it.
        bursts: whether there are losses in bursts at all.
        latency: the longest, in seconds.
        jitter: the most, in seconds.
        duplicate: the largest share of packets that arrive twice.
        reorder: the largest share of packets that arrive late.
        corrupt: the largest share of packets with a flipped bit; none by default, as not every format can tell.
    """
    if not 0 <= loss < 1:
        raise ValueError(f"expected loss to be a share from 0 to below 1, got {loss}")
    return st.builds(
        Conditions,
        loss=_shares(loss),
        burst=st.none() | _bursts(loss) if bursts else st.none(),
        latency=_seconds(latency),
        jitter=_seconds(jitter),
        duplicate=_shares(duplicate),
        reorder=_shares(reorder),
        corrupt=_shares(corrupt),
    )


# Addresses and datagrams

PEER_KINDS: Final = ("v4", "v6", "mapped", "link-local")
"""The kinds of address that `peers` draws from."""
_FIRST_PORT: Final = 1060
_HOSTS: Final[dict[str, Callable[[int], str]]] = {
    # The documentation's networks (RFC 5737, RFC 3849), but for the parts that SimNet gives to hosts.
    "v4": "198.51.100.{}".format,
    "v6": "2001:db8:ffff::{:x}".format,
    "mapped": "::ffff:198.51.100.{}".format,
    "link-local": "fe80::ffff:{:x}%2".format,
}


def peers(*kinds: str) -> st.SearchStrategy[SockAddr]:
    """Addresses of strangers as (host, port): none that `SimNet` gives a host of its own accord.

    Args:
        kinds: of `PEER_KINDS`; all by default. A mapped one is a version 4 address as a version 6 socket writes it.
    """
    unknown = set(kinds) - set(PEER_KINDS)
    if unknown:
        raise ValueError(f"expected some of {', '.join(PEER_KINDS)}, got {', '.join(sorted(unknown))}")
    ports = st.just(_FIRST_PORT) | st.integers(1, 65_535)
    hosts = st.one_of([st.integers(1, 254).map(_HOSTS[kind]) for kind in kinds or PEER_KINDS])
    return st.tuples(hosts, ports)


def datagrams(*, max_size: int = LARGEST) -> st.SearchStrategy[bytes]:
    """Payloads of every size, small ones first: any bytes, text, headers that lie about lengths, other protocols'.

    Args:
        max_size: the longest, in bytes. A failure that takes more than some 7,500 of them makes Hypothesis warn that
            it prints a large value.
    """
    if not 0 <= max_size <= LARGEST:
        raise ValueError(f"expected a size from 0 to {LARGEST} bytes, got {max_size}")
    small = min(max_size, 64)
    kinds = [
        st.binary(max_size=small),
        st.text(st.characters(max_codepoint=126), max_size=small).map(str.encode),
        st.builds(_headed, st.binary(max_size=24), st.integers(0, 65_535), st.binary(max_size=small)),
        st.builds(bytes.__add__, st.sampled_from(_BEGINNINGS), st.binary(max_size=small)),
        st.builds(_repeated, st.integers(0, 255), st.integers(0, min(max_size, _READABLE))),
        st.builds(_repeated, st.integers(0, 255), st.integers(0, max_size)),
    ]
    return st.one_of(kinds).map(lambda data: data[:max_size])


_BEGINNINGS: Final = (
    # A STUN binding request, a DNS answer, CoAP, an NTP answer, a QUIC long header, a DTLS handshake, RTP
    b"\x00\x01\x00\x00\x21\x12\xa4\x42",
    b"\x00\x00\x81\x80\x00\x01\x00\x01",
    b"\x60\x45\x00\x00",
    b"\x24\x01\x00\xe8",
    b"\xc0\x00\x00\x00\x01",
    b"\x16\xfe\xfd\x00\x00",
    b"\x80\x00\x00\x00",
)


def _headed(head: bytes, length: int, rest: bytes) -> bytes:
    """A header, a length that need not be true, and something behind it."""
    return head + length.to_bytes(2, "big") + rest


def _repeated(byte: int, size: int) -> bytes:
    return bytes([byte]) * size


# Forged replies


class Forged(NamedTuple):
    """A datagram that nobody may take for the reply, and where it claims to come from."""

    data: bytes
    source: SockAddr
    how: str
    """What is wrong with it: one of `FORGERIES`."""

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))


FORGERIES: Final = (
    "other port",
    "other host",
    "replayed",
    "reflected",
    "empty",
    "truncated",
    "extended",
    "flipped bit",
    "other bytes",
)
"""The ways of spoiling a reply; the first two leave its bytes as they are."""


def forged_replies(
    request: bytes,
    reply: bytes,
    source: SockAddr,
    *,
    ways: Sequence[str] = FORGERIES,
    checked: slice = slice(None),
    others: Sequence[bytes] = (),
) -> st.SearchStrategy[Forged]:
    """Every way of spoiling the reply to a request, or of inventing one. None of them is the reply itself.

    Args:
        request: the request's bytes.
        reply: the very bytes that would be believed.
        source: where they would have to come from, as (host, port).
        ways: those of `FORGERIES` that a client has to be safe from. A format without ids cannot tell `replayed`.
        checked: the bytes of the reply that a client checks, and in which bits are flipped; all by default, as where
            there is a checksum. For a format with an id, the slice that holds it.
        others: replies to other requests, from the same source, to be replayed.
    """
    made = _forgeries(request, reply, source, checked, [other for other in others if other != reply])
    unknown = set(ways) - set(FORGERIES)
    if unknown:
        raise ValueError(f"expected some of {', '.join(FORGERIES)}, got {', '.join(sorted(unknown))}")
    wanted = [made[way].map(_named(way, source)) for way in FORGERIES if way in ways and way in made]
    if not wanted:
        raise ValueError("expected a way of forging that this reply allows")
    return st.one_of(wanted)


def _forgeries(
    request: bytes, reply: bytes, source: SockAddr, checked: slice, others: list[bytes]
) -> dict[str, st.SearchStrategy[tuple[bytes, SockAddr]]]:
    """Data and source, by the way it is forged; those ways that this reply allows."""
    host, port = source
    ports = st.sampled_from([near for near in (port + 1, port - 1) if 1 <= near <= 65_535]) | st.integers(1, 65_535)
    version = "v6" if ":" in normalise(source).host else "v4"
    strangers = peers(version).map(lambda stranger: (stranger[0], port))
    bits = [8 * index + bit for index in range(*checked.indices(len(reply))) for bit in range(8)]
    made: dict[str, st.SearchStrategy[tuple[bytes, SockAddr]]] = {
        "other port": ports.filter(lambda other: other != port).map(lambda other: (reply, (host, other))),
        "other host": strangers.filter(lambda other: normalise(other) != normalise(source)).map(
            lambda other: (reply, other)
        ),
    }
    spoilt = {
        "replayed": st.sampled_from(others) if others else None,
        "reflected": st.just(request) if request != reply else None,
        "empty": st.just(b"") if reply else None,
        "truncated": st.integers(1, len(reply) - 1).map(lambda end: reply[:end]) if len(reply) > 1 else None,
        "extended": st.binary(min_size=1, max_size=64).map(lambda rest: reply + rest),
        "flipped bit": st.sampled_from(bits).map(lambda bit: flip_bit(reply, bit)) if bits else None,
        "other bytes": datagrams(max_size=_READABLE).filter(lambda data: data != reply),
    }
    made |= {way: data.map(lambda data: (data, source)) for way, data in spoilt.items() if data is not None}
    return made


def _named(way: str, source: SockAddr) -> Callable[[tuple[bytes, SockAddr]], Forged]:
    return lambda made: Forged(*made, how=way)


# Plans

ActionKind = type[Action]


def plans(
    *kinds: ActionKind,
    packets: int = 8,
    max_size: int = 4,
    seconds: float = 2.0,
    bits: st.SearchStrategy[int] | None = None,
    sources: st.SearchStrategy[SockAddr | None] | None = None,
    data: st.SearchStrategy[bytes] | None = None,
) -> st.SearchStrategy[Plan]:
    """Fault plans. Shrinks to few actions about early packets: losing one before all else.

    Args:
        kinds: the classes of actions; all by default.
        packets: the last packet about which there may be an action.
        max_size: actions in a plan, at most.
        seconds: the longest that anything is delayed.
        bits: which bit of a payload is flipped; any of the first 64 bytes' by default.
        sources: where forged datagrams claim to come from, None for whoever was asked; strangers of version 4 by
            default, from whom no client has to believe anything.
        data: the bytes of forged datagrams; small ones by default.
    """
    if packets < 1:
        raise ValueError(f"expected at least 1 packet, got {packets}")
    numbers, times = st.integers(1, packets), _seconds(seconds)
    made: dict[ActionKind, st.SearchStrategy[Action]] = {
        Lose: st.builds(Lose, numbers),
        Delay: st.builds(Delay, numbers, seconds=_seconds(seconds, least=0.001)),
        Duplicate: st.builds(Duplicate, numbers, copies=st.integers(2, 3), apart=times),
        Swap: st.builds(Swap, numbers),
        Corrupt: st.builds(Corrupt, numbers, bit=st.integers(0, 511) if bits is None else bits),
        Truncate: st.builds(Truncate, numbers, size=st.integers(0, 64)),
        Inject: st.builds(
            Inject,
            after=numbers,
            source=peers("v4") if sources is None else sources,
            data=datagrams(max_size=64) if data is None else data,
            seconds=times,
        ),
        IcmpError: st.builds(
            IcmpError,
            after=numbers,
            kind=st.sampled_from(ICMP_KINDS),
            mtu=st.just(0) | st.integers(0, 1500),
            seconds=times,
        ),
    }
    unknown = [kind for kind in kinds if kind not in made]
    if unknown:
        raise ValueError(f"expected classes of actions, got {unknown}")
    return st.lists(st.one_of([made[kind] for kind in kinds or made]), max_size=max_size).map(_plan)


def _plan(actions: list[Action]) -> Plan:
    return Plan(*actions)


# Callers


def client_scripts(
    *,
    clients: int = 3,
    max_size: int = 5,
    seconds: float = 5.0,
    patience: float = 5.0,
    data: st.SearchStrategy[bytes] | None = None,
) -> st.SearchStrategy[Script]:
    """Who asks what when, and who gives up waiting when. Shrinks to one client asking at once, without a deadline.

    Args:
        clients: how many there may be.
        max_size: requests in a script, at most; there is at least one.
        seconds: the last that anyone asks at.
        patience: the longest that a caller waits who does not wait for ever.
        data: what is asked; at most 16 bytes by default.
    """
    if clients < 1:
        raise ValueError(f"expected at least 1 client, got {clients}")
    asks = st.builds(
        Ask,
        st.binary(max_size=16) if data is None else data,
        at=_seconds(seconds),
        client=st.integers(0, clients - 1),
        patience=st.none() | _seconds(patience),
    )
    return st.lists(asks, min_size=1, max_size=max_size).map(_script)


def _script(asks: list[Ask]) -> Script:
    return Script(*asks)
