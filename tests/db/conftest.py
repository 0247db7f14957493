import shutil
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from db.migrate import upgrade
from db.records import MessageState, NewAssessment, NewExam, NewMessage, PatientRef
from db.store import Store
from db.tables import Base
from model.ecg import Ecg
from model.findings import Findings, ModelIdentity, Quality, TypeFinding

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
MODEL = ModelIdentity("resting", "1", "ab" * 32)
BOTH = ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory):
    path = tmp_path_factory.mktemp("template") / "template.db"
    upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def migrated_postgres(postgres_url):
    upgrade(postgres_url)
    return postgres_url


@pytest.fixture(params=BOTH)
def store_url(request, tmp_path):
    """A migrated, empty database."""
    if request.param == "sqlite":
        path = tmp_path / "test.db"
        shutil.copy(request.getfixturevalue("migrated_sqlite"), path)
        return f"sqlite:///{path}"
    return request.getfixturevalue("migrated_postgres")


@pytest.fixture
def store(store_url):
    store = Store.open(store_url)
    if store_url.startswith("postgres"):
        with store._engine.begin() as connection:
            for table in reversed(Base.metadata.sorted_tables):
                connection.execute(table.delete())
    yield store
    store.close()


@pytest.fixture(params=BOTH)
def fresh_url(request, tmp_path):
    """An empty database without a schema."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'fresh.db'}"
    return request.getfixturevalue("fresh_postgres_url")


@pytest.fixture
def ecg():
    steps = np.random.default_rng(7).integers(-400, 400, (2, 1500))
    return Ecg((steps * 0.005).astype(np.float32), ("II", "V1"), 250.0, NOW, (0.005, 0.005))


@pytest.fixture
def message():
    """A function that makes a message."""

    def make(control_id="1", *, raw=b"MSH|...", sender="CART^ED", received_at=NOW):
        return NewMessage.whole("mllp", sender, control_id, raw, received_at)

    return make


@pytest.fixture
def exam(ecg):
    """A function that makes an exam."""

    def make(identifier="4711", authority="HOSP", acquired=NOW):
        return NewExam(PatientRef(identifier, authority), ecg, acquired, "P1", "F1")

    return make


@pytest.fixture
def received(store, message, exam):
    """A function that stores a message with one exam and returns the exam's id."""

    def receive(control_id="1", *, minutes=0, identifier="4711", acquired=NOW, rung=False):
        new = message(control_id, received_at=NOW + timedelta(minutes=minutes))
        exams = [exam(identifier, acquired=acquired)]
        receipt = store.accept(new, MessageState.ACCEPTED, None, b"AA", exams, rung=rung)
        return receipt.exam_ids[0]

    return receive


@pytest.fixture
def assessment():
    """A function that makes an assessment."""

    def make(*destinations, unscorable=None, minutes=1):
        quality = Quality("unscorable", (unscorable,)) if unscorable else Quality("good")
        findings = Findings(
            quality, MODEL, types=() if unscorable else (TypeFinding("MI", 0.9, 0.5),)
        )
        report = {"resourceType": "Bundle", "type": "transaction"}
        return NewAssessment(findings, NOW + timedelta(minutes=minutes), report, destinations)

    return make
