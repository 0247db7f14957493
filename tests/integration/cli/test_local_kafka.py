import socket

import pytest
from kafka import KafkaAdminClient

from integration.cli import local_kafka
from integration.cli.local_kafka import LocalBroker, local_broker
from integration.errors import ConfigError


def test_a_broker_runs_on_loopback_alone_and_ends(tmp_path):
    with local_broker(tmp_path) as broker:
        admin = KafkaAdminClient(bootstrap_servers=broker.servers)
        admin.create_topics({"t": {"num_partitions": 3, "replication_factor": 1}})
        (topic,) = admin.describe_topics(["t"])
        admin.close()
        assert len(topic["partitions"]) == 3
        assert broker.servers == f"127.0.0.1:{broker.port}"
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", broker.port), 1)


def test_what_does_not_start_is_told_with_its_log(tmp_path):
    broker = LocalBroker(tmp_path, options=["--no-such-option"])
    with pytest.raises(ConfigError, match=r"does not start; see .*broker\.log") as error:
        broker.start()
    assert error.value.reason == "kafka-missing"
    assert "--no-such-option" in (tmp_path / "broker.log").read_text()


def test_without_its_package_the_cure_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(local_kafka, "PACKAGE", "no_such_package")
    with pytest.raises(ConfigError, match="bootstrap servers"):
        LocalBroker(tmp_path)
