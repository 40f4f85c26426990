"""A forger: every way we know of making a datagram that looks like the reply, and the reason it must be dropped for.

The forger is given more than an off-path attacker ever has: the request, and the very reply that the server will send.
Each kind spoils exactly one thing about that reply, so that a client which forgets to check that thing believes it.

`KINDS` holds them by name, as plain functions of a `Target` and a `random.Random`: a loop can make millions of them, a
socket can send them, and `forged_replies` makes a Hypothesis strategy of them.
"""

from collections.abc import Callable
from random import Random
from typing import Final, NamedTuple

from hypothesis import strategies as st

from trio_udp.proto import DropReason, Peer

_HEADER: Final = 24
_REQUEST: Final = 0x01
_ANSWERS: Final = (0x81, 0x82, 0x84, 0x87, 0x88)
_COOKIE: Final = 0x02
_ONCE: Final = 0x04
_PADDED: Final = 0x10


class Target(NamedTuple):
    """What the forger aims at: a transmission of our own format that waits for its reply."""

    request: bytes
    reply: bytes
    """What the server really answers. It has to have a payload."""
    peer: Peer
    made: int
    """Transmissions made to that peer so far."""


class Forgery(NamedTuple):
    """A datagram nobody may believe."""

    data: bytes
    peer: Peer
    """Where it claims to come from."""
    reason: DropReason
    """What it has to be counted as."""


def verdict(data: bytes, ids: bytes, made: int) -> DropReason | None:
    """What a client waiting for `ids` must say to a datagram from the right peer; None where it has to believe it.

    A second reading of the format, straight from the table in its description, to hold the first one against.
    """
    if len(data) < _HEADER:
        return DropReason.MALFORMED
    if data[0] != 0x09:
        return DropReason.WRONG_VERSION
    kind, flags, attempt, key_id, reserved = data[1:6]
    extensions = flags & (_COOKIE | _ONCE) if kind in (_REQUEST, 0x82) else 0
    start = _HEADER + (16 if extensions & _COOKIE else 0) + (20 if extensions & _ONCE else 0)
    end = start + int.from_bytes(data[6:8], "big")
    padding = data[end:]
    right = (
        kind in (_REQUEST, *_ANSWERS)
        and flags == extensions | (_PADDED if padding else 0)
        and attempt >= 1
        and key_id == reserved == 0
        and end <= len(data)
        and not any(padding)
        and (not padding or kind == _REQUEST)
        and (end == start or kind in (_REQUEST, 0x81))
    )
    if not right:
        return DropReason.MALFORMED
    if kind == _REQUEST:
        return DropReason.WRONG_DIRECTION
    if data[8:24] != ids or attempt > made:
        return DropReason.UNKNOWN_REQUEST
    return None


Kind = Callable[[Target, Random], Forgery]


def _other_address(target: Target, random: Random) -> Forgery:
    """The genuine reply, from another host and the right port: the book's `FAKE`, with everything right but that."""
    hosts = {"127.0.0.1", "127.0.0.2", "192.0.2.1", "0.0.0.0", "::1", "2001:db8::1", "fe80::1%2"}  # noqa: S104 - not bound
    host = random.choice(sorted(hosts - {target.peer[0]}))
    return Forgery(target.reply, (host, target.peer[1]), DropReason.WRONG_PEER)


def _other_port(target: Target, random: Random) -> Forgery:
    """The genuine reply, from the right host and another port."""
    port = target.peer[1] ^ random.randint(1, 65_535)
    return Forgery(target.reply, (target.peer[0], port), DropReason.WRONG_PEER)


def _stranger(target: Target, random: Random) -> Forgery:
    """Whatever comes from another socket of the server's own host: its sender is looked at before its bytes."""
    return Forgery(random.randbytes(random.randrange(64)), _other_port(target, random).peer, DropReason.WRONG_PEER)


def _at(offset: int, data: bytes, changed: bytes) -> bytes:
    return data[:offset] + changed + data[offset + len(changed) :]


def _flipped(data: bytes, offset: int, size: int, random: Random) -> bytes:
    """With at least one bit other in `size` bytes from there."""
    mask = random.randint(1, 256**size - 1)
    field = int.from_bytes(data[offset : offset + size], "big") ^ mask
    return _at(offset, data, field.to_bytes(size, "big"))


def _header(offset: int, size: int, reason: DropReason) -> Kind:
    """The genuine reply with a header field changed, in any way at all."""

    def forge(target: Target, random: Random) -> Forgery:
        return Forgery(_flipped(target.reply, offset, size, random), target.peer, reason)

    return forge


def _one_id_bit(target: Target, random: Random) -> Forgery:
    """The genuine reply with one of the 128 bits wrong."""
    bit = random.randrange(128)
    changed = target.reply[8 + bit // 8] ^ (1 << bit % 8)
    return Forgery(_at(8 + bit // 8, target.reply, bytes([changed])), target.peer, DropReason.UNKNOWN_REQUEST)


def _attempt_zero(target: Target, random: Random) -> Forgery:
    """The genuine reply to no attempt."""
    return Forgery(_at(3, target.reply, b"\0"), target.peer, DropReason.MALFORMED)


def _attempt_never_made(target: Target, random: Random) -> Forgery:
    """The genuine reply to an attempt that is yet to come."""
    attempt = random.randint(target.made + 1, 255)
    return Forgery(_at(3, target.reply, bytes([attempt])), target.peer, DropReason.UNKNOWN_REQUEST)


def _unknown_type(target: Target, random: Random) -> Forgery:
    """The genuine reply under a type that does not exist."""
    kind = random.choice(sorted(set(range(256)) - {_REQUEST, *_ANSWERS}))
    return Forgery(_at(1, target.reply, bytes([kind])), target.peer, DropReason.MALFORMED)


def _refusal_with_payload(target: Target, random: Random) -> Forgery:
    """The genuine reply called RETRY, BUSY or ERROR: these have no payload."""
    kind = random.choice(_ANSWERS[1:])
    return Forgery(_at(1, target.reply, bytes([kind])), target.peer, DropReason.MALFORMED)


def _truncated(target: Target, random: Random) -> Forgery:
    """The genuine reply without its end."""
    return Forgery(target.reply[: random.randrange(len(target.reply))], target.peer, DropReason.MALFORMED)


def _extended(target: Target, random: Random) -> Forgery:
    """The genuine reply with something behind it."""
    return Forgery(target.reply + random.randbytes(random.randint(1, 64)), target.peer, DropReason.MALFORMED)


def _padded(target: Target, random: Random) -> Forgery:
    """The genuine reply with padding, announced as such: only a request has any."""
    data = _at(2, target.reply, bytes([_PADDED])) + bytes(random.randint(0, 64))
    return Forgery(data, target.peer, DropReason.MALFORMED)


def _reflected(target: Target, random: Random) -> Forgery:
    """Our own request, sent back to us."""
    return Forgery(target.request, target.peer, DropReason.WRONG_DIRECTION)


def _turned_round(target: Target, random: Random) -> Forgery:
    """The genuine reply without its direction bit."""
    return Forgery(_at(1, target.reply, bytes([_REQUEST])), target.peer, DropReason.WRONG_DIRECTION)


def _good_looking(target: Target, random: Random) -> Forgery:
    """A flawless answer of any kind to a guessed request: what a forger off the path can do."""
    kind = random.choice(_ANSWERS)
    payload = random.randbytes(random.randrange(32)) if kind == _ANSWERS[0] else b""
    head = bytes([9, kind, 0, 1, 0, 0]) + len(payload).to_bytes(2, "big")
    ids = _flipped(target.reply, 8, 16, random)[8:24]
    return Forgery(head + ids + payload, target.peer, DropReason.UNKNOWN_REQUEST)


def _empty(target: Target, random: Random) -> Forgery:
    """A datagram of no bytes."""
    return Forgery(b"", target.peer, DropReason.MALFORMED)


def _short_noise(target: Target, random: Random) -> Forgery:
    """Anything shorter than a header."""
    return Forgery(random.randbytes(random.randrange(_HEADER)), target.peer, DropReason.MALFORMED)


def _noise(target: Target, random: Random) -> Forgery:
    """Anything that begins as another protocol's datagrams do."""
    first = random.choice(sorted(set(range(256)) - {0x09}))
    data = bytes([first]) + random.randbytes(random.randint(_HEADER - 1, 200))
    return Forgery(data, target.peer, DropReason.WRONG_VERSION)


KINDS: Final[dict[str, Kind]] = {
    "other address": _other_address,
    "other port": _other_port,
    "anything from a stranger": _stranger,
    "other version": _header(0, 1, DropReason.WRONG_VERSION),
    "unknown type": _unknown_type,
    "refusal with a payload": _refusal_with_payload,
    "flags": _header(2, 1, DropReason.MALFORMED),
    "attempt zero": _attempt_zero,
    "attempt never made": _attempt_never_made,
    "key id and reserved byte": _header(4, 2, DropReason.MALFORMED),
    "payload length": _header(6, 2, DropReason.MALFORMED),
    "other instance id": _header(8, 8, DropReason.UNKNOWN_REQUEST),
    "other request id": _header(16, 8, DropReason.UNKNOWN_REQUEST),
    "one bit of the ids": _one_id_bit,
    "truncated": _truncated,
    "extended": _extended,
    "padded": _padded,
    "reflected": _reflected,
    "turned round": _turned_round,
    "guessed ids": _good_looking,
    "empty": _empty,
    "short noise": _short_noise,
    "noise": _noise,
}
"""Every kind of forgery that needs nothing but the reply it imitates."""


def forged_replies(target: Target) -> st.SearchStrategy[Forgery]:
    """A forged reply to this request, of any kind."""
    return st.builds(
        lambda kind, random: KINDS[kind](target, random),
        st.sampled_from(list(KINDS)),
        st.randoms(use_true_random=False),
    )


def datagrams(ids: st.SearchStrategy[bytes] | None = None) -> st.SearchStrategy[bytes]:
    """Arbitrary bytes, and bytes that begin like a good header of ours, with `ids` where they are given."""
    header = st.builds(
        lambda kind, flags, attempt, length, ids, rest: (
            bytes([9, kind, flags, attempt, 0, 0])
            + (len(rest) if length is None else length).to_bytes(2, "big")
            + ids
            + rest
        ),
        st.sampled_from((_REQUEST, *_ANSWERS)),
        st.sampled_from((0, _PADDED)) | st.integers(0, 255),
        st.integers(0, 255),
        st.none() | st.integers(0, 65_535),
        st.binary(min_size=16, max_size=16) if ids is None else ids,
        st.binary(max_size=64) | st.integers(0, 2000).map(bytes),
    )
    return (
        st.binary(max_size=128)
        | header
        | header.flatmap(lambda data: st.integers(0, len(data)).map(lambda end: data[:end]))
    )
