"""`--live`: what `ping` shows on a terminal instead of lines, drawn anew some times a second with rich.

The picture is laid out and written in a thread, out of a copy of the figures: a terminal that is slow, or stopped by
`^S`, stops no probe. The cursor stays visible, and no other screen is switched to: whatever ends the program, the
terminal is as usable as before, and shows the last picture.
"""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Final, TextIO

import trio

from ..measure import View
from ._arguments import missed_politely
from ._screen import Line, fit, screen

EVERY: Final = 0.25
"""Seconds between two pictures."""
_SWITCH: Final = 0.0002
"""Seconds after which the thread that draws lets the one that sends go on. Python's 5 ms are five probes at 1 ms."""


def is_possible() -> bool:
    """Whether standard output is a terminal on which a cursor can move."""
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") not in {"dumb", "unknown"}


def check_live() -> None:
    """Miss rich before anything is sent."""
    with missed_politely("live"):
        import rich.console
        import rich.text  # noqa: F401 - whether it is there


class Live:
    """The picture on the terminal."""

    def __init__(self, look: Callable[[], Sequence[View]]) -> None:
        """Show what `look` returns, each time it is called."""
        from rich.console import Console

        self._look = look
        # It knows the terminal's size and colours, and that `NO_COLOR` takes the latter away.
        self._console = Console(highlight=False, markup=False, emoji=False)
        self._height = 0
        """Lines of the last picture, above the cursor."""
        self._width = 0
        self._said: list[str] = []
        self._woken = trio.Event()

    async def run(self) -> None:
        """Draw until cancelled, and then once more."""
        with _threads_taking_turns():
            try:
                while True:
                    await self._draw()
                    with trio.move_on_after(EVERY):
                        await self._woken.wait()
            finally:
                with trio.CancelScope(shield=True):
                    await self._draw()

    def say(self, lines: Sequence[str]) -> None:
        """Write this to standard error, above the picture."""
        self._said += lines
        self._woken.set()

    async def _draw(self) -> None:
        self._woken = trio.Event()
        said, self._said = self._said, []
        await trio.to_thread.run_sync(self._write, self._look(), said)

    def _write(self, views: Sequence[View], said: list[str]) -> None:
        """In the thread."""
        width, height = self._console.size
        is_ascii = not self._console.encoding.startswith("utf")
        lines = fit([screen(view, max(width - 1, 1), ascii_only=is_ascii) for view in views], max(height - 1, 1))
        if self._width in (0, width):
            erase = f"\r\x1b[{self._height}A\x1b[J" if self._height else "\r\x1b[J"
        else:
            erase = "\x1b[H\x1b[J"  # the lines were broken anew, and nobody knows how many they are
        if said:
            _put(sys.stdout, erase)
            _put(sys.stderr, "".join(f"{line}\n" for line in said))
            erase = ""
        _put(sys.stdout, erase + self._rendered(lines))
        self._height, self._width = len(lines), width

    def _rendered(self, lines: Sequence[Line]) -> str:
        from rich.text import Text

        # One print for all lines: each costs half a millisecond.
        pieces: list[str | tuple[str, str]] = []
        for line in lines:
            pieces += [*line, "\n"]
        with self._console.capture() as capture:
            # Said here, because print makes a new text of this one, which does not keep how it was to be broken.
            self._console.print(Text.assemble(*pieces), no_wrap=True, overflow="crop", crop=True, end="")
        rendered: str = capture.get()
        return rendered


def _put(stream: TextIO, text: str) -> None:
    stream.write(text)
    stream.flush()


@contextlib.contextmanager
def _threads_taking_turns() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH)
    try:
        yield
    finally:
        sys.setswitchinterval(before)
