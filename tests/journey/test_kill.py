"""kill -9 at the worst moments: nothing acknowledged is lost, nothing is reported twice."""

import signal

import httpx
import pytest

from integration.hl7v2.ack import read_acknowledgement
from model.simulate import simulate
from tests.patience import PATIENCE_S

# Real processes, with one method replaced by itself and a kill.
LISTENER_DIES_AFTER_COMMIT = """
import os
from db.store import Store
accept_all = Store.accept_all
def dying(*args, **kwargs):
    accept_all(*args, **kwargs)
    os.kill(os.getpid(), 9)
Store.accept_all = dying
from integration.cli import main
main()
"""
WORKER_DIES_SCORING = """
import os, sys
from model.assessor import Assessor
score = Assessor.score
def dying(self, ecg):
    score(self, ecg)
    os.kill(os.getpid(), 9)
Assessor.score = dying
from worker.__main__ import main
sys.exit(main([]))
"""
WORKER_DIES_AFTER_POSTING = """
import os, sys
from integration.fhir.client import FhirClient
from worker import context
from worker.pipeline import Retry
context.Retry = lambda *args, lease_s: Retry(*args, lease_s=1)  # its heir need not wait for long
post = FhirClient.post_transaction
def dying(self, bundle):
    post(self, bundle)
    os.kill(os.getpid(), 9)
FhirClient.post_transaction = dying
from worker.__main__ import main
sys.exit(main([]))
"""


def test_listener_dies_between_commit_and_answer(install, message):
    installation = install()
    raw = message(simulate("normal", seed=1), "K1")
    installation.run("migrate")
    dying = installation.python(LISTENER_DIES_AFTER_COMMIT, "serve", "--no-worker")
    installation.wait_for(installation.ready, "the listener")
    assert installation.send(raw) == b""
    assert dying.wait(PATIENCE_S) == -signal.SIGKILL
    # The sender never heard, so it sends again; that makes no second ECG.
    installation.serve()
    assert read_acknowledgement(installation.send(raw)).code == "AA"
    assert len(installation.settled(1)) == 1
    assert installation.status()["messages"]["accepted"] == 1


def test_worker_dies_while_it_scores(install, message):
    installation = install()
    installation.serve("--no-worker")
    installation.send(message(simulate("normal", seed=2), "K2"))
    for _ in range(2):
        assert installation.python(WORKER_DIES_SCORING).wait(PATIENCE_S) == -signal.SIGKILL
        assert installation.status()["exams"]["received"] == 1
    installation.start("worker")
    (exam,) = installation.settled(1)
    assert exam["state"] == "delivered"


def test_an_ecg_that_always_kills_its_worker_is_put_aside(install, message):
    installation = install(WORKER__MAX_SCORING_ATTEMPTS="1")
    installation.serve("--no-worker")
    installation.send(message(simulate("normal", seed=2), "K3"))
    assert installation.python(WORKER_DIES_SCORING).wait(PATIENCE_S) == -signal.SIGKILL
    installation.python(WORKER_DIES_SCORING)  # it would die again, were it allowed to score
    (exam,) = installation.settled(1)
    assert (exam["state"], exam["reason"]) == ("failed", "scoring-crashed")


def test_worker_dies_between_the_other_sides_yes_and_its_record(install, message, fhir_server):
    installation = install(
        DESTINATIONS__EHR__KIND="fhir",
        DESTINATIONS__EHR__BASE_URL=fhir_server,
    )
    installation.serve("--no-worker")
    installation.send(message(simulate("normal", seed=4), "K4"))
    assert installation.python(WORKER_DIES_AFTER_POSTING).wait(PATIENCE_S) == -signal.SIGKILL
    installation.start("worker")
    (exam,) = installation.settled(1)
    assert exam["state"] == "delivered"
    found = httpx.get(
        f"{fhir_server}/DiagnosticReport", params={"identifier": exam["id"]}, timeout=PATIENCE_S
    )
    assert found.json()["total"] == 1


def test_the_supervised_worker_is_killed_again_and_again(install, message):
    installation = install()
    server = installation.serve()
    for n in range(12):
        answer = installation.send(message(simulate("normal", seed=n), f"M{n}"))
        assert read_acknowledgement(answer).code == "AA"
        if n % 4 == 0:
            for pid in installation.wait_for(lambda: installation.children(server), "a worker"):
                installation.kill(pid)
    exams = installation.settled(12)
    assert {e["state"] for e in exams} == {"delivered"}
    assert len({e["id"] for e in exams}) == 12


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_no_worker_outlives_its_listener(install, how):
    installation = install()
    server = installation.serve()
    (worker,) = installation.wait_for(lambda: installation.children(server), "the worker")
    server.send_signal(how)
    server.wait(PATIENCE_S)
    installation.wait_for(lambda: not installation.alive(worker), "the worker to end")
