"""How all reports write counters, times and whether anything vouches for them: small words, written once."""

from collections.abc import Mapping
from typing import Any


def counted(counts: Mapping[Any, int]) -> str:
    """`3 wrong_peer, 1 malformed`: counters, without those that are 0."""
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count)


def authenticated(is_it: bool) -> str:
    """As all commands say it (F8)."""
    return f"authenticated: {str(is_it).lower()}"


def clock_text(seconds: float) -> str:
    """`1:02:03`, or `2:03`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def milliseconds(seconds: float) -> str:
    """A round-trip time with four digits or so, as iputils rounds it."""
    value = seconds * 1000
    decimals = next((decimals for limit, decimals in ((1, 3), (10, 2), (100, 1)) if value < limit), 0)
    return f"{value:.{decimals}f}"
