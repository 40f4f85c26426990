"""`check_client`: what a UDP request/reply client must survive, case by case, each in a small world of its own.

    check_client(look_up, answer=answer, forge=forge)

The client is asked to make a request while something goes wrong; it must still come back with what it came back with
when nobody disturbed it. `_client_cases` has the cases, and `_client_world` what they have in common.
"""

from collections.abc import Callable, Collection
from typing import Final

from .._net import Address
from ._cases import Case, case, run_case
from ._client_cases import CLIENT_CASES, all_forged, undisturbed
from ._client_world import Client, ClientSubject, ClientWorld, open_client_world
from ._report import CaseResult, Report, check_names, judge

SERVER: Final = "192.0.2.80"
_PATIENCE: Final = 100
"""How many times what one request may take a case may take, before it is ended by force."""


def check_client(
    client: Client,
    *,
    # The protocol
    answer: Callable[[bytes], bytes],
    forge: Callable[[bytes], bytes],
    # Where the server is
    host: str = SERVER,
    port: int = 1060,
    # Limits
    ends_within: float = 120.0,
    max_transmissions: int = 20,
    # Judgement
    known: Collection[str] = (),
    seed: int = 0,
) -> Report:
    """Run all cases against a client, and return the report; a plain call, some seconds at most.

    Args:
        client: `await client(host, port)` makes one request, as `Client` says. What it returns is compared with `==`.
            It is called in a new `trio.run` for each case, several times in some.
        answer: what the honest server says to a request.
        forge: an answer to a request that is right in every way but its content, so that whoever believes it returns
            something else, or raises.
        host: the server's address, numeric; one of version 6 checks that.
        port: the server's port.
        ends_within: virtual seconds after which a request must have ended by itself, whatever happens.
        max_transmissions: the most datagrams that one request may send.
        known: names of the cases that are known to fail.
        seed: of all the worlds.

    Raises:
        NotConformant: other cases failed than those in `known`. It carries the report.
        NotSimulated: the client needs something of its sockets that `SimNet` does not have.
        ValueError: `known` names what is no case, or a client that believes `forge` cannot be told from one that
            does not.
    """
    __tracebackhide__ = True  # pytest shows the line of the test
    check_names(known, [found.name for found in CLIENT_CASES])
    subject = ClientSubject(client, answer, forge, Address(host, port), ends_within, max_transmissions)

    def run(found: Case[ClientWorld]) -> CaseResult:
        limit = _PATIENCE * ends_within
        return run_case(found, lambda net: open_client_world(net, subject), seed, limit)

    title = f"client {getattr(client, '__name__', '')}".rstrip()
    first = run(case(undisturbed))
    if not first.passed:
        return judge(Report(title, [first]), ())
    if run(case(all_forged)).passed:
        raise ValueError("expected forge to make answers that the client can tell from the honest one, got the same")
    return judge(Report(title, [first, *map(run, CLIENT_CASES)]), known)
