"""Records with everything in them that a test does not care about."""

from typing import Any

from trio_udp import Address
from trio_udp.measure import Distribution, ReplyRecord, Stamps, Start, Summary, Variation

_COUNTS = (
    "at_ns", "elapsed_ns", "sent", "received", "late", "corrupted", "refused", "lost_upstream", "lost_downstream",
    "lost_unknown", "pending", "duplicated_upstream", "duplicated_downstream", "duplicated_unknown", "reordered",
    "reordered_upstream", "reordered_downstream", "changed", "missed_slots", "on_time",
)  # fmt: skip
_DISTRIBUTIONS = ("rtt", "rtt_corrected", "total", "client_queue", "network", "server", "wake_up")


def start(**changes: Any) -> Start:
    """The beginning of a run over loopback."""
    values: dict[str, Any] = {
        "at_ns": 0, "peer": Address("127.0.0.1", 1060), "profile": "tu1", "size": 56, "datagram_size": 80,
        "has_times": True, "is_authenticated": False,
    }  # fmt: skip
    return Start(**(values | changes))


def reply_record(**changes: Any) -> ReplyRecord:
    """A reply, of which user space only has seen anything."""
    values: dict[str, Any] = {
        "sequence": 1, "rtt_ns": 1000, "stamps": Stamps.USER, "total_ns": 1000, "client_queue_ns": None,
        "network_ns": None, "server_ns": None, "wake_up_ns": None, "late_ns": 0, "sent_at_ns": 0,
        "received_at_ns": 1000, "server_arrived_at_ns": None, "server_stamps": None, "server_sequence": None,
        "is_reordered": False, "size": 80, "hop_limit": 64,
    }  # fmt: skip
    return ReplyRecord(**(values | changes))


def summary(**changes: Any) -> Summary:
    """A run in which nothing happened."""
    values: dict[str, Any] = dict.fromkeys(_COUNTS, 0)
    values |= dict.fromkeys(_DISTRIBUTIONS, Distribution())
    values |= dict.fromkeys(("round_trip", "upstream", "downstream"), Variation())
    values |= {"is_complete": False, "rejected": {}, "hints": {}, "stamps": {}}
    return Summary(**(values | changes))
