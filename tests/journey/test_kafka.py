"""ECG events from a broker's topic through real processes, which are killed and come and go."""

import signal
import threading

from tests.ecg_events import simulated_event
from tests.patience import PATIENCE_S
from tests.ports import free_port

CONSUMER_DIES_BETWEEN_THE_COMMITS = """
import os
from kafka import KafkaConsumer
def dying(*args, **kwargs):
    os.kill(os.getpid(), 9)
KafkaConsumer.commit = dying
from integration.cli import main
main()
"""


def test_an_event_becomes_a_report_and_the_listener_leaves_cleanly(
    install_reader, kafka_cluster, topic
):
    installation = install_reader()
    process = installation.serve()
    kafka_cluster.send(topic, simulated_event("inferior-st-elevation", seed=1))
    (exam,) = installation.settled(1)
    assert exam["state"] == "delivered"
    status, report = installation.get(f"/fhir/DiagnosticReport/{exam['id']}")
    assert status == 200
    assert report["subject"]["identifier"]["value"] == "ZZCANARY-4711"
    process.terminate()
    assert process.wait(PATIENCE_S) == 0
    assert sum(kafka_cluster.committed(install_reader.settings.group).values()) == 1
    assert "kafka partitions revoked" in installation.log.read_text()


def send(kafka_cluster, topic, numbers):
    """Send events, each with a key of its own, that spread over the partitions."""
    for n in numbers:
        kafka_cluster.send(topic, simulated_event(seed=n), key=str(n).encode())


def assert_each_is_assessed_once(installation, count):
    exams = installation.settled(count)
    assert len(exams) == count
    assert {exam["state"] for exam in exams} == {"delivered"}
    assert {exam["control_id"] for exam in exams} == {f"event-{n}" for n in range(count)}
    assert installation.status()["messages"] == {"accepted": count, "not-ecg": 0, "refused": 0}


def test_a_consumer_dies_between_the_databases_commit_and_the_offsets(
    install_reader, kafka_cluster, topic
):
    installation = install_reader()
    send(kafka_cluster, topic, range(6))
    installation.run("migrate")
    dying = installation.python(CONSUMER_DIES_BETWEEN_THE_COMMITS, "serve", "--no-worker")
    assert dying.wait(PATIENCE_S) == -signal.SIGKILL
    stored = installation.status()["messages"]["accepted"]
    assert stored
    assert kafka_cluster.committed(install_reader.settings.group) == {}
    installation.serve()
    send(kafka_cluster, topic, range(6, 9))
    assert_each_is_assessed_once(installation, 9)
    assert installation.log.read_text().count("duplicate=True") >= stored


def test_consumers_that_come_and_go_under_load_share_the_partitions(
    install_reader, kafka_cluster, topic
):
    installation = install_reader()
    first = installation.serve("--no-worker")
    sender = threading.Thread(target=send, args=(kafka_cluster, topic, range(60)))
    sender.start()
    ports = {f"HISBUNDLE_{name}__PORT": str(free_port()) for name in ("MLLP", "HTTP")}
    second = installation.start("serve", "--no-worker", **ports)
    installation.wait_for(
        lambda: installation.log.read_text().count("kafka partitions assigned:") >= 2,
        "the second to join",
    )
    sender.join()
    first.terminate()
    assert first.wait(PATIENCE_S) == 0
    send(kafka_cluster, topic, range(60, 70))
    installation.start("worker")
    assert_each_is_assessed_once(installation, 70)
    assert second.poll() is None
