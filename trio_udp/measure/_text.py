"""What `ping` prints, in the words and the layout of iputils ping, which people and programs know how to read."""

from collections.abc import Mapping
from typing import Final

from .._layout import authenticated, counted, milliseconds
from .._net import Address
from ..proto import DropReason, Refusal
from ._records import Corrupted, Distribution, Lost, Refused, ReplyRecord, Reported, Start, Summary

_IP_HEADERS = {4: 20, 6: 40}
_UDP_HEADER = 8
_SAID: Final = {"busy": "the server is busy", "error": "the handler failed", "retry": "the reply does not fit"}


def headline(host: str, start: Start) -> str:
    """The first line; the number in brackets is the size of the IP packet. Behind the usual words: F8."""
    packet = start.datagram_size + _UDP_HEADER + _IP_HEADERS[6 if ":" in start.peer.host else 4]
    return f"PING {host} ({start.peer}) {start.size}({packet}) bytes of data. {authenticated(start.is_authenticated)}"


def reply_line(host: str, peer: Address, reply: ReplyRecord | Corrupted) -> str:
    """One reply. It says `icmp_seq` although it is UDP, because that is the word everybody's parser looks for."""
    source = peer.host if host == peer.host else f"{host} ({peer.host})"
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
    """What is not the path: medians over loopback, in this process."""
    parts = {"rtt": found.rtt, "queue": found.client_queue, "wake-up": found.wake_up, "all": found.total}
    shown = [f"{name} {part.p50_ns / 1e6:.3f} ms" for name, part in parts.items() if part.p50_ns is not None]
    clocks = ", ".join(str(stamps) for stamps in found.stamps)
    missed = f", missed slots: {found.missed_slots}" if found.missed_slots else ""
    return f"noise floor by {clocks or 'no'} stamps: {', '.join(shown) or 'nothing came back'}{missed}"


def snapshot_line(found: Summary, smoothed_ns: float) -> str:
    """What iputils says for SIGQUIT; `ewma` is the moving average."""
    line = f"{found.received}/{found.sent} packets, {found.loss:.0f}% loss"
    times = (found.rtt.min_ns, found.rtt.mean_ns, smoothed_ns, found.rtt.max_ns)
    if found.received:
        line += f", min/avg/ewma/max = {'/'.join(f'{time / 1e6:.3f}' for time in times if time is not None)} ms"
    return line


def percentile_lines(found: Summary) -> list[str]:
    """Percentiles, and beside them those from when each probe was due, of which what was sent too late is part."""
    if found.rtt.p50_ns is None:
        return []
    line = f"percentiles p50/p90/p99/p99.9 = {_percentiles(found.rtt)}"
    return [f"{line}, corrected {_percentiles(found.rtt_corrected)}" if found.rtt_corrected.count else line]


def _percentiles(times: Distribution) -> str:
    found = (times.p50_ns, times.p90_ns, times.p99_ns, times.p999_ns)
    return "/".join(f"{time / 1e6:.3f}" for time in found if time is not None) + " ms"


def report(host: str, found: Summary, *, verbose: bool = False) -> list[str]:
    """The lines at the end, an empty one first; and if it is wanted, where the time went and what the server says."""
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
        lines += percentile_lines(found)
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
        lines.append(f"the server's replies left {lag / 1e6:.3f} ms after it handed them over, by its kernel's stamps")
    return [*lines, reported_line(found.reported)]


def reported_line(reported: Reported) -> str:
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
        "refused": refused,
        "lost": lost if is_known else {},
        "pending": {"not waited for to the end": found.pending},
        "reordered": {"upstream": found.reordered_upstream, "downstream": found.reordered_downstream},
        "changed": {"answers": found.changed},
        "missed slots": {"in which nothing could be sent": found.missed_slots},
        "rejected": {**rejected, str(DropReason.LATE): found.late},
        "icmp hints, perhaps forged": found.hints,
    }
