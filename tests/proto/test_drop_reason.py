"""Why a datagram was not believed: one word, the same everywhere."""

import json

from trio_udp.proto import DropReason


def test_drop_reasons_are_the_promised_words() -> None:
    """The names are a contract: counters, JSON keys, metric labels and documentation use them."""
    assert [str(reason) for reason in DropReason] == [
        "wrong_peer",
        "unknown_request",
        "duplicate",
        "late",
        "malformed",
        "wrong_version",
        "wrong_direction",
        "bad_seal",
        "replayed",
        "truncated",
        "too_large",
        "over_budget",
        "corrupted",
    ]


def test_drop_reason_is_its_own_lower_case_name() -> None:
    """It compares, formats and serialises as the word, and is named like it."""
    for reason in DropReason:
        assert reason == reason.name.lower() == f"{reason}"
        assert json.dumps({reason: 1}) == f'{{"{reason.name.lower()}": 1}}'
        assert DropReason(reason.value) is reason
