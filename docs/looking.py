"""Run one world in which a path gets bad twice, and draw what `ping --live` and `ping --plot` show of it.

python docs/looking.py docs/howto

The world is simulated, and follows from a seed: the same lines, and the same figures, each time. What draws is what the
command uses. This writes live.svg and plot.svg into the directory.
"""

import functools
import sys
from html import escape
from pathlib import Path
from typing import Final

import trio

import trio_udp
from trio_udp._cli._plot import draw
from trio_udp._cli._screen import Line, screen
from trio_udp.measure import Event, Fixed, Prober, Series, Watch, open_prober
from trio_udp.testing import Conditions, SimNet, simulate

SEED: Final = 3
HOST: Final = "echo.example"
COLUMNS: Final = 84

# Pixels
SIZE, ADVANCE, LEADING, MARGIN = 14, 8.43, 18, 16
BACKGROUND, TEXT = "#1c2128", "#d5dbe3"
COLOURS: Final = {
    "bold red": "#ff7b72", "bold magenta": "#d2a8ff", "bold yellow": "#e3b341", "yellow": "#e3b341",
    "bold cyan": "#76e3ea", "green": "#7ee787", "dim": "#8b949e", "bold": "#ffffff",
}  # fmt: skip


FAIR: Final = Conditions(latency=0.010, jitter=0.003, reorder=0.02, reorder_by=0.03)
WORSE: Final = Conditions(latency=0.012, jitter=0.030, loss=0.25)


async def world(net: SimNet) -> tuple[list[Line], Series]:
    """A fair path that gets bad, first from us to the server, then on the way back."""
    server, client = net.host(HOST), net.host("client")
    net.link(FAIR)
    watch, series = Watch(HOST), Series(HOST)
    shown: list[Line] = []

    def look(event: Event) -> None:
        watch.take(event)
        series.take(event)

    async def go_wrong(prober: Prober) -> None:
        for source, destination in ((client, server), (server, client)):
            await trio.sleep(7)
            net.link(WORSE, source, destination, both=False)
            await trio.sleep(4)
            net.link(FAIR, source, destination)
        shown.extend(screen(watch.view(sent=prober.sent, waiting=prober.unanswered, elapsed=22), COLUMNS))

    async with trio.open_nursery() as nursery:
        with server.here():
            await nursery.start(functools.partial(trio_udp.serve, lambda request: request.payload, 1060))
        with client.here():
            await trio.sleep(1)  # A server that has just begun cannot know that it missed nothing.
            async with open_prober(HOST, 1060) as prober:
                nursery.start_soon(go_wrong, prober)
                await prober.run(Fixed(0.1), count=300, wait=0.5, on_event=look)
        nursery.cancel_scope.cancel()
    return shown, series


def picture(lines: list[Line]) -> str:
    """One `text` element for each piece of a line."""
    width = round(2 * MARGIN + ADVANCE * COLUMNS)
    height = 2 * MARGIN + LEADING * len(lines)
    rows = "\n".join(_row(line, MARGIN + LEADING * number + SIZE) for number, line in enumerate(lines) if line)
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"
     font-family="ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace" font-size="{SIZE}" xml:space="preserve">
<title>What ping --live shows</title>
<rect width="{width}" height="{height}" rx="8" fill="{BACKGROUND}"/>
{rows}
</svg>
"""


def _row(line: Line, y: int) -> str:
    """Cut off where the terminal ends; `textLength` makes every font keep its columns."""
    left, pieces = 0, ""
    for text, style in line:
        piece = text[: COLUMNS - left]
        if piece.strip():
            x, length, colour = MARGIN + ADVANCE * left, ADVANCE * len(piece), COLOURS.get(style, TEXT)
            pieces += f'<text x="{x:.2f}" y="{y}" textLength="{length:.2f}" fill="{colour}">{escape(piece)}</text>'
        left += len(piece)
    return pieces


if __name__ == "__main__":
    directory = Path(sys.argv[1])
    live, run = simulate(world, seed=SEED)
    (directory / "live.svg").write_text(picture(live))
    draw(directory / "plot.svg", [run])
