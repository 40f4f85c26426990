"""What `ping` writes for programs: events as lines of JSON or as rows of CSV, and datagrams as a capture file.

Each is written as it happens and forgotten then, so that an endless run needs no more memory than a short one.
"""

import argparse
import contextlib
import functools
import sys
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final, TextIO, TypeAlias

from ..measure import Captured, Event, Interval, Start, Summary, pcapng_header, pcapng_packet
from ._arguments import BadInput, number, seconds_in, writing_to

Tap: TypeAlias = Callable[[Captured], None]
"""What a datagram is given to."""
_LEAST_EVERY: Final = 0.001
_SUMS: Final = (Start, Interval, Summary)
"""What there is of a quiet run: nothing for each probe."""


def add_output(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    group = parser.add_mutually_exclusive_group()
    json_help = "print every event as a line of JSON, and no text; with -q only sums"
    group.add_argument("--json", action="store_true", help=json_help)
    group.add_argument("--csv", action="store_true", help="print a row of CSV for each probe, and no text")
    add = parser.add_argument
    add("--json-schema", action="store_true", help="print the JSON Schema of those lines, and end")
    every = number(seconds_in, _LEAST_EVERY, unit=" of seconds")
    add("--every", type=every, metavar="SECONDS", help="with --json: sums of what happened, this often")
    add("--pcap", type=_capture_file, metavar="FILE", help="write all datagrams to a capture file (pcapng)")


def _capture_file(path: str) -> str:
    """Standard output has the lines, for people or for programs; a file of this name would surprise."""
    if path == "-":
        raise argparse.ArgumentTypeError("expected a file, got '-': standard output is taken by the lines")
    return path


def notes_out(arguments: argparse.Namespace) -> TextIO:
    """Where what is only for people goes: not among what programs read."""
    return sys.stderr if is_for_programs(arguments) else sys.stdout


def is_for_programs(arguments: argparse.Namespace) -> bool:
    """Whether programs read the output, and not people."""
    return bool(arguments.json or arguments.csv)


def schema_text() -> str:
    """The JSON Schema of a line of `--json`."""
    import json

    from ..measure import json_schema

    return json.dumps(json_schema(), indent=2)


def begin_output(arguments: argparse.Namespace) -> None:
    """Print what stands before all events. `BadInput` where there is nobody to print them for."""
    if arguments.every is not None and not arguments.json:
        raise BadInput("expected --json with --every")
    if arguments.csv:
        from ..measure import CsvWriter

        print(CsvWriter.header(), end="", flush=True)


class EventsOut:
    """Prints one run's events, each at once; its `Summary` once, whether the run came to it or was cut short."""

    def __init__(self, write: Callable[[Event], str]) -> None:
        self._write = write
        self._is_over = False

    def tell(self, event: Event) -> None:
        """The next event."""
        self._is_over = isinstance(event, Summary)
        text = self._write(event)
        if text:
            print(text, end="", flush=True)

    def end(self, summary: Summary) -> None:
        """There is no further event."""
        if not self._is_over:
            self.tell(summary)


def events_out(host: str, arguments: argparse.Namespace) -> EventsOut | None:
    """What takes a run's events, or None if text is asked for."""
    if not is_for_programs(arguments):
        return None
    from ..measure import CsvWriter, to_json

    if arguments.json:
        told: tuple[type, ...] = _SUMS if arguments.quiet else (object,)
        return EventsOut(lambda event: to_json(event, host=host) + "\n" if isinstance(event, told) else "")
    return EventsOut(CsvWriter(host).rows)


@contextlib.contextmanager
def open_tap(arguments: argparse.Namespace) -> Iterator[Tap | None]:
    """What writes datagrams to the file, for the length of the block; None if none is asked for."""
    if arguments.pcap is None:
        yield None
        return
    path: str = arguments.pcap
    with writing_to(path):
        file = open(path, "wb")  # noqa: SIM115 - closed below; what goes wrong in the block is not its fault
    write = functools.partial(_write, path, file)
    try:
        write(pcapng_header())
        yield lambda datagram: write(pcapng_packet(datagram))
    finally:
        with writing_to(path):  # what did not fit on a disk still does not
            file.close()


def _write(path: str, file: BinaryIO, data: bytes) -> None:
    with writing_to(path):
        file.write(data)
