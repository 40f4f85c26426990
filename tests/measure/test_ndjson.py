"""The stream: every record there and back, every line as the schema says, and nothing read that was not written."""

import contextlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trio_udp.measure import (
    BadLine,
    Distribution,
    Event,
    Line,
    Lines,
    Lost,
    ReplyRecord,
    Start,
    Summary,
    from_json,
    json_schema,
    to_json,
)
from trio_udp.measure._shapes import shape_of

from .recorded import EVENTS, any_event, events_of
from .records import reply_record, summary


@given(any_event(), st.text(max_size=10))
def test_every_record_comes_back_equal(event: Event, host: str) -> None:
    """Whatever is in it; and a line is one line, of ASCII."""
    text = to_json(event, host=host)
    assert from_json(text) == Line(host, event)
    assert text.isascii()
    assert "\n" not in text


def strict(schema: dict[str, Any]) -> dict[str, Any]:
    """The same schema, which allows nothing that it does not describe."""
    closed = {
        name: part | {"additionalProperties": False} if "properties" in part else part
        for name, part in schema["$defs"].items()
    }
    return schema | {"$defs": closed}


def validator(schema: dict[str, Any]) -> Any:
    """What says whether a line is as the schema has it."""
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@given(st.data())
def test_every_line_is_as_the_schema_says_and_the_schema_leaves_nothing_out(data: st.DataObject) -> None:
    """Of any record."""
    check = validator(strict(json_schema()))
    check.validate(json.loads(to_json(data.draw(any_event()), host="h")))


def test_every_line_of_a_run_in_which_everything_went_wrong_is_as_the_schema_says() -> None:
    """Losses, duplicates, reordering, flipped bits and forgeries, on a simulated network."""
    check = validator(strict(json_schema()))
    events = events_of()
    for event in events:
        check.validate(json.loads(to_json(event, host="h")))
    assert {event.kind for event in events} >= {"reply", "corrupted", "lost", "duplicate", "rejected", "summary"}
    assert [line.event for line in Lines(to_json(event, host="h") + "\n" for event in events)] == list(events)


def test_the_schema_has_every_kind_and_every_field() -> None:
    """It is made from the records themselves."""
    schema = json_schema()
    assert [part["$ref"] for part in schema["oneOf"]] == [f"#/$defs/{record.kind}" for record in EVENTS]
    reply = schema["$defs"]["reply"]
    assert set(reply["properties"]) == {"version", "kind", "host", *ReplyRecord.__slots__}
    assert "clock" not in schema["$defs"]["summary"]["required"]


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2}, {"version": True}, {"kind": "other"}, {"host": 1}, {"sequence": "1"}, {"sequence": True},
        {"sequence": 2**63}, {"stamps": "sun"}, {"stamps": []}, {"is_reordered": 0}, {"hop_limit": 1.5}, {"size": None},
    ],
)  # fmt: skip
def test_a_line_with_a_wrong_value_is_refused_by_the_reader_and_by_the_schema(change: dict[str, object]) -> None:
    """What the one does not take, the other does not describe."""
    line = json.loads(to_json(reply_record(), host="h")) | change
    with pytest.raises(ValueError, match="expected"):
        from_json(json.dumps(line))
    assert not validator(json_schema()).is_valid(line)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("nonsense", "expected an object of JSON, got 'nonsense'"),
        ("[" * 100_000, "expected an object of JSON, got a nest of them"),
        ("[1]", "expected an object with a version, got '\\[1\\]'"),
        ('{"kind": "reply"}', "expected an object with a version"),
        ('{"version": 3, "kind": "reply"}', "expected version 1, got 3"),
        ('{"version": 1, "kind": "unheard_of", "host": "h"}', "expected a kind and a host, got 'unheard_of'"),
        ('{"version": 1, "kind": "late", "host": "h", "sequence": 1}', "expected rtt_ns, which is missing"),
        ('{"version": 1, "kind": "late", "host": "h", "sequence": "1", "rtt_ns": 1}', "sequence: expected a whole"),
        (
            '{"version": 1, "kind": "rejected", "host": "h", "reason": "late", "peer": {"host": "h", "port": 65536}}',
            "peer: expected an object of a host and a port",
        ),
    ],
)
def test_a_line_that_is_none_says_what_was_expected(text: str, reason: str) -> None:
    """In one sentence, without all of a long line in it."""
    with pytest.raises(ValueError, match=reason) as caught:
        from_json(text)
    assert len(str(caught.value)) < 200


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(any_event(), st.data())
def test_reading_raises_nothing_but_value_errors(event: Event, data: st.DataObject) -> None:
    """Whatever stands in whichever field, at the top or deep inside."""
    line = json.loads(to_json(event, host="h"))
    place = line
    while isinstance(place, dict) and place:
        name = data.draw(st.sampled_from(sorted(place)))
        if not isinstance(place[name], dict) or data.draw(st.booleans()):
            place[name] = data.draw(JSON)
            break
        place = place[name]
    with contextlib.suppress(ValueError):
        from_json(json.dumps(line))


@given(st.text(max_size=50))
@example("{}")
@example("1" * 5000)
def test_any_text_is_read_or_a_value_error(text: str) -> None:
    """The same for what is not even JSON."""
    with pytest.raises(ValueError, match="expected"):
        from_json(text)


def test_fields_that_a_later_version_adds_are_ignored_and_defaults_may_be_missing() -> None:
    """So that a field more is no new version."""
    line = json.loads(to_json(summary(sent=3, rtt=Distribution(count=1)), host="h"))
    line["new"] = line["rtt"]["new"] = 1
    del line["clock"], line["rtt"]["p50_ns"]
    event = from_json(json.dumps(line)).event
    assert isinstance(event, Summary)
    assert (event.sent, event.rtt, event.clock) == (3, Distribution(count=1), None)
    assert validator(json_schema()).is_valid(line)


def test_a_bad_line_is_named_by_its_number() -> None:
    """Empty lines count, and are skipped."""
    good = to_json(reply_record(), host="h") + "\n"
    with pytest.raises(BadLine, match=r"^line 3: expected an object of JSON, got 'bad\\n'$") as caught:
        list(Lines([good, "\n", "bad\n", good]))
    assert caught.value.number == 3
    with pytest.raises(BadLine, match=r"^line 1: "):
        list(Lines(["no end", good]))


@given(st.data())
def test_a_stream_that_was_cut_anywhere_is_read_up_to_there(data: st.DataObject) -> None:
    """Without the line that was not finished, which is said; a line that lacks only its end is whole."""
    good = [to_json(event, host="h") + "\n" for event in events_of()[:3]]
    whole = "".join(good)
    cut = whole[: data.draw(st.integers(0, len(whole)))]
    lines = Lines(cut.splitlines(keepends=True))
    found = list(lines)
    assert len(found) == sum(cut.startswith("".join(good[: at + 1])[:-1]) for at in range(3))
    assert lines.is_cut == (cut.rpartition("\n")[2] not in ("", *(line[:-1] for line in good)))


@pytest.mark.skipif(shutil.which("jq") is None, reason="this host has no jq")
def test_jq_reads_it(tmp_path: Path) -> None:
    """And finds in it what a user asks for."""
    (tmp_path / "run.ndjson").write_text("".join(to_json(event, host="h") + "\n" for event in events_of()))
    command = ["jq", "-c", 'select(.kind == "reply") | .rtt_ns', "run.ndjson"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)  # noqa: S603 - ours
    assert [int(line) for line in done.stdout.splitlines()] == [
        event.rtt_ns for event in events_of() if isinstance(event, ReplyRecord)
    ]


def test_a_type_that_no_record_has_is_no_silent_hole() -> None:
    """Whoever gives a record a field of a new type has to say how it is written."""
    with pytest.raises(TypeError, match="no way to write"):
        shape_of(complex)


def test_records_are_told_apart_by_their_kind() -> None:
    """No two have the same."""
    kinds = [record.kind for record in EVENTS]
    assert len(kinds) == len(set(kinds))
    assert {Start.kind, Lost.kind} <= set(kinds)
