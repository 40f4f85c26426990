"""The large figures, in small; and that what README claims is what docs/evidence.json says."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest

from trio_udp.proto import (
    TU1,
    Answer,
    AnswerKind,
    ClientProtocol,
    Cookies,
    DropReason,
    Exchange,
    Failure,
    Question,
    ReplyCache,
    RetryPolicy,
    ServerProtocol,
)
from trio_udp.proto._once import UNBORN, OnceState
from trio_udp.proto._reply_cache import Kept, OnceRequest

from . import endless, floods, residual
from .figures import FIGURES, ROOT, Figure, compute
from .flooded import KINDS
from .report import EVIDENCE, README, read_evidence, table, table_in, write_evidence
from .simulator import Broken, Simulation
from .swarm import draw_swarm

RUNS: Final = 40
"""Simulated clients in which a broken core has to be noticed."""


def test_no_forgery_is_believed_and_none_ends_a_request() -> None:
    """A1, A2, in small."""
    result = compute(FIGURES["forgeries"], 2, 60_000, processes=1, kept=None)["result"]
    assert result["thrown"] == result["forged"] + result["mutated"] == 60_000
    assert (result["believed"], result["early"], result["misjudged"]) == (0, 0, 0)


def test_no_invariant_is_broken_under_swarms_of_faults() -> None:
    """A1 to A3, A8, A9, C2 to C4, C6, E4, in small: every request has one end, and every kind of end is met."""
    result = compute(FIGURES["requests"], 2, 8_000, processes=1, kept=None)["result"]
    assert (result["requests"], result["violations"]) == (8_000, 0)
    ends = [result[name] for name in ("replies", "no_reply", "busy", "error", "no_room", "cancelled")]
    assert sum(ends) == 8_000
    assert min(ends) > 0


def test_no_request_runs_twice_whatever_the_network_the_server_and_thieves_do() -> None:
    """E1 to E4, F6, in small: every kind of end is met, and every kind of fault."""
    result = compute(FIGURES["once"], 2, 8_000, processes=1, kept=None)["result"]
    assert (result["requests"], result["violations"]) == (8_000, 0)
    ends = [
        result[name] for name in ("replies", "no_reply", "busy", "error", "no_room", "cancelled", "outcome_unknown")
    ]
    assert sum(ends) == 8_000
    assert min(*ends, *(result[name] for name in ("again", "rebound", "stolen"))) > 0
    assert result["restarts"] > 1000


def test_residual_failures_match_the_formula() -> None:
    """C7, in small: a chi-square over all losses and numbers of attempts."""
    figure = FIGURES["residual"]._replace(chunk_size=500)
    result = compute(figure, 2, 500 * len(residual.CELLS), processes=1, kept=None)["result"]
    assert len(result["cells"]) == result["degrees_of_freedom"] == len(residual.CELLS)
    assert result["p_value"] > 0.01


@pytest.mark.parametrize(
    ("statistic", "degrees", "expected"),
    [(3.841, 1, 0.05), (5.991, 2, 0.05), (7.815, 3, 0.05), (21.026, 12, 0.05), (26.217, 12, 0.01), (0.0, 4, 1.0)],
)
def test_p_value_is_that_of_the_tables(statistic: float, degrees: int, expected: float) -> None:
    """As printed in every book of statistics."""
    assert residual.p_value(statistic, degrees) == pytest.approx(expected, abs=5e-5)


def test_failures_of_another_loss_do_not_match() -> None:
    """The test above can fail: what 22 % of loss would leave is not taken for 20 %."""
    failed = round(10_000 * (1 - (1 - 0.22) ** 2) ** 2)
    counts = Counter({"0.2 2 requests": 10_000, "0.2 2 failed": failed})
    assert residual.result(counts)["p_value"] < 1e-6


@pytest.mark.parametrize(
    ("name", "size", "nothing", "something"),
    [
        ("flipped", 8, "believed", "bits"),
        ("answers", 2_000, "longer", "as long"),
        ("injected", 2_000, "restless", "answered"),
    ],
)
def test_what_has_to_be_none_is_none(name: str, size: int, nothing: str, something: str) -> None:
    """F1, E4, E5, in small; and that something was tried."""
    result = compute(FIGURES[name], 2, size, processes=1, kept=None)["result"]
    assert result[nothing] == 0 < result[something]


def test_a_server_that_amplifies_or_answers_answers_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The figures can be something else."""
    monkeypatch.setattr(TU1, "reply_budget", _pay_any_price)
    assert compute(FIGURES["answers"], 2, 500, processes=1, kept=None)["result"]["longer"] > 0
    monkeypatch.setattr(ServerProtocol, "receive_datagram", _answer_anything)
    assert compute(FIGURES["injected"], 2, 500, processes=1, kept=None)["result"]["restless"] > 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_flood_takes_no_memory_and_honest_requests_are_answered(kind: str) -> None:
    """E2, E7, in small, on loopback: the sender is not told, and its datagrams are not remembered."""
    counts = floods.flood(kind, 20_000, warm_up=20_000)
    assert counts[f"{kind} sent"] == 20_000
    assert counts[f"{kind} growth"] <= 2**20
    assert counts[f"{kind} replies"] == counts[f"{kind} requests"] > 0


def test_an_endless_ping_keeps_its_memory() -> None:
    """In small: the same commands, for a second after what they remember has been filled."""
    counts = endless.run(1, warm_up=10)
    assert 0 < counts["received"] <= counts["sent"]
    assert max(counts[f"{name} growth"] for name in ("server", "lines", "json")) <= 2**20


# A broken core is noticed


def _close_nothing(exchange: Exchange) -> None:
    """Leave every request open."""


def _end_at_a_hint(exchange: Exchange, hint: str) -> None:
    """Take ICMP's word for it."""
    exchange.failure, exchange.is_over = Failure.NO_REPLY, True


def _hurry(policy: RetryPolicy, rto: float | None = None, draw: float = 0.0) -> Any:
    """Never wait for longer than the first time."""
    return iter([policy.initial] * policy.attempts)


def _pay_any_price(profile: TU1, question: object) -> int:
    """Answer as long as one likes."""
    return 65_507


def _answer_anything(server: ServerProtocol, data: bytes) -> Question:
    return Question(data[8:24].ljust(16), data[24:], 1, 10_000)


def _ignore_key_ids(decode: Callable[[TU1, bytes], Answer | DropReason]) -> Callable[[TU1, bytes], Answer | DropReason]:
    return lambda profile, data: decode(profile, data[:4] + bytes(2) + data[6:] if len(data) > 6 else data)


def _ignore_half_of_the_ids(receive: Callable[..., Any]) -> Callable[..., Any]:
    """Believe whatever has the right request id, as if nobody could guess that."""

    def receive_datagram(client: ClientProtocol, data: bytes, peer: tuple[str, int], *rest: Any) -> Any:
        known = {server.peer: server.instance for server in client.servers}
        if len(data) >= 24 and peer in known:
            data = data[:8] + known[peer] + data[16:]
        return receive(client, data, peer, *rest)

    return receive_datagram


BROKEN: Final[dict[str, tuple[type, str, Any]]] = {
    "never closes": (Exchange, "close", _close_nothing),
    "ends at a hint": (Exchange, "take_hint", _end_at_a_hint),
    "does not back off": (RetryPolicy, "waits", _hurry),
    "amplifies": (TU1, "reply_budget", _pay_any_price),
    "ignores key ids": (TU1, "decode_answer_untrusted", _ignore_key_ids(TU1.decode_answer_untrusted)),
    "ignores half of the ids": (
        ClientProtocol,
        "receive_datagram",
        _ignore_half_of_the_ids(ClientProtocol.receive_datagram),
    ),
}


def _simulate() -> None:
    for number in range(RUNS):
        random = Random(number)
        Simulation(draw_swarm(random, 100), random).run()


def test_the_core_as_it_is_passes_where_a_broken_one_does_not() -> None:
    """The runs of the next test, undisturbed."""
    _simulate()


@pytest.mark.parametrize("flaw", BROKEN)
def test_a_core_with_a_flaw_breaks_an_invariant(flaw: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulator is not blind."""
    owner, name, broken = BROKEN[flaw]
    monkeypatch.setattr(owner, name, broken)
    with pytest.raises(Broken):
        _simulate()


@pytest.mark.parametrize("flaw", ["ignores key ids", "ignores half of the ids"])
def test_a_core_with_a_flaw_believes_forgeries(flaw: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The forger aims well."""
    owner, name, broken = BROKEN[flaw]
    monkeypatch.setattr(owner, name, broken)
    assert compute(FIGURES["forgeries"], 2, 5_000, processes=1, kept=None)["result"]["believed"] > 0


def _let_all_run(cache: ReplyCache, request: OnceRequest) -> None:
    """Ask for nothing: no boot id, no age, no proof, no order."""


def _forget_at_once(cache: ReplyCache, tick: int) -> None:
    """Forget everybody each minute, whether what they sent is too old or not."""
    if tick > cache._tick:
        cache._tick = tick
        cache._clients.clear()
        cache.bytes_held = 0


def _keep_nothing(cache: ReplyCache, kept: Kept, kind: AnswerKind, payload: bytes | None) -> None:
    """Let another answer take the place of the first."""
    kept.newest = None


def _believe_any(cookies: Cookies, cookie: bytes, *rest: object) -> bool:
    """Take every cookie for a good one."""
    return True


def _be_born_again(state: OnceState) -> bytes:
    """Take what the server said last, instead of what it said first."""
    if state.ledger is None or state.born is None or state.ledger.token is None:
        return UNBORN
    boot, tick, _ = state.ledger.token
    return state.born._replace(boot=boot, born=tick, first=state.ledger.first).encode()


BROKEN_ONCE: Final[dict[str, tuple[type, str, Any]]] = {
    "looks at nothing": (ReplyCache, "_judge", _let_all_run),
    "forgets too early": (ReplyCache, "_go_on_to", _forget_at_once),
    "keeps no answers": (ReplyCache, "settle", _keep_nothing),
    "believes any cookie": (Cookies, "accepts", _believe_any),
    "has requests that are born again": (OnceState, "extension", _be_born_again),
    "never completes": (OnceState, "complete", lambda state: None),
    "amplifies": (TU1, "reply_budget", _pay_any_price),
}


@pytest.mark.parametrize("flaw", BROKEN_ONCE)
def test_at_most_once_with_a_flaw_breaks_an_invariant(flaw: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither is this simulator blind."""
    owner, name, broken = BROKEN_ONCE[flaw]
    monkeypatch.setattr(owner, name, broken)
    result = compute(FIGURES["once"], 2, 4_000, processes=1, kept=None)["result"]
    assert result["violations"] > 0


def test_a_broken_run_is_counted_and_can_be_repeated(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A violation is a figure like any other, and stderr says which run it was."""
    monkeypatch.setattr(Exchange, "close", _close_nothing)
    result = compute(FIGURES["requests"], 2, 400, processes=1, kept=None)["result"]
    assert result["violations"] == result["runs"] == 2
    assert "run 'requests 2 0 0': at " in capsys.readouterr().err


# Chunks


def _count(seed: str, index: int, size: int) -> Counter[str]:
    return Counter({"sum": Random(f"{seed} {index}").randrange(1000), "size": size})


COUNTING: Final = Figure("counting", (), 95, 10, _count, dict)


def test_two_processes_find_what_one_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    """In whichever order the chunks are done."""
    monkeypatch.syspath_prepend(ROOT)  # where the other processes find this module
    entries = [compute(COUNTING, 1, 95, processes=processes, kept=None) for processes in (1, 2)]
    assert entries[0] == entries[1]
    assert entries[0]["result"]["size"] == 95


def test_an_interrupted_run_goes_on_where_it_was(tmp_path: Path) -> None:
    """Chunks that were written down are not computed again; a line that was cut short is."""
    computed: list[int] = []

    def interrupted(seed: str, index: int, size: int) -> Counter[str]:
        if index == 6 and len(computed) == 6:
            raise KeyboardInterrupt
        computed.append(index)
        return _count(seed, index, size)

    figure = COUNTING._replace(chunk=interrupted)
    with pytest.raises(KeyboardInterrupt):
        compute(figure, 1, 95, processes=1, kept=tmp_path)
    (notebook,) = tmp_path.iterdir()
    notebook.write_text(notebook.read_text()[:-8] + "\n")
    computed.append(-1)
    assert compute(figure, 1, 95, processes=1, kept=tmp_path) == compute(COUNTING, 1, 95, processes=1, kept=None)
    assert computed == [0, 1, 2, 3, 4, 5, -1, 5, 6, 7, 8, 9]


# What is claimed


def test_readme_says_what_the_evidence_says() -> None:
    """The table is made from docs/evidence.json, and from nothing else."""
    assert table_in(README.read_text()) == table(read_evidence())


def test_the_evidence_has_every_figure_and_no_failure() -> None:
    """Each with the command that computes it; what has to be 0 is 0."""
    entries = read_evidence()
    assert set(entries) == set(FIGURES)
    for name, entry in entries.items():
        assert entry["command"] == FIGURES[name].command(entry["seed"], entry["count"])
        assert entry["promises"] == list(FIGURES[name].promises)
    forgeries, requests = entries["forgeries"]["result"], entries["requests"]["result"]
    assert (forgeries["believed"], forgeries["early"], forgeries["misjudged"], requests["violations"]) == (0, 0, 0, 0)
    assert entries["once"]["result"]["violations"] == 0
    assert entries["residual"]["result"]["p_value"] > 0.01
    for name, nothing in (("flipped", "believed"), ("answers", "longer"), ("injected", "restless"), ("forks", "equal")):
        assert entries[name]["result"][nothing] == 0
    flooded = entries["floods"]["result"]
    assert flooded["junk sent"] >= 1_000_000
    for kind in KINDS:
        assert flooded[f"{kind} growth"] <= 2**20
        assert flooded[f"{kind} replies"] >= 0.99 * flooded[f"{kind} requests"]
    endlessly = entries["endless"]["result"]
    assert endlessly["seconds"] >= 600
    assert max(endlessly[f"{name} growth"] for name in ("server", "lines", "json")) <= 2**20
    assert entries["inputs"]["result"]["inputs"] >= entries["inputs"]["count"] >= 30_000_000


def test_writing_the_evidence_changes_the_table_and_nothing_else(tmp_path: Path) -> None:
    """Sorted keys, one table; a page without it is an error, and nothing is written."""
    entries = {**read_evidence()}
    page, evidence = tmp_path / "page.md", tmp_path / "evidence.json"
    page.write_text("Before.\n\n| what was tried | old |\n|---|---|\n| old | old |\n\nBehind.\n")
    write_evidence(entries, evidence=evidence, page=page)
    assert page.read_text() == f"Before.\n\n{table(entries)}\n\nBehind.\n"
    assert evidence.read_text() == EVIDENCE.read_text()
    assert json.loads(evidence.read_text()) == entries
    page.write_text("No table.\n")
    with pytest.raises(ValueError, match=r"expected one table .* in page\.md, got 0"):
        write_evidence(entries, evidence=evidence, page=page)
