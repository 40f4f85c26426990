"""How `serve` writes warnings and errors: as lines for people, or as JSON objects, a line each."""

import argparse
import json
import logging
import sys
import time

_SECOND = 1_000_000_000


def add_log_format(parser: argparse.ArgumentParser) -> None:
    """Add `--log-format`."""
    parser.add_argument(
        "--log-format",
        choices=("text", "json"),
        default="text",
        help="how to write warnings and errors to standard error (default: text)",
    )


def begin_logs(log_format: str) -> None:
    """From now on. Text is what Python does by itself."""
    if log_format == "json":
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(JsonLines())
        logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)


class JsonLines(logging.Formatter):
    """One object a line, tracebacks and all."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter.format`."""
        found = {
            "kind": "log",
            "at_ns": round(record.created * _SECOND),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            found["traceback"] = self.formatException(record.exc_info)
        return json.dumps(found)


def say(line: str, log_format: str) -> None:
    """One line to standard error, in the same format."""
    if log_format == "json":
        found = {"kind": "log", "at_ns": time.time_ns(), "level": "info", "logger": "trio_udp", "message": line}
        line = json.dumps(found)
    print(line, file=sys.stderr, flush=True)
