"""A run as text, in the words and the layout of iputils ping, which people and programs know how to read.

The command prints what is made here and nothing else, so a program that is given the same events has the same lines.
"""

import math
from collections.abc import Callable, Mapping
from typing import Final

from .._layout import authenticated, counted, milliseconds
from .._net import Address
from ..proto import DropReason, Refusal
from ._records import Corrupted, Distribution, Event, Lost, Refused, ReplyRecord, Reported, Start, Summary

_IP_HEADERS = {4: 20, 6: 40}
_UDP_HEADER = 8
_SAID: Final = {"busy": "the server is busy", "error": "the handler failed", "retry": "the reply does not fit"}
_WHY: Final = {
    "EACCES": "Permission denied",
    "EHOSTUNREACH": "No route to host",
    "EINVAL": "Invalid argument",
    "EMSGSIZE": "Message too long",
    "ENETDOWN": "Network is down",
    "ENETUNREACH": "Network is unreachable",
    "ENOBUFS": "No buffer space available",
    "EPERM": "Operation not permitted",
}
"""Why the kernel does not send, as C libraries say it; of other reasons there is the errno's name."""
_SMOOTHING: Final = 8
"""Each round trip changes the moving average by an eighth of the difference, as in iputils ping and RFC 6298."""


class TextWriter:
    """Makes the text of one run. Lines end in a line feed; the signs of a flood have none."""

    def __init__(
        self,
        host: str,
        *,
        # Which lines
        verbose: bool = False,
        quiet: bool = False,
        outstanding: bool = False,
        flood: bool = False,
        # What stands in them
        numeric: bool = False,
        bell: bool = False,
        wait: float = math.inf,
        wall_clock: Callable[[], int] | None = None,
    ) -> None:
        """Behind each argument is the letter of `ping` that asks for it.

        Args:
            host: what to call the host.
            verbose: (-v) a line for each probe without a reply, and more at the end.
            quiet: (-q) the first line and those at the end only.
            outstanding: (-O) a line for a probe that is unanswered when the next is due; see `due`.
            flood: (-f) a dot for each probe, and a backspace for each reply, instead of their lines.
            numeric: (-n) call it by its address in the lines of replies.
            bell: (-a) ring the terminal's bell for each reply.
            wait: (-W) seconds that a reply was waited for; what took longer until it was given up is not counted.
            wall_clock: (-D) begin each line about a probe with a time: when the kernel says that the reply came, and
                this clock's, in nanoseconds since 1970, where nothing came. `Prober.wall_clock` is one.
        """
        self._host = host
        self._verbose = verbose
        self._quiet = quiet
        self._outstanding = outstanding
        self._flood = flood
        self._numeric = numeric
        self._bell = "\a" if bell else ""
        self._wait = wait
        self._wall_clock = wall_clock
        self._peer: Address | None = None
        self._answered = 0
        """The newest probe that was answered."""

    def text(self, event: Event) -> str:
        """What to print at this event; empty for what has no line. Begin with the `Start`, which says the address."""
        match event:
            case Start():
                self._peer = event.peer
                return f"{headline(self._host, event)}\n"
            case Summary():
                return "".join(f"{line}\n" for line in summary_lines(self._host, event, verbose=self._verbose))
            case ReplyRecord() | Corrupted() if not self._quiet:
                return self._reply(event)
            case Lost() | Refused() if self._verbose and not self._quiet:
                return self._line(missing_line(event, self._wait))
            case _:
                return ""

    def due(self, sent: int) -> str:
        """What to print when the next probe is due, and so many were sent before it: a dot, or that no answer came yet
        to the last of them; mostly nothing."""
        if self._quiet:
            return ""
        if self._flood:
            return "."
        if self._outstanding and sent > self._answered:
            return self._line(f"no answer yet for icmp_seq={sent}")
        return ""

    def _reply(self, reply: ReplyRecord | Corrupted) -> str:
        self._answered = max(self._answered, reply.sequence)
        if self._flood:
            return "\b \b" if isinstance(reply, ReplyRecord) else "\bC"
        host = self._peer.host if self._numeric and self._peer else self._host
        at = reply.received_at_ns if isinstance(reply, ReplyRecord) else None
        return self._line(f"{reply_line(host, self._peer, reply)}{self._bell}", at)

    def _line(self, line: str, at_ns: int | None = None) -> str:
        if self._wall_clock is None:
            return f"{line}\n"
        at = self._wall_clock() if at_ns is None else at_ns
        return f"[{at // 1_000_000_000}.{at // 1000 % 1_000_000:06d}] {line}\n"


class Snapshot:
    """Makes the line that says how far a run is, as iputils does for SIGQUIT."""

    def __init__(self) -> None:
        self._smoothed = 0.0
        """Moving average of the round-trip times, in nanoseconds; 0 before the first."""

    def take(self, event: Event) -> None:
        """The next event of the run; the moving average, `ewma`, is made from them."""
        if isinstance(event, ReplyRecord):
            self._smoothed += (event.rtt_ns - self._smoothed) / (_SMOOTHING if self._smoothed else 1)

    def line(self, found: Summary) -> str:
        """With these sums."""
        line = f"{found.received}/{found.sent} packets, {found.loss:.0f}% loss"
        times = (found.rtt.min_ns, found.rtt.mean_ns, self._smoothed, found.rtt.max_ns)
        if found.received:
            line += f", min/avg/ewma/max = {'/'.join(f'{time / 1e6:.3f}' for time in times if time is not None)} ms"
        return line


def headline(host: str, start: Start) -> str:
    """The first line; the number in brackets is the size of the IP packet. Behind the usual words: F8."""
    packet = start.datagram_size + _UDP_HEADER + _IP_HEADERS[6 if ":" in start.peer.host else 4]
    return f"PING {host} ({start.peer}) {start.size}({packet}) bytes of data. {authenticated(start.is_authenticated)}"


def reply_line(host: str, peer: Address | None, reply: ReplyRecord | Corrupted) -> str:
    """One reply. It says `icmp_seq` although it is UDP, because that is the word everybody's parser looks for."""
    source = host if peer is None or host == peer.host else f"{host} ({peer.host})"
    ttl = "" if reply.hop_limit is None else f" ttl={reply.hop_limit}"
    bad = " (BAD PAYLOAD!)" if isinstance(reply, Corrupted) else ""
    time = milliseconds(reply.rtt_ns / 1e9)
    return f"{reply.size} bytes from {source}: icmp_seq={reply.sequence}{ttl} time={time} ms{bad}"


def missing_line(event: Lost | Refused, wait: float) -> str:
    """Why there is no reply."""
    if isinstance(event, Refused):
        said = _SAID.get(event.reason, event.reason)
        if event.because is not None:
            said = f"the server refuses: {Refusal(event.because, event.limit or 0)}"
        return f"no reply to icmp_seq={event.sequence}: {said}"
    hint = f" ({event.hint})" if event.hint else ""
    return f"no reply to icmp_seq={event.sequence} within {min(wait, event.waited_ns / 1e9):g} s{hint}"


def noise_line(found: Summary) -> str:
    """What `noise_floor` found, in a line: medians over loopback, in this process."""
    parts = {"rtt": found.rtt, "queue": found.client_queue, "wake-up": found.wake_up, "all": found.total}
    shown = [f"{name} {part.p50_ns / 1e6:.3f} ms" for name, part in parts.items() if part.p50_ns is not None]
    clocks = ", ".join(str(stamps) for stamps in found.stamps)
    missed = f", missed slots: {found.missed_slots}" if found.missed_slots else ""
    return f"noise floor by {clocks or 'no'} stamps: {', '.join(shown) or 'nothing came back'}{missed}"


def _percentile_lines(found: Summary) -> list[str]:
    """Percentiles, and beside them those from when each probe was due, of which what was sent too late is part."""
    if found.rtt.p50_ns is None:
        return []
    line = f"percentiles p50/p90/p99/p99.9 = {_percentiles(found.rtt)}"
    return [f"{line}, corrected {_percentiles(found.rtt_corrected)}" if found.rtt_corrected.count else line]


def _percentiles(times: Distribution) -> str:
    found = (times.p50_ns, times.p90_ns, times.p99_ns, times.p999_ns)
    return "/".join(f"{time / 1e6:.3f}" for time in found if time is not None) + " ms"


def summary_lines(host: str, found: Summary, *, verbose: bool = False) -> list[str]:
    """The lines at the end, an empty one first; with `verbose` also where the time went and what the server says."""
    extras = {
        "duplicates": found.duplicated_upstream + found.duplicated_downstream + found.duplicated_unknown,
        "corrupted": found.corrupted,
        "errors": found.refused,
    }
    figures = [f"{found.sent} packets transmitted", f"{found.received} received"]
    figures += [f"+{count} {name}" for name, count in extras.items() if count]
    figures += [f"{found.loss:g}% packet loss", f"time {found.elapsed_ns // 1_000_000:.0f}ms"]
    lines = ["", f"--- {host} ping statistics ---", ", ".join(figures)]
    times = (found.rtt.min_ns, found.rtt.mean_ns, found.rtt.max_ns, found.rtt.deviation_ns)
    if found.received:
        shown = "/".join(f"{time / 1e6:.3f}" for time in times if time is not None)
        lines.append(f"rtt min/avg/max/mdev = {shown} ms")
        lines += _percentile_lines(found)
    more = [f"{title}: {counted(counts)}" for title, counts in _details(found).items() if any(counts.values())]
    more += _verbose_lines(found) if verbose else []
    # Where there are no times, iputils leaves the line empty; parsers take what stands there instead for broken ones.
    return [*lines, "", *more] if more and not found.received else lines + more


def _verbose_lines(found: Summary) -> list[str]:
    """Where the time went, by whose stamps, and what the server says."""
    parts = found.mean_parts_ns
    shown = "/".join("-" if time is None else f"{time / 1e6:.3f}" for time in parts)
    lines = [f"avg client queue/network/server/wake-up = {shown} ms"] if any(parts) else []
    lines += (
        [f"stamps: {counted({str(stamps): count for stamps, count in found.stamps.items()})}"] if found.stamps else []
    )
    if found.reported is None:
        return lines
    lag = found.reported.departure_lag_ns
    if lag is not None:
        lines.append(f"the server's replies left {lag / 1e6:.3f} ms after it handed them over, {_known(found)}")
    return [*lines, _reported_line(found.reported)]


def _known(found: Summary) -> str:
    """By whose stamps, and of how many replies; older streams do not say the latter."""
    known = found.lags_known
    return "by its kernel's stamps" + (f" of {known} of {found.network.count}" if known else "")


def _reported_line(reported: Reported) -> str:
    """The server's figures, and what they are worth."""
    counts = {"received": reported.received, "duplicates": reported.duplicates, "reordered": reported.reordered}
    figures = ", ".join(f"{count} {name}" for name, count in counts.items())
    doubts = "" if reported.is_final else ", its last word did not come"
    doubts += "" if reported.is_whole else ", not of the whole run"
    return f"the server has counted: {figures}{doubts}. {authenticated(reported.is_authenticated)}"


def _details(found: Summary) -> dict[str, Mapping[str, int]]:
    """What iputils has no word for."""
    rejected: dict[str, int] = {str(reason): count for reason, count in found.rejected.items()}
    is_known = found.lost_upstream or found.lost_downstream
    lost = {"upstream": found.lost_upstream, "downstream": found.lost_downstream, "unknown": found.lost_unknown}
    refused = {f"because {Refusal(why, found.limits.get(why, 0))}": count for why, count in found.refusals.items()}
    return {
        "not sent": {_WHY.get(name, name): count for name, count in found.not_sent.items()},
        "refused": refused,
        "lost": lost if is_known else {},
        "pending": {"not waited for to the end": found.pending},
        "reordered": {"upstream": found.reordered_upstream, "downstream": found.reordered_downstream},
        "changed": {"answers": found.changed},
        "missed slots": {"in which nothing could be sent": found.missed_slots},
        "rejected": {**rejected, str(DropReason.LATE): found.late},
        "icmp hints, perhaps forged": found.hints,
    }
