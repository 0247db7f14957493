import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from kafka.errors import KafkaError, KafkaTimeoutError, MessageSizeTooLargeError

from integration.cli.local_kafka import LocalBroker
from integration.kafka import writer
from integration.kafka.connection import client_arguments
from integration.kafka.writer import Writer
from tests.kafka_broker import Cluster
from tests.patience import PATIENCE_S
from tests.ports import free_port


def test_the_place_of_a_record_is_told(kafka_cluster):
    topic = kafka_cluster.topic()
    own = Writer(client_arguments(kafka_cluster.settings()), 20)
    places = [own.write(topic, b"k", value, [("h", b"1")]) for value in (b"a", None)]
    own.close()
    assert places == [f"{topic} 0:0", f"{topic} 0:1"]
    first, second = kafka_cluster.read(topic, 2)
    assert (first.key, first.value, first.headers) == (b"k", b"a", [("h", b"1")])
    assert second.value is None


def test_after_a_failure_the_next_record_connects_anew(tmp_path):
    broker = LocalBroker(tmp_path, free_port())
    cluster = Cluster(broker.servers, broker)
    arguments = client_arguments(cluster.settings()) | {"bootstrap_timeout_ms": 1000}
    own = Writer(arguments, 4)
    broker.start()
    try:
        topic = cluster.topic()
        assert own.write(topic, b"k", b"1", []) == f"{topic} 0:0"
        broker.stop()
        with pytest.raises(KafkaError):
            own.write(topic, b"k", b"2", [])
        broker.start()
        cluster.topic(name=topic)
        assert own.write(topic, b"k", b"3", []) == f"{topic} 0:0"
        own.close()
    finally:
        broker.stop()


class Slow:
    """A producer that takes all the time that it is given, for each step."""

    def __init__(self, **given):
        self.given = given
        time.sleep(given["bootstrap_timeout_ms"] / 1000)

    def send(self, *_, **__):
        time.sleep(self.given["max_block_ms"] / 1000)
        return self

    def get(self, timeout):
        time.sleep(timeout)
        raise KafkaTimeoutError

    def close(self, timeout):
        pass


def test_all_steps_end_in_time_together(monkeypatch):
    monkeypatch.setattr(writer, "KafkaProducer", Slow)
    own = Writer({"bootstrap_timeout_ms": 10_000}, 0.8)
    start = time.monotonic()
    with pytest.raises(KafkaTimeoutError):
        own.write("t", b"k", b"v", [])
    assert 0.7 < time.monotonic() - start < 1.5


def test_who_connects_keeps_no_other_waiting_for_longer(monkeypatch):
    going_on, closed = threading.Event(), threading.Event()

    class Stuck(Slow):
        def __init__(self, **_):
            going_on.wait()

        def close(self, timeout):
            closed.set()

    monkeypatch.setattr(writer, "KafkaProducer", Stuck)
    own = Writer({}, 0.4)

    def write(_):
        with pytest.raises(KafkaTimeoutError, match="no connection"):
            own.write("t", b"k", b"v", [])

    start = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert time.monotonic() - start < 1
    going_on.set()
    assert closed.wait(PATIENCE_S)  # nobody waits for it any more


def test_what_is_too_large_leaves_the_connection_alone(kafka_cluster, monkeypatch):
    monkeypatch.setattr(writer, "_FITS", 1000)
    topic = kafka_cluster.topic()
    own = Writer(client_arguments(kafka_cluster.settings()), 20)
    with pytest.raises(MessageSizeTooLargeError):
        own.write(topic, b"k", bytes(2000), [])
    assert own.write(topic, b"k", b"small", []) == f"{topic} 0:0"
    own.close()
