import pytest
from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka.errors import (
    GroupAuthorizationFailedError,
    KafkaTimeoutError,
    SaslAuthenticationFailedError,
)

from integration.errors import TryLater
from integration.kafka import health
from integration.kafka.health import Lag, TopicHealth, Use, lags_of, topics_of, uses_of
from tests.kafka_broker import Cluster


def test_topics_that_are_there_and_one_that_is_not(kafka_cluster):
    topic = kafka_cluster.topic(3)
    settings = kafka_cluster.settings(topic, dead_letter_topic="no-such-topic")
    found, missing = topics_of(settings, uses_of(settings))
    assert found == TopicHealth(topic, Use.READ, 3, None)
    assert (missing.name, missing.use, missing.partitions) == ("no-such-topic", Use.WRITE, 0)
    assert "create it" in missing.problem


def test_how_far_a_group_is_behind(kafka_cluster):
    topic = kafka_cluster.topic(2)
    settings = kafka_cluster.settings(topic)
    for _ in range(3):
        kafka_cluster.send(topic, b"x", partition=1)
    consumer = KafkaConsumer(bootstrap_servers=settings.bootstrap_servers, group_id=settings.group)
    consumer.assign([TopicPartition(topic, 1)])
    consumer.commit({TopicPartition(topic, 1): OffsetAndMetadata(2, "", -1)})
    consumer.close()
    lags = lags_of(settings)
    assert lags == [Lag(topic, 0, None, 0), Lag(topic, 1, 2, 3)]
    assert [lag.records for lag in lags] == [0, 1]


def test_a_cluster_that_cannot_be_reached_is_told(closed_port):
    settings = Cluster(f"127.0.0.1:{closed_port}").settings("t")
    with pytest.raises(TryLater, match="kafka-unavailable: the brokers do not answer"):
        topics_of(settings, {"t": Use.READ})


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (SaslAuthenticationFailedError(), "name or password"),
        (GroupAuthorizationFailedError(), "add an ACL"),
        (KafkaTimeoutError(), "do not answer"),
    ],
)
def test_what_the_broker_denies_is_told_in_plain_words(monkeypatch, error, words):
    def refuse(**_):
        raise error

    monkeypatch.setattr(health, "KafkaAdminClient", refuse)
    with pytest.raises(TryLater, match=words):
        lags_of(Cluster("127.0.0.1:9").settings("t"))


class Administrator:
    """A broker that answers about one topic."""

    def __init__(self, **topic):
        good = {"name": "t", "error_code": 0, "partitions": [{"leader_id": 1}]}
        self.topic = good | {"authorized_operations": None} | topic

    def describe_topics(self, _):
        return [self.topic]

    def close(self):
        pass


@pytest.mark.parametrize(
    ("topic", "problem"),
    [
        ({}, None),
        ({"authorized_operations": ["READ", "DESCRIBE"]}, None),
        ({"authorized_operations": ["DESCRIBE"]}, "we may not read it: add an ACL (READ)"),
        ({"error_code": 29}, "we may not look at it: add an ACL (DESCRIBE)"),
        ({"error_code": 17}, "the broker says InvalidTopicError"),
        (
            {"partitions": [{"leader_id": -1}]},
            "partitions are without a leader: look after the brokers",
        ),
        ({"name": "other"}, "the broker says nothing of it"),
    ],
)
def test_what_is_wrong_with_a_topic(monkeypatch, topic, problem):
    monkeypatch.setattr(health, "KafkaAdminClient", lambda **_: Administrator(**topic))
    (found,) = topics_of(Cluster("127.0.0.1:9").settings("t"), {"t": Use.READ})
    assert found.problem == problem
