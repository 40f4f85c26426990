"""What is said about links, and the links that follow from it: one for each direction between two hosts."""

from collections.abc import Iterable
from itertools import product
from random import Random
from typing import Final

from .._chaos import Conditions, Link
from ._hosts import Host
from ._nat import Place


class Links:
    """Links are made when the first packet takes them, from what is said most precisely."""

    def __init__(self, conditions: Conditions, random: Random) -> None:
        self._random: Final = random
        self._said: dict[tuple[Place | None, Place | None], Conditions] = {(None, None): conditions}
        self._made: dict[tuple[Host, Place | None], Link] = {}

    def say(self, conditions: Conditions, source: Place | None, destination: Place | None) -> None:
        """From now on, from there to there; None is anywhere."""
        self._said[source, destination] = conditions
        self._made.clear()

    def between(self, source: Host, destination: Place | None) -> Link:
        """The link from there to there."""
        link = self._made.get((source, destination))
        if link is None:
            names = product(_names_of(source), _names_of(destination))
            said = next(self._said[name] for name in names if name in self._said)
            self._made[source, destination] = link = said.rule(self._random)
        return link


def is_among(end: Place | None, places: Iterable[Place]) -> bool:
    """Whether it is one of these, or a host behind one of them."""
    return end is not None and any(place in (end, getattr(end, "nat", None)) for place in places)


def _names_of(end: Place | None) -> list[Place | None]:
    """By what names a link's end may have been called, the most precise first."""
    return [end, *([end.nat] if isinstance(end, Host) and end.nat else []), None]
