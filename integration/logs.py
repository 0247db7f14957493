"""Logging to stderr, one line an event: time, level, place, words, ids. Never patient data.

What is logged is words and then `name=value` pairs; as JSON these become an object of their own.
Where an ECG is at work, each line, whoever writes it, carries its id as `trace`.
"""

import json
import logging
import re
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from types import TracebackType
from typing import Literal, TypeAlias
from uuid import UUID

_ExcInfo: TypeAlias = (
    tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
)
_FORMAT = "%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s %(message)s"
_CHATTY = ("alembic", "amqp", "asyncio", "celery", "httpcore", "httpx", "kafka", "kombu", "uvicorn")
_PAIR = re.compile(r"(?:^|\s)([a-z_0-9]+)=")
_TRACE: ContextVar[UUID | None] = ContextVar("trace", default=None)


@contextmanager
def traced(exam_id: UUID) -> Iterator[None]:
    """Have every line that the block logs carry an ECG's id."""
    token = _TRACE.set(exam_id)
    try:
        yield
    finally:
        _TRACE.reset(token)


@lru_cache(maxsize=1000)
def error_once(log: logging.Logger, words: str, *told: object) -> None:
    """Log an error that may be met again and again, every second: once a process."""
    log.error(words, *told)


class PlainFormatter(logging.Formatter):
    """One line an event, in UTC; of an exception its type and places only.

    An exception's text may quote what a sender wrote, so it is never logged.
    """

    def __init__(self) -> None:
        super().__init__(_FORMAT, "%Y-%m-%dT%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; what another handler's formatter left of an exception is not reused."""
        record.exc_text = None
        line = super().format(record)
        record.exc_text = None
        return line

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """Return the line without an exception, and with its ECG's id."""
        line, trace = super().formatMessage(record), _TRACE.get()
        return line if trace is None else f"{line} trace={trace}"

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        """Return the time in UTC, whatever the machine's zone."""
        return time.strftime(datefmt or "", time.gmtime(record.created))

    def formatException(self, ei: _ExcInfo) -> str:  # noqa: N802 - logging's own name
        """Return type and places of an exception, innermost last."""
        kind, _, trace = ei
        places = [f"{f.filename}:{f.lineno} {f.name}" for f in traceback.extract_tb(trace)]
        name = kind.__name__ if kind else "no exception"
        return "\n".join([f"  {name}", *(f"    {place}" for place in places)])


class JsonFormatter(PlainFormatter):
    """One JSON object an event: time, level, logger, event, fields, trace, exception."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the object on one line."""
        event, *pairs = _PAIR.split(record.getMessage())
        told: dict[str, object] = {
            "time": f"{self.formatTime(record, self.datefmt)}.{int(record.msecs):03}Z",
            "level": record.levelname,
            "logger": record.name,
            "event": event.strip(),
            "fields": dict(zip(pairs[::2], map(str.strip, pairs[1::2]), strict=True)),
        }
        if (trace := _TRACE.get()) is not None:
            told["trace"] = str(trace)
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info).split("\n")
        return json.dumps(told, ensure_ascii=False)


def set_up(level: str, form: Literal["plain", "json"] = "plain") -> None:
    """Send all logs to stderr."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if form == "json" else PlainFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
