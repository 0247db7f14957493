"""Results to a topic: nothing lost or doubled in effect when broker or worker die."""

import signal

import orjson
import pytest

from integration.cli.local_kafka import LocalBroker
from model.simulate import simulate
from tests.kafka_broker import Cluster
from tests.patience import PATIENCE_S
from tests.ports import free_port

TOPIC = "results"
WORKER_DIES_AFTER_WRITING = """
import os, sys
from integration.kafka.writer import Writer
from worker import context
from worker.pipeline import Retry
context.Retry = lambda *args, lease_s: Retry(*args, lease_s=1)  # its heir need not wait for long
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
    broker = LocalBroker(tmp_path, free_port())
    yield broker
    broker.stop()


@pytest.fixture
def site(install, broker):
    to = {"KIND": "kafka", "BOOTSTRAP_SERVERS": broker.servers, "TOPIC": TOPIC, "FORMAT": "event"}
    return install(
        **{f"DESTINATIONS__BUS__{name}": value for name, value in to.items()},
        DESTINATIONS__BUS__TIMEOUT_S="5",
    )


def written(broker, enough):
    """Return (event's id, exam's id) of each record, once the exams written of are enough."""

    def ids(records):
        return [(dict(r.headers)["ce_id"], orjson.loads(r.value)["id"]) for r in records]

    records = Cluster(broker.servers).read_until(TOPIC, lambda found: enough(ids(found)))
    assert len({record.key for record in records}) == 1  # one patient, one partition, one order
    return ids(records)


def exams_in(written):
    return {exam_id for _, exam_id in written}


def test_a_broker_that_dies_gets_everything_once_it_is_back(site, broker, message):
    broker.start()
    Cluster(broker.servers).topic(name=TOPIC)
    site.serve()
    site.send(message(simulate("normal", seed=0), "O0"))
    (first,) = site.settled(1)
    assert exams_in(written(broker, enough=any)) == {first["id"]}
    broker.stop()
    for n in range(1, 4):
        site.send(message(simulate("normal", seed=n), f"O{n}"))
    site.wait_for(lambda: site.status()["deliveries"]["pending"] == 3, "three to wait")
    broker.start()  # it has forgotten what it held: what comes now has waited here
    Cluster(broker.servers).topic(name=TOPIC)
    exams = site.settled(4)
    assert {exam["state"] for exam in exams} == {"delivered"}
    waited = {exam["id"] for exam in exams} - {first["id"]}
    assert exams_in(written(broker, lambda found: len(exams_in(found)) >= 3)) == waited


def test_a_worker_that_dies_before_it_could_note_the_yes_sends_the_same_event_again(
    site, broker, message
):
    broker.start()
    Cluster(broker.servers).topic(name=TOPIC)
    site.serve("--no-worker")
    site.send(message(simulate("normal", seed=1), "O1"))
    assert site.python(WORKER_DIES_AFTER_WRITING).wait(PATIENCE_S) == -signal.SIGKILL
    site.start("worker")
    (exam,) = site.settled(1)
    assert exam["state"] == "delivered"
    first, *others = written(broker, lambda found: len(found) >= 2)
    assert set(others) == {first}
