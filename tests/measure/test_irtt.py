"""The document that irtt would have written: the same fields of the same types, and the figures of the run."""

import contextlib
import json
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given

from trio_udp import Address
from trio_udp.measure import Direction, Event, IrttRun, Lost, Refused, Start, Summary
from trio_udp.measure._irtt import MOST_TRIPS

from ..properties.test_truth import EVERYTHING, Faults, faults
from .recorded import events_of
from .records import reply_record, summary


def document(*events: Event) -> dict[str, Any]:
    """As a program reads it from a file."""
    found = IrttRun("h")
    for event in events:
        found.take(event)
    read: dict[str, Any] = json.loads(json.dumps(found.document()))
    return read


def start() -> Start:
    """A run begins."""
    peer = Address("192.0.2.1", 1060)
    return Start(at_ns=1, peer=peer, profile="tu1", size=56, datagram_size=80, has_times=True)


def reply(sequence: int, up: int, server: int, down: int) -> Event:
    """A reply that took so long on each part of its way, between clocks that are 7 ns apart."""
    sent = sequence * 1_000_000_000
    return reply_record(
        sequence=sequence, sent_at_ns=sent, server_arrived_at_ns=sent + up + 7, server_ns=server,
        received_at_ns=sent + up + server + down, rtt_ns=up + server + down, network_ns=up + down,
    )  # fmt: skip


def lost(sequence: int, direction: Direction) -> Event:
    """A probe that nobody answered."""
    return Lost(sequence=sequence, direction=direction, waited_ns=1, hint=None, sent_at_ns=sequence * 10**9)


RUN = (
    start(),
    reply(1, 100, 10, 200),
    reply(2, 150, 10, 180),
    lost(3, Direction.UPSTREAM),
    lost(4, Direction.DOWNSTREAM),
    lost(5, Direction.UNKNOWN),
    Refused(sent_at_ns=1, sequence=6, reason="busy"),
    reply(7, 110, 10, 200),
    summary(
        at_ns=8_000_000_123, elapsed_ns=8_000_000_000, sent=7, received=3, refused=1, missed_slots=1, reordered=1,
        lost_upstream=1, lost_downstream=1, lost_unknown=1, duplicated_upstream=1,
    ),
)  # fmt: skip


def test_round_trips_have_delays_variations_and_timestamps() -> None:
    """The round trip without the time in the server, as irtt has it; variations with their signs."""
    trips = document(*RUN)["round_trips"]
    assert [trip["seqno"] for trip in trips] == list(range(7))
    assert [trip["lost"] for trip in trips] == ["false", "false", "true_up", "true_down", "true", "true", "false"]
    assert trips[0]["delay"] == {"rtt": 300, "send": 107, "receive": 193}
    assert trips[0]["ipdv"] == trips[2]["ipdv"] == trips[6]["ipdv"] == {}
    assert trips[1]["ipdv"] == {"rtt": 30, "send": 50, "receive": -20}
    assert trips[0]["timestamps"] == {
        "client": {"receive": {"wall": 1_000_000_310}, "send": {"wall": 1_000_000_000}},
        "server": {"receive": {"wall": 1_000_000_107}, "send": {"wall": 1_000_000_117}},
    }
    assert trips[2]["delay"] == {}
    assert trips[2]["timestamps"]["client"] == {"receive": {}, "send": {"wall": 3_000_000_000}}
    assert trips[5]["timestamps"]["client"] == {"receive": {}, "send": {}}


def test_stats_have_the_sums() -> None:
    """Losses in percent of what went on that way; variations by how great they are."""
    found = document(*RUN)
    stats = found["stats"]
    assert (stats["packets_sent"], stats["packets_received"], stats["duplicates"]) == (7, 3, 1)
    assert stats["packet_loss_percent"] == pytest.approx(400 / 7)
    assert stats["upstream_loss_percent"] == pytest.approx(100 / 7)
    assert stats["downstream_loss_percent"] == pytest.approx(100 / 6)
    assert stats["rtt"] == {
        "total": 940, "n": 3, "min": 300, "max": 330, "mean": 313, "median": 310, "stddev": 15, "variance": 233,
    }  # fmt: skip
    assert stats["ipdv_receive"]["min"] == stats["ipdv_receive"]["mean"] == 20
    assert stats["server_processing_time"]["mean"] == 10
    assert stats["start_time"] == "1970-01-01T00:00:00.000000123Z"
    assert stats["send_rate"] == {"bps": 560, "string": "560 bps"}
    assert stats["timer_miss_percent"] == 12.5
    assert found["config"]["remote_address"] == "192.0.2.1:1060"


def test_servers_that_tell_nothing_leave_delays_of_one_way_out() -> None:
    """And an empty run is one of zeros, as irtt has it."""
    (trip,) = document(reply_record(), summary(sent=1, received=1))["round_trips"]
    assert (trip["delay"], trip["timestamps"]["server"]) == ({"rtt": 1000}, {"receive": {}, "send": {}})
    nothing = document(summary())
    assert nothing["round_trips"] == []
    assert nothing["stats"]["rtt"] == dict.fromkeys(nothing["stats"]["rtt"], 0)
    assert nothing["config"] == {"remote_address": "h"}


def test_a_run_of_too_many_probes_to_write_one_by_one_is_refused() -> None:
    """A file may say any number."""
    with pytest.raises(ValueError, match="expected at most 10000000 probes"):
        document(summary(sent=MOST_TRIPS + 1))


def test_a_run_of_sums_only_is_refused() -> None:
    """All its probes would seem to be lost, and none in the sums."""
    with pytest.raises(ValueError, match="expected the events of each probe, got only sums"):
        document(start(), summary(sent=2, received=2))


@given(faults)
@example(EVERYTHING)
def test_what_readers_of_irtt_take_is_there_and_true(plan: Faults) -> None:
    """Whatever went wrong: as SmokePing takes times, and Flent figures, trips and losses."""
    *events, told = events_of(plan)
    assert isinstance(told, Summary)
    found = document(*events, told)
    stats, trips = found["stats"], found["round_trips"]
    assert stats["packet_loss_percent"] == told.loss
    assert len(trips) == told.sent == stats["packets_sent"]
    assert sum(trip["lost"] == "false" for trip in trips) == told.received == stats["rtt"]["n"]
    for name in ("rtt", "send_delay", "receive_delay", "ipdv_round_trip", "ipdv_send", "ipdv_receive"):
        assert {"mean", "min", "max", "median"} <= stats[name].keys()
    assert stats["send_rate"]["bps"] >= stats["receive_rate"]["bps"] >= 0
    for trip in trips:
        if trip["lost"] == "false":
            assert trip["timestamps"]["client"]["receive"]["wall"] > 0
            assert {"rtt", "send", "receive"} == trip["delay"].keys()
        elif trip["lost"] != "true":
            assert trip["timestamps"]["client"]["send"]["wall"] > 0


@contextlib.contextmanager
def irtt_server() -> Iterator[str]:
    """Theirs, on a free port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    command = ["irtt", "server", "-b", address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as server:  # noqa: S603 - theirs
        assert server.stdout is not None
        try:
            while b"listener" not in (line := server.stdout.readline()):
                assert line
            yield address
        finally:
            server.kill()


def shape(value: Any) -> Any:
    """Names and types of a document; of a list, of what is in it."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [shape(inner) for inner in value]
    return "number" if isinstance(value, int | float) else type(value).__name__


def missing(ours: Any, theirs: Any, path: str = "") -> Iterator[str]:
    """What is in a document of ours and not, with that type, in theirs."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for name, inner in ours.items():
            yield from missing(inner, theirs.get(name), f"{path}.{name}")
    elif ours != theirs:
        yield f"{path}: {ours} instead of {theirs}"


@pytest.mark.skipif(shutil.which("irtt") is None, reason="this host has no irtt")
def test_every_field_is_one_that_irtt_writes_and_of_the_same_type(tmp_path: Path) -> None:
    """Theirs over loopback, beside a run of ours."""
    with irtt_server() as address:
        command = ["irtt", "client", "-d", "60ms", "-i", "20ms", "-Q", "-o", "theirs.json", address]
        # It says that it listens just before it does; until then the client is refused at once. On a busy machine its
        # client gives up a reply that is late.
        for _ in range(100):
            done = subprocess.run(command, cwd=tmp_path, timeout=30, check=False)  # noqa: S603 - theirs
            if done.returncode == 0:
                written = json.loads((tmp_path / "theirs.json").read_text())
                if all(line["lost"] == "false" for line in written["round_trips"]):
                    break
        else:
            pytest.fail("irtt never had a reply to each of its probes")
    theirs = shape(written)
    ours = shape(document(start(), *(reply(number, 100, 10, 200) for number in (1, 2, 3)), summary(sent=3, received=3)))
    assert len(theirs["round_trips"]) == len(ours["round_trips"]) == 3
    for mine, other in zip(ours.pop("round_trips"), theirs.pop("round_trips"), strict=True):
        assert list(missing(mine, other)) == []
        assert set(mine) == set(other)
        assert (set(mine["delay"]), set(mine["ipdv"])) == (set(other["delay"]), set(other["ipdv"]))
    assert list(missing(ours, theirs)) == []
    left_out = set(theirs["stats"]) - set(ours["stats"])
    assert left_out == {"send_call", "timer_error", "timer_err_percent", "wait", "server_packets_received"}
