"""A run's percentiles as HdrHistogram writes them: the same text as the package makes of the same times."""

import functools
import io
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_udp.measure import Correction, Event, HdrRun, Line, Missed, ReplyRecord, runs_of

from .records import reply_record, start, summary


def times_in(event: Event) -> list[tuple[int, int]]:
    """What an event adds to the times as they were measured."""
    return [(event.rtt_ns, 1)] if isinstance(event, ReplyRecord) else []


@given(st.lists(st.integers(1, 2**40), max_size=30), st.booleans())
def test_its_text_is_what_the_package_makes_of_the_times(times: list[int], is_corrected: bool) -> None:
    """Whatever else happened in the run; corrected ones are those of `Correction`."""
    histogram = pytest.importorskip("hdrh.histogram", reason="the package hdrhistogram is not installed")
    events: list[Event] = [start(slot_ns=1000), Missed(slots=3, before=1)]
    events += [reply_record(sequence=number, rtt_ns=time, late_ns=number) for number, time in enumerate(times, 1)]
    lines = [Line("h", event) for event in (*events, summary())]
    (run,) = runs_of(lines, functools.partial(HdrRun, is_corrected=is_corrected))
    expected = histogram.HdrHistogram(1, 2**63 - 1, 3)
    times_of = Correction().times_of if is_corrected else times_in
    for event in events:
        for time, count in times_of(event):
            expected.record_value(time, count)
    written = io.BytesIO()
    expected.output_percentile_distribution(written, 1.0)
    assert (run.host, run.text()) == ("h", written.getvalue().decode())


def test_without_the_package_it_cannot_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """As any import fails, before there is anything to count."""
    monkeypatch.setitem(sys.modules, "hdrh.histogram", None)
    with pytest.raises(ImportError):
        HdrRun("h")
