"""The round-trip time estimator of RFC 6298, for one peer.

Fed with exact samples only: our wire format echoes the attempt number, so a reply after a retransmission says which
transmission it answers (what Karn's rule, RFC 6298 section 3, has to throw away elsewhere).
"""

from typing import Final

INITIAL_RTO: Final = 1.0
"""Seconds, while nothing was measured: RFC 6298 section 2.1, RFC 8085 section 3.1.1."""
MINIMUM_RTO: Final = 0.2
"""Seconds: Linux's TCP_RTO_MIN. RFC 6298 section 2.4 says 1 s, for the coarse clocks of its time."""
MAXIMUM_RTO: Final = 60.0
"""Seconds: RFC 6298 section 2.5."""

_ALPHA: Final = 1 / 8
_BETA: Final = 1 / 4
_K: Final = 4


class RTTEstimator:
    """Smoothed round-trip time and retransmission timeout of one peer, in seconds."""

    __slots__ = ("rto", "rttvar", "srtt")

    def __init__(self) -> None:
        self.srtt: float | None = None
        self.rttvar = 0.0
        self.rto: float | None = None
        """The retransmission timeout, from 0.2 to 60 seconds; None while nothing was measured (C1)."""

    def update(self, sample: float) -> None:
        """Take one measured round trip, in seconds (RFC 6298 sections 2.2 and 2.3)."""
        srtt, rttvar = self.srtt, self.rttvar
        if srtt is None:
            srtt, rttvar = sample, sample / 2
        else:
            rttvar += _BETA * (abs(srtt - sample) - rttvar)
            srtt += _ALPHA * (sample - srtt)
        self.srtt, self.rttvar = srtt, rttvar
        rto = srtt + _K * rttvar
        self.rto = MINIMUM_RTO if rto < MINIMUM_RTO else min(rto, MAXIMUM_RTO)
