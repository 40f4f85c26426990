"""A network that lies, in a box: simulated, deterministic, adversarial, on Trio's virtual clock.

    async def main(net):
        async with trio.open_nursery() as nursery:
            ...                                  # trio.socket.socket() is simulated here

    simulate(main, seed=1)

For testing any UDP code written on `trio.socket`; nothing here needs the rest of trio_udp to be used, but for
`run_world`, which simulates its own clients and servers and is imported when it is asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

from .._chaos import (
    DROP,
    ICMP_KINDS,
    PASS,
    Conditions,
    Delivery,
    GilbertElliott,
    Icmp,
    Packet,
    Rule,
    Verdict,
    by_number,
    copies,
    delay,
    drop,
    flip_bit,
    refuse,
    reject,
    replace,
)
from .._direction import Copy, DirectionStatistics, Passage, changed_bits
from .._faulty import FaultySockets, faulty_sockets
from .._forging import FORGERIES, UNREACHABLE, Forge, forge_at_random
from .._net._icmp import RawSocketForbidden
from .._relay import TRUTH_VERSION, Relay, RelayStatistics, relay
from ._adversary import OffPath, OnPath, any_of, any_port, guess
from ._check_client import check_client
from ._check_server import check_server
from ._fabric import Fabric, Held
from ._hosts import Host
from ._kernel import SimUDP
from ._names import temporary_failure
from ._nat import Nat
from ._options import NotSimulated
from ._plans import (
    Ask,
    Corrupt,
    Delay,
    Duplicate,
    Ending,
    IcmpError,
    Inject,
    Lose,
    Plan,
    Script,
    Swap,
    Truncate,
)
from ._report import CaseResult, NotConformant, Report
from ._simnet import SimNet, Stalled
from ._simulate import NotDeterministic, simulate, simulated
from ._socket import SimSocket
from ._trace import Fate, Record, Trace

if TYPE_CHECKING:
    from ._world import run_world
    from ._world_report import Outage, WorldPlan, WorldReport

__all__ = [
    "DROP",
    "FORGERIES",
    "ICMP_KINDS",
    "PASS",
    "TRUTH_VERSION",
    "UNREACHABLE",
    "Ask",
    "CaseResult",
    "Conditions",
    "Copy",
    "Corrupt",
    "Delay",
    "Delivery",
    "DirectionStatistics",
    "Duplicate",
    "Ending",
    "Fabric",
    "Fate",
    "FaultySockets",
    "Forge",
    "GilbertElliott",
    "Held",
    "Host",
    "Icmp",
    "IcmpError",
    "Inject",
    "Lose",
    "Nat",
    "NotConformant",
    "NotDeterministic",
    "NotSimulated",
    "OffPath",
    "OnPath",
    "Outage",
    "Packet",
    "Passage",
    "Plan",
    "RawSocketForbidden",
    "Record",
    "Relay",
    "RelayStatistics",
    "Report",
    "Rule",
    "Script",
    "SimNet",
    "SimSocket",
    "SimUDP",
    "Stalled",
    "Swap",
    "Trace",
    "Truncate",
    "Verdict",
    "WorldPlan",
    "WorldReport",
    "any_of",
    "any_port",
    "by_number",
    "changed_bits",
    "check_client",
    "check_server",
    "copies",
    "delay",
    "drop",
    "faulty_sockets",
    "flip_bit",
    "forge_at_random",
    "guess",
    "refuse",
    "reject",
    "relay",
    "replace",
    "run_world",
    "simulate",
    "simulated",
    "temporary_failure",
]

_LATE: Final = {"_world": ("run_world",), "_world_report": ("Outage", "WorldPlan", "WorldReport")}
"""What is imported when it is asked for: the names of each module."""
_WHERE: Final = {name: module for module, names in _LATE.items() for name in names}

if not TYPE_CHECKING:  # a checker that saw it would believe every misspelt name

    def __getattr__(name: str) -> object:
        """Import the module that this is a name of (decision 0042)."""
        if name not in _WHERE:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = found = getattr(import_module(f".{_WHERE[name]}", __name__), name)
        return found

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
