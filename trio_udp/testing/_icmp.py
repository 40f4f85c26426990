"""ICMP errors in numbers, as they stand on the wire."""

from typing import Final

ICMP_CODES: Final = {
    # kind: type and code in version 4 (RFC 792, RFC 1812), type and code in version 6 (RFC 4443)
    "port unreachable": (3, 3, 1, 4),
    "host unreachable": (3, 1, 1, 3),
    "network unreachable": (3, 0, 1, 0),
    "prohibited": (3, 13, 1, 1),
    "fragmentation needed": (3, 4, 2, 0),
}
