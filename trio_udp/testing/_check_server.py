"""`check_server`: what a UDP request/reply server must survive, and when it must be silent, case by case.

    check_server(serve, request=b"What time is it?")

Each case is a small world of its own. `_server_cases` has the cases.
"""

from collections.abc import Callable, Collection

from ._cases import Case, run_case
from ._report import CaseResult, Report, check_names, judge
from ._server_cases import SERVER_CASES, UNDISTURBED, Serve, ServerSubject, ServerWorld, open_server_world

_VIRTUAL_HOUR = 3600.0
"""Seconds after which a case is ended by force."""


def _anything(request: bytes, answer: bytes) -> bool:
    return True


def check_server(
    serve: Serve,
    *,
    # The protocol
    request: bytes,
    is_answer: Callable[[bytes, bytes], bool] = _anything,
    port: int = 1060,
    # Limits
    answers_within: float = 5.0,
    # Judgement
    known: Collection[str] = (),
    seed: int = 0,
) -> Report:
    """Run all cases against a server, and return the report; a plain call, some seconds at most.

    Args:
        serve: started with `await nursery.start(serve, port)`; has to listen on all addresses of its host, IPv4 at
            least, and to stop when cancelled. Started anew for each case, twice on one host or on two in some.
        request: a datagram that has to be answered.
        is_answer: whether a datagram (second) answers a request (first); any datagram does by default.
        port: the server's port.
        answers_within: virtual seconds within which an answer has to come, whatever else arrives.
        known: names of the cases that are known to fail.
        seed: of all the worlds.

    Raises:
        NotConformant: other cases failed than those in `known`. It carries the report.
        NotSimulated: the server needs something of its sockets that `SimNet` does not have.
        ValueError: `known` names what is no case.
    """
    __tracebackhide__ = True  # pytest shows the line of the test
    check_names(known, [found.name for found in SERVER_CASES])
    subject = ServerSubject(serve, request, is_answer, port, answers_within)
    title = f"server {getattr(serve, '__name__', '')}".rstrip()

    def run(found: Case[ServerWorld]) -> CaseResult:
        return run_case(found, lambda net: open_server_world(net, subject), seed, _VIRTUAL_HOUR)

    first = run(UNDISTURBED)
    if not first.passed:
        return judge(Report(title, [first]), ())
    return judge(Report(title, [first, *map(run, SERVER_CASES)]), known)
