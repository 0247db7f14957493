from hashlib import sha256
from uuid import UUID

import pytest
from kafka.errors import MessageSizeTooLargeError

from integration.errors import Refused, TryLater
from integration.kafka import writer
from integration.kafka.connection import client_arguments
from integration.kafka.dead_letters import DeadLetters
from integration.kafka.envelope import Record
from integration.kafka.writer import Writer
from tests.kafka_broker import Cluster

ID = UUID("99999999-2222-5333-8444-555555555555")
RECORD = Record("ecgs", 2, 41, b"\x00key", b"\xffvalue", [("own", b"\x01"), ("own", None)])
REFUSED = Refused("lead-unknown", "not the name of one of the twelve")
ADDED = [
    ("hisbundle-reason", b"lead-unknown"),
    ("hisbundle-detail", b"not the name of one of the twelve"),
    ("hisbundle-message-id", b"99999999-2222-5333-8444-555555555555"),
    ("hisbundle-topic", b"ecgs"),
    ("hisbundle-partition", b"2"),
    ("hisbundle-offset", b"41"),
]


@pytest.fixture
def written(kafka_cluster):
    """Writes one letter and returns it as it is read."""

    def write(record=RECORD):
        topic = kafka_cluster.topic()
        letters = DeadLetters(Writer(client_arguments(kafka_cluster.settings()), 20), topic)
        letters.write(record, ID, REFUSED)
        letters.close()
        (letter,) = kafka_cluster.read(topic, 1)
        return letter

    return write


def test_a_letter_is_the_record_and_its_reason(written):
    letter = written()
    assert (letter.key, letter.value) == (b"\x00key", b"\xffvalue")
    assert letter.headers == [("own", b"\x01"), ("own", b""), *ADDED]


def test_a_tombstone_without_a_key_has_an_empty_value(written):
    letter = written(Record("ecgs", 2, 41, None, None))
    assert (letter.key, letter.value, letter.headers) == (None, b"", ADDED)


def test_a_value_the_broker_finds_too_large_is_left_out_and_told(written, monkeypatch):
    class Strict(writer.KafkaProducer):
        def send(self, topic, value=None, **more):
            if value is not None:
                raise MessageSizeTooLargeError
            return super().send(topic, value=value, **more)

    monkeypatch.setattr(writer, "KafkaProducer", Strict)
    letter = written()
    assert (letter.key, letter.value) == (b"\x00key", None)
    told = b"6 " + sha256(b"\xffvalue").hexdigest().encode()
    assert letter.headers[-1] == ("hisbundle-value-left-out", told)


def test_without_a_broker_it_is_to_be_tried_later(closed_port):
    arguments = client_arguments(Cluster(f"127.0.0.1:{closed_port}").settings())
    letters = DeadLetters(Writer(arguments | {"bootstrap_timeout_ms": 300}, 1), "dead")
    with pytest.raises(TryLater, match="kafka-unavailable"):
        letters.write(RECORD, ID, REFUSED)
    letters.close()
