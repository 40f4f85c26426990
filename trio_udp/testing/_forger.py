"""A forger for simulated worlds of our own format, who sees every request and is hard to tell from its server.

Each forgery is the reply that would be believed, spoilt in exactly one way: none of them may be believed by a client,
or answered by a server.
"""

from collections.abc import Callable, Container
from typing import Final

from .._chaos import Packet, Verdict, flip_bit
from .._net import Address
from ..proto import TU1, AnswerKind, Question
from ._simnet import SimNet

_AT_SERVERS: Final = 0.2
"""Share of the forgeries that are thrown at the server, as if its client had sent them."""
_SOONEST: Final = 0.0005
_LATEST: Final = 0.5
"""Seconds after the request, at most so many more."""
_STRANGERS: Final = {False: "198.51.100.66", True: "2001:db8:ffff::66"}
"""By whether it is version 6. Nobody lives there."""


class Forger:
    """Sees every request, and throws what is right in all but one thing, at its client and at its server."""

    def __init__(self, net: SimNet, servers: Container[str], port: int, share: float) -> None:
        """Stand beside the way to these servers.

        Args:
            net: which also decides what is thrown, and when.
            servers: their numeric addresses.
            port: theirs, all the same.
            share: forgeries for each transmission that passes, on average.
        """
        self.thrown = 0
        """At clients and at servers together."""
        self._net = net
        self._draw = net.random.random
        self._servers = servers
        self._port = port
        self._share = share

    def watch(self, packet: Packet) -> Verdict | None:
        """A rule without an opinion."""
        to = packet.destination
        if packet.icmp is None and to.port == self._port and to.host in self._servers:
            wanted = 2 * self._share * self._draw()
            while wanted > self._draw():
                wanted -= 1
                self._throw(packet)
        return None

    def _throw(self, packet: Packet) -> None:
        """Forge something about this request, which arrives before long; perhaps before the real reply does."""
        question = TU1().decode_question_untrusted(packet.data)
        assert isinstance(question, Question), "no request of ours passed here"
        believable = TU1().encode_answer(question, AnswerKind.REPLY, b"FAKE")
        forge = _FORGERIES[int(self._draw() * len(_FORGERIES))]
        data, source = forge(packet, believable, self._draw)
        destination = packet.source
        if self._draw() < _AT_SERVERS and data != packet.data:  # what no client may believe, no server may answer
            source, destination = packet.source, packet.destination
        self._net.inject(data, source, destination, after=_SOONEST + _LATEST * self._draw())
        self.thrown += 1


Draw = Callable[[], float]
Forge = Callable[[Packet, bytes, Draw], tuple[bytes, Address]]
"""A request and a reply that would be believed go in; a datagram that must not be, and where it claims to come from."""


def _from_stranger(packet: Packet, answer: bytes, draw: Draw) -> tuple[bytes, Address]:
    stranger = _STRANGERS[":" in packet.source.host]
    return answer, packet.destination._replace(host=stranger)


def _from_other_port(packet: Packet, answer: bytes, draw: Draw) -> tuple[bytes, Address]:
    return answer, packet.destination._replace(port=packet.destination.port + 1)


def _with_flipped_bit(first: int, count: int) -> Forge:
    def forge(packet: Packet, answer: bytes, draw: Draw) -> tuple[bytes, Address]:
        return flip_bit(answer, first + int(draw() * count)), packet.destination

    return forge


def _truncated(packet: Packet, answer: bytes, draw: Draw) -> tuple[bytes, Address]:
    return answer[: int(draw() * len(answer))], packet.destination


def _extended(packet: Packet, answer: bytes, draw: Draw) -> tuple[bytes, Address]:
    return answer + b"!", packet.destination


def _reflected(packet: Packet, answer: bytes, draw: Draw) -> tuple[bytes, Address]:
    return packet.data, packet.destination


def _never_asked(packet: Packet, answer: bytes, draw: Draw) -> tuple[bytes, Address]:
    """For an attempt that no schedule here has."""
    return answer[:3] + b"\xc8" + answer[4:], packet.destination


def _noise(packet: Packet, answer: bytes, draw: Draw) -> tuple[bytes, Address]:
    return bytes(int(draw() * 256) for _ in range(int(draw() * 64))), packet.destination


_FORGERIES: Final[tuple[Forge, ...]] = (
    _from_stranger,
    _from_other_port,
    _with_flipped_bit(0, 8),  # the version
    _with_flipped_bit(16, 8),  # the flags
    _with_flipped_bit(32, 32),  # key id, reserved byte and length
    _with_flipped_bit(64, 128),  # the ids
    _truncated,
    _extended,
    _reflected,
    _never_asked,
    _noise,
)
