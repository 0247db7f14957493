"""The listener at a real broker; each group takes three seconds to form there."""

import gzip
import threading
from uuid import UUID

import pytest
import zstandard
from kafka.record import default_records

from db.errors import StoreUnavailable
from integration.cli.local_kafka import LocalBroker
from integration.kafka_intake import KafkaIntake
from tests.ecg_events import ecg_bytes
from tests.integration.listeners.kafka_site import Site
from tests.kafka_broker import Cluster
from tests.patience import wait_for
from tests.ports import free_port

GOOD = 100  # seeds of records that are sent to see that the listener lives


@pytest.fixture(scope="module")
def running(kafka_cluster, tmp_path_factory):
    """Site, topic and settings of one listener that the tests of this module share."""
    site = Site(tmp_path_factory.mktemp("site"))
    topic = kafka_cluster.topic()
    settings = kafka_cluster.settings(topic, max_record_bytes=12 * 2**20)
    kafka_cluster.topic(name=settings.dead_letter_topic)
    site.listener(settings)
    yield site, topic, settings
    site.close()


@pytest.fixture
def site(tmp_path):
    site = Site(tmp_path)
    yield site
    site.close()


def test_every_codec_and_packing_is_read_once(kafka_cluster, running):
    site, topic, _ = running
    before = site.exams()
    kafka_cluster.send(topic, ecg_bytes(1), ecg_bytes(2), compression_type="gzip")
    kafka_cluster.send(topic, ecg_bytes(3), ecg_bytes(2), compression_type="zstd")
    packed = zstandard.compress(ecg_bytes(4))
    kafka_cluster.send(topic, packed, packed, headers=[("content-encoding", b"zstd")])
    kafka_cluster.send(topic, ecg_bytes(5), key=None)
    wait_for(lambda: site.exams() >= before + 5, "five ECGs")
    kafka_cluster.send(topic, ecg_bytes(GOOD))
    wait_for(lambda: site.exams() == before + 6, "the ECG after them")


BAD = {
    "a tombstone": (None, [], "record-empty"),
    "an unknown schema": (ecg_bytes(6, version=2), [], "event-unsupported"),
    "a truncated event": (ecg_bytes(6)[:-100], [], "format-unknown"),
    "a wrong compression": (
        gzip.compress(ecg_bytes(6)),
        [("content-encoding", b"zstd")],
        "compression-malformed",
    ),
    "ten megabytes": (b'{"type":"ecg"' + b" " * 10 * 2**20, [], "format-unknown"),
    "more than the limit": (bytes(13 * 2**20), [], "message-too-large"),
}


def letters(cluster, settings, offsets):
    """Return offset -> its dead letter, once there is one of each; a letter may come twice."""

    def by_offset(records):
        return {int(dict(record.headers)["hisbundle-offset"]): record for record in records}

    found = cluster.read_until(
        settings.dead_letter_topic, lambda records: by_offset(records).keys() >= offsets
    )
    return by_offset(found)


def test_what_is_bad_becomes_a_dead_letter_and_the_listener_lives(kafka_cluster, running):
    site, topic, settings = running
    before = site.exams()
    own = [("own", b"\x00\xff")]
    sent = {}
    for value, headers, reason in BAD.values():
        key = b"k" if value is None else None
        (offset,) = kafka_cluster.send(topic, value, key=key, headers=[*own, *headers])
        sent[offset] = (key, value, [*own, *headers], reason)
    kafka_cluster.send(topic, ecg_bytes(GOOD + 1))
    wait_for(lambda: site.exams() == before + 1, "the good ECG after them")
    found = letters(kafka_cluster, settings, sent.keys())
    for offset, (key, value, headers, reason) in sent.items():
        letter = found[offset]
        told = dict(letter.headers)
        assert told["hisbundle-topic"].decode() == topic
        assert told["hisbundle-reason"].decode() == reason
        assert (letter.key, letter.value) == (key, value)
        assert letter.headers[: len(headers)] == headers
        message_id = UUID(told["hisbundle-message-id"].decode())
        assert site.reason_of(message_id) == reason


def test_a_batch_that_cannot_be_unpacked_is_stepped_over(kafka_cluster, running, monkeypatch):
    site, topic, settings = running
    before = site.exams()
    # The broker's copy says gzip and is none; its checksum is right.
    with monkeypatch.context() as broken:
        broken.setattr(default_records, "gzip_encode", lambda data: b"no gzip" + bytes(data[:20]))
        place = kafka_cluster.send(topic, ecg_bytes(7), compression_type="gzip")[0]
    kafka_cluster.send(topic, ecg_bytes(GOOD + 2))
    wait_for(lambda: site.exams() == before + 1, "the good ECG after it")
    letter = letters(kafka_cluster, settings, {place})[place]
    assert dict(letter.headers)["hisbundle-reason"] == b"record-unreadable"
    assert (letter.key, letter.value) == (None, b"")


class Failing(KafkaIntake):
    """An intake whose database goes away and comes back."""

    away = threading.Event()
    seen = 0

    def take(self, records):
        type(self).seen += len(records)
        if self.away.is_set():
            raise StoreUnavailable("store-unavailable", "gone")
        return super().take(records)


def test_a_database_that_is_away_stops_the_reading_and_loses_nothing(kafka_cluster, site):
    topic = kafka_cluster.topic(2)
    settings = kafka_cluster.settings(topic)
    intake = Failing(site.store, None, settings)
    intake.away.set()
    listener = site.listener(settings, intake=intake)
    for n in range(8):
        kafka_cluster.send(topic, ecg_bytes(n), key=str(n).encode())
    wait_for(lambda: Failing.seen, "the first try")
    assert site.exams() == 0
    assert kafka_cluster.committed(settings.group) == {}
    intake.away.clear()
    wait_for(lambda: site.exams() == 8, "eight ECGs")
    listener.stop()
    assert sum(kafka_cluster.committed(settings.group).values()) == 8
    assert Failing.seen < 8 * 8  # paused, not spinning


def test_a_broker_that_restarts_finds_its_reader_again(site, tmp_path):
    broker = LocalBroker(tmp_path, free_port())
    broker.start()
    try:
        cluster = Cluster(broker.servers, broker)
        topic = cluster.topic()
        listener = site.listener(cluster.settings(topic))
        cluster.send(topic, *map(ecg_bytes, range(5)))
        wait_for(lambda: site.exams() == 5, "the ECGs before")
        wait_for(lambda: (listener.reading, listener.lag) == (True, {(topic, 0): 0}), "no lag")
        broker.stop()
        wait_for(lambda: (listener.reading, listener.lag) == (False, {}), "no word of it")
        broker.start()
        cluster.topic(name=topic)
        cluster.send(topic, *map(ecg_bytes, range(3, 9)))
        wait_for(lambda: site.exams() == 9, "the ECGs after, none twice")
        wait_for(lambda: listener.reading, "reading again")
    finally:
        broker.stop()


def test_the_thread_needs_no_broker_to_start_and_to_stop(site, closed_port):
    listener = site.listener(Cluster(f"127.0.0.1:{closed_port}").settings("nowhere"))
    listener.stop()
    assert (listener.reading, listener.lag) == (False, {})
