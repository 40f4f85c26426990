"""The measuring side's protocol: which datagram answers which probe.

As `ClientProtocol`, and for the same promises, but nothing is ever sent twice, answers that come twice or too late are
told of with the probe they belong to, and a datagram that was changed on its way is told from one that was forged.

What must hold: a datagram belongs to a probe only if it comes from the peer that was asked, and repeats that probe's
key (A1). What a stranger sends makes nothing grow.
"""

from collections import OrderedDict
from typing import Final, NamedTuple

from ._codec import TAG_SIZE, TIMES_SIZE
from ._drop_reason import DropReason
from ._exchanges import Peer
from ._profile import AnswerKind, Profile
from ._seal import IDS, REQUEST, Seal, Stamp, check_sealable, is_sealed_untrusted, open_answer_untrusted, stamp
from ._times import Times
from ._tu1 import TU1, TimedAnswer

REMEMBERED: Final = 4096
"""Closed probes whose answers are still known: some 2 MiB, and 4 s at one a millisecond. Four times as many would be in
tables so large that the C library's heap never stops growing around them."""
REPORT: Final = 0
"""The sequence of what asks for a report."""


class Probe:
    """One probe: one datagram that was sent once."""

    __slots__ = ("fingerprint", "is_open", "key", "owner", "payload", "sequence", "stamps")

    def __init__(self, sequence: int, key: bytes, payload: bytes) -> None:
        self.sequence = sequence
        self.key = key
        self.payload = payload
        """Forgotten when it is closed; of what comes then, `fingerprint` says whether it is right."""
        self.fingerprint = hash(payload)
        self.owner: object = None
        """What is known of it beside; for the one who opened it."""
        self.stamps: tuple[Stamp, ...] = ()
        """What it was sealed with; nothing without a key."""
        self.is_open = True
        """Whether its answer is waited for."""


class Heard(NamedTuple):
    """An answer to a probe of ours."""

    probe: Probe
    kind: AnswerKind
    times: Times | None
    """What the server tells; None where it tells nothing."""
    size: int
    """Bytes of the datagram."""
    is_right: bool
    """Whether it brings back every byte that was sent; not asked of formats whose servers do not echo."""
    is_intact: bool
    """Whether nothing has changed it on its way, as far as its check can tell."""
    payload: bytes = b""
    """What it brings; in what is no reply, why not."""


class ProbeProtocol:
    """All probes to one peer."""

    def __init__(
        self,
        profile: Profile,
        peer: Peer,
        *,
        random: bytes,
        size: int,
        remembered: int = REMEMBERED,
        seal: Seal | None = None,
    ) -> None:
        """Make the protocol of one who measures.

        Args:
            profile: the wire format.
            peer: who is asked.
            random: 8 random bytes, his instance id.
            size: bytes behind the format's own header. As in `ping`, the times are among them, and if they do not fit
                there are none. `ValueError` for what the format cannot carry.
            remembered: closed probes that are still known.
            seal: the key that vouches for probes and answers; `ValueError` if the format has no room for a tag.
        """
        if seal is not None:
            check_sealable(profile)
        longest = profile.max_payload - (0 if seal is None else TAG_SIZE)
        if not 0 <= size <= longest:
            raise ValueError(f"expected a size from 0 to {longest} bytes, got {size}")
        self._seal = seal
        self.is_sealed = seal is not None
        """Whether a key vouches for probes and answers."""
        self.overhead = profile.overhead + (0 if seal is None else TAG_SIZE)
        """Bytes of a datagram that are not of the size that was asked for."""
        self.size = size
        """Bytes of a datagram that are."""
        self.profile = profile
        self.peer = peer
        self.has_times = isinstance(profile, TU1) and size >= TIMES_SIZE
        self.payload_size = size - TIMES_SIZE if self.has_times else size
        """Bytes that are left for the payload."""
        self._is_echoed = isinstance(profile, TU1)  # the book's server says something else
        self._instance = random
        self._open: dict[bytes, Probe] = {}
        self._closed: OrderedDict[bytes, Probe] = OrderedDict()
        self._remembered = remembered

    def __len__(self) -> int:
        """How many are open."""
        return len(self._open)

    @property
    def oldest(self) -> Probe | None:
        """The first of those that are open."""
        return next(iter(self._open.values()), None)

    def open(self, sequence: int, payload: bytes, random: bytes) -> tuple[Probe, bytes]:
        """A new probe and its datagram. Close it when its answer has come, or is waited for no more.

        Raises `ValueError` where the format cannot carry the payload, or has another probe open and cannot tell them
        apart.
        """
        key = self.profile.new_key(payload, self._instance, random)
        if key in self._open:
            raise ValueError(f"a probe with key {key.hex() or '(none)'} is already open")
        if self.has_times and isinstance(self.profile, TU1):
            datagram = self.profile.encode_probe(payload, key, sequence)
        else:
            datagram = self.profile.encode_request(payload, key, 1, 0)
        self._closed.pop(key, None)  # of a format whose keys are always the same
        probe = self._open[key] = Probe(sequence, key, payload)
        if self._seal is not None:
            datagram = self._seal.seal(REQUEST, datagram)
            probe.stamps = (stamp(self._seal, datagram),)
        return probe, datagram

    def close(self, probe: Probe) -> None:
        """Wait for its answer no more. For a while it is still known."""
        del self._open[probe.key]
        probe.is_open = False
        probe.payload = b""
        self._closed[probe.key] = probe
        if len(self._closed) > self._remembered:
            _, forgotten = self._closed.popitem(last=False)
            forgotten.owner = None  # who may know the probe: else both would wait for the garbage collector

    def receive_hint(self, quote: bytes, peer: Peer) -> Probe | None:
        """The open probe an ICMP error is about; None when it quotes none. ICMP may be forged."""
        key = self.profile.decode_quote_untrusted(quote)
        return self._open.get(key) if key is not None and peer == self.peer else None

    def match_untrusted(self, data: bytes, peer: Peer) -> Heard | DropReason:
        """The accept rule: which probe this answers, or why it is not believed."""
        if peer != self.peer:
            return DropReason.WRONG_PEER
        opened = data if self._seal is None else self._open_untrusted(data)
        found = opened if isinstance(opened, DropReason) else self._decode(opened)
        if isinstance(found, DropReason):
            return found
        answer, times, is_intact = found
        probe = self._open.get(answer.key) or self._closed.get(answer.key)
        if probe is None or (answer.attempt > 1 and is_intact):
            return DropReason.UNKNOWN_REQUEST if is_intact else DropReason.CORRUPTED
        if probe.sequence == REPORT and not is_intact:
            return DropReason.CORRUPTED  # else it would pass for the word of a server that has forgotten who asks
        is_right = not self._is_echoed or (
            answer.payload == probe.payload if probe.is_open else hash(answer.payload) == probe.fingerprint
        )
        return Heard(probe, answer.kind, times, len(data), is_right, is_intact, answer.payload)

    def _open_untrusted(self, data: bytes) -> bytes | DropReason:
        """What lies under the tag. Which one that has to be, only the probe it answers can say."""
        if not is_sealed_untrusted(data):
            found = self._decode(data)
            return found if isinstance(found, DropReason) else DropReason.BAD_SEAL
        probe = self._open.get(data[IDS]) or self._closed.get(data[IDS])
        return DropReason.UNKNOWN_REQUEST if probe is None else open_answer_untrusted(data, probe.stamps)

    def _decode(self, data: bytes) -> TimedAnswer | DropReason:
        if self.has_times and isinstance(self.profile, TU1):
            return self.profile.decode_probe_answer_untrusted(data)
        answer = self.profile.decode_answer_untrusted(data)
        return answer if isinstance(answer, DropReason) else TimedAnswer(answer, None, is_intact=True)
