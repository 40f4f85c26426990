"""The figures of a measurement as they ought to be, from what was sent and what arrived of it.

They know the layout of datagrams, and nothing of the code that is tested.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from trio_udp import DropReason

_TIMES: Final = slice(24, 76)
_SEQUENCE: Final = slice(28, 32)
_FLAGS: Final = slice(72, 76)


class Format(NamedTuple):
    """What has to be known of a program's datagrams."""

    ids: slice
    """Where what an answer repeats of its question stands."""
    sequence: Callable[[bytes], int]
    """The number of a probe, from 1; 0 of any other question."""
    is_measured: Callable[[bytes], bool]
    """Whether it is a probe or an answer to one, and not what else the program says."""
    reason_for: Callable[[bytes, bytes], DropReason | None]
    """Why an answer that was sent and came otherwise is not believed; None where it still names its probe."""


class Arrival(NamedTuple):
    """A datagram that arrived."""

    number: int
    """Which one it was of those sent in its direction."""
    whole: bytes
    """As it was sent."""
    came: bytes


class Truth(NamedTuple):
    """What happened."""

    figures: dict[str, int]
    """By the names of the fields of `Summary`."""
    rejected: Counter[DropReason]
    lost: dict[int, str]
    """On which way, by the probe's number."""


def truth(form: Format, questions: Iterable[bytes], up: Iterable[Arrival], down: Iterable[Arrival]) -> Truth:
    """What happened, if these questions were asked, and these arrived, each direction in the order of arrival."""
    sequences: dict[bytes, int] = {}
    for question in questions:
        sequences.setdefault(question[form.ids], form.sequence(question))
    probes = {sequence for sequence in sequences.values() if sequence}
    came_up = [sequences[one.whole[form.ids]] for one in up if one.whole == one.came]
    came_up = [sequence for sequence in came_up if sequence]
    arrived = Counter(came_up)
    good: list[int] = []
    replies: list[int] = []
    changed: set[int] = set()
    changes = 0
    rejected = Counter[DropReason]()
    for one in down:
        sequence = sequences.get(one.whole[form.ids], 0)
        reason = None if one.whole == one.came else form.reason_for(one.whole, one.came)
        if reason is not None:
            rejected[reason] += 1
        elif one.whole != one.came:
            changes += bool(sequence)
            changed |= {sequence}
        elif sequence:
            good.append(sequence)
            replies.append(one.number)
    answered = set(good) | (changed - {0})
    return Truth(
        {
            "sent": len(probes),
            "received": len(set(good)),
            "corrupted": len(answered) - len(set(good)),
            "lost_upstream": len(probes - set(arrived)),
            "lost_downstream": len(set(arrived) - answered),
            "lost_unknown": 0, "late": 0, "refused": 0, "pending": 0,
            "duplicated_upstream": arrived.total() - len(arrived),
            "duplicated_downstream": len(replies) - len(set(replies)),
            "duplicated_unknown": 0,
            "reordered": reordered(good),
            "reordered_upstream": reordered(came_up),
            "reordered_downstream": reordered(replies),
            "changed": changes,
        },
        rejected,
        {probe: "downstream" if probe in arrived else "upstream" for probe in probes - answered},
    )  # fmt: skip


def reordered(numbers: list[int]) -> int:
    """RFC 4737: those that came behind a greater one; what came again does not count."""
    first = list(dict.fromkeys(numbers))
    return sum(number < max(first[:at], default=0) for at, number in enumerate(first))


def number(data: bytes, field: slice) -> int:
    """A field of a datagram."""
    return int.from_bytes(data[field], "big")


# Our own format


def is_report(data: bytes) -> bool:
    """Whether it asks for the server's last word, or is that."""
    return not number(data, _SEQUENCE) if data[1] == 0x01 else bool(number(data, _FLAGS) & 2)


def _reason_for(sent: bytes, came: bytes) -> DropReason | None:
    """By where its bits were flipped: one of them, or some behind the header."""
    place = next(at for at, (one, other) in enumerate(zip(sent, came, strict=True)) if one != other)
    if came[3] == 0:
        return DropReason.MALFORMED  # no attempt has that number
    if place == 0:
        return DropReason.WRONG_VERSION
    if place == 1 and came[1] == 0x01:
        return DropReason.WRONG_DIRECTION
    if place in range(8, 24):
        return DropReason.CORRUPTED
    return None if place == 3 or place >= 24 else DropReason.MALFORMED


OURS: Final = Format(
    ids=slice(8, 24),
    sequence=lambda data: number(data, _SEQUENCE),
    is_measured=lambda data: len(data) >= _TIMES.stop and not is_report(data),
    reason_for=_reason_for,
)

# irtt: magic 3, flags 1 (1 opens, 2 replies, 4 closes), token 8, sequence from 0, little-endian, 4

IRTT: Final = Format(
    ids=slice(4, 16),
    sequence=lambda data: 0 if data[3] else int.from_bytes(data[12:16], "little") + 1,
    is_measured=lambda data: data[3] in (0, 2),
    reason_for=lambda sent, came: None,  # nobody has said yet what it should believe
)
