from datetime import UTC, datetime
from uuid import uuid4

import pytest
from click.testing import CliRunner

from db.clinical import Incoming
from db.records import MessageState, NewAssessment, NewExam, NewMessage, PatientRef
from db.replays import Replay, ReplayState, Stage
from db.store import Store
from integration.cli import cli
from integration.cli.tables import listing, screen
from integration.fhir.report import build_report
from integration.hints import HINTS
from model.findings import Findings, ModelIdentity, Quality
from model.simulate import simulate
from tests.databases import new_database

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ODD = "[/x][b]:bed:"  # closes what was never opened, opens, and names an emoji
ANSWER = "[/y]"


@pytest.fixture
def ids(tmp_path, monkeypatch):
    """Ids: of an ECG, its delivery that was given up, a refused message, a replay."""
    monkeypatch.setenv("HISBUNDLE_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "80")
    store = Store.open(new_database(tmp_path / "hisbundle.db"))
    message = NewMessage.whole("mllp", ODD, ODD, b"MSH|1", NOW)
    exam = NewExam(PatientRef("4711"), simulate("normal", seed=1), NOW)
    (ecg,) = store.accept(Incoming(message, MessageState.ACCEPTED, None, b"AA", [exam])).exam_ids
    found = Findings(Quality("good"), ModelIdentity("resting", "1", "ab" * 32), (), 0.1, 0.99, 0.9)
    report = build_report(store.load_exam(ecg), found, issued=NOW)
    (delivery,) = store.save_assessment(ecg, NewAssessment(found, NOW, report, ("fhir",)))
    store.record_undeliverable(delivery, ANSWER)
    refused = NewMessage.whole("mllp", "A", "2", b"MSH|2", NOW)
    store.accept(Incoming(refused, MessageState.REFUSED, "unknown-sender", b"AR"))
    replay = Replay(
        uuid4(), NOW, "[/who]", "", Stage.DELIVER, ReplayState.RUNNING, 0, 0, 0, None, None
    )
    store.begin_replay(replay)
    store.close()
    return {"ecg": ecg, "delivery": delivery, "message": refused.id, "replay": replay.id}


@pytest.mark.parametrize(
    ("command", "texts", "listed"),
    [
        ("status", [ODD], ["ecg"]),
        ("ecg list", [ODD], ["ecg"]),
        (
            "dead-letters list",
            [f"fhir: {ANSWER}", HINTS["unknown-sender"]],
            ["delivery", "message"],
        ),
        ("replay list", ["[/who]"], ["replay"]),
    ],
)
def test_what_others_wrote_is_shown_letter_for_letter(ids, command, texts, listed):
    done = CliRunner().invoke(cli, command.split())
    assert done.exit_code == 0, done.output
    for text in (*texts, *(str(ids[name]) for name in listed)):
        assert text in done.output


def test_an_import_of_files_with_brackets_is_listed(tmp_path, ids):
    file = tmp_path / "a[b].hl7"
    file.write_bytes(b"MSH|1")
    runner = CliRunner()
    runner.invoke(cli, ["import", str(file)])
    done = runner.invoke(cli, ["import", "--past"])
    assert done.exit_code == 0, done.output
    assert str(file) in done.output


def test_ids_stay_whole_on_a_narrow_terminal(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("FORCE_COLOR", "1")  # a terminal, for rich
    table = listing("received", "sender", "control id", "state", "anomaly", "flagged", "id")
    id_ = "00000000-0000-0000-0000-000000000001"
    table.add_row("2026-03-01 12:00:00", "a" * 40, "b" * 40, "assessed", "0.10", "MI STTC", id_)
    console = screen()
    console.print(table)
    told = capsys.readouterr().out
    assert console.width == 80
    assert id_ in told
    assert told.count("b") >= 40, "folded, not cut"
