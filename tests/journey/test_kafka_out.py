"""Results to a topic: nothing lost or doubled in effect when broker or worker die."""

import signal

import orjson
import pytest

from integration.cli.local_kafka import LocalBroker
from model.simulate import simulate
from tests.kafka_broker import Cluster

TOPIC = "results"
WORKER_DIES_AFTER_WRITING = """
import os, sys
from integration.kafka.writer import Writer
write = Writer.write
def dying(self, *args):
    write(self, *args)
    os.kill(os.getpid(), 9)
Writer.write = dying
from worker.__main__ import main
sys.exit(main([]))
"""


@pytest.fixture
def broker(tmp_path):
    broker = LocalBroker(tmp_path)
    yield broker
    broker.stop()


@pytest.fixture
def site(install, broker):
    to = {"KIND": "kafka", "BOOTSTRAP_SERVERS": broker.servers, "TOPIC": TOPIC, "FORMAT": "event"}
    return install(
        **{f"DESTINATIONS__BUS__{name}": value for name, value in to.items()},
        DESTINATIONS__BUS__TIMEOUT_S="2",
        WORKER__TIME_LIMIT_S="10",
        WORKER__RING_GRACE_S="11",
    )


def events(broker, count):
    records = Cluster(broker.servers).read(TOPIC, count)
    assert len({record.key for record in records}) == 1  # one patient, one partition, one order
    return [(dict(r.headers)["ce_id"], orjson.loads(r.value)["id"]) for r in records]


def test_a_broker_that_dies_gets_everything_once_it_is_back(site, broker, message):
    broker.start()
    Cluster(broker.servers).topic(name=TOPIC)
    site.serve()
    site.send(message(simulate("normal", seed=0), "O0"))
    (first,) = site.settled(1)
    assert [id_ for _, id_ in events(broker, 1)] == [first["id"]]
    broker.stop()
    for n in range(1, 4):
        site.send(message(simulate("normal", seed=n), f"O{n}"))
    site.wait_for(lambda: site.status()["deliveries"]["pending"] == 3, "three to wait")
    broker.start()  # it has forgotten what it held: what comes now has waited here
    Cluster(broker.servers).topic(name=TOPIC)
    exams = site.settled(4)
    assert {exam["state"] for exam in exams} == {"delivered"}
    waited = {exam["id"] for exam in exams} - {first["id"]}
    assert {id_ for _, id_ in events(broker, 3)} == waited


def test_a_worker_that_dies_before_it_could_note_the_yes_sends_the_same_event_again(
    site, broker, message
):
    broker.start()
    Cluster(broker.servers).topic(name=TOPIC)
    site.serve("--no-worker")
    site.send(message(simulate("normal", seed=1), "O1"))
    assert site.python(WORKER_DIES_AFTER_WRITING).wait(90) == -signal.SIGKILL
    site.start("worker")
    (exam,) = site.settled(1)
    assert exam["state"] == "delivered"
    first, again = events(broker, 2)
    assert first == again
