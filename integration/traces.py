"""Each ECG's way as a trace of OpenTelemetry, sent as OTLP over HTTP in JSON, if a place is set.

Like the metrics it is read from the audit log, after the fact: nothing on an ECG's way waits for
it. The trace's id is the ECG's, which also stands in each line of the log; ids of spans follow
from it, so that what two listeners send is one span. What cannot be sent is dropped, and told.

https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding
"""

import logging
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID, uuid5

import httpx

from db.errors import StoreUnavailable
from db.measures import Ended, Event, Reviewed
from db.store import Store

_EVERY_S = 5.0
_PAGE = 500
_TIMEOUT_S = 10.0
_INTERNAL, _CLIENT = 1, 3  # kinds of spans
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Span:
    """A stage of an ECG's way; `parent` is the name of the stage that it belongs to."""

    exam_id: UUID
    name: str
    start: datetime
    end: datetime
    attributes: dict[str, str] = field(default_factory=dict)
    parent: str | None = "ecg"
    kind: int = _INTERNAL

    def to_json(self) -> dict[str, object]:
        """Return it as OTLP has it."""
        told: dict[str, object] = {
            "traceId": self.exam_id.hex,
            "spanId": self._id(),
            "name": self.name,
            "kind": self.kind,
            "startTimeUnixNano": _nanoseconds(self.start),
            "endTimeUnixNano": _nanoseconds(self.end),
            "attributes": _attributes(self.attributes),
        }
        if self.parent is not None:
            told["parentSpanId"] = _span_id(self.exam_id, self.parent)
        return told

    def _id(self) -> str:
        """Return the same id for the same span, whoever sends it; a stage may come again."""
        again = "" if self.parent is None else self.end.isoformat()
        return _span_id(self.exam_id, f"{self.name}{again}")


def spans_of(event: Event) -> list[Span]:
    """Return the spans that an event ends; none where its ECG or its times are not known."""
    if isinstance(event, Reviewed) or event.exam_id is None:
        return []
    if isinstance(event, Ended):
        if event.delivering_s is None:
            return []
        start = event.at - timedelta(seconds=event.delivering_s)
        told = {"destination": event.destination, "outcome": event.outcome}
        name = f"deliver {event.destination}"
        return [Span(event.exam_id, name, start, event.at, told, kind=_CLIENT)]
    if event.waited_s is None or event.scoring_s is None:
        return []
    began = event.at - timedelta(seconds=event.scoring_s)
    received = began - timedelta(seconds=event.waited_s)
    told = {"sender": event.sender, "verdict": event.verdict, "reason": event.reason}
    return [
        Span(event.exam_id, "ecg", received, event.at, told, parent=None),
        Span(event.exam_id, "wait", received, began),
        Span(event.exam_id, "score", began, event.at),
    ]


class Traces(threading.Thread):
    """Sends what happens from its start on."""

    def __init__(self, store: Store, endpoint: str) -> None:
        """Take the store whose audit log is followed, and the base URL of a collector."""
        super().__init__(name="traces", daemon=True)
        self._store = store
        self._http = httpx.Client(timeout=_TIMEOUT_S, follow_redirects=False)
        self._url = f"{endpoint.rstrip('/')}/v1/traces"
        self._number: int | None = None
        self._ending = threading.Event()

    def run(self) -> None:
        """Send every few seconds until stopped."""
        while not self._ending.is_set():
            try:
                self.follow()
            except StoreUnavailable as error:
                _log.warning("not traced reason=%s", error.reason)
            self._ending.wait(_EVERY_S)
        self._http.close()

    def follow(self) -> None:
        """Send what was written since the last time."""
        if self._number is None:
            self._number, _ = self._store.audit_head()
        while not self._ending.is_set():
            before = self._number
            self._number, events = self._store.happened(before, _PAGE)
            if spans := [span for event in events for span in spans_of(event)]:
                self._send(spans)
            if self._number < before + _PAGE:
                return

    def stop(self) -> None:
        """End after what is under way."""
        self._ending.set()

    def _send(self, spans: Iterable[Span]) -> None:
        scope = {"scope": {"name": "hisbundle"}, "spans": [span.to_json() for span in spans]}
        resource = {"attributes": _attributes({"service.name": "hisbundle"})}
        body = {"resourceSpans": [{"resource": resource, "scopeSpans": [scope]}]}
        try:
            self._http.post(self._url, json=body).raise_for_status()
        except httpx.HTTPStatusError as error:
            _log.warning("traces dropped status=%d", error.response.status_code)
        except httpx.HTTPError as error:
            _log.warning("traces dropped error=%s", type(error).__name__)


def _span_id(exam_id: UUID, name: str) -> str:
    return uuid5(exam_id, f"span\x1f{name}").hex[:16]


def _nanoseconds(moment: datetime) -> str:
    return f"{round(moment.timestamp() * 1e6)}000"


def _attributes(values: dict[str, str]) -> list[dict[str, object]]:
    return [{"key": key, "value": {"stringValue": value}} for key, value in values.items() if value]
