"""Run two commands, and draw what they print as an SVG picture of a terminal, for README.md.

python docs/picture.py > docs/picture.svg
"""

import shlex
import subprocess
import sys
from html import escape
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
COMMANDS: Final = ["python -m trio_udp ping -c 3", "python examples/under_attack.py"]

# Pixels
SIZE: Final = 14
ADVANCE: Final = 8.43
"""Width of a character; `textLength` makes every font keep it."""
LEADING: Final = 20
MARGIN: Final = 20

BACKGROUND, TEXT, PROMPT = "#1c2128", "#d5dbe3", "#7ee787"


def transcript() -> list[str]:
    """The commands, each behind a prompt, and what they print."""
    lines: list[str] = []
    for command in COMMANDS:
        arguments = [sys.executable, *shlex.split(command)[1:]]
        done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S603 - our own
        lines += [f"$ {command}", *done.stdout.splitlines(), ""]
    return lines[:-1]


def picture(lines: list[str]) -> str:
    """One `text` element a line."""
    width = round(2 * MARGIN + ADVANCE * max(map(len, lines)))
    height = 2 * MARGIN + LEADING * len(lines)
    rows = "\n".join(
        f'<text x="{MARGIN}" y="{MARGIN + LEADING * number + SIZE}" textLength="{ADVANCE * len(line):.2f}"'
        f' fill="{PROMPT if line.startswith("$ ") else TEXT}">{escape(line)}</text>'
        for number, line in enumerate(lines)
        if line
    )
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"
     font-family="ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace" font-size="{SIZE}" xml:space="preserve">
<title>Output of {escape(" and of ".join(COMMANDS))}</title>
<rect width="{width}" height="{height}" rx="8" fill="{BACKGROUND}"/>
{rows}
</svg>
"""


if __name__ == "__main__":
    sys.stdout.write(picture(transcript()))
