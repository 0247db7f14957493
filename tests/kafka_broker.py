"""A broker that is not ours, as a process, or the cluster of HISBUNDLE_TEST_KAFKA_URL."""

import os
from contextlib import suppress
from uuid import uuid4

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import TopicAlreadyExistsError

from integration.cli.local_kafka import LocalBroker, local_broker
from integration.kafka.settings import KafkaSettings, TopicSettings
from tests.patience import PATIENCE_S, wait_for
from tests.ports import free_port

JOIN_S = 6  # session timeout; Tansu lets a group wait for half of it


class Cluster:
    """What a test does at a cluster: topics of its own, records in and out."""

    def __init__(self, servers: str, broker: LocalBroker | None = None):
        self.servers, self.broker = servers, broker

    def settings(self, *topics, **changes):
        """Settings that read `topics`; group and dead letters are this call's own."""
        name = uuid4().hex[:12]
        values = {
            "bootstrap_servers": self.servers,
            "group": f"group-{name}",
            "dead_letter_topic": f"dead-{name}",
            "session_timeout_s": JOIN_S,
            "topics": {topic: TopicSettings() for topic in topics},
        }
        return KafkaSettings(**(values | changes))

    def topic(self, partitions=1, name=None):
        name = name or f"topic-{uuid4().hex[:12]}"
        options = {"num_partitions": partitions, "replication_factor": 1}
        admin = KafkaAdminClient(bootstrap_servers=self.servers)
        try:
            # Who reads or writes there already, and asks first after a restart, makes it too.
            with suppress(TopicAlreadyExistsError):
                admin.create_topics({name: options})
        finally:
            admin.close()
        return name

    def producer(self, **arguments):
        return KafkaProducer(bootstrap_servers=self.servers, max_request_size=2**26, **arguments)

    def send(self, topic, *values, key=b"k", headers=(), partition=None, **arguments):
        """Send values and return their offsets."""
        producer = self.producer(**arguments)
        try:
            more = {"key": key, "headers": list(headers), "partition": partition}
            sent = [producer.send(topic, value, **more) for value in values]
            return [one.get(PATIENCE_S).offset for one in sent]
        finally:
            producer.close()

    def read(self, topic, count):
        """Return the first records of a topic of one partition."""
        return self.read_until(topic, lambda found: len(found) >= count)[:count]

    def read_until(self, topic, enough):
        """Return the records of a topic of one partition, from the first, once they are enough."""
        consumer = KafkaConsumer(
            bootstrap_servers=self.servers,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            max_partition_fetch_bytes=2**26,
        )
        found = []

        def look():
            for records in consumer.poll(200).values():
                found.extend(records)
            return enough(found)

        try:
            consumer.assign([TopicPartition(topic, 0)])
            wait_for(look, "records", pause_s=0)
        finally:
            consumer.close()
        return found

    def committed(self, group):
        """Return partition -> offset that a group has committed."""
        admin = KafkaAdminClient(bootstrap_servers=self.servers)
        try:
            found = admin.list_group_offsets(group)[group]
        finally:
            admin.close()
        return {place: at.offset for place, at in found.items() if at.offset >= 0}


@pytest.fixture(scope="session")
def kafka_cluster(tmp_path_factory):
    """A cluster that lives as long as this process of the test run."""
    if servers := os.environ.get("HISBUNDLE_TEST_KAFKA_URL"):
        yield Cluster(servers)
        return
    with local_broker(tmp_path_factory.mktemp("kafka"), free_port()) as broker:
        yield Cluster(broker.servers, broker)
