from hashlib import sha256

import orjson
import pytest
from kafka.errors import KafkaTimeoutError, MessageSizeTooLargeError

from integration.errors import ConfigError, Refused, TryLater
from integration.fhir.report import attach_page, build_report
from integration.kafka.connection import client_arguments
from integration.kafka.outbound import KafkaDestination
from integration.kafka.writer import Writer


@pytest.fixture
def bundle(exam, findings_of, issued):
    return build_report(exam, findings_of("flagged"), issued=issued)


@pytest.fixture
def sent(kafka_cluster):
    """Sends Bundles and returns them as they are read."""

    def send(*bundles, compact=False):
        topic = kafka_cluster.topic()
        writer = Writer(client_arguments(kafka_cluster.settings()), 20)
        destination = KafkaDestination(writer, topic, compact=compact)
        places = [destination.send(bundle) for bundle in bundles]
        writer.close()
        assert places == [f"{topic} 0:{n}" for n in range(len(bundles))]
        return kafka_cluster.read(topic, len(bundles))

    return send


def test_a_report_goes_as_fhir_with_what_cloudevents_ask(sent, bundle):
    (record,) = sent(bundle)
    assert orjson.loads(record.value) == bundle
    assert record.key == sha256(b"ST-ELSEWHERE\x1fMRN-4711").hexdigest().encode()
    headers = dict(record.headers)
    assert len(headers.pop("ce_id")) == 36
    assert headers == {
        "ce_specversion": b"1.0",
        "ce_source": b"urn:hisbundle",
        "ce_type": b"hisbundle.report",
        "ce_subject": b"11111111-2222-5333-8444-555555555555",
        "ce_time": b"2026-03-01T13:31:02.250+00:00",
        "content-type": b"application/fhir+json",
    }


def test_the_same_report_is_the_same_event_with_its_page_or_without(sent, bundle, findings_of):
    other = orjson.loads(orjson.dumps(bundle))
    other["entry"][0]["resource"]["status"] = "final"
    records = sent(bundle, attach_page(bundle, b"%PDF-"), other)
    first, again, changed = (dict(record.headers)["ce_id"] for record in records)
    assert first == again != changed
    assert len({record.key for record in records}) == 1


def test_a_report_goes_as_a_compact_event(sent, bundle):
    (record,) = sent(bundle, compact=True)
    event = orjson.loads(record.value)
    assert (event["type"], event["status"]) == ("ecg-result", "preliminary")
    headers = dict(record.headers)
    assert headers["ce_type"] == b"hisbundle.result"
    assert headers["content-type"] == b"application/vnd.hisbundle.result+json"


class Failing:
    """A writer whose broker says no."""

    def __init__(self, error):
        self.error = error

    def write(self, *_):
        raise self.error


@pytest.mark.parametrize(
    ("error", "raised", "reason"),
    [
        (KafkaTimeoutError("x"), TryLater, "destination-unreachable"),
        (MessageSizeTooLargeError("x"), Refused, "destination-refused"),
    ],
)
def test_what_a_broker_says_is_told(bundle, error, raised, reason):
    with pytest.raises(raised, match=reason):
        KafkaDestination(Failing(error), "t", compact=True).send(bundle)


def test_a_bundle_without_a_report_is_our_own_fault():
    with pytest.raises(ConfigError, match="report-malformed"):
        KafkaDestination(Failing(None), "t", compact=True).send({"entry": []})
