"""How `serve` says what happens: lines for people, or JSON objects for programs, a line each.

Every line is about an *event*, which has a name, and has fields beside its words. For people the words go where they
always go, answers to standard output and complaints to standard error. For programs all of it goes to standard error,
so that one stream has everything in order.
"""

import argparse
import contextlib
import json
import logging
import os
import sys
import time
from typing import Final

_SECOND: Final = 1_000_000_000
_KNOWN: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime"}
"""What every record has; anything else was put there as a field."""


def add_log_format(parser: argparse.ArgumentParser) -> None:
    """Add `--log-format`."""
    parser.add_argument(
        "--log-format",
        choices=("text", "json"),
        default="text",
        help="how to write what happens: lines, or JSON objects, all of them to standard error (default: text)",
    )


class Log:
    """Where one command says what happens."""

    def __init__(self, log_format: str = "text") -> None:
        self.is_json: Final = log_format == "json"

    def begin(self) -> None:
        """From now on, what is logged with `logging` has the same format. Text is what Python does by itself."""
        if self.is_json:
            handler = logging.StreamHandler(sys.stderr)
            handler.setFormatter(JsonLines())
            logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)

    def show(self, event: str, line: str, /, **fields: object) -> None:
        """What the user waits for."""
        if self.is_json:
            _write(event, "info", line, fields)
        else:
            print(line, flush=True)

    def note(self, event: str, line: str, /, **fields: object) -> None:
        """What is to be known beside."""
        if self.is_json:
            _write(event, "info", line, fields)
        else:
            print(line, file=sys.stderr, flush=True)

    def mark(self, event: str, line: str, /, **fields: object) -> None:
        """What people need not be told, because they have just ordered it."""
        if self.is_json:
            _write(event, "info", line, fields)

    def complain(self, event: str, line: str, /, *, level: str = "warning", **fields: object) -> None:
        """What is wrong, if somebody reads that."""
        with contextlib.suppress(OSError):
            if self.is_json:
                _write(event, level, line, fields)
            else:
                print(f"trio_udp serve: {line}", file=sys.stderr, flush=True)


class JsonLines(logging.Formatter):
    """One object a line, tracebacks and all."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter.format`."""
        fields = {name: value for name, value in vars(record).items() if name not in _KNOWN}
        event = str(fields.pop("event", "log"))
        fields["logger"] = record.name
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return _line(round(record.created * _SECOND), event, record.levelname.lower(), record.getMessage(), fields)


def _write(event: str, level: str, message: str, fields: dict[str, object]) -> None:
    print(_line(time.time_ns(), event, level, message, fields), file=sys.stderr, flush=True)


def _line(at_ns: int, event: str, level: str, message: str, fields: dict[str, object]) -> str:
    found = {"kind": "log", "at_ns": at_ns, "level": level, "event": event, "message": message.strip()}
    found["pid"] = os.getpid()
    return json.dumps(found | {name: value for name, value in fields.items() if name not in found}, default=str)
