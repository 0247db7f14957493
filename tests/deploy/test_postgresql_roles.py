"""The roles of deploy/postgresql-roles.sql, on a real server: what each may and may not."""

import json
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import numpy as np
import psycopg
import pytest
from click.testing import CliRunner
from psycopg.errors import InsufficientPrivilege
from sqlalchemy import event

import db.engine
from db.audit import AuditEntry, AuditKind
from db.clinical import Incoming
from db.errors import StoreUnavailable
from db.filters import parse_filter
from db.migrate import upgrade
from db.records import MessageState, NewAssessment, NewExam, NewMessage, PatientRef
from db.replays import Replay, ReplayState, Stage
from db.retention import Hold
from db.reviews import Decision, ReportStatus, Review, Reviewer
from db.store import Store
from db.versions import NewVersion
from integration.cli import cli
from integration.security import roles
from model.ecg import Ecg
from model.findings import Findings, ModelIdentity, Quality
from tests.databases import postgres_database

SQL = Path(__file__).parents[2] / "deploy" / "postgresql-roles.sql"
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
pytestmark = pytest.mark.postgres


@pytest.fixture(scope="module")
def owners_url(postgres_server):
    """URL of a database with the roles, as its owner."""
    with postgres_database(postgres_server) as url:
        upgrade(url)
        with psycopg.connect(url, autocommit=True) as owner:
            for _ in range(2):  # it may be repeated
                owner.execute(SQL.read_text())
        yield url
        with psycopg.connect(url, autocommit=True) as owner:
            for role in ("viewer", "operator", "admin"):
                owner.execute(f"DROP OWNED BY hisbundle_{role}")


def allowed(url, statement):
    with psycopg.connect(url) as connection:
        try:
            connection.execute(statement)
        except InsufficientPrivilege:
            return False
        connection.rollback()
        return True


@pytest.mark.parametrize(
    ("statement", "roles"),
    [
        ("SELECT state, sender FROM message", "viewer operator admin"),
        ("SELECT number, content FROM audit", "viewer operator admin"),
        (
            "INSERT INTO audit (at, kind, actor, content) VALUES (now(), 'access', 'x', '{}')",
            "viewer operator admin",
        ),
        ("UPDATE audit SET number = 1", "admin"),
        ("SELECT patient_identifier FROM stream", "operator admin"),
        ("SELECT raw FROM message", "operator admin"),
        ("SELECT patient_identifier FROM exam", "operator admin"),
        ("SELECT patient_token FROM exam", "operator admin"),
        ("SELECT bundle FROM report", "operator admin"),
        ("SELECT samples FROM waveform", "operator admin"),
        ("SELECT review FROM report", "operator admin"),
        ("SELECT filter FROM replay", "operator admin"),
        ("SELECT patient_identifier FROM hold", "operator admin"),
        ("UPDATE exam SET state = 'received'", "operator admin"),
        ("UPDATE audit SET content = ''", "admin"),
        ("DELETE FROM message", "admin"),
        ("DELETE FROM hold", "admin"),
        ("INSERT INTO encryption_key VALUES ('seal', 'x', now(), '')", "admin"),
        ("DROP TABLE waveform", ""),
    ],
)
def test_each_role_may_what_its_name_says(owners_url, statement, roles):
    member = f"{owners_url}?options=-c%20role%3Dhisbundle_"
    names = ("viewer", "operator", "admin")
    assert {name for name in names if allowed(member + name, statement)} == set(roles.split())


def _become_viewer(connection, _record):
    connection.execute("SET ROLE hisbundle_viewer")
    connection.commit()


def test_a_viewer_looks_at_the_status(owners_url):
    owner = Store.open(owners_url)
    message = NewMessage.whole("mllp", "CART", "7", b"MSH|ZZCANARY", NOW)
    owner.accept(Incoming(message, MessageState.REFUSED, "lead-unknown", b"AR"))
    owner.close()
    store = Store.open(owners_url)
    event.listen(store._engine, "connect", _become_viewer)
    store.check_keys()
    with pytest.raises(StoreUnavailable, match="InsufficientPrivilege"):
        store.message_raw(message.id)
    assert store.status(NOW).refusals == {"lead-unknown": 1}
    assert store.recent_exams(5) == ()
    assert [group.count for group in store.halted()] == [1]
    replayable = [store.count_replayable(parse_filter(""), stage) for stage in Stage]
    assert replayable == [1, 0, 0]
    store.close()


@pytest.fixture
def as_viewer(owners_url, monkeypatch, tmp_path):
    """A function that runs a command, whose connections are a viewer's."""
    options = f"{db.engine._POSTGRES_OPTIONS} -c role=hisbundle_viewer"
    monkeypatch.setenv("HISBUNDLE_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("HISBUNDLE_DATABASE_URL", owners_url)

    def run(command):
        with monkeypatch.context() as meanwhile:
            meanwhile.setattr("db.engine._POSTGRES_OPTIONS", options)
            return CliRunner().invoke(cli, command.split())

    return run


@pytest.mark.parametrize(
    "command",
    [
        "status",
        "model list",
        "streams",
        "fhir sources",
        "ecg list",
        "dead-letters list",
        "audit head",
        "audit verify",
    ],
)
def test_a_viewer_runs(as_viewer, owners_url, command):
    owner = Store.open(owners_url)
    owner.record_audit(AuditEntry(AuditKind.ACCESS, NOW, "somebody", None, {}))  # not sealed
    owner.close()
    done = as_viewer(command)
    assert done.exit_code == 0, done.exception


@pytest.fixture
def ecg(owners_url):
    """Id of an ECG, held, with a decision on its report and a replay of what belongs to it."""
    with closing(Store.open(owners_url)) as owner:
        message = NewMessage.whole("mllp", "CART", "8", b"MSH|", NOW)
        new = NewExam(PatientRef("ZZCANARY"), Ecg(np.zeros((1, 500), np.float32), ("II",), 500.0))
        (id_,) = owner.accept(Incoming(message, MessageState.ACCEPTED, None, b"AA", [new])).exam_ids
        findings = Findings(Quality("good"), ModelIdentity("resting", "1", "ab" * 32))
        owner.save_assessment(id_, NewAssessment(findings, NOW, {"resourceType": "Bundle"}))
        review = Review(Decision.CONFIRM, Reviewer(value="DR1"), NOW, "ZZCANARY")
        owner.add_version(id_, NewVersion(ReportStatus.FINAL, NOW, {}, "ehr", review), expected=1)
        owner.add_hold(Hold(UUID(int=1), NOW, "admin", "case 12", "ZZCANARY", None))
        told = (ReplayState.DONE, 0, 0, 0, None, NOW)
        owner.begin_replay(
            Replay(UUID(int=1), NOW, "admin", "patient:ZZCANARY", Stage.SCORE, *told)
        )
    return id_


def test_a_viewer_sees_what_names_no_patient(as_viewer, ecg, monkeypatch):
    commands = ("replay list --json", f"report show {ecg}", "retention holds")
    replays, versions, holds = (as_viewer(command).output for command in commands)
    assert json.loads(replays)[0]["filter"] == "patient:..."
    assert versions.splitlines()[1].startswith("2  final  2026-03-01 12:00:00+00:00 by DR1")
    assert holds.split()[-4:] == ["case", "12", "a", "patient"]
    monkeypatch.setenv("HISBUNDLE_RETENTION__WAVEFORMS_DAYS", "1")
    assert "InsufficientPrivilege" in str(as_viewer("retention show").exception)


def test_what_a_viewer_is_refused_is_in_the_audit_log(as_viewer, owners_url, monkeypatch):
    monkeypatch.setattr(roles.os, "getuid", lambda: 61234)
    monkeypatch.setenv("HISBUNDLE_ROLES__VIEWERS", '["61234"]')
    assert "role-missing" in str(as_viewer("retention run").exception)
    owner = Store.open(owners_url)
    owner.seal_audit()
    *_, last = owner.audit_entries()
    owner.close()
    assert last.entry.content == {"refused": "cli retention run", "needs": "admin"}
