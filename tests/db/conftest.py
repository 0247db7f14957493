import shutil
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier

import numpy as np
import pytest

from db.clinical import Incoming
from db.columns import Base
from db.keyring import Key, Keyring
from db.migrate import upgrade
from db.records import MessageState, NewAssessment, NewExam, NewMessage, PatientRef
from db.store import Store
from model.ecg import Ecg
from model.findings import Findings, ModelIdentity, Quality, TypeFinding
from tests.databases import new_database

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
MODEL = ModelIdentity("resting", "1", "ab" * 32)
BOTH = ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]
KEYRING = Keyring([Key("a", b"\1" * 32)], [Key("i", b"\2" * 32)])


def at_once(n, function):
    """Call function(i) in n threads that start together."""
    barrier = Barrier(n)

    def run(i):
        barrier.wait()
        return function(i)

    with ThreadPoolExecutor(n) as pool:
        return list(pool.map(run, range(n)))


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory):
    path = tmp_path_factory.mktemp("template") / "template.db"
    new_database(path)
    return path


@pytest.fixture(scope="session")
def migrated_postgres(postgres_url):
    upgrade(postgres_url)
    return postgres_url


@pytest.fixture(params=[*BOTH, "sealed"])
def store_url(request, tmp_path):
    """A migrated, empty database; `keyring` seals it where the parameter says so."""
    if request.param == "postgres":
        return request.getfixturevalue("migrated_postgres")
    path = tmp_path / "test.db"
    shutil.copy(request.getfixturevalue("migrated_sqlite"), path)
    return f"sqlite:///{path}"


@pytest.fixture
def keyring(request):
    """Keys of the database; None: nothing in it is sealed."""
    return KEYRING if "sealed" in request.node.callspec.params.values() else None


@pytest.fixture
def store(store_url, keyring):
    store = Store.open(store_url, keyring)
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
        receipt = store.accept(Incoming(new, MessageState.ACCEPTED, None, b"AA", exams), rung=rung)
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
