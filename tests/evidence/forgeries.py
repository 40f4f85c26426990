"""A1, A2: forged and mutated replies at open exchanges. None is believed, and none ends or moves anything."""

from collections import Counter
from random import Random
from typing import Final, NamedTuple

from tests.properties.forge import KINDS, Forgery, Target, verdict
from trio_udp.proto import TU1, AnswerKind, ClientProtocol, DropReason, Exchange, Failure, Peer, Question, RetryPolicy

_PEERS: Final[tuple[Peer, ...]] = (("192.0.2.53", 1060), ("2001:db8::53", 1060))
_POLICY: Final = RetryPolicy(jitter=0.0)
_AT_ONE_REQUEST: Final = 1000
"""Forgeries at one open request, until it is answered or given up."""
_FORGERS: Final = tuple(KINDS.values())
_SLACK: Final = 1e-6


class _Scene(NamedTuple):
    """A request that waits for its reply."""

    client: ClientProtocol
    exchange: Exchange
    target: Target
    now: float


def _set_scene(random: Random) -> _Scene:
    """One or two servers, and the last of some transmissions for a forger to aim at."""
    peers = _PEERS[: random.randint(1, 2)]
    client = ClientProtocol(TU1(), peers, random=random.randbytes(8 * len(peers)))
    exchange = client.open_exchange(random.randbytes(20), _POLICY, random.randbytes(client.random_size))
    now, made = 0.0, 0
    attempt = exchange.next_attempt(now)
    for _ in range(random.randrange(5 * len(peers))):
        now += exchange.next_timeout(now)
        attempt = exchange.next_attempt(now) or attempt
    if attempt is None:
        raise AssertionError("nothing was sent")
    made = attempt.number
    question = TU1().decode_question_untrusted(attempt.datagram)
    if not isinstance(question, Question):
        raise AssertionError("the request is not one")
    reply = TU1().encode_answer(question, AnswerKind.REPLY, b"the real answer")
    return _Scene(client, exchange, Target(attempt.datagram, reply, attempt.peer, made), now)


def _mutate(target: Target, random: Random) -> Forgery | None:
    """The genuine reply with some bytes changed at random; None where the format cannot tell."""
    data = bytearray(target.reply)
    for _ in range(random.randint(1, 4)):
        data[random.randrange(len(data))] ^= random.randint(1, 255)
    mutated = bytes(data)
    reason = verdict(mutated, target.request[8:24], target.made)
    return None if reason is None else Forgery(mutated, target.peer, reason)


def throw(random: Random, count: int) -> Counter[str]:
    """Throw so many, and count what came of them. `believed`, `early` and `misjudged` have to stay 0."""
    counts: Counter[str] = Counter()
    while counts["thrown"] < count:
        scene = _set_scene(random)
        state = _state(scene)
        _attack(scene, random, min(_AT_ONE_REQUEST, count - counts["thrown"]), counts)
        counts["requests"] += 1
        counts["early"] += _state(scene) != state
        counts["misjudged"] += not _ends_as_it_should(scene, gets_reply=random.random() < 0.5)
    return counts


def _attack(scene: _Scene, random: Random, count: int, counts: Counter[str]) -> None:
    client, target, now = scene.client, scene.target, scene.now
    for number in range(count):
        forgery = _mutate(target, random) if number % 2 else None
        if forgery is None:
            forgery = _FORGERS[int(random.random() * len(_FORGERS))](target, random)
            counts["forged"] += 1
        found = client.receive_datagram(forgery.data, forgery.peer, now)
        if found is not forgery.reason:
            counts["misjudged" if isinstance(found, DropReason) else "believed"] += 1
    counts["thrown"] += count
    counts["mutated"] = counts["thrown"] - counts["forged"]


def _state(scene: _Scene) -> object:
    """All of the request that a datagram might change."""
    exchange = scene.exchange
    return exchange.is_over, exchange.news, exchange.hint, exchange.attempts, exchange.next_timeout(scene.now)


def _ends_as_it_should(scene: _Scene, *, gets_reply: bool) -> bool:
    """After all that, the real reply is believed; or else the request is given up when its schedule ends."""
    client, exchange, target, now = scene
    if gets_reply:
        client.receive_datagram(target.reply, target.peer, now)
        outcome = exchange.outcome
        exchange.close()
        return outcome is not None and (outcome.payload, outcome.peer) == (b"the real answer", target.peer)
    while not exchange.is_over:
        if exchange.next_attempt(now) is None and not exchange.is_over:
            now += exchange.next_timeout(now)
    exchange.close()
    last_turn = 0.0 if len(client.servers) == 1 else _POLICY.initial / 2
    return exchange.failure is Failure.NO_REPLY and abs(now - last_turn - sum(_POLICY.waits())) < _SLACK
