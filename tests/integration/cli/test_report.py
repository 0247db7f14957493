from datetime import UTC, datetime

import pytest
from click.testing import CliRunner

from db.clinical import Incoming
from db.records import MessageState, NewAssessment, NewExam, NewMessage
from db.store import Store
from integration.cli import cli
from integration.fhir.report import build_report
from tests.databases import new_database

NOW = datetime(2026, 3, 1, 15, 0, tzinfo=UTC)


@pytest.fixture
def ecg(tmp_path, monkeypatch, exam, findings_of):
    """Id of a reported ECG."""
    monkeypatch.setenv("HISBUNDLE_DATA_DIR", str(tmp_path))
    url = new_database(tmp_path / "hisbundle.db")
    store = Store.open(url)
    new = NewExam(exam.patient, exam.ecg, exam.acquired)
    message = NewMessage.whole("mllp", "", "1", b"MSH|", NOW)
    (id_,) = store.accept(Incoming(message, MessageState.ACCEPTED, None, b"AA", [new])).exam_ids
    findings = findings_of("flagged")
    report = build_report(store.load_exam(id_), findings, issued=NOW)
    store.save_assessment(id_, NewAssessment(findings, NOW, report, ("fhir",)))
    store.close()
    return str(id_)


def run(*arguments):
    return CliRunner().invoke(cli, ["report", *arguments])


def test_decisions_and_what_became_of_them(ecg):
    assert run("confirm", ecg, "--by", "urn:x|7").output == "version 2: final\n"
    done = run("override", ecg, "--by", "8", "--name", "Dr. B", "--text", "AF", "--version", "2")
    assert done.output == "version 3: corrected\n"
    assert run("reject", ecg, "--by", "8").output == "version 4: entered-in-error\n"
    lines = run("show", ecg).output.splitlines()
    assert lines[0] == "1  preliminary  2026-03-01 15:00:00+00:00  fhir superseded"
    assert [line.split()[:2] for line in lines] == [
        ["1", "preliminary"],
        ["2", "final"],
        ["3", "corrected"],
        ["4", "entered-in-error"],
    ]
    assert lines[1].endswith("by urn:x|7  fhir superseded")
    assert lines[3].endswith("by 8  fhir pending")


def test_what_cannot_be(ecg):
    assert run("override", ecg, "--by", "7").exit_code == 2
    assert run("confirm", ecg).exit_code == 2
    assert "report-unknown" in str(
        run("confirm", "11111111-2222-5333-8444-555555555555", "--by", "7").exception
    )
    assert run("show", "11111111-2222-5333-8444-555555555555").exit_code == 1
    conflict = run("confirm", ecg, "--by", "7", "--version", "3")
    assert "version-conflict" in str(conflict.exception)
