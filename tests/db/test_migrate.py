import importlib.util
import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from uuid import UUID

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect, text
from sqlalchemy.exc import IntegrityError

import db.tables
import db.upkeep_tables  # noqa: F401
from db.clinical import Incoming
from db.columns import Base
from db.engine import WRITES, open_engine
from db.errors import StoreUnavailable, StoreUnusable
from db.migrate import _config, check, outdated, revise, upgrade
from db.records import MessageState, NewExam, NewMessage, PatientRef
from db.store import Store
from model.findings import Findings, ModelIdentity, Quality, TypeFinding
from model.simulate import simulate


def described(engine):
    """Everything that the database itself says of its tables."""
    inspector = inspect(engine)
    return {
        table: {
            "columns": [
                (c["name"], str(c["type"]), c["nullable"]) for c in inspector.get_columns(table)
            ],
            "checks": _sorted(inspector.get_check_constraints(table)),
            "uniques": _sorted(inspector.get_unique_constraints(table)),
            "indexes": _sorted(inspector.get_indexes(table)),
            "key": inspector.get_pk_constraint(table),
            "references": _sorted(inspector.get_foreign_keys(table)),
        }
        for table in inspector.get_table_names()
        if table != "alembic_version"
    }


def _sorted(items):
    return sorted((_plain(item) for item in items), key=lambda item: item["name"])


def _plain(value):
    """As nested dicts of text: a partial index's condition is an object, equal to no other."""
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    return str(value)


def test_the_tables_are_what_the_migrations_make(fresh_url):
    upgrade(fresh_url)
    engine = open_engine(fresh_url)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    migrated = described(engine)
    Base.metadata.drop_all(engine)
    Base.metadata.create_all(engine)
    assert described(engine) == migrated
    assert set(migrated) == set(Base.metadata.tables)
    engine.dispose()


def test_an_upgraded_database_passes_the_check_and_a_second_upgrade(fresh_url):
    with pytest.raises(StoreUnusable, match="schema-behind: run `hisbundle migrate`"):
        check(fresh_url)
    upgrade(fresh_url)
    upgrade(fresh_url)
    check(fresh_url)


def test_only_an_older_schema_does_not_serve_a_running_version(store):
    assert [outdated(one) for one in (None, "0001", store.schema(), "9999")] == [
        True,
        True,
        False,
        False,
    ]


def test_processes_that_start_together_migrate_once(fresh_url):
    code = "import sys; from db.migrate import upgrade; upgrade(sys.argv[1])"
    processes = [subprocess.Popen([sys.executable, "-c", code, fresh_url]) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    check(fresh_url)


@pytest.mark.parametrize("run", [check, upgrade])
def test_a_later_versions_schema_is_left_alone(fresh_url, run):
    upgrade(fresh_url)
    engine = open_engine(fresh_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(StoreUnusable) as caught:
        run(fresh_url)
    assert caught.value.reason == "schema-unknown"


@pytest.mark.parametrize("run", [check, upgrade])
def test_one_release_back_serves_on_what_the_next_one_added(fresh_url, run):
    upgrade(fresh_url)
    engine = open_engine(fresh_url)
    with engine.begin() as connection:
        for expanding in (
            "ALTER TABLE exam ADD COLUMN of_the_next_release INTEGER",
            "CREATE TABLE of_the_next_release (id INTEGER PRIMARY KEY)",
            "UPDATE alembic_version SET version_num = '9999'",
        ):
            connection.execute(text(expanding))
    engine.dispose()
    run(fresh_url, later=True)
    store = Store.open(fresh_url)
    assert store.schema() == "9999", "left as it is"
    message = NewMessage.whole("mllp", "CART", "1", b"MSH", datetime(2026, 3, 1, tzinfo=UTC))
    exam = NewExam(PatientRef("4711"), simulate("normal", seed=1))
    (exam_id,) = store.accept(
        Incoming(message, MessageState.ACCEPTED, None, b"AA", [exam])
    ).exam_ids
    assert store.begin_scoring(exam_id).attempts == 1
    store.close()


@pytest.mark.parametrize("run", [check, upgrade])
def test_a_server_that_is_away(run):
    with pytest.raises(StoreUnavailable):
        run("postgresql://postgres@127.0.0.1:1/x")


def test_a_migration_that_breaks_leaves_nothing(fresh_url):
    engine = open_engine(fresh_url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE waveform (in_the_way INTEGER)"))
    with pytest.raises(StoreUnavailable):
        upgrade(fresh_url)
    assert inspect(engine).get_table_names() == ["waveform"]
    engine.dispose()


def test_a_new_migration_starts_with_the_rules(fresh_url, tmp_path, capsys):
    upgrade(fresh_url)
    engine = open_engine(fresh_url)
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE exam DROP COLUMN filler_order"))
        connection.execute(text("DROP INDEX ix_report_newest_issued_at"))
        connection.execute(text("ALTER TABLE message DROP COLUMN original_size"))
    engine.dispose()
    revise(fresh_url, "two lost columns", tmp_path)
    (path,) = tmp_path.glob("*_two_lost_columns.py")
    assert str(path)[:50] in capsys.readouterr().out
    content = path.read_text()
    assert "Never edit a migration that was released" in content
    assert "sa.Column('filler_order', sa.String(), nullable=True)" in content
    spec = importlib.util.spec_from_file_location("migration", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert int(module.revision) == int(module.down_revision) + 1
    assert path.name.startswith(module.revision)


def test_a_new_migration_names_no_type_of_ours(fresh_url, tmp_path):
    upgrade(fresh_url)
    engine = open_engine(fresh_url)
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE delivery"))
    engine.dispose()
    revise(fresh_url, "a lost table", tmp_path)
    (path,) = tmp_path.glob("*_a_lost_table.py")
    content = path.read_text()
    assert "sa.Column('next_attempt_at', sa.DateTime(timezone=True), nullable=False)" in content
    assert "sa.Column('last_answer', sa.String(length=2000), nullable=True)" in content
    assert "db.tables" not in content.partition("import sqlalchemy")[2]


OLD_ROWS = """
INSERT INTO message (id, protocol, sender, control_id, state, received_at, original_size, sha256,
raw, answer) VALUES ('m', 'mllp', '', '', 'accepted', '2026-01-01', 1, '', x'00', x'00');
INSERT INTO exam (id, message_id, ordinal, state, patient_identifier, received_at, attempts)
VALUES ('e', 'm', 0, 'received', '4711', '2026-01-01', 2);
INSERT INTO waveform (exam_id, leads, n_samples, sampling_rate_hz, encoding, samples)
VALUES ('e', '[]', 1, 500, 'i2', x'00')
"""
OLD_REPORT = "INSERT INTO report VALUES ('e', '2026-01-01', '2026-01-01', '{}')"
OLD_DELIVERY = """
INSERT INTO delivery VALUES ('d', 'e', 'fhir', 'pending', 1, '2026-01-01', NULL, '503')
"""


def test_what_is_there_stays_when_a_table_is_copied(tmp_path):
    """Migration 3 changes `exam`, which SQLite does by copying it while waveforms refer to it."""
    url = f"sqlite:///{tmp_path / 'old.db'}"
    engine = open_engine(url)
    with engine.execution_options(**{WRITES: True}).begin() as connection:
        command.upgrade(_config(connection), "0002")
        for statement in OLD_ROWS.split(";"):
            connection.execute(text(statement))
    engine.dispose()
    upgrade(url)
    with open_engine(url).begin() as connection:
        kept = connection.execute(text("SELECT patient_identifier, attempts, bed FROM exam")).one()
        assert kept == ("4711", 2, None)
        assert connection.execute(text("SELECT exam_id FROM waveform")).scalar() == "e"
        with pytest.raises(IntegrityError):
            connection.execute(text("DELETE FROM exam"))


def test_assessments_that_are_there_can_be_searched(tmp_path):
    """Migration 6 reads them."""
    found = Findings(
        Quality("good"),
        ModelIdentity("resting", "1.0.0", "ab" * 32),
        types=(TypeFinding("MI", 0.9, 0.5), TypeFinding("CD", 0.1, 0.5)),
        anomaly_score=0.95,
        anomaly_threshold=0.9,
    )
    url = f"sqlite:///{tmp_path / 'old.db'}"
    engine = open_engine(url)
    with engine.execution_options(**{WRITES: True}).begin() as connection:
        command.upgrade(_config(connection), "0005")
        id_ = UUID(int=1).hex
        for statement in OLD_ROWS.replace("'e'", f"'{id_}'").split(";"):
            connection.execute(text(statement))
        connection.execute(
            text("INSERT INTO assessment VALUES (:id, '2026-01-01', :findings)"),
            {"id": id_, "findings": json.dumps(found.to_json())},
        )
    engine.dispose()
    upgrade(url)
    with open_engine(url).connect() as connection:
        row = connection.execute(text("SELECT anomaly_score, model, flagged FROM assessment")).one()
    assert row == (0.95, "resting@1.0.0", ",MI,anomaly,")
    assert found.flags == ("MI", "anomaly")


def test_reports_that_are_there_become_first_versions(tmp_path):
    """Migration 12 gives both tables another key, which SQLite does by copying them."""
    url = f"sqlite:///{tmp_path / 'old.db'}"
    engine = open_engine(url)
    with engine.execution_options(**{WRITES: True}).begin() as connection:
        command.upgrade(_config(connection), "0011")
        id_ = UUID(int=1).hex
        for statement in (*OLD_ROWS.split(";"), OLD_REPORT, OLD_DELIVERY):
            connection.execute(text(statement.replace("'e'", f"'{id_}'")))
    engine.dispose()
    upgrade(url)
    with open_engine(url).connect() as connection:
        report = "SELECT exam_id, version, newest, status, actor, review, bundle FROM report"
        assert connection.execute(text(report)).one() == (
            *(id_, 1, 1, "preliminary", "worker", None, b"\x00{}"),
        )
        delivery = "SELECT version, state, attempts, last_answer, leased_until FROM delivery"
        assert connection.execute(text(delivery)).one() == (1, "pending", 1, "503", None)


def test_a_reference_to_nothing_stops_a_migration(tmp_path):
    url = f"sqlite:///{tmp_path / 'broken.db'}"
    engine = open_engine(url)
    with engine.execution_options(**{WRITES: True}).begin() as connection:
        command.upgrade(_config(connection), "0017")
    engine.dispose()
    raw = sqlite3.connect(tmp_path / "broken.db")
    raw.execute(
        "INSERT INTO assessment (exam_id, assessed_at, findings) "
        "VALUES ('gone', '2026-01-01', '{}')"
    )
    raw.commit()
    raw.close()
    with pytest.raises(StoreUnusable, match="references-broken"):
        upgrade(url)


def test_an_upgraded_database_is_not_read_through_at_every_start(tmp_path, caplog):
    caplog.set_level("INFO", "sqlalchemy.engine")
    looked = []
    for _ in range(2):
        caplog.clear()
        upgrade(f"sqlite:///{tmp_path / 'own.db'}")
        looked.append("foreign_key_check" in caplog.text)
    assert looked == [True, False]


def test_findings_and_reports_that_are_there_are_packed(tmp_path):
    """Migration 13 writes them anew."""
    found = Findings(Quality("good"), ModelIdentity("resting", "1.0.0", "ab" * 32))
    report = {"resourceType": "Bundle", "entry": ["ä" * 500]}
    url = f"sqlite:///{tmp_path / 'old.db'}"
    engine = open_engine(url)
    with engine.execution_options(**{WRITES: True}).begin() as connection:
        command.upgrade(_config(connection), "0005")
        id_ = UUID(int=1).hex
        for statement in OLD_ROWS.replace("'e'", f"'{id_}'").replace("'m'", f"'{id_}'").split(";"):
            connection.execute(text(statement))
        connection.execute(
            text("INSERT INTO assessment VALUES (:id, '2026-01-01', :findings)"),
            {"id": id_, "findings": json.dumps(found.to_json())},
        )
        connection.execute(
            text("INSERT INTO report VALUES (:id, '2026-01-01', '2026-01-01', :bundle)"),
            {"id": id_, "bundle": json.dumps(report)},
        )
    engine.dispose()
    upgrade(url)
    with closing(Store.open(url)) as store:
        assert store.read_report(UUID(int=1)).bundle == report
        assert store.recent_exams(1)[0].findings == found
