"""The stop switch and silent mode, as the tasks keep them."""

from datetime import UTC, datetime

import pytest

from db.oversight import ModelStop
from db.records import ExamState
from integration.config import Settings
from integration.queue import DELIVER, SCORE, make_celery
from tests.worker.conftest import MODEL
from worker.context import Context
from worker.pipeline import Rules, score_exam
from worker.sweep import Doorbell, sweep_once
from worker.tasks import register


class Tasks(dict):
    """Stands for Celery: name -> task."""

    def task(self, *, name):
        return lambda function: self.setdefault(name, function)


@pytest.fixture
def tasks(store, scorer):
    """A function that returns the tasks of a worker with these settings."""
    contexts = []

    def make(**settings):
        own = Tasks()
        context = Context(Settings(**settings), make_celery(Settings()))
        contexts.append(context)
        scorer.models = (MODEL,)
        context.__dict__ |= {"store": store, "assessor": scorer, "destinations": {}}
        register(own, context)
        return own

    yield make
    for context in contexts:
        context.bell.close()


def test_a_stopped_model_scores_nothing_until_it_is_started(store, scorer, received, tasks):
    exam_id, score = received(), tasks()[SCORE]
    store.stop_model(ModelStop("resting@1", datetime.now(UTC), "ops", "false alarms"))
    score(str(exam_id))
    waiting = store.load_exam(exam_id)
    assert (waiting.state, waiting.attempts, scorer.asked) == (ExamState.RECEIVED, 0, 0)
    store.start_model("resting@1", "ops", datetime.now(UTC))
    score(str(exam_id))
    assert store.load_exam(exam_id).state is ExamState.DELIVERED


def test_the_stop_of_another_version_is_nothing_to_this_worker(store, received, tasks):
    exam_id = received()
    store.stop_model(ModelStop("resting@2", datetime.now(UTC), "ops", "x"))
    tasks()[SCORE](str(exam_id))
    assert store.load_exam(exam_id).state is ExamState.DELIVERED


def test_silent_mode_scores_and_sends_nothing(store, received, tasks):
    exam_id, silent = received(), tasks(mode="silent")
    silent[SCORE](str(exam_id))
    assert store.rehearsal().assessed == 1
    assert store.deliveries_of(exam_id) == ()


def test_silent_mode_holds_back_what_was_to_be_sent(store, scorer, received, tasks):
    exam_id = received()
    (id_,) = score_exam(store, scorer, exam_id, Rules(destinations=("fhir",), max_attempts=2))
    tasks(mode="silent")[DELIVER](str(id_))
    (delivery,) = store.deliveries_of(exam_id)
    assert (delivery.state, delivery.attempts) == ("pending", 0)
    rung = []
    doorbell = Doorbell(lambda: 0, lambda task, *ids: rung.append(task))
    assert sweep_once(store, doorbell, 0, silent=True) == 0
    assert sweep_once(store, doorbell, 0) == 1
    assert rung == [DELIVER]
