"""An older backup is put back: what is sent again doubles nothing at the FHIR server."""

import json
from datetime import UTC, datetime

import httpx
import pytest
from click.testing import CliRunner

from db.store import Store
from integration.cli import cli
from integration.fhir.client import FhirClient
from integration.hl7v2.framing import Frame
from integration.intake import Hl7Intake
from integration.senders import Peer, Sender, Senders
from model.assessor import Assessor
from tests.databases import new_database
from tests.hl7_messages import MSH, twelve, wcm
from tests.patience import PATIENCE_S
from worker.pipeline import Retry, Rules, deliver, score_exam

RETRY = Retry(max_attempts=3, backoff_s=0.001, lease_s=60)
ANYBODY = Senders((), Sender("", "ascii", None), closed=False)
SAMPLES = "^".join(map(str, [0, 1, -2, 40, 3, 0, -1, 2] * 650))


@pytest.fixture
def process(fhir_server):
    """A function that takes messages in and brings what waits to the FHIR server."""
    client, assessor = FhirClient(fhir_server), Assessor.load()
    destinations = {"fhir": client.post_transaction}

    def run(url, *patients):
        store = Store.open(url)
        intake = Hl7Intake(store, None, ANYBODY)
        try:
            for patient in patients:
                raw = wcm(
                    *twelve(SAMPLES),
                    pid=f"PID|1||{patient}^^^HOSP^MR",
                    msh=MSH.replace("C1", patient),
                )
                assert b"MSA|AA" in intake.answer(Frame(raw), Peer("127.0.0.1"))
            now = datetime.now(UTC)
            for exam_id in store.claim_waiting_exams(now, 9):
                for id_ in score_exam(
                    store, assessor, exam_id, Rules(destinations=("fhir",), max_attempts=3)
                ):
                    deliver(store, destinations, id_, RETRY)
            return {exam.id: exam.state for exam in store.recent_exams(9)}
        finally:
            store.close()

    yield run
    client.close()


def reports_at(fhir_server, exam_id):
    found = httpx.get(
        f"{fhir_server}/DiagnosticReport", params={"identifier": str(exam_id)}, timeout=PATIENCE_S
    )
    return len(found.json().get("entry", []))


def test_messages_sent_again_after_a_restore_double_nothing(
    process, fhir_server, tmp_path, monkeypatch
):
    monkeypatch.setenv("HISBUNDLE_DATA_DIR", str(tmp_path))
    url = new_database(tmp_path / "hisbundle.db")
    run = CliRunner().invoke
    process(url, "R-1")
    made = run(cli, ["backup", str(tmp_path / "copy"), "--json"])
    head = json.loads(made.stdout)["audit_head"]
    done = process(url, "R-2")
    assert [*done.values()] == ["unscorable", "unscorable"]  # which is reported too
    assert [reports_at(fhir_server, id_) for id_ in done] == [1, 1]

    restored = run(cli, ["restore", str(tmp_path / "copy"), "--yes", "--json"])
    told = json.loads(restored.stdout)
    assert (restored.exit_code, told["audit"]["fault"]) == (0, None)
    again = process(url, "R-1", "R-2")  # nobody knows any more who had which answer

    assert again == done
    assert [reports_at(fhir_server, id_) for id_ in done] == [1, 1]
    verified = run(cli, ["audit", "verify", "--head", head, "--json"])
    assert (verified.exit_code, json.loads(verified.stdout)["fault"]) == (0, None)
