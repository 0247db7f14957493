import sqlite3
import stat
import threading
import traceback
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

import db.engine
from db.engine import WRITES, faults, open_engine
from db.errors import StoreUnavailable, StoreUnusable


@pytest.fixture
def sqlite(tmp_path):
    engine = open_engine(f"sqlite:///{tmp_path / 'a' / 'b' / 'test.db'}")
    yield engine
    engine.dispose()


def mode(path):
    return stat.S_IMODE(Path(path).stat().st_mode)


@pytest.mark.parametrize(
    ("pragma", "value"),
    [("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1), ("busy_timeout", 5000)],
)
def test_sqlite_keeps_what_it_committed(sqlite, pragma, value):
    with sqlite.connect() as connection:
        assert connection.exec_driver_sql(f"PRAGMA {pragma}").scalar() == value


def test_a_new_sqlite_file_is_its_owners_alone(sqlite, tmp_path):
    with sqlite.begin() as connection:
        connection.execute(text("CREATE TABLE t (x INTEGER)"))
        assert mode(tmp_path / "a" / "b") == 0o700
        for name in ("test.db", "test.db-wal", "test.db-shm"):
            assert mode(tmp_path / "a" / "b" / name) == 0o600


def test_an_existing_folder_keeps_its_mode(tmp_path):
    tmp_path.chmod(0o750)
    open_engine(f"sqlite:///{tmp_path / 'test.db'}").dispose()
    assert mode(tmp_path) == 0o750


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable, match="store-unavailable: SQLite file: "):
        open_engine(f"sqlite:///{tmp_path / 'file' / 'test.db'}")


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///:memory:",
        "mysql://root@127.0.0.1/x",
        "not a url",
        "postgresql://h:port/x",
    ],
)
def test_other_databases_are_refused(url):
    with pytest.raises(StoreUnusable) as caught:
        open_engine(url)
    assert caught.value.reason == "database-unsupported"


@pytest.mark.parametrize("url", ["postgresql:CANARY@host", "postgresql://u:CANARY@h:port/x"])
def test_a_malformed_url_is_not_repeated(url):
    with pytest.raises(StoreUnusable) as caught:
        open_engine(url)
    assert "CANARY" not in "".join(traceback.format_exception(caught.value))


def test_writers_take_the_lock_first_and_readers_never(sqlite):
    writing = sqlite.execution_options(**{WRITES: True})
    with writing.begin() as first:
        first.execute(text("CREATE TABLE t (x INTEGER)"))
    with writing.begin() as first, sqlite.begin() as reader:
        second = sqlite3.connect(str(sqlite.url.database), timeout=0)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            second.execute("BEGIN IMMEDIATE")  # although the first has written nothing yet
        second.close()
        first.execute(text("INSERT INTO t VALUES (1)"))
        assert reader.execute(text("SELECT count(*) FROM t")).scalar() == 0


def test_a_new_file_that_another_process_opens_too(sqlite, monkeypatch):
    path = str(sqlite.url.database)
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN EXCLUSIVE")  # as during its own switch to WAL
    monkeypatch.setattr(db.engine, "_WAIT_FOR_LOCK_MS", 20)
    with pytest.raises(StoreUnavailable, match="SQLITE_BUSY"), faults():
        sqlite.connect()
    monkeypatch.undo()
    release = threading.Timer(0.1, other.execute, ["COMMIT"])
    release.start()
    with sqlite.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
    release.join()
    other.close()


class Contended:
    """A cursor that other processes keep from switching to WAL for a while."""

    def __init__(self, *codes):
        self.codes = list(codes)

    def execute(self, statement):
        if self.codes:
            error = sqlite3.OperationalError()
            error.sqlite_errorcode = self.codes.pop(0)
            raise error


def test_the_switch_to_wal_is_tried_again_while_others_make_it():
    cursor = Contended(sqlite3.SQLITE_BUSY, sqlite3.SQLITE_BUSY_RECOVERY)
    db.engine._switch_to_wal(cursor)
    assert cursor.codes == []


def test_another_fault_of_the_switch_is_told_at_once():
    cursor = Contended(sqlite3.SQLITE_READONLY, sqlite3.SQLITE_BUSY)
    with pytest.raises(sqlite3.OperationalError):
        db.engine._switch_to_wal(cursor)
    assert cursor.codes == [sqlite3.SQLITE_BUSY]


@pytest.mark.postgres
@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_postgresql_goes_through_psycopg_with_limits(postgres_url, scheme):
    engine = open_engine(postgres_url.replace("postgresql", scheme, 1))
    with engine.connect() as connection:
        assert engine.dialect.driver == "psycopg"
        assert connection.execute(text("SHOW statement_timeout")).scalar() == "30s"
        assert connection.execute(text("SHOW lock_timeout")).scalar() == "5s"
        timeout = "SHOW idle_in_transaction_session_timeout"
        assert connection.execute(text(timeout)).scalar() == "1min"
    engine.dispose()


def test_values_are_hidden_and_numbers_that_json_lacks_are_refused(sqlite):
    assert sqlite.hide_parameters
    with pytest.raises(ValueError, match="not JSON compliant"):
        sqlite.dialect._json_serializer({"x": float("nan")})


@pytest.mark.parametrize(
    ("fault", "detail"),
    [
        (DBAPIError("SELECT ?", None, sqlite3.OperationalError("CANARY")), "OperationalError"),
        (PoolTimeoutError("CANARY"), "no free connection"),
    ],
)
def test_faults_are_told_by_their_class_alone(fault, detail):
    with pytest.raises(StoreUnavailable) as caught, faults():
        raise fault
    assert (caught.value.reason, caught.value.detail) == ("store-unavailable", detail)
    assert "CANARY" not in "".join(traceback.format_exception(caught.value))


def test_our_own_mistakes_stay_what_they_are():
    with pytest.raises(ZeroDivisionError), faults():
        raise ZeroDivisionError
