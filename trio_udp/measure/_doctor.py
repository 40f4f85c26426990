"""What a host can and cannot do for measuring, in words: what is so, what that means, what to do about it.

Here are only the words, and which of them fit; what is so is found out by `_examine`.
"""

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from .._net._abilities import Abilities
from ._records import Stamps, Summary

_ENOUGH_DESCRIPTORS: Final = 1024
"""For the usual limit nothing has to be said."""
_ON_TIME: Final = 0.99
_NOISY_NS: Final = 1_000_000
"""A floor above that is more than most local networks add."""


class State(enum.StrEnum):
    """How it is."""

    OK = "ok"
    LIMITED = "limited"
    MISSING = "missing"
    UNKNOWN = "unknown"
    """It could not be found out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing about this host."""

    name: str
    state: State
    what: str
    """What is so."""
    meaning: str
    """What comes of it."""
    advice: str
    """What to do; empty if nothing is to be done."""


def finding_line(finding: Finding) -> str:
    """How it is, and behind that all that is to be said, in one line."""
    parts = (f"{finding.name}: {finding.what}", finding.meaning, finding.advice)
    return f"{finding.state:<8}" + "; ".join(part for part in parts if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What was found out."""

    abilities: Abilities
    has_timer: bool
    """Whether the kernel wakes us to the microsecond (timerfd)."""
    is_synchronised: bool | None
    """Whether the kernel says so of its wall clock; None if it says nothing."""
    clock_error_ns: int | None
    """How far off it may be, by the kernel's own estimate."""
    descriptors: int | None
    """Files and sockets that this process may have open; None without a limit, or where nobody says."""
    noise: Summary | None
    """The tool's own noise floor; None if it could not be measured."""


def judge(facts: Facts) -> list[Finding]:
    """All that is to be said, always the same things in the same order."""
    return [_find(name, facts) for name, _find in _FINDERS.items()]


def _finding(name: str, state: State, what: str, meaning: str, advice: str = "") -> Finding:
    return Finding(name=name, state=state, what=what, meaning=meaning, advice=advice)


def _batches(name: str, facts: Facts) -> Finding:
    if facts.abilities.has_batches:
        return _finding(name, State.OK, "recvmmsg and sendmmsg", "many datagrams in one system call")
    return _finding(
        name,
        State.MISSING,
        "neither recvmmsg nor sendmmsg",
        "one system call a datagram: all works, slower",
        "use Linux",
    )


def _runs(name: str, facts: Facts) -> Finding:
    has = {"UDP_SEGMENT": facts.abilities.sends_runs, "UDP_GRO": facts.abilities.receives_runs}
    there = " and ".join(option for option, is_there in has.items() if is_there)
    if all(has.values()):
        return _finding(name, State.OK, there, "equal datagrams to one peer cross the kernel in one piece")
    state, what = (State.LIMITED, f"only {there}") if there else (State.MISSING, "neither UDP_SEGMENT nor UDP_GRO")
    return _finding(
        name, state, what, "datagrams cross the kernel one by one: all works, slower", "use Linux 5.0 or later"
    )


def _stamps(name: str, facts: Facts) -> Finding:
    seen = facts.noise.stamps if facts.noise is not None else {}
    total = sum(seen.values())
    if not total:
        return _finding(
            name, State.UNKNOWN, "no probe over loopback came back", "nobody can tell", "look at the firewall"
        )
    if seen.get(Stamps.KERNEL, 0) == total:
        return _finding(
            name, State.OK, "by the kernel, both ways", "a round trip is the network's, without our waking up"
        )
    advice = "use Linux; a container or sandbox may forbid SO_TIMESTAMPING"
    if seen.get(Stamps.USER, 0) == total:
        return _finding(name, State.MISSING, "by this program's clock", "our waking up is part of every time", advice)
    what = ", ".join(f"{count} of {total} by {stamps}" for stamps, count in sorted(seen.items()))
    return _finding(name, State.LIMITED, what, "our queueing is part of some times; each record says so", advice)


def _timer(name: str, facts: Facts) -> Finding:
    if facts.has_timer:
        return _finding(name, State.OK, "timerfd", "probes leave on time to some dozen microseconds")
    return _finding(
        name,
        State.MISSING,
        "no timerfd",
        "probes leave up to a millisecond late",
        "use Linux, or intervals above 10 ms",
    )


def _buffer(name: str, facts: Facts) -> Finding:
    wanted, granted, limit = facts.abilities[-3:]
    if granted is None:
        return _finding(name, State.UNKNOWN, "the system does not say", "bursts may be lost in this host")
    if granted >= wanted:
        return _finding(name, State.OK, f"{granted} bytes", "bursts fit")
    what = f"{granted} of {wanted} bytes" + ("" if limit is None else f", because net.core.rmem_max is {limit}")
    advice = f"sudo sysctl -w net.core.rmem_max={wanted}"
    return _finding(name, State.LIMITED, what, "bursts are lost in this host, and counted as kernel_drops", advice)


def _clock(name: str, facts: Facts) -> Finding:
    meaning = "only times of day and one-way offsets rest on it, and round trips do not"
    if facts.is_synchronised is None:
        return _finding(name, State.UNKNOWN, "the kernel does not say", meaning)
    if not facts.is_synchronised:
        return _finding(name, State.LIMITED, "not synchronised", meaning, "run chrony or another NTP client")
    error = facts.clock_error_ns
    what = "synchronised" if error is None else f"synchronised, off by {error / 1e6:.3f} ms at most"
    return _finding(name, State.OK, what, meaning)


def _errors(name: str, facts: Facts) -> Finding:
    if facts.abilities.has_error_queue:
        return _finding(name, State.OK, "IP_RECVERR", "an ICMP error names the probe that it is about")
    advice = "use Linux, and let ICMP pass on the loopback interface"
    return _finding(name, State.MISSING, "no error queue", "hints why probes are lost may be missing", advice)


def _ipv6(name: str, facts: Facts) -> Finding:
    if facts.abilities.has_ipv6:
        return _finding(name, State.OK, "on the loopback interface", "both versions can be measured")
    return _finding(name, State.MISSING, "none", "IPv4 only", "sudo sysctl -w net.ipv6.conf.all.disable_ipv6=0")


def _descriptors(name: str, facts: Facts) -> Finding:
    limit = facts.descriptors
    if limit is None:
        return _finding(name, State.OK, "no limit that is known", "as many paths at once as wanted")
    paths = max((limit - 16) // 2, 0)
    meaning = f"{paths} paths at once: each has a socket and a timer"
    if limit >= _ENOUGH_DESCRIPTORS:
        return _finding(name, State.OK, f"{limit}", meaning)
    return _finding(name, State.LIMITED, f"{limit}", meaning, f"ulimit -n {_ENOUGH_DESCRIPTORS}")


def _noise(name: str, facts: Facts) -> Finding:
    found = facts.noise
    if found is None or found.rtt.p50_ns is None or found.rtt.p99_ns is None:
        return _finding(
            name, State.UNKNOWN, "no probe over loopback came back", "nobody can tell", "look at the firewall"
        )
    median, slow = found.rtt.p50_ns, found.rtt.p99_ns
    share = found.on_time / (found.sent + found.missed_slots)
    what = f"p50 {median / 1e6:.3f} ms, p99 {slow / 1e6:.3f} ms, {share:.1%} of 1 ms slots on time"
    meaning = "what of every round trip is the tool and this host"
    if median < _NOISY_NS and share >= _ON_TIME:
        return _finding(name, State.OK, what, meaning)
    return _finding(name, State.LIMITED, what, meaning, "stop what else is running, or probe less often")


_FINDERS: Final[dict[str, Callable[[str, Facts], Finding]]] = {
    "batches": _batches,
    "runs": _runs,
    "timestamps": _stamps,
    "timer": _timer,
    "receive buffer": _buffer,
    "wall clock": _clock,
    "error queue": _errors,
    "IPv6": _ipv6,
    "descriptors": _descriptors,
    "noise floor": _noise,
}
