import json
from uuid import UUID, uuid4

import pytest
from amqp.exceptions import AccessRefused, NotAllowed
from kombu.exceptions import OperationalError

from integration.config import Settings
from integration.queue import DELIVER, QUEUE, SCORE, Bell, make_celery, queue_depth, ring_now
from tests.patience import PATIENCE_S

NOWHERE = "amqp://guest:guest@127.0.0.1:1//"


@pytest.fixture
def celery(tmp_path):
    app = make_celery(Settings(data_dir=tmp_path))
    with app.connection_for_write() as connection:
        channel = connection.default_channel
        channel.queue_declare(QUEUE)
        channel.queue_purge(QUEUE)
    return app


def waiting(app):
    with app.connection_for_read() as connection, connection.SimpleQueue(QUEUE) as queue:
        while True:
            try:
                message = queue.get_nowait()
            except queue.Empty:
                return
            message.ack()
            yield message.headers["task"], json.loads(message.body)[0]


def test_a_task_carries_its_id_and_nothing_else(celery):
    id_ = uuid4()
    ring_now(celery, SCORE, id_)
    assert queue_depth(celery) == 1
    assert list(waiting(celery)) == [(SCORE, [str(id_)])]
    assert queue_depth(celery) == 0


def test_a_task_may_carry_several(celery):
    ids = [uuid4() for _ in range(3)]
    ring_now(celery, SCORE, *ids)
    assert list(waiting(celery)) == [(SCORE, [str(id_) for id_ in ids])]


def test_the_bell_rings_everything_before_it_closes(celery):
    bell = Bell(celery)
    ids = [UUID(int=i) for i in range(20)]
    bell.ring(SCORE, ids[:10])
    bell.ring(DELIVER, ids[10:])
    bell.close(PATIENCE_S)
    rung = list(waiting(celery))
    assert rung == [(SCORE, [str(i)]) for i in ids[:10]] + [(DELIVER, [str(i)]) for i in ids[10:]]


def test_without_a_broker_the_bell_neither_fails_nor_waits(caplog):
    bell = Bell(make_celery(Settings(broker_url=NOWHERE)))
    id_ = uuid4()
    bell.ring(SCORE, [id_])
    bell.close(PATIENCE_S)
    assert f"ring lost task={SCORE} id={id_}" in caplog.text
    assert not bell._thread.is_alive()


def test_a_ring_that_must_arrive_says_when_it_cannot():
    celery = make_celery(Settings(broker_url=NOWHERE))
    with pytest.raises(OperationalError):
        ring_now(celery, SCORE, uuid4())
    with pytest.raises(OperationalError):
        queue_depth(celery)


@pytest.mark.parametrize("refusal", [AccessRefused, NotAllowed])
def test_a_broker_that_does_not_let_us_in_is_one_that_is_away(celery, monkeypatch, caplog, refusal):
    def refuse(*_, **__):
        raise refusal("connection limit reached")

    monkeypatch.setattr(celery, "send_task", refuse)
    monkeypatch.setattr(celery, "connection_for_write", refuse)
    with pytest.raises(OperationalError):
        queue_depth(celery)
    bell = Bell(celery)
    bell.ring(SCORE, [UUID(int=1), UUID(int=2)])
    bell.close(PATIENCE_S)
    assert caplog.text.count("ring lost") == 2


@pytest.mark.parametrize(
    ("url", "option"),
    [
        (None, ("polling_interval", 0.005)),
        ("redis://127.0.0.1:6379/0", ("visibility_timeout", 120)),
        ("amqp://127.0.0.1//", ("max_retries", 1)),
    ],
)
def test_each_broker_gets_the_options_it_needs(url, option):
    conf = make_celery(Settings(broker_url=url)).conf
    assert option in conf.broker_transport_options.items()
    assert conf.task_acks_late
    assert conf.task_reject_on_worker_lost
    assert conf.accept_content == ["json"]
    assert conf.worker_proc_alive_timeout >= 60  # Celery's 4 s end a child that loads models
