"""Records of every kind, and streams of runs in which everything went wrong."""

import dataclasses
import functools
import typing
from collections.abc import Mapping
from typing import Any, Final

from hypothesis import strategies as st

from trio_udp import Address
from trio_udp.measure import Event
from trio_udp.testing import SimNet, simulate

from ..properties.test_truth import EVERYTHING, Faults, measure

EVENTS: Final[tuple[Any, ...]] = typing.get_args(Event)
NUMBERS: Final = st.integers(-(2**63), 2**63 - 1)
TEXTS: Final = st.text(max_size=20)

PLAIN: Final[dict[Any, st.SearchStrategy[Any]]] = {
    int: NUMBERS,
    str: TEXTS,
    Address: st.builds(Address, TEXTS, st.integers(0, 65_535)),
}


def values_of(annotation: Any) -> st.SearchStrategy[Any]:
    """Anything that a field so annotated may hold."""
    if annotation in PLAIN:
        return PLAIN[annotation]
    if typing.get_origin(annotation) is Mapping:
        return st.dictionaries(*map(values_of, typing.get_args(annotation)), max_size=3)
    if typing.get_args(annotation):
        return st.one_of(*map(values_of, typing.get_args(annotation)))
    if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        return records_of(annotation)
    return st.from_type(annotation)


@functools.cache
def records_of(record: Any) -> st.SearchStrategy[Any]:
    """Any record of a class."""
    hints = typing.get_type_hints(record)
    return st.builds(record, **{field.name: values_of(hints[field.name]) for field in dataclasses.fields(record)})


def any_event() -> st.SearchStrategy[Any]:
    """Any event of any kind."""
    return st.one_of(*map(records_of, EVENTS))


@functools.cache
def events_of(plan: Faults = EVERYTHING) -> tuple[Event, ...]:
    """The events of a simulated run, the summary last."""
    found, _, events, _ = simulate(measure, plan, net=SimNet(plan.seed), seed=plan.seed)
    return (*events, *(() if events and events[-1] is found else (found,)))
