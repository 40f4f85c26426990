"""A recorded run as irtt 0.9 writes it with `-o`, so that programs which read that read this too.

The fields that SmokePing's IRTT probe and Flent's runner take, and what stands around them, with irtt's names, units
(nanoseconds) and types. Differences: `monotonic` clock readings are not recorded, so there are none; what is irtt's own
(how its timers were set, say) is left out. As in irtt, a round trip is without the time in the server, where the server
tells that.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from ._recordings import Recording
from ._records import Direction, Event, Lost, ReplyRecord, Summary

_LOST: Final = {Direction.UPSTREAM: "true_up", Direction.DOWNSTREAM: "true_down", Direction.UNKNOWN: "true"}
_SECOND: Final = 1_000_000_000
MOST_TRIPS: Final = 10_000_000
"""A file of more than 4 GB."""


class IrttRun:
    """One run, of which every reply is kept; `document` has the whole."""

    def __init__(self, host: str) -> None:
        self._recording = Recording(host)
        self._replies: dict[int, ReplyRecord] = {}
        self._lost: dict[int, Lost] = {}

    @property
    def host(self) -> str:
        """Whom it measured."""
        return self._recording.host

    def take(self, event: Event) -> None:
        """The next of its events."""
        self._recording.take(event)
        match event:
            case ReplyRecord():
                self._replies[event.sequence] = event
            case Lost():
                self._lost[event.sequence] = event
            case _:
                pass

    def document(self) -> dict[str, Any]:
        """What `json.dumps` writes; `ValueError` for a run of sums only, or of more than `MOST_TRIPS` probes."""
        if self._recording.summary().received and not self._replies:
            raise ValueError("expected the events of each probe, got only sums")
        trips = list(self._round_trips())
        return {
            "version": {"irtt": "0.9.0", "protocol": 1, "json_format": 1},
            "config": self._config(),
            "stats": self._stats(self._recording.summary(), trips),
            "round_trips": trips,
        }

    def _config(self) -> dict[str, Any]:
        start = self._recording.start
        if start is None:
            return {"remote_address": self.host}
        return {
            "remote_address": str(start.peer),
            "ip_version": "IPv6" if ":" in start.peer.host else "IPv4",
            "params": {"length": start.datagram_size},
        }

    def _round_trips(self) -> Iterator[dict[str, Any]]:
        """Every probe that was sent, or at least told of."""
        last: Mapping[str, int] = {}
        sent = self._recording.summary().sent
        if sent > MOST_TRIPS:
            raise ValueError(f"expected at most {MOST_TRIPS} probes to write one by one, got {sent}")
        for sequence in range(1, sent + 1):
            reply = self._replies.get(sequence)
            trip = self._missing(sequence) if reply is None else _received(reply)
            delay: Mapping[str, int] = trip["delay"]
            trip["ipdv"] = {name: delay[name] - last[name] for name in delay if name in last}
            last = delay
            yield {"seqno": sequence - 1, **trip}

    def _missing(self, sequence: int) -> dict[str, Any]:
        lost = self._lost.get(sequence)
        sent_at = None if lost is None else lost.sent_at_ns
        return {
            "lost": "true" if lost is None else _LOST[lost.direction],
            "timestamps": _timestamps(sent_at, None, None, None),
            "delay": {},
        }

    def _stats(self, found: Summary, trips: list[dict[str, Any]]) -> dict[str, Any]:
        size = 0 if self._recording.start is None else self._recording.start.datagram_size
        received_size = sum(reply.size for reply in self._replies.values())
        arrived = found.sent - found.lost_upstream
        duplicates = found.duplicated_upstream + found.duplicated_downstream + found.duplicated_unknown
        began = found.at_ns - found.elapsed_ns
        stats: dict[str, Any] = {"start_time": _rfc3339(began)}
        for name, part, key in _DISTRIBUTIONS:
            found_times = (trip[part][key] for trip in trips if key in trip[part])
            # Of variations irtt counts how great they are, and not which way they go.
            stats[name] = _distribution(map(abs, found_times) if part == "ipdv" else found_times)
        stats["server_processing_time"] = _distribution(
            (each.server_ns for each in self._replies.values() if each.server_ns is not None), has_median=False
        )
        return stats | {
            "bytes_sent": found.sent * size,
            "bytes_received": received_size,
            "duplicates": duplicates,
            "late_packets": found.reordered,
            "duration": found.elapsed_ns,
            "packets_sent": found.sent,
            "packets_received": found.received,
            "packet_loss_percent": found.loss,
            "upstream_loss_percent": _percent(found.lost_upstream, found.sent),
            "downstream_loss_percent": _percent(found.lost_downstream, arrived),
            "duplicate_percent": _percent(duplicates, found.received + duplicates),
            "late_packets_percent": _percent(found.reordered, found.received),
            "timer_misses": found.missed_slots,
            "timer_miss_percent": _percent(found.missed_slots, found.missed_slots + found.sent),
            "send_rate": _rate(found.sent * size, found.elapsed_ns),
            "receive_rate": _rate(received_size, found.elapsed_ns),
        }


_DISTRIBUTIONS: Final = (
    ("rtt", "delay", "rtt"),
    ("send_delay", "delay", "send"),
    ("receive_delay", "delay", "receive"),
    ("ipdv_round_trip", "ipdv", "rtt"),
    ("ipdv_send", "ipdv", "send"),
    ("ipdv_receive", "ipdv", "receive"),
)


def _received(reply: ReplyRecord) -> dict[str, Any]:
    delay = {"rtt": reply.rtt_ns if reply.network_ns is None else reply.network_ns}
    arrived, server_sent = reply.server_arrived_at_ns, None
    if arrived is not None:
        delay["send"] = arrived - reply.sent_at_ns
        if reply.server_ns is not None:
            server_sent = arrived + reply.server_ns
            delay["receive"] = reply.received_at_ns - server_sent
    return {
        "lost": "false",
        "timestamps": _timestamps(reply.sent_at_ns, arrived, server_sent, reply.received_at_ns),
        "delay": delay,
    }


def _timestamps(
    sent: int | None, server_received: int | None, server_sent: int | None, received: int | None
) -> dict[str, Any]:
    return {
        "client": {"receive": _wall(received), "send": _wall(sent)},
        "server": {"receive": _wall(server_received), "send": _wall(server_sent)},
    }


def _wall(at_ns: int | None) -> dict[str, int]:
    return {} if at_ns is None else {"wall": at_ns}


def _distribution(values: Iterable[int], *, has_median: bool = True) -> dict[str, int]:
    """All 0 where there are none, as irtt has it."""
    ordered = sorted(values)
    count, total = len(ordered), sum(ordered)
    mean = total / count if count else 0.0
    variance = sum((value - mean) ** 2 for value in ordered) / (count - 1) if count > 1 else 0.0
    median = {"median": (ordered[(count - 1) // 2] + ordered[count // 2]) // 2 if count else 0} if has_median else {}
    return {
        "total": total,
        "n": count,
        "min": ordered[0] if count else 0,
        "max": ordered[-1] if count else 0,
        "mean": round(mean),
        **median,
        "stddev": round(math.sqrt(variance)),
        "variance": round(variance),
    }


def _percent(count: int, total: int) -> float:
    return 100 * count / total if total else 0.0


def _rate(size: int, elapsed_ns: int) -> dict[str, Any]:
    bits = 8 * size * _SECOND // elapsed_ns if elapsed_ns else 0
    factor, unit = next(found for found in _UNITS if bits >= found[0] or found[0] == 1)
    return {"bps": bits, "string": f"{bits / factor:.3g} {unit}"}


_UNITS: Final = ((10**9, "Gbps"), (10**6, "Mbps"), (10**3, "Kbps"), (1, "bps"))


def _rfc3339(at_ns: int) -> str:
    whole = datetime.fromtimestamp(at_ns // _SECOND, UTC)
    return f"{whole:%Y-%m-%dT%H:%M:%S}.{at_ns % _SECOND:09d}Z"
