import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from db.clinical import NOTHING_ELSE, Clinical, Incoming, Measurement, NewResult, Quantity
from db.records import MessageState, NewAssessment, NewExam, NewMessage, PatientRef
from db.store import Store
from integration.cli import cli
from integration.fhir.report import build_report
from integration.formats import read_ecg
from model.findings import Findings, ModelIdentity, Quality, TypeFinding
from model.simulate import simulate
from tests.databases import new_database

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
MODEL = ModelIdentity("resting", "1", "ab" * 32)
QT = Measurement(Quantity.QT, 402.0, "ms")
SAID = Clinical(results=(NewResult(None, (QT,), ("Sinus rhythm",), exam=0),))


@pytest.fixture
def exams(tmp_path, monkeypatch):
    """Ids of three ECGs, oldest first; the first is assessed."""
    monkeypatch.setenv("HISBUNDLE_DATA_DIR", str(tmp_path))
    url = new_database(tmp_path / "hisbundle.db")
    store = Store.open(url)
    ids = []
    for n in range(3):
        at = NOW + timedelta(minutes=n)
        raw = f"MSH|ZZCANARY-{n}".encode()
        message = NewMessage.whole("mllp", "CART^ED", f"M{n}", raw, at)
        exam = NewExam(PatientRef(f"ZZCANARY-{n % 2}"), simulate("normal", seed=n), at)
        ids += store.accept(
            Incoming(
                message, MessageState.ACCEPTED, None, b"AA", [exam], NOTHING_ELSE if n else SAID
            )
        ).exam_ids
    found = Findings(Quality("good"), MODEL, (TypeFinding("MI", 0.9, 0.5),), 0.1, 0.99, 0.9)
    report = build_report(store.load_exam(ids[0]), found, issued=NOW)
    store.save_assessment(ids[0], NewAssessment(found, NOW, report, ("fhir",)))
    yield ids
    store.seal_audit()
    store.close()


def run(*arguments):
    return CliRunner().invoke(cli, ["ecg", *map(str, arguments)])


def listed(*arguments):
    return [line["id"] for line in json.loads(run("list", *arguments, "--json").stdout)]


def test_the_newest_come_first_and_a_filter_selects(exams):
    first, second, third = map(str, exams)
    assert listed() == [third, second, first]
    assert listed("--limit", 2) == [third, second]
    assert listed("patient:ZZCANARY-0") == [third, first]
    assert listed("type:MI score>0.9") == [first]
    assert listed("text:zzcanary-1") == [second]
    assert run("list", "patient:ZZCANARY-0", "--count").stdout == "2\n"
    assert json.loads(run("list", "text:ZZCANARY-2", "--count", "--json").stdout) == {"count": 1}


def test_a_list_goes_on_over_pages(exams, monkeypatch):
    monkeypatch.setattr("integration.replay._PAGE", 1)
    assert listed() == [str(id_) for id_ in reversed(exams)]


def test_a_list_names_no_patient(exams):
    for options in ([], ["--json"]):
        assert "ZZCANARY" not in run("list", *options).output
    assert run("list", "patient:nobody").stdout == "none\n"


def test_one_is_shown_with_its_findings_and_where_it_went(exams):
    told = json.loads(run("show", exams[0], "--json").stdout)
    assert (told["patient"], told["leads"][0], told["duration_s"]) == ("ZZCANARY-0", "I", 10.0)
    assert told["findings"]["flagged"] == ["MI", "anomaly"]
    assert told["report"] == [1, "preliminary"]
    assert told["cart"] == [{"measured": [["qt-interval", 402.0, "ms"]], "said": ["Sinus rhythm"]}]
    assert told["deliveries"] == [
        {"to": "fhir", "version": 1, "state": "pending", "tries": 0, "answer": None}
    ]
    other = json.loads(run("show", exams[1], "--json").stdout)
    assert (other["cart"], "findings" in other) == ([], False)
    assert "ZZCANARY-1" in run("show", exams[1]).stdout


@pytest.mark.parametrize("name", ["wfdb", "dicom", "aecg"])
def test_a_recording_is_exported_and_read_back(exams, tmp_path, name):
    done = run("export", "patient:ZZCANARY-1", "--format", name, "--to", tmp_path / "out", "--json")
    assert json.loads(done.stdout) == {"written": 1, "passed_over": 0}
    files = sorted((tmp_path / "out").iterdir())
    assert {file.stem for file in files} == {str(exams[1])}
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    assert read_ecg(files[-1]).n_samples == 5000


def test_a_page_and_all_as_json(exams, tmp_path):
    done = run("export", "--format", "pdf", "--to", tmp_path / "pdf", "--json")
    assert json.loads(done.stdout) == {"written": 1, "passed_over": 2}
    assert Path(tmp_path, "pdf", f"{exams[0]}.pdf").read_bytes().startswith(b"%PDF")
    run("export", "--format", "json", "--to", tmp_path / "json", "--limit", 1)
    (file,) = (tmp_path / "json").iterdir()
    told = json.loads(file.read_bytes())
    assert (told["id"], len(told["voltage_mv"]), len(told["voltage_mv"][0])) == (
        str(exams[2]),
        12,
        5000,
    )


def test_who_looked_is_in_the_audit_log(exams, tmp_path):
    run("show", exams[0])
    run("export", "patient:ZZCANARY-1", "--format", "dicom", "--to", tmp_path / "out")
    store = Store.open(f"sqlite:///{tmp_path / 'hisbundle.db'}")
    store.seal_audit()
    told = [(s.entry.exam_id, s.entry.content.get("what")) for s in store.audit_entries()]
    store.close()
    assert told[-2:] == [(exams[0], "shown"), (exams[1], "exported as dicom")]
