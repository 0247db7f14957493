"""Logging to stderr, one line an event: time, level, place, words, ids. Never patient data."""

import logging
import time
import traceback
from types import TracebackType
from typing import TypeAlias

_ExcInfo: TypeAlias = (
    tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
)
_FORMAT = "%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s %(message)s"
_CHATTY = ("alembic", "amqp", "asyncio", "celery", "httpcore", "httpx", "kombu", "uvicorn")


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

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        """Return the time in UTC, whatever the machine's zone."""
        return time.strftime(datefmt or "", time.gmtime(record.created))

    def formatException(self, ei: _ExcInfo) -> str:  # noqa: N802 - logging's own name
        """Return type and places of an exception, innermost last."""
        kind, _, trace = ei
        places = [f"{f.filename}:{f.lineno} {f.name}" for f in traceback.extract_tb(trace)]
        name = kind.__name__ if kind else "no exception"
        return "\n".join([f"  {name}", *(f"    {place}" for place in places)])


def set_up(level: str) -> None:
    """Send all logs to stderr."""
    handler = logging.StreamHandler()
    handler.setFormatter(PlainFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
