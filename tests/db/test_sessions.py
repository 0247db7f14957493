import re
import sqlite3
import threading

import pytest
from sqlalchemy import event, text

import db.engine
from db.clinical import Incoming
from db.errors import NotFound, StoreUnavailable
from db.records import MessageState
from db.store import Store


def accept(store, message):
    return store.accept(Incoming(message, MessageState.NOT_ECG, None, b"AA"))


def test_the_schema_is_told(store):
    assert re.fullmatch(r"\d{4}", store.schema())


def test_a_closed_store_opens_again(store):
    store.close()
    store.schema()


def test_a_server_that_is_away():
    store = Store.open("postgresql://postgres:ZZSECRET@127.0.0.1:1/x")
    with pytest.raises(StoreUnavailable, match="port 1 failed: Connection refused") as caught:
        store.schema()
    assert "ZZSECRET" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_database(tmp_path):
    path = tmp_path / "test.db"
    path.write_bytes(b"no database" * 100)
    store = Store.open(f"sqlite:///{path}")
    with pytest.raises(StoreUnavailable, match="DatabaseError SQLITE_NOTADB"):
        store.schema()


def test_a_database_without_tables(fresh_url, message):
    store = Store.open(fresh_url)
    with pytest.raises(StoreUnavailable):
        accept(store, message())
    store.close()


@pytest.mark.postgres
def test_broken_connections_are_replaced(migrated_postgres):
    store, killer = Store.open(migrated_postgres), Store.open(migrated_postgres)
    store.schema()
    with killer._engine.begin() as connection:
        others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = "
        others += "current_database() AND pid <> pg_backend_pid()"
        assert connection.execute(text(others)).all()
    store.schema()
    store.close()
    killer.close()


def test_a_locked_database(migrated_sqlite, tmp_path, monkeypatch, message):
    monkeypatch.setattr(db.engine, "_WAIT_FOR_LOCK_MS", 20)
    path = tmp_path / "test.db"
    path.write_bytes(migrated_sqlite.read_bytes())
    store = Store.open(f"sqlite:///{path}")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="OperationalError SQLITE_BUSY"):
        accept(store, message())
    store.schema()  # readers do not mind
    other.execute("ROLLBACK")
    other.close()
    assert not accept(store, message()).duplicate
    store.close()


def test_a_writer_waits_for_the_one_before(migrated_sqlite, tmp_path, message):
    path = tmp_path / "test.db"
    path.write_bytes(migrated_sqlite.read_bytes())
    store = Store.open(f"sqlite:///{path}")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    receipts = []
    thread = threading.Thread(target=lambda: receipts.append(accept(store, message())))
    thread.start()
    thread.join(0.1)
    assert receipts == []
    other.execute("COMMIT")
    other.close()
    thread.join()
    assert len(receipts) == 1
    store.close()


def test_a_full_disk_stores_nothing(migrated_sqlite, tmp_path, message):
    path = tmp_path / "test.db"
    path.write_bytes(migrated_sqlite.read_bytes())
    store = Store.open(f"sqlite:///{path}")
    limit = "PRAGMA max_page_count=60"
    event.listen(store._engine, "connect", lambda connection, _: connection.execute(limit))
    large = message(raw=bytes(range(256)) * 4, sender="A")
    larger = message(raw=b"".join(i.to_bytes(4) for i in range(500_000)), sender="B")
    accept(store, large)
    with pytest.raises(StoreUnavailable, match="OperationalError SQLITE_FULL"):
        accept(store, larger)
    with pytest.raises(NotFound):
        store.message_raw(larger.id)
    assert store.message_raw(large.id) == large.raw
    store.close()
