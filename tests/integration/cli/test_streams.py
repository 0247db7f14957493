"""Windows without news are not reported; here they are found."""

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from click.testing import CliRunner

from db.clinical import Incoming
from db.records import MessageState, NewExam, NewMessage, PatientRef
from db.store import Store
from db.streaming import Progress, Stream, StreamState, Window
from integration.cli import cli
from model.ecg import Ecg
from model.findings import RhythmFinding
from tests.databases import new_database

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
STREAM = Stream("MONITOR^ICU", PatientRef("4711"), 250.0)


@pytest.fixture
def windows(tmp_path, monkeypatch):
    """A database with a stream of two windows, one of which shows a pause."""
    monkeypatch.setenv("HISBUNDLE_DATA_DIR", str(tmp_path))
    url = new_database(tmp_path / "hisbundle.db")
    store = Store.open(url)
    ecg = Ecg(np.zeros((1, 250), np.float32), ("II",), 250.0, NOW)
    message = NewMessage.whole("mllp", STREAM.sender, "1", b"1", NOW)
    exam = NewExam(STREAM.patient, ecg, NOW)
    store.accept(Incoming(message, MessageState.ACCEPTED, None, b"AA", [exam]))
    store.adopt_packets(1)
    claim = store.open_claim(STREAM.id)
    pause = RhythmFinding("pause", 1.0, 5.0, 4.0, 3.0)
    made = [
        Window(start, "good", 61.54, ((start, "N"),), rhythms, start, "strip@1", 1.0, False)
        for start, rhythms in ((NOW, ()), (NOW + timedelta(seconds=10), (pause,)))
    ]
    step = Progress(claim, tuple(made), NOW, (), {}, NOW, StreamState.LIVE)
    store.save_progress(step, NOW, 0.3)
    store.close()


def lines(*arguments):
    done = CliRunner().invoke(cli, ["streams", *arguments])
    assert done.exit_code == 0
    return done.output.splitlines()


def test_windows_are_told_newest_first_without_the_patient(windows):
    newest, first = json.loads("".join(lines("--json")))["windows"]
    assert first == {
        "stream": str(STREAM.id),
        "start": "2026-03-01T12:00:00.000+00:00",
        "verdict": "good",
        "heart_rate_bpm": 61.5,
        "beats": "N",
        "rhythms": "",
    }
    assert newest["rhythms"] == "pause"
    assert "4711" not in "".join(lines())


def test_windows_are_found_by_patient_rhythm_and_time(windows):
    assert len(lines("--patient", "4711")) == 2
    assert lines("--patient", "4712") == []
    assert len(lines("--rhythm", "pause")) == 1
    assert len(lines("--since", "2026-03-01T12:00:05+0000")) == 1
    assert len(lines("--until", "2026-03-01T12:00:05+0000")) == 1
