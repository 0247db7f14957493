"""Sends a report to a Kafka topic and tells what became of it.

| what the broker says                        | raised   | reason                       |
|---------------------------------------------|----------|------------------------------|
| it is with every replica in sync            | -        | -                            |
| too large for the topic                     | Refused  | `destination-refused`        |
| nothing, no such topic, not allowed, ...    | TryLater | `destination-unreachable`    |

A report that is sent again, because the first answer was lost with its worker or its broker, has
the same CloudEvents `source` and `id` again: for who reads them it is the same event.

The key is a hash of the patient's identifier: one patient's records are in one partition, in the
order in which they were sent.
"""

import hashlib
from uuid import UUID, uuid5

import orjson
from kafka.errors import KafkaError, MessageSizeTooLargeError

from integration.errors import Refused, TryLater
from integration.fhir.bundle import report_and_results
from integration.fhir.codes import Json
from integration.kafka import result_event
from integration.kafka.envelope import SPEC_VERSION
from integration.kafka.writer import Writer

SOURCE = "urn:hisbundle"
_FHIR, _EVENT = "hisbundle.report", "hisbundle.result"  # CloudEvents types


class KafkaDestination:
    """One topic that takes reports; threads may share it."""

    def __init__(self, writer: Writer, topic: str, *, compact: bool) -> None:
        """Take what writes, where, and whether as compact events instead of FHIR."""
        self._writer = writer
        self._topic = topic
        self._compact = compact

    def send(self, bundle: Json) -> str:
        """Send a report and return its place in the topic.

        Raises:
            TryLater: see the table above.
            Refused: see the table above.
        """
        report, observations = report_and_results(bundle)
        if self._compact:
            value = result_event.encode_result(report, observations)
            kind, media_type = _EVENT, result_event.CONTENT_TYPE
        else:
            value, kind, media_type = orjson.dumps(bundle), _FHIR, "application/fhir+json"
        headers = _headers(report, kind, media_type)
        try:
            return self._writer.write(self._topic, _key(report), value, headers)
        except MessageSizeTooLargeError:
            raise Refused("destination-refused", "larger than the topic takes") from None
        except KafkaError as error:
            raise TryLater("destination-unreachable", type(error).__name__) from None


def _key(report: Json) -> bytes:
    identifier = report["subject"]["identifier"]
    authority = identifier.get("system") or identifier.get("assigner", {}).get("display", "")
    return hashlib.sha256(f"{authority}\x1f{identifier['value']}".encode()).hexdigest().encode()


def _headers(report: Json, kind: str, media_type: str) -> list[tuple[str, bytes]]:
    """Return CloudEvents' attributes (Kafka Protocol Binding 1.0.2, 3.2).

    The id follows from the report, but not from its page, which may be gone at a second try.
    """
    own = UUID(report["identifier"][0]["value"])
    content = {name: value for name, value in report.items() if name != "presentedForm"}
    digest = hashlib.sha256(orjson.dumps(content)).hexdigest()
    told = {
        "ce_specversion": SPEC_VERSION,
        "ce_id": uuid5(own, digest),
        "ce_source": SOURCE,
        "ce_type": kind,
        "ce_subject": own,
        "ce_time": report["issued"],
        "content-type": media_type,
    }
    return [(name, str(value).encode()) for name, value in told.items()]
