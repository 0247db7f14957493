import json

import pytest
from click.testing import CliRunner

from integration.cli.kafka import kafka
from integration.errors import ConfigError


@pytest.fixture
def settings(kafka_cluster, monkeypatch, tmp_path):
    topic = kafka_cluster.topic(2)
    settings = kafka_cluster.settings(topic)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HISBUNDLE_KAFKA__BOOTSTRAP_SERVERS", settings.bootstrap_servers)
    monkeypatch.setenv("HISBUNDLE_KAFKA__GROUP", settings.group)
    monkeypatch.setenv("HISBUNDLE_KAFKA__DEAD_LETTER_TOPIC", settings.dead_letter_topic)
    monkeypatch.setenv("HISBUNDLE_KAFKA__TOPICS", json.dumps({topic: {}}))
    return settings


def check(*options):
    return CliRunner().invoke(kafka, ["check", *options])


def test_a_topic_that_is_missing_is_a_fault(settings):
    done = check()
    assert done.exit_code == 1
    assert f"{settings.dead_letter_topic} (write, 0 partitions): it does not exist" in done.output


def test_all_is_told_in_words_and_as_json(kafka_cluster, settings):
    kafka_cluster.topic(name=settings.dead_letter_topic)
    (topic,) = settings.topics
    kafka_cluster.send(topic, b"x", partition=1)
    done = check()
    assert done.exit_code == 0
    assert done.output.splitlines() == [
        f"{topic} (read, 2 partitions): ok",
        f"{settings.dead_letter_topic} (write, 1 partitions): ok",
        f"{topic} 0 of group {settings.group}: nothing committed yet, end 0, 0 behind",
        f"{topic} 1 of group {settings.group}: nothing committed yet, end 1, 1 behind",
    ]
    told = json.loads(check("--json").output)
    assert [topic["problem"] for topic in told["topics"]] == [None, None]
    assert [lag["records"] for lag in told["lag"]] == [0, 1]


def test_without_a_cluster_the_setting_is_named(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert isinstance(check().exception, ConfigError)
